#include "residency/country.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint16_t
country(const char *code)
{
    uint16_t out = COUNTRY_NONE;

    assert_int_equal(ERR_OK, country_parse(slice_str(code), &out));
    return out;
}

static void
test_assigned_codes_are_numbered_in_order(void **state)
{
    static const struct {
        const char *code;
        uint16_t number;
    } cases[] = {
        {"AD", 3},   {"AX", 23},  {"DE", 82},  {"FR", 147}, {"GB", 157},
        {"MQ", 328}, {"US", 538}, {"XK", 608}, {"ZW", 672},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        assert_int_equal(cases[i].number, country(cases[i].code));
}

static void
test_pseudo_codes_and_malformed_are_refused(void **state)
{
    static const char *const cases[] = {
        "EU", "AP", "XX", "??",  "A1", "A2", "O1", "T1",  "ZZ",  "AA", "UK",       "AN", "SU",
        "YU", "",   "D",  "DEU", "de", "De", "dE", " DE", "DE ", "D ", "\xc3\x84", "@Z", "[A",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint16_t out = 7;

        if (country_parse(slice_str(cases[i]), &out) != ERR_BADMSG)
            fail_msg("admitted: \"%s\"", cases[i]);
        assert_int_equal(7, out); /* untouched */
    }
}

static void
test_text_is_the_inverse_of_parse(void **state)
{
    char text[3];
    unsigned valid = 0;

    (void)state;
    for (uint16_t c = 0; c < COUNTRY_COUNT; c++) {
        uint16_t back = COUNTRY_NONE;
        enum err e;

        country_text(c, text);
        e = country_parse(slice_str(text), &back);
        assert_int_equal(country_valid(c), e == ERR_OK);
        if (e == ERR_OK) {
            assert_int_equal(c, back);
            valid++;
        }
    }
    assert_int_equal(250, valid); /* ISO 3166-1 has 249, and XK */
}

static void
test_no_country_has_no_letters(void **state)
{
    char text[3];

    (void)state;
    country_text(COUNTRY_NONE, text);
    assert_string_equal("??", text);
    country_text(COUNTRY_COUNT, text);
    assert_string_equal("??", text);
    assert_false(country_valid(COUNTRY_NONE));
    assert_false(country_valid(COUNTRY_COUNT));
}

static void
test_unknown_is_never_a_member(void **state)
{
    struct country_set set;

    (void)state;
    country_set_all(&set);
    assert_int_equal(250, country_set_count(&set));
    country_set_add(&set, COUNTRY_NONE);
    country_set_add(&set, COUNTRY_COUNT);
    country_set_remove(&set, COUNTRY_NONE);
    assert_int_equal(250, country_set_count(&set));
    assert_false(country_set_has(&set, COUNTRY_NONE));
    assert_false(country_set_has(&set, COUNTRY_COUNT));
    assert_false(country_set_has(&set, 0)); /* AA is nobody's */
}

static void
test_set_algebra(void **state)
{
    struct country_set a = {{0}}, b = {{0}}, c;

    (void)state;
    assert_true(country_set_empty(&a));
    country_set_add(&a, country("DE"));
    country_set_add(&a, country("FR"));
    country_set_add(&b, country("FR"));
    country_set_add(&b, country("ZW"));
    assert_false(country_set_empty(&a));
    assert_false(country_set_subset(&a, &b));
    c = a;
    country_set_and(&c, &b);
    assert_int_equal(1, country_set_count(&c));
    assert_true(country_set_has(&c, country("FR")));
    assert_true(country_set_subset(&c, &a) && country_set_subset(&c, &b));
    assert_false(country_set_equal(&c, &a));
    c = a;
    country_set_or(&c, &b);
    assert_int_equal(3, country_set_count(&c));
    assert_true(country_set_subset(&a, &c) && country_set_subset(&b, &c));
    country_set_minus(&c, &b);
    country_set_remove(&a, country("FR"));
    assert_true(country_set_equal(&c, &a));
}

static void
test_empty_set_is_a_subset(void **state)
{
    const struct country_set empty = {{0}};

    (void)state;
    assert_true(country_set_subset(&empty, &empty));
    assert_true(country_set_equal(&empty, &empty));
    assert_int_equal(COUNTRY_NONE, country_set_next(&empty, 0));
}

static void
test_next_visits_each_member_once_in_order(void **state)
{
    struct country_set all, seen = {{0}};
    uint16_t last = 0;

    (void)state;
    country_set_all(&all);
    for (uint16_t c = country_set_next(&all, 0); c != COUNTRY_NONE;
         c = country_set_next(&all, c + 1u)) {
        assert_true(c > last);
        last = c;
        country_set_add(&seen, c);
    }
    assert_true(country_set_equal(&all, &seen));
    assert_int_equal(country("ZW"), last);
    assert_int_equal(COUNTRY_NONE, country_set_next(&all, COUNTRY_COUNT));
    assert_int_equal(COUNTRY_NONE, country_set_next(&all, COUNTRY_NONE));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assigned_codes_are_numbered_in_order),
        cmocka_unit_test(test_pseudo_codes_and_malformed_are_refused),
        cmocka_unit_test(test_text_is_the_inverse_of_parse),
        cmocka_unit_test(test_no_country_has_no_letters),
        cmocka_unit_test(test_unknown_is_never_a_member),
        cmocka_unit_test(test_set_algebra),
        cmocka_unit_test(test_empty_set_is_a_subset),
        cmocka_unit_test(test_next_visits_each_member_once_in_order),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
