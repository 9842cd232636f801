#include "health/view.h"

#include "unit/health/sample.h"

#include <stddef.h>
#include <stdint.h>

static void
test_a_new_view_knows_nothing(void **state)
{
    struct sample s;
    struct health_view *v;

    (void)state;
    sample_open(&s);
    v = health_view_new(s.charter);
    assert_non_null(v);
    for (size_t i = 0; i < SAMPLE_BACKENDS; i++) {
        assert_int_equal(v->backends[i].state, HEALTH_UNKNOWN);
        assert_int_equal(v->backends[i].age, HEALTH_GONE);
    }
    for (size_t i = 0; i < SAMPLE_NODES; i++)
        assert_false(v->nodes[i].alive);
    health_view_unref(&v);
    assert_null(v);
    health_view_unref(&v);
    sample_close(&s);
}

static void
test_a_copy_stands_alone(void **state)
{
    struct sample s;
    struct health_view *v;
    struct health_view *copy;
    struct health_view *again;

    (void)state;
    sample_open(&s);
    v = health_view_new(s.charter);
    v->backends[SAMPLE_W_VLLM].state = HEALTH_UP;
    v->nodes[SAMPLE_C1].rtt_us = 7;
    v->serial = 3;
    copy = health_view_copy(v);
    assert_non_null(copy);
    again = health_view_ref(v);
    health_view_unref(&v);
    assert_int_equal(again->serial, 3);
    again->backends[SAMPLE_W_VLLM].state = HEALTH_DOWN;
    health_view_unref(&again);
    assert_int_equal(copy->backends[SAMPLE_W_VLLM].state, HEALTH_UP);
    assert_int_equal(copy->nodes[SAMPLE_C1].rtt_us, 7);
    assert_int_equal(copy->serial, 3);
    health_view_unref(&copy);
    sample_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_view_knows_nothing),
        cmocka_unit_test(test_a_copy_stands_alone),
    };

    return cmocka_run_group_tests_name("health/view", tests, NULL, NULL);
}
