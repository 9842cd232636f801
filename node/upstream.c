#include "node/upstream_priv.h"

#include "base/check.h"
#include "net/tls_reuse.h"
#include "node/worker.h"

#include <stdlib.h>

#define UPSTREAM_MAGIC 0x55505354u
#define IN_MAX (H1_HEAD_MAX + 65536)
#define OUT_SLACK 32768 /* head of the request: attestation, path, fields */

enum err
upstream_pool_new(struct worker *w, struct upstream_pool **out)
{
    struct upstream_pool *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return ERR_NOMEM;
    p->worker = w;
    for (size_t i = 0; i < UPSTREAM_BUCKETS; i++)
        p->buckets[i].next = p->buckets[i].prev = &p->buckets[i];
    p->lru.lru_next = p->lru.lru_prev = &p->lru;
    if (tls_reuse_new(&p->reuse) != ERR_OK) {
        free(p);
        return ERR_NOMEM;
    }
    *out = p;
    return ERR_OK;
}

static void
destroy(void *context)
{
    struct upstream *u = context;

    tls_unref(&u->tls);
    u->magic = 0;
    free(u);
}

static void
unlink_idle(struct upstream *u)
{
    if (u->next == NULL)
        return;
    u->next->prev = u->prev;
    u->prev->next = u->next;
    u->lru_next->lru_prev = u->lru_prev;
    u->lru_prev->lru_next = u->lru_next;
    u->next = u->prev = u->lru_next = u->lru_prev = NULL;
    u->pool->idle--;
}

void
upstream_abort(struct upstream *u)
{
    ASSERT(u->magic == UPSTREAM_MAGIC);
    unlink_idle(u);
    u->fn = NULL;
    conn_abort(u->conn);
    loop_bury(u->pool->worker->loop, destroy, u);
}

void
upstream_pool_free(struct upstream_pool **out)
{
    struct upstream_pool *p = *out;

    if (p == NULL)
        return;
    while (p->lru.lru_next != &p->lru)
        upstream_abort(p->lru.lru_next);
    tls_reuse_free(&p->reuse);
    free(p);
    *out = NULL;
}

void
upstream_pool_changed(struct upstream_pool *p)
{
    tls_reuse_clear(p->reuse);
}

/* What a connection is kept for. */
struct key {
    const struct address *address;
    struct tls *tls;
    const char *spiffe;
    uint32_t backend_id;
    uint32_t top_tenant_id;
};

static size_t
bucket_of(const struct key *k)
{
    uint64_t h = (uint64_t)(uintptr_t)k->tls * UINT64_C(0x9e3779b97f4a7c15) ^
                 (uint64_t)address_port(k->address) << 40 ^ (uint64_t)k->backend_id << 20 ^
                 k->top_tenant_id;

    return (size_t)((h * UINT64_C(0x9e3779b97f4a7c15)) >> 56) % UPSTREAM_BUCKETS;
}

static struct key
key_of(const struct upstream *u)
{
    return (struct key){.address = &u->address,
                        .tls = u->tls,
                        .spiffe = u->spiffe,
                        .backend_id = u->backend_id,
                        .top_tenant_id = u->top_tenant_id};
}

static bool
is_for(const struct upstream *u, const struct key *k)
{
    return u->tls == k->tls && u->backend_id == k->backend_id &&
           u->top_tenant_id == k->top_tenant_id && address_equal(&u->address, k->address) &&
           strcmp(u->spiffe, k->spiffe) == 0;
}

/* A peer must be the node that the charter names, not just any node of the mesh CA. */
static bool
peer_is(struct upstream *u)
{
    struct cert_facts facts;
    struct slice der = conn_peer_cert(u->conn);

    return u->spiffe[0] == '\0' || (der.len > 0 && cert_read(der, &facts) == ERR_OK &&
                                    strcmp(facts.spiffe, u->spiffe) == 0);
}

/* Bytes that answer nothing: whatever comes on such a connection is not to be believed. */
static void
count_desync(const struct upstream *u)
{
    metrics_add(&u->pool->worker->shared->metrics.upstream_desync);
}

static void
on_conn(void *owner, struct conn *c, unsigned events)
{
    struct upstream *u = owner;
    unsigned told = 0;

    ASSERT(u->magic == UPSTREAM_MAGIC);
    if ((events & CONN_DATA) != 0 && !u->asked) {
        count_desync(u);
        events = CONN_FAILED;
    }
    if (u->fn == NULL) {
        /* Idle: whatever comes now, bytes or the end, makes it useless. */
        upstream_abort(u);
        return;
    }
    if ((events & CONN_OPENED) != 0) {
        conn_deadline(c, 0);
        u->ready = conn_is_open(c) && peer_is(u);
        told |= u->ready ? UPSTREAM_OPENED : UPSTREAM_ENDED;
    }
    if ((events & CONN_DATA) != 0) {
        u->heard = true;
        told |= UPSTREAM_DATA;
    }
    if ((events & CONN_DRAINED) != 0)
        told |= UPSTREAM_DRAINED;
    if ((events & CONN_TIMED_OUT) != 0)
        told |= UPSTREAM_TIMED_OUT;
    if ((events & (CONN_EOF | CONN_FAILED)) != 0) {
        u->ended = true;
        told |= UPSTREAM_ENDED;
    }
    u->fn(u->owner, u, told);
}

static struct upstream *
take_idle(struct upstream_pool *p, const struct key *k)
{
    struct upstream *head = &p->buckets[bucket_of(k)];

    for (struct upstream *u = head->prev; u != head; u = u->prev) {
        if (!is_for(u, k) || !conn_is_open(u->conn))
            continue;
        unlink_idle(u);
        return u;
    }
    return NULL;
}

static enum err
connect_new(struct upstream_pool *p, const struct snapshot *s, const struct key *k,
            const struct upstream_use *use, struct upstream **out)
{
    struct upstream *u = calloc(1, sizeof(*u));
    struct conn_opts opts = {.loop = p->worker->loop,
                             .pool = p->worker->pool,
                             .fn = on_conn,
                             .owner = u,
                             .in_max = IN_MAX,
                             .out_max = use->request_bytes + OUT_SLACK,
                             .guard = s->egress,
                             .reuse = p->reuse};
    enum err e;

    if (u == NULL)
        return ERR_NOMEM;
    u->magic = UPSTREAM_MAGIC;
    u->pool = p;
    u->address = *k->address;
    u->tls = k->tls == NULL ? NULL : tls_ref(k->tls);
    u->backend_id = k->backend_id;
    u->top_tenant_id = k->top_tenant_id;
    (void)slice_copy_str(slice_str(k->spiffe), u->spiffe, sizeof(u->spiffe));
    opts.tls = u->tls;
    e = conn_connect(&opts, &u->address, &u->conn);
    if (e != ERR_OK) {
        destroy(u);
        return e;
    }
    conn_deadline(u->conn, use->connect_ms);
    *out = u;
    return ERR_OK;
}

enum err
upstream_checkout(struct upstream_pool *p, struct snapshot *s, struct permit *permit,
                  const struct upstream_use *use, struct upstream **out)
{
    uint32_t index;
    const struct mesh_target *target;
    struct upstream *u;
    struct key k;
    enum err e;

    if (permit == NULL || !permit_spend(permit))
        return ERR_FORBIDDEN;
    index = permit_target(permit);
    target = permit_is_node(permit) ? &s->nodes[index] : &s->backends[index];
    if (!target->is_set)
        return ERR_FORBIDDEN;
    k = (struct key){.address = &target->address,
                     .tls = target->tls,
                     .spiffe = permit_is_node(permit) ? s->charter->nodes[index].spiffe : "",
                     .backend_id = permit_is_node(permit) ? UINT32_MAX : s->backend_ids[index],
                     .top_tenant_id = use->top_tenant_id};
    u = use->must_be_new ? NULL : take_idle(p, &k);
    if (u != NULL) {
        u->reused = true;
        conn_deadline(u->conn, 0);
        conn_set_out_max(u->conn, use->request_bytes + OUT_SLACK);
    } else {
        e = connect_new(p, s, &k, use, &u);
        if (e != ERR_OK)
            return e;
    }
    upstream_forget(u);
    u->fn = use->fn;
    u->owner = use->owner;
    *out = u;
    return ERR_OK;
}

bool
upstream_ready(const struct upstream *u)
{
    return u->ready;
}

bool
upstream_reused(const struct upstream *u)
{
    return u->reused;
}

enum err
upstream_error(const struct upstream *u)
{
    return conn_error(u->conn);
}

unsigned
upstream_pool_shed(struct upstream_pool *p, unsigned max)
{
    unsigned count = 0;

    for (; count < max && p->idle > 0; count++)
        upstream_abort(p->lru.lru_next);
    return count;
}

void
upstream_return(struct upstream *u)
{
    struct upstream_pool *p = u->pool;
    struct key k = key_of(u);
    struct upstream *head = &p->buckets[bucket_of(&k)];
    bool has_more = buf_used(conn_in(u->conn)) > u->lent;

    ASSERT(u->magic == UPSTREAM_MAGIC && u->next == NULL);
    if (has_more)
        count_desync(u);
    if (has_more || !upstream_may_follow(u)) {
        upstream_abort(u);
        return;
    }
    if (p->idle == UPSTREAM_IDLE_MAX)
        upstream_abort(p->lru.lru_next);
    upstream_forget(u);
    u->fn = NULL;
    u->owner = NULL;
    u->prev = head->prev;
    u->next = head;
    u->prev->next = u;
    head->prev = u;
    u->lru_prev = p->lru.lru_prev;
    u->lru_next = &p->lru;
    u->lru_prev->lru_next = u;
    p->lru.lru_prev = u;
    p->idle++;
    conn_resume(u->conn);
    conn_deadline(u->conn, UPSTREAM_IDLE_MS);
}
