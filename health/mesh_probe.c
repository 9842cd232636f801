#include "health/mesh_priv.h"

#include "base/check.h"
#include "base/text.h"
#include "crypto/cert.h"
#include "crypto/random.h"
#include "residency/permit.h"

#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 1024
#define PERMIT_ARENA 512
#define FIRST_PROBE_MS 200 /* a start spreads its first probes over this long at most */

static void ask(struct mesh_probed *t);

/* No permit, no byte: probes pass the same gate as requests. */
static bool
may_probe(const struct mesh_probed *t)
{
    const struct mesh *m = t->mesh;
    _Alignas(16) uint8_t storage[PERMIT_ARENA];
    struct arena arena;
    struct permit *permit = NULL;

    arena_init(&arena, storage, sizeof(storage));
    if (permit_mint_probe(&arena, m->opts.charter, m->own_region, t->is_node, t->index, &permit) !=
        ERR_OK)
        return false;
    return permit_is_node(permit) == t->is_node && permit_target(permit) == t->index &&
           permit_spend(permit);
}

static void
count(struct mesh *m, bool ok)
{
    if (ok)
        m->stats.probes_ok++;
    else
        m->stats.probes_failed++;
}

static void
backend_round_end(struct mesh_probed *t)
{
    struct probe *p = &t->probe;
    enum health_state before = t->pulse.state;
    bool changed;

    t->asking = false;
    probe_settle(&t->pulse, p);
    count(t->mesh, !p->failed);
    changed = before != t->pulse.state;
    if (!p->failed) {
        changed = changed || memcmp(&t->facts, &p->facts, sizeof(t->facts)) != 0;
        t->facts = p->facts;
        t->measured = p->measured;
    }
    if (changed)
        mesh_touch(t->mesh);
}

static void
on_backend_answer(void *context, enum err e, int status, struct slice body)
{
    struct mesh_probed *t = context;

    ASSERT(t->magic == MESH_TARGET_MAGIC);
    probe_answer(&t->probe, e, status, body);
    ask(t);
}

/* What is left of the round's deadline. */
static uint64_t
time_left(const struct mesh_probed *t)
{
    uint64_t spent = mono_ms_since(clock_mono(), t->asked);
    uint64_t deadline = t->mesh->opts.probe_deadline_ms;

    return spent < deadline ? deadline - spent : 0;
}

static void
ask(struct mesh_probed *t)
{
    const struct charter_backend *b = &t->mesh->opts.charter->backends[t->index];
    const char *path;

    while ((path = probe_path(&t->probe)) != NULL) {
        uint64_t left = time_left(t);
        char full[PATH_MAX_BYTES];
        enum err e = left == 0 ? ERR_TIMEOUT : ERR_TOOBIG;

        if (left > 0 && text_format(full, sizeof(full), "%s%s", b->path_prefix, path))
            e = fetch_get(t->fetcher, full, left, on_backend_answer, t);
        if (e == ERR_OK)
            return;
        probe_answer(&t->probe, e, 0, SLICE_NONE);
    }
    backend_round_end(t);
}

/* Only the node whose SPIFFE id the charter names counts as that node. */
static bool
is_peer_itself(struct mesh_probed *t)
{
    struct cert_facts *facts = malloc(sizeof(*facts));
    bool itself;

    if (facts == NULL)
        return false;
    itself = cert_read(fetch_peer_cert(t->fetcher), facts) == ERR_OK &&
             slice_is(slice_str(facts->spiffe), t->mesh->opts.charter->nodes[t->index].spiffe);
    free(facts);
    return itself;
}

/* The mean of about eight; a first one with its handshake in it does not stay for long. */
static void
smooth_rtt(struct mesh_probed *t, uint64_t sample_us)
{
    uint32_t us = (uint32_t)(sample_us < UINT32_MAX ? sample_us : UINT32_MAX);

    if (us == 0)
        us = 1;
    if (t->rtt_us == 0 || us < t->rtt_us / 2)
        t->rtt_us = us;
    else
        t->rtt_us = (uint32_t)(((uint64_t)t->rtt_us * 7 + us) / 8);
}

static void
on_node_answer(void *context, enum err e, int status, struct slice body)
{
    struct mesh_probed *t = context;
    struct mono now = clock_mono();
    bool ok = e == ERR_OK && status == 200 && is_peer_itself(t);
    bool was_alive = mesh_node_alive(t->mesh, t, now);

    (void)body;
    ASSERT(t->magic == MESH_TARGET_MAGIC);
    t->asking = false;
    count(t->mesh, ok);
    if (!ok)
        return;
    smooth_rtt(t, (now.ns - t->asked.ns) / 1000);
    t->answered = now;
    t->ever_answered = true;
    if (!was_alive)
        mesh_touch(t->mesh);
}

static void
on_timer(void *context)
{
    struct mesh_probed *t = context;
    struct mesh *m = t->mesh;

    ASSERT(t->magic == MESH_TARGET_MAGIC);
    if (m->dead)
        return;
    timer_set(t->timer, mesh_jittered(m->opts.probe_interval_ms));
    if (t->asking)
        return; /* a deadline longer than the interval */
    if (NEVER(!may_probe(t)))
        return;
    t->asking = true;
    t->asked = clock_mono();
    if (!t->is_node) {
        probe_begin(&t->probe, m->opts.charter, t->index);
        ask(t);
    } else if (fetch_get(t->fetcher, "/health", m->opts.probe_deadline_ms, on_node_answer, t) !=
               ERR_OK) {
        t->asking = false;
        count(m, false);
    }
}

enum err
mesh_probed_init(struct mesh *m, struct mesh_probed *t, bool is_node, uint32_t index,
                 const struct mesh_target *target)
{
    const struct fetcher_opts opts = {
        .loop = m->opts.loop,
        .pool = m->pool,
        .address = target->address,
        .tls = target->tls,
        .host = target->host,
        .authorization = target->authorization,
        .guard = m->opts.guard,
    };
    uint64_t spread = m->opts.probe_interval_ms;
    enum err e;

    t->magic = MESH_TARGET_MAGIC;
    t->mesh = m;
    t->is_node = is_node;
    t->index = index;
    if (is_node && target->tls == NULL)
        return ERR_FORBIDDEN;
    e = fetcher_new(&opts, &t->fetcher);
    if (e != ERR_OK)
        return e;
    e = timer_new(m->opts.loop, on_timer, t, &t->timer);
    if (e != ERR_OK)
        return e;
    timer_set(t->timer, random_below((spread < FIRST_PROBE_MS ? spread : FIRST_PROBE_MS) + 1));
    return ERR_OK;
}

void
mesh_probed_stop(struct mesh_probed *t)
{
    if (t->timer != NULL)
        timer_clear(t->timer);
    fetcher_free(&t->fetcher);
}

void
mesh_probed_fini(struct mesh_probed *t)
{
    timer_free(&t->timer);
    t->magic = 0;
}
