#ifndef NODE_RELOAD_H
#define NODE_RELOAD_H

#include "base/issue.h"
#include "node/worker.h"

#include <pthread.h>
#include <stdbool.h>

/* SIGHUP: config, charter, certificates, keys and database, all of them or nothing.
 *
 *   load and check (a thread of its own, so that probes go on) -> prepare (mesh thread:
 *   whatever else can fail) -> commit (the swap, which can't)
 */

struct weather;

struct reload {
    const char *config_path; /* the first five: the owner's, set before the first start */
    struct loop *loop;
    struct shared *shared;
    const _Atomic bool *draining;
    struct weather **weather;
    pthread_t thread;
    bool running;
    bool again;                /* asked for once more meanwhile */
    struct snapshot *prepared; /* written by the thread before it says done */
    struct issues *issues;
    _Atomic bool done;
};

/* Mesh thread. Begins one, or remembers that another is wanted. */
void reload_start(struct reload *r);
/* Mesh thread, whenever the loop was woken: commits or drops one that is loaded. */
void reload_finish(struct reload *r, bool may_commit);
/* Waits for the thread and drops what it brought. */
void reload_stop(struct reload *r);

#endif
