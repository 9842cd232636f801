#include "routing/admission.h"

#include "base/text.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const backend_names[] = {"b0", "b1", "b2"};
static const char *const tenant_names[] = {"acme", "acme/de"};

static struct admission *
made(const uint32_t *slots, uint32_t count, uint32_t concurrent, uint32_t per_minute,
     uint32_t *backend_ids, uint32_t *tenant_ids)
{
    const uint32_t concurrents[] = {concurrent, 0};
    const uint32_t rates[] = {per_minute, 0};
    const struct admission_shape shape = {
        .backend_names = backend_names,
        .backend_slots = slots,
        .backend_count = count,
        .tenant_names = tenant_names,
        .tenant_concurrent = concurrents,
        .tenant_per_minute = rates,
        .tenant_count = 2,
    };
    struct admission *a = NULL;

    assert_int_equal(admission_new(&a), ERR_OK);
    assert_int_equal(admission_bind(a, &shape, backend_ids, tenant_ids), ERR_OK);
    admission_apply(a, &shape, backend_ids, tenant_ids);
    return a;
}

static void
rebind_slots(struct admission *a, const char *const *names, const uint32_t *slots, uint32_t count,
             uint32_t *ids)
{
    const struct admission_shape shape = {
        .backend_names = names, .backend_slots = slots, .backend_count = count};

    assert_int_equal(admission_bind(a, &shape, ids, NULL), ERR_OK);
    admission_apply(a, &shape, ids, NULL);
}

static void
test_slots_end(void **state)
{
    const uint32_t slots[] = {2, 0};
    uint32_t ids[2];
    uint32_t tenants[2];
    struct admission *a = made(slots, 2, 0, 0, ids, tenants);

    (void)state;
    assert_true(admission_slot_take(a, ids[0]));
    assert_true(admission_slot_take(a, ids[0]));
    assert_false(admission_slot_take(a, ids[0]));
    assert_false(admission_slot_take(a, ids[1]));
    admission_slot_free(a, ids[0]);
    assert_true(admission_slot_take(a, ids[0]));
    assert_int_equal(admission_in_flight(a, ids[0]), 2);
    admission_free(&a);
    assert_null(a);
}

static void
test_names_keep_their_numbers_and_counts(void **state)
{
    const uint32_t slots[] = {4, 4};
    static const char *const turned[] = {"b2", "b1"};
    uint32_t ids[2];
    uint32_t again[2];
    uint32_t tenants[2];
    struct admission *a = made(slots, 2, 0, 0, ids, tenants);

    (void)state;
    assert_true(admission_slot_take(a, ids[1]));
    rebind_slots(a, turned, slots, 2, again);
    assert_int_equal(again[1], ids[1]);
    assert_int_not_equal(again[0], ids[0]);
    assert_int_equal(admission_in_flight(a, again[1]), 1);
    assert_int_equal(admission_in_flight(a, again[0]), 0);
    admission_free(&a);
}

static void
test_fewer_slots_after_a_rebind(void **state)
{
    const uint32_t before[] = {3};
    const uint32_t after[] = {1};
    uint32_t ids[1];
    uint32_t tenants[2];
    struct admission *a = made(before, 1, 0, 0, ids, tenants);

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(admission_slot_take(a, ids[0]));
    rebind_slots(a, backend_names, after, 1, ids);
    admission_slot_free(a, ids[0]);
    assert_false(admission_slot_take(a, ids[0]));
    admission_slot_free(a, ids[0]);
    assert_false(admission_slot_take(a, ids[0]));
    admission_slot_free(a, ids[0]);
    assert_true(admission_slot_take(a, ids[0]));
    admission_free(&a);
}

static void
test_binding_alone_changes_no_limit(void **state)
{
    const uint32_t before[] = {1};
    const uint32_t after[] = {9};
    const struct admission_shape shape = {
        .backend_names = backend_names, .backend_slots = after, .backend_count = 1};
    uint32_t ids[1];
    uint32_t tenants[2];
    struct admission *a = made(before, 1, 0, 0, ids, tenants);

    (void)state;
    assert_int_equal(admission_bind(a, &shape, ids, NULL), ERR_OK);
    assert_int_equal(admission_slots(a, ids[0]), 1);
    assert_true(admission_slot_take(a, ids[0]));
    assert_false(admission_slot_take(a, ids[0]));
    admission_apply(a, &shape, ids, NULL);
    assert_int_equal(admission_slots(a, ids[0]), 9);
    admission_free(&a);
}

static void
test_too_many_names(void **state)
{
    enum { COUNT = 2 * 4096 + 1 };
    static char names[COUNT][16];
    static const char *pointers[COUNT];
    static uint32_t slots[COUNT];
    static uint32_t ids[COUNT];
    struct admission_shape shape = {.backend_names = pointers, .backend_slots = slots};
    struct admission *a = NULL;

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(text_format(names[i], sizeof(names[i]), "b%u", i));
        pointers[i] = names[i];
        slots[i] = 1;
    }
    assert_int_equal(admission_new(&a), ERR_OK);
    shape.backend_count = COUNT - 1;
    assert_int_equal(admission_bind(a, &shape, ids, NULL), ERR_OK);
    admission_apply(a, &shape, ids, NULL);
    shape.backend_count = COUNT;
    assert_int_equal(admission_bind(a, &shape, ids, NULL), ERR_FULL);
    /* What is bound goes on. */
    assert_true(admission_slot_take(a, ids[COUNT - 2]));
    admission_free(&a);
}

static void
test_tenant_concurrency(void **state)
{
    const uint32_t slots[] = {1};
    uint32_t ids[1];
    uint32_t tenants[2];
    struct admission *a = made(slots, 1, 2, 0, ids, tenants);
    struct mono now = {1};

    (void)state;
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_OK);
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_OK);
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_TENANT_CONCURRENT);
    assert_int_equal(admission_tenant_enter(a, tenants[1], now), ADMISSION_OK);
    admission_tenant_leave(a, tenants[0]);
    assert_int_equal(admission_tenant_in_flight(a, tenants[0]), 1);
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_OK);
    admission_free(&a);
}

static void
test_tenant_rate(void **state)
{
    const uint32_t slots[] = {1};
    uint32_t ids[1];
    uint32_t tenants[2];
    struct admission *a = made(slots, 1, 0, 60, ids, tenants);
    struct mono now = {UINT64_C(1) << 40};

    (void)state;
    for (int i = 0; i < 60; i++)
        assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_OK);
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_TENANT_RATE);
    assert_int_equal(admission_tenant_in_flight(a, tenants[0]), 60);
    now = mono_add_ms(now, 999);
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_TENANT_RATE);
    now = mono_add_ms(now, 1);
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_OK);
    assert_int_equal(admission_tenant_enter(a, tenants[0], now), ADMISSION_TENANT_RATE);
    admission_free(&a);
}

static void
test_retry_budget(void **state)
{
    const uint32_t slots[] = {1};
    uint32_t ids[1];
    uint32_t tenants[2];
    struct admission *a = made(slots, 1, 0, 0, ids, tenants);

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_true(admission_retry_take(a));
    assert_false(admission_retry_take(a));
    for (int i = 0; i < 9; i++) {
        assert_int_equal(admission_tenant_enter(a, tenants[0], (struct mono){1}), ADMISSION_OK);
        assert_false(admission_retry_take(a));
    }
    assert_int_equal(admission_tenant_enter(a, tenants[0], (struct mono){1}), ADMISSION_OK);
    assert_true(admission_retry_take(a));
    assert_false(admission_retry_take(a));
    admission_free(&a);
}

static uint32_t grants;

static void
count_grant(struct admission_waiter *w)
{
    (void)w;
    grants++;
}

static struct admission_waiter
waiting_for(uint32_t a, uint32_t b)
{
    struct admission_waiter w = {.backend_count = 2, .granted = count_grant};

    w.backend_ids[0] = a;
    w.backend_ids[1] = b;
    return w;
}

static void
test_the_first_who_can_use_it_is_served(void **state)
{
    const uint32_t slots[] = {1, 1, 1};
    uint32_t ids[3];
    uint32_t tenants[2];
    struct admission *a = made(slots, 3, 0, 0, ids, tenants);
    struct admission_waiter other = waiting_for(ids[1], ids[1]);
    struct admission_waiter first = waiting_for(ids[0], ids[2]);
    struct admission_waiter second = waiting_for(ids[2], ids[0]);

    (void)state;
    grants = 0;
    for (int i = 0; i < 3; i++)
        assert_true(admission_slot_take(a, ids[i]));
    assert_int_equal(admission_wait(a, &other), ADMISSION_OK);
    assert_int_equal(admission_wait(a, &first), ADMISSION_OK);
    assert_int_equal(admission_wait(a, &second), ADMISSION_OK);
    assert_int_equal(admission_queued(a), 3);
    admission_slot_free(a, ids[2]);
    assert_int_equal(grants, 1);
    assert_false(first.queued);
    assert_int_equal(first.granted_id, ids[2]);
    assert_true(second.queued);
    assert_int_equal(admission_in_flight(a, ids[2]), 1);
    assert_false(admission_unwait(a, &first));
    assert_true(admission_unwait(a, &second));
    assert_true(admission_unwait(a, &other));
    assert_int_equal(admission_queued(a), 0);
    admission_slot_free(a, ids[0]);
    assert_int_equal(grants, 1);
    admission_free(&a);
}

static void
test_a_slot_that_is_free_is_granted_at_once(void **state)
{
    const uint32_t slots[] = {1, 1};
    uint32_t ids[2];
    uint32_t tenants[2];
    struct admission *a = made(slots, 2, 0, 0, ids, tenants);
    struct admission_waiter w = waiting_for(ids[0], ids[1]);

    (void)state;
    grants = 0;
    assert_true(admission_slot_take(a, ids[0]));
    assert_int_equal(admission_wait(a, &w), ADMISSION_OK);
    assert_int_equal(grants, 1);
    assert_int_equal(w.granted_id, ids[1]);
    assert_int_equal(admission_in_flight(a, ids[1]), 1);
    admission_free(&a);
}

static void
test_new_slots_go_to_those_who_wait(void **state)
{
    const uint32_t before[] = {1};
    const uint32_t after[] = {3};
    uint32_t ids[1];
    uint32_t tenants[2];
    struct admission *a = made(before, 1, 0, 0, ids, tenants);
    struct admission_waiter w[3];

    (void)state;
    grants = 0;
    assert_true(admission_slot_take(a, ids[0]));
    for (int i = 0; i < 3; i++) {
        w[i] = waiting_for(ids[0], ids[0]);
        assert_int_equal(admission_wait(a, &w[i]), ADMISSION_OK);
    }
    assert_false(admission_slot_take(a, ids[0]));
    rebind_slots(a, backend_names, after, 1, ids);
    assert_int_equal(grants, 2);
    assert_int_equal(admission_in_flight(a, ids[0]), 3);
    assert_true(admission_unwait(a, &w[2]));
    admission_free(&a);
}

static void
test_the_queue_is_bounded(void **state)
{
    static struct admission_waiter w[ADMISSION_QUEUE_MAX + 1];
    const uint32_t slots[] = {0};
    uint32_t ids[1];
    uint32_t tenants[2];
    struct admission *a = made(slots, 1, 0, 0, ids, tenants);

    (void)state;
    for (int i = 0; i <= ADMISSION_QUEUE_MAX; i++) {
        w[i] = waiting_for(ids[0], ids[0]);
        assert_int_equal(admission_wait(a, &w[i]),
                         i < ADMISSION_QUEUE_MAX ? ADMISSION_OK : ADMISSION_QUEUE_FULL);
    }
    assert_false(w[ADMISSION_QUEUE_MAX].queued);
    for (int i = 0; i < ADMISSION_QUEUE_MAX; i++)
        assert_true(admission_unwait(a, &w[i]));
    assert_int_equal(admission_queued(a), 0);
    admission_free(&a);
}

static void
test_breaker_by_number(void **state)
{
    const uint32_t slots[] = {1, 1};
    uint32_t ids[2];
    uint32_t tenants[2];
    struct admission *a = made(slots, 2, 0, 0, ids, tenants);
    struct mono now = {UINT64_C(1) << 40};
    uint32_t trial = 0;
    uint32_t other = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        admission_breaker_note(a, ids[0], BREAKER_FAIL, 0, now, 0);
    assert_false(admission_breaker_open_for(a, ids[0], now));
    assert_true(admission_breaker_open_for(a, ids[1], now));
    now = mono_add_ms(now, 10000);
    assert_true(admission_breaker_take(a, ids[0], now, &trial));
    assert_false(admission_breaker_take(a, ids[0], now, &other));
    admission_breaker_note(a, ids[0], BREAKER_ABORT, 0, now, 0);
    assert_false(admission_breaker_open_for(a, ids[0], now));
    admission_breaker_trial_end(a, ids[0], trial, BREAKER_ABORT, now, 0);
    assert_true(admission_breaker_open_for(a, ids[0], now));
    admission_breaker_note(a, ids[1], BREAKER_LOAD, 2000, now, 0);
    assert_true(admission_loaded(a, ids[1], now));
    assert_false(admission_loaded(a, ids[1], mono_add_ms(now, 2000)));
    admission_free(&a);
}

/* Four threads fight for few slots; some give up waiting. */
enum { THREADS = 4, ROUNDS = 4000, STRESS_BACKENDS = 3, STRESS_LIMIT = 3 };

struct stress {
    struct admission *a;
    uint32_t ids[STRESS_BACKENDS];
    uint32_t tenant;
    const uint32_t *slots;
    atomic_uint held[STRESS_BACKENDS];
    atomic_uint inside;
    atomic_uint broken;
    atomic_uint served;
    atomic_uint granted;
};

struct stress_waiter {
    struct admission_waiter w; /* first: found from it */
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool is_told;
};

static void
wake_waiter(struct admission_waiter *w)
{
    struct stress_waiter *s = (struct stress_waiter *)(void *)w;

    (void)pthread_mutex_lock(&s->lock);
    s->is_told = true;
    (void)pthread_cond_signal(&s->told);
    (void)pthread_mutex_unlock(&s->lock);
}

static uint32_t
index_of(const struct stress *s, uint32_t id)
{
    for (uint32_t i = 0; i < STRESS_BACKENDS; i++)
        if (s->ids[i] == id)
            return i;
    return 0;
}

static void
use_slot(struct stress *s, uint32_t id)
{
    uint32_t i = index_of(s, id);

    if (atomic_fetch_add(&s->held[i], 1) >= s->slots[i])
        atomic_fetch_add(&s->broken, 1);
    if (admission_in_flight(s->a, id) > s->slots[i])
        atomic_fetch_add(&s->broken, 1);
    sched_yield();
    atomic_fetch_sub(&s->held[i], 1);
    atomic_fetch_add(&s->served, 1);
    admission_slot_free(s->a, id);
}

static void
wait_for_slot(struct stress *s, struct stress_waiter *w, uint32_t round)
{
    w->is_told = false;
    w->w.backend_count = 2;
    w->w.backend_ids[0] = s->ids[round % STRESS_BACKENDS];
    w->w.backend_ids[1] = s->ids[(round + 1) % STRESS_BACKENDS];
    w->w.granted = wake_waiter;
    if (admission_wait(s->a, &w->w) != ADMISSION_OK) {
        atomic_fetch_add(&s->broken, 1);
        return;
    }
    if (round % 7 == 0 && admission_unwait(s->a, &w->w))
        return;
    (void)pthread_mutex_lock(&w->lock);
    while (!w->is_told)
        (void)pthread_cond_wait(&w->told, &w->lock);
    (void)pthread_mutex_unlock(&w->lock);
    atomic_fetch_add(&s->granted, 1);
    use_slot(s, w->w.granted_id);
}

static void *
fight(void *context)
{
    struct stress *s = context;
    struct stress_waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};

    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t id = s->ids[round % STRESS_BACKENDS];

        if (admission_tenant_enter(s->a, s->tenant, (struct mono){1}) == ADMISSION_OK) {
            if (atomic_fetch_add(&s->inside, 1) >= STRESS_LIMIT)
                atomic_fetch_add(&s->broken, 1);
            sched_yield();
            atomic_fetch_sub(&s->inside, 1);
            admission_tenant_leave(s->a, s->tenant);
        }
        if (admission_slot_take(s->a, id))
            use_slot(s, id);
        else
            wait_for_slot(s, &w, round);
    }
    return NULL;
}

static void
test_threads_never_take_more_than_there_is(void **state)
{
    static const uint32_t slots[STRESS_BACKENDS] = {1, 1, 2};
    static struct stress s;
    pthread_t threads[THREADS];
    uint32_t tenants[2];

    (void)state;
    s.slots = slots;
    s.a = made(slots, STRESS_BACKENDS, STRESS_LIMIT, 0, s.ids, tenants);
    s.tenant = tenants[0];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fight, &s), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(s.broken, 0);
    assert_true(s.served > 0);
    for (int i = 0; i < STRESS_BACKENDS; i++)
        assert_int_equal(admission_in_flight(s.a, s.ids[i]), 0);
    assert_int_equal(admission_queued(s.a), 0);
    assert_int_equal(admission_tenant_in_flight(s.a, s.tenant), 0);
    admission_free(&s.a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_end),
        cmocka_unit_test(test_names_keep_their_numbers_and_counts),
        cmocka_unit_test(test_fewer_slots_after_a_rebind),
        cmocka_unit_test(test_binding_alone_changes_no_limit),
        cmocka_unit_test(test_too_many_names),
        cmocka_unit_test(test_tenant_concurrency),
        cmocka_unit_test(test_tenant_rate),
        cmocka_unit_test(test_retry_budget),
        cmocka_unit_test(test_the_first_who_can_use_it_is_served),
        cmocka_unit_test(test_a_slot_that_is_free_is_granted_at_once),
        cmocka_unit_test(test_new_slots_go_to_those_who_wait),
        cmocka_unit_test(test_the_queue_is_bounded),
        cmocka_unit_test(test_breaker_by_number),
        cmocka_unit_test(test_threads_never_take_more_than_there_is),
    };

    return cmocka_run_group_tests_name("routing/admission", tests, NULL, NULL);
}
