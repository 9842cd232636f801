#include "health/merge.h"

#include "base/text.h"

#include "unit/health/sample.h"

#include <stddef.h>
#include <stdint.h>

static const struct mono start = {UINT64_C(1) << 40};

static bool
take(struct merge *m, char boot, uint64_t seq, int64_t t_ms, struct mono now)
{
    memset(m->reading->boot, boot, ADVERT_BOOT_SIZE - 1);
    m->reading->boot[ADVERT_BOOT_SIZE - 1] = '\0';
    m->reading->seq = seq;
    m->reading->t_ms = t_ms;
    return merge_take(m, now);
}

static void
test_newer_sequences_only(void **state)
{
    struct sample s;
    struct merge m;

    (void)state;
    sample_open(&s);
    assert_int_equal(merge_init(&m, s.charter), ERR_OK);
    assert_true(take(&m, 'a', 5, 100, start));
    assert_false(take(&m, 'a', 5, 101, start));
    assert_false(take(&m, 'a', 4, 102, start));
    assert_int_equal(m.newest->seq, 5);
    assert_true(take(&m, 'a', 6, 90, start));
    assert_int_equal(m.newest->seq, 6);
    merge_fini(&m);
    sample_close(&s);
}

static void
test_a_new_boot_retires_the_old_one(void **state)
{
    struct sample s;
    struct merge m;

    (void)state;
    sample_open(&s);
    assert_int_equal(merge_init(&m, s.charter), ERR_OK);
    assert_true(take(&m, 'a', 500, 100, start));
    assert_true(take(&m, 'b', 1, 101, start));
    /* A store that was rolled back, or lies, can't bring it back. */
    assert_false(take(&m, 'a', 501, 200, start));
    assert_false(take(&m, 'a', 502, 300, mono_add_ms(start, 700000)));
    assert_int_equal(m.newest->boot[0], 'b');
    merge_fini(&m);
    sample_close(&s);
}

static void
test_an_older_boot_read_late_changes_nothing(void **state)
{
    struct sample s;
    struct merge m;

    (void)state;
    sample_open(&s);
    assert_int_equal(merge_init(&m, s.charter), ERR_OK);
    assert_true(take(&m, 'b', 1, 101, start));
    assert_false(take(&m, 'a', 500, 100, start));
    assert_true(take(&m, 'b', 2, 102, start));
    /* A clock that went back: believed once the other boot is silent. */
    assert_false(take(&m, 'c', 1, 50, mono_add_ms(start, 15000)));
    assert_true(take(&m, 'c', 1, 50, mono_add_ms(start, 15001)));
    merge_fini(&m);
    sample_close(&s);
}

static void
test_eight_retired_boots_are_remembered(void **state)
{
    struct sample s;
    struct merge m;

    (void)state;
    sample_open(&s);
    assert_int_equal(merge_init(&m, s.charter), ERR_OK);
    for (int i = 0; i < 10; i++)
        assert_true(take(&m, (char)('a' + i), 1, 100 + i, start));
    for (int i = 1; i < 9; i++)
        assert_false(take(&m, (char)('a' + i), 9, 1000, start));
    assert_true(take(&m, 'a', 9, 1000, start)); /* the ninth is forgotten */
    merge_fini(&m);
    sample_close(&s);
}

static void
test_age(void **state)
{
    static const struct {
        uint64_t ms;
        enum health_age age;
    } rows[] = {
        {0, HEALTH_FRESH},     {3000, HEALTH_FRESH},   {3001, HEALTH_STALE},
        {15000, HEALTH_STALE}, {15001, HEALTH_STATIC}, {600000, HEALTH_STATIC},
        {600001, HEALTH_GONE},
    };
    struct sample s;
    struct merge m;

    (void)state;
    sample_open(&s);
    assert_int_equal(merge_init(&m, s.charter), ERR_OK);
    assert_int_equal(merge_age(&m, start), HEALTH_GONE);
    assert_true(take(&m, 'a', 1, 1, start));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(merge_age(&m, mono_add_ms(start, rows[i].ms)), rows[i].age);
    /* Seeing the same sequence again makes nobody younger. */
    assert_false(take(&m, 'a', 1, 1, mono_add_ms(start, 14000)));
    assert_int_equal(merge_age(&m, mono_add_ms(start, 15001)), HEALTH_STATIC);
    merge_fini(&m);
    sample_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newer_sequences_only),
        cmocka_unit_test(test_a_new_boot_retires_the_old_one),
        cmocka_unit_test(test_an_older_boot_read_late_changes_nothing),
        cmocka_unit_test(test_eight_retired_boots_are_remembered),
        cmocka_unit_test(test_age),
    };

    return cmocka_run_group_tests_name("health/merge", tests, NULL, NULL);
}
