/* One request after the other from a client's connection to a connection of the backend, and
 * its answer back:
 *
 *   a client brings bytes -> a backend connection is taken, or opened -> head and body over
 *   the answer is complete -> the backend connection is idle again
 *
 * Anything unexpected ends both connections: a benchmark in which that happens fails. */
#include "bare/relay.h"

#include "bare/message.h"

#include "net/conn.h"
#include "net/h1.h"

#include <stdlib.h>
#include <unistd.h>

#define IN_MAX (H1_HEAD_MAX + 32768)
#define OUT_MAX (MESSAGE_HIGH_WATER + 2 * IN_MAX)
#define CONNECT_MS 5000
#define LINGER_MS 1000

struct relay_backend {
    struct relay *relay;
    struct relay_backend *next, *prev; /* idle */
    struct client *client;             /* NULL while idle */
    struct conn *conn;
    struct h1_parser parser;
    struct h1_body body;
    bool in_body;
    bool rechunk;  /* the answer's body goes out in chunks */
    bool answered; /* complete, maybe before the request was */
    bool ready;
    bool is_idle;
};

struct client {
    struct relay *relay;
    struct client *next, *prev;
    struct relay_backend *backend; /* NULL between requests */
    struct conn *conn;
    struct h1_parser parser;
    struct h1_body body;
    bool in_body;
    bool rechunk;
    bool sent; /* the request is complete */
    bool keep_alive;
};

static void client_step(struct client *c);

static void
destroy(void *context)
{
    free(context);
}

static void
idle_unlink(struct relay_backend *b)
{
    struct relay *r = b->relay;

    if (!b->is_idle)
        return;
    if (b->prev != NULL)
        b->prev->next = b->next;
    else
        r->idle = b->next;
    if (b->next != NULL)
        b->next->prev = b->prev;
    b->next = b->prev = NULL;
    b->is_idle = false;
    r->idle_count--;
}

static void
backend_end(struct relay_backend *b)
{
    idle_unlink(b);
    if (b->client != NULL)
        b->client->backend = NULL;
    conn_abort(b->conn);
    loop_bury(b->relay->loop, destroy, b);
}

/* At once, or after what is unsent. */
static void
client_end(struct client *c, bool flush)
{
    if (c->backend != NULL)
        backend_end(c->backend);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->relay->clients = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (flush)
        conn_close(c->conn, LINGER_MS);
    else
        conn_abort(c->conn);
    loop_bury(c->relay->loop, destroy, c);
}

static void
idle_link(struct relay_backend *b)
{
    struct relay *r = b->relay;

    b->client = NULL;
    if (r->idle_count == RELAY_IDLE_MAX || !conn_is_open(b->conn)) {
        backend_end(b);
        return;
    }
    b->next = r->idle;
    if (b->next != NULL)
        b->next->prev = b;
    r->idle = b;
    b->is_idle = true;
    r->idle_count++;
}

/* ---- the answer ---------------------------------------------------------------------- */

/* ERR_AGAIN: not all of it is here. */
static enum err
answer_head(struct relay_backend *b)
{
    uint8_t storage[H1_HEAD_MAX];
    struct h1_head head;
    struct text out;
    size_t len = 0;
    enum err e;

    for (;;) {
        e = h1_parse_head(&b->parser, buf_slice(conn_in(b->conn)), &head, &len);
        if (e != ERR_OK)
            return e;
        if (head.http.status >= 200)
            break;
        conn_consume(b->conn, len);
        h1_parser_init(&b->parser, H1_RESPONSE);
    }
    text_init(&out, storage, sizeof(storage));
    h1_write_status_line(&out, head.http.status);
    message_add_fields(&head, &out);
    message_add_framing(&head, &b->rechunk, &out);
    if (!message_write_text(b->client->conn, &out))
        return ERR_FULL;
    h1_body_init(&b->body, head.framing, head.content_length);
    b->in_body = true;
    conn_consume(b->conn, len);
    return ERR_OK;
}

/* Both messages are complete. */
static void
exchange_done(struct relay_backend *b)
{
    struct client *c = b->client;

    if (!c->keep_alive || buf_used(conn_in(b->conn)) > 0) {
        client_end(c, true);
        return;
    }
    c->backend = NULL;
    idle_link(b);
    c->in_body = c->sent = false;
    h1_parser_init(&c->parser, H1_REQUEST);
    if (buf_used(conn_in(c->conn)) > 0)
        conn_kick(c->conn);
}

static void
answer_step(struct relay_backend *b)
{
    enum message_pump p;

    if (b->answered)
        return;
    if (!b->in_body) {
        enum err e = answer_head(b);

        if (e == ERR_AGAIN)
            return;
        if (e != ERR_OK) {
            client_end(b->client, false);
            return;
        }
    }
    p = message_pump(&b->body, b->conn, b->client->conn, b->rechunk);
    if (p == PUMP_FAILED)
        client_end(b->client, false);
    else if (p == PUMP_DONE)
        b->answered = true;
    if (p == PUMP_DONE && b->client->sent)
        exchange_done(b);
}

static void
on_backend(void *owner, struct conn *conn, unsigned events)
{
    struct relay_backend *b = owner;
    struct client *c = b->client;

    if (c == NULL) {
        backend_end(b); /* idle: whatever comes makes it useless */
        return;
    }
    if ((events & (CONN_FAILED | CONN_TIMED_OUT)) != 0) {
        client_end(c, false);
        return;
    }
    if ((events & CONN_OPENED) != 0) {
        conn_deadline(conn, 0);
        b->ready = true;
        client_step(c);
        return;
    }
    if ((events & CONN_DRAINED) != 0) {
        conn_resume(c->conn);
        client_step(c);
        if (b->client == NULL || c->backend != b)
            return;
    }
    if ((events & CONN_DATA) != 0)
        answer_step(b);
    if ((events & CONN_EOF) != 0 && b->client == c && c->backend == b)
        client_end(c, false);
}

/* ---- the request --------------------------------------------------------------------- */

static bool
take_backend(struct client *c)
{
    struct relay *r = c->relay;
    struct relay_backend *b = r->idle;
    struct conn_opts opts = {.loop = r->loop,
                             .pool = r->pool,
                             .tls = r->client_tls,
                             .reuse = r->reuse,
                             .fn = on_backend,
                             .in_max = IN_MAX,
                             .out_max = OUT_MAX,
                             .guard = r->guard};

    if (b != NULL) {
        idle_unlink(b);
    } else {
        b = calloc(1, sizeof(*b));
        if (b == NULL)
            return false;
        b->relay = r;
        opts.owner = b;
        if (conn_connect(&opts, &r->backend, &b->conn) != ERR_OK) {
            free(b);
            return false;
        }
        conn_set_low_water(b->conn, MESSAGE_HIGH_WATER / 2);
        conn_deadline(b->conn, CONNECT_MS);
    }
    b->in_body = b->answered = false;
    h1_parser_init(&b->parser, H1_RESPONSE);
    b->client = c;
    c->backend = b;
    return true;
}

static enum err
request_head(struct client *c)
{
    uint8_t storage[H1_HEAD_MAX];
    struct h1_head head;
    struct text out;
    size_t len = 0;
    enum err e = h1_parse_head(&c->parser, buf_slice(conn_in(c->conn)), &head, &len);

    if (e != ERR_OK)
        return e;
    text_init(&out, storage, sizeof(storage));
    h1_write_request_line(&out, head.http.method, head.target);
    h1_write_field(&out, SLICE_LIT("Host"), slice_str(c->relay->host));
    message_add_fields(&head, &out);
    message_add_framing(&head, &c->rechunk, &out);
    if (!message_write_text(c->backend->conn, &out))
        return ERR_FULL;
    c->keep_alive = head.keep_alive;
    c->backend->parser.head_request = head.http.method == HTTP_HEAD;
    h1_body_init(&c->body, head.framing, head.content_length);
    c->in_body = true;
    conn_consume(c->conn, len);
    return ERR_OK;
}

static void
client_step(struct client *c)
{
    if (c->sent || buf_used(conn_in(c->conn)) == 0)
        return;
    if (c->backend == NULL && !take_backend(c)) {
        client_end(c, false);
        return;
    }
    if (!c->backend->ready)
        return;
    if (!c->in_body) {
        enum err e = request_head(c);

        if (e == ERR_AGAIN)
            return;
        if (e != ERR_OK) {
            client_end(c, false);
            return;
        }
    }
    switch (message_pump(&c->body, c->conn, c->backend->conn, c->rechunk)) {
    case PUMP_FAILED:
        client_end(c, false);
        break;
    case PUMP_DONE:
        c->sent = true;
        if (c->backend->answered)
            exchange_done(c->backend);
        break;
    case PUMP_MORE:
        break;
    }
}

static void
on_client(void *owner, struct conn *conn, unsigned events)
{
    struct client *c = owner;

    (void)conn;
    if ((events & (CONN_FAILED | CONN_TIMED_OUT | CONN_EOF)) != 0) {
        client_end(c, false);
        return;
    }
    if ((events & CONN_DRAINED) != 0 && c->backend != NULL) {
        struct relay_backend *b = c->backend;

        conn_resume(b->conn);
        answer_step(b);
        return;
    }
    if ((events & CONN_DATA) != 0)
        client_step(c);
}

void
relay_accept(void *context, int fd)
{
    struct relay *r = context;
    struct client *c = calloc(1, sizeof(*c));
    struct conn_opts opts = {.loop = r->loop,
                             .pool = r->pool,
                             .tls = r->server_tls,
                             .fn = on_client,
                             .owner = c,
                             .in_max = IN_MAX,
                             .out_max = OUT_MAX};

    if (c == NULL) {
        (void)close(fd);
        return;
    }
    c->relay = r;
    h1_parser_init(&c->parser, H1_REQUEST);
    if (conn_accepted(&opts, fd, &c->conn) != ERR_OK) {
        free(c);
        return;
    }
    conn_set_low_water(c->conn, MESSAGE_HIGH_WATER / 2);
    c->next = r->clients;
    if (c->next != NULL)
        c->next->prev = c;
    r->clients = c;
}

void
relay_end(struct relay *r)
{
    while (r->clients != NULL)
        client_end(r->clients, false);
    while (r->idle != NULL)
        backend_end(r->idle);
}
