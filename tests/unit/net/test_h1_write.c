#include "h1_feed.h"

/* The writers, and through them the table of byte classes. */

static uint8_t storage[512];

static struct text
fresh(void)
{
    struct text t;

    text_init(&t, storage, sizeof(storage));
    return t;
}

static void
test_request_is_written_whole(void **state)
{
    struct text t = fresh();

    (void)state;
    h1_write_request_line(&t, HTTP_POST, SLICE_LIT("/v1/chat?a=b"));
    h1_write_field(&t, SLICE_LIT("Host"), SLICE_LIT("a:80"));
    h1_write_field(&t, SLICE_LIT("X-Empty"), SLICE_NONE);
    h1_write_field_u64(&t, SLICE_LIT("Content-Length"), UINT64_MAX);
    h1_write_end(&t);
    assert_true(text_ok(&t));
    assert_true(slice_is(text_slice(&t), "POST /v1/chat?a=b HTTP/1.1\r\nHost: a:80\r\nX-Empty: \r\n"
                                         "Content-Length: 18446744073709551615\r\n\r\n"));
}

static void
test_response_is_written_whole(void **state)
{
    struct text t = fresh();

    (void)state;
    h1_write_status_line(&t, 431);
    h1_write_status_line(&t, 299);
    h1_write_end(&t);
    assert_true(slice_is(text_slice(&t), "HTTP/1.1 431 Request Header Fields Too Large\r\n"
                                         "HTTP/1.1 299 \r\n\r\n"));
}

static void
test_one_bad_byte_is_found_wherever_it_stands(void **state)
{
    char value[32];

    (void)state;
    for (size_t len = 1; len < sizeof(value); len++)
        for (size_t at = 0; at <= len; at++) {
            struct text t = fresh();

            memset(value, 'a', sizeof(value));
            value[at] = '\r'; /* at == len: behind it */
            h1_write_field(&t, SLICE_LIT("A"), slice_of(value, len));
            assert_int_equal(text_ok(&t), at == len);
        }
}

static void
test_bad_targets_set_the_mark(void **state)
{
    static const char *const targets[] = {
        "", "*", "a", "/a b", "/a\r\nX: y", "/a\n", "/a#b", "/\x7f", "/\xc3\xa9", "http://a/",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        struct text t = fresh();

        h1_write_request_line(&t, HTTP_GET, slice_str(targets[i]));
        assert_false(text_ok(&t));
        assert_int_equal(0, t.used);
    }
}

static void
test_bad_fields_set_the_mark(void **state)
{
    static const struct {
        const char *name;
        const char *value;
    } cases[] = {
        {"", "b"},      {"A b", "c"},       {"A:", "b"},   {"A_b", "c"},      {"A\r\nB", "c"},
        {"A", "b\r\n"}, {"A", "b\r\nC: d"}, {"A", "b\nc"}, {"A", "b\rc"},     {"A", " b"},
        {"A", "b\t"},   {"A", "\x01"},      {"A", "\x7f"}, {"\xc3\xa9", "b"},
    };
    struct text t;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        t = fresh();
        h1_write_field(&t, slice_str(cases[i].name), slice_str(cases[i].value));
        assert_false(text_ok(&t));
        assert_int_equal(0, t.used);
    }
    t = fresh();
    h1_write_field(&t, SLICE_LIT("A"), SLICE_LIT("b\0c"));
    assert_false(text_ok(&t));
}

static void
test_bad_statuses_set_the_mark(void **state)
{
    static const int statuses[] = {-1, 0, 99, 600, 2000};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(statuses); i++) {
        struct text t = fresh();

        h1_write_status_line(&t, statuses[i]);
        assert_false(text_ok(&t));
    }
}

static void
test_what_does_not_fit_sets_the_mark(void **state)
{
    struct text t;

    (void)state;
    for (size_t size = 0; size < strlen("A: b\r\n"); size++) {
        text_init(&t, storage, size);
        h1_write_field(&t, SLICE_LIT("A"), SLICE_LIT("b"));
        assert_false(text_ok(&t));
    }
}

static void
test_chunk_head_is_hex(void **state)
{
    struct text t = fresh();

    (void)state;
    h1_write_chunk_head(&t, 1);
    h1_write_chunk_head(&t, 0x10af);
    h1_write_chunk_head(&t, UINT64_MAX);
    text_add(&t, H1_CHUNK_TAIL);
    text_add(&t, H1_LAST_CHUNK);
    assert_true(slice_is(text_slice(&t), "1\r\n10af\r\nffffffffffffffff\r\n\r\n0\r\n\r\n"));
}

static void
test_empty_chunk_does_not_end_the_body(void **state)
{
    struct text t = fresh();

    (void)state;
    h1_write_chunk_head(&t, 0);
    assert_false(text_ok(&t));
}

static bool
is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool
is_one_of(int c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

/* Whether the byte may stand in the middle, as the writers and the path see it. */
static void
check_byte(int c)
{
    const uint8_t name[3] = {'a', (uint8_t)c, 'b'};
    const uint8_t target[3] = {'/', (uint8_t)c, 'b'};
    struct text t = fresh();

    h1_write_field(&t, slice_of(name, 3), SLICE_LIT("v"));
    assert_int_equal(is_alnum(c) || is_one_of(c, "!#$%&'*+-.^`|~"), text_ok(&t));
    t = fresh();
    h1_write_field(&t, SLICE_LIT("n"), slice_of(name, 3));
    assert_int_equal(c == '\t' || (c >= ' ' && c <= '~') || c >= 0x80, text_ok(&t));
    t = fresh();
    h1_write_request_line(&t, HTTP_GET, slice_of(target, 3));
    assert_int_equal(c >= '!' && c <= '~' && c != '#', text_ok(&t));
    t = fresh();
    assert_int_equal(is_alnum(c) || is_one_of(c, "-._~!$&'()*+,;=:@/") ? ERR_OK : ERR_BADMSG,
                     http_canonical_path(slice_of(target, 3), &t));
}

/* Long values are looked at in blocks: a byte counts at every place of one, and behind the last. */
static void
check_byte_of_a_long_value(int c)
{
    bool good = c == '\t' || (c >= ' ' && c <= '~') || c >= 0x80;

    for (size_t at = 1; at + 1 < 45; at++) {
        uint8_t value[45];
        struct text t = fresh();

        memset(value, 'v', sizeof(value));
        value[at] = (uint8_t)c;
        h1_write_field(&t, SLICE_LIT("n"), slice_of(value, sizeof(value)));
        assert_int_equal(good, text_ok(&t));
    }
}

/* A hex digit as chunk size, and a byte as escape: decoded only if unreserved. */
static void
check_escape(int c)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t path[5] = {'/', '%', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15], 'z'};
    const uint8_t size[3] = {(uint8_t)c, '\r', '\n'};
    struct text t = fresh();
    struct h1_body b;
    struct slice content = SLICE_NONE;
    size_t used = 0;
    enum err e = http_canonical_path(slice_of(path, 5), &t);

    if (c == 0 || c == '/' || c == '\\') {
        assert_int_equal(ERR_BADMSG, e);
    } else {
        assert_int_equal(ERR_OK, e);
        assert_int_equal(is_alnum(c) || is_one_of(c, "-._~") ? 3 : 5, t.used);
    }
    h1_body_init(&b, H1_BODY_CHUNKED, 0);
    assert_int_equal(is_one_of(c, "0123456789abcdefABCDEF") ? ERR_OK : ERR_BADMSG,
                     h1_body_read(&b, slice_of(size, 3), &content, &used));
}

static void
test_byte_classes_follow_the_grammar(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        check_byte(c);
        check_byte_of_a_long_value(c);
        check_escape(c);
    }
}

static void
test_token_and_reg_name_follow_the_grammar(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        static const char line[] = "GET / HTTP/1.1\r\nHost: a?b\r\nConnection: c?d\r\n\r\n";
        uint8_t copy[sizeof(line)];
        struct h1_parser p = feed_role(H1_REQUEST);
        struct h1_head head;
        size_t len = 0;
        bool good;

        memcpy(copy, line, sizeof(line));
        copy[slice_find(slice_str(line), '?')] = (uint8_t)c;
        copy[strlen(line) - 6] = 'x';
        good = is_alnum(c) || is_one_of(c, "-._~!$&'()*+,;=");
        assert_int_equal(good ? ERR_OK : ERR_BADMSG,
                         h1_parse_head(&p, slice_of(copy, sizeof(line) - 1), &head, &len));
        memcpy(copy, line, sizeof(line));
        copy[slice_find(slice_str(line), '?')] = 'x';
        copy[strlen(line) - 6] = (uint8_t)c;
        p = feed_role(H1_REQUEST);
        good = is_alnum(c) || is_one_of(c, "!#$%&'*+-.^_`|~,");
        assert_int_equal(good ? ERR_OK : ERR_BADMSG,
                         h1_parse_head(&p, slice_of(copy, sizeof(line) - 1), &head, &len));
    }
}

static void
test_every_fault_has_words_and_a_status(void **state)
{
    (void)state;
    for (enum h1_fault f = H1_FAULT_NONE; f < H1_FAULT_COUNT; f++) {
        assert_true(strlen(h1_fault_text(f)) > 0);
        assert_true(f == H1_FAULT_NONE || (h1_fault_status(f) >= 400 && h1_fault_status(f) < 600));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_is_written_whole),
        cmocka_unit_test(test_response_is_written_whole),
        cmocka_unit_test(test_one_bad_byte_is_found_wherever_it_stands),
        cmocka_unit_test(test_bad_targets_set_the_mark),
        cmocka_unit_test(test_bad_fields_set_the_mark),
        cmocka_unit_test(test_bad_statuses_set_the_mark),
        cmocka_unit_test(test_what_does_not_fit_sets_the_mark),
        cmocka_unit_test(test_chunk_head_is_hex),
        cmocka_unit_test(test_empty_chunk_does_not_end_the_body),
        cmocka_unit_test(test_byte_classes_follow_the_grammar),
        cmocka_unit_test(test_token_and_reg_name_follow_the_grammar),
        cmocka_unit_test(test_every_fault_has_words_and_a_status),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
