#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/node_priv.h"

#include <unistd.h>

/* Both sides of a takeover, as they touch the rest of the process.
 *
 * The old one: shares its files, says GO, and once the new one serves, lets go of sockets and
 * ledger lock and drains. The new one: starts with everything but accepting and adverts, waits
 * until it knows its backends and peers, asks, and serves. */

#define TAKE_TICK_MS 5
#define TAKE_READY_MS 60000 /* from its start until it must be ready */
#define TAKE_SETTLE_MS 3000 /* and two probes: for places that are really gone */

/* ---- The old side ------------------------------------------------------------------------ */

/* On the giver's thread. */
static void
terms(void *context, struct takeover_terms *out)
{
    struct node *n = context;
    struct snapshot *now;

    (void)pthread_mutex_lock(&n->shared.lock);
    now = snapshot_ref(n->shared.current);
    (void)pthread_mutex_unlock(&n->shared.lock);
    takeover_terms(now, out);
    snapshot_unref(&now);
}

/* On the giver's thread. */
static enum err
on_stage(void *context, enum takeover_stage stage)
{
    struct node *n = context;
    int idle = BUSY_NO;

    switch (stage) {
    case TAKEOVER_BEGIN:
        if (atomic_load(&n->shared.announced))
            return ERR_CLOSED;
        return atomic_compare_exchange_strong(&n->busy, &idle, BUSY_TAKEOVER) ? ERR_OK : ERR_AGAIN;
    case TAKEOVER_SHARE:
        return subject_store_share(n->shared.subjects, true);
    case TAKEOVER_GO:
        atomic_store(&n->shared.silent, true);
        break;
    case TAKEOVER_FAILED:
        /* The keys stay shared: whether that process is really dead nobody here knows. */
        atomic_store(&n->shared.silent, false);
        atomic_store(&n->busy, BUSY_NO);
        break;
    case TAKEOVER_GIVEN:
        atomic_store(&n->given, true);
        break;
    }
    loop_wake(n->loop);
    return ERR_OK;
}

/* before_fd: to the process that this one took over from, or -1. */
static enum err
give_start(struct node *n, int before_fd)
{
    struct takeover_giver_opts opts = {
        .state_dir = n->shared.current->config->state_dir,
        .fds = {[TAKEOVER_PUBLIC] = n->shared.public_fd,
                [TAKEOVER_MESH] = n->shared.mesh_fd,
                [TAKEOVER_ADMIN] = n->admin_fd,
                [TAKEOVER_LOCK] = ledger_lock_fd(n->shared.ledger)},
        .before_fd = before_fd,
        .terms = terms,
        .stage = on_stage,
        .asked = node_reload_asked,
        .wanted = node_reload_wanted,
        .followed = node_reload_followed,
        .context = n,
    };
    enum err e = takeover_giver_start(&opts, &n->giver);

    if (e != ERR_OK)
        log_event(LOG_ERROR, "takeover.unavailable", "state_dir=%s reason=\"%s\"", opts.state_dir,
                  err_text(e));
    return e;
}

enum err
node_give_start(struct node *n)
{
    return give_start(n, -1);
}

void
node_give_look(struct node *n)
{
    if (!atomic_load(&n->given) || n->given_seen)
        return;
    n->given_seen = true;
    log_event(LOG_INFO, "takeover.given", "effect=\"a new process serves\"");
    ledger_unlock(n->shared.ledger);
    admin_accept(n->admin, false);
    (void)close(n->admin_fd);
    n->admin_fd = -1;
    atomic_store(&n->busy, BUSY_NO);
    node_drain_given(n);
}

/* ---- The new side ------------------------------------------------------------------------ */

enum err
node_take_sockets(struct node *n)
{
    struct takeover_terms own;
    char why[TAKEOVER_WORDS_MAX];
    enum err e;

    takeover_terms(n->shared.current, &own);
    e = takeover_begin(&n->taker, n->shared.current->config->state_dir, &own, why);
    if (e != ERR_OK) {
        log_event(LOG_ERROR, "takeover.failed", "reason=\"%s\"", why);
        return e;
    }
    n->shared.public_fd = n->taker.fds[TAKEOVER_PUBLIC];
    n->shared.mesh_fd = n->taker.fds[TAKEOVER_MESH];
    n->admin_fd = n->taker.fds[TAKEOVER_ADMIN];
    n->taker.fds[TAKEOVER_PUBLIC] = n->taker.fds[TAKEOVER_MESH] = -1;
    n->taker.fds[TAKEOVER_ADMIN] = -1;
    if (n->shared.public_fd >= 0 && n->admin_fd >= 0 && n->taker.fds[TAKEOVER_LOCK] >= 0 &&
        (n->shared.mesh_fd >= 0) == (own.values[TAKEOVER_TERM_PEERS][0] != '\0'))
        return ERR_OK;
    log_event(LOG_ERROR, "takeover.failed", "reason=\"a socket is missing\"");
    return ERR_BADMSG;
}

/* A backend or peer that was never heard of would look gone to the first requests. */
static bool
knows_all(const struct node *n)
{
    const struct health_view *view = n->shared.view; /* this thread alone swaps it */

    for (size_t i = 0; i < view->charter->backend_count; i++)
        if (view->backends[i].state == HEALTH_UNKNOWN)
            return false;
    for (size_t i = 0; i < view->charter->node_count; i++)
        if (i != n->shared.current->own_node && !view->nodes[i].alive)
            return false;
    return true;
}

static void
serve(struct node *n)
{
    struct shared *s = &n->shared;
    int before_fd;

    atomic_store(&s->silent, false);
    atomic_store(&s->held, false);
    for (unsigned i = 0; i < s->worker_count; i++)
        worker_wake(&s->workers[i]);
    admin_accept(n->admin, true);
    before_fd = takeover_serving(&n->taker);
    n->takes_over = false;
    log_event(LOG_INFO, "takeover.done", "node=%s", s->current->config->node);
    if (give_start(n, before_fd) != ERR_OK) {
        log_event(LOG_ERROR, "takeover.unavailable",
                  "effect=\"no other process can take over from this one, and the one before it "
                  "does not hear of reloads\"");
        if (before_fd >= 0)
            (void)close(before_fd);
    }
    node_reload_look(n); /* one may have waited for this */
}

static void
give_up(struct node *n, enum err e, const char *why)
{
    log_event(LOG_ERROR, "takeover.failed", "reason=\"%s\" effect=\"the old process goes on\"",
              why);
    takeover_end(&n->taker);
    n->result = e;
    loop_stop(n->loop);
}

static void
on_take_tick(void *context)
{
    struct node *n = context;
    uint64_t ms = mono_ms_since(loop_now(n->loop), n->take_since);
    uint64_t settle = TAKE_SETTLE_MS + 2 * (uint64_t)n->shared.current->config->probe_interval_ms;
    const char *why_not = n->taker.asked ? NULL : admin_why_not_ready(&n->shared);
    char why[TAKEOVER_WORDS_MAX];
    enum err e = ERR_AGAIN;

    if (n->stop != STOP_NO)
        return; /* the connection's end tells the old process */
    if (why_not == NULL && (n->taker.asked || knows_all(n) || ms >= settle))
        e = takeover_ask(&n->taker, why);
    if (e == ERR_AGAIN && why_not != NULL && ms >= TAKE_READY_MS) {
        give_up(n, ERR_TIMEOUT, why_not);
    } else if (e == ERR_AGAIN) {
        timer_set(n->take_tick, TAKE_TICK_MS);
    } else if (e == ERR_OK || e == ERR_CLOSED) {
        if (e == ERR_CLOSED)
            log_event(LOG_WARN, "takeover.alone", "reason=\"the old process is gone\"");
        serve(n);
    } else {
        give_up(n, e, why);
    }
}

enum err
node_take_start(struct node *n)
{
    enum err e = timer_new(n->loop, on_take_tick, n, &n->take_tick);

    if (e != ERR_OK)
        return e;
    n->take_since = loop_now(n->loop);
    timer_set(n->take_tick, 0);
    return ERR_OK;
}
