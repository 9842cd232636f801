#include "node/upstream.h"

#include "base/check.h"
#include "crypto/cert.h"
#include "net/h1.h"
#include "net/tls_reuse.h"
#include "node/worker.h"

#include <stdlib.h>

#define UPSTREAM_MAGIC 0x55505354u
#define BUCKETS 256
#define IN_MAX (H1_HEAD_MAX + 65536)
#define OUT_SLACK 32768 /* head of the request: attestation, path, fields */

struct upstream {
    uint32_t magic;
    struct upstream_pool *pool;
    struct upstream *next, *prev;         /* idle: bucket list */
    struct upstream *lru_next, *lru_prev; /* idle: oldest first */
    struct conn *conn;
    struct address address;
    struct tls *tls; /* reffed: the identity is part of the key */
    uint32_t top_tenant_id;
    char spiffe[CERT_URI_MAX]; /* the identity a peer must prove, or "" */
    upstream_fn fn;            /* NULL while idle */
    void *owner;
    bool ready;
    bool reused;
};

struct upstream_pool {
    struct worker *worker;
    struct tls_reuse *reuse;          /* of backends; those of peers are never resumed */
    struct upstream buckets[BUCKETS]; /* ring heads */
    struct upstream lru;              /* ring head */
    size_t idle;
};

enum err
upstream_pool_new(struct worker *w, struct upstream_pool **out)
{
    struct upstream_pool *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return ERR_NOMEM;
    p->worker = w;
    for (size_t i = 0; i < BUCKETS; i++)
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

static size_t
bucket_of(const struct address *a, const struct tls *tls, uint32_t tenant)
{
    uint64_t h = (uint64_t)(uintptr_t)tls * UINT64_C(0x9e3779b97f4a7c15) ^
                 (uint64_t)address_port(a) << 20 ^ tenant;

    return (size_t)((h * UINT64_C(0x9e3779b97f4a7c15)) >> 56) % BUCKETS;
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

static void
on_conn(void *owner, struct conn *c, unsigned events)
{
    struct upstream *u = owner;

    (void)c;
    ASSERT(u->magic == UPSTREAM_MAGIC);
    if (u->fn == NULL) {
        /* Idle: whatever comes now, bytes or the end, makes it useless. */
        upstream_abort(u);
        return;
    }
    if ((events & CONN_OPENED) != 0) {
        conn_deadline(u->conn, 0);
        if (!peer_is(u)) {
            events = CONN_FAILED;
        } else {
            u->ready = true;
        }
    }
    u->fn(u->owner, u, events);
}

static struct upstream *
take_idle(struct upstream_pool *p, const struct address *a, const struct tls *tls,
          const char *spiffe, uint32_t tenant)
{
    struct upstream *head = &p->buckets[bucket_of(a, tls, tenant)];

    for (struct upstream *u = head->prev; u != head; u = u->prev) {
        if (u->tls != tls || u->top_tenant_id != tenant || !address_equal(&u->address, a) ||
            strcmp(u->spiffe, spiffe) != 0 || !conn_is_open(u->conn))
            continue;
        unlink_idle(u);
        return u;
    }
    return NULL;
}

static enum err
connect_new(struct upstream_pool *p, struct snapshot *s, const struct mesh_target *target,
            const char *spiffe, uint32_t tenant, size_t out_max, struct upstream **out)
{
    struct upstream *u = calloc(1, sizeof(*u));
    struct conn_opts opts = {.loop = p->worker->loop,
                             .pool = p->worker->pool,
                             .tls = target->tls,
                             .fn = on_conn,
                             .owner = u,
                             .in_max = IN_MAX,
                             .out_max = out_max,
                             .guard = s->egress,
                             .reuse = p->reuse};
    enum err e;

    if (u == NULL)
        return ERR_NOMEM;
    u->magic = UPSTREAM_MAGIC;
    u->pool = p;
    u->address = target->address;
    u->top_tenant_id = tenant;
    (void)slice_copy_str(slice_str(spiffe), u->spiffe, sizeof(u->spiffe));
    e = conn_connect(&opts, &target->address, &u->conn);
    if (e != ERR_OK) {
        free(u);
        return e;
    }
    u->tls = target->tls == NULL ? NULL : tls_ref(target->tls);
    conn_deadline(u->conn, (uint64_t)s->config->connect_timeout_ms);
    *out = u;
    return ERR_OK;
}

enum err
upstream_checkout(struct upstream_pool *p, struct snapshot *s, struct permit *permit,
                  uint32_t top_tenant_id, size_t request_bytes, upstream_fn fn, void *owner,
                  struct upstream **out)
{
    uint32_t index;
    const struct mesh_target *target;
    const char *spiffe = "";
    struct upstream *u;
    enum err e;

    if (permit == NULL || !permit_spend(permit))
        return ERR_FORBIDDEN;
    index = permit_target(permit);
    target = permit_is_node(permit) ? &s->nodes[index] : &s->backends[index];
    if (permit_is_node(permit))
        spiffe = s->charter->nodes[index].spiffe;
    if (!target->is_set)
        return ERR_FORBIDDEN;
    u = take_idle(p, &target->address, target->tls, spiffe, top_tenant_id);
    if (u != NULL) {
        u->reused = true;
        conn_deadline(u->conn, 0);
        conn_set_out_max(u->conn, request_bytes + OUT_SLACK);
    } else {
        e = connect_new(p, s, target, spiffe, top_tenant_id, request_bytes + OUT_SLACK, &u);
        if (e != ERR_OK)
            return e;
    }
    u->fn = fn;
    u->owner = owner;
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

struct conn *
upstream_conn(struct upstream *u)
{
    return u->conn;
}

void
upstream_return(struct upstream *u)
{
    struct upstream_pool *p = u->pool;
    struct upstream *head = &p->buckets[bucket_of(&u->address, u->tls, u->top_tenant_id)];

    ASSERT(u->magic == UPSTREAM_MAGIC && u->next == NULL);
    if (buf_used(conn_in(u->conn)) > 0 || conn_unsent(u->conn) > 0 || !conn_is_open(u->conn)) {
        upstream_abort(u);
        return;
    }
    if (p->idle == UPSTREAM_IDLE_MAX)
        upstream_abort(p->lru.lru_next);
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
