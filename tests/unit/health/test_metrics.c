#include "health/metrics.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
test_values(void **state)
{
    static const struct {
        const char *page;
        bool found;
        uint64_t sum, max;
    } rows[] = {
        {"run 3\n", true, 3000, 3000},
        {"run 3", true, 3000, 3000},
        {"run 3.0\r\n", true, 3000, 3000},
        {"run 0.12345\n", true, 123, 123},
        {"run 2.5e-01\n", true, 250, 250},
        {"run 1.5e+3\n", true, 1500000, 1500000},
        {"run 1e400\n", true, METRICS_MAX, METRICS_MAX},
        {"run 99999999999999999999999\n", true, METRICS_MAX, METRICS_MAX},
        {"run +Inf\n", true, METRICS_MAX, METRICS_MAX},
        {"run NaN\n", true, 0, 0},
        {"run -4\n", true, 0, 0},
        {"run 3 1700000000000\n", true, 3000, 3000},
        {"run{a=\"x\"} 1\nrun{a=\"y\"} 2\n", true, 3000, 2000},
        {"run{a=\"}\\\"} 9\"} 1\n", true, 1000, 1000},
        {"# HELP run 7\n# TYPE run gauge\nother 5\n", false, 0, 0},
        {"running 7\n", false, 0, 0},
        {"run_total 7\nxrun 7\n", false, 0, 0},
        {"run{a=\"b 7\n", false, 0, 0},
        {"run\n", false, 0, 0},
        {"run \n", false, 0, 0},
        {"run abc\n", false, 0, 0},
        {"run .\n", false, 0, 0},
        {"run 1.2.3\n", false, 0, 0},
        {"run 0x10\n", false, 0, 0},
        {"run 1e\n", false, 0, 0},
        {"run 1e5000\n", false, 0, 0},
        {"", false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct metrics_gauge g = {77, 77};

        assert_int_equal(metrics_find(slice_str(rows[i].page), SLICE_LIT("run"), &g),
                         rows[i].found);
        assert_int_equal(g.sum_milli, rows[i].found ? rows[i].sum : 77);
        assert_int_equal(g.max_milli, rows[i].found ? rows[i].max : 77);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
    };

    return cmocka_run_group_tests_name("health/metrics", tests, NULL, NULL);
}
