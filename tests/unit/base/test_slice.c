#include "base/slice.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static void
test_sub_is_cut_to_what_there_is(void **state)
{
    static const struct {
        size_t from;
        size_t len;
        const char *want;
    } rows[] = {
        {0, 5, "hello"}, {1, 3, "ell"},     {3, 9, "lo"},
        {5, 1, ""},      {9, SIZE_MAX, ""}, {2, SIZE_MAX, "llo"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_true(
            slice_is(slice_sub(SLICE_LIT("hello"), rows[i].from, rows[i].len), rows[i].want));
    assert_null(slice_sub(SLICE_NONE, 3, 3).p);
}

static void
test_equality_counts_length_and_nul(void **state)
{
    (void)state;
    assert_true(slice_eq(SLICE_NONE, SLICE_LIT("")));
    assert_true(slice_eq(SLICE_LIT("a\0b"), SLICE_LIT("a\0b")));
    assert_false(slice_eq(SLICE_LIT("a\0b"), SLICE_LIT("a\0c")));
    assert_false(slice_is(SLICE_LIT("a\0"), "a"));
    assert_true(slice_is(SLICE_NONE, ""));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_LIT("ab")));
    assert_true(slice_starts(SLICE_NONE, SLICE_NONE));
    assert_false(slice_starts(SLICE_LIT("ab"), SLICE_LIT("abc")));
}

static void
test_nocase_folds_ascii_letters_only(void **state)
{
    (void)state;
    assert_true(slice_eq_nocase(SLICE_LIT("Content-LENGTH"), SLICE_LIT("content-length")));
    assert_false(slice_eq_nocase(SLICE_LIT("ab"), SLICE_LIT("abc")));
    /* '@' and '`', '[' and '{' differ in the same bit as letters do. */
    assert_false(slice_eq_nocase(SLICE_LIT("@"), SLICE_LIT("`")));
    assert_false(slice_eq_nocase(SLICE_LIT("["), SLICE_LIT("{")));
    assert_false(slice_eq_nocase(SLICE_LIT("\xc4"), SLICE_LIT("\xe4")));
}

static void
test_order_is_bytewise_and_shorter_first(void **state)
{
    (void)state;
    assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("b")) < 0);
    assert_true(slice_cmp(SLICE_LIT("b"), SLICE_LIT("a")) > 0);
    assert_true(slice_cmp(SLICE_LIT("a"), SLICE_LIT("aa")) < 0);
    assert_true(slice_cmp(SLICE_LIT("aa"), SLICE_LIT("a")) > 0);
    assert_true(slice_cmp(SLICE_LIT("\xff"), SLICE_LIT("a")) > 0);
    assert_int_equal(slice_cmp(SLICE_LIT("x"), SLICE_LIT("x")), 0);
    assert_int_equal(slice_cmp(SLICE_NONE, SLICE_LIT("")), 0);
}

static void
test_find_and_trim(void **state)
{
    (void)state;
    assert_int_equal(slice_find(SLICE_LIT("a:b:c"), ':'), 1);
    assert_int_equal(slice_find(SLICE_LIT("abc"), ':'), 3);
    assert_int_equal(slice_find(SLICE_NONE, ':'), 0);
    assert_true(slice_is(slice_trim(SLICE_LIT(" \t a b\t ")), "a b"));
    assert_true(slice_is(slice_trim(SLICE_LIT(" \t ")), ""));
    assert_true(slice_is(slice_trim(SLICE_LIT("\na\r")), "\na\r"));
}

static void
test_cut_tells_an_empty_rest_from_none(void **state)
{
    struct slice rest = SLICE_LIT("a,,b,");

    (void)state;
    assert_true(slice_is(slice_cut(&rest, ','), "a"));
    assert_true(slice_is(slice_cut(&rest, ','), ""));
    assert_true(slice_is(slice_cut(&rest, ','), "b"));
    assert_int_equal(rest.len, 0);
    assert_non_null(rest.p);
    assert_true(slice_is(slice_cut(&rest, ','), ""));
    assert_null(rest.p);
}

static void
test_u64_takes_plain_digits_only(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t want;
    } rows[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"9999999999999999999", true, UINT64_C(9999999999999999999)},
        {"10000000000000000000", false, 0},
        {"", false, 0},
        {"+1", false, 0},
        {"-1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x5", false, 0},
        {"1e3", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint64_t v = 77;

        assert_int_equal(slice_u64(slice_str(rows[i].text), &v), rows[i].ok);
        assert_true(v == (rows[i].ok ? rows[i].want : 77));
    }
}

static void
test_copy_str_never_cuts(void **state)
{
    char out[4] = "zzz";

    (void)state;
    assert_true(slice_copy_str(SLICE_LIT("abc"), out, sizeof(out)));
    assert_string_equal(out, "abc");
    assert_false(slice_copy_str(SLICE_LIT("abcd"), out, sizeof(out)));
    assert_string_equal(out, "");
    assert_false(slice_copy_str(SLICE_LIT("a\0b"), out, sizeof(out)));
    assert_string_equal(out, "");
    assert_true(slice_copy_str(SLICE_NONE, out, 1));
    assert_false(slice_copy_str(SLICE_NONE, out, 0));
}

static void
test_dup_ends_with_nul(void **state)
{
    char *copy = slice_dup(slice_sub(SLICE_LIT("abcdef"), 1, 3));

    (void)state;
    assert_non_null(copy);
    assert_string_equal(copy, "bcd");
    free(copy);
    copy = slice_dup(SLICE_NONE);
    assert_non_null(copy);
    assert_string_equal(copy, "");
    free(copy);
}

/* At every place, before and behind the steps of eight, against the plain loop. */
static void
test_find_either_is_the_first_of_both(void **state)
{
    uint8_t bytes[40];

    (void)state;
    for (size_t len = 0; len <= sizeof(bytes); len++)
        for (size_t at = 0; at <= len; at++)
            for (size_t from = 0; from <= len; from++) {
                struct slice s = slice_of(bytes, len);
                size_t expected = from;

                memset(bytes, at % 2 == 0 ? 0xa2 : 0x23, sizeof(bytes)); /* one bit off */
                if (at < len)
                    bytes[at] = at % 3 == 0 ? '"' : '\\';
                while (expected < len && bytes[expected] != '"' && bytes[expected] != '\\')
                    expected++;
                assert_int_equal(slice_find_either(s, from, '"', '\\'), expected);
            }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sub_is_cut_to_what_there_is),
        cmocka_unit_test(test_equality_counts_length_and_nul),
        cmocka_unit_test(test_nocase_folds_ascii_letters_only),
        cmocka_unit_test(test_order_is_bytewise_and_shorter_first),
        cmocka_unit_test(test_find_and_trim),
        cmocka_unit_test(test_cut_tells_an_empty_rest_from_none),
        cmocka_unit_test(test_u64_takes_plain_digits_only),
        cmocka_unit_test(test_copy_str_never_cuts),
        cmocka_unit_test(test_dup_ends_with_nul),
        cmocka_unit_test(test_find_either_is_the_first_of_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
