#include "base/log.h"
#include "node/node_priv.h"

#include <inttypes.h>
#include <unistd.h>

/* How a node ends:
 *
 *   NO -> (SIGTERM) ANNOUNCED -> (drain_wait_ms) DRAINING -> (nothing left, or drain_ms) end
 *   NO -> (another process took over) DRAINING
 *
 * ANNOUNCED: adverts and /ready say so, answers end their connections, and it still accepts.
 * DRAINING: the listening sockets are closed; requests end, and so do connections: those that
 * look idle had or get drain_wait_ms, because a request may be on its way, and those that are
 * closing send their rest first. */

#define DRAIN_TICK_MS 20
#define SECOND_TERM_MS 10000

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

static bool
is_over(const struct node *n, uint64_t ms)
{
    const struct metrics *m = &n->shared.metrics;

    return ms >= n->stop_within_ms ||
           (atomic_load(&n->shared.closed_count) == n->shared.worker_count &&
            atomic_load(&m->requests_open) == 0 && atomic_load(&m->client_sockets) == 0);
}

void
node_on_drain_tick(void *context)
{
    struct node *n = context;
    uint64_t ms = mono_ms_since(loop_now(n->loop), n->stop_since);

    if (n->stop == STOP_ANNOUNCED && ms >= (uint64_t)n->shared.current->config->drain_wait_ms)
        begin_drain(n, 0);
    /* As long as one process holds them, connections would queue up with nobody to accept. */
    if (n->stop == STOP_DRAINING && atomic_load(&n->shared.closed_count) == n->shared.worker_count)
        node_close_sockets(n);
    if (n->stop == STOP_DRAINING && is_over(n, ms)) {
        loop_stop(n->loop);
        return;
    }
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

    if (n->stop == STOP_DRAINING)
        return;
    if (n->stop == STOP_NO)
        begin_stop(n);
    begin_drain(n, wait);
    node_on_drain_tick(n);
}
