#include "routing/retry.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* One attempt of a whole, replay-safe request of the ingress, three lawful backends. */
static struct retry_facts
after(enum retry_failure failure)
{
    return (struct retry_facts){.failure = failure,
                                .attempts = 1,
                                .is_whole = true,
                                .is_replay_safe = true,
                                .legal = 3,
                                .busy = failure == RETRY_BUSY ? 1 : 0};
}

static void
test_each_failure_has_its_verdict(void **state)
{
    static const struct {
        enum retry_failure failure;
        enum retry_verdict plain, unsafe, streamed, forwarded, second;
    } rows[] = {
        {RETRY_NOT_SENT, RETRY_FREELY, RETRY_FREELY, RETRY_FREELY, RETRY_FREELY, RETRY_FREELY},
        {RETRY_STALE, RETRY_ANEW, RETRY_NO, RETRY_NO, RETRY_ANEW, RETRY_ANEW},
        {RETRY_DEAD, RETRY_ELSEWHERE, RETRY_NO, RETRY_NO, RETRY_NO, RETRY_NO},
        {RETRY_BUSY, RETRY_ELSEWHERE, RETRY_ELSEWHERE, RETRY_NO, RETRY_NO, RETRY_NO},
        {RETRY_REFUSED, RETRY_FREELY, RETRY_FREELY, RETRY_NO, RETRY_NO, RETRY_FREELY},
        {RETRY_LATE, RETRY_NO, RETRY_NO, RETRY_NO, RETRY_NO, RETRY_NO},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct retry_facts f = after(rows[i].failure);

        assert_int_equal(retry_judge(&f), rows[i].plain);
        f.is_replay_safe = false;
        assert_int_equal(retry_judge(&f), rows[i].unsafe);
        f = after(rows[i].failure);
        f.is_whole = false;
        assert_int_equal(retry_judge(&f), rows[i].streamed);
        f = after(rows[i].failure);
        f.is_forwarded = true;
        assert_int_equal(retry_judge(&f), rows[i].forwarded);
        f = after(rows[i].failure);
        f.attempts = 2;
        assert_int_equal(retry_judge(&f), rows[i].second);
    }
}

static void
test_there_are_three_attempts_at_most(void **state)
{
    (void)state;
    for (unsigned failure = RETRY_NOT_SENT; failure <= RETRY_LATE; failure++) {
        struct retry_facts f = after((enum retry_failure)failure);

        f.attempts = RETRY_ATTEMPTS_MAX;
        assert_int_equal(retry_judge(&f), RETRY_NO);
    }
}

static void
test_a_kept_connection_is_stale_once(void **state)
{
    struct retry_facts f = after(RETRY_STALE);

    (void)state;
    f.was_stale = true;
    assert_int_equal(retry_judge(&f), RETRY_NO);
}

/* "The next legal one, once, unless more than half of L says the same." */
static void
test_where_most_are_busy_nobody_else_is_asked(void **state)
{
    static const struct {
        uint32_t legal, busy;
        enum retry_verdict verdict;
    } rows[] = {
        {1, 1, RETRY_NO}, {2, 1, RETRY_ELSEWHERE}, {2, 2, RETRY_NO}, {3, 1, RETRY_ELSEWHERE},
        {3, 2, RETRY_NO}, {4, 2, RETRY_ELSEWHERE}, {4, 3, RETRY_NO}, {100, 50, RETRY_ELSEWHERE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct retry_facts f = after(RETRY_BUSY);

        f.legal = rows[i].legal;
        f.busy = rows[i].busy;
        assert_int_equal(retry_judge(&f), rows[i].verdict);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_failure_has_its_verdict),
        cmocka_unit_test(test_there_are_three_attempts_at_most),
        cmocka_unit_test(test_a_kept_connection_is_stale_once),
        cmocka_unit_test(test_where_most_are_busy_nobody_else_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
