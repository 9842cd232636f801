#include "net/http.h"

#include "base/check.h"
#include "net/h1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* The fields that the program puts together, and how a head is asked for its own. */

static uint8_t storage[64];
static uint8_t written[1024];

static void
test_values_are_borrowed_or_composed(void **state)
{
    struct http_fields f;
    struct text out;

    (void)state;
    http_fields_init(&f, storage, sizeof(storage));
    http_fields_add(&f, SLICE_LIT("A"), SLICE_LIT("borrowed"));
    text_add_str(&f.text, "put ");
    text_add_str(&f.text, "together");
    http_fields_add_text(&f, SLICE_LIT("B"));
    http_fields_add_u64(&f, SLICE_LIT("C"), 30);
    http_fields_add_text(&f, SLICE_LIT("D"));
    assert_true(http_fields_ok(&f));
    text_init(&out, written, sizeof(written));
    h1_write_fields(&out, &f);
    assert_true(text_ok(&out));
    assert_true(slice_is(text_slice(&out), "A: borrowed\r\nB: put together\r\nC: 30\r\nD: \r\n"));
}

static void
test_one_field_too_many_stays_one(void **state)
{
    struct http_fields f;

    (void)state;
    http_fields_init(&f, NULL, 0);
    for (size_t i = 0; i < HTTP_FIELDS_OWN_MAX; i++)
        http_fields_add(&f, SLICE_LIT("A"), SLICE_LIT("b"));
    assert_true(http_fields_ok(&f));
    http_fields_add(&f, SLICE_LIT("A"), SLICE_LIT("b"));
    assert_false(http_fields_ok(&f));
    assert_int_equal(HTTP_FIELDS_OWN_MAX, f.count);
}

static void
test_a_value_too_long_stays_one(void **state)
{
    struct http_fields f;
    struct text out;

    (void)state;
    http_fields_init(&f, storage, 4);
    text_add_str(&f.text, "four");
    http_fields_add_text(&f, SLICE_LIT("A"));
    assert_true(http_fields_ok(&f));
    http_fields_add_u64(&f, SLICE_LIT("B"), 5);
    assert_false(http_fields_ok(&f));
    text_init(&out, written, sizeof(written));
    h1_write_fields(&out, &f);
    assert_false(text_ok(&out));
}

static void
test_bad_fields_are_not_written(void **state)
{
    const struct http_field bad[] = {
        {SLICE_LIT("A b"), SLICE_LIT("c")},
        {SLICE_LIT("A"), SLICE_LIT("b\r\nC: d")},
        {SLICE_LIT(""), SLICE_LIT("b")},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct http_fields f;
        struct text out;

        http_fields_init(&f, NULL, 0);
        http_fields_add(&f, bad[i].name, bad[i].value);
        text_init(&out, written, sizeof(written));
        h1_write_fields(&out, &f);
        assert_false(text_ok(&out));
    }
}

static void
test_fields_are_found_by_folded_name(void **state)
{
    const struct http_head head = {
        .field_count = 3,
        .fields = {{SLICE_LIT("X-A"), SLICE_LIT("1")},
                   {SLICE_LIT("b"), SLICE_LIT("2")},
                   {SLICE_LIT("x-a"), SLICE_LIT("3")},
                   {SLICE_LIT("c"), SLICE_LIT("behind the count")}},
    };

    (void)state;
    assert_true(slice_is(http_field_find(&head, SLICE_LIT("x-A"))->value, "1"));
    assert_int_equal(2, http_field_count(&head, SLICE_LIT("X-a")));
    assert_null(http_field_find(&head, SLICE_LIT("c")));
    assert_int_equal(0, http_field_count(&head, SLICE_LIT("c")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_borrowed_or_composed),
        cmocka_unit_test(test_one_field_too_many_stays_one),
        cmocka_unit_test(test_a_value_too_long_stays_one),
        cmocka_unit_test(test_bad_fields_are_not_written),
        cmocka_unit_test(test_fields_are_found_by_folded_name),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
