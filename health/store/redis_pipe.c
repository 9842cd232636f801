/* hiredis formats the commands and parses the replies; conn.h carries them. */

#include "health/store/redis_pipe.h"

#include "base/check.h"
#include "crypto/hash.h"
#include "net/conn.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

#define PIPELINE_MAX 4
#define ARRAY_MAX 64

struct command {
    struct redis_tag tag;
    struct mono sent;
};

struct redis_pipe {
    redisReader *reader;
    redisReplyObjectFunctions functions;
    redisReplyObjectFunctions *defaults;
    size_t reply_bytes; /* fed since the last whole reply */
    struct command out[PIPELINE_MAX];
    uint32_t out_count;
};

/* Arrays only as long as what we ask for: a reply must not choose how much we allocate. */
#if HIREDIS_MAJOR >= 1
typedef size_t array_len;
#else
typedef int array_len;
#endif
static void *
create_array(const redisReadTask *task, array_len elements)
{
    const struct redis_pipe *p = task->privdata;

    if (elements > ARRAY_MAX)
        return NULL;
    return p->defaults->createArray(task, elements);
}

enum err
redis_pipe_new(struct redis_pipe **out)
{
    struct redis_pipe *p;

    ASSERT(out != NULL && *out == NULL);
    p = calloc(1, sizeof(*p));
    if (p == NULL)
        return ERR_NOMEM;
    p->reader = redisReaderCreate();
    if (p->reader == NULL) {
        free(p);
        return ERR_NOMEM;
    }
    p->defaults = p->reader->fn;
    p->functions = *p->reader->fn;
    p->functions.createArray = create_array;
    p->reader->fn = &p->functions;
    p->reader->privdata = p;
    *out = p;
    return ERR_OK;
}

void
redis_pipe_free(struct redis_pipe **p)
{
    if (*p == NULL)
        return;
    redisReaderFree((*p)->reader);
    free(*p);
    *p = NULL;
}

bool
redis_pipe_is_full(const struct redis_pipe *p)
{
    return p->out_count == PIPELINE_MAX;
}

bool
redis_pipe_oldest(const struct redis_pipe *p, struct mono *sent)
{
    if (p->out_count == 0)
        return false;
    *sent = p->out[0].sent;
    return true;
}

enum err
redis_pipe_send(struct redis_pipe *p, struct conn *c, struct redis_tag tag,
                const struct slice *words, uint32_t count, struct mono now)
{
    const char *argv[REDIS_PIPE_WORDS_MAX];
    size_t lens[REDIS_PIPE_WORDS_MAX];
    char *wire = NULL;
    int len;
    enum err e;

    ASSERT(count <= ARRAY_COUNT(argv));
    ASSERT(!redis_pipe_is_full(p));
    for (uint32_t i = 0; i < count; i++) {
        argv[i] = (const char *)words[i].p;
        lens[i] = words[i].len;
    }
    len = redisFormatCommandArgv(&wire, (int)count, argv, lens);
    if (len < 0)
        return ERR_NOMEM;
    e = conn_write(c, slice_of(wire, (size_t)len));
    hash_wipe(wire, (size_t)len); /* it may hold the password */
    redisFreeCommand(wire);
    if (e == ERR_OK)
        p->out[p->out_count++] = (struct command){tag, now};
    return e;
}

enum err
redis_pipe_feed(struct redis_pipe *p, struct slice bytes)
{
    p->reply_bytes += bytes.len;
    if (p->reply_bytes > REDIS_PIPE_REPLY_MAX ||
        redisReaderFeed(p->reader, (const char *)bytes.p, bytes.len) != REDIS_OK)
        return ERR_TOOBIG;
    return ERR_OK;
}

enum err
redis_pipe_next(struct redis_pipe *p, struct redis_tag *tag, struct redisReply **reply)
{
    void *next = NULL;

    if (redisReaderGetReply(p->reader, &next) != REDIS_OK)
        return ERR_BADMSG;
    if (next == NULL)
        return ERR_AGAIN;
    if (p->out_count == 0) {
        freeReplyObject(next);
        return ERR_EMPTY;
    }
    p->reply_bytes = 0;
    *tag = p->out[0].tag;
    *reply = next;
    p->out_count--;
    memmove(&p->out[0], &p->out[1], p->out_count * sizeof(p->out[0]));
    return ERR_OK;
}
