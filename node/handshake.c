#include "node/handshake.h"

#include "base/check.h"
#include "base/log.h"
#include "node/client.h"

#include <inttypes.h>

#define LOG_PER_SECOND 5 /* lines of a worker; more are counted */

static _Atomic int64_t *
count_of(struct worker *w, bool mesh)
{
    return &w->shared->metrics.handshakes_open[mesh ? 1 : 0];
}

bool
handshake_admit(struct worker *w, bool mesh)
{
    int64_t open = atomic_fetch_add_explicit(count_of(w, mesh), 1, memory_order_relaxed);

    if (open < w->snapshot->config->handshakes_max)
        return true;
    handshake_drop(w, mesh);
    metrics_add(&w->shared->metrics.handshakes_refused);
    return false;
}

void
handshake_drop(struct worker *w, bool mesh)
{
    (void)atomic_fetch_sub_explicit(count_of(w, mesh), 1, memory_order_relaxed);
}

static bool
end(struct client *c)
{
    if (!c->handshaking)
        return false;
    c->handshaking = false;
    handshake_drop(c->worker, c->caller.mesh);
    return true;
}

void
handshake_done(struct client *c)
{
    struct metrics *m = &c->worker->shared->metrics;

    if (!end(c))
        return;
    metrics_add(&m->handshakes);
    if (conn_is_resumed(c->conn))
        metrics_add(&m->handshakes_resumed);
}

/* What is about certificates someone must look at: those of a client, or our own CRL. Anyone can
 * cause the lines, so there are few of them; the metric counts all. */
static void
log_fault(struct client *c, enum tls_fault fault)
{
    struct worker *w = c->worker;
    struct mono now = loop_now(w->loop);

    if (mono_ms_since(now, w->fault_logged) >= 1000) {
        w->fault_logged = now;
        w->fault_lines = 0;
    }
    if (w->fault_lines == LOG_PER_SECOND) {
        w->fault_held++;
        return;
    }
    w->fault_lines++;
    log_event(LOG_WARN, "tls.refused", "listener=%s reason=%s unlogged=%" PRIu64,
              c->caller.mesh ? "mesh" : "public", tls_fault_text(fault), w->fault_held);
    w->fault_held = 0;
}

void
handshake_failed(struct client *c, bool timed_out)
{
    enum tls_fault fault = timed_out ? TLS_FAULT_TIMEOUT : conn_tls_fault(c->conn);

    if (!end(c))
        return;
    if (fault == TLS_FAULT_NONE)
        fault = TLS_FAULT_GONE;
    metrics_add(&c->worker->shared->metrics.handshakes_failed[fault]);
    if (fault >= TLS_FAULT_CERT_MISSING)
        log_fault(c, fault);
}
