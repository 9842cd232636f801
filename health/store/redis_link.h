#ifndef HEALTH_STORE_REDIS_LINK_H
#define HEALTH_STORE_REDIS_LINK_H

#include "base/err.h"
#include "base/slice.h"
#include "health/store/redis_pipe.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stdint.h>

/* The way to one Redis: connected again whenever it is lost, for as long as it lives. It
 * knows nothing of what the commands are for. */

struct redis_link;
/* The owner may free the link inside either. */
struct redis_link_ops {
    /* The answer to one command; errors are counted by the link and don't come here. */
    void (*reply)(void *owner, struct redis_tag tag, const struct redisReply *reply);
    /* There is room for commands again: just connected, or replies came. */
    void (*room)(void *owner);
};

struct redis_link_opts {
    struct loop *loop;
    const struct redis_link_ops *ops;
    void *owner;
    struct address address;
    const char *host;     /* for re-resolving when it is no literal; NULL otherwise */
    struct tls *tls;      /* NULL: plain (loopback only, else ERR_FORBIDDEN); reffed */
    const char *user;     /* NULL: none */
    const char *password; /* NULL: none */
    const struct egress *guard;
};

/* Connects by itself, again and again, from the loop's next turn on. */
MUST_USE enum err redis_link_new(const struct redis_link_opts *opts, struct redis_link **out);
void redis_link_free(struct redis_link **l);

/* Connected, and the pipeline is not full. */
bool redis_link_has_room(const struct redis_link *l);
/* Only while there is room. Its reply comes later, or never: a connection that is lost takes
 * its commands with it. */
void redis_link_send(struct redis_link *l, struct redis_tag tag, const struct slice *words,
                     uint32_t count);
bool redis_link_is_ready(const struct redis_link *l);
/* Lost connections and error replies. */
uint64_t redis_link_errors(const struct redis_link *l);

#endif
