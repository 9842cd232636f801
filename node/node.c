#include "node/node.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "node/command.h"
#include "node/control.h"
#include "node/inherit.h"
#include "node/machine.h"
#include "node/node_priv.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define NODE_TICK_MS 1000
#define NODE_IDLE_TICKS 10 /* without a request before freed memory goes back to the system */
#define NODE_KEPT_BYTES (4u << 20)
#define NODE_WORKERS_MAX 256
#define NODE_SETTLE_ROUNDS 16 /* grant, denial or A1, A2: three and one to see that it is all */

static void
on_wake(void *context)
{
    struct node *n = context;

    node_give_look(n);
    node_reload_look(n);
}

/* Once for each change: whoever is refused meanwhile is counted. */
static void
tell_ledger(struct node *n)
{
    bool down = !ledger_healthy(n->shared.ledger);

    if (down == n->ledger_down)
        return;
    n->ledger_down = down;
    if (down)
        log_event(LOG_ERROR, "ledger.unavailable", "effect=\"new requests are refused\"");
    else
        log_event(LOG_INFO, "ledger.available", "effect=\"requests are taken again\"");
}

/* The allocator keeps what a burst left behind; once in each quiet time it lets go of it. */
static void
give_back(struct node *n)
{
    if (atomic_load(&n->shared.metrics.requests_open) > 0)
        n->idle_ticks = 0;
    else if (n->idle_ticks <= NODE_IDLE_TICKS)
        n->idle_ticks++;
    if (n->idle_ticks == NODE_IDLE_TICKS)
        machine_give_back();
}

static void
on_tick(void *context)
{
    struct node *n = context;
    struct shared *s = &n->shared;
    int64_t now = clock_wall_ms();

    tell_ledger(n);
    node_reload_tick(n);
    control_refusals(n->shared.ledger, &n->shared.metrics, n->counted_ms, now);
    n->counted_ms = now;
    give_back(n);
    /* A worker where nothing happens may hold what has to go. */
    for (unsigned i = 0; i < s->worker_count && overload_stage(s->overload) >= PRESSURE_SHED; i++)
        worker_wake(&s->workers[i]);
    timer_set(n->tick, NODE_TICK_MS);
}

static void
on_turn_end(void *context)
{
    struct node *n = context;
    struct overload_share now = {.conns = loop_conns(n->loop),
                                 .buffer_bytes = (int64_t)buf_pool_held(n->pool)};

    overload_publish(n->shared.overload, &n->load, &now);
}

/* ---- start -------------------------------------------------------------------------- */

static void
wake_worker(void *context, unsigned worker)
{
    struct shared *s = context;

    worker_wake(&s->workers[worker]);
}

/* On the ledger's own thread: the process before this one is gone. */
static void
run_over(void *context, const struct ledger_run_over *over)
{
    struct shared *s = context;

    if (over->result != ERR_OK)
        log_event(LOG_ERROR, "ledger.run_open", "run=%s reason=\"%s\" detail=\"%s\"", over->run,
                  err_text(over->result), over->why);
    else
        log_event(over->died ? LOG_WARN : LOG_INFO, "ledger.run_over",
                  "run=%s died=%d lost=%" PRIu64, over->run, over->died ? 1 : 0, over->lost);
    if (over->alone && subject_store_share(s->subjects, false) != ERR_OK)
        log_event(LOG_ERROR, "subjects.failed", "detail=\"they stay shared\"");
}

static enum err
open_at(const char *text, const char *what, int *fd)
{
    char host[254];
    uint16_t port = 0;
    struct address at;
    enum err e;

    if (*fd >= 0)
        return ERR_OK; /* the service manager opened it */
    e = address_split(slice_str(text), host, &port);
    if (e == ERR_OK)
        e = address_resolve(host, port, &at);
    if (e == ERR_OK)
        e = listener_open(&at, fd);
    if (e != ERR_OK)
        log_event(LOG_ERROR, "listen.failed", "listener=%s address=%s reason=\"%s\"", what, text,
                  e == ERR_EXIST ? "the address is in use" : err_text(e));
    return e;
}

static enum err
open_evidence(struct node *n)
{
    struct shared *s = &n->shared;
    const struct config *c = s->current->config;
    const struct charter *charter = s->current->charter;
    char why[512] = "";
    const char *subject_why = "";
    struct ledger_opts opts = {
        .dir = c->ledger_dir,
        .mesh = c->mesh,
        .node = c->node,
        .region = charter->regions[s->current->own_region].name,
        .software = NODE_SOFTWARE,
        .durability = strcmp(c->ledger_durability, "process") == 0 ? LEDGER_PROCESS : LEDGER_DISK,
        .segment_bytes = (size_t)c->ledger_segment_mib << 20,
        .worker_count = s->worker_count,
        .charter = charter,
        .now_ms = clock_wall_ms(),
        .wake = wake_worker,
        .wake_context = s,
        .run_over = run_over,
        .has_lock = n->taker.fds[TAKEOVER_LOCK] >= 0,
        .lock_fd = n->taker.fds[TAKEOVER_LOCK],
    };
    enum err e = file_mkdirs(c->subjects_dir, 0700);

    if (e == ERR_OK)
        e = subject_store_open(c->subjects_dir, &s->subjects, &subject_why);
    if (e == ERR_OK)
        e = snapshot_tenants_ensure(s->current, s->subjects);
    if (e != ERR_OK) {
        log_event(LOG_ERROR, "subjects.failed", "dir=%s reason=\"%s\" detail=\"%s\"",
                  c->subjects_dir, err_text(e), subject_why);
        return e;
    }
    opts.subjects = s->subjects;
    e = file_mkdirs(c->ledger_dir, 0700);
    if (e == ERR_OK)
        n->taker.fds[TAKEOVER_LOCK] = -1; /* the ledger's */
    if (e == ERR_OK)
        e = ledger_open(&opts, &s->ledger, why, sizeof(why));
    if (e == ERR_OK && ledger_alone(s->ledger))
        e = subject_store_share(s->subjects, false);
    if (e == ERR_OK)
        e = snapshot_charter_keep(s->current);
    if (e == ERR_OK)
        e = control_snapshot(s->ledger, s->current, clock_wall_ms());
    /* Only who holds the ledger may say which charter was seen. */
    if (e == ERR_OK)
        e = snapshot_seen_keep(s->current);
    if (e != ERR_OK)
        log_event(LOG_ERROR, "ledger.failed", "dir=%s reason=\"%s\" detail=\"%s\"", c->ledger_dir,
                  err_text(e), why);
    return e;
}

static enum err
open_listeners(struct node *n)
{
    const struct config *c = n->shared.current->config;
    enum err e;

    if (n->takes_over)
        return node_take_sockets(n);
    e = inherit_sockets(&n->shared.public_fd, &n->shared.mesh_fd, &n->admin_fd);
    if (e == ERR_OK)
        e = open_at(c->public_address, "public", &n->shared.public_fd);
    if (e == ERR_OK && c->mesh_address[0] != '\0')
        e = open_at(c->mesh_address, "mesh", &n->shared.mesh_fd);
    if (e == ERR_OK)
        e = open_at(c->admin_address, "admin", &n->admin_fd);
    return e;
}

static enum err
start_workers(struct node *n)
{
    struct shared *s = &n->shared;
    unsigned started = 0;
    enum err e = ERR_OK;

    while (started < s->worker_count && e == ERR_OK)
        e = worker_start(&s->workers[started], s, started), started++;
    if (e == ERR_OK)
        return ERR_OK;
    s->worker_count = started - 1;
    return e;
}

static void
more_metrics(void *context, struct text *out)
{
    const struct node *n = context;

    weather_metrics(n->weather, out);
}

static enum err
start_services(struct node *n)
{
    struct admin_opts admin = {.loop = n->loop,
                               .pool = n->pool,
                               .shared = &n->shared,
                               .fd = n->admin_fd,
                               .held = n->takes_over,
                               .more_metrics = more_metrics,
                               .context = n};
    enum err e =
        weather_start(n->loop, &n->shared, n->shared.current, &n->shared.announced, &n->weather);

    if (e == ERR_OK)
        e = admin_start(&admin, &n->admin);
    if (e == ERR_OK)
        e = loop_on_signal(n->loop, SIGTERM, node_on_term, n);
    if (e == ERR_OK)
        e = loop_on_signal(n->loop, SIGINT, node_on_term, n);
    if (e == ERR_OK)
        e = loop_on_signal(n->loop, SIGHUP, node_on_hup, n);
    if (e == ERR_OK)
        e = timer_new(n->loop, on_tick, n, &n->tick);
    if (e == ERR_OK)
        e = timer_new(n->loop, node_on_drain_tick, n, &n->drain_tick);
    if (e != ERR_OK)
        return e;
    n->reload = (struct reload){.config_path = n->reloads.path,
                                .loop = n->loop,
                                .shared = &n->shared,
                                .draining = &n->shared.announced,
                                .weather = &n->weather};
    loop_on_wake(n->loop, on_wake, n);
    loop_on_turn_end(n->loop, on_turn_end, n);
    on_turn_end(n);
    e = overload_descriptors(n->shared.overload);
    if (e != ERR_OK) {
        log_event(LOG_ERROR, "descriptors.few", "problem=\"RLIMIT_NOFILE leaves none to serve\"");
        return e;
    }
    n->counted_ms = clock_wall_ms();
    timer_set(n->tick, NODE_TICK_MS);
    return n->takes_over ? node_take_start(n) : node_give_start(n);
}

static enum err
load_first(struct node *n)
{
    struct shared *s = &n->shared;
    struct issues *issues = issues_new();
    enum err e;

    if (issues == NULL)
        return ERR_NOMEM;
    e = snapshot_load(n->config_path, clock_wall_ms(), issues, &s->current);
    if (e == ERR_OK && !snapshot_seen_ok(s->current, issues))
        e = ERR_CONFLICT;
    issues_print(issues, stderr);
    issues_free(&issues);
    if (e == ERR_OK)
        e = admission_new(&s->admission);
    if (e == ERR_OK)
        e = overload_new(&s->metrics, &s->overload);
    if (e == ERR_OK)
        e = snapshot_bind(s->current, s->admission);
    if (e == ERR_OK)
        e = weather_first_view(s->current->charter, NULL, &s->view);
    if (e != ERR_OK)
        return e;
    snapshot_apply_limits(s->current, s->admission);
    overload_limits(s->overload, s->current->config);
    s->current->generation = 1;
    atomic_store(&s->generation, 1);
    s->view->serial = 1;
    atomic_store(&s->view_serial, 1);
    s->worker_count = (unsigned)s->current->config->workers;
    if (s->worker_count == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);

        s->worker_count = cores < 1                  ? 1
                          : cores > NODE_WORKERS_MAX ? NODE_WORKERS_MAX
                                                     : (unsigned)cores;
    }
    s->workers = calloc(s->worker_count, sizeof(*s->workers));
    return s->workers == NULL ? ERR_NOMEM : ERR_OK;
}

/* Prompts and keys are in memory: no core files, no reading by other processes; and as many
 * descriptors as the system allows. */
static void
harden(void)
{
    struct rlimit files;

    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

/* ---- end ---------------------------------------------------------------------------- */

/* The loops are down, and every client is gone. A slot that came late leads to a denial, an A1
 * to its A2: until nothing is on its way any more. */
static void
settle(struct node *n)
{
    struct shared *s = &n->shared;
    bool more = true;

    for (unsigned i = 0; i < NODE_SETTLE_ROUNDS && more; i++) {
        if (ledger_drain(s->ledger) != ERR_OK && i == 0)
            log_event(LOG_ERROR, "ledger.stop", "problem=\"the last records may be missing\"");
        more = false;
        for (unsigned k = 0; k < s->worker_count; k++)
            if (worker_settle(&s->workers[k]))
                more = true;
    }
    if (atomic_load(&s->metrics.requests_open) != 0)
        log_event(LOG_ERROR, "node.unsettled", "requests=%" PRId64,
                  atomic_load(&s->metrics.requests_open));
}

static void
stop_all(struct node *n)
{
    struct shared *s = &n->shared;

    takeover_giver_stop(&n->giver);
    atomic_store(&s->draining, true);
    atomic_store(&s->stopping, true);
    /* Without a loop it was never started. */
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].loop != NULL)
            worker_wake(&s->workers[i]);
    for (unsigned i = 0; i < s->worker_count; i++)
        if (s->workers[i].loop != NULL)
            worker_join(&s->workers[i]);
    reload_stop(&n->reload);
    settle(n);
    control_refusals(s->ledger, &s->metrics, n->counted_ms, clock_wall_ms());
}

static void
free_all(struct node *n)
{
    struct shared *s = &n->shared;

    takeover_giver_stop(&n->giver);
    takeover_end(&n->taker);
    admin_stop(&n->admin);
    weather_stop(&n->weather);
    timer_free(&n->tick);
    timer_free(&n->drain_tick);
    timer_free(&n->take_tick);
    for (unsigned i = 0; i < s->worker_count && s->workers != NULL; i++)
        if (s->workers[i].loop != NULL)
            worker_free(&s->workers[i]);
    ledger_close(&s->ledger);
    subject_store_close(&s->subjects);
    loop_free(&n->loop);
    buf_pool_free(&n->pool);
    node_close_sockets(n);
    if (n->admin_fd >= 0)
        (void)close(n->admin_fd);
    health_view_unref(&s->view);
    snapshot_unref(&s->current);
    admission_free(&s->admission);
    overload_free(&s->overload);
    free(s->workers);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&n->mail_lock);
}

int
node_run(const char *config_path, bool take_over)
{
    struct node *n = calloc(1, sizeof(*n));
    enum err e;

    if (n == NULL)
        return EXIT_NO;
    n->config_path = config_path;
    (void)slice_copy_str(slice_str(config_path), n->reloads.path, sizeof(n->reloads.path));
    n->shared.public_fd = n->shared.mesh_fd = n->admin_fd = -1;
    n->taker = (struct takeover_taker){.fd = -1, .fds = {-1, -1, -1, -1}};
    n->takes_over = take_over;
    atomic_store(&n->shared.held, take_over);
    atomic_store(&n->shared.silent, take_over);
    (void)pthread_mutex_init(&n->shared.lock, NULL);
    (void)pthread_mutex_init(&n->mail_lock, NULL);
    harden();
    e = load_first(n);
    if (e == ERR_OK)
        e = loop_new(&n->loop);
    if (e == ERR_OK)
        e = buf_pool_new(&n->pool, NODE_KEPT_BYTES);
    if (e == ERR_OK)
        e = open_listeners(n);
    if (e == ERR_OK)
        e = open_evidence(n);
    if (e == ERR_OK)
        e = start_workers(n);
    if (e == ERR_OK)
        e = start_services(n);
    if (e == ERR_OK) {
        log_event(LOG_INFO, "node.started", "node=%s charter=%" PRIu64 " workers=%u public=%s",
                  n->shared.current->config->node, n->shared.current->charter->version,
                  n->shared.worker_count, n->shared.current->config->public_address);
        loop_run(n->loop);
        e = n->result;
    }
    if (n->shared.workers != NULL && n->shared.ledger != NULL)
        stop_all(n);
    log_event(e == ERR_OK ? LOG_INFO : LOG_ERROR, e == ERR_OK ? "node.stopped" : "node.failed",
              "reason=\"%s\"", err_text(e));
    free_all(n);
    free(n);
    return e == ERR_OK ? EXIT_GOOD : EXIT_NO;
}
