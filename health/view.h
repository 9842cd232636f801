#ifndef HEALTH_VIEW_H
#define HEALTH_VIEW_H

#include "base/clock.h"
#include "residency/charter.h"

#include <stdbool.h>
#include <stdint.h>

/* What shape the configured backends and peers are in: an immutable snapshot that the
 * mesh thread publishes and every worker reads. Weather, never law: it holds nothing
 * that could make a place lawful. Indices are those of the charter it was made for. */

enum health_state {
    HEALTH_UNKNOWN,
    HEALTH_UP,
    HEALTH_DOWN,
    HEALTH_QUARANTINED,
    HEALTH_STATE_COUNT
};
const char *health_state_name(enum health_state s);

/* How old the knowledge is (ENGINEERING section 8). */
enum health_age { HEALTH_FRESH, HEALTH_STALE, HEALTH_STATIC, HEALTH_GONE };

struct health_backend {
    enum health_state state;
    enum health_age age;
    uint32_t slots;     /* usable; 0: as in the charter */
    uint32_t in_flight; /* as the server or the peers said at the snapshot */
    uint32_t queued;
    uint32_t pressure_permille; /* cache */
    uint32_t ttft_ms;
    uint64_t models_matched; /* bit i: charter_backend.served[i] is proved to be served */
    uint64_t models_digest;  /* bit i: proved by digest, not only by name */
    uint64_t models_wrong;   /* bit i: the server shows another digest: a mismatch */
};

struct health_node {
    bool alive; /* answered our own mTLS probe lately */
    bool draining;
    bool charter_ok; /* its advert names a charter with our digest, or none is known */
    uint32_t rtt_us; /* smoothed */
};

struct health_view {
    _Atomic uint32_t references;
    uint64_t serial;
    struct mono taken;
    uint32_t live_peers;     /* nodes of our region that live, this one included: m of the rule */
    struct charter *charter; /* reffed */
    struct health_backend *backends; /* charter->backend_count */
    struct health_node *nodes;       /* charter->node_count */
};

/* All unknown. Gives; NULL without memory. */
struct health_view *health_view_new(struct charter *charter);
struct health_view *health_view_copy(const struct health_view *v);
struct health_view *health_view_ref(struct health_view *v);
void health_view_unref(struct health_view **v);

#endif
