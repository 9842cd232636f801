/* Connection, TLS, deadlines and back-off are ours, because hiredis 0.14 has none of them.
 *
 *   WAIT --back-off over--> RESOLVE (a name only) --> CONNECTING --> AUTH (with a password)
 *     --> ROLE (must be a master) --> READY
 *   any state --error or deadline--> WAIT
 *
 * A command that is not answered in time costs the connection, so that a server which is
 * frozen can't hold anything up. */

#include "health/store/redis_link.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "health/store/resolve.h"
#include "net/conn.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_LINK_MAGIC 0x52444c4bu
#define CONNECT_MS 500
#define COMMAND_MS 300
#define RESOLVE_MS 2000
#define RESOLVE_LOOK_MS 20
#define BACK_OFF_MS 100
#define BACK_OFF_MS_MAX 2000
#define IN_MAX 65536
#define OUT_MAX (4u << 17)
#define POOL_KEPT_MAX (1u << 18)

enum state { WAIT, RESOLVE, CONNECTING, AUTH, ROLE, READY };

struct redis_link {
    uint32_t magic;
    bool dead;
    struct loop *loop;
    const struct redis_link_ops *ops;
    void *owner;
    struct address address;
    char *host; /* NULL: address is a literal */
    char *user;
    char *password;
    struct tls *tls;
    const struct egress *guard;
    struct buf_pool *pool;
    enum state state;
    struct timer *timer; /* of the state; READY: of the oldest command */
    struct resolve *resolve;
    struct mono resolve_since;
    struct conn *conn;
    struct redis_pipe *pipe; /* on conn */
    uint32_t attempts;       /* since it was last ready */
    uint64_t errors;
};

static bool
is_loopback(const struct address *a)
{
    if (a->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;

        memcpy(&v6, &a->storage, sizeof(v6));
        return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
    } else {
        struct sockaddr_in v4;

        memcpy(&v4, &a->storage, sizeof(v4));
        return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
    }
}

static void
disconnect(struct redis_link *l)
{
    if (l->conn != NULL)
        conn_abort(l->conn);
    l->conn = NULL;
    redis_pipe_free(&l->pipe);
}

/* Full jitter: nodes that lost the same server do not come back together. */
static void
back_off(struct redis_link *l, const char *why)
{
    uint64_t max = (uint64_t)BACK_OFF_MS << (l->attempts < 5 ? l->attempts : 5);

    if (l->attempts == 0)
        log_event(LOG_WARN, "store.lost", "reason=\"%s\"", why);
    disconnect(l);
    resolve_free(&l->resolve);
    l->errors++;
    l->attempts++;
    l->state = WAIT;
    timer_set(l->timer, 1 + random_below(max < BACK_OFF_MS_MAX ? max : BACK_OFF_MS_MAX));
}

/* The deadline of the oldest command. */
static void
deadline_set(struct redis_link *l)
{
    struct mono sent;
    uint64_t spent;

    if (!redis_pipe_oldest(l->pipe, &sent)) {
        timer_clear(l->timer);
        return;
    }
    spent = mono_ms_since(loop_now(l->loop), sent);
    timer_set(l->timer, spent < COMMAND_MS ? COMMAND_MS - spent : 0);
}

static void
send_command(struct redis_link *l, struct redis_tag tag, const struct slice *words, uint32_t count)
{
    enum err e = redis_pipe_send(l->pipe, l->conn, tag, words, count, loop_now(l->loop));

    if (e == ERR_OK)
        deadline_set(l);
    else
        back_off(l, err_text(e));
}

static void
send_auth(struct redis_link *l)
{
    struct slice words[3] = {SLICE_LIT("AUTH"), slice_str(l->user), slice_str(l->password)};
    uint32_t count = 3;

    if (l->user == NULL) {
        words[1] = words[2];
        count = 2;
    }
    l->state = AUTH;
    send_command(l, (struct redis_tag){0}, words, count);
}

static void
send_role(struct redis_link *l)
{
    const struct slice words[1] = {SLICE_LIT("ROLE")};

    l->state = ROLE;
    send_command(l, (struct redis_tag){0}, words, 1);
}

/* An error that another connection may cure (another server behind the name, or a login);
 * LOADING and OOM pass with time, and what is said next second is newer anyway. */
static bool
wants_reconnect(struct slice error)
{
    static const char *const words[] = {"READONLY", "MASTERDOWN", "NOAUTH", "WRONGPASS"};
    struct slice first = slice_cut(&error, ' ');

    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (slice_is(first, words[i]))
            return true;
    return false;
}

static bool
is_master(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
           reply->element[0]->type == REDIS_REPLY_STRING &&
           slice_is(slice_of(reply->element[0]->str, reply->element[0]->len), "master");
}

static void
take_role(struct redis_link *l, const redisReply *reply)
{
    if (!is_master(reply)) {
        back_off(l, "not a master");
        return;
    }
    if (l->attempts > 0)
        log_event(LOG_INFO, "store.connected", "attempts=%u", l->attempts);
    l->attempts = 0;
    l->state = READY;
}

static void
take_reply(struct redis_link *l, struct redis_tag tag, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        struct log_quoted quoted;
        struct slice error = slice_of(reply->str, reply->len);

        if (l->state != READY || wants_reconnect(error))
            back_off(l, log_quote(error, &quoted));
        else
            l->errors++;
        return;
    }
    /* AUTH and ROLE go out alone, so the state says what is answered. */
    if (l->state == AUTH)
        send_role(l);
    else if (l->state == ROLE)
        take_role(l, reply);
    else
        l->ops->reply(l->owner, tag, reply);
}

/* One reply out of what was fed; false when there is none or the connection is gone. */
static bool
take_next(struct redis_link *l)
{
    struct redis_tag tag;
    struct redisReply *reply = NULL;
    enum err e = redis_pipe_next(l->pipe, &tag, &reply);

    if (e == ERR_AGAIN)
        return false;
    if (e != ERR_OK) {
        back_off(l, e == ERR_EMPTY ? "a reply to nothing" : "not the protocol of Redis");
        return false;
    }
    deadline_set(l);
    take_reply(l, tag, reply);
    freeReplyObject(reply);
    return !l->dead && l->conn != NULL;
}

static void
take_bytes(struct redis_link *l)
{
    struct slice bytes = buf_slice(conn_in(l->conn));

    if (redis_pipe_feed(l->pipe, bytes) != ERR_OK) {
        back_off(l, "reply too long");
        return;
    }
    conn_consume(l->conn, bytes.len);
    while (take_next(l))
        ;
    if (redis_link_has_room(l))
        l->ops->room(l->owner);
}

static void
on_conn(void *owner, struct conn *c, unsigned events)
{
    struct redis_link *l = owner;

    ASSERT(l->magic == REDIS_LINK_MAGIC);
    if (l->dead || l->conn != c)
        return;
    if ((events & CONN_FAILED) != 0) {
        back_off(l, err_text(conn_error(c)));
        return;
    }
    if ((events & CONN_OPENED) != 0) {
        if (l->password != NULL)
            send_auth(l);
        else
            send_role(l);
    }
    if (l->conn == c && (events & CONN_DATA) != 0)
        take_bytes(l);
    if (!l->dead && l->conn == c && (events & CONN_EOF) != 0)
        back_off(l, "closed by the server");
}

static void
connect_now(struct redis_link *l)
{
    const struct conn_opts opts = {
        .loop = l->loop,
        .pool = l->pool,
        .tls = l->tls,
        .fn = on_conn,
        .owner = l,
        .in_max = IN_MAX,
        .out_max = OUT_MAX,
        .guard = l->guard,
    };
    enum err e;

    l->state = CONNECTING;
    if (l->tls == NULL && !is_loopback(&l->address)) {
        back_off(l, "plain outside of loopback");
        return;
    }
    timer_set(l->timer, CONNECT_MS);
    e = redis_pipe_new(&l->pipe);
    if (e == ERR_OK)
        e = conn_connect(&opts, &l->address, &l->conn);
    if (e != ERR_OK)
        back_off(l, err_text(e));
}

/* The name may stand for another server by now: it is asked again each time. */
static void
resolve_now(struct redis_link *l)
{
    enum err e = resolve_start(l->host, address_port(&l->address), &l->resolve);

    if (e != ERR_OK) {
        back_off(l, err_text(e));
        return;
    }
    l->state = RESOLVE;
    l->resolve_since = loop_now(l->loop);
    timer_set(l->timer, RESOLVE_LOOK_MS);
}

static void
resolve_look(struct redis_link *l)
{
    enum err e = resolve_result(l->resolve, &l->address);

    if (e == ERR_AGAIN && mono_ms_since(loop_now(l->loop), l->resolve_since) < RESOLVE_MS) {
        timer_set(l->timer, RESOLVE_LOOK_MS);
        return;
    }
    resolve_free(&l->resolve);
    if (e == ERR_OK)
        connect_now(l);
    else
        back_off(l, "the name does not resolve");
}

static void
on_timer(void *context)
{
    struct redis_link *l = context;

    ASSERT(l->magic == REDIS_LINK_MAGIC);
    if (l->dead)
        return;
    switch (l->state) {
    case WAIT:
        if (l->host != NULL)
            resolve_now(l);
        else
            connect_now(l);
        break;
    case RESOLVE:
        resolve_look(l);
        break;
    case CONNECTING:
        back_off(l, "connect deadline");
        break;
    case AUTH:
    case ROLE:
    case READY:
        back_off(l, "command deadline");
        break;
    }
}

static void
destroy(void *context)
{
    struct redis_link *l = context;

    ASSERT(l->magic == REDIS_LINK_MAGIC && l->dead);
    timer_free(&l->timer);
    redis_pipe_free(&l->pipe);
    tls_unref(&l->tls);
    buf_pool_free(&l->pool);
    if (l->password != NULL)
        hash_wipe(l->password, strlen(l->password));
    free(l->password);
    free(l->user);
    free(l->host);
    l->magic = 0;
    free(l);
}

static enum err
copy_words(struct redis_link *l, const struct redis_link_opts *opts)
{
    struct address literal;
    bool is_name = opts->host != NULL &&
                   address_parse(opts->host, address_port(&opts->address), &literal) != ERR_OK;

    if (is_name)
        l->host = slice_dup(slice_str(opts->host));
    if (opts->user != NULL)
        l->user = slice_dup(slice_str(opts->user));
    if (opts->password != NULL)
        l->password = slice_dup(slice_str(opts->password));
    if ((is_name && l->host == NULL) || (opts->user != NULL && l->user == NULL) ||
        (opts->password != NULL && l->password == NULL))
        return ERR_NOMEM;
    return ERR_OK;
}

enum err
redis_link_new(const struct redis_link_opts *opts, struct redis_link **out)
{
    struct redis_link *l;
    enum err e;

    ASSERT(out != NULL && *out == NULL);
    if (opts->tls == NULL && !is_loopback(&opts->address))
        return ERR_FORBIDDEN;
    l = calloc(1, sizeof(*l));
    if (l == NULL)
        return ERR_NOMEM;
    l->magic = REDIS_LINK_MAGIC;
    l->loop = opts->loop;
    l->ops = opts->ops;
    l->owner = opts->owner;
    l->address = opts->address;
    l->guard = opts->guard;
    l->tls = opts->tls == NULL ? NULL : tls_ref(opts->tls);
    e = copy_words(l, opts);
    if (e == ERR_OK)
        e = buf_pool_new(&l->pool, POOL_KEPT_MAX);
    if (e == ERR_OK)
        e = timer_new(l->loop, on_timer, l, &l->timer);
    if (e != ERR_OK) {
        redis_link_free(&l);
        return e;
    }
    l->state = WAIT;
    timer_set(l->timer, 0);
    *out = l;
    return ERR_OK;
}

void
redis_link_free(struct redis_link **link)
{
    struct redis_link *l = *link;

    if (l == NULL)
        return;
    *link = NULL;
    ASSERT(l->magic == REDIS_LINK_MAGIC && !l->dead);
    l->dead = true;
    resolve_free(&l->resolve);
    if (l->timer != NULL)
        timer_clear(l->timer);
    /* The pipe may be in use up the stack: it goes with the rest. */
    if (l->conn != NULL)
        conn_abort(l->conn);
    l->conn = NULL;
    loop_bury(l->loop, destroy, l);
}

bool
redis_link_has_room(const struct redis_link *l)
{
    return !l->dead && l->state == READY && !redis_pipe_is_full(l->pipe);
}

void
redis_link_send(struct redis_link *l, struct redis_tag tag, const struct slice *words,
                uint32_t count)
{
    ASSERT(redis_link_has_room(l));
    send_command(l, tag, words, count);
}

bool
redis_link_is_ready(const struct redis_link *l)
{
    return l->state == READY;
}

uint64_t
redis_link_errors(const struct redis_link *l)
{
    return l->errors;
}
