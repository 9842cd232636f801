#ifndef NODE_UPSTREAM_H
#define NODE_UPSTREAM_H

#include "base/err.h"
#include "net/conn.h"
#include "node/snapshot.h"
#include "residency/permit.h"

#include <stdbool.h>
#include <stdint.h>

/* A worker's connections to backends and peers, kept alive between requests. One is handed
 * out only against a permit (law 2). Kept apart by target address, TLS identity and
 * top-level tenant, so that no desync can cross customers. */

#define UPSTREAM_IDLE_MAX 1024 /* a worker; the longest idle gives way */
#define UPSTREAM_IDLE_MS 50000 /* below the usual 60 s of servers */

struct upstream_pool;
struct upstream;
struct worker;

MUST_USE enum err upstream_pool_new(struct worker *w, struct upstream_pool **out);
void upstream_pool_free(struct upstream_pool **p);
/* A new snapshot is in force: TLS sessions of the earlier one's contexts are forgotten. */
void upstream_pool_changed(struct upstream_pool *p);

typedef void (*upstream_fn)(void *owner, struct upstream *u, unsigned events);

/* Spends the permit. *out is either ready (upstream_ready) or connecting: then CONN_OPENED
 * or CONN_FAILED comes to fn. A peer's identity is checked before CONN_OPENED. ERR_FORBIDDEN:
 * no valid permit, or an address outside the egress guard. */
MUST_USE enum err upstream_checkout(struct upstream_pool *p, struct snapshot *s,
                                    struct permit *permit, uint32_t top_tenant_id,
                                    size_t request_bytes, upstream_fn fn, void *owner,
                                    struct upstream **out);
bool upstream_ready(const struct upstream *u);
bool upstream_reused(const struct upstream *u);
struct conn *upstream_conn(struct upstream *u);
/* Back to the pool: only after an answer that ended exactly, with nothing buffered. */
void upstream_return(struct upstream *u);
/* Closes at once: the backend's work is cancelled. */
void upstream_abort(struct upstream *u);

#endif
