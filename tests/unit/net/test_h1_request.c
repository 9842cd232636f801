#include "h1_feed.h"

/* Request heads: ENGINEERING section 1, one test a rule. */

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n" HOST

static void
run(const struct feed_case *cases, size_t count)
{
    feed_cases(feed_role(H1_REQUEST), cases, count);
}

static struct feed
parse(const char *text)
{
    struct feed out = {0};

    feed_all(feed_role(H1_REQUEST), slice_str(text), &out);
    assert_int_equal(ERR_OK, out.e);
    return out;
}

static void
test_request_line_is_strict(void **state)
{
    static const struct feed_case cases[] = {
        FEED("plain", GET HOST "\r\n", H1_FAULT_NONE),
        FEED("two SP before the target", "GET  / HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("two SP behind the target", "GET /  HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("SP at the end", "GET / HTTP/1.1 \r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("SP at the start", " GET / HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("SP in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("HTAB for SP", "GET\t/ HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("HTAB behind the target", "GET /\tHTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("HTTP/0.9", "GET /\r\n\r\n", H1_FAULT_START_LINE),
        FEED("no target", "GET HTTP/1.1\r\n\r\n", H1_FAULT_START_LINE),
        FEED("method of no token", "G(T / HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("NUL in the method", "GE\0T / HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_START_LINE),
        FEED("method of 33", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n\r\n",
             H1_FAULT_START_LINE),
        FEED("two empty lines ahead", "\r\n\r\n" GET HOST "\r\n", H1_FAULT_START_LINE),
        FEED("TLS hello", "\x16\x03\x01\x02\0\r\n", H1_FAULT_START_LINE),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_method_outside_the_five_is_405(void **state)
{
    static const struct feed_case cases[] = {
        FEED("CONNECT", "CONNECT a:443 HTTP/1.1\r\n", H1_FAULT_METHOD),
        FEED("TRACE", "TRACE / HTTP/1.1\r\n", H1_FAULT_METHOD),
        FEED("PUT", "PUT / HTTP/1.1\r\n", H1_FAULT_METHOD),
        FEED("lower case", "get / HTTP/1.1\r\n", H1_FAULT_METHOD),
        FEED("longer", "GETS / HTTP/1.1\r\n", H1_FAULT_METHOD),
        FEED("shorter", "GE / HTTP/1.1\r\n", H1_FAULT_METHOD),
        FEED("of 32", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\n", H1_FAULT_METHOD),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    assert_int_equal(405, h1_fault_status(H1_FAULT_METHOD));
}

static void
test_five_methods_are_told_apart(void **state)
{
    (void)state;
    for (enum http_method m = HTTP_GET; m <= HTTP_OPTIONS; m++) {
        struct text t = feed_text(64);
        struct feed out = {0};

        text_add_str(&t, http_method_name(m));
        text_add_str(&t, " / HTTP/1.1\r\n" HOST "\r\n");
        feed_all(feed_role(H1_REQUEST), text_slice(&t), &out);
        assert_int_equal(ERR_OK, out.e);
        assert_int_equal(m, out.head.http.method);
        free(out.block);
        free(t.p);
    }
}

static void
test_version_is_1_0_or_1_1(void **state)
{
    static const struct feed_case cases[] = {
        FEED("1.0", "GET / HTTP/1.0\r\n" HOST "\r\n", H1_FAULT_NONE),
        FEED("1.2", "GET / HTTP/1.2\r\n", H1_FAULT_VERSION),
        FEED("2.0", "PRI * HTTP/2.0\r\n", H1_FAULT_VERSION),
        FEED("0.9", "GET / HTTP/0.9\r\n", H1_FAULT_VERSION),
        FEED("01.1", "GET / HTTP/01.1\r\n", H1_FAULT_VERSION),
        FEED("lower case", "GET / http/1.1\r\n", H1_FAULT_VERSION),
        FEED("cut", "GET / HTTP/1.\r\n", H1_FAULT_VERSION),
        FEED("longer", "GET / HTTP/1.10\r\n", H1_FAULT_VERSION),
        FEED("empty", "GET / \r\n", H1_FAULT_VERSION),
        FEED("CR in it", "GET / HTTP/1.1\r\r\n", H1_FAULT_VERSION),
        FEED("RTSP", "GET / RTSP/1.0\r\n", H1_FAULT_VERSION),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_target_is_visible_ascii(void **state)
{
    static const struct feed_case cases[] = {
        FEED("all kinds", "GET /a-b;c=d/%20?e=f&g=[]|h HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_NONE),
        FEED("fragment", "GET /a#b HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("NUL", "GET /a\0b HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("CR", "GET /a\rb HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("DEL", "GET /a\x7f HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("high byte", "GET /\xc3\xa9 HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("VT", "GET /\x0b HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("asterisk", "OPTIONS * HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("authority form", "GET a:80 HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("relative", "GET a/b HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("query only", "GET ?a HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("other scheme", "GET ftp://a/ HTTP/1.1\r\n", H1_FAULT_TARGET),
        FEED("file scheme", "GET file:///etc HTTP/1.1\r\n", H1_FAULT_TARGET),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_path_and_query_are_parted_at_the_first_mark(void **state)
{
    struct feed out = parse("GET /v1/a?b=c?d HTTP/1.1\r\n" HOST "\r\n");

    (void)state;
    assert_true(slice_is(out.head.target, "/v1/a?b=c?d"));
    assert_true(slice_is(out.head.http.path, "/v1/a"));
    assert_true(slice_is(out.head.http.query, "b=c?d"));
    free(out.block);
    out = parse(GET HOST "\r\n");
    assert_null(out.head.http.query.p);
    free(out.block);
    out = parse("GET /? HTTP/1.1\r\n" HOST "\r\n");
    assert_non_null(out.head.http.query.p);
    assert_int_equal(0, out.head.http.query.len);
    free(out.block);
}

static void
test_absolute_form_equals_host(void **state)
{
    static const struct feed_case cases[] = {
        FEED("equal", "GET http://a/b HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_NONE),
        FEED("case of host", "GET HTTPS://A/b HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_NONE),
        FEED("other host", "GET http://b/ HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_HOST),
        FEED("other port", "GET http://a:80/ HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_HOST),
        FEED("prefix", "GET http://ab/ HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_HOST),
        FEED("no Host", "GET http://a/ HTTP/1.1\r\n\r\n", H1_FAULT_HOST),
        FEED("no Host on 1.0", "GET http://a/ HTTP/1.0\r\n\r\n", H1_FAULT_HOST),
        FEED("userinfo", "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", H1_FAULT_TARGET),
        FEED("no authority", "GET http:///x HTTP/1.1\r\n" HOST "\r\n", H1_FAULT_TARGET),
        FEED("backslash", "GET http://a\\@b/ HTTP/1.1\r\nHost: b\r\n\r\n", H1_FAULT_TARGET),
    };
    struct feed out;

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    out = parse("GET http://a:8/b?c HTTP/1.1\r\nHost: a:8\r\n\r\n");
    assert_true(slice_is(out.head.http.path, "/b"));
    assert_true(slice_is(out.head.http.query, "c"));
    assert_true(slice_is(out.head.http.authority, "a:8"));
    free(out.block);
    out = parse("GET http://a HTTP/1.1\r\n" HOST "\r\n");
    assert_true(slice_is(out.head.http.path, "/"));
    assert_null(out.head.http.query.p);
    free(out.block);
    out = parse("GET http://a?b/c HTTP/1.1\r\n" HOST "\r\n");
    assert_true(slice_is(out.head.http.path, "/"));
    assert_true(slice_is(out.head.http.query, "b/c"));
    free(out.block);
}

static enum h1_fault
request_line_of(size_t len, const char *end)
{
    struct text t = feed_text(len + 64);

    text_add_str(&t, "GET /");
    feed_fill(&t, 'a', len - strlen("GET / HTTP/1.1"));
    text_add_str(&t, " HTTP/1.1");
    text_add_str(&t, end);
    return feed_fault_of(H1_REQUEST, &t);
}

static void
test_long_request_line_is_414(void **state)
{
    (void)state;
    assert_int_equal(H1_FAULT_NONE, request_line_of(H1_LINE_MAX, "\r\n" HOST "\r\n"));
    assert_int_equal(H1_FAULT_URI_TOO_LONG, request_line_of(H1_LINE_MAX + 1, "\r\n" HOST "\r\n"));
    assert_int_equal(H1_FAULT_URI_TOO_LONG, request_line_of(H1_LINE_MAX + 1, "\n"));
    assert_int_equal(H1_FAULT_URI_TOO_LONG, request_line_of(H1_LINE_MAX + 2, ""));
    assert_int_equal(H1_FAULT_URI_TOO_LONG, request_line_of(3 * H1_LINE_MAX, ""));
    assert_int_equal(414, h1_fault_status(H1_FAULT_URI_TOO_LONG));
}

static void
test_lines_end_in_crlf_only(void **state)
{
    static const struct feed_case cases[] = {
        FEED("bare LF behind the start line", "GET / HTTP/1.1\n" HOST "\r\n", H1_FAULT_BARE_LF),
        FEED("bare LF behind a field", GET "Host: a\n\r\n", H1_FAULT_BARE_LF),
        FEED("bare LF for the empty line", GET HOST "\n", H1_FAULT_BARE_LF),
        FEED("bare LF ahead", "\n" GET HOST "\r\n", H1_FAULT_BARE_LF),
        FEED("bare LF in a value", GET "A: b\nHost: a\r\n\r\n", H1_FAULT_BARE_LF),
        FEED("bare CR in a value", GET "A: b\rHost: a\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("bare CR at the end of a value", GET "A: b\r\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("bare CR in a name", GET "A\rb: c\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("bare CR line", GET HOST "\r\r\n", H1_FAULT_FIELD),
        FEED("LF CR", GET HOST "\n\r", H1_FAULT_BARE_LF),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_folded_line_is_refused(void **state)
{
    static const struct feed_case cases[] = {
        FEED("SP", GET HOST "A: b\r\n c\r\n\r\n", H1_FAULT_OBS_FOLD),
        FEED("HTAB", GET HOST "A: b\r\n\tc\r\n\r\n", H1_FAULT_OBS_FOLD),
        FEED("on the first field", GET " Host: a\r\n\r\n", H1_FAULT_OBS_FOLD),
        FEED("white space line", GET HOST " \r\n\r\n", H1_FAULT_OBS_FOLD),
        FEED("framing in a fold", POST "A:\r\n Content-Length: 5\r\n\r\n", H1_FAULT_OBS_FOLD),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_header_name_is_a_token_without_underscore(void **state)
{
    static const struct feed_case cases[] = {
        FEED("all of them", GET HOST "!#$%&'*+-.^`|~09azAZ: b\r\n\r\n", H1_FAULT_NONE),
        FEED("underscore", GET HOST "X_Real: b\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("underscored framing", POST "Content_Length: 5\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("SP before the colon", GET "Host : a\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("HTAB before the colon", GET "Host\t: a\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("SP inside", GET "Ho st: a\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("empty", GET HOST ": b\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("NUL", GET HOST "A\0: b\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("high byte", GET HOST "\xc3\xa9: b\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("parenthesis", GET HOST "a(b): c\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("quote", GET HOST "\"a\": c\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("slash", GET HOST "a/b: c\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("no colon", GET HOST "abc\r\n\r\n", H1_FAULT_FIELD),
        FEED("VT before framing",
             POST "\x0b"
                  "Content-Length: 5\r\n\r\n",
             H1_FAULT_FIELD_NAME),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_header_value_has_no_control(void **state)
{
    static const struct feed_case cases[] = {
        FEED("HTAB", GET HOST "A: b\tc\r\n\r\n", H1_FAULT_NONE),
        FEED("obs-text", GET HOST "A: \xc3\xa9\r\n\r\n", H1_FAULT_NONE),
        FEED("empty", GET HOST "A:\r\n\r\n", H1_FAULT_NONE),
        FEED("colons", GET HOST "A: b:c\r\n\r\n", H1_FAULT_NONE),
        FEED("NUL", GET HOST "A: b\0c\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("NUL at the end", GET HOST "A: b\0\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("BEL", GET HOST "A: \x07\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("DEL", GET HOST "A: \x7f\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("ESC", GET HOST "A: \x1b[0m\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("VT around", GET HOST "A: \x0b\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("NUL behind a length", POST "Content-Length: 5\0\r\n\r\n", H1_FAULT_FIELD_VALUE),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_value_is_trimmed(void **state)
{
    struct feed out = parse(GET HOST "A: \t b  c\t \r\nE: \t \r\n\r\n");

    (void)state;
    assert_true(slice_is(out.head.http.fields[1].name, "A"));
    assert_true(slice_is(out.head.http.fields[1].value, "b  c"));
    assert_int_equal(0, out.head.http.fields[2].value.len);
    free(out.block);
}

static enum h1_fault
fields_of(size_t count)
{
    struct text t = feed_text(H1_HEAD_MAX);

    text_add_str(&t, GET HOST);
    for (size_t i = 1; i < count; i++)
        text_add_str(&t, "a: b\r\n");
    text_add_str(&t, "\r\n");
    return feed_fault_of(H1_REQUEST, &t);
}

static void
test_more_than_100_headers_is_431(void **state)
{
    (void)state;
    assert_int_equal(H1_FAULT_NONE, fields_of(HTTP_FIELDS_MAX));
    assert_int_equal(H1_FAULT_TOO_LARGE, fields_of(HTTP_FIELDS_MAX + 1));
    assert_int_equal(431, h1_fault_status(H1_FAULT_TOO_LARGE));
}

static enum h1_fault
value_of(size_t len)
{
    struct text t = feed_text(H1_HEAD_MAX);

    text_add_str(&t, GET HOST "A: ");
    feed_fill(&t, 'b', len);
    text_add_str(&t, "\r\n\r\n");
    return feed_fault_of(H1_REQUEST, &t);
}

static void
test_value_above_16_kib_is_431(void **state)
{
    (void)state;
    assert_int_equal(H1_FAULT_NONE, value_of(H1_VALUE_MAX));
    assert_int_equal(H1_FAULT_TOO_LARGE, value_of(H1_VALUE_MAX + 1));
}

/* Field lines of `bytes` in all, CRLF included: Host, one long value, one of the rest. */
static enum h1_fault
field_bytes_of(size_t bytes, const char *end)
{
    struct text t = feed_text(H1_HEAD_MAX + H1_VALUE_MAX);
    size_t at;

    text_add_str(&t, GET);
    at = t.used;
    text_add_str(&t, HOST "A: ");
    feed_fill(&t, 'b', H1_VALUE_MAX);
    text_add_str(&t, "\r\nC: ");
    feed_fill(&t, 'd', bytes - (t.used - at) - 2);
    text_add_str(&t, end);
    return feed_fault_of(H1_REQUEST, &t);
}

static void
test_headers_above_32_kib_are_431(void **state)
{
    (void)state;
    assert_int_equal(H1_FAULT_NONE, field_bytes_of(H1_HEADER_BYTES_MAX, "\r\n\r\n"));
    assert_int_equal(H1_FAULT_TOO_LARGE, field_bytes_of(H1_HEADER_BYTES_MAX, "\r\nE: f\r\n\r\n"));
    assert_int_equal(H1_FAULT_TOO_LARGE, field_bytes_of(H1_HEADER_BYTES_MAX + 1, "\r\n\r\n"));
    assert_int_equal(H1_FAULT_TOO_LARGE, field_bytes_of(H1_HEADER_BYTES_MAX + 3, ""));
}

static void
test_content_length_is_1_to_19_digits_once(void **state)
{
    static const struct feed_case cases[] = {
        FEED("zero", POST "Content-Length: 0\r\n\r\n", H1_FAULT_NONE),
        FEED("2^63 - 1", POST "Content-Length: 9223372036854775807\r\n\r\n", H1_FAULT_NONE),
        FEED("2^63", POST "Content-Length: 9223372036854775808\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("19 digits", POST "Content-Length: 9999999999999999999\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("20 digits", POST "Content-Length: 00000000000000000005\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("2^64", POST "Content-Length: 18446744073709551616\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("equal twice", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("different twice", POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("list", POST "Content-Length: 5, 5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("plus", POST "Content-Length: +5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("minus", POST "Content-Length: -5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("hex", POST "Content-Length: 0x5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("HTAB ahead", POST "Content-Length:\t5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("HTAB behind", POST "Content-Length: 5\t\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("empty", POST "Content-Length:\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("SP inside", POST "Content-Length: 1 5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("underscore", POST "Content-Length: 1_0\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("fraction", POST "Content-Length: 5.0\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("quoted", POST "Content-Length: \"5\"\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("superscript", POST "Content-Length: \xc2\xb2\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
    };
    struct feed out;

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    out = parse(POST "CONTENT-LENGTH: 0012 \r\n\r\n");
    assert_int_equal(H1_BODY_LENGTH, out.head.framing);
    assert_int_equal(12, out.head.content_length);
    assert_true(out.head.http.has_body);
    assert_int_equal(12, out.head.http.body_length);
    free(out.block);
}

static void
test_transfer_encoding_is_exactly_chunked(void **state)
{
    static const struct feed_case cases[] = {
        FEED("chunked", POST "Transfer-Encoding: chunked\r\n\r\n", H1_FAULT_NONE),
        FEED("xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("upper case", POST "Transfer-Encoding: Chunked\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("identity", POST "Transfer-Encoding: identity\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("gzip first", POST "Transfer-Encoding: gzip, chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("twice in one", POST "Transfer-Encoding: chunked, chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("two fields", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("second one odd", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("comma", POST "Transfer-Encoding: chunked,\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("parameter", POST "Transfer-Encoding: chunked;a=b\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("quoted", POST "Transfer-Encoding: \"chunked\"\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("HTAB ahead", POST "Transfer-Encoding:\tchunked\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("HTAB behind", POST "Transfer-Encoding: chunked\t\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("empty", POST "Transfer-Encoding:\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("VT ahead",
             POST "Transfer-Encoding: \x0b"
                  "chunked\r\n\r\n",
             H1_FAULT_FIELD_VALUE),
        FEED("NBSP ahead",
             POST "Transfer-Encoding: \xa0"
                  "chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("on 1.0", "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
    };
    struct feed out;

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    out = parse(POST "transfer-ENCODING:chunked\r\n\r\n");
    assert_int_equal(H1_BODY_CHUNKED, out.head.framing);
    assert_true(out.head.http.has_body);
    assert_int_equal(HTTP_LENGTH_UNKNOWN, out.head.http.body_length);
    free(out.block);
}

static void
test_both_framings_are_refused(void **state)
{
    static const struct feed_case cases[] = {
        FEED("CL.TE", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("TE.CL", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("TE.CL, odd TE", POST "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("length 0", POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("on 1.0",
             "POST / HTTP/1.0\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("on GET", GET HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_body_on_a_method_without_one_is_refused(void **state)
{
    static const struct feed_case cases[] = {
        FEED("GET", GET HOST "Content-Length: 1\r\n\r\n", H1_FAULT_BODY_FORBIDDEN),
        FEED("GET chunked", GET HOST "Transfer-Encoding: chunked\r\n\r\n", H1_FAULT_BODY_FORBIDDEN),
        FEED("HEAD", "HEAD / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n",
             H1_FAULT_BODY_FORBIDDEN),
        FEED("DELETE", "DELETE / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n",
             H1_FAULT_BODY_FORBIDDEN),
        FEED("OPTIONS", "OPTIONS / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BODY_FORBIDDEN),
        FEED("GET, length 0", GET HOST "Content-Length: 0\r\n\r\n", H1_FAULT_NONE),
        FEED("GET, bad length", GET HOST "Content-Length: x\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
    };
    struct feed out;

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    out = parse(POST "\r\n");
    assert_int_equal(H1_BODY_NONE, out.head.framing);
    assert_false(out.head.http.has_body);
    assert_int_equal(0, out.head.http.body_length);
    free(out.block);
}

static void
test_host_is_there_exactly_once(void **state)
{
    static const struct feed_case cases[] = {
        FEED("none", GET "\r\n", H1_FAULT_HOST),
        FEED("none on 1.0", "GET / HTTP/1.0\r\n\r\n", H1_FAULT_HOST),
        FEED("two", GET "Host: a\r\nHost: b\r\n\r\n", H1_FAULT_HOST),
        FEED("two equal", GET "Host: a\r\nhost: a\r\n\r\n", H1_FAULT_HOST),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_host_is_uri_host_and_port(void **state)
{
    static const struct feed_case cases[] = {
        FEED("name", GET "Host: api.example-1.org\r\n\r\n", H1_FAULT_NONE),
        FEED("port", GET "Host: a:65535\r\n\r\n", H1_FAULT_NONE),
        FEED("escape", GET "Host: a%41\r\n\r\n", H1_FAULT_NONE),
        FEED("IPv4", GET "Host: 192.0.2.1:80\r\n\r\n", H1_FAULT_NONE),
        FEED("IPv6", GET "Host: [2001:db8::1]:80\r\n\r\n", H1_FAULT_NONE),
        FEED("IPv6 any", GET "Host: [::]\r\n\r\n", H1_FAULT_NONE),
        FEED("IPv6 full", GET "Host: [1:2:3:4:5:6:7:8]\r\n\r\n", H1_FAULT_NONE),
        FEED("IPv6 tail", GET "Host: [::ffff:192.0.2.1]\r\n\r\n", H1_FAULT_NONE),
        FEED("IPv6 full tail", GET "Host: [1:2:3:4:5:6:1.2.3.4]\r\n\r\n", H1_FAULT_NONE),
        FEED("empty", GET "Host:\r\n\r\n", H1_FAULT_HOST),
        FEED("port only", GET "Host: :80\r\n\r\n", H1_FAULT_HOST),
        FEED("no port", GET "Host: a:\r\n\r\n", H1_FAULT_HOST),
        FEED("port 0", GET "Host: a:0\r\n\r\n", H1_FAULT_HOST),
        FEED("port 65536", GET "Host: a:65536\r\n\r\n", H1_FAULT_HOST),
        FEED("port of letters", GET "Host: a:b\r\n\r\n", H1_FAULT_HOST),
        FEED("two ports", GET "Host: a:1:2\r\n\r\n", H1_FAULT_HOST),
        FEED("userinfo", GET "Host: a@b\r\n\r\n", H1_FAULT_HOST),
        FEED("path", GET "Host: a/b\r\n\r\n", H1_FAULT_HOST),
        FEED("query", GET "Host: a?b\r\n\r\n", H1_FAULT_HOST),
        FEED("fragment", GET "Host: a#b\r\n\r\n", H1_FAULT_HOST),
        FEED("backslash", GET "Host: a\\b\r\n\r\n", H1_FAULT_HOST),
        FEED("SP", GET "Host: a b\r\n\r\n", H1_FAULT_HOST),
        FEED("high byte", GET "Host: \xc3\xa9\r\n\r\n", H1_FAULT_HOST),
        FEED("short escape", GET "Host: a%4\r\n\r\n", H1_FAULT_HOST),
        FEED("bad escape", GET "Host: a%4g\r\n\r\n", H1_FAULT_HOST),
        FEED("open bracket", GET "Host: [::1\r\n\r\n", H1_FAULT_HOST),
        FEED("behind the bracket", GET "Host: [::1]a\r\n\r\n", H1_FAULT_HOST),
        FEED("digits behind the bracket", GET "Host: [::1]a80\r\n\r\n", H1_FAULT_HOST),
        FEED("empty brackets", GET "Host: []\r\n\r\n", H1_FAULT_HOST),
        FEED("two gaps", GET "Host: [1::2::3]\r\n\r\n", H1_FAULT_HOST),
        FEED("three colons", GET "Host: [:::]\r\n\r\n", H1_FAULT_HOST),
        FEED("nine groups", GET "Host: [1:2:3:4:5:6:7:8:9]\r\n\r\n", H1_FAULT_HOST),
        FEED("seven groups", GET "Host: [1:2:3:4:5:6:7]\r\n\r\n", H1_FAULT_HOST),
        FEED("gap of none", GET "Host: [1:2:3:4::5:6:7:8]\r\n\r\n", H1_FAULT_HOST),
        FEED("five digits", GET "Host: [12345::]\r\n\r\n", H1_FAULT_HOST),
        FEED("zone", GET "Host: [fe80::1%25eth0]\r\n\r\n", H1_FAULT_HOST),
        FEED("tail in front", GET "Host: [1.2.3.4::]\r\n\r\n", H1_FAULT_HOST),
        FEED("tail of 256", GET "Host: [::1.2.3.256]\r\n\r\n", H1_FAULT_HOST),
        FEED("octal tail", GET "Host: [::1.2.3.04]\r\n\r\n", H1_FAULT_HOST),
        FEED("short tail", GET "Host: [::1.2.3]\r\n\r\n", H1_FAULT_HOST),
        FEED("long tail", GET "Host: [::1.2.3.4.]\r\n\r\n", H1_FAULT_HOST),
        FEED("IPvFuture", GET "Host: [v1.a]\r\n\r\n", H1_FAULT_HOST),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_expect_other_than_100_continue_is_417(void **state)
{
    static const struct feed_case cases[] = {
        FEED("other", POST "Expect: 200-ok\r\n\r\n", H1_FAULT_EXPECT),
        FEED("list", POST "Expect: 100-continue, x\r\n\r\n", H1_FAULT_EXPECT),
        FEED("two", POST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", H1_FAULT_EXPECT),
        FEED("empty", POST "Expect:\r\n\r\n", H1_FAULT_EXPECT),
        FEED("on 1.0", "POST / HTTP/1.0\r\n" HOST "Expect: x\r\n\r\n", H1_FAULT_EXPECT),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    assert_int_equal(417, h1_fault_status(H1_FAULT_EXPECT));
}

static void
test_expect_waits_only_for_a_body_on_1_1(void **state)
{
    static const struct {
        const char *text;
        bool waits;
    } cases[] = {
        {POST "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n", true},
        {POST "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", true},
        {POST "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n", false},
        {GET HOST "Expect: 100-continue\r\n\r\n", false},
        {"POST / HTTP/1.0\r\n" HOST "Content-Length: 1\r\nExpect: 100-continue\r\n\r\n", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct feed out = parse(cases[i].text);

        assert_int_equal(cases[i].waits, out.head.http.expect_continue);
        free(out.block);
    }
}

static void
test_hop_by_hop_fields_are_taken_out(void **state)
{
    struct feed out = parse(GET HOST "Connection: X-a, close\r\nX-A: 1\r\nKeep-Alive: 5\r\n"
                                     "TE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\n"
                                     "HTTP2-Settings: y\r\nTrailer: z\r\nX-B: 1\r\n"
                                     "connection: x-c\r\nX-C: 2\r\nx-a: 3\r\nX-D: 4\r\n\r\n");
    static const char *const left[] = {"Host", "X-B", "X-D", NULL};

    (void)state;
    feed_names(&out.head.http, left);
    assert_true(slice_is(out.head.http.fields[2].value, "4"));
    assert_null(http_field_find(&out.head.http, SLICE_LIT("x-a")));
    free(out.block);
}

static void
test_upgrade_and_h2c_stay_plain_requests(void **state)
{
    struct feed out = parse(GET HOST "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: websocket\r\n"
                                     "HTTP2-Settings: AAM\r\n\r\n");
    static const char *const left[] = {"Host", NULL};

    (void)state;
    assert_true(out.head.keep_alive);
    feed_names(&out.head.http, left);
    free(out.block);
}

static void
test_reserved_nomination_is_refused(void **state)
{
    static const struct feed_case cases[] = {
        FEED("host", GET HOST "Connection: Host\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("length", GET HOST "Connection: content-length\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("coding", GET HOST "Connection: Transfer-Encoding\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("credentials", GET HOST "Connection: authorization\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("expect", GET HOST "Connection: Expect\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("ours", GET HOST "Connection: Residency-Evidence\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("ours, bare prefix", GET HOST "Connection: residency-\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("behind another", GET HOST "Connection: close , ,\thost\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("in a second field", GET HOST "Connection: close\r\nConnection: host\r\n\r\n",
             H1_FAULT_CONNECTION),
        FEED("no token", GET HOST "Connection: a b\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("quoted", GET HOST "Connection: \"close\"\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("like ours", GET HOST "Connection: residenc, residency\r\n\r\n", H1_FAULT_NONE),
        FEED("empty elements", GET HOST "Connection: ,, close,\r\n\r\n", H1_FAULT_NONE),
        FEED("empty", GET HOST "Connection:\r\n\r\n", H1_FAULT_NONE),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    feed_nominations(H1_REQUEST, GET HOST "X-Portolan-Class: health\r\n");
}

static enum h1_fault
options_of(size_t count)
{
    struct text t = feed_text(H1_HEAD_MAX);

    text_add_str(&t, GET HOST "Connection: a");
    for (size_t i = 1; i < count; i++)
        text_add_str(&t, ",a");
    text_add_str(&t, "\r\n\r\n");
    return feed_fault_of(H1_REQUEST, &t);
}

static void
test_connection_options_are_bounded(void **state)
{
    (void)state;
    assert_int_equal(H1_FAULT_NONE, options_of(HTTP_FIELDS_MAX));
    assert_int_equal(H1_FAULT_CONNECTION, options_of(HTTP_FIELDS_MAX + 1));
}

static void
test_keep_alive_follows_version_and_connection(void **state)
{
    static const struct {
        const char *text;
        bool keeps;
    } cases[] = {
        {GET HOST "\r\n", true},
        {GET HOST "Connection: CLOSE\r\n\r\n", false},
        {GET HOST "Connection: keep-alive, close\r\n\r\n", false},
        {GET HOST "Connection: closed\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n" HOST "\r\n", false},
        {"GET / HTTP/1.0\r\n" HOST "Connection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct feed out = parse(cases[i].text);

        assert_int_equal(cases[i].keeps, out.head.keep_alive);
        free(out.block);
    }
}

static void
test_one_empty_line_ahead_is_skipped(void **state)
{
    struct feed out = parse("\r\n" GET HOST "\r\n");

    (void)state;
    assert_int_equal(strlen("\r\n" GET HOST "\r\n"), out.head_len);
    assert_true(slice_is(out.head.http.path, "/"));
    assert_int_equal(1, out.head.http.field_count);
    free(out.block);
}

static void
test_bytes_behind_the_head_are_left_alone(void **state)
{
    struct feed out = parse(POST "Content-Length: 5\r\n\r\nhello\0GET\n\n");

    (void)state;
    assert_int_equal(strlen(POST "Content-Length: 5\r\n\r\n"), out.head_len);
    free(out.block);
}

/* The verdict comes with the last byte of the line that is wrong, not later. */
static void
test_fault_is_known_with_its_line(void **state)
{
    static const struct {
        const char *good;
        const char *bad;
        enum h1_fault fault;
    } cases[] = {
        {"", "CONNECT a:1 HTTP/1.1\r\n", H1_FAULT_METHOD},
        {"", "\n", H1_FAULT_BARE_LF},
        {"\r\n", "\r\n", H1_FAULT_START_LINE},
        {GET, " a\r\n", H1_FAULT_OBS_FOLD},
        {GET HOST, "a b: c\r\n", H1_FAULT_FIELD_NAME},
        {GET HOST "A: b\r\n", "C: \x01\r\n", H1_FAULT_FIELD_VALUE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct text t = feed_text(256);
        struct feed out = {0};

        text_add_str(&t, cases[i].good);
        text_add_str(&t, cases[i].bad);
        text_add_str(&t, "D: e\r\n\r\n");
        feed_head(feed_role(H1_REQUEST), text_slice(&t), 1, &out);
        assert_int_equal(cases[i].fault, out.fault);
        assert_int_equal(strlen(cases[i].good) + strlen(cases[i].bad), out.fed);
        free(out.block);
        free(t.p);
    }
}

static void
test_endless_line_is_refused_without_waiting(void **state)
{
    struct text t = feed_text(H1_LINE_MAX + 64);
    struct feed out = {0};

    (void)state;
    feed_fill(&t, 'A', H1_LINE_MAX + 64);
    feed_head(feed_role(H1_REQUEST), text_slice(&t), 1, &out);
    assert_int_equal(H1_FAULT_URI_TOO_LONG, out.fault);
    assert_int_equal(H1_LINE_MAX + 1, out.fed);
    free(out.block);
    free(t.p);
}

static void
test_incomplete_head_asks_for_more(void **state)
{
    const struct slice whole = SLICE_LIT("\r\n" GET HOST "A: b\r\n\r\n");

    (void)state;
    for (size_t n = 0; n < whole.len; n++) {
        struct feed out = {0};

        feed_all(feed_role(H1_REQUEST), slice_sub(whole, 0, n), &out);
        assert_int_equal(ERR_AGAIN, out.e);
        free(out.block);
    }
}

static void
test_fields_are_found_by_folded_name(void **state)
{
    struct feed out = parse(GET HOST "X-A: 1\r\nx-a: 2\r\n\r\n");

    (void)state;
    assert_int_equal(2, http_field_count(&out.head.http, SLICE_LIT("x-A")));
    assert_true(slice_is(http_field_find(&out.head.http, SLICE_LIT("X-a"))->value, "1"));
    assert_null(http_field_find(&out.head.http, SLICE_LIT("x")));
    assert_int_equal(0, http_field_count(&out.head.http, SLICE_LIT("x")));
    free(out.block);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_line_is_strict),
        cmocka_unit_test(test_method_outside_the_five_is_405),
        cmocka_unit_test(test_five_methods_are_told_apart),
        cmocka_unit_test(test_version_is_1_0_or_1_1),
        cmocka_unit_test(test_target_is_visible_ascii),
        cmocka_unit_test(test_path_and_query_are_parted_at_the_first_mark),
        cmocka_unit_test(test_absolute_form_equals_host),
        cmocka_unit_test(test_long_request_line_is_414),
        cmocka_unit_test(test_lines_end_in_crlf_only),
        cmocka_unit_test(test_folded_line_is_refused),
        cmocka_unit_test(test_header_name_is_a_token_without_underscore),
        cmocka_unit_test(test_header_value_has_no_control),
        cmocka_unit_test(test_value_is_trimmed),
        cmocka_unit_test(test_more_than_100_headers_is_431),
        cmocka_unit_test(test_value_above_16_kib_is_431),
        cmocka_unit_test(test_headers_above_32_kib_are_431),
        cmocka_unit_test(test_content_length_is_1_to_19_digits_once),
        cmocka_unit_test(test_transfer_encoding_is_exactly_chunked),
        cmocka_unit_test(test_both_framings_are_refused),
        cmocka_unit_test(test_body_on_a_method_without_one_is_refused),
        cmocka_unit_test(test_host_is_there_exactly_once),
        cmocka_unit_test(test_host_is_uri_host_and_port),
        cmocka_unit_test(test_expect_other_than_100_continue_is_417),
        cmocka_unit_test(test_expect_waits_only_for_a_body_on_1_1),
        cmocka_unit_test(test_hop_by_hop_fields_are_taken_out),
        cmocka_unit_test(test_upgrade_and_h2c_stay_plain_requests),
        cmocka_unit_test(test_reserved_nomination_is_refused),
        cmocka_unit_test(test_connection_options_are_bounded),
        cmocka_unit_test(test_keep_alive_follows_version_and_connection),
        cmocka_unit_test(test_one_empty_line_ahead_is_skipped),
        cmocka_unit_test(test_bytes_behind_the_head_are_left_alone),
        cmocka_unit_test(test_fault_is_known_with_its_line),
        cmocka_unit_test(test_endless_line_is_refused_without_waiting),
        cmocka_unit_test(test_incomplete_head_asks_for_more),
        cmocka_unit_test(test_fields_are_found_by_folded_name),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
