#ifndef HEALTH_STORE_REDIS_PIPE_H
#define HEALTH_STORE_REDIS_PIPE_H

#include "base/clock.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* The commands that are out on one connection to a Redis, and the replies that come back in
 * their order. Both are bounded; what the commands mean is the owner's. */

#define REDIS_PIPE_WORDS_MAX 16         /* of one command */
#define REDIS_PIPE_REPLY_MAX (1u << 20) /* bytes of one reply */

struct conn;
struct redis_pipe;
struct redisReply;

/* What the sender wants to hear again with the reply; the pipe doesn't look at it. */
struct redis_tag {
    uint32_t first;
    uint32_t count;
};

MUST_USE enum err redis_pipe_new(struct redis_pipe **out);
void redis_pipe_free(struct redis_pipe **p);

bool redis_pipe_is_full(const struct redis_pipe *p);
/* When the oldest command went out; false when none is out. */
bool redis_pipe_oldest(const struct redis_pipe *p, struct mono *sent);
/* Only while it is not full. */
MUST_USE enum err redis_pipe_send(struct redis_pipe *p, struct conn *c, struct redis_tag tag,
                                  const struct slice *words, uint32_t count, struct mono now);

/* ERR_TOOBIG: a reply longer than REDIS_PIPE_REPLY_MAX. */
MUST_USE enum err redis_pipe_feed(struct redis_pipe *p, struct slice bytes);
/* Gives the next whole reply out of what was fed (freeReplyObject() frees it). ERR_AGAIN:
 * there is none yet. ERR_BADMSG: not the protocol of Redis. ERR_EMPTY: nothing was asked. */
MUST_USE enum err redis_pipe_next(struct redis_pipe *p, struct redis_tag *tag,
                                  struct redisReply **reply);

#endif
