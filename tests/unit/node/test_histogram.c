#include "node/histogram.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct histogram_bounds bounds = {2, {1000, 2500000}};

static void
test_counts_are_cumulative(void **state)
{
    static const char want[] = "x_bucket{a=\"b\",le=\"0.001000\"} 2\n"
                               "x_bucket{a=\"b\",le=\"2.500000\"} 4\n"
                               "x_bucket{a=\"b\",le=\"+Inf\"} 5\n"
                               "x_sum{a=\"b\"} 5.002002\n"
                               "x_count{a=\"b\"} 5\n";
    static const uint64_t ns[] = {0, 1000999, 1001000, 2500000000, 2500001999};
    static struct histogram h;
    uint8_t storage[512];
    struct text out;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(ns); i++)
        histogram_add(&h, &bounds, ns[i]);
    text_init(&out, storage, sizeof(storage));
    histogram_write(&h, &bounds, "x", "a=\"b\"", &out);
    assert_true(text_ok(&out));
    assert_int_equal(out.used, sizeof(want) - 1);
    assert_memory_equal(storage, want, out.used);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_are_cumulative),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
