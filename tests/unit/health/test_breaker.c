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

static void
test_three_failures_in_a_row_open(void **state)
{
    struct breaker b;

    (void)state;
    breaker_init(&b);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    breaker_note(&b, BREAKER_OK, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    assert_true(breaker_take(&b, start));
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
    assert_false(breaker_take(&b, start));
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
        for (size_t i = 0; i < 8; i++) {
            uint64_t ms;

            breaker_note(&b, BREAKER_FAIL, 0, now, randoms[r]);
            ms = mono_ms_since(b.until, now);
            assert_true(ms >= expected_ms[i] * 3 / 4);
            assert_true(ms <= expected_ms[i] * 5 / 4);
            assert_true(ms <= 300000);
            assert_false(breaker_take(&b, (struct mono){b.until.ns - 1}));
            now = b.until;
            assert_true(breaker_take(&b, now));
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

        assert_true(breaker_open_for(&b, now));
        assert_true(breaker_take(&b, now));
        assert_false(breaker_open_for(&b, now));
        assert_false(breaker_take(&b, now));
        breaker_note(&b, rows[i].outcome, 0, now, 0);
        assert_int_equal(b.state, rows[i].after);
        assert_int_equal(breaker_take(&b, now), rows[i].next_may_go);
    }
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
    assert_true(breaker_take(&b, now));
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

    (void)state;
    assert_false(breaker_open_for(&b, start));
    breaker_recover(&b, start);
    assert_true(breaker_take(&b, start));
    assert_false(breaker_open_for(&b, start));
    breaker_note(&b, BREAKER_FAIL, 0, start, 0);
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
        cmocka_unit_test(test_late_outcomes_do_not_close),
        cmocka_unit_test(test_load_lasts_as_long_as_it_says_but_not_longer),
        cmocka_unit_test(test_a_clean_window_starts_the_back_off_anew),
        cmocka_unit_test(test_a_probe_that_sees_it_back_allows_the_trial),
    };

    return cmocka_run_group_tests_name("health/breaker", tests, NULL, NULL);
}
