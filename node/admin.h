#ifndef NODE_ADMIN_H
#define NODE_ADMIN_H

#include "base/err.h"
#include "net/loop.h"
#include "node/worker.h"

/* The admin listener, on the main thread: health, readiness, metrics in plain HTTP on an
 * address that only operators reach. It answers whatever the workers are doing. */

struct admin;
struct mesh;

struct admin_opts {
    struct loop *loop;
    struct buf_pool *pool;
    struct shared *shared;
    int fd; /* listening; borrowed */
    /* Metrics of the mesh service, appended to the node's. */
    void (*more_metrics)(void *context, struct text *out);
    void *context;
};
MUST_USE enum err admin_start(const struct admin_opts *opts, struct admin **out);
void admin_stop(struct admin **a);

#endif
