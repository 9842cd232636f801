#include "base/spare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void *
block(void)
{
    void *p = malloc(64);

    assert_non_null(p);
    return p;
}

static void
test_the_latest_comes_first(void **state)
{
    struct spare s = {0};
    void *a = block(), *b = block();

    (void)state;
    assert_null(spare_take(&s));
    spare_put(&s, a);
    spare_put(&s, b);
    assert_ptr_equal(spare_take(&s), b);
    assert_ptr_equal(spare_take(&s), a);
    assert_null(spare_take(&s));
    free(a);
    free(b);
}

static void
test_what_a_period_did_not_need_goes(void **state)
{
    struct spare s = {0};
    void *held[3];

    (void)state;
    for (int i = 0; i < 10; i++)
        spare_put(&s, block());
    assert_int_equal(spare_trim(&s), 0); /* they came in this period: it could not tell */
    for (int i = 0; i < 3; i++)
        held[i] = spare_take(&s);
    for (int i = 0; i < 3; i++)
        spare_put(&s, held[i]);
    assert_int_equal(spare_trim(&s), 7);
    assert_int_equal(s.count, 3);
    assert_int_equal(spare_trim(&s), 3); /* nothing was needed since */
    assert_int_equal(s.count, 0);
    assert_int_equal(spare_trim(&s), 0);
}

static void
test_the_floor_is_kept(void **state)
{
    struct spare s = {.floor = 4};

    (void)state;
    for (int i = 0; i < 10; i++)
        spare_put(&s, block());
    assert_int_equal(spare_trim(&s), 0);
    assert_int_equal(spare_trim(&s), 6);
    assert_int_equal(spare_trim(&s), 0);
    free(spare_take(&s));
    assert_int_equal(spare_trim(&s), 0);
    assert_int_equal(s.count, 3);
    spare_free(&s);
}

static void
test_all_are_freed_at_the_end(void **state)
{
    struct spare s = {0};

    (void)state;
    for (int i = 0; i < 5; i++)
        spare_put(&s, block());
    spare_free(&s);
    assert_int_equal(s.count, 0);
    assert_null(spare_take(&s));
    assert_int_equal(spare_trim(&s), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_latest_comes_first),
        cmocka_unit_test(test_what_a_period_did_not_need_goes),
        cmocka_unit_test(test_the_floor_is_kept),
        cmocka_unit_test(test_all_are_freed_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
