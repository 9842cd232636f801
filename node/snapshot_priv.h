#ifndef NODE_SNAPSHOT_PRIV_H
#define NODE_SNAPSHOT_PRIV_H

#include "node/snapshot.h"

/* Between the files that load a snapshot: snapshot.c (order, life, numbers), snapshot_law.c
 * (charter, origin, identity, evidence), snapshot_listeners.c (listeners), snapshot_net.c (targets,
 * Redis). */

#define SNAPSHOT_PEM_MAX (1u << 20)

/* One load under way; every fault goes into issues and the load goes on to the next file. */
struct snapshot_load {
    struct snapshot *s;
    const struct config *config;
    struct issues *issues;
    int64_t now_ms;
};

/* A file's bytes, with the fault named; an empty slice when it can't be had. Gives: to
 * snapshot_drop(), which wipes it first, because keys and credentials pass through. */
struct slice snapshot_read(const struct snapshot_load *l, const char *path, size_t max);
void snapshot_drop(struct slice *s);

void snapshot_load_law(struct snapshot_load *l);
/* The listeners' certificates. */
void snapshot_load_listeners(struct snapshot_load *l);
/* Backends, peers and Redis; the charter and the node's own place in it are known. */
void snapshot_load_targets(struct snapshot_load *l);

#endif
