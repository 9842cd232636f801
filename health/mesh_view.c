#include "health/mesh_priv.h"

#include "base/check.h"
#include "base/text.h"

#include <string.h>

/* Servers of these kinds say how busy they are: every node of the region sees the same
 * number. Of the others each node knows its own share, and the shares add up. */
static bool
says_its_load(enum charter_kind kind)
{
    return kind == KIND_VLLM || kind == KIND_LLAMACPP;
}

static uint32_t
add(uint32_t a, uint32_t b)
{
    return a < UINT32_MAX - b ? a + b : UINT32_MAX;
}

static uint32_t
larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

bool
mesh_node_alive(const struct mesh *m, const struct mesh_probed *t, struct mono now)
{
    /* A round that was late takes its deadline and an interval: so many may be lost in a row,
     * whatever the two are. */
    return t->ever_answered &&
           mono_ms_since(now, t->answered) <=
               MESH_ALIVE_ROUNDS * (m->opts.probe_interval_ms + m->opts.probe_deadline_ms);
}

static bool
has_our_charter(const struct mesh *m, const struct advert *a)
{
    uint8_t storage[2 * ADVERT_BOOT_SIZE];
    struct text t;

    text_init(&t, storage, sizeof(storage));
    text_add_b64url(&t, slice_of(m->opts.charter->digest, 16));
    return slice_is(text_slice(&t), a->charter_digest);
}

static struct mesh_load
own_load(const struct mesh *m, uint32_t backend)
{
    struct mesh_load load;

    memset(&load, 0, sizeof(load));
    m->opts.load(m->opts.context, backend, &load);
    return load;
}

/* Where the server is silent about its load, the peers' shares count with ours. */
static void
fill_own_backend(const struct mesh *m, const struct mesh_probed *t, struct health_view *v)
{
    struct health_backend *h = &v->backends[t->index];
    struct mesh_load load = own_load(m, t->index);

    *h = t->facts;
    h->state = t->pulse.state;
    h->age = HEALTH_FRESH;
    h->ttft_ms = load.ttft_ms;
    if (t->measured)
        return;
    h->in_flight = load.in_flight;
    h->queued = load.queued;
    for (uint32_t n = 0; n < m->opts.charter->node_count; n++) {
        const struct merge *merge = &m->heard[n].merge;

        if (m->opts.charter->nodes[n].region != m->own_region ||
            merge_age(merge, v->taken) > HEALTH_STALE || !has_our_charter(m, merge->newest))
            continue;
        for (size_t i = 0; i < merge->newest->backend_count; i++) {
            if (merge->newest->backends[i].backend != t->index)
                continue;
            h->in_flight = add(h->in_flight, merge->newest->backends[i].facts.in_flight);
            h->queued = add(h->queued, merge->newest->backends[i].facts.queued);
        }
    }
}

/* What one more node says of another region's backend: the fresher wins, of equally fresh
 * ones whoever sees it up. */
static void
combine(struct health_backend *h, const struct health_backend *said, enum health_age age,
        bool says_load)
{
    if (h->age == HEALTH_GONE || age < h->age ||
        (age == h->age && said->state == HEALTH_UP && h->state != HEALTH_UP)) {
        *h = *said;
        h->age = age;
    } else if (age == h->age && said->state == h->state) {
        h->in_flight =
            says_load ? larger(h->in_flight, said->in_flight) : add(h->in_flight, said->in_flight);
        h->queued = says_load ? larger(h->queued, said->queued) : add(h->queued, said->queued);
        h->pressure_permille = larger(h->pressure_permille, said->pressure_permille);
        h->ttft_ms = larger(h->ttft_ms, said->ttft_ms);
        h->models_matched |= said->models_matched;
    }
    if (h->age == HEALTH_STATIC)
        h->in_flight = h->queued = 0; /* too old to count */
}

static void
fill_from_advert(const struct mesh *m, uint32_t node, struct health_view *v)
{
    const struct charter *c = m->opts.charter;
    const struct merge *merge = &m->heard[node].merge;
    enum health_age age = merge_age(merge, v->taken);

    if (age == HEALTH_GONE) {
        v->nodes[node].charter_ok = true; /* none is known */
        return;
    }
    v->nodes[node].draining = merge->newest->draining;
    v->nodes[node].charter_ok = has_our_charter(m, merge->newest);
    if (c->nodes[node].region == m->own_region || !v->nodes[node].charter_ok)
        return;
    for (size_t i = 0; i < merge->newest->backend_count; i++) {
        uint32_t b = merge->newest->backends[i].backend;

        combine(&v->backends[b], &merge->newest->backends[i].facts, age,
                says_its_load(c->backends[b].kind));
    }
}

struct health_view *
mesh_view_make(struct mesh *m)
{
    const struct charter *c = m->opts.charter;
    struct health_view *v = health_view_new(m->opts.charter);

    if (v == NULL)
        return NULL;
    v->serial = ++m->serial;
    v->taken = clock_mono();
    for (uint32_t n = 0; n < c->node_count; n++)
        fill_from_advert(m, n, v);
    for (uint32_t i = 0; i < m->probed_count; i++) {
        const struct mesh_probed *t = &m->probed[i];

        if (!t->is_node) {
            fill_own_backend(m, t, v);
            continue;
        }
        v->nodes[t->index].alive = mesh_node_alive(m, t, v->taken);
        v->nodes[t->index].rtt_us = t->rtt_us;
        if (v->nodes[t->index].alive && c->nodes[t->index].region == m->own_region)
            v->live_peers++;
    }
    v->nodes[m->opts.own_node].alive = true;
    v->nodes[m->opts.own_node].charter_ok = true;
    v->nodes[m->opts.own_node].draining = m->opts.draining(m->opts.context);
    return v;
}

void
mesh_view_advertise(struct mesh *m, struct advert *a)
{
    a->backend_count = 0;
    /* Backends come first among the probed, in the charter's order. */
    for (uint32_t i = 0; i < m->probed_count && !m->probed[i].is_node; i++) {
        const struct mesh_probed *t = &m->probed[i];
        struct mesh_load load = own_load(m, t->index);
        struct health_backend *h = &a->backends[a->backend_count].facts;

        a->backends[a->backend_count].backend = t->index;
        a->backends[a->backend_count].rejects = load.rejects;
        a->backend_count++;
        *h = t->facts;
        h->state = t->pulse.state;
        h->ttft_ms = load.ttft_ms;
        if (t->measured)
            continue;
        h->in_flight = load.in_flight;
        h->queued = load.queued;
    }
}
