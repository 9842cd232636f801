#ifndef HEALTH_MESH_H
#define HEALTH_MESH_H

#include "base/err.h"
#include "health/view.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/tls.h"
#include "residency/decide.h"

#include <stdbool.h>
#include <stdint.h>

/* The mesh thread's service: probes the own region's backends and all peers, writes and
 * reads adverts through a store, merges what is known into a health_view and publishes it.
 * Runs on one loop; nothing here blocks. */

struct mesh;
struct store; /* health/store/store.h */

/* Where and how one backend or peer is reached; made by node from charter and config. */
struct mesh_target {
    bool is_set; /* false: not ours to probe (other regions' backends) */
    struct address address;
    struct tls *tls;           /* NULL: plain; never so for a node */
    const char *host;          /* Host header */
    const char *authorization; /* "Bearer ..." or NULL; borrowed */
};

struct mesh_load { /* this node's own use of a backend, read for the advert */
    uint32_t in_flight, queued, rejects, ttft_ms;
};

struct mesh_opts {
    struct loop *loop;
    struct charter *charter; /* reffed */
    uint32_t own_node;
    const struct mesh_target *backends; /* charter->backend_count, borrowed for mesh's life */
    const struct mesh_target *nodes;    /* charter->node_count */
    const struct egress *guard;
    const struct key *advert_key;
    struct store *store; /* borrowed; its reads come here from mesh_start to mesh_stop */
    bool (*draining)(void *context);
    /* While it says so nothing is written: another process of this node does. May be NULL. */
    bool (*silent)(void *context);
    void (*load)(void *context, uint32_t backend, struct mesh_load *out);
    /* Takes the reference: hands it to the workers. Called on the mesh loop's thread. */
    void (*publish)(void *context, struct health_view *view);
    void *context;
    uint32_t probe_interval_ms; /* 1000, each +- 20 % */
    uint32_t probe_deadline_ms; /* 400 */
};
/* ERR_FORBIDDEN: a node's target without TLS. */
MUST_USE enum err mesh_start(const struct mesh_opts *opts, struct mesh **out);
void mesh_stop(struct mesh **m);

struct mesh_stats {
    uint64_t probes_ok, probes_failed, adverts_written, adverts_read, adverts_refused, store_errors;
    bool store_connected;
};
void mesh_stats(const struct mesh *m, struct mesh_stats *out);

#endif
