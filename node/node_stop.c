#include "base/log.h"
#include "node/node_priv.h"

#include <inttypes.h>
#include <unistd.h>

/* How a node ends:
 *
 *   NO -> (SIGTERM) ANNOUNCED -> (drain_wait_ms) DRAINING -> (drain_ms) CUTTING -> end
 *   NO -> (another process took over) DRAINING
 *
 * and from DRAINING to the end as soon as nothing is left.
 *
 * ANNOUNCED: adverts and /ready say so, answers end their connections, and it still accepts.
 * DRAINING: the listening sockets are closed; requests end, and so do connections: those that
 * look idle had or get drain_wait_ms, because a request may be on its way, and those that are
 * closing send their rest first.
 * CUTTING: nothing more goes to a backend. What has no answer yet is refused with 503, and a
 * stream ends with an error event, both on record as `drained`; there is time for these answers
 * to be recorded and to leave. */

#define DRAIN_TICK_MS 20
#define SECOND_TERM_MS 10000
#define CUT_MS 2000

static void
begin_drain(struct node *n, int64_t grace_ms)
{
    n->stop = STOP_DRAINING;
    atomic_store(&n->shared.drain_grace_ms, grace_ms);
    atomic_store(&n->shared.announced, true);
    atomic_store(&n->shared.draining, true);
    for (unsigned i = 0; i < n->shared.worker_count; i++)
        worker_wake(&n->shared.workers[i]);
    log_event(LOG_INFO, "node.draining", "requests=%" PRId64,
              atomic_load(&n->shared.metrics.requests_open));
}

static void
close_socket(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void
node_close_sockets(struct node *n)
{
    close_socket(&n->shared.public_fd);
    close_socket(&n->shared.mesh_fd);
}

/* A process between two others stays: through it the one before hears what the one after
 * reloads. */
static bool
is_empty(const struct node *n)
{
    const struct metrics *m = &n->shared.metrics;

    return !(n->given_seen && takeover_giver_has_before(n->giver)) &&
           atomic_load(&n->shared.closed_count) == n->shared.worker_count &&
           atomic_load(&m->requests_open) == 0 && atomic_load(&m->client_sockets) == 0;
}

static void
begin_cut(struct node *n, uint64_t ms)
{
    n->stop = STOP_CUTTING;
    n->stop_within_ms = ms + CUT_MS;
    atomic_store(&n->shared.cutting, true);
    for (unsigned i = 0; i < n->shared.worker_count; i++)
        worker_wake(&n->shared.workers[i]);
    log_event(LOG_WARN, "node.cutting", "requests=%" PRId64,
              atomic_load(&n->shared.metrics.requests_open));
}

void
node_cut(struct node *n)
{
    if (n->stop == STOP_DRAINING)
        begin_cut(n, mono_ms_since(loop_now(n->loop), n->stop_since));
}

void
node_on_drain_tick(void *context)
{
    struct node *n = context;
    uint64_t ms = mono_ms_since(loop_now(n->loop), n->stop_since);

    if (n->stop == STOP_ANNOUNCED && ms >= (uint64_t)n->shared.current->config->drain_wait_ms)
        begin_drain(n, 0);
    /* As long as one process holds them, connections would queue up with nobody to accept. */
    if (n->stop >= STOP_DRAINING && atomic_load(&n->shared.closed_count) == n->shared.worker_count)
        node_close_sockets(n);
    if (n->stop >= STOP_DRAINING &&
        (is_empty(n) || (n->stop == STOP_CUTTING && ms >= n->stop_within_ms))) {
        loop_stop(n->loop);
        return;
    }
    if (n->stop == STOP_DRAINING && ms >= n->stop_within_ms)
        begin_cut(n, ms);
    timer_set(n->drain_tick, DRAIN_TICK_MS);
}

static void
begin_stop(struct node *n)
{
    const struct config *c = n->shared.current->config;

    n->stop_since = loop_now(n->loop);
    n->stop_within_ms = (uint64_t)(c->drain_wait_ms + c->drain_timeout_ms);
}

void
node_on_term(void *context)
{
    struct node *n = context;

    if (n->stop == STOP_NO) {
        n->term_seen = true;
        n->stop = STOP_ANNOUNCED;
        begin_stop(n);
        atomic_store(&n->shared.announced, true);
        node_on_drain_tick(n);
        return;
    }
    if (n->term_seen) {
        uint64_t within = mono_ms_since(loop_now(n->loop), n->stop_since) + SECOND_TERM_MS;

        /* Another one may only shorten it. */
        if (within < n->stop_within_ms)
            n->stop_within_ms = within;
        if (n->stop == STOP_ANNOUNCED)
            begin_drain(n, 0);
    }
    n->term_seen = true; /* the first one after a takeover asks for what goes on already */
}

void
node_drain_given(struct node *n)
{
    int64_t wait = n->shared.current->config->drain_wait_ms;

    if (n->stop >= STOP_DRAINING)
        return;
    if (n->stop == STOP_NO)
        begin_stop(n);
    begin_drain(n, wait);
    node_on_drain_tick(n);
}
