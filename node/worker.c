#include "node/worker.h"

#include "base/check.h"
#include "base/log.h"
#include "node/client.h"
#include "node/dispatch.h"
#include "node/journey.h"
#include "node/revoke.h"
#include "node/upstream.h"

#include <stdlib.h>

#define WORKER_KEPT_BYTES (64u << 20) /* idle buffer blocks a worker keeps */
#define WORKER_ENTRIES_LAST 8         /* records that are kept for ends of requests */
#define WORKER_OWED_MS 10             /* between looks for an entry that came back */
#define WORKER_TRIM_MS 1000           /* the period after which what was not needed goes */
#define WORKER_GATHER_US 500          /* how long a busy worker holds records back */

static struct ledger_entry *
hand_out(struct worker *w, struct ledger_entry *entry)
{
    if (entry == NULL)
        return NULL;
    entry->next = NULL;
    w->records++;
    return entry;
}

struct ledger_entry *
worker_entry(struct worker *w)
{
    if (w->entries.count > WORKER_ENTRIES_LAST)
        return hand_out(w, spare_take(&w->entries));
    return hand_out(w, malloc(sizeof(struct ledger_entry)));
}

struct ledger_entry *
worker_last_entry(struct worker *w)
{
    struct ledger_entry *entry = worker_entry(w);

    return entry != NULL ? entry : hand_out(w, spare_take(&w->entries));
}

/* Those that only the ends of requests may take. */
static enum err
keep_last_entries(struct worker *w)
{
    w->entries.floor = WORKER_ENTRIES_LAST;
    for (unsigned i = 0; i < WORKER_ENTRIES_LAST; i++) {
        struct ledger_entry *entry = malloc(sizeof(*entry));

        if (entry == NULL)
            return ERR_NOMEM;
        spare_put(&w->entries, entry);
    }
    return ERR_OK;
}

uint8_t *
worker_block(struct worker *w)
{
    uint8_t *block = spare_take(&w->blocks);

    return block != NULL ? block : aligned_alloc(16, TXN_ARENA_BYTES);
}

void
worker_block_return(struct worker *w, uint8_t *block)
{
    spare_put(&w->blocks, block);
}

void
worker_entry_return(struct worker *w, struct ledger_entry *entry)
{
    w->records--;
    spare_put(&w->entries, entry);
}

void
worker_owe(struct worker *w, struct txn *t)
{
    t->unclosed = true;
    t->next_unclosed = w->unclosed;
    w->unclosed = t;
}

/* Entries come back from the ledger, so this ends. */
static void
close_owed(struct worker *w)
{
    bool closed = true;

    while (w->unclosed != NULL && closed) {
        struct txn *t = w->unclosed;

        w->unclosed = t->next_unclosed;
        t->unclosed = false;
        closed = journey_close_late(t); /* else it is in the list again */
    }
}

void
worker_submit(struct worker *w, struct ledger_entry *entry)
{
    entry->next = w->gathered;
    w->gathered = entry;
    loop_gathered(w->loop);
}

void
worker_hand_over(struct worker *w)
{
    struct ledger_entry *newest = w->gathered;

    w->gathered = NULL;
    if (newest == NULL)
        return;
    ledger_submit_list(w->shared->ledger, newest);
    /* Finished A2s wake nobody. */
    ledger_collect(w->shared->ledger, w->index);
}

/* Nothing else to do: what was gathered becomes one batch. While requests keep coming a
 * batch grows, so that the cost of a sync is shared by more of them. */
static void
on_rest(void *context)
{
    worker_hand_over(context);
}

/* The clock of what is kept for reuse runs only while anything is. It also looks for entries
 * of ends that are written, which wake nobody, while others wait for one. */
static void
keep_time(struct worker *w)
{
    if (w->unclosed != NULL) {
        w->trimming = true;
        timer_set(w->trim, WORKER_OWED_MS);
        return;
    }
    if (w->trimming ||
        (buf_pool_kept(w->pool) + w->blocks.count == 0 && w->entries.count <= WORKER_ENTRIES_LAST))
        return;
    w->trimming = true;
    timer_set(w->trim, WORKER_TRIM_MS);
}

static void
on_trim(void *context)
{
    struct worker *w = context;

    w->trimming = false;
    if (w->unclosed != NULL) {
        ledger_collect(w->shared->ledger, w->index);
        return; /* no period ended */
    }
    buf_pool_trim(w->pool);
    (void)spare_trim(&w->blocks);
    (void)spare_trim(&w->entries);
}

static void
publish_load(struct worker *w)
{
    struct overload_share now = {.conns = loop_conns(w->loop),
                                 .buffer_bytes = (int64_t)buf_pool_held(w->pool),
                                 .records = w->records};

    overload_publish(w->shared->overload, &w->load, &now);
}

static void
on_turn_end(void *context)
{
    struct worker *w = context;

    close_owed(w);
    publish_load(w);
    keep_time(w);
    if (overload_stage(w->shared->overload) >= PRESSURE_SHED)
        client_shed(w);
}

void
worker_wake(struct worker *w)
{
    loop_wake(w->loop);
}

void
worker_grant(struct worker *w, struct txn *t)
{
    (void)pthread_mutex_lock(&w->grant_lock);
    t->next_grant = w->grants;
    w->grants = t;
    (void)pthread_mutex_unlock(&w->grant_lock);
    loop_wake(w->loop);
}

/* True: there were some. */
static bool
take_grants(struct worker *w)
{
    struct txn *list;
    bool any;

    (void)pthread_mutex_lock(&w->grant_lock);
    list = w->grants;
    w->grants = NULL;
    (void)pthread_mutex_unlock(&w->grant_lock);
    any = list != NULL;
    while (list != NULL) {
        struct txn *next = list->next_grant;

        list->next_grant = NULL;
        dispatch_granted(list);
        list = next;
    }
    return any;
}

static void
take_snapshots(struct worker *w)
{
    struct shared *s = w->shared;
    struct snapshot *old = NULL;
    struct health_view *old_view = NULL;
    bool new_snapshot = atomic_load(&s->generation) != w->snapshot->generation;

    if (!new_snapshot && atomic_load(&s->view_serial) == w->view->serial)
        return;
    (void)pthread_mutex_lock(&s->lock);
    old = w->snapshot;
    old_view = w->view;
    w->snapshot = snapshot_ref(s->current);
    w->view = health_view_ref(s->view);
    (void)pthread_mutex_unlock(&s->lock);
    if (old->generation != w->snapshot->generation) {
        identity_cache_clear(w->identities);
        upstream_pool_changed(w->upstreams);
        revoke_all(w);
    }
    snapshot_unref(&old);
    health_view_unref(&old_view);
}

static void
hold(struct worker *w, bool held)
{
    w->held = held;
    listener_pause(w->public_listener, held);
    if (w->mesh_listener != NULL)
        listener_pause(w->mesh_listener, held);
}

static void
on_wake(void *context)
{
    struct worker *w = context;
    struct shared *s = w->shared;

    ledger_collect(s->ledger, w->index);
    take_snapshots(w);
    (void)take_grants(w);
    if (w->held && !atomic_load(&s->held))
        hold(w, false);
    if (atomic_load(&s->draining) && w->accepting) {
        w->accepting = false;
        listener_free(&w->public_listener);
        listener_free(&w->mesh_listener);
        (void)atomic_fetch_add(&s->closed_count, 1);
        client_drain_all(w);
    }
    if (atomic_load(&s->cutting) && !w->told_cut) {
        w->told_cut = true;
        client_cut_all(w);
    }
    if (atomic_load(&s->stopping) && !w->told_stop) {
        w->told_stop = true;
        client_close_all(w);
        loop_stop(w->loop);
    }
}

/* Whoever waits in the queue of the kernel costs the node nothing. */
static void
rest_if_pressed(struct worker *w, struct listener *l)
{
    struct overload *o = w->shared->overload;

    publish_load(w); /* each connection counts for the next one, of whichever worker */
    if (overload_stage(o) >= PRESSURE_PAUSE && listener_rest(l))
        overload_count(o, OVERLOAD_REST);
}

static void
on_public(void *context, int fd)
{
    struct worker *w = context;

    client_accept(w, fd, false);
    rest_if_pressed(w, w->public_listener);
}

static void
on_mesh(void *context, int fd)
{
    struct worker *w = context;

    client_accept(w, fd, true);
    rest_if_pressed(w, w->mesh_listener);
}

static void *
run(void *context)
{
    struct worker *w = context;

    loop_run(w->loop);
    return NULL;
}

static enum err
make(struct worker *w)
{
    const struct config *c = w->snapshot->config;
    enum err e = loop_new(&w->loop);

    if (e == ERR_OK)
        e = buf_pool_new(&w->pool, WORKER_KEPT_BYTES);
    if (e == ERR_OK)
        e = identity_cache_new((size_t)c->token_cache_count, &w->identities);
    if (e == ERR_OK)
        e = jscan_keys_new(&w->keys);
    if (e == ERR_OK)
        e = legal_digests_new(&w->legal_digests);
    if (e == ERR_OK)
        e = record_beginnings_new(&w->beginnings);
    if (e == ERR_OK)
        e = subject_memo_new(&w->subjects);
    if (e == ERR_OK)
        e = upstream_pool_new(w, &w->upstreams);
    if (e == ERR_OK)
        e = timer_new(w->loop, on_trim, w, &w->trim);
    if (e == ERR_OK)
        e = keep_last_entries(w);
    w->own = calloc(BITS_COUNT_MAX, sizeof(*w->own));
    if (e == ERR_OK && w->own == NULL)
        e = ERR_NOMEM;
    if (e == ERR_OK)
        e = listener_new(w->loop, w->shared->public_fd, on_public, w, &w->public_listener);
    if (e == ERR_OK && w->shared->mesh_fd >= 0)
        e = listener_new(w->loop, w->shared->mesh_fd, on_mesh, w, &w->mesh_listener);
    if (e == ERR_OK && atomic_load(&w->shared->held))
        hold(w, true);
    return e;
}

static void
drop(struct worker *w)
{
    listener_free(&w->public_listener);
    listener_free(&w->mesh_listener);
    upstream_pool_free(&w->upstreams);
    timer_free(&w->trim);
    txn_free_kept(w);
    loop_free(&w->loop); /* destroys what is buried */
    spare_free(&w->blocks);
    spare_free(&w->entries);
    identity_cache_free(&w->identities);
    jscan_keys_free(&w->keys);
    legal_digests_free(&w->legal_digests);
    record_beginnings_free(&w->beginnings);
    subject_memo_free(&w->subjects);
    free(w->own);
    w->own = NULL;
    buf_pool_free(&w->pool);
    snapshot_unref(&w->snapshot);
    health_view_unref(&w->view);
    (void)pthread_mutex_destroy(&w->grant_lock);
}

enum err
worker_start(struct worker *w, struct shared *shared, unsigned index)
{
    enum err e;

    w->index = index;
    w->shared = shared;
    w->accepting = true;
    w->snapshot = snapshot_ref(shared->current);
    w->view = health_view_ref(shared->view);
    if (pthread_mutex_init(&w->grant_lock, NULL) != 0)
        return ERR_NOMEM;
    e = make(w);
    if (e == ERR_OK) {
        loop_on_wake(w->loop, on_wake, w);
        loop_on_rest(w->loop, on_rest, w, WORKER_GATHER_US);
        loop_on_turn_end(w->loop, on_turn_end, w);
        if (pthread_create(&w->thread, NULL, run, w) != 0)
            e = ERR_NOMEM;
    }
    if (e != ERR_OK)
        drop(w);
    return e;
}

void
worker_join(struct worker *w)
{
    (void)pthread_join(w->thread, NULL);
}

bool
worker_settle(struct worker *w)
{
    bool any;

    ledger_collect(w->shared->ledger, w->index);
    any = take_grants(w);
    close_owed(w);
    any = any || w->gathered != NULL || w->unclosed != NULL;
    worker_hand_over(w);
    return any;
}

void
worker_free(struct worker *w)
{
    drop(w);
}
