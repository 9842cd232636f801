#include "health/view.h"

#include "base/check.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const char *
health_state_name(enum health_state s)
{
    static const char *const names[] = {
        [HEALTH_UNKNOWN] = "unknown",
        [HEALTH_UP] = "up",
        [HEALTH_DOWN] = "down",
        [HEALTH_QUARANTINED] = "quarantined",
    };

    _Static_assert(ARRAY_COUNT(names) == HEALTH_STATE_COUNT, "every state has a name");
    return s < HEALTH_STATE_COUNT ? names[s] : "unknown";
}

struct health_view *
health_view_new(struct charter *charter)
{
    struct health_view *v = calloc(1, sizeof(*v));

    if (v == NULL)
        return NULL;
    /* One more than needed: calloc(0) may give NULL. */
    v->backends = calloc(charter->backend_count + 1, sizeof(*v->backends));
    v->nodes = calloc(charter->node_count + 1, sizeof(*v->nodes));
    if (v->backends == NULL || v->nodes == NULL) {
        free(v->backends);
        free(v->nodes);
        free(v);
        return NULL;
    }
    for (size_t i = 0; i < charter->backend_count; i++)
        v->backends[i].age = HEALTH_GONE;
    atomic_init(&v->references, 1);
    v->live_peers = 1;
    v->charter = charter_ref(charter);
    return v;
}

struct health_view *
health_view_copy(const struct health_view *v)
{
    struct health_view *copy = health_view_new(v->charter);

    if (copy == NULL)
        return NULL;
    copy->serial = v->serial;
    copy->taken = v->taken;
    copy->live_peers = v->live_peers;
    memcpy(copy->backends, v->backends, v->charter->backend_count * sizeof(*copy->backends));
    memcpy(copy->nodes, v->nodes, v->charter->node_count * sizeof(*copy->nodes));
    return copy;
}

struct health_view *
health_view_ref(struct health_view *v)
{
    uint32_t before = atomic_fetch_add_explicit(&v->references, 1, memory_order_relaxed);

    ASSERT(before > 0);
    return v;
}

void
health_view_unref(struct health_view **out)
{
    struct health_view *v = *out;
    uint32_t before;

    if (v == NULL)
        return;
    *out = NULL;
    before = atomic_fetch_sub_explicit(&v->references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    charter_unref(&v->charter);
    free(v->backends);
    free(v->nodes);
    free(v);
}
