#ifndef HEALTH_MESH_PRIV_H
#define HEALTH_MESH_PRIV_H

#include "base/buf.h"
#include "crypto/hash.h"
#include "health/merge.h"
#include "health/mesh.h"
#include "health/probe.h"
#include "net/fetch.h"

/* Between mesh.c (timers, adverts), mesh_probe.c (questions) and mesh_view.c (what all of it
 * comes to). */

#define MESH_MAGIC 0x4d455348u
#define MESH_TARGET_MAGIC 0x4d544754u
#define MESH_PUBLISH_MS 1000
#define MESH_PUBLISH_SOON_MS 20 /* one snapshot for what happens together */
#define MESH_ALIVE_ROUNDS 3

struct mesh_probed { /* one backend of the own region, or one peer */
    uint32_t magic;
    struct mesh *mesh;
    bool is_node;
    uint32_t index;
    struct fetcher *fetcher;
    struct timer *timer;
    bool asking;
    struct mono asked;
    /* a backend */
    struct probe probe;
    struct probe_pulse pulse;
    struct health_backend facts; /* of the last good round */
    bool measured;
    /* a peer */
    bool ever_answered;
    struct mono answered;
    uint32_t rtt_us;
};

struct mesh_heard { /* one node's adverts */
    struct merge merge;
    bool has_last;
    uint8_t last[HASH_SIZE]; /* of the record last read: most polls bring no news */
};

struct mesh {
    uint32_t magic;
    bool dead;
    struct mesh_opts opts;
    uint32_t own_region;
    struct buf_pool *pool;
    struct mesh_probed *probed;
    uint32_t probed_count;
    struct mesh_heard *heard; /* charter->node_count */
    struct advert *own;
    uint8_t *record; /* ADVERT_MAX */
    uint64_t serial;
    struct timer *write_timer;
    struct timer *poll_timer;
    struct timer *publish_timer;
    bool publish_soon;
    struct mesh_stats stats;
};

/* interval +- 20 % */
uint64_t mesh_jittered(uint64_t ms);
/* Something changed: a snapshot soon. */
void mesh_touch(struct mesh *m);

MUST_USE enum err mesh_probed_init(struct mesh *m, struct mesh_probed *t, bool is_node,
                                   uint32_t index, const struct mesh_target *target);
void mesh_probed_stop(struct mesh_probed *t); /* no callback after it */
void mesh_probed_fini(struct mesh_probed *t);

bool mesh_node_alive(const struct mesh *m, const struct mesh_probed *t, struct mono now);
/* Gives; NULL without memory. */
struct health_view *mesh_view_make(struct mesh *m);
/* Fills the rows of the own advert. */
void mesh_view_advertise(struct mesh *m, struct advert *a);

#endif
