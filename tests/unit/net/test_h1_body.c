#include "h1_feed.h"

/* The body reader: content comes out the same in every slicing, framing never does. */

#define BODY_MAX 65536

struct body_case {
    const char *name;
    const char *text;
    size_t len;
    const char *content; /* NULL: refused */
    size_t behind;       /* bytes that belong to the next message */
    enum h1_fault fault;
};
#define GOOD(name, text, content, behind)                            \
    {                                                                \
        name, text, sizeof(text) - 1, content, behind, H1_FAULT_NONE \
    }
#define BAD(name, text, fault)                       \
    {                                                \
        name, text, sizeof(text) - 1, NULL, 0, fault \
    }

struct drained {
    enum err e;
    enum h1_fault fault;
    bool done;
    size_t used;
    uint8_t content[BODY_MAX];
    size_t content_len;
};

/* One slice in a block of its own, so that a byte read behind it is seen. */
static enum err
drain_slice(struct h1_body *b, struct slice piece, struct drained *out)
{
    uint8_t *block = malloc(piece.len);
    size_t at = 0;
    enum err e = ERR_OK;

    assert_non_null(block);
    memcpy(block, piece.p, piece.len);
    while (e == ERR_OK && !b->done) {
        struct slice content = SLICE_NONE;
        size_t used = 0;

        e = h1_body_read(b, slice_of(block + at, piece.len - at), &content, &used);
        if (e != ERR_OK)
            break;
        assert_true(used > 0 && used <= piece.len - at);
        assert_true(content.len <= sizeof(out->content) - out->content_len);
        if (content.len > 0) {
            assert_true(content.p >= block + at);
            assert_true(content.p + content.len <= block + at + used);
            memcpy(out->content + out->content_len, content.p, content.len);
        }
        out->content_len += content.len;
        at += used;
    }
    out->used += at;
    free(block);
    return e;
}

static void
drain(enum h1_framing framing, uint64_t length, struct slice data, size_t cut, struct drained *out)
{
    struct h1_body b;
    enum err e = ERR_AGAIN;

    memset(out, 0, sizeof(*out));
    h1_body_init(&b, framing, length);
    for (size_t at = 0; at < data.len && !b.done && e == ERR_AGAIN; at += cut)
        e = drain_slice(&b, slice_sub(data, at, cut), out);
    out->e = b.done ? ERR_OK : e;
    out->fault = b.fault;
    out->done = b.done;
}

static struct drained whole;
static struct drained sliced;

static void
drain_all(enum h1_framing framing, uint64_t length, struct slice data)
{
    drain(framing, length, data, data.len, &whole);
    for (size_t cut = 1; cut <= FEED_CUT_MAX; cut++) {
        drain(framing, length, data, cut, &sliced);
        assert_int_equal(whole.e, sliced.e);
        assert_int_equal(whole.fault, sliced.fault);
        assert_int_equal(whole.done, sliced.done);
        assert_int_equal(whole.content_len, sliced.content_len);
        assert_memory_equal(whole.content, sliced.content, whole.content_len);
        if (whole.e == ERR_OK)
            assert_int_equal(whole.used, sliced.used);
    }
}

static void
chunked(const struct body_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        drain_all(H1_BODY_CHUNKED, 0, slice_of(cases[i].text, cases[i].len));
        if (whole.fault != cases[i].fault || whole.done != (cases[i].content != NULL))
            fail_msg("%s: %s", cases[i].name, h1_fault_text(whole.fault));
        if (cases[i].content == NULL)
            continue;
        assert_int_equal(cases[i].len - cases[i].behind, whole.used);
        assert_int_equal(strlen(cases[i].content), whole.content_len);
        assert_memory_equal(cases[i].content, whole.content, whole.content_len);
    }
}

static void
test_chunks_are_joined(void **state)
{
    static const struct body_case cases[] = {
        GOOD("one", "5\r\nhello\r\n0\r\n\r\n", "hello", 0),
        GOOD("two", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!", 0),
        GOOD("none", "0\r\n\r\n", "", 0),
        GOOD("hex", "00A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0),
        GOOD("lower hex", "a\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0),
        GOOD("16 digits", "0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x", 0),
        GOOD("framing inside", "7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n\r\n", 0),
        GOOD("next message", "1\r\nx\r\n0\r\n\r\nGET /\n", "x", 6),
    };

    (void)state;
    chunked(cases, ARRAY_COUNT(cases));
}

static void
test_chunk_size_is_1_to_16_hex_digits(void **state)
{
    static const struct body_case cases[] = {
        BAD("0x", "0x5\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("plus", "+5\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("minus", "-5\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("none", "\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("17 digits", "00000000000000005\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("overflow", "10000000000000005\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("no hex", "5g\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("SP ahead", " 5\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("SP behind", "5 \r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("HTAB behind", "5\t\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("NUL behind", "5\0\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("underscore", "1_0\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("comma", "5,\r\nhello\r\n", H1_FAULT_CHUNK),
        BAD("extension without size", ";a\r\nhello\r\n", H1_FAULT_CHUNK),
    };

    (void)state;
    chunked(cases, ARRAY_COUNT(cases));
}

static void
test_chunk_lines_end_in_crlf_only(void **state)
{
    static const struct body_case cases[] = {
        BAD("LF behind the size", "5\nhello\r\n0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("CR behind the size", "5\rhello\r\n0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("CR CR LF", "5\r\r\nhello\r\n0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("LF behind the data", "5\r\nhello\n0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("CR behind the data", "5\r\nhello\r0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("nothing behind the data", "5\r\nhello0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("data longer", "5\r\nhelloo\r\n0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("any byte and LF behind the data", "5\r\nhelloX\n0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("any two bytes", "5\r\nhelloXX0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("LF behind an extension", "5;a\nhello\r\n0\r\n\r\n", H1_FAULT_CHUNK),
        BAD("LF behind the last chunk", "0\n\r\n", H1_FAULT_CHUNK),
        BAD("LF for the end", "0\r\n\n", H1_FAULT_TRAILER),
        BAD("CR for the end", "0\r\n\rX", H1_FAULT_TRAILER),
    };

    (void)state;
    chunked(cases, ARRAY_COUNT(cases));
}

static void
test_chunk_extensions_are_checked_and_dropped(void **state)
{
    static const struct body_case cases[] = {
        GOOD("name", "1;a\r\nx\r\n0;b\r\n\r\n", "x", 0),
        GOOD("value", "1;a=b\r\nx\r\n0\r\n\r\n", "x", 0),
        GOOD("quoted", "1;a=\"b c;\t\"\r\nx\r\n0\r\n\r\n", "x", 0),
        GOOD("empty quoted", "1;a=\"\"\r\nx\r\n0\r\n\r\n", "x", 0),
        BAD("empty name", "1;\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("name of none", "1;=b\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("two marks", "1;;a\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("empty value", "1;a=\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("two equal signs", "1;a=b=c\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("second one", "1;a;b\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("second behind a value", "1;a=b;c\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("second behind quotes", "1;a=\"b\";c\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("escaped quote", "1;a=\"\\\"\"\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("escaped letter", "1;a=\"\\b\"\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("SP", "1; a\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("SP before", "1 ;a\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("open quote", "1;a=\"b\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("behind the quote", "1;a=\"b\"c\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("quote inside a token", "1;a=b\"c\"\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("NUL", "1;a=\0\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("LF in quotes", "1;a=\"\n\"\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("escaped CR", "1;a=\"\\\r\n\"\r\nx\r\n", H1_FAULT_CHUNK),
        BAD("bare CR", "1;a\rb\r\nx\r\n", H1_FAULT_CHUNK),
    };

    (void)state;
    chunked(cases, ARRAY_COUNT(cases));
}

static enum h1_fault
extension_of(size_t bytes, bool quoted)
{
    struct text t = feed_text(1024);
    enum h1_fault fault;

    text_add_str(&t, quoted ? "1;a=\"" : "1;");
    feed_fill(&t, 'a', bytes - (quoted ? 5 : 1));
    text_add_str(&t, quoted ? "\"\r\nx\r\n0\r\n\r\n" : "\r\nx\r\n0\r\n\r\n");
    drain_all(H1_BODY_CHUNKED, 0, text_slice(&t));
    fault = whole.fault;
    free(t.p);
    return fault;
}

static void
test_chunk_extensions_end_at_256_bytes(void **state)
{
    (void)state;
    assert_int_equal(H1_FAULT_NONE, extension_of(H1_CHUNK_EXT_MAX, false));
    assert_int_equal(H1_FAULT_CHUNK, extension_of(H1_CHUNK_EXT_MAX + 1, false));
    assert_int_equal(H1_FAULT_NONE, extension_of(H1_CHUNK_EXT_MAX, true));
    assert_int_equal(H1_FAULT_CHUNK, extension_of(H1_CHUNK_EXT_MAX + 1, true));
}

static void
test_trailers_are_checked_and_dropped(void **state)
{
    static const struct body_case cases[] = {
        GOOD("one", "1\r\nx\r\n0\r\nA: b\r\n\r\n", "x", 0),
        GOOD("two", "0\r\nA: b\r\nServer-Timing:\t\xc3\xa9\r\n\r\nZ", "", 1),
        GOOD("begins like a forbidden one", "0\r\nContent-Lengt: 1\r\n\r\n", "", 0),
        GOOD("ends like a forbidden one", "0\r\nX-Host: 1\r\nHosts: a\r\n\r\n", "", 0),
        BAD("no colon", "0\r\nabc\r\n\r\n", H1_FAULT_TRAILER),
        BAD("empty name", "0\r\n: b\r\n\r\n", H1_FAULT_TRAILER),
        BAD("SP before the colon", "0\r\nA : b\r\n\r\n", H1_FAULT_TRAILER),
        BAD("underscore", "0\r\nA_b: c\r\n\r\n", H1_FAULT_TRAILER),
        BAD("fold", "0\r\nA: b\r\n c\r\n\r\n", H1_FAULT_TRAILER),
        BAD("NUL", "0\r\nA: \0\r\n\r\n", H1_FAULT_TRAILER),
        BAD("bare LF", "0\r\nA: b\n\r\n", H1_FAULT_TRAILER),
        BAD("bare CR", "0\r\nA: b\rC: d\r\n\r\n", H1_FAULT_TRAILER),
    };

    (void)state;
    chunked(cases, ARRAY_COUNT(cases));
}

static void
test_framing_and_routing_in_trailers_are_refused(void **state)
{
    static const char *const names[] = {
        "Content-Length", "TRANSFER-ENCODING", "host",
        "Connection",     "Upgrade",           "Authorization",
        "Expect",         "content-type",      "TE",
        "Trailer",        "Proxy-Connection",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct text t = feed_text(256);

        text_add_str(&t, "0\r\nA: b\r\n");
        text_add_str(&t, names[i]);
        text_add_str(&t, ": 5\r\n\r\n");
        drain_all(H1_BODY_CHUNKED, 0, text_slice(&t));
        assert_int_equal(H1_FAULT_TRAILER, whole.fault);
        free(t.p);
    }
}

static enum h1_fault
trailers_of(size_t count, size_t bytes)
{
    struct text t = feed_text(2 * H1_TRAILER_BYTES_MAX);
    size_t at;
    enum h1_fault fault;

    text_add_str(&t, "0\r\n");
    at = t.used;
    for (size_t i = 1; i < count; i++)
        text_add_str(&t, "a:b\r\n");
    text_add_str(&t, "c:");
    feed_fill(&t, 'd', bytes - (t.used - at) - 2);
    text_add_str(&t, "\r\n\r\n");
    drain_all(H1_BODY_CHUNKED, 0, text_slice(&t));
    fault = whole.fault;
    assert_int_equal(fault == H1_FAULT_NONE, whole.done);
    free(t.p);
    return fault;
}

static void
test_trailers_are_limited(void **state)
{
    (void)state;
    assert_int_equal(H1_FAULT_NONE, trailers_of(H1_TRAILERS_MAX, 512));
    assert_int_equal(H1_FAULT_TRAILER, trailers_of(H1_TRAILERS_MAX + 1, 512));
    assert_int_equal(H1_FAULT_NONE, trailers_of(1, H1_TRAILER_BYTES_MAX));
    assert_int_equal(H1_FAULT_TRAILER, trailers_of(1, H1_TRAILER_BYTES_MAX + 1));
    assert_int_equal(H1_FAULT_TRAILER, trailers_of(1, H1_TRAILER_BYTES_MAX + 2));
}

static void
test_largest_chunk_size_does_not_wrap(void **state)
{
    struct h1_body b;
    struct slice data = SLICE_LIT("ffffffffffffffff\r\nabc");
    struct slice content = SLICE_NONE;
    size_t used = 0;

    (void)state;
    h1_body_init(&b, H1_BODY_CHUNKED, 0);
    assert_int_equal(ERR_OK, h1_body_read(&b, data, &content, &used));
    assert_true(slice_is(content, "abc"));
    assert_int_equal(data.len, used);
    assert_true(b.left == UINT64_MAX - 3);
}

static void
test_length_body_ends_exactly(void **state)
{
    (void)state;
    drain_all(H1_BODY_LENGTH, 5, SLICE_LIT("helloGET /"));
    assert_true(whole.done);
    assert_int_equal(5, whole.used);
    assert_memory_equal("hello", whole.content, 5);
    drain_all(H1_BODY_LENGTH, 5, SLICE_LIT("hell"));
    assert_false(whole.done);
    assert_int_equal(ERR_AGAIN, whole.e);
}

static void
test_empty_bodies_are_done_at_once(void **state)
{
    struct h1_body b;

    (void)state;
    h1_body_init(&b, H1_BODY_NONE, 0);
    assert_true(b.done);
    h1_body_init(&b, H1_BODY_NONE, 7);
    assert_true(b.done);
    h1_body_init(&b, H1_BODY_LENGTH, 0);
    assert_true(b.done);
}

static void
test_done_body_takes_nothing_more(void **state)
{
    struct h1_body b;
    struct slice content = SLICE_LIT("x");
    size_t used = 7;

    (void)state;
    h1_body_init(&b, H1_BODY_NONE, 0);
    assert_int_equal(ERR_OK, h1_body_read(&b, SLICE_LIT("GET"), &content, &used));
    assert_int_equal(0, used);
    assert_int_equal(0, content.len);
}

static void
test_body_to_eof_ends_with_the_connection(void **state)
{
    struct h1_body b;
    struct slice content = SLICE_NONE;
    size_t used = 0;

    (void)state;
    h1_body_init(&b, H1_BODY_TO_EOF, 0);
    assert_int_equal(ERR_OK, h1_body_read(&b, SLICE_LIT("abc"), &content, &used));
    assert_true(slice_is(content, "abc"));
    assert_int_equal(3, used);
    assert_false(b.done);
    assert_int_equal(ERR_OK, h1_body_eof(&b));
    assert_true(b.done);
}

static void
test_end_before_the_framing_says_so_is_truncation(void **state)
{
    const struct slice body = SLICE_LIT("1;a=\"b\"\r\nx\r\n0\r\nA: b\r\n\r\n");

    (void)state;
    for (size_t n = 0; n <= body.len; n++) {
        struct h1_body b;
        struct slice rest = slice_sub(body, 0, n);
        enum err e = ERR_OK;

        h1_body_init(&b, H1_BODY_CHUNKED, 0);
        while (e == ERR_OK && !b.done) {
            struct slice content = SLICE_NONE;
            size_t used = 0;

            e = h1_body_read(&b, rest, &content, &used);
            rest = slice_sub(rest, used, rest.len);
        }
        assert_int_equal(n == body.len ? ERR_OK : ERR_EOF, h1_body_eof(&b));
    }
}

static void
test_refused_body_stays_refused(void **state)
{
    struct h1_body b;
    struct slice content = SLICE_LIT("x");
    size_t used = 7;

    (void)state;
    h1_body_init(&b, H1_BODY_CHUNKED, 0);
    assert_int_equal(ERR_BADMSG, h1_body_read(&b, SLICE_LIT("x"), &content, &used));
    assert_int_equal(ERR_BADMSG, h1_body_read(&b, SLICE_LIT("0\r\n\r\n"), &content, &used));
    assert_int_equal(ERR_BADMSG, h1_body_eof(&b));
    assert_int_equal(7, used);
    assert_int_equal(1, content.len);
    assert_false(b.done);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_are_joined),
        cmocka_unit_test(test_chunk_size_is_1_to_16_hex_digits),
        cmocka_unit_test(test_chunk_lines_end_in_crlf_only),
        cmocka_unit_test(test_chunk_extensions_are_checked_and_dropped),
        cmocka_unit_test(test_chunk_extensions_end_at_256_bytes),
        cmocka_unit_test(test_trailers_are_checked_and_dropped),
        cmocka_unit_test(test_framing_and_routing_in_trailers_are_refused),
        cmocka_unit_test(test_trailers_are_limited),
        cmocka_unit_test(test_largest_chunk_size_does_not_wrap),
        cmocka_unit_test(test_length_body_ends_exactly),
        cmocka_unit_test(test_empty_bodies_are_done_at_once),
        cmocka_unit_test(test_done_body_takes_nothing_more),
        cmocka_unit_test(test_body_to_eof_ends_with_the_connection),
        cmocka_unit_test(test_end_before_the_framing_says_so_is_truncation),
        cmocka_unit_test(test_refused_body_stays_refused),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
