#include "base/text.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char storage[256];

static struct text
fresh(size_t size)
{
    struct text t;

    text_init(&t, storage, size);
    return t;
}

static void
expect(const struct text *t, const char *want)
{
    assert_true(text_ok(t));
    assert_int_equal(t->used, strlen(want));
    assert_memory_equal(t->p, want, t->used);
}

static void
test_numbers(void **state)
{
    struct text t = fresh(sizeof(storage));

    (void)state;
    text_add_u64(&t, 0);
    text_add_char(&t, ' ');
    text_add_u64(&t, UINT64_MAX);
    text_add_char(&t, ' ');
    text_add_i64(&t, INT64_MIN);
    text_add_char(&t, ' ');
    text_add_i64(&t, 42);
    expect(&t, "0 18446744073709551615 -9223372036854775808 42");
}

static void
test_overflow_is_sticky_and_adds_nothing(void **state)
{
    struct text t = fresh(4);

    (void)state;
    text_add_str(&t, "abc");
    text_add_str(&t, "de");
    assert_false(text_ok(&t));
    assert_int_equal(t.used, 3);
    text_add_char(&t, 'd'); /* would fit, but the record is broken already */
    assert_int_equal(t.used, 3);
}

static void
test_exact_fit(void **state)
{
    struct text t = fresh(3);

    (void)state;
    text_add_str(&t, "abc");
    expect(&t, "abc");
    text_add(&t, SLICE_NONE);
    assert_true(text_ok(&t));
}

static void
test_format(void **state)
{
    struct text t = fresh(4);
    char out[4];

    (void)state;
    text_addf(&t, "%d", 123);
    expect(&t, "123");
    text_addf(&t, "%d", 4); /* printf wants room for its NUL */
    assert_false(text_ok(&t));
    assert_true(text_format(out, sizeof(out), "%s", "abc"));
    assert_false(text_format(out, sizeof(out), "%s", "abcd"));
    assert_string_equal(out, "abc");
}

/* RFC 4648 section 10, and the alphabets apart. */
static void
test_base64_both_ways(void **state)
{
    static const struct {
        const char *plain;
        const char *std;
        const char *url;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xfb\xff\xbe", "+/++", "-_--"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct text t = fresh(sizeof(storage));
        uint8_t out[8];
        size_t len = strlen(rows[i].plain);

        text_add_b64(&t, slice_str(rows[i].plain));
        expect(&t, rows[i].std);
        t = fresh(sizeof(storage));
        text_add_b64url(&t, slice_str(rows[i].plain));
        expect(&t, rows[i].url);
        assert_true(text_unb64(slice_str(rows[i].std), out, &len));
        assert_true(slice_eq(slice_of(out, len), slice_str(rows[i].plain)));
        assert_true(text_unb64url(slice_str(rows[i].url), out, &len));
        assert_true(slice_eq(slice_of(out, len), slice_str(rows[i].plain)));
    }
}

static void
test_base64_is_strict(void **state)
{
    static const char *const bad_url[] = {"Zg==", "Z",    "Zh",     "Zm9=", "Zm9+",
                                          "Zm9/", "Zm 9", "Zm9v\n", "Zm-"};
    static const char *const bad_std[] = {"Zg",       "Zg=",  "Zh==", "Zm9=", "====", "=",
                                          "Zg==Zg==", "Zm9-", "Zm9_", "Z===", " Zg="};
    uint8_t out[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad_url); i++) {
        size_t len = sizeof(out);

        assert_false(text_unb64url(slice_str(bad_url[i]), out, &len));
        assert_int_equal(len, sizeof(out));
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad_std); i++) {
        size_t len = sizeof(out);

        assert_false(text_unb64(slice_str(bad_std[i]), out, &len));
    }
}

static void
test_decoders_respect_the_room(void **state)
{
    uint8_t out[3] = {0, 0, 9};
    size_t len = 2;

    (void)state;
    assert_false(text_unb64url(SLICE_LIT("Zm9v"), out, &len));
    assert_false(text_unhex(SLICE_LIT("010203"), out, &len));
    assert_true(text_unhex(SLICE_LIT("00fF"), out, &len));
    assert_int_equal(len, 2);
    assert_int_equal(out[1], 0xff);
    assert_int_equal(out[2], 9);
    len = sizeof(out);
    assert_false(text_unhex(SLICE_LIT("0"), out, &len));
    assert_false(text_unhex(SLICE_LIT("0g"), out, &len));
}

static void
test_hex(void **state)
{
    struct text t = fresh(sizeof(storage));

    (void)state;
    text_add_hex(&t, SLICE_LIT("\x00\xa5\xff"));
    expect(&t, "00a5ff");
}

/* RFC 8785 section 3.2.2.2: short escapes where they exist, else lower-case \u00xx. */
static void
test_json_strings(void **state)
{
    struct text t = fresh(sizeof(storage));

    (void)state;
    text_add_json(&t, SLICE_LIT("a\"\\/\b\t\n\f\r\x01\x1f\x7f\xc3\xa9"));
    expect(&t, "\"a\\\"\\\\/\\b\\t\\n\\f\\r\\u0001\\u001f\x7f\xc3\xa9\"");
    t = fresh(sizeof(storage));
    text_add_json(&t, SLICE_NONE);
    expect(&t, "\"\"");
}

static void
test_escaped_cannot_forge_a_log_line(void **state)
{
    struct text t = fresh(sizeof(storage));

    (void)state;
    text_add_escaped(&t, SLICE_LIT("a b\n=\"\\\xff!"), 99);
    expect(&t, "a\\x20b\\x0a\\x3d\\x22\\x5c\\xff!");
    t = fresh(sizeof(storage));
    text_add_escaped(&t, SLICE_LIT("abcdef"), 3);
    expect(&t, "abc...");
}

static void
test_times_both_ways(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {INT64_C(1795461767123), "2026-11-23T19:22:47.123Z"},
        {INT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct text t = fresh(sizeof(storage));
        int64_t ms = -1;

        text_add_time_ms(&t, rows[i].ms);
        expect(&t, rows[i].text);
        assert_true(text_parse_time(slice_str(rows[i].text), &ms));
        assert_true(ms == rows[i].ms);
    }
}

static void
test_time_before_the_epoch_and_past_its_digits(void **state)
{
    struct text t = fresh(sizeof(storage));

    (void)state;
    text_add_time_ms(&t, -1);
    expect(&t, "1969-12-31T23:59:59.999Z");
    text_add_time_ms(&t, INT64_C(253402300800000));
    assert_false(text_ok(&t));
}

static void
test_parse_time_is_strict(void **state)
{
    static const char *const bad[] = {
        "",
        "2026-11-23",
        "2026-11-23T19:22:47",
        "2026-11-23T19:22:47+00:00",
        "2026-11-23T19:22:47.1Z",
        "2026-11-23T19:22:47.1234Z",
        "2026-11-23t19:22:47Z",
        "2026-13-23T19:22:47Z",
        "2026-02-29T00:00:00Z",
        "2026-11-31T00:00:00Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T23:60:00Z",
        "2026-11-23T23:59:60Z",
        "2026-11-00T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2026-11-+3T19:22:47Z",
        "2026-11-23T19:22:47,123Z",
    };
    int64_t ms = -7;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(text_parse_time(slice_str(bad[i]), &ms));
    assert_true(ms == -7);
    assert_true(text_parse_time(SLICE_LIT("2026-11-23T19:22:47Z"), &ms));
    assert_true(ms == INT64_C(1795461767000));
}

/* RFC 3629 section 4, at both edges of every row. */
static void
test_utf8(void **state)
{
    static const char *const good[] = {
        "",
        "abc\x7f",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x41",
        "\xc2\xc0",
        "\xe0\x9f\xbf",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xf0\x9f\x98",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        assert_true(text_is_utf8(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(text_is_utf8(slice_str(bad[i])));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_overflow_is_sticky_and_adds_nothing),
        cmocka_unit_test(test_exact_fit),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_base64_both_ways),
        cmocka_unit_test(test_base64_is_strict),
        cmocka_unit_test(test_decoders_respect_the_room),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_escaped_cannot_forge_a_log_line),
        cmocka_unit_test(test_times_both_ways),
        cmocka_unit_test(test_time_before_the_epoch_and_past_its_digits),
        cmocka_unit_test(test_parse_time_is_strict),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
