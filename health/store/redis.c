/* Adverts in a Redis. hiredis formats commands and parses replies; connection, TLS, deadlines
 * and back-off are ours, because hiredis 0.14 has none of them.
 *
 *   WAIT --back-off over--> RESOLVE (a name only) --> CONNECTING --> AUTH (with a password)
 *     --> ROLE (must be a master) --> READY
 *   any state --error or deadline--> WAIT
 *
 * At most PIPELINE_MAX commands are out at a time. One that is not answered in time costs the
 * connection, so that a server which is frozen can't hold anything up. */

#include "health/store/store.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "health/store/resolve.h"
#include "net/conn.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_MAGIC 0x52454449u
#define CONNECT_MS 500
#define COMMAND_MS 300
#define RESOLVE_MS 2000
#define RESOLVE_LOOK_MS 20
#define BACK_OFF_MS 100
#define BACK_OFF_MS_MAX 2000
#define PIPELINE_MAX 4
#define VALUE_MAX 65536
#define REPLY_MAX (1u << 20)
/* Keys of one MGET: as many whole records as one reply may hold. */
#define BATCH_MAX 15
#define IN_MAX 65536
#define OUT_MAX (4u << 17)
#define POOL_KEPT_MAX (1u << 18)
#define KEY_MAX 128

_Static_assert(BATCH_MAX *(VALUE_MAX + 32) < REPLY_MAX, "a full batch fits a reply");

enum state { WAIT, RESOLVE, CONNECTING, AUTH, ROLE, READY };
enum command_kind { COMMAND_AUTH, COMMAND_ROLE, COMMAND_SET, COMMAND_PUBLISH, COMMAND_MGET };

struct command {
    enum command_kind kind;
    uint32_t first; /* MGET: node of its first key */
    uint32_t count;
    struct mono sent;
};

struct redis {
    struct store store; /* first */
    uint32_t magic;
    bool dead;
    struct store_opts opts;
    struct address address;
    char *host;
    char *user;
    char *password;
    struct tls *tls;
    const struct egress *guard;
    char mesh[33];
    char (*keys)[KEY_MAX];
    struct buf_pool *pool;
    enum state state;
    struct timer *timer; /* of the state; READY: of the oldest command */
    struct resolve *resolve;
    struct mono resolve_since;
    struct conn *conn;
    redisReader *reader;
    redisReplyObjectFunctions functions;
    redisReplyObjectFunctions *defaults;
    size_t reply_bytes; /* fed since the last whole reply */
    struct command out[PIPELINE_MAX];
    uint32_t out_count;
    uint32_t attempts; /* since it was last ready */
    uint64_t errors;
    uint8_t *value; /* the newest record */
    size_t value_len;
    bool value_waits;
    bool hint_waits;
    uint32_t poll_next; /* node whose key is asked next; name_count: nothing to ask */
};

static void pump(struct redis *r);
static void connect_now(struct redis *r);
static void on_conn(void *owner, struct conn *c, unsigned events);

static struct redis *
redis_of(struct store *s)
{
    struct redis *r = (struct redis *)(void *)s;

    ASSERT(r->magic == REDIS_MAGIC);
    return r;
}

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
disconnect(struct redis *r)
{
    if (r->conn != NULL)
        conn_abort(r->conn);
    r->conn = NULL;
    if (r->reader != NULL)
        redisReaderFree(r->reader);
    r->reader = NULL;
    r->out_count = 0;
    r->reply_bytes = 0;
}

/* Full jitter: nodes that lost the same server do not come back together. */
static void
back_off(struct redis *r, const char *why)
{
    uint64_t max = (uint64_t)BACK_OFF_MS << (r->attempts < 5 ? r->attempts : 5);

    if (r->attempts == 0)
        log_event(LOG_WARN, "store.lost", "reason=\"%s\"", why);
    disconnect(r);
    resolve_free(&r->resolve);
    r->errors++;
    r->attempts++;
    r->state = WAIT;
    timer_set(r->timer, 1 + random_below(max < BACK_OFF_MS_MAX ? max : BACK_OFF_MS_MAX));
}

/* Arrays only as long as what we ask for: a reply must not choose how much we allocate. */
#if HIREDIS_MAJOR >= 1
typedef size_t array_len;
#else
typedef int array_len;
#endif
static void *
create_array(const redisReadTask *task, array_len elements)
{
    const struct redis *r = task->privdata;

    if (elements > 64)
        return NULL;
    return r->defaults->createArray(task, elements);
}

static bool
reader_new(struct redis *r)
{
    r->reader = redisReaderCreate();
    if (r->reader == NULL)
        return false;
    r->defaults = r->reader->fn;
    r->functions = *r->reader->fn;
    r->functions.createArray = create_array;
    r->reader->fn = &r->functions;
    r->reader->privdata = r;
    return true;
}

static void
connect_now(struct redis *r)
{
    const struct conn_opts opts = {
        .loop = r->opts.loop,
        .pool = r->pool,
        .tls = r->tls,
        .fn = on_conn,
        .owner = r,
        .in_max = IN_MAX,
        .out_max = OUT_MAX,
        .guard = r->guard,
    };
    enum err e;

    r->state = CONNECTING;
    if (r->tls == NULL && !is_loopback(&r->address)) {
        back_off(r, "plain outside of loopback");
        return;
    }
    if (!reader_new(r)) {
        back_off(r, err_text(ERR_NOMEM));
        return;
    }
    timer_set(r->timer, CONNECT_MS);
    e = conn_connect(&opts, &r->address, &r->conn);
    if (e != ERR_OK)
        back_off(r, err_text(e));
}

/* The name may stand for another server by now: it is asked again each time. */
static void
resolve_now(struct redis *r)
{
    enum err e = resolve_start(r->host, address_port(&r->address), &r->resolve);

    if (e != ERR_OK) {
        back_off(r, err_text(e));
        return;
    }
    r->state = RESOLVE;
    r->resolve_since = loop_now(r->opts.loop);
    timer_set(r->timer, RESOLVE_LOOK_MS);
}

static void
resolve_look(struct redis *r)
{
    enum err e = resolve_result(r->resolve, &r->address);

    if (e == ERR_AGAIN && mono_ms_since(loop_now(r->opts.loop), r->resolve_since) < RESOLVE_MS) {
        timer_set(r->timer, RESOLVE_LOOK_MS);
        return;
    }
    resolve_free(&r->resolve);
    if (e == ERR_OK)
        connect_now(r);
    else
        back_off(r, "the name does not resolve");
}

static void
on_timer(void *context)
{
    struct redis *r = context;

    ASSERT(r->magic == REDIS_MAGIC);
    if (r->dead)
        return;
    switch (r->state) {
    case WAIT:
        if (r->host != NULL)
            resolve_now(r);
        else
            connect_now(r);
        break;
    case RESOLVE:
        resolve_look(r);
        break;
    case CONNECTING:
        back_off(r, "connect deadline");
        break;
    case AUTH:
    case ROLE:
    case READY:
        back_off(r, "command deadline");
        break;
    }
}

/* The deadline of the oldest command. */
static void
deadline_set(struct redis *r)
{
    uint64_t spent;

    if (r->out_count == 0) {
        timer_clear(r->timer);
        return;
    }
    spent = mono_ms_since(loop_now(r->opts.loop), r->out[0].sent);
    timer_set(r->timer, spent < COMMAND_MS ? COMMAND_MS - spent : 0);
}

/* False when the connection was given up. */
static bool
send_command(struct redis *r, struct command command, const struct slice *words, int count)
{
    const char *argv[BATCH_MAX + 1];
    size_t lens[BATCH_MAX + 1];
    char *wire = NULL;
    int len;
    enum err e = ERR_NOMEM;

    ASSERT(count <= (int)ARRAY_COUNT(argv) && r->out_count < PIPELINE_MAX);
    for (int i = 0; i < count; i++) {
        argv[i] = (const char *)words[i].p;
        lens[i] = words[i].len;
    }
    len = redisFormatCommandArgv(&wire, count, argv, lens);
    if (len >= 0) {
        e = conn_write(r->conn, slice_of(wire, (size_t)len));
        if (command.kind == COMMAND_AUTH)
            hash_wipe(wire, (size_t)len);
        redisFreeCommand(wire);
    }
    if (e != ERR_OK) {
        back_off(r, err_text(e));
        return false;
    }
    command.sent = loop_now(r->opts.loop);
    r->out[r->out_count++] = command;
    deadline_set(r);
    return true;
}

static void
send_auth(struct redis *r)
{
    struct slice words[3] = {SLICE_LIT("AUTH"), slice_str(r->user), slice_str(r->password)};
    int count = 3;

    if (r->user == NULL) {
        words[1] = words[2];
        count = 2;
    }
    r->state = AUTH;
    (void)send_command(r, (struct command){.kind = COMMAND_AUTH}, words, count);
}

static void
send_role(struct redis *r)
{
    const struct slice words[1] = {SLICE_LIT("ROLE")};

    r->state = ROLE;
    (void)send_command(r, (struct command){.kind = COMMAND_ROLE}, words, 1);
}

static bool
send_set(struct redis *r)
{
    const struct slice words[5] = {SLICE_LIT("SET"), slice_str(r->keys[r->opts.own]),
                                   slice_of(r->value, r->value_len), SLICE_LIT("EX"),
                                   SLICE_LIT("15")};

    r->value_waits = false;
    r->hint_waits = true;
    return send_command(r, (struct command){.kind = COMMAND_SET}, words, 5);
}

static bool
send_hint(struct redis *r)
{
    char channel[KEY_MAX];
    struct slice words[3] = {SLICE_LIT("PUBLISH"), SLICE_NONE, slice_str(r->keys[r->opts.own])};

    r->hint_waits = false;
    if (!text_format(channel, sizeof(channel), "portolan:{%s}:news", r->mesh))
        return true;
    words[1] = slice_str(channel);
    return send_command(r, (struct command){.kind = COMMAND_PUBLISH}, words, 3);
}

static bool
send_mget(struct redis *r)
{
    struct slice words[BATCH_MAX + 1] = {SLICE_LIT("MGET")};
    struct command command = {.kind = COMMAND_MGET, .first = r->poll_next};

    while (command.count < BATCH_MAX && r->poll_next < r->opts.name_count)
        words[++command.count] = slice_str(r->keys[r->poll_next++]);
    return send_command(r, command, words, (int)command.count + 1);
}

/* Sends what waits, as far as the pipeline allows. */
static void
pump(struct redis *r)
{
    bool alive = r->state == READY;

    while (alive && r->out_count < PIPELINE_MAX) {
        if (r->value_waits)
            alive = send_set(r);
        else if (r->hint_waits)
            alive = send_hint(r);
        else if (r->poll_next < r->opts.name_count)
            alive = send_mget(r);
        else
            return;
    }
}

static void
take_records(struct redis *r, const struct command *command, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != command->count) {
        r->errors++;
        return;
    }
    for (uint32_t i = 0; i < command->count && !r->dead; i++) {
        const redisReply *v = reply->element[i];

        if (v->type == REDIS_REPLY_NIL)
            continue;
        if (v->type != REDIS_REPLY_STRING || v->len > VALUE_MAX)
            r->errors++;
        else if (r->opts.read != NULL)
            r->opts.read(r->opts.context, command->first + i, slice_of(v->str, v->len));
    }
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
take_reply(struct redis *r, const struct command *command, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        struct log_quoted quoted;
        struct slice error = slice_of(reply->str, reply->len);

        if (r->state != READY || wants_reconnect(error))
            back_off(r, log_quote(error, &quoted));
        else
            r->errors++;
        return;
    }
    switch (command->kind) {
    case COMMAND_AUTH:
        send_role(r);
        break;
    case COMMAND_ROLE:
        if (!is_master(reply)) {
            back_off(r, "not a master");
            break;
        }
        if (r->attempts > 0)
            log_event(LOG_INFO, "store.connected", "attempts=%u", r->attempts);
        r->attempts = 0;
        r->state = READY;
        break;
    case COMMAND_MGET:
        take_records(r, command, reply);
        break;
    case COMMAND_SET:
    case COMMAND_PUBLISH:
        break;
    }
}

/* One reply out of what was fed; false when there is none or the connection is gone. */
static bool
take_next(struct redis *r)
{
    struct command command;
    void *reply = NULL;

    if (redisReaderGetReply(r->reader, &reply) != REDIS_OK) {
        back_off(r, "not the protocol of Redis");
        return false;
    }
    if (reply == NULL)
        return false;
    if (r->out_count == 0) {
        freeReplyObject(reply);
        back_off(r, "a reply to nothing");
        return false;
    }
    r->reply_bytes = 0;
    command = r->out[0];
    r->out_count--;
    memmove(&r->out[0], &r->out[1], r->out_count * sizeof(r->out[0]));
    deadline_set(r);
    take_reply(r, &command, reply);
    freeReplyObject(reply);
    return !r->dead && r->conn != NULL;
}

static void
take_bytes(struct redis *r)
{
    struct buf *in = conn_in(r->conn);
    struct slice bytes = buf_slice(in);

    r->reply_bytes += bytes.len;
    if (r->reply_bytes > REPLY_MAX ||
        redisReaderFeed(r->reader, (const char *)bytes.p, bytes.len) != REDIS_OK) {
        back_off(r, "reply too long");
        return;
    }
    conn_consume(r->conn, bytes.len);
    while (take_next(r))
        ;
    if (!r->dead && r->conn != NULL)
        pump(r);
}

static void
on_conn(void *owner, struct conn *c, unsigned events)
{
    struct redis *r = owner;

    ASSERT(r->magic == REDIS_MAGIC);
    if (r->dead || r->conn != c)
        return;
    if ((events & CONN_FAILED) != 0) {
        back_off(r, err_text(conn_error(c)));
        return;
    }
    if ((events & CONN_OPENED) != 0) {
        if (r->password != NULL)
            send_auth(r);
        else
            send_role(r);
    }
    if (r->conn == c && (events & CONN_DATA) != 0)
        take_bytes(r);
    if (!r->dead && r->conn == c && (events & CONN_EOF) != 0)
        back_off(r, "closed by the server");
}

static void
redis_listen(struct store *s, store_read_fn read, void *context)
{
    struct redis *r = redis_of(s);

    r->opts.read = read;
    r->opts.context = context;
}

static void
redis_write(struct store *s, struct slice value)
{
    struct redis *r = redis_of(s);

    if (NEVER(value.len > VALUE_MAX))
        return;
    memcpy(r->value, value.p, value.len);
    r->value_len = value.len;
    r->value_waits = true;
    pump(r);
}

static void
redis_poll(struct store *s)
{
    struct redis *r = redis_of(s);

    /* A round that is not through yet goes on: a slow server is not asked even more. */
    if (r->poll_next < r->opts.name_count)
        return;
    r->poll_next = 0;
    pump(r);
}

static bool
redis_connected(const struct store *s)
{
    return ((const struct redis *)(const void *)s)->state == READY;
}

static uint64_t
redis_errors(const struct store *s)
{
    return ((const struct redis *)(const void *)s)->errors;
}

static void
destroy(void *context)
{
    struct redis *r = context;

    ASSERT(r->magic == REDIS_MAGIC && r->dead);
    timer_free(&r->timer);
    if (r->reader != NULL)
        redisReaderFree(r->reader);
    tls_unref(&r->tls);
    buf_pool_free(&r->pool);
    if (r->password != NULL)
        hash_wipe(r->password, strlen(r->password));
    free(r->password);
    free(r->user);
    free(r->host);
    free(r->keys);
    free(r->value);
    r->magic = 0;
    free(r);
}

static void
redis_free(struct store *s)
{
    struct redis *r = redis_of(s);

    ASSERT(!r->dead);
    r->dead = true;
    resolve_free(&r->resolve);
    if (r->timer != NULL)
        timer_clear(r->timer);
    /* The reader may be in use up the stack: it goes with the rest. */
    if (r->conn != NULL)
        conn_abort(r->conn);
    r->conn = NULL;
    loop_bury(r->opts.loop, destroy, r);
}

static enum err
copy_words(struct redis *r, const struct store_redis_opts *opts)
{
    struct address literal;

    if (opts->host != NULL &&
        address_parse(opts->host, address_port(&opts->address), &literal) != ERR_OK)
        r->host = slice_dup(slice_str(opts->host));
    if (opts->user != NULL)
        r->user = slice_dup(slice_str(opts->user));
    if (opts->password != NULL)
        r->password = slice_dup(slice_str(opts->password));
    r->keys = calloc(opts->common.name_count + 1, sizeof(*r->keys));
    r->value = malloc(VALUE_MAX);
    if ((opts->user != NULL && r->user == NULL) ||
        (opts->password != NULL && r->password == NULL) || r->keys == NULL || r->value == NULL)
        return ERR_NOMEM;
    if (!slice_copy_str(slice_str(opts->common.mesh), r->mesh, sizeof(r->mesh)))
        return ERR_TOOBIG;
    for (uint32_t i = 0; i < opts->common.name_count; i++)
        if (!text_format(r->keys[i], KEY_MAX, "portolan:{%s}:node:%s", r->mesh,
                         opts->common.names[i]))
            return ERR_TOOBIG;
    return ERR_OK;
}

enum err
store_redis_new(const struct store_redis_opts *opts, struct store **out)
{
    static const struct store_ops ops = {redis_listen,    redis_write,  redis_poll,
                                         redis_connected, redis_errors, redis_free};
    struct redis *r;
    enum err e;

    ASSERT(out != NULL && *out == NULL);
    ASSERT(opts->common.own < opts->common.name_count);
    if (opts->tls == NULL && !is_loopback(&opts->address))
        return ERR_FORBIDDEN;
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    r->store.ops = &ops;
    r->magic = REDIS_MAGIC;
    r->opts = opts->common;
    r->address = opts->address;
    r->guard = opts->guard;
    r->tls = opts->tls == NULL ? NULL : tls_ref(opts->tls);
    r->poll_next = opts->common.name_count;
    e = copy_words(r, opts);
    if (e == ERR_OK)
        e = buf_pool_new(&r->pool, POOL_KEPT_MAX);
    if (e == ERR_OK)
        e = timer_new(opts->common.loop, on_timer, r, &r->timer);
    if (e != ERR_OK) {
        redis_free(&r->store);
        return e;
    }
    r->state = WAIT;
    timer_set(r->timer, 0);
    *out = &r->store;
    return ERR_OK;
}
