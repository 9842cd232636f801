#include "node/weather.h"

#include "base/check.h"
#include "base/clock.h"
#include "health/mesh.h"
#include "health/store/store.h"
#include "residency/narrow.h"

#include <stdlib.h>

#define PROBE_DEADLINE_MS 400
#define SETTLE_MS 5000 /* and two probes: how long a reload's mesh may know too little */

struct weather {
    struct shared *shared;
    struct snapshot *snapshot;
    struct store *store;
    struct mesh *mesh;
    const _Atomic bool *draining;
    const char **names;
    struct mono started;
};

static bool
is_draining(void *context)
{
    const struct weather *w = context;

    return atomic_load(w->draining);
}

static bool
is_silent(void *context)
{
    const struct weather *w = context;

    return atomic_load(&w->shared->silent);
}

static void
own_load(void *context, uint32_t backend, struct mesh_load *out)
{
    const struct weather *w = context;

    *out = (struct mesh_load){
        .in_flight = admission_in_flight(w->shared->admission, w->snapshot->backend_ids[backend]),
        .queued = admission_queued(w->shared->admission)};
}

/* A mesh that a reload has just made knows nothing yet; that must not look like every backend
 * being gone. What the view of before knew stands until its own probes had their time. */
static void
carry_over(const struct weather *w, const struct health_view *old, struct health_view *view)
{
    const struct charter *c = view->charter;
    uint64_t settled = SETTLE_MS + 2 * (uint64_t)w->snapshot->config->probe_interval_ms;

    if (old->charter != c || mono_ms_since(clock_mono(), w->started) > settled)
        return;
    for (size_t i = 0; i < c->backend_count; i++)
        if (view->backends[i].state == HEALTH_UNKNOWN)
            view->backends[i] = old->backends[i];
    for (size_t i = 0; i < c->node_count; i++)
        if (!view->nodes[i].alive)
            view->nodes[i] = old->nodes[i];
}

/* What our own probes saw come back may have its trial now. */
static void
tell_recovered(struct weather *w, const struct health_view *old, const struct health_view *view)
{
    if (old == view || old->charter != view->charter)
        return;
    for (size_t i = 0; i < view->charter->backend_count; i++)
        if (old->backends[i].state == HEALTH_DOWN && view->backends[i].state == HEALTH_UP &&
            w->snapshot->backends[i].is_set)
            admission_breaker_recover(w->shared->admission, w->snapshot->backend_ids[i],
                                      clock_mono());
}

static void
publish(void *context, struct health_view *view)
{
    struct weather *w = context;
    struct shared *s = w->shared;
    struct health_view *old = view;

    (void)pthread_mutex_lock(&s->lock);
    if (view->charter == s->current->charter) {
        carry_over(w, s->view, view);
        view->serial = atomic_load(&s->view_serial) + 1;
        old = s->view;
        s->view = view;
        atomic_store(&s->view_serial, view->serial);
    }
    (void)pthread_mutex_unlock(&s->lock);
    /* This thread alone swaps views: both live until here. */
    tell_recovered(w, old, view);
    health_view_unref(&old);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_wake(&s->workers[i]);
}

static enum err
make_store(struct weather *w, struct loop *loop)
{
    const struct config *c = w->snapshot->config;
    struct store *list[CONFIG_REDIS_MAX] = {NULL};
    struct store_opts common = {.loop = loop,
                                .mesh = w->snapshot->charter->mesh,
                                .names = w->names,
                                .name_count = (uint32_t)w->snapshot->charter->node_count,
                                .own = w->snapshot->own_node};
    enum err e = ERR_OK;
    uint32_t n = 0;

    if (c->redis_count == 0)
        return store_memory_new(&common, &w->store);
    for (; n < c->redis_count && e == ERR_OK; n++) {
        struct store_redis_opts opts = {
            .common = common,
            .address = w->snapshot->redis[n],
            .host = w->snapshot->redis_hosts[n],
            .tls = w->snapshot->redis_tls[n],
            .user = c->redis[n].user[0] == '\0' ? NULL : c->redis[n].user,
            .password = w->snapshot->redis_passwords[n],
            .guard = w->snapshot->egress,
        };

        e = store_redis_new(&opts, &list[n]);
    }
    if (e == ERR_OK)
        return store_fan_new(list, n, &w->store);
    for (uint32_t i = 0; i < n; i++)
        if (list[i] != NULL)
            list[i]->ops->free(list[i]);
    return e;
}

enum err
weather_start(struct loop *loop, struct shared *shared, struct snapshot *snapshot,
              const _Atomic bool *draining, struct weather **out)
{
    struct weather *w = calloc(1, sizeof(*w));
    struct mesh_opts opts = {.loop = loop,
                             .charter = snapshot->charter,
                             .own_node = snapshot->own_node,
                             .backends = snapshot->backends,
                             .nodes = snapshot->nodes,
                             .guard = snapshot->egress,
                             .advert_key = snapshot->advert_key,
                             .draining = is_draining,
                             .silent = is_silent,
                             .load = own_load,
                             .publish = publish,
                             .context = w,
                             .probe_interval_ms = (uint32_t)snapshot->config->probe_interval_ms,
                             .probe_deadline_ms = PROBE_DEADLINE_MS};
    enum err e = ERR_NOMEM;

    if (w == NULL)
        return ERR_NOMEM;
    w->shared = shared;
    w->draining = draining;
    w->started = clock_mono();
    w->snapshot = snapshot_ref(snapshot);
    w->names = calloc(snapshot->charter->node_count + 1, sizeof(*w->names));
    if (w->names == NULL)
        goto fail;
    for (size_t i = 0; i < snapshot->charter->node_count; i++)
        w->names[i] = snapshot->charter->nodes[i].name;
    e = make_store(w, loop);
    if (e != ERR_OK)
        goto fail;
    opts.store = w->store;
    e = mesh_start(&opts, &w->mesh);
    if (e != ERR_OK)
        goto fail;
    *out = w;
    return ERR_OK;

fail:
    weather_stop(&w);
    return e;
}

void
weather_stop(struct weather **out)
{
    struct weather *w = *out;

    if (w == NULL)
        return;
    mesh_stop(&w->mesh);
    if (w->store != NULL)
        w->store->ops->free(w->store);
    snapshot_unref(&w->snapshot);
    free(w->names);
    free(w);
    *out = NULL;
}

void
weather_metrics(const struct weather *w, struct text *out)
{
    struct mesh_stats s;

    if (w == NULL)
        return;
    mesh_stats(w->mesh, &s);
    text_addf(out,
              "# HELP portolan_probes_total Probes by outcome.\n"
              "# TYPE portolan_probes_total counter\n"
              "portolan_probes_total{outcome=\"ok\"} %llu\n"
              "portolan_probes_total{outcome=\"failed\"} %llu\n",
              (unsigned long long)s.probes_ok, (unsigned long long)s.probes_failed);
    text_addf(out,
              "# HELP portolan_adverts_total Adverts by what became of them.\n"
              "# TYPE portolan_adverts_total counter\n"
              "portolan_adverts_total{what=\"written\"} %llu\n"
              "portolan_adverts_total{what=\"read\"} %llu\n"
              "portolan_adverts_total{what=\"refused\"} %llu\n",
              (unsigned long long)s.adverts_written, (unsigned long long)s.adverts_read,
              (unsigned long long)s.adverts_refused);
    text_addf(out,
              "# HELP portolan_store_connected Whether a store of adverts is reached.\n"
              "# TYPE portolan_store_connected gauge\nportolan_store_connected %d\n",
              s.store_connected ? 1 : 0);
}

/* What was proved of a served model holds for the same version with the same digest. */
static bool
same_served(const struct charter *a, const struct charter_served *in_a, const struct charter *b,
            const struct charter_served *in_b)
{
    const struct charter_model *ma = &a->models[in_a->model];
    const struct charter_model *mb = &b->models[in_b->model];

    return strcmp(in_a->name, in_b->name) == 0 && strcmp(ma->id, mb->id) == 0 &&
           strcmp(ma->digest, mb->digest) == 0;
}

enum err
weather_first_view(struct charter *charter, const struct health_view *old, struct health_view **out)
{
    struct health_view *view = health_view_new(charter);

    if (view == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; old != NULL && i < charter->backend_count; i++) {
        uint32_t was = charter_find_backend(old->charter, slice_str(charter->backends[i].name));
        const struct charter_backend *then =
            was == CHARTER_NONE ? NULL : &old->charter->backends[was];

        /* The bits of models follow the order of `served`: only an unchanged list keeps them. */
        if (then == NULL || then->served_count != charter->backends[i].served_count ||
            then->kind != charter->backends[i].kind ||
            strcmp(then->path_prefix, charter->backends[i].path_prefix) != 0 ||
            !narrow_same_backend(old->charter, then, charter, &charter->backends[i]))
            continue;
        view->backends[i] = old->backends[was];
        for (size_t k = 0; k < then->served_count; k++)
            if (!same_served(old->charter, &then->served[k], charter,
                             &charter->backends[i].served[k]))
                view->backends[i] = (struct health_backend){.state = HEALTH_UNKNOWN};
    }
    for (size_t i = 0; old != NULL && i < charter->node_count; i++) {
        uint32_t was = charter_find_node(old->charter, slice_str(charter->nodes[i].name));

        if (was != CHARTER_NONE)
            view->nodes[i] = old->nodes[was];
    }
    *out = view;
    return ERR_OK;
}
