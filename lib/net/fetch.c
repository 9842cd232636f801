/* IDLE -> CONNECTING -> HEAD -> BODY -> IDLE; a kept connection skips CONNECTING. One timer
 * covers the whole of it. A kept connection that turns out to be closed before it answered
 * is replaced once: the server may close an idle one at any moment, and a GET may be sent
 * again. */

#include "net/fetch.h"

#include "base/check.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "net/h1.h"

#include <stdlib.h>
#include <string.h>

#define FETCHER_MAGIC 0x46455443u
#define REQUEST_MAX 4096
#define IN_MAX 65536
#define INTERIM_MAX 4 /* 1xx heads before the answer */

_Static_assert(IN_MAX >= H1_HEAD_MAX, "a head is parsed in one piece");

enum state { IDLE, CONNECTING, HEAD, BODY };

struct fetcher {
    uint32_t magic;
    bool dead;
    enum state state;
    struct fetcher_opts opts;
    char *host;
    char *authorization;
    struct conn *conn; /* NULL: none */
    bool reused;       /* conn served an earlier fetch */
    struct timer *timer;
    struct h1_parser parser;
    struct h1_body framing;
    uint32_t interims;
    int status;
    bool keep_alive;
    struct buf body;
    uint8_t request[REQUEST_MAX];
    size_t request_len;
    fetch_fn fn;
    void *context;
};

static void on_conn(void *owner, struct conn *c, unsigned events);

static void
conn_drop(struct fetcher *f)
{
    if (f->conn != NULL)
        conn_abort(f->conn);
    f->conn = NULL;
}

static void
finish(struct fetcher *f, enum err e)
{
    fetch_fn fn = f->fn;
    struct slice body = e == ERR_OK ? buf_slice(&f->body) : SLICE_NONE;

    ASSERT(f->state != IDLE);
    f->state = IDLE;
    timer_clear(f->timer);
    if (e != ERR_OK || !f->keep_alive)
        conn_drop(f);
    fn(f->context, e, e == ERR_OK ? f->status : 0, body);
    /* The callback may have started the next one; its answer can't be here yet. */
    if (!f->dead)
        buf_release(&f->body);
}

static void
on_timer(void *context)
{
    struct fetcher *f = context;

    ASSERT(f->magic == FETCHER_MAGIC);
    if (!f->dead && f->state != IDLE)
        finish(f, ERR_TIMEOUT);
}

enum err
fetcher_new(const struct fetcher_opts *opts, struct fetcher **out)
{
    struct fetcher *f = calloc(1, sizeof(*f));

    ASSERT(out != NULL && *out == NULL);
    if (f == NULL)
        return ERR_NOMEM;
    f->magic = FETCHER_MAGIC;
    f->opts = *opts;
    f->host = slice_dup(slice_str(opts->host));
    if (opts->authorization != NULL)
        f->authorization = slice_dup(slice_str(opts->authorization));
    if (f->host == NULL || (opts->authorization != NULL && f->authorization == NULL) ||
        timer_new(opts->loop, on_timer, f, &f->timer) != ERR_OK) {
        free(f->host);
        free(f->authorization);
        free(f);
        return ERR_NOMEM;
    }
    if (opts->tls != NULL)
        f->opts.tls = tls_ref(opts->tls);
    buf_init(&f->body, opts->pool, FETCH_BODY_MAX);
    *out = f;
    return ERR_OK;
}

static void
destroy(void *context)
{
    struct fetcher *f = context;

    ASSERT(f->magic == FETCHER_MAGIC && f->dead);
    timer_free(&f->timer);
    tls_unref(&f->opts.tls);
    if (f->authorization != NULL)
        hash_wipe(f->authorization, strlen(f->authorization));
    hash_wipe(f->request, sizeof(f->request));
    free(f->authorization);
    free(f->host);
    f->magic = 0;
    free(f);
}

void
fetcher_free(struct fetcher **out)
{
    struct fetcher *f = *out;

    if (f == NULL)
        return;
    ASSERT(f->magic == FETCHER_MAGIC && !f->dead);
    *out = NULL;
    f->dead = true;
    timer_clear(f->timer);
    conn_drop(f);
    buf_release(&f->body);
    loop_bury(f->opts.loop, destroy, f);
}

static enum err
connect_now(struct fetcher *f)
{
    const struct conn_opts opts = {
        .loop = f->opts.loop,
        .pool = f->opts.pool,
        .tls = f->opts.tls,
        .fn = on_conn,
        .owner = f,
        .in_max = IN_MAX,
        .out_max = REQUEST_MAX,
        .guard = f->opts.guard,
    };

    ASSERT(f->conn == NULL);
    f->reused = false;
    return conn_connect(&opts, &f->opts.address, &f->conn);
}

static enum err
send_request(struct fetcher *f)
{
    f->state = HEAD;
    f->interims = 0;
    h1_parser_init(&f->parser, H1_RESPONSE);
    return conn_write(f->conn, slice_of(f->request, f->request_len));
}

static enum err
compose(struct fetcher *f, const char *path)
{
    struct text t;

    text_init(&t, f->request, sizeof(f->request));
    h1_write_request_line(&t, HTTP_GET, slice_str(path));
    h1_write_host(&t, f->host, 0);
    h1_write_field(&t, SLICE_LIT("Accept"), SLICE_LIT("*/*"));
    h1_write_field(&t, SLICE_LIT("User-Agent"), SLICE_LIT("portolan"));
    if (f->authorization != NULL)
        h1_write_field(&t, SLICE_LIT("Authorization"), slice_str(f->authorization));
    h1_write_end(&t);
    f->request_len = t.used;
    return text_ok(&t) ? ERR_OK : ERR_BADMSG;
}

enum err
fetch_get(struct fetcher *f, const char *path, uint64_t deadline_ms, fetch_fn fn, void *context)
{
    enum err e;

    ASSERT(f->magic == FETCHER_MAGIC && !f->dead);
    if (f->state != IDLE)
        return ERR_AGAIN;
    e = compose(f, path);
    if (e != ERR_OK)
        return e;
    if (f->conn != NULL && !conn_is_open(f->conn))
        conn_drop(f);
    f->fn = fn;
    f->context = context;
    f->keep_alive = false;
    if (f->conn == NULL) {
        e = connect_now(f);
    } else {
        f->reused = true;
        e = send_request(f);
    }
    if (e != ERR_OK) {
        conn_drop(f);
        f->state = IDLE;
        return e;
    }
    if (!f->reused)
        f->state = CONNECTING;
    timer_set(f->timer, deadline_ms);
    return ERR_OK;
}

struct slice
fetch_peer_cert(struct fetcher *f)
{
    return f->conn == NULL ? SLICE_NONE : conn_peer_cert(f->conn);
}

/* The connection is gone before the answer was complete. */
static void
lost(struct fetcher *f, enum err e)
{
    bool again = f->reused && f->state == HEAD && f->interims == 0 && f->parser.probed == 0;

    conn_drop(f);
    if (again) {
        f->state = CONNECTING;
        e = connect_now(f);
        if (e == ERR_OK)
            return;
    }
    finish(f, e);
}

static enum err
read_head(struct fetcher *f)
{
    struct h1_head head;
    size_t len = 0;
    enum err e = h1_parse_head(&f->parser, buf_slice(conn_in(f->conn)), &head, &len);

    if (e != ERR_OK)
        return e;
    conn_consume(f->conn, len);
    if (head.http.status < 200) {
        h1_parser_init(&f->parser, H1_RESPONSE);
        return ++f->interims > INTERIM_MAX ? ERR_BADMSG : ERR_OK;
    }
    f->status = head.http.status;
    f->keep_alive = head.keep_alive && head.framing != H1_BODY_TO_EOF;
    h1_body_init(&f->framing, head.framing, head.content_length);
    f->state = BODY;
    return ERR_OK;
}

static enum err
read_body(struct fetcher *f)
{
    struct slice piece = SLICE_NONE;
    size_t used = 0;
    enum err e = h1_body_read(&f->framing, buf_slice(conn_in(f->conn)), &piece, &used);

    if (e == ERR_BADMSG)
        return e;
    if (piece.len > buf_left(&f->body))
        return ERR_TOOBIG;
    if (piece.len > 0 && buf_add(&f->body, piece) != ERR_OK)
        return ERR_NOMEM;
    conn_consume(f->conn, used);
    return e;
}

/* Takes what is there; true when the fetch is over. */
static bool
read_on(struct fetcher *f)
{
    enum err e = ERR_OK;

    while (e == ERR_OK && f->state == HEAD)
        e = read_head(f);
    while (e == ERR_OK && f->state == BODY && !f->framing.done)
        e = read_body(f);
    if (f->state == BODY && f->framing.done && (e == ERR_OK || e == ERR_AGAIN)) {
        /* Bytes behind the answer belong to nothing that was asked. */
        if (buf_used(conn_in(f->conn)) > 0)
            f->keep_alive = false;
        finish(f, ERR_OK);
        return true;
    }
    if (e == ERR_AGAIN)
        return false;
    finish(f, e);
    return true;
}

static void
on_conn(void *owner, struct conn *c, unsigned events)
{
    struct fetcher *f = owner;

    ASSERT(f->magic == FETCHER_MAGIC);
    if (f->dead || f->conn != c)
        return;
    if (f->state == IDLE) {
        /* A kept connection has nothing to say: it ends, or speaks out of turn. */
        conn_drop(f);
        return;
    }
    if ((events & CONN_FAILED) != 0) {
        enum err e = f->state == CONNECTING ? ERR_IO : ERR_EOF;

        lost(f, conn_error(c) == ERR_AUTH ? ERR_AUTH : e);
        return;
    }
    if ((events & CONN_OPENED) != 0 && f->state == CONNECTING) {
        enum err e = send_request(f);

        if (e != ERR_OK) {
            finish(f, e);
            return;
        }
    }
    if (f->state == CONNECTING)
        return;
    if ((events & CONN_DATA) != 0 && read_on(f))
        return;
    if ((events & CONN_EOF) == 0)
        return;
    /* A reset or a cut of TLS is no end: only an orderly close completes such a body. */
    if (f->state == BODY && conn_error(c) == ERR_OK && h1_body_eof(&f->framing) == ERR_OK)
        finish(f, ERR_OK);
    else
        lost(f, ERR_EOF);
}
