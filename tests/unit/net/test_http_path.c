#include "h1_feed.h"

/* One spelling for one path; what has two readings is refused. */

static enum err
canonical(struct slice path, struct text *out, void *storage, size_t size)
{
    text_init(out, storage, size);
    return http_canonical_path(path, out);
}

static void
test_paths_have_one_spelling(void **state)
{
    static const struct {
        const char *path;
        const char *want;
    } cases[] = {
        {"/", "/"},
        {"/v1/models", "/v1/models"},
        {"/v1/models/", "/v1/models/"},
        {"//a//b", "//a//b"},
        {"/a/./b", "/a/b"},
        {"/a/../b", "/b"},
        {"/a/b/..", "/a/"},
        {"/a/b/.", "/a/b/"},
        {"/a/..", "/"},
        {"/..", "/"},
        {"/.", "/"},
        {"/../../a", "/a"},
        {"/a//../b", "/a/b"},
        {"/...", "/..."},
        {"/.a/..b", "/.a/..b"},
        {"/%61%5F%7e", "/a_~"},
        {"/%2e%2E/a", "/a"},
        {"/a/%2e%2e", "/"},
        {"/a/.%2e/b", "/b"},
        {"/%c3%a9", "/%C3%A9"},
        {"/%20", "/%20"},
        {"/%25%32%65", "/%252e"},
        {"/%252e%252e/a", "/%252e%252e/a"},
        {"/a;b=c,d/@:!$&'()*+=", "/a;b=c,d/@:!$&'()*+="},
        {"/%3f%23", "/%3F%23"},
    };
    uint8_t storage[256];
    uint8_t again[256];
    struct text out;
    struct text twice;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(ERR_OK,
                         canonical(slice_str(cases[i].path), &out, storage, sizeof(storage)));
        if (!slice_is(text_slice(&out), cases[i].want))
            fail_msg("%s became %.*s", cases[i].path, SLICE_ARG(text_slice(&out)));
        assert_int_equal(ERR_OK, canonical(text_slice(&out), &twice, again, sizeof(again)));
        assert_true(slice_eq(text_slice(&out), text_slice(&twice)));
    }
}

static void
test_paths_of_two_readings_are_refused(void **state)
{
    static const struct {
        const char *path;
        size_t len;
    } cases[] = {
#define PATH(s) {s, sizeof(s) - 1}
        PATH(""),         PATH("a"),           PATH("*"),      PATH("/%00"),   PATH("/a%00b"),
        PATH("/a\\b"),    PATH("/%5c"),        PATH("/%5C.."), PATH("/%2f"),   PATH("/a%2Fb"),
        PATH("/..%2fa"),  PATH("/%"),          PATH("/%4"),    PATH("/%4g"),   PATH("/%g4"),
        PATH("/a%"),      PATH("/%u0041"),     PATH("/a?b"),   PATH("/a#b"),   PATH("/a b"),
        PATH("/a\0b"),    PATH("/\xc3\xa9"),   PATH("/a\"b"),  PATH("/<a>"),   PATH("/{a}"),
        PATH("/a|b"),     PATH("/a^b"),        PATH("/`"),     PATH("/[a]"),   PATH("/a/..;/b"),
        PATH("/a/.;x/b"), PATH("/%2e%2e;a/b"), PATH("/a\x7f"), PATH("/%%32f"), PATH("/a/../%00"),
#undef PATH
    };
    uint8_t storage[256];
    struct text out;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (canonical(slice_of(cases[i].path, cases[i].len), &out, storage, sizeof(storage)) !=
            ERR_BADMSG)
            fail_msg("%s was not refused", cases[i].path);
        assert_int_equal(0, out.used);
        assert_true(text_ok(&out));
    }
}

static void
test_path_is_added_behind_what_is_there(void **state)
{
    uint8_t storage[64];
    struct text out;

    (void)state;
    text_init(&out, storage, sizeof(storage));
    text_add_str(&out, "/base/x");
    assert_int_equal(ERR_OK, http_canonical_path(SLICE_LIT("/../../a"), &out));
    assert_true(slice_is(text_slice(&out), "/base/x/a"));
    assert_int_equal(ERR_BADMSG, http_canonical_path(SLICE_LIT("/b/%00"), &out));
    assert_true(slice_is(text_slice(&out), "/base/x/a"));
}

static void
test_path_that_does_not_fit_marks_the_text(void **state)
{
    uint8_t storage[8];
    struct text out;

    (void)state;
    assert_int_equal(ERR_OK, canonical(SLICE_LIT("/1234567"), &out, storage, sizeof(storage)));
    assert_int_equal(ERR_FULL, canonical(SLICE_LIT("/12345678"), &out, storage, sizeof(storage)));
    assert_false(text_ok(&out));
    assert_int_equal(ERR_FULL, canonical(SLICE_LIT("/12345/78"), &out, storage, sizeof(storage)));
    assert_int_equal(ERR_FULL, http_canonical_path(SLICE_LIT("/"), &out));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_have_one_spelling),
        cmocka_unit_test(test_paths_of_two_readings_are_refused),
        cmocka_unit_test(test_path_is_added_behind_what_is_there),
        cmocka_unit_test(test_path_that_does_not_fit_marks_the_text),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
