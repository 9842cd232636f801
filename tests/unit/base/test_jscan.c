#include "base/jscan.h"

#include "base/check.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static int
set_up(void **state)
{
    struct jscan_keys *keys = NULL;

    assert_int_equal(jscan_keys_new(&keys), ERR_OK);
    *state = keys;
    return 0;
}

static int
tear_down(void **state)
{
    struct jscan_keys *keys = *state;

    jscan_keys_free(&keys);
    assert_null(keys);
    return 0;
}

/* Scans a copy without a byte to spare, so that a sanitizer sees every overrun. */
static enum err
check_copy(struct slice text, struct jscan_keys *keys, const char **why, size_t *at)
{
    uint8_t *copy = malloc(text.len == 0 ? 1 : text.len);
    enum err e;

    assert_non_null(copy);
    if (text.len > 0)
        memcpy(copy, text.p, text.len);
    e = jscan_check(slice_of(copy, text.len), keys, why, at);
    free(copy);
    return e;
}

static void
expect(struct jscan_keys *keys, struct slice text, enum err want)
{
    const char *why = "";
    size_t at = 0;
    enum err e = check_copy(text, keys, &why, &at);

    if (e != want)
        print_error("%.*s: %s (%s at %zu)\n", SLICE_ARG(text), err_text(e), why, at);
    assert_int_equal(e, want);
}

static void
test_takes_every_form_of_value(void **state)
{
    static const char *const rows[] = {
        "0",
        "-0",
        "1",
        "-12.50",
        "1e5",
        "1E+5",
        "1.5e-10",
        "true",
        "false",
        "null",
        "\"\"",
        "\"abc\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        " \t\r\n1\n ",
        "[1,2,3]",
        "[[],[[]],{}]",
        "{\"a\":1}",
        "{\"a\":{\"a\":{\"a\":[]}},\"b\":[{\"a\":1},{\"a\":2}]}",
        "{\"\":0}",
        "{ \"a\" : [ 1 , null ] , \"b\" : { } }",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\"",
        "\"\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
        "\"0123456789abcdef0123456789abcdef\"",
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        expect(*state, slice_str(rows[i]), ERR_OK);
}

static const char *const not_json[] = {
    "",
    " ",
    "tru",
    "True",
    "nul",
    "NaN",
    "Infinity",
    "-Infinity",
    "undefined",
    "'a'",
    "a",
    "+1",
    "-",
    "01",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "1.e5",
    "0x10",
    "1_000",
    "--1",
    "1-",
    "[",
    "]",
    "{",
    "}",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1,,2]",
    "[1 2]",
    "[1}",
    "[1:2]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1",
    "{\"a\":1,}",
    "{,}",
    "{\"a\" 1}",
    "{\"a\"::1}",
    "{a:1}",
    "{1:1}",
    "{'a':1}",
    "{null:1}",
    "{\"a\":1]",
    "{\"a\",1}",
    "{\"a\":1 2}",
    "{[]:1}",
    "{\"a\":1,,}",
    "{\"a\":1;}",
    "1 2",
    "1,",
    "{}{}",
    "[]]",
    "{}}",
    "null x",
    "\"",
    "\"a",
    "\"\\\"",
    "\"\\",
    "\"\\u",
    "\"\\u12",
    "\"\\x41\"",
    "\"\\'\"",
    "\"\\a\"",
    "\"\\U0041\"",
    "\"\\u00g0\"",
    "\"\\u 041\"",
    "\"\\u+041\"",
    "// c\n1",
    "/* c */1",
    "1 // c",
    "# c\n1",
    "\f1",
    "\v1",
    "1\f",
    "\xc2\xa0[]",
    "[1\xe2\x80\xa8]",
    "true1",
    "\"a\"\"b\"",
    "nulll",
    "falsee",
    "[true,fals]",
    "{\"a\":tru}",
    "*",
    "1e5.5",
    "[\"a\",\n4\n,1,",
    "[\"a\\",
    "{\"a\":1,\"b\"",
    "[1,2",
};

static void
test_refuses_what_is_not_json(void **state)
{
    for (size_t i = 0; i < ARRAY_COUNT(not_json); i++)
        expect(*state, slice_str(not_json[i]), ERR_BADMSG);
}

static void
test_refuses_nul_bom_and_controls(void **state)
{
    expect(*state, SLICE_LIT("\xef\xbb\xbf{}"), ERR_BADMSG);
    expect(*state, SLICE_LIT("\xff\xfe{\0}\0"), ERR_BADMSG);
    expect(*state, SLICE_LIT("1\0"), ERR_BADMSG);
    expect(*state, SLICE_LIT("\0"), ERR_BADMSG);
    expect(*state, SLICE_LIT("[1,\0 2]"), ERR_BADMSG);
    expect(*state, SLICE_LIT("\"a\0b\""), ERR_BADMSG);
    expect(*state, SLICE_LIT("\"\\u0000\""), ERR_BADMSG);
    expect(*state, SLICE_LIT("{\"a\\u0000b\":1}"), ERR_BADMSG);
    for (uint8_t c = 1; c < 0x20; c++) {
        uint8_t text[] = {'"', 'a', c, '"'};

        expect(*state, slice_of(text, sizeof(text)), ERR_BADMSG);
    }
}

static void
test_refuses_unpaired_surrogates(void **state)
{
    static const char *const rows[] = {
        "\"\\uD800\"",        "\"\\uDBFF\"",       "\"\\uDC00\"",        "\"\\uDFFF\"",
        "\"\\uD800x\"",       "\"\\uD800\\n\"",    "\"\\uD800\\u0041\"", "\"\\uD800\\uD800\"",
        "\"\\uDE00\\uD83D\"", "\"\\uD83D\\uDE0\"", "\"\\uD83D\\u\"",     "\"\\uD83D\\",
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        expect(*state, slice_str(rows[i]), ERR_BADMSG);
}

/* Wherever the bad bytes stand: before, inside and behind the blocks of a fast scan. */
static void
test_refuses_malformed_utf8_at_every_offset(void **state)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xc2",
        "\xc3\x28",
        "\xe0\x80\xaf",
        "\xe2\x82",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\xaf",
        "\xf0\x9f\x98",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xff",
    };

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        for (size_t before = 0; before < 40; before++) {
            char text[64] = "\"";
            size_t len = 1 + before;

            memset(text + 1, 'x', before);
            memcpy(text + len, bad[i], strlen(bad[i]));
            len += strlen(bad[i]);
            text[len++] = 'y';
            text[len++] = '"';
            expect(*state, slice_of(text, len), ERR_BADMSG);
        }
    }
}

/* The scanner's own quick look at UTF-8 against the plain reading of RFC 3629. */
static void
test_utf8_as_the_reference_has_it(void **state)
{
    static const uint8_t next[] = {'A',  0x7f, 0x80, 0x8f, 0x90, 0x9f,
                                   0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xff};
    const size_t n = ARRAY_COUNT(next);

    for (unsigned c = 0x7f; c < 256; c++) {
        for (size_t i = 0; i < n * n * n; i++) {
            uint8_t text[] = {'"', (uint8_t)c, next[i % n], next[i / n % n], next[i / n / n], '"'};
            bool ok = text_is_utf8(slice_of(text + 1, 4));

            expect(*state, slice_of(text, sizeof(text)), ok ? ERR_OK : ERR_BADMSG);
        }
    }
}

/* One byte after another in every place of a string: taken if and only if JSON does. */
static void
test_every_byte_at_every_offset(void **state)
{
    for (size_t at = 1; at <= 40; at++) {
        for (unsigned c = 0; c < 256; c++) {
            uint8_t text[42];
            bool ok = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';

            memset(text, 'x', sizeof(text));
            text[0] = text[sizeof(text) - 1] = '"';
            text[at] = (uint8_t)c;
            if (c == '\\' && at == sizeof(text) - 2)
                continue; /* would escape the closing quote: refused, see above */
            expect(*state, slice_of(text, sizeof(text)), ok ? ERR_OK : ERR_BADMSG);
        }
    }
}

static void
test_refuses_duplicate_keys(void **state)
{
    static const char *const rows[] = {
        "{\"a\":1,\"a\":1}",
        "{\"\":1,\"\":1}",
        "{\"a\":1,\"b\":2,\"c\":3,\"a\":4}",
        "{\"x\":{\"a\":1,\"a\":2}}",
        "[[{\"a\":[{\"a\":1}],\"a\":2}]]",
        "{\"model\":1,\"m\\u006fdel\":2}",
        "{\"m\\u006fdel\":1,\"model\":2}",
        "{\"\\u006d\\u006f\":1,\"m\\u006F\":2}",
        "{\"\\/\":1,\"/\":2}",
        "{\"\\n\":1,\"\\u000a\":2}",
        "{\"\xc3\xa9\":1,\"\\u00e9\":2}",
        "{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\uDE00\":2}",
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        expect(*state, slice_str(rows[i]), ERR_BADMSG);
}

static void
test_takes_the_same_key_in_different_objects(void **state)
{
    static const char *const rows[] = {
        "{\"a\":{\"a\":{\"a\":1}}}",
        "[{\"a\":1},{\"a\":2},{\"a\":3}]",
        "{\"x\":{\"a\":1},\"y\":{\"a\":1},\"a\":1}",
        "{\"a\":1,\"A\":2,\"a \":3,\"\":4}",
        "{\"a\":1,\"\\\\u0061\":2}",
        "{\"ab\":1,\"a\\u0062c\":2,\"\\u0061\":3}",
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        expect(*state, slice_str(rows[i]), ERR_OK);
}

/* The last key repeats each earlier one in turn, for objects of few keys and of many, with
 * objects of their own between the keys. */
static void
test_duplicates_are_found_at_every_count(void **state)
{
    for (unsigned count = 2; count <= 24; count++) {
        for (unsigned repeat = 0; repeat < count; repeat++) {
            char text[2048];
            struct text t;

            text_init(&t, text, sizeof(text));
            for (unsigned i = 0; i < count; i++) {
                unsigned name = i == count - 1 ? repeat : i;

                text_addf(&t, "%c\"k%u\":{\"k0\":{},\"k1\":[],\"k2\":0}", i == 0 ? '{' : ',', name);
            }
            text_add_char(&t, '}');
            assert_true(text_ok(&t));
            /* A key that repeats itself only is the one text without a duplicate. */
            expect(*state, text_slice(&t), repeat == count - 1 ? ERR_OK : ERR_BADMSG);
        }
    }
}

/* Keys longer than one hash block, spelt plainly and with an escape at each place. */
static void
test_long_keys_meet_in_any_spelling(void **state)
{
    for (size_t len = 60; len < 140; len++) {
        for (size_t escape = 0; escape < len; escape += 13) {
            char text[400];
            char tail[] = "\\u0078";
            size_t at = 0;

            memcpy(text, "{\"", 2);
            at = 2;
            memset(text + at, 'x', len);
            at += len;
            memcpy(text + at, "\":1,\"", 5);
            at += 5;
            memset(text + at, 'x', escape);
            at += escape;
            memcpy(text + at, tail, 6);
            at += 6;
            memset(text + at, 'x', len - escape - 1);
            at += len - escape - 1;
            memcpy(text + at, "\":2}", 4);
            expect(*state, slice_of(text, at + 4), ERR_BADMSG);
            text[at - 1] = '0'; /* \u0078 at the very end becomes \u0070: still a key apart */
            expect(*state, slice_of(text, at + 4), ERR_OK);
        }
    }
}

/* n containers in each other: open, then the value, then close. */
static struct slice
nested(size_t n, const char *open, const char *value, const char *close)
{
    static char text[1024];
    size_t at = 0;

    for (size_t i = 0; i < n; i++, at += strlen(open))
        memcpy(text + at, open, strlen(open));
    memcpy(text + at, value, strlen(value));
    at += strlen(value);
    for (size_t i = 0; i < n; i++, at += strlen(close))
        memcpy(text + at, close, strlen(close));
    return slice_of(text, at);
}

static void
test_depth_limit_is_exact(void **state)
{
    expect(*state, nested(JSCAN_DEPTH_MAX, "[", "", "]"), ERR_OK);
    expect(*state, nested(JSCAN_DEPTH_MAX, "{\"a\":", "1", "}"), ERR_OK);
    expect(*state, nested(JSCAN_DEPTH_MAX + 1, "[", "", "]"), ERR_TOOBIG);
    expect(*state, nested(JSCAN_DEPTH_MAX + 1, "{\"a\":", "1", "}"), ERR_TOOBIG);
    expect(*state, nested(JSCAN_DEPTH_MAX, "[", "{", "]"), ERR_TOOBIG);
    expect(*state, nested(JSCAN_DEPTH_MAX / 2, "[{\"a\":", "null", "}]"), ERR_OK);
}

static void
test_number_limit_is_exact(void **state)
{
    char text[JSCAN_NUMBER_MAX + 4];

    memset(text, '1', sizeof(text));
    expect(*state, slice_of(text, JSCAN_NUMBER_MAX), ERR_OK);
    expect(*state, slice_of(text, JSCAN_NUMBER_MAX + 1), ERR_TOOBIG);
    text[0] = '-';
    text[2] = '.';
    text[JSCAN_NUMBER_MAX - 4] = 'e';
    expect(*state, slice_of(text, JSCAN_NUMBER_MAX), ERR_OK);
    expect(*state, slice_of(text, JSCAN_NUMBER_MAX + 1), ERR_TOOBIG);
}

/* One object with count keys, the last of which may be spelt like the first. */
static struct slice
many_keys(char *storage, size_t size, size_t count, bool repeat)
{
    struct text t;

    text_init(&t, storage, size);
    for (size_t i = 0; i < count; i++)
        text_addf(&t, "%c\"k%zu\":0", i == 0 ? '{' : ',', repeat && i == count - 1 ? 0 : i);
    text_add_char(&t, '}');
    assert_true(text_ok(&t));
    return text_slice(&t);
}

static void
test_key_limit_is_exact(void **state)
{
    size_t size = (JSCAN_KEYS_MAX + 1) * 16;
    char *text = malloc(size);

    assert_non_null(text);
    expect(*state, many_keys(text, size, JSCAN_KEYS_MAX, false), ERR_OK);
    expect(*state, many_keys(text, size, JSCAN_KEYS_MAX + 1, false), ERR_TOOBIG);
    expect(*state, many_keys(text, size, JSCAN_KEYS_MAX, true), ERR_BADMSG);
    expect(*state, many_keys(text, size, JSCAN_KEYS_MAX + 1, true), ERR_BADMSG);
    expect(*state, many_keys(text, size, JSCAN_KEYS_MAX, false), ERR_OK);
    free(text);
}

/* Closed objects give their keys back: far more than the limit may pass in a row. */
static void
test_key_limit_counts_open_objects_only(void **state)
{
    const size_t count = 3 * JSCAN_KEYS_MAX;
    const char *piece = "{\"a\":1,\"b\":{\"a\":2}},";
    char *text = malloc(count * strlen(piece) + 2);
    size_t at = 1;

    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < count; i++, at += strlen(piece))
        memcpy(text + at, piece, strlen(piece));
    text[at - 1] = ']';
    expect(*state, slice_of(text, at), ERR_OK);
    free(text);
}

static void
test_keys_of_an_aborted_scan_are_forgotten(void **state)
{
    for (int i = 0; i < 3 * JSCAN_KEYS_MAX; i++) {
        expect(*state, SLICE_LIT("{\"a\":1,\"b\":{\"c\":!"), ERR_BADMSG);
        expect(*state, SLICE_LIT("{\"b\":1,\"a\":{\"c\":1}}"), ERR_OK);
    }
}

static void
test_faults_name_reason_and_place(void **state)
{
    static const struct {
        const char *text;
        const char *why;
        size_t at;
    } rows[] = {
        {"{\"a\":1,\"a\":2}", "duplicate key", 7},
        {"[1,]", "a value must begin here", 3},
        {"[1 2]", "a comma or ] must stand here", 3},
        {"{\"a\" 1}", "a colon must follow the key", 5},
        {"{a:1}", "a key in quotes must stand here", 1},
        {"{} {}", "only one value may stand here", 3},
        {"\"ab\xc3\xa9\xff\"", "malformed UTF-8", 5},
        {"\"ab\ncd\"", "a control character in a string must be escaped", 3},
        {"\"\\q\"", "unknown escape", 1},
        {"[\"\\ud800\"]", "unpaired surrogate", 2},
        {"[\"\\u0000\"]", "NUL is not allowed", 2},
        {"\xef\xbb\xbf{}", "a byte order mark is not allowed", 0},
        {"[1", "the text ends inside an array", 2},
        {"{\"a\":1", "the text ends inside an object", 6},
        {"[\"abc", "the text ends inside a string", 5},
        {"", "the text ends where a value must begin", 0},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *why = "";
        size_t at = SIZE_MAX;

        assert_int_equal(check_copy(slice_str(rows[i].text), *state, &why, &at), ERR_BADMSG);
        assert_string_equal(why, rows[i].why);
        assert_int_equal(at, rows[i].at);
    }
}

static void
test_faults_are_final_and_leave_the_token_alone(void **state)
{
    struct jscan_token token;
    struct jscan s;

    jscan_init(&s, SLICE_LIT("[x1]"), *state);
    assert_int_equal(jscan_next(&s, &token), ERR_OK);
    token.at = 77;
    assert_int_equal(jscan_next(&s, &token), ERR_BADMSG);
    assert_int_equal(jscan_next(&s, &token), ERR_BADMSG);
    assert_int_equal(token.at, 77);
    assert_int_equal(s.at, 1);
    jscan_init(&s, nested(JSCAN_DEPTH_MAX, "[", "[]", "]"), *state);
    while (jscan_next(&s, &token) == ERR_OK)
        assert_int_equal(token.type, JSCAN_ARRAY);
    assert_int_equal(jscan_next(&s, &token), ERR_TOOBIG);
    assert_string_equal(s.why, "nested too deep");
}

static void
test_tokens_in_order(void **state)
{
    static const struct {
        enum jscan_type type;
        uint32_t depth;
        size_t at;
        const char *raw;
    } rows[] = {
        {JSCAN_OBJECT, 0, 1, ""},      {JSCAN_KEY, 1, 2, "a\\n"}, {JSCAN_ARRAY, 1, 9, ""},
        {JSCAN_NUMBER, 2, 10, "-1.5"}, {JSCAN_TRUE, 2, 16, ""},   {JSCAN_FALSE, 2, 21, ""},
        {JSCAN_NULL, 2, 27, ""},       {JSCAN_OBJECT, 2, 32, ""}, {JSCAN_OBJECT_END, 2, 33, ""},
        {JSCAN_ARRAY_END, 1, 34, ""},  {JSCAN_KEY, 1, 36, "b"},   {JSCAN_STRING, 1, 40, "x"},
        {JSCAN_OBJECT_END, 0, 43, ""}, {JSCAN_END, 0, 45, ""},
    };
    struct jscan s;

    jscan_init(&s, SLICE_LIT(" {\"a\\n\" :[-1.5, true,false,null,{}],\"b\":\"x\"} "), *state);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct jscan_token token;

        assert_int_equal(jscan_next(&s, &token), ERR_OK);
        assert_int_equal(token.type, rows[i].type);
        assert_int_equal(token.depth, rows[i].depth);
        assert_int_equal(token.at, rows[i].at);
        assert_true(slice_is(token.raw, rows[i].raw));
        assert_int_equal(token.escaped, i == 1);
    }
}

static void
test_skip_passes_one_value(void **state)
{
    static const char *const values[] = {"1", "\"]}\"", "[]", "[[1,{\"k\":[]}],2]",
                                         "{\"k\":{\"k\":[]},\"l\":\"}\"}"};

    for (size_t i = 0; i < ARRAY_COUNT(values); i++) {
        char text[64];
        struct jscan_token token;
        struct jscan s;

        assert_true(text_format(text, sizeof(text), "{\"a\":%s,\"b\":7}", values[i]));
        jscan_init(&s, slice_str(text), *state);
        assert_int_equal(jscan_next(&s, &token), ERR_OK);
        assert_int_equal(jscan_next(&s, &token), ERR_OK);
        assert_int_equal(jscan_next(&s, &token), ERR_OK);
        assert_int_equal(jscan_skip(&s, &token), ERR_OK);
        assert_int_equal(jscan_next(&s, &token), ERR_OK);
        assert_true(jscan_is(&token, "b"));
    }
}

static void
test_skip_checks_what_it_passes(void **state)
{
    struct jscan_token token;
    struct jscan s;

    jscan_init(&s, SLICE_LIT("[[{\"a\":1,\"a\":2}]]"), *state);
    assert_int_equal(jscan_next(&s, &token), ERR_OK);
    assert_int_equal(jscan_skip(&s, &token), ERR_BADMSG);
    assert_string_equal(s.why, "duplicate key");
}

/* The one token of a text that is a string or number. */
static struct jscan_token
only_token(struct jscan_keys *keys, const char *text)
{
    struct jscan_token token = {.type = JSCAN_END};
    struct jscan s;

    jscan_init(&s, slice_str(text), keys);
    assert_int_equal(jscan_next(&s, &token), ERR_OK);
    return token;
}

static void
test_decode(void **state)
{
    static const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"\"\"", ""},
        {"\"plain \xe2\x82\xac\"", "plain \xe2\x82\xac"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"a\\u0001b\\u007fc\"", ("a\x01"
                                   "b\x7f"
                                   "c")},
        {"\"\\u0080\\u07ff\"", "\xc2\x80\xdf\xbf"},
        {"\"\\u0800\\uffff\"", "\xe0\xa0\x80\xef\xbf\xbf"},
        {"\"\\ud800\\udc00\\uDBFF\\uDFFF\"", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {"\"\\\\u0041\"", "\\u0041"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct jscan_token token = only_token(*state, rows[i].text);
        size_t want = strlen(rows[i].want);

        /* Every room up to the right one: too small is said, and nothing is overrun. */
        for (size_t room = 0; room <= want; room++) {
            uint8_t *out = malloc(room == 0 ? 1 : room);
            size_t len = room;
            enum err e;

            assert_non_null(out);
            e = jscan_decode(&token, out, &len);
            assert_int_equal(e, room < want ? ERR_TOOBIG : ERR_OK);
            assert_int_equal(len, room);
            if (e == ERR_OK)
                assert_memory_equal(out, rows[i].want, want);
            free(out);
        }
    }
}

static void
test_is_compares_decoded(void **state)
{
    static const struct {
        const char *text;
        const char *literal;
        bool want;
    } rows[] = {
        {"\"model\"", "model", true},
        {"\"m\\u006fdel\"", "model", true},
        {"\"\\u006dodel\"", "model", true},
        {"\"mode\\u006c\"", "model", true},
        {"\"Model\"", "model", false},
        {"\"mode\"", "model", false},
        {"\"models\"", "model", false},
        {"\"\\u006dode\"", "model", false},
        {"\"\\u006dodels\"", "model", false},
        {"\"\"", "", true},
        {"\"\"", "a", false},
        {"\"\\u0061\"", "", false},
        {"1", "1", false},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct jscan_token token = only_token(*state, rows[i].text);

        assert_int_equal(jscan_is(&token, rows[i].literal), rows[i].want);
    }
}

static void
test_int_is_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-1", true, -1},
        {"9007199254740992", true, INT64_C(9007199254740992)},
        {"-9007199254740992", true, -INT64_C(9007199254740992)},
        {"9007199254740993", false, 0},
        {"-9007199254740993", false, 0},
        {"18446744073709551616", false, 0},
        {"111111111111111111111111111111111111111", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"1E3", false, 0},
        {"\"1\"", false, 0},
        {"true", false, 0},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct jscan_token token = only_token(*state, rows[i].text);
        int64_t v = 77;

        assert_int_equal(jscan_int(&token, &v), rows[i].ok);
        assert_true(v == (rows[i].ok ? rows[i].want : 77));
    }
}

/* A text cut short anywhere is refused, and no byte behind the cut is read. */
static void
test_every_prefix_is_refused(void **state)
{
    const struct slice text = SLICE_LIT(
        "{\"model\":\"a\\u00e9\xf0\x9f\x98\x80 a string longer than a block\",\"n\":[-1.5e+3,"
        "true,false,null,{\"k\\ud83d\\ude00\":{}}]}");

    expect(*state, text, ERR_OK);
    for (size_t len = 0; len < text.len; len++)
        expect(*state, slice_sub(text, 0, len), ERR_BADMSG);
}

#define WITH_KEYS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_KEYS(test_takes_every_form_of_value),
        WITH_KEYS(test_refuses_what_is_not_json),
        WITH_KEYS(test_refuses_nul_bom_and_controls),
        WITH_KEYS(test_refuses_unpaired_surrogates),
        WITH_KEYS(test_refuses_malformed_utf8_at_every_offset),
        WITH_KEYS(test_utf8_as_the_reference_has_it),
        WITH_KEYS(test_every_byte_at_every_offset),
        WITH_KEYS(test_refuses_duplicate_keys),
        WITH_KEYS(test_takes_the_same_key_in_different_objects),
        WITH_KEYS(test_duplicates_are_found_at_every_count),
        WITH_KEYS(test_long_keys_meet_in_any_spelling),
        WITH_KEYS(test_depth_limit_is_exact),
        WITH_KEYS(test_number_limit_is_exact),
        WITH_KEYS(test_key_limit_is_exact),
        WITH_KEYS(test_key_limit_counts_open_objects_only),
        WITH_KEYS(test_keys_of_an_aborted_scan_are_forgotten),
        WITH_KEYS(test_faults_name_reason_and_place),
        WITH_KEYS(test_faults_are_final_and_leave_the_token_alone),
        WITH_KEYS(test_tokens_in_order),
        WITH_KEYS(test_skip_passes_one_value),
        WITH_KEYS(test_skip_checks_what_it_passes),
        WITH_KEYS(test_decode),
        WITH_KEYS(test_is_compares_decoded),
        WITH_KEYS(test_int_is_exact_or_refused),
        WITH_KEYS(test_every_prefix_is_refused),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
