#include "health/mesh_priv.h"

#include "base/check.h"
#include "base/log.h"
#include "base/text.h"
#include "crypto/random.h"
#include "health/store/store.h"

#include <stdlib.h>
#include <string.h>

#define ADVERT_INTERVAL_MS 1000
#define SILENT_LOOK_MS 50 /* the first record after a takeover must leave no gap */
#define POOL_KEPT_MAX (1u << 20)
#define BOOT_BYTES 16

uint64_t
mesh_jittered(uint64_t ms)
{
    return ms - ms / 5 + random_below(2 * (ms / 5) + 1);
}

void
mesh_touch(struct mesh *m)
{
    /* Only the first touch sets the time: a steady stream of news must not put it off. */
    if (!m->publish_soon)
        timer_set(m->publish_timer, MESH_PUBLISH_SOON_MS);
    m->publish_soon = true;
}

static void
on_publish(void *context)
{
    struct mesh *m = context;
    struct health_view *v;

    ASSERT(m->magic == MESH_MAGIC);
    if (m->dead)
        return;
    m->publish_soon = false;
    timer_set(m->publish_timer, MESH_PUBLISH_MS);
    v = mesh_view_make(m);
    if (v != NULL)
        m->opts.publish(m->opts.context, v);
}

static void
on_write(void *context)
{
    struct mesh *m = context;
    struct text t;
    enum err e;

    ASSERT(m->magic == MESH_MAGIC);
    if (m->dead)
        return;
    if (m->opts.silent != NULL && m->opts.silent(m->opts.context)) {
        timer_set(m->write_timer, SILENT_LOOK_MS);
        return;
    }
    timer_set(m->write_timer, mesh_jittered(ADVERT_INTERVAL_MS));
    m->own->seq++;
    m->own->t_ms = clock_wall_ms();
    m->own->draining = m->opts.draining(m->opts.context);
    mesh_view_advertise(m, m->own);
    text_init(&t, m->record, ADVERT_MAX);
    e = advert_write(m->own, m->opts.charter, m->opts.advert_key, &t);
    if (e != ERR_OK) {
        log_event(LOG_WARN, "mesh.advert_unwritten", "reason=\"%s\"", err_text(e));
        return;
    }
    m->opts.store->ops->write(m->opts.store, text_slice(&t));
    m->stats.adverts_written++;
}

static void
on_poll(void *context)
{
    struct mesh *m = context;

    ASSERT(m->magic == MESH_MAGIC);
    if (m->dead)
        return;
    timer_set(m->poll_timer, ADVERT_INTERVAL_MS);
    m->opts.store->ops->poll(m->opts.store);
}

static void
on_read(void *context, uint32_t node, struct slice value)
{
    struct mesh *m = context;
    struct mesh_heard *heard;
    uint8_t digest[HASH_SIZE];
    const char *why = "";
    enum err e;

    ASSERT(m->magic == MESH_MAGIC);
    if (m->dead || node == m->opts.own_node || node >= m->opts.charter->node_count)
        return;
    heard = &m->heard[node];
    hash_sha256(value, digest);
    if (heard->has_last && memcmp(digest, heard->last, sizeof(digest)) == 0)
        return;
    memcpy(heard->last, digest, sizeof(digest));
    heard->has_last = true;
    e = advert_read(value, m->opts.charter, clock_wall_ms(), heard->merge.reading, &why);
    /* Under the key of another node: somebody moved it. */
    if (e == ERR_OK && heard->merge.reading->node != node) {
        e = ERR_BADMSG;
        why = "the record of another node";
    }
    if (e != ERR_OK) {
        m->stats.adverts_refused++;
        log_event(LOG_DEBUG, "mesh.advert_refused", "node=%s reason=\"%s\"",
                  m->opts.charter->nodes[node].name, why);
        return;
    }
    if (!merge_take(&heard->merge, clock_mono()))
        return; /* older than what is known */
    m->stats.adverts_read++;
    mesh_touch(m);
}

static void
destroy(void *context)
{
    struct mesh *m = context;

    ASSERT(m->magic == MESH_MAGIC && m->dead);
    for (uint32_t i = 0; i < m->probed_count; i++)
        mesh_probed_fini(&m->probed[i]);
    for (uint32_t i = 0; m->heard != NULL && i < m->opts.charter->node_count; i++)
        merge_fini(&m->heard[i].merge);
    timer_free(&m->write_timer);
    timer_free(&m->poll_timer);
    timer_free(&m->publish_timer);
    buf_pool_free(&m->pool);
    charter_unref(&m->opts.charter);
    free(m->probed);
    free(m->heard);
    free(m->own);
    free(m->record);
    m->magic = 0;
    free(m);
}

void
mesh_stop(struct mesh **out)
{
    struct mesh *m = *out;

    if (m == NULL)
        return;
    ASSERT(m->magic == MESH_MAGIC && !m->dead);
    *out = NULL;
    m->dead = true;
    m->opts.store->ops->listen(m->opts.store, NULL, NULL);
    for (uint32_t i = 0; i < m->probed_count; i++)
        mesh_probed_stop(&m->probed[i]);
    if (m->write_timer != NULL)
        timer_clear(m->write_timer);
    if (m->poll_timer != NULL)
        timer_clear(m->poll_timer);
    if (m->publish_timer != NULL)
        timer_clear(m->publish_timer);
    loop_bury(m->opts.loop, destroy, m);
}

static enum err
start_probes(struct mesh *m)
{
    const struct charter *c = m->opts.charter;
    enum err e = ERR_OK;

    m->probed = calloc(c->backend_count + c->node_count + 1, sizeof(*m->probed));
    if (m->probed == NULL)
        return ERR_NOMEM;
    for (uint32_t b = 0; b < c->backend_count && e == ERR_OK; b++)
        if (m->opts.backends[b].is_set && c->backends[b].region == m->own_region)
            e = mesh_probed_init(m, &m->probed[m->probed_count++], false, b, &m->opts.backends[b]);
    for (uint32_t n = 0; n < c->node_count && e == ERR_OK; n++)
        if (m->opts.nodes[n].is_set && n != m->opts.own_node)
            e = mesh_probed_init(m, &m->probed[m->probed_count++], true, n, &m->opts.nodes[n]);
    return e;
}

static enum err
start_adverts(struct mesh *m)
{
    const struct charter *c = m->opts.charter;
    uint8_t boot[BOOT_BYTES];
    uint8_t name[ADVERT_BOOT_SIZE];
    struct text t;
    enum err e = ERR_OK;

    m->heard = calloc(c->node_count + 1, sizeof(*m->heard));
    m->own = advert_new(c);
    m->record = malloc(ADVERT_MAX);
    if (m->heard == NULL || m->own == NULL || m->record == NULL)
        return ERR_NOMEM;
    for (uint32_t n = 0; n < c->node_count && e == ERR_OK; n++)
        e = merge_init(&m->heard[n].merge, c);
    random_fill(boot, sizeof(boot));
    text_init(&t, name, sizeof(name));
    text_add_b64url(&t, slice_of(boot, sizeof(boot)));
    m->own->node = m->opts.own_node;
    if (!slice_copy_str(text_slice(&t), m->own->boot, sizeof(m->own->boot)))
        return ERR_TOOBIG;
    return e;
}

enum err
mesh_start(const struct mesh_opts *opts, struct mesh **out)
{
    struct mesh *m = calloc(1, sizeof(*m));
    enum err e;

    ASSERT(out != NULL && *out == NULL);
    ASSERT(opts->own_node < opts->charter->node_count);
    if (m == NULL)
        return ERR_NOMEM;
    m->magic = MESH_MAGIC;
    m->opts = *opts;
    m->opts.charter = charter_ref(opts->charter);
    m->own_region = opts->charter->nodes[opts->own_node].region;
    e = buf_pool_new(&m->pool, POOL_KEPT_MAX);
    if (e == ERR_OK)
        e = timer_new(opts->loop, on_write, m, &m->write_timer);
    if (e == ERR_OK)
        e = timer_new(opts->loop, on_poll, m, &m->poll_timer);
    if (e == ERR_OK)
        e = timer_new(opts->loop, on_publish, m, &m->publish_timer);
    if (e == ERR_OK)
        e = start_adverts(m);
    if (e == ERR_OK)
        e = start_probes(m);
    if (e != ERR_OK) {
        mesh_stop(&m);
        return e;
    }
    opts->store->ops->listen(opts->store, on_read, m);
    timer_set(m->write_timer, 0);
    timer_set(m->poll_timer, 0);
    timer_set(m->publish_timer, 0);
    *out = m;
    return ERR_OK;
}

void
mesh_stats(const struct mesh *m, struct mesh_stats *out)
{
    *out = m->stats;
    out->store_errors = m->opts.store->ops->errors(m->opts.store);
    out->store_connected = m->opts.store->ops->connected(m->opts.store);
}
