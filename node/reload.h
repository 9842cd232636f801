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
 *
 * Whether the node serves or drains: requests are decided by the law in force to the last.
 * Who asks for it, and who is told, is node_reload.c's. */

#define RELOAD_WORDS_MAX 1024

struct weather;

struct reload {
    const char *config_path; /* the first six: the owner's, changed only when none runs */
    bool handed_over;        /* another process serves: what only a start looks at may differ */
    struct loop *loop;
    struct shared *shared;
    const _Atomic bool *draining;
    struct weather **weather;
    pthread_t thread;
    bool running;
    struct snapshot *prepared; /* written by the thread before it says done */
    struct issues *issues;
    _Atomic bool done;
};

struct reload_outcome {
    enum err result;
    char words[RELOAD_WORDS_MAX]; /* what is in force now; or the first fault, and how many more */
};

/* Mesh thread; none runs. ERR_NOMEM. */
MUST_USE enum err reload_start(struct reload *r);
/* Mesh thread, whenever the loop was woken: commits or drops one that is loaded. True: it did,
 * and *out says what. */
bool reload_finish(struct reload *r, struct reload_outcome *out);
/* Waits for the thread and drops what it brought. */
void reload_stop(struct reload *r);

#endif
