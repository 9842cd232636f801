#ifndef NODE_ADMIN_H
#define NODE_ADMIN_H

#include "base/err.h"
#include "net/loop.h"
#include "node/worker.h"

#include <stdbool.h>

/* The admin listener, on the main thread: health, readiness, metrics in plain HTTP on an
 * address that only operators reach. It answers whatever the workers are doing. */

struct admin;
struct mesh;

struct admin_opts {
    struct loop *loop;
    struct buf_pool *pool;
    struct shared *shared;
    int fd;    /* listening; borrowed */
    bool held; /* accepts nothing until admin_accept() */
    /* Metrics of the mesh service, appended to the node's. */
    void (*more_metrics)(void *context, struct text *out);
    void *context;
};
MUST_USE enum err admin_start(const struct admin_opts *opts, struct admin **out);
/* false: for good, so that fd may be closed; who is connected is still answered. */
void admin_accept(struct admin *a, bool accept);
/* Ready: evidence can be written, the charter is in force, nothing is draining, and at
 * least one backend or peer is known to be up. Static words, or NULL when it is. */
const char *admin_why_not_ready(struct shared *s);
void admin_stop(struct admin **a);

#endif
