#include "node/pressure.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Facts in which one kind is at `permille`, and the others are at rest. */
static struct pressure_facts
at(enum pressure_kind kind, uint64_t permille)
{
    struct pressure_facts f;

    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++) {
        f.of[i].used = 0;
        f.of[i].max = 1000;
    }
    f.of[kind].used = permille;
    return f;
}

static enum pressure_stage
step(struct pressure *p, enum pressure_kind kind, uint64_t permille)
{
    struct pressure_facts f = at(kind, permille);

    *p = pressure_next(*p, &f);
    return pressure_stage(*p);
}

static void
test_stages_begin_at_80_90_and_95_percent(void **state)
{
    static const struct {
        uint64_t permille;
        enum pressure_stage stage;
    } cases[] = {
        {0, PRESSURE_NORMAL},   {799, PRESSURE_NORMAL},  {800, PRESSURE_PAUSE},
        {899, PRESSURE_PAUSE},  {900, PRESSURE_SHED},    {949, PRESSURE_SHED},
        {950, PRESSURE_REFUSE}, {1000, PRESSURE_REFUSE}, {5000, PRESSURE_REFUSE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct pressure memory = {{0}};
        struct pressure descriptors = {{0}};

        assert_int_equal(step(&memory, PRESSURE_MEMORY, cases[i].permille), cases[i].stage);
        assert_int_equal(step(&descriptors, PRESSURE_DESCRIPTORS, cases[i].permille),
                         cases[i].stage);
    }
}

static void
test_a_stage_ends_five_points_below_where_it_began(void **state)
{
    struct pressure p = {{0}};

    (void)state;
    assert_int_equal(step(&p, PRESSURE_MEMORY, 960), PRESSURE_REFUSE);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 900), PRESSURE_REFUSE);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 899), PRESSURE_SHED);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 850), PRESSURE_SHED);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 849), PRESSURE_PAUSE);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 750), PRESSURE_PAUSE);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 749), PRESSURE_NORMAL);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 799), PRESSURE_NORMAL);
    /* All the way down at once, where all is gone. */
    assert_int_equal(step(&p, PRESSURE_MEMORY, 1000), PRESSURE_REFUSE);
    assert_int_equal(step(&p, PRESSURE_MEMORY, 0), PRESSURE_NORMAL);
}

static void
test_it_does_not_flap_around_a_border(void **state)
{
    struct pressure p = {{0}};
    enum pressure_stage last = PRESSURE_NORMAL;
    unsigned changes = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        enum pressure_stage now = step(&p, PRESSURE_DESCRIPTORS, i % 2 == 0 ? 951 : 949);

        changes += now != last;
        last = now;
    }
    assert_int_equal(changes, 1);
}

static void
test_connections_alone_never_refuse_requests(void **state)
{
    struct pressure p = {{0}};

    (void)state;
    assert_int_equal(step(&p, PRESSURE_CONNECTIONS, 800), PRESSURE_PAUSE);
    assert_int_equal(step(&p, PRESSURE_CONNECTIONS, 1000), PRESSURE_SHED);
}

static void
test_kinds_do_not_keep_each_other_up(void **state)
{
    struct pressure p = {{0}};
    struct pressure_facts f = at(PRESSURE_MEMORY, 960);

    (void)state;
    f.of[PRESSURE_DESCRIPTORS].used = 860;
    p = pressure_next(p, &f);
    assert_int_equal(p.stages[PRESSURE_MEMORY], PRESSURE_REFUSE);
    assert_int_equal(p.stages[PRESSURE_DESCRIPTORS], PRESSURE_PAUSE);
    f.of[PRESSURE_MEMORY].used = 0;
    p = pressure_next(p, &f);
    assert_int_equal(pressure_stage(p), PRESSURE_PAUSE);
}

static void
test_extreme_numbers(void **state)
{
    struct pressure_facts f = at(PRESSURE_MEMORY, 0);

    (void)state;
    f.of[PRESSURE_MEMORY].max = 0; /* nothing is left of nothing */
    assert_int_equal(pressure_permille(&f, PRESSURE_MEMORY), 1000);
    f.of[PRESSURE_MEMORY].used = UINT64_MAX - 1;
    f.of[PRESSURE_MEMORY].max = UINT64_MAX;
    assert_true(pressure_permille(&f, PRESSURE_MEMORY) >= 999);
    f.of[PRESSURE_MEMORY].used = UINT64_MAX / 2;
    assert_in_range(pressure_permille(&f, PRESSURE_MEMORY), 499, 500);
    f.of[PRESSURE_MEMORY].used = 3;
    assert_int_equal(pressure_permille(&f, PRESSURE_MEMORY), 0);
}

static void
test_retry_after_is_spread_over_1_to_60_seconds(void **state)
{
    struct pressure_facts calm = at(PRESSURE_MEMORY, 950);
    struct pressure_facts worst = at(PRESSURE_MEMORY, 1000);
    struct pressure_facts connections = at(PRESSURE_CONNECTIONS, 1000);
    uint32_t calm_max = 0;
    uint32_t worst_max = 0;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        uint32_t a = pressure_retry_after(&calm, i);
        uint32_t b = pressure_retry_after(&worst, i);

        assert_in_range(a, 1, PRESSURE_RETRY_MAX_S);
        assert_in_range(b, 1, PRESSURE_RETRY_MAX_S);
        calm_max = a > calm_max ? a : calm_max;
        worst_max = b > worst_max ? b : worst_max;
    }
    assert_int_equal(calm_max, 10);
    assert_int_equal(worst_max, 60);
    assert_int_equal(pressure_retry_after(&worst, UINT64_MAX), 1 + UINT64_MAX % 60);
    assert_in_range(pressure_retry_after(&connections, 59), 1, 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages_begin_at_80_90_and_95_percent),
        cmocka_unit_test(test_a_stage_ends_five_points_below_where_it_began),
        cmocka_unit_test(test_it_does_not_flap_around_a_border),
        cmocka_unit_test(test_connections_alone_never_refuse_requests),
        cmocka_unit_test(test_kinds_do_not_keep_each_other_up),
        cmocka_unit_test(test_extreme_numbers),
        cmocka_unit_test(test_retry_after_is_spread_over_1_to_60_seconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
