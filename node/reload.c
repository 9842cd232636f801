#include "node/reload.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "node/control.h"
#include "node/weather.h"

#include <inttypes.h>
#include <stdatomic.h>

static void
log_issues(const struct issues *issues)
{
    for (size_t i = 0; i < issues->count; i++) {
        const struct issue *it = &issues->items[i];
        struct log_quoted file;
        struct log_words path, text;

        log_event(LOG_ERROR, "reload.problem", "file=%s line=%u path=\"%s\" problem=\"%s\"",
                  log_quote(slice_str(it->file), &file), it->line,
                  log_words(slice_str(it->path), &path), log_words(slice_str(it->text), &text));
    }
}

/* What can't change under a running process. A new process may be started with another value of
 * some; the one that drains for it keeps its own and follows in all else. */
static void
check_fixed(const struct reload *r, const struct config *next, struct issues *issues)
{
    const struct config *now = r->shared->current->config;
    const struct {
        const char *key, *a, *b;
        bool by_start; /* a takeover may change it: not among its terms */
    } fixed[] = {
        {"mesh", now->mesh, next->mesh, false},
        {"node", now->node, next->node, false},
        {"listeners.public.address", now->public_address, next->public_address, false},
        {"listeners.mesh.address", now->mesh_address, next->mesh_address, false},
        {"listeners.admin.address", now->admin_address, next->admin_address, false},
        {"ledger.dir", now->ledger_dir, next->ledger_dir, false},
        {"ledger.durability", now->ledger_durability, next->ledger_durability, true},
        {"subjects_dir", now->subjects_dir, next->subjects_dir, false},
        {"state_dir", now->state_dir, next->state_dir, true},
    };

    for (size_t i = 0; i < ARRAY_COUNT(fixed); i++)
        if (strcmp(fixed[i].a, fixed[i].b) != 0 && !(fixed[i].by_start && r->handed_over))
            issues_add(issues, next->file, 0, fixed[i].key, "changes only with a restart");
    if (now->workers != next->workers && !r->handed_over)
        issues_add(issues, next->file, 0, "workers", "changes only with a restart");
}

static void *
load(void *context)
{
    struct reload *r = context;
    struct snapshot *s = NULL;

    if (snapshot_load(r->config_path, clock_wall_ms(), r->issues, &s) == ERR_OK) {
        check_fixed(r, s->config, r->issues);
        tls_tickets_adopt(s->public_tls, r->shared->current->public_tls);
        (void)snapshot_seen_ok(s, r->issues);
        if (issues_any(r->issues))
            snapshot_unref(&s);
    }
    r->prepared = s;
    atomic_store(&r->done, true);
    loop_wake(r->loop);
    return NULL;
}

enum err
reload_start(struct reload *r)
{
    ASSERT(!r->running);
    r->issues = issues_new();
    atomic_store(&r->done, false);
    if (r->issues == NULL || pthread_create(&r->thread, NULL, load, r) != 0) {
        issues_free(&r->issues);
        log_event(LOG_ERROR, "reload.failed", "problem=\"out of memory\"");
        return ERR_NOMEM;
    }
    r->running = true;
    return ERR_OK;
}

/* Everything that can fail, each step undone or without effect when a later one fails. On
 * disk a version counts as seen only after the ledger has the records of it (all or none); if
 * that last write fails, the records of what stays in force follow. */
static enum err
prepare(struct reload *r, struct snapshot *s, struct health_view **view, struct weather **weather)
{
    struct shared *shared = r->shared;
    enum err e = ledger_stalled(shared->ledger) ? ERR_TIMEOUT : ERR_OK;

    if (e == ERR_OK)
        e = snapshot_tenants_ensure(s, shared->subjects);
    if (e == ERR_OK)
        e = weather_first_view(s->charter, shared->view, view);
    if (e == ERR_OK)
        e = snapshot_bind(s, shared->admission);
    if (e == ERR_OK)
        e = weather_start(r->loop, shared, s, r->draining, weather);
    if (e == ERR_OK)
        e = snapshot_charter_keep(s);
    if (e == ERR_OK)
        e = control_snapshot(shared->ledger, s, clock_wall_ms());
    if (e == ERR_OK) {
        e = snapshot_seen_keep(s);
        if (e != ERR_OK &&
            control_snapshot(shared->ledger, shared->current, clock_wall_ms()) != ERR_OK)
            log_event(LOG_ERROR, "reload.unrecorded",
                      "problem=\"the ledger names a charter that is not in force\"");
    }
    if (e != ERR_OK) {
        weather_stop(weather);
        health_view_unref(view);
    }
    return e;
}

/* From the last check on nothing can fail. */
static enum err
commit(struct reload *r, struct snapshot *s)
{
    struct shared *shared = r->shared;
    struct health_view *view = NULL;
    struct weather *weather = NULL;
    struct snapshot *old;
    struct health_view *old_view;
    enum err e = prepare(r, s, &view, &weather);

    if (e != ERR_OK)
        return e;
    weather_stop(r->weather);
    *r->weather = weather;
    snapshot_apply_limits(s, shared->admission);
    overload_limits(shared->overload, s->config);
    (void)pthread_mutex_lock(&shared->lock);
    old = shared->current;
    old_view = shared->view;
    s->generation = old->generation + 1;
    view->serial = atomic_load(&shared->view_serial) + 1;
    shared->current = s;
    shared->view = view;
    atomic_store(&shared->view_serial, view->serial);
    atomic_store(&shared->generation, s->generation);
    (void)pthread_mutex_unlock(&shared->lock);
    for (unsigned i = 0; i < shared->worker_count; i++)
        worker_wake(&shared->workers[i]);
    snapshot_unref(&old);
    health_view_unref(&old_view);
    return ERR_OK;
}

/* The first fault as a person looks for it: file:line: path: what. */
static void
write_fault(const struct issues *issues, enum err e, struct text *out)
{
    const struct issue *first = &issues->items[0];

    if (!issues_any(issues)) {
        text_add_str(out, err_text(e));
        return;
    }
    text_add_str(out, first->file);
    if (first->line > 0)
        text_addf(out, ":%u", first->line);
    text_add_str(out, ": ");
    if (first->path[0] != '\0')
        text_addf(out, "%s: ", first->path);
    text_add_str(out, first->text);
    if (issues->count + issues->dropped > 1)
        text_addf(out, " (and %zu more)", issues->count + issues->dropped - 1);
}

bool
reload_finish(struct reload *r, struct reload_outcome *out)
{
    struct snapshot *s;
    struct text words;
    enum err e = ERR_BADMSG;

    if (!r->running || !atomic_load(&r->done))
        return false;
    (void)pthread_join(r->thread, NULL);
    r->running = false;
    s = r->prepared;
    r->prepared = NULL;
    text_init(&words, out->words, sizeof(out->words) - 1);
    if (s != NULL) {
        uint64_t version = s->charter->version;

        e = commit(r, s);
        if (e == ERR_OK) {
            metrics_add(&r->shared->metrics.reloads);
            log_event(LOG_INFO, "reload.done", "charter=%" PRIu64, version);
            text_addf(&words, "charter version %" PRIu64 " is in force", version);
        } else {
            snapshot_unref(&s);
        }
    }
    if (e != ERR_OK) {
        metrics_add(&r->shared->metrics.reloads_failed);
        log_issues(r->issues);
        log_event(LOG_ERROR, "reload.failed", "reason=\"%s\" effect=\"nothing changed\"",
                  err_text(e));
        write_fault(r->issues, e, &words);
    }
    issues_free(&r->issues);
    out->result = e;
    out->words[words.used] = '\0';
    return true;
}

void
reload_stop(struct reload *r)
{
    if (r->running)
        (void)pthread_join(r->thread, NULL);
    r->running = false;
    snapshot_unref(&r->prepared);
    issues_free(&r->issues);
}
