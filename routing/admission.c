/* Slots are counted by compare-and-swap against the limit, so that no interleaving takes
 * more than there are. The queue has one mutex. That no wake-up is lost: who waits first
 * announces itself in `waiting` of each backend and then looks for a free slot; who frees
 * a slot first gives it back and then looks at `waiting`. Both pairs are sequentially
 * consistent, so one of the two always sees the other. */

#include "routing/admission.h"

#include "base/check.h"
#include "base/map.h"
#include "base/slice.h"
#include "residency/charter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Names that went with an old charter keep their numbers: twice the largest charter. */
#define BACKEND_IDS_MAX (2 * CHARTER_BACKENDS_MAX)
#define TENANT_IDS_MAX (2 * CHARTER_TENANTS_MAX)
#define MINUTE_NS UINT64_C(60000000000)
/* The retry budget in tenths of a retry. */
#define RETRY_START 30
#define RETRY_COST 10
#define RETRY_MAX 1000 /* a thousand requests' worth: quiet hours do not pay for a storm */

struct backend {
    char name[CHARTER_NAME_MAX + 1];
    atomic_uint slots;
    atomic_uint in_flight;
    atomic_uint waiting; /* waiters whose set holds it */
    pthread_mutex_t breaker_lock;
    struct breaker breaker;
    /* What choosing reads of it for every candidate of every request, without the lock. */
    _Atomic uint64_t open_from_ns; /* 0: a request may go there; UINT64_MAX: a trial is out */
    _Atomic uint64_t loaded_until_ns;
};

struct tenant {
    char name[CHARTER_TENANT_MAX + 1];
    atomic_uint concurrent_max; /* 0: none */
    atomic_uint in_flight;
    atomic_uint per_minute; /* 0: none */
    /* When the bucket is full again (generic cell rate algorithm): one word, no lock. */
    _Atomic uint64_t full_at_ns;
};

struct admission {
    struct backend *backends;
    struct tenant *tenants;
    pthread_mutex_t bind_lock; /* names and counts below */
    struct map *backend_map;
    struct map *tenant_map;
    uint32_t backend_count;
    uint32_t tenant_count;
    pthread_mutex_t queue_lock;
    struct admission_waiter *first;
    struct admission_waiter *last;
    atomic_uint queued;
    atomic_int retry_tenths;
};

const struct admission_row *
admission_row(enum admission_reason r)
{
#define ADMISSION_TABLE_ROW(name, reason, code, status, words) \
    [name] = {reason, code, status, words},
    static const struct admission_row rows[] = {ADMISSION_REASON_LIST(ADMISSION_TABLE_ROW)};
#undef ADMISSION_TABLE_ROW

    ASSERT(r < ADMISSION_REASON_COUNT);
    return &rows[r];
}

static void
lock(pthread_mutex_t *m)
{
    int failed = pthread_mutex_lock(m);

    ASSERT(failed == 0);
}

static void
unlock(pthread_mutex_t *m)
{
    int failed = pthread_mutex_unlock(m);

    ASSERT(failed == 0);
}

enum err
admission_new(struct admission **out)
{
    struct admission *a;
    enum err e = ERR_NOMEM;

    ASSERT(out != NULL && *out == NULL);
    a = calloc(1, sizeof(*a));
    if (a == NULL)
        return ERR_NOMEM;
    a->backends = calloc(BACKEND_IDS_MAX, sizeof(*a->backends));
    a->tenants = calloc(TENANT_IDS_MAX, sizeof(*a->tenants));
    if (a->backends == NULL || a->tenants == NULL)
        goto fail;
    e = map_new(&a->backend_map, BACKEND_IDS_MAX);
    if (e != ERR_OK)
        goto fail;
    e = map_new(&a->tenant_map, TENANT_IDS_MAX);
    if (e != ERR_OK)
        goto fail;
    /* Default mutexes can't fail to be made on Linux. */
    (void)pthread_mutex_init(&a->bind_lock, NULL);
    (void)pthread_mutex_init(&a->queue_lock, NULL);
    atomic_init(&a->retry_tenths, RETRY_START);
    *out = a;
    return ERR_OK;

fail:
    map_free(&a->backend_map);
    map_free(&a->tenant_map);
    free(a->backends);
    free(a->tenants);
    free(a);
    return e;
}

void
admission_free(struct admission **out)
{
    struct admission *a = *out;

    if (a == NULL)
        return;
    ASSERT(a->first == NULL);
    for (uint32_t i = 0; i < a->backend_count; i++)
        (void)pthread_mutex_destroy(&a->backends[i].breaker_lock);
    (void)pthread_mutex_destroy(&a->bind_lock);
    (void)pthread_mutex_destroy(&a->queue_lock);
    map_free(&a->backend_map);
    map_free(&a->tenant_map);
    free(a->backends);
    free(a->tenants);
    free(a);
    *out = NULL;
}

static struct backend *
backend_at(const struct admission *a, uint32_t id)
{
    ASSERT(id < BACKEND_IDS_MAX);
    return &a->backends[id];
}

static struct tenant *
tenant_at(const struct admission *a, uint32_t id)
{
    ASSERT(id < TENANT_IDS_MAX);
    return &a->tenants[id];
}

/* The number of a name, a new one for a new name. */
static enum err
backend_id(struct admission *a, const char *name, uint32_t *id)
{
    struct backend *b;
    enum err e;

    *id = map_get(a->backend_map, slice_str(name));
    if (*id != MAP_NONE)
        return ERR_OK;
    if (a->backend_count == BACKEND_IDS_MAX)
        return ERR_FULL;
    b = &a->backends[a->backend_count];
    if (!slice_copy_str(slice_str(name), b->name, sizeof(b->name)))
        return ERR_TOOBIG;
    e = map_add(a->backend_map, slice_str(b->name), a->backend_count);
    if (e != ERR_OK)
        return e;
    (void)pthread_mutex_init(&b->breaker_lock, NULL);
    breaker_init(&b->breaker);
    *id = a->backend_count++;
    return ERR_OK;
}

static enum err
tenant_id(struct admission *a, const char *name, uint32_t *id)
{
    struct tenant *t;
    enum err e;

    *id = map_get(a->tenant_map, slice_str(name));
    if (*id != MAP_NONE)
        return ERR_OK;
    if (a->tenant_count == TENANT_IDS_MAX)
        return ERR_FULL;
    t = &a->tenants[a->tenant_count];
    if (!slice_copy_str(slice_str(name), t->name, sizeof(t->name)))
        return ERR_TOOBIG;
    e = map_add(a->tenant_map, slice_str(t->name), a->tenant_count);
    if (e != ERR_OK)
        return e;
    *id = a->tenant_count++;
    return ERR_OK;
}

static bool
slot_take_raw(struct backend *b)
{
    uint32_t n = atomic_load(&b->in_flight);

    while (n < atomic_load(&b->slots))
        if (atomic_compare_exchange_weak(&b->in_flight, &n, n + 1))
            return true;
    return false;
}

static void
queue_remove(struct admission *a, struct admission_waiter *w)
{
    *(w->prev == NULL ? &a->first : &w->prev->next) = w->next;
    *(w->next == NULL ? &a->last : &w->next->prev) = w->prev;
    w->next = w->prev = NULL;
    w->queued = false;
    atomic_fetch_sub(&a->queued, 1);
    for (uint32_t i = 0; i < w->backend_count; i++)
        atomic_fetch_sub(&backend_at(a, w->backend_ids[i])->waiting, 1);
}

static bool
waits_for(const struct admission_waiter *w, uint32_t backend_id_wanted)
{
    for (uint32_t i = 0; i < w->backend_count; i++)
        if (w->backend_ids[i] == backend_id_wanted)
            return true;
    return false;
}

/* Hands free slots of the backend to those who wait for it, the longest first. The waiter
 * is told under the lock: once admission_unwait() has returned, no call is under way. */
static void
grant_locked(struct admission *a, uint32_t id)
{
    struct admission_waiter *next;

    for (struct admission_waiter *w = a->first; w != NULL; w = next) {
        next = w->next;
        if (!waits_for(w, id))
            continue;
        if (!slot_take_raw(backend_at(a, id)))
            return;
        queue_remove(a, w);
        w->granted_id = id;
        w->granted(w);
    }
}

static void
grant(struct admission *a, uint32_t id)
{
    lock(&a->queue_lock);
    grant_locked(a, id);
    unlock(&a->queue_lock);
}

enum err
admission_bind(struct admission *a, const struct admission_shape *shape, uint32_t *backend_ids,
               uint32_t *tenant_ids)
{
    enum err e = ERR_OK;

    lock(&a->bind_lock);
    for (uint32_t i = 0; i < shape->backend_count && e == ERR_OK; i++)
        e = backend_id(a, shape->backend_names[i], &backend_ids[i]);
    for (uint32_t i = 0; i < shape->tenant_count && e == ERR_OK; i++)
        e = tenant_id(a, shape->tenant_names[i], &tenant_ids[i]);
    unlock(&a->bind_lock);
    return e;
}

void
admission_apply(struct admission *a, const struct admission_shape *shape,
                const uint32_t *backend_ids, const uint32_t *tenant_ids)
{
    lock(&a->bind_lock);
    for (uint32_t i = 0; i < shape->backend_count; i++)
        atomic_store(&backend_at(a, backend_ids[i])->slots, shape->backend_slots[i]);
    for (uint32_t i = 0; i < shape->tenant_count; i++) {
        struct tenant *t = tenant_at(a, tenant_ids[i]);

        atomic_store(&t->concurrent_max, shape->tenant_concurrent[i]);
        atomic_store(&t->per_minute, shape->tenant_per_minute[i]);
    }
    unlock(&a->bind_lock);
    /* More slots than before are free slots. */
    for (uint32_t i = 0; i < shape->backend_count; i++)
        if (atomic_load(&backend_at(a, backend_ids[i])->waiting) > 0)
            grant(a, backend_ids[i]);
}

static bool
rate_take(struct tenant *t, struct mono now)
{
    uint32_t per_minute = atomic_load_explicit(&t->per_minute, memory_order_relaxed);
    uint64_t full_at = atomic_load_explicit(&t->full_at_ns, memory_order_relaxed);
    uint64_t step;
    uint64_t next;

    if (per_minute == 0)
        return true;
    step = MINUTE_NS / per_minute;
    do {
        next = (full_at > now.ns ? full_at : now.ns) + step;
        /* The bucket holds one minute's worth. */
        if (next - now.ns > MINUTE_NS)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&t->full_at_ns, &full_at, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

static void
retry_earn(struct admission *a)
{
    int tenths = atomic_load_explicit(&a->retry_tenths, memory_order_relaxed);

    while (tenths < RETRY_MAX &&
           !atomic_compare_exchange_weak_explicit(&a->retry_tenths, &tenths, tenths + 1,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

bool
admission_retry_take(struct admission *a)
{
    int tenths = atomic_load_explicit(&a->retry_tenths, memory_order_relaxed);

    while (tenths >= RETRY_COST)
        if (atomic_compare_exchange_weak_explicit(&a->retry_tenths, &tenths, tenths - RETRY_COST,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    return false;
}

enum admission_reason
admission_tenant_enter(struct admission *a, uint32_t id, struct mono now)
{
    struct tenant *t = tenant_at(a, id);
    uint32_t max = atomic_load_explicit(&t->concurrent_max, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&t->in_flight, memory_order_relaxed);

    do {
        if (max != 0 && n >= max)
            return ADMISSION_TENANT_CONCURRENT;
    } while (!atomic_compare_exchange_weak_explicit(&t->in_flight, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    if (!rate_take(t, now)) {
        admission_tenant_leave(a, id);
        return ADMISSION_TENANT_RATE;
    }
    retry_earn(a);
    return ADMISSION_OK;
}

void
admission_tenant_leave(struct admission *a, uint32_t id)
{
    uint32_t before =
        atomic_fetch_sub_explicit(&tenant_at(a, id)->in_flight, 1, memory_order_relaxed);

    ASSERT(before > 0);
}

bool
admission_slot_take(struct admission *a, uint32_t id)
{
    struct backend *b = backend_at(a, id);

    /* Who came before and waits is first. */
    return atomic_load(&b->waiting) == 0 && slot_take_raw(b);
}

void
admission_slot_free(struct admission *a, uint32_t id)
{
    struct backend *b = backend_at(a, id);
    uint32_t before = atomic_fetch_sub(&b->in_flight, 1);

    ASSERT(before > 0);
    if (atomic_load(&b->waiting) > 0)
        grant(a, id);
}

uint32_t
admission_in_flight(const struct admission *a, uint32_t id)
{
    return atomic_load_explicit(&backend_at(a, id)->in_flight, memory_order_relaxed);
}

uint32_t
admission_slots(const struct admission *a, uint32_t id)
{
    return atomic_load_explicit(&backend_at(a, id)->slots, memory_order_relaxed);
}

uint32_t
admission_tenant_in_flight(const struct admission *a, uint32_t id)
{
    return atomic_load_explicit(&tenant_at(a, id)->in_flight, memory_order_relaxed);
}

uint32_t
admission_queued(const struct admission *a)
{
    return atomic_load_explicit(&a->queued, memory_order_relaxed);
}

static void
queue_append(struct admission *a, struct admission_waiter *w)
{
    w->next = NULL;
    w->prev = a->last;
    *(a->last == NULL ? &a->first : &a->last->next) = w;
    a->last = w;
    w->queued = true;
    atomic_fetch_add(&a->queued, 1);
    for (uint32_t i = 0; i < w->backend_count; i++)
        atomic_fetch_add(&backend_at(a, w->backend_ids[i])->waiting, 1);
}

enum admission_reason
admission_wait(struct admission *a, struct admission_waiter *w)
{
    enum admission_reason reason = ADMISSION_OK;

    ASSERT(!w->queued);
    ASSERT(w->backend_count <= ARRAY_COUNT(w->backend_ids));
    lock(&a->queue_lock);
    if (atomic_load(&a->queued) >= ADMISSION_QUEUE_MAX) {
        reason = ADMISSION_QUEUE_FULL;
    } else {
        queue_append(a, w);
        /* Older waiters come first here too: a slot may have been freed just now. */
        for (uint32_t i = 0; i < w->backend_count && w->queued; i++)
            grant_locked(a, w->backend_ids[i]);
    }
    unlock(&a->queue_lock);
    return reason;
}

bool
admission_unwait(struct admission *a, struct admission_waiter *w)
{
    bool was_queued;

    lock(&a->queue_lock);
    was_queued = w->queued;
    if (was_queued)
        queue_remove(a, w);
    unlock(&a->queue_lock);
    return was_queued;
}

/* Under the breaker's lock, after each change. */
static void
breaker_publish(struct backend *b)
{
    uint64_t from = 0;

    if (b->breaker.state == BREAKER_OPEN)
        from = b->breaker.until.ns;
    else if (b->breaker.state == BREAKER_HALF_OPEN && b->breaker.trial != 0)
        from = UINT64_MAX;
    atomic_store_explicit(&b->open_from_ns, from, memory_order_relaxed);
    atomic_store_explicit(&b->loaded_until_ns, b->breaker.load_until.ns, memory_order_relaxed);
}

bool
admission_breaker_take(struct admission *a, uint32_t id, struct mono now, uint32_t *trial)
{
    struct backend *b = backend_at(a, id);
    bool taken;

    lock(&b->breaker_lock);
    taken = breaker_take(&b->breaker, now, trial);
    breaker_publish(b);
    unlock(&b->breaker_lock);
    return taken;
}

bool
admission_breaker_open_for(const struct admission *a, uint32_t id, struct mono now)
{
    return now.ns >= atomic_load_explicit(&backend_at(a, id)->open_from_ns, memory_order_relaxed);
}

bool
admission_loaded(const struct admission *a, uint32_t id, struct mono now)
{
    return now.ns < atomic_load_explicit(&backend_at(a, id)->loaded_until_ns, memory_order_relaxed);
}

void
admission_breaker_recover(struct admission *a, uint32_t id, struct mono now)
{
    struct backend *b = backend_at(a, id);

    lock(&b->breaker_lock);
    breaker_recover(&b->breaker, now);
    breaker_publish(b);
    unlock(&b->breaker_lock);
}

void
admission_breaker_note(struct admission *a, uint32_t id, enum breaker_outcome outcome,
                       uint32_t retry_after_ms, struct mono now, uint64_t random)
{
    struct backend *b = backend_at(a, id);

    lock(&b->breaker_lock);
    breaker_note(&b->breaker, outcome, retry_after_ms, now, random);
    breaker_publish(b);
    unlock(&b->breaker_lock);
}

void
admission_breaker_trial_end(struct admission *a, uint32_t id, uint32_t trial,
                            enum breaker_outcome outcome, struct mono now, uint64_t random)
{
    struct backend *b = backend_at(a, id);

    lock(&b->breaker_lock);
    breaker_trial_end(&b->breaker, trial, outcome, now, random);
    breaker_publish(b);
    unlock(&b->breaker_lock);
}
