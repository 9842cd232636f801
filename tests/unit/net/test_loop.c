#include "net/loop.h"

#include "base/check.h"
#include "net/loop_priv.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

struct play {
    struct loop *loop;
    struct timer *timers[4];
    char order[32];
    size_t count;
    uint32_t wakes;
    atomic_bool all_sent;
    struct loop_flush flush;
};

static void
note(struct play *p, char what)
{
    assert_true(p->count + 1 < sizeof(p->order));
    p->order[p->count++] = what;
    p->order[p->count] = '\0';
}

static int
open_play(void **state)
{
    struct play *p = calloc(1, sizeof(*p));

    if (p == NULL || loop_new(&p->loop) != ERR_OK)
        return -1;
    *state = p;
    return 0;
}

static int
close_play(void **state)
{
    struct play *p = *state;

    for (size_t i = 0; i < ARRAY_COUNT(p->timers); i++)
        timer_free(&p->timers[i]);
    loop_free(&p->loop);
    free(p);
    return 0;
}

static void
stop(void *context)
{
    struct play *p = context;

    note(p, 's');
    loop_stop(p->loop);
}

static void
say_a(void *context)
{
    note(context, 'a');
}

static void
buried_again(void *context)
{
    note(context, 'B');
}

static void
buried(void *context)
{
    struct play *p = context;

    note(p, 'b');
    loop_bury(p->loop, buried_again, p);
}

static void
flushed(struct loop_flush *f)
{
    note((struct play *)(void *)((char *)f - offsetof(struct play, flush)), 'f');
}

/* A turn: callbacks, then flushes, then what was buried, also by another burial. */
static void
end_turn(void *context)
{
    struct play *p = context;

    loop_bury(p->loop, buried, p);
    p->flush.fn = flushed;
    loop_flush_later(p->loop, &p->flush);
    loop_flush_later(p->loop, &p->flush);
    stop(p);
}

static void
test_order_of_a_turn(void **state)
{
    struct play *p = *state;

    assert_int_equal(timer_new(p->loop, end_turn, p, &p->timers[0]), ERR_OK);
    timer_set(p->timers[0], 0);
    loop_run(p->loop);
    assert_string_equal(p->order, "sfbB");
}

static void
test_forgotten_flush(void **state)
{
    struct play *p = *state;

    p->flush.fn = flushed;
    loop_flush_later(p->loop, &p->flush);
    loop_flush_forget(&p->flush);
    loop_flush_forget(&p->flush);
    assert_int_equal(timer_new(p->loop, stop, p, &p->timers[0]), ERR_OK);
    timer_set(p->timers[0], 0);
    loop_run(p->loop);
    assert_string_equal(p->order, "s");
}

static void
test_timers_fire_in_order(void **state)
{
    struct play *p = *state;

    assert_int_equal(timer_new(p->loop, stop, p, &p->timers[0]), ERR_OK);
    assert_int_equal(timer_new(p->loop, say_a, p, &p->timers[1]), ERR_OK);
    timer_set(p->timers[0], 30);
    timer_set(p->timers[1], 5);
    loop_run(p->loop);
    assert_string_equal(p->order, "as");
}

static void
test_cleared_timer_stays_silent(void **state)
{
    struct play *p = *state;

    assert_int_equal(timer_new(p->loop, stop, p, &p->timers[0]), ERR_OK);
    assert_int_equal(timer_new(p->loop, say_a, p, &p->timers[1]), ERR_OK);
    timer_set(p->timers[1], 5);
    timer_clear(p->timers[1]);
    timer_set(p->timers[0], 20);
    loop_run(p->loop);
    assert_string_equal(p->order, "s");
}

static void
test_a_deadline_moves_both_ways(void **state)
{
    struct play *p = *state;
    struct mono began = clock_mono();

    assert_int_equal(timer_new(p->loop, stop, p, &p->timers[0]), ERR_OK);
    assert_int_equal(timer_new(p->loop, say_a, p, &p->timers[1]), ERR_OK);
    timer_set(p->timers[0], 5); /* later: the early event looks again */
    timer_set(p->timers[0], 60);
    timer_set(p->timers[1], 60000); /* sooner: armed anew */
    timer_set(p->timers[1], 5);
    loop_run(p->loop);
    assert_string_equal(p->order, "as");
    assert_true(mono_ms_since(clock_mono(), began) >= 58);
}

static void
free_own(void *context)
{
    struct play *p = context;

    timer_free(&p->timers[0]);
    stop(p);
}

static void
test_a_timer_may_free_itself(void **state)
{
    struct play *p = *state;

    assert_int_equal(timer_new(p->loop, free_own, p, &p->timers[0]), ERR_OK);
    timer_set(p->timers[0], 0);
    loop_run(p->loop);
    assert_null(p->timers[0]);
}

#define WAKES 1000

static void
on_wake(void *context)
{
    struct play *p = context;

    p->wakes++;
    if (atomic_load(&p->all_sent))
        loop_stop(p->loop);
}

static void *
wake_often(void *context)
{
    struct play *p = context;

    for (int i = 0; i < WAKES; i++)
        loop_wake(p->loop);
    atomic_store(&p->all_sent, true);
    loop_wake(p->loop); /* were it lost, the loop would not end */
    return NULL;
}

static void
test_wakes_from_another_thread(void **state)
{
    struct play *p = *state;
    pthread_t thread;

    loop_on_wake(p->loop, on_wake, p);
    assert_int_equal(pthread_create(&thread, NULL, wake_often, p), 0);
    loop_run(p->loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_in_range(p->wakes, 1, WAKES + 1);
}

static void
test_signal(void **state)
{
    struct play *p = *state;

    assert_int_equal(loop_on_signal(p->loop, SIGUSR1, stop, p), ERR_OK);
    assert_int_equal(raise(SIGUSR1), 0);
    loop_run(p->loop);
    assert_string_equal(p->order, "s");
}

static void
ended(struct loop_flush *f)
{
    struct play *p = (struct play *)(void *)((char *)f - offsetof(struct play, flush));

    loop_flush_forget(f);
    loop_bury(p->loop, say_a, p);
}

/* What nobody owns any more ends with the loop, and is destroyed by it. */
static void
test_ends_with_the_loop(void **state)
{
    struct play *p = *state;

    p->flush.fn = ended;
    loop_at_end(p->loop, &p->flush);
    loop_free(&p->loop);
    assert_string_equal(p->order, "a");
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, open_play, close_play)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_order_of_a_turn),
        ROW(test_forgotten_flush),
        ROW(test_timers_fire_in_order),
        ROW(test_cleared_timer_stays_silent),
        ROW(test_a_deadline_moves_both_ways),
        ROW(test_a_timer_may_free_itself),
        ROW(test_wakes_from_another_thread),
        ROW(test_signal),
        ROW(test_ends_with_the_loop),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
