#include "health/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct mono start = {UINT64_C(1) << 40};

static struct breaker
opened(struct mono now)
{
    struct breaker b;

    breaker_init(&b);
    for (int i = 0; i < 3; i++)
        breaker_note(&b, BREAKER_FAIL, 0, now, 0);
    assert_int_equal(b.state, BREAKER_OPEN);
    return b;
}

/* Takes the trial that must be there. */
static uint32_t
trial_of(struct breaker *b, struct mono now)
{
    uint32_t trial = 0;

    assert_true(breaker_take(b, now, &trial));
    assert_int_not_equal(trial, 0);
    return trial;
}

static void
test_three_failures_in_a_row_open(void **state)
{
    struct breaker b;
    uint32_t trial = 7;

    (void)state;
    breaker_init(&b);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    breaker_note(&b, BREAKER_OK, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    assert_true(breaker_take(&b, start, &trial));
    assert_int_equal(trial, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    assert_false(breaker_take(&b, start, &trial));
}

static void
test_more_than_half_of_ten_open(void **state)
{
    struct breaker b;

    (void)state;
    breaker_init(&b);
    for (int i = 0; i < 5; i++) { /* 5 of 10: half is not more than half */
        breaker_note(&b, BREAKER_FAIL, 0, start, 0);
        breaker_note(&b, BREAKER_OK, 0, start, 0);
    }
    assert_true(breaker_open_for(&b, start));
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    assert_false(breaker_open_for(&b, start));
}

static void
test_the_window_forgets(void **state)
{
    struct breaker b;
    struct mono later = mono_add_ms(start, 60000);

    (void)state;
    breaker_init(&b);
    for (int i = 0; i < 4; i++) { /* 4 of 9 by then, and with 2 more 6 of 11 */
        breaker_note(&b, BREAKER_OK, 0, start, 0);
        breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    }
    breaker_note(&b, BREAKER_OK, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, later, 0);
    breaker_note(&b, BREAKER_FAIL, 0, later, 0);
    assert_true(breaker_open_for(&b, later));
    assert_int_equal(b.window_total, 2);
}

static void
test_only_failures_open(void **state)
{
    static const enum breaker_outcome harmless[] = {BREAKER_LOAD, BREAKER_CLIENT, BREAKER_ABORT};
    struct breaker b;

    (void)state;
    for (size_t o = 0; o < 3; o++) {
        breaker_init(&b);
        for (int i = 0; i < 100; i++)
            breaker_note(&b, harmless[o], 0, start, 0);
        assert_true(breaker_open_for(&b, start));
    }
}

static void
test_open_time_doubles_within_a_quarter(void **state)
{
    static const uint64_t expected_ms[] = {5000,  10000,  20000,  40000,
                                           80000, 160000, 300000, 300000};
    static const uint64_t randoms[] = {0, 1234567, UINT64_MAX};

    (void)state;
    for (size_t r = 0; r < 3; r++) {
        struct mono now = start;
        struct breaker b;

        breaker_init(&b);
        breaker_note(&b, BREAKER_FAIL, 0, now, randoms[r]);
        breaker_note(&b, BREAKER_FAIL, 0, now, randoms[r]);
        breaker_note(&b, BREAKER_FAIL, 0, now, randoms[r]);
        for (size_t i = 0; i < 8; i++) {
            uint32_t trial = 0;
            uint64_t ms;

            ms = mono_ms_since(b.until, now);
            assert_true(ms >= expected_ms[i] * 3 / 4);
            assert_true(ms <= expected_ms[i] * 5 / 4);
            assert_true(ms <= 300000);
            assert_false(breaker_take(&b, (struct mono){b.until.ns - 1}, &trial));
            now = b.until;
            breaker_trial_end(&b, trial_of(&b, now), BREAKER_FAIL, now, randoms[r]);
        }
    }
}

static void
test_one_trial_at_a_time(void **state)
{
    static const struct {
        enum breaker_outcome outcome;
        enum breaker_state after;
        bool next_may_go;
    } rows[] = {
        {BREAKER_OK, BREAKER_CLOSED, true},       {BREAKER_CLIENT, BREAKER_CLOSED, true},
        {BREAKER_FAIL, BREAKER_OPEN, false},      {BREAKER_LOAD, BREAKER_HALF_OPEN, true},
        {BREAKER_ABORT, BREAKER_HALF_OPEN, true},
    };

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct breaker b = opened(start);
        struct mono now = b.until;
        uint32_t trial;
        uint32_t other = 0;

        assert_true(breaker_open_for(&b, now));
        trial = trial_of(&b, now);
        assert_false(breaker_open_for(&b, now));
        assert_false(breaker_take(&b, now, &other));
        breaker_trial_end(&b, trial, rows[i].outcome, now, 0);
        assert_int_equal(b.state, rows[i].after);
        assert_int_equal(breaker_take(&b, now, &other), rows[i].next_may_go);
    }
}

/* Older streams that end, stall or fail while the trial is out: it stays the only one. */
static void
test_only_its_owner_ends_a_trial(void **state)
{
    static const enum breaker_outcome outcomes[] = {BREAKER_OK, BREAKER_FAIL, BREAKER_LOAD,
                                                    BREAKER_CLIENT, BREAKER_ABORT};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct breaker b = opened(start);
        struct mono now = b.until;
        uint32_t trial = trial_of(&b, now);
        uint32_t other = 0;

        for (int k = 0; k < 20; k++)
            breaker_note(&b, outcomes[i], 0, now, 0);
        breaker_trial_end(&b, 0, outcomes[i], now, 0);
        breaker_trial_end(&b, trial + 1, outcomes[i], now, 0);
        assert_int_equal(b.state, BREAKER_HALF_OPEN);
        assert_false(breaker_open_for(&b, now));
        assert_false(breaker_take(&b, now, &other));
        breaker_trial_end(&b, trial, BREAKER_OK, now, 0);
        assert_int_equal(b.state, BREAKER_CLOSED);
    }
}

/* One that was given up ends nothing later, neither the next trial nor what came after it. */
static void
test_a_trial_ends_once(void **state)
{
    struct breaker b = opened(start);
    struct mono now = b.until;
    uint32_t first = trial_of(&b, now);
    uint32_t second;

    (void)state;
    breaker_trial_end(&b, first, BREAKER_LOAD, now, 0);
    b.trials = UINT32_MAX; /* numbers come round, and none is 0 */
    breaker_trial_end(&b, trial_of(&b, now), BREAKER_ABORT, now, 0);
    second = trial_of(&b, now);
    breaker_trial_end(&b, first, BREAKER_OK, now, 0);
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    assert_false(breaker_open_for(&b, now));
    breaker_trial_end(&b, second, BREAKER_FAIL, now, 0);
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_trial_end(&b, second, BREAKER_OK, now, 0);
    assert_int_equal(b.state, BREAKER_OPEN);
}

static void
test_late_outcomes_do_not_close(void **state)
{
    struct breaker b = opened(start);
    struct mono until = b.until;

    (void)state;
    breaker_note(&b, BREAKER_OK, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(b.until.ns, until.ns);
}

static void
test_load_lasts_as_long_as_it_says_but_not_longer(void **state)
{
    static const struct {
        uint32_t retry_after_ms, expected_ms;
    } rows[] = {{0, 1000}, {2500, 2500}, {30000, 30000}, {86400000, 30000}};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct breaker b;

        breaker_init(&b);
        breaker_note(&b, BREAKER_LOAD, rows[i].retry_after_ms, start, 0);
        assert_int_equal(mono_ms_since(b.load_until, start), rows[i].expected_ms);
    }
}

static void
test_a_clean_window_starts_the_back_off_anew(void **state)
{
    struct breaker b = opened(start);
    struct mono now = b.until;

    (void)state;
    breaker_trial_end(&b, trial_of(&b, now), BREAKER_OK, now, 0);
    breaker_note(&b, BREAKER_OK, 0, now, 0);
    assert_int_equal(b.ejections, 1);
    now = mono_add_ms(now, 60000);
    breaker_note(&b, BREAKER_OK, 0, now, 0);
    assert_int_equal(b.ejections, 0);
}

static void
test_a_probe_that_sees_it_back_allows_the_trial(void **state)
{
    struct breaker b = opened(start);
    uint32_t trial;

    (void)state;
    assert_false(breaker_open_for(&b, start));
    breaker_recover(&b, start);
    trial = trial_of(&b, start);
    assert_false(breaker_open_for(&b, start));
    breaker_trial_end(&b, trial, BREAKER_FAIL, start, 0);
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_int_equal(b.ejections, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_failures_in_a_row_open),
        cmocka_unit_test(test_more_than_half_of_ten_open),
        cmocka_unit_test(test_the_window_forgets),
        cmocka_unit_test(test_only_failures_open),
        cmocka_unit_test(test_open_time_doubles_within_a_quarter),
        cmocka_unit_test(test_one_trial_at_a_time),
        cmocka_unit_test(test_only_its_owner_ends_a_trial),
        cmocka_unit_test(test_a_trial_ends_once),
        cmocka_unit_test(test_late_outcomes_do_not_close),
        cmocka_unit_test(test_load_lasts_as_long_as_it_says_but_not_longer),
        cmocka_unit_test(test_a_clean_window_starts_the_back_off_anew),
        cmocka_unit_test(test_a_probe_that_sees_it_back_allows_the_trial),
    };

    return cmocka_run_group_tests_name("health/breaker", tests, NULL, NULL);
}
