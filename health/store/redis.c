/* Adverts in a Redis: one key a node, written with a TTL and read with MGET. */

#include "health/store/store.h"

#include "base/check.h"
#include "base/text.h"
#include "health/store/redis_link.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_MAGIC 0x52454449u
#define VALUE_MAX 65536
/* Keys of one MGET: as many whole records as one reply may hold. */
#define BATCH_MAX 15
#define KEY_MAX 128

_Static_assert(BATCH_MAX *(VALUE_MAX + 32) < REDIS_PIPE_REPLY_MAX, "a full batch fits a reply");
_Static_assert(BATCH_MAX + 1 <= REDIS_PIPE_WORDS_MAX, "a full batch fits a command");

struct redis {
    struct store store; /* first */
    uint32_t magic;
    bool dead;
    struct loop *loop;
    struct redis_link *link;
    store_read_fn read; /* may be NULL */
    void *context;
    uint32_t own;
    uint32_t name_count;
    char mesh[33];
    char (*keys)[KEY_MAX];
    uint64_t errors; /* records that are none; the link counts its own */
    uint8_t *value;  /* the newest record */
    size_t value_len;
    bool value_waits;
    bool hint_waits;
    uint32_t poll_next; /* node whose key is asked next; name_count: nothing to ask */
};

static struct redis *
redis_of(struct store *s)
{
    struct redis *r = (struct redis *)(void *)s;

    ASSERT(r->magic == REDIS_MAGIC);
    return r;
}

static void
on_reply(void *owner, struct redis_tag tag, const struct redisReply *reply)
{
    struct redis *r = owner;

    ASSERT(r->magic == REDIS_MAGIC && !r->dead);
    if (tag.count == 0) /* of SET and PUBLISH */
        return;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != tag.count) {
        r->errors++;
        return;
    }
    for (uint32_t i = 0; i < tag.count && !r->dead; i++) {
        const redisReply *v = reply->element[i];

        if (v->type == REDIS_REPLY_NIL)
            continue;
        if (v->type != REDIS_REPLY_STRING || v->len > VALUE_MAX)
            r->errors++;
        else if (r->read != NULL)
            r->read(r->context, tag.first + i, slice_of(v->str, v->len));
    }
}

static void
send_set(struct redis *r)
{
    const struct slice words[5] = {SLICE_LIT("SET"), slice_str(r->keys[r->own]),
                                   slice_of(r->value, r->value_len), SLICE_LIT("EX"),
                                   SLICE_LIT("15")};

    r->value_waits = false;
    r->hint_waits = true;
    redis_link_send(r->link, (struct redis_tag){0}, words, 5);
}

static void
send_hint(struct redis *r)
{
    char channel[KEY_MAX];
    struct slice words[3] = {SLICE_LIT("PUBLISH"), SLICE_NONE, slice_str(r->keys[r->own])};

    r->hint_waits = false;
    if (!text_format(channel, sizeof(channel), "portolan:{%s}:news", r->mesh))
        return;
    words[1] = slice_str(channel);
    redis_link_send(r->link, (struct redis_tag){0}, words, 3);
}

static void
send_mget(struct redis *r)
{
    struct slice words[BATCH_MAX + 1] = {SLICE_LIT("MGET")};
    struct redis_tag tag = {.first = r->poll_next};

    while (tag.count < BATCH_MAX && r->poll_next < r->name_count)
        words[++tag.count] = slice_str(r->keys[r->poll_next++]);
    redis_link_send(r->link, tag, words, tag.count + 1);
}

/* Sends what waits, as far as the link has room. */
static void
pump(struct redis *r)
{
    while (redis_link_has_room(r->link)) {
        if (r->value_waits)
            send_set(r);
        else if (r->hint_waits)
            send_hint(r);
        else if (r->poll_next < r->name_count)
            send_mget(r);
        else
            return;
    }
}

static void
on_room(void *owner)
{
    struct redis *r = owner;

    ASSERT(r->magic == REDIS_MAGIC && !r->dead);
    pump(r);
}

static void
redis_listen(struct store *s, store_read_fn read, void *context)
{
    struct redis *r = redis_of(s);

    r->read = read;
    r->context = context;
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
    if (r->poll_next < r->name_count)
        return;
    r->poll_next = 0;
    pump(r);
}

static bool
redis_connected(const struct store *s)
{
    return redis_link_is_ready(((const struct redis *)(const void *)s)->link);
}

static uint64_t
redis_errors(const struct store *s)
{
    const struct redis *r = (const struct redis *)(const void *)s;

    return redis_link_errors(r->link) + r->errors;
}

static void
destroy(void *context)
{
    struct redis *r = context;

    ASSERT(r->magic == REDIS_MAGIC && r->dead);
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
    redis_link_free(&r->link);
    loop_bury(r->loop, destroy, r);
}

static enum err
make_keys(struct redis *r, const struct store_opts *opts)
{
    r->keys = calloc(opts->name_count + 1, sizeof(*r->keys));
    if (r->keys == NULL)
        return ERR_NOMEM;
    if (!slice_copy_str(slice_str(opts->mesh), r->mesh, sizeof(r->mesh)))
        return ERR_TOOBIG;
    for (uint32_t i = 0; i < opts->name_count; i++)
        if (!text_format(r->keys[i], KEY_MAX, "portolan:{%s}:node:%s", r->mesh, opts->names[i]))
            return ERR_TOOBIG;
    return ERR_OK;
}

static enum err
make_link(struct redis *r, const struct store_redis_opts *opts)
{
    static const struct redis_link_ops ops = {on_reply, on_room};
    const struct redis_link_opts link = {
        .loop = r->loop,
        .ops = &ops,
        .owner = r,
        .address = opts->address,
        .host = opts->host,
        .tls = opts->tls,
        .user = opts->user,
        .password = opts->password,
        .guard = opts->guard,
    };

    return redis_link_new(&link, &r->link);
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
    r = calloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NOMEM;
    r->store.ops = &ops;
    r->magic = REDIS_MAGIC;
    r->loop = opts->common.loop;
    r->read = opts->common.read;
    r->context = opts->common.context;
    r->own = opts->common.own;
    r->name_count = opts->common.name_count;
    r->poll_next = r->name_count;
    r->value = malloc(VALUE_MAX);
    e = r->value == NULL ? ERR_NOMEM : make_keys(r, &opts->common);
    if (e == ERR_OK)
        e = make_link(r, opts);
    if (e != ERR_OK) {
        redis_free(&r->store);
        return e;
    }
    *out = &r->store;
    return ERR_OK;
}
