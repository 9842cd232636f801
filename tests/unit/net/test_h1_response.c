#include "h1_feed.h"

/* Response heads: the same rules towards a backend or peer, and those of its own. */

#define OK "HTTP/1.1 200 OK\r\n"

static void
run(const struct feed_case *cases, size_t count)
{
    feed_cases(feed_role(H1_RESPONSE), cases, count);
}

static struct feed
parse_for(const char *text, bool head_request)
{
    struct feed out = {0};
    struct h1_parser p = feed_role(H1_RESPONSE);

    p.head_request = head_request;
    feed_all(p, slice_str(text), &out);
    if (out.e != ERR_OK)
        fail_msg("%s: %s", text, h1_fault_text(out.fault));
    return out;
}

static struct feed
parse(const char *text)
{
    return parse_for(text, false);
}

static void
test_status_line_is_strict(void **state)
{
    static const struct feed_case cases[] = {
        FEED("plain", OK "\r\n", H1_FAULT_NONE),
        FEED("1.0", "HTTP/1.0 200 OK\r\n\r\n", H1_FAULT_NONE),
        FEED("empty reason", "HTTP/1.1 200 \r\n\r\n", H1_FAULT_NONE),
        FEED("reason of words", "HTTP/1.1 404 Not\tFound \xc3\xa9\r\n\r\n", H1_FAULT_NONE),
        FEED("599", "HTTP/1.1 599 x\r\n\r\n", H1_FAULT_NONE),
        FEED("no SP behind the code", "HTTP/1.1 200\r\n\r\n", H1_FAULT_START_LINE),
        FEED("two SP", "HTTP/1.1  200 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("four digits", "HTTP/1.1 2000 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("leading zero", "HTTP/1.1 0200 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("two digits", "HTTP/1.1 20 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("sign", "HTTP/1.1 +20 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("letters", "HTTP/1.1 2x0 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("99", "HTTP/1.1 099 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("600", "HTTP/1.1 600 OK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n", H1_FAULT_START_LINE),
        FEED("CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", H1_FAULT_START_LINE),
        FEED("1.2", "HTTP/1.2 200 OK\r\n\r\n", H1_FAULT_VERSION),
        FEED("2", "HTTP/2 200 OK\r\n\r\n", H1_FAULT_VERSION),
        FEED("ICY", "ICY 200 OK\r\n\r\n", H1_FAULT_VERSION),
        FEED("lower case", "http/1.1 200 OK\r\n\r\n", H1_FAULT_VERSION),
        FEED("no version", "200 OK\r\n\r\n", H1_FAULT_VERSION),
        FEED("one word", "HTTP/1.1\r\n\r\n", H1_FAULT_START_LINE),
        FEED("empty line ahead", "\r\n" OK "\r\n", H1_FAULT_START_LINE),
        FEED("a request", "GET / HTTP/1.1\r\n\r\n", H1_FAULT_VERSION),
        FEED("bytes of an older body", "xxHTTP/1.1 200 OK\r\n\r\n", H1_FAULT_VERSION),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_long_status_line_is_refused(void **state)
{
    struct text t;

    (void)state;
    for (size_t over = 0; over <= 1; over++) {
        t = feed_text(H1_HEAD_MAX);
        text_add_str(&t, "HTTP/1.1 200 ");
        feed_fill(&t, 'a', H1_LINE_MAX - strlen("HTTP/1.1 200 ") + over);
        text_add_str(&t, "\r\n\r\n");
        assert_int_equal(over == 0 ? H1_FAULT_NONE : H1_FAULT_START_LINE,
                         feed_fault_of(H1_RESPONSE, &t));
    }
}

static void
test_response_lines_end_in_crlf_only(void **state)
{
    static const struct feed_case cases[] = {
        FEED("bare LF behind the start line", "HTTP/1.1 200 OK\n\r\n", H1_FAULT_BARE_LF),
        FEED("bare LF behind a field", OK "A: b\n\r\n", H1_FAULT_BARE_LF),
        FEED("bare LF for the empty line", OK "\n", H1_FAULT_BARE_LF),
        FEED("bare CR in a value", OK "A: b\rC: d\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("obs-fold", OK "A: b\r\n c\r\n\r\n", H1_FAULT_OBS_FOLD),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_response_fields_are_strict(void **state)
{
    static const struct feed_case cases[] = {
        FEED("SP before the colon", OK "A : b\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("empty name", OK ": b\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("underscore", OK "A_b: c\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("NUL in a name", OK "A\0b: c\r\n\r\n", H1_FAULT_FIELD_NAME),
        FEED("no colon", OK "abc\r\n\r\n", H1_FAULT_FIELD),
        FEED("NUL in a value", OK "A: \0\r\n\r\n", H1_FAULT_FIELD_VALUE),
        FEED("control in a value", OK "A: \x1b\r\n\r\n", H1_FAULT_FIELD_VALUE),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_response_headers_are_limited(void **state)
{
    (void)state;
    for (size_t over = 0; over <= 1; over++) {
        enum h1_fault want = over == 0 ? H1_FAULT_NONE : H1_FAULT_TOO_LARGE;
        struct text t = feed_text(2 * H1_HEAD_MAX);

        text_add_str(&t, OK);
        for (size_t i = 0; i < HTTP_FIELDS_MAX + over; i++)
            text_add_str(&t, "a: b\r\n");
        text_add_str(&t, "\r\n");
        assert_int_equal(want, feed_fault_of(H1_RESPONSE, &t));

        t = feed_text(2 * H1_HEAD_MAX);
        text_add_str(&t, OK "A: ");
        feed_fill(&t, 'b', H1_VALUE_MAX + over);
        text_add_str(&t, "\r\n\r\n");
        assert_int_equal(want, feed_fault_of(H1_RESPONSE, &t));

        t = feed_text(2 * H1_HEAD_MAX);
        text_add_str(&t, OK "A: ");
        feed_fill(&t, 'b', H1_VALUE_MAX);
        text_add_str(&t, "\r\nA: ");
        feed_fill(&t, 'b', H1_HEADER_BYTES_MAX - H1_VALUE_MAX - 10 + over);
        text_add_str(&t, "\r\n\r\n");
        assert_int_equal(want, feed_fault_of(H1_RESPONSE, &t));
    }
}

static void
test_response_framing_is_strict(void **state)
{
    static const struct feed_case cases[] = {
        FEED("both", OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("both, odd coding", OK "Transfer-Encoding: x\r\nContent-Length: 5\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("both on 304",
             "HTTP/1.1 304 x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BOTH_FRAMINGS),
        FEED("length twice", OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("length list", OK "Content-Length: 5,5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("length sign", OK "Content-Length: +5\r\n\r\n", H1_FAULT_CONTENT_LENGTH),
        FEED("length of 2^63", OK "Content-Length: 9223372036854775808\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("length of 20", OK "Content-Length: 00000000000000000000\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("bad length on 204", "HTTP/1.1 204 x\r\nContent-Length: x\r\n\r\n",
             H1_FAULT_CONTENT_LENGTH),
        FEED("coding", OK "Transfer-Encoding: gzip\r\n\r\n", H1_FAULT_TRANSFER_ENCODING),
        FEED("coding list", OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("coding twice", OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
        FEED("coding on 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_TRANSFER_ENCODING),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_response_framing_is_found(void **state)
{
    static const struct {
        const char *text;
        bool head_request;
        enum h1_framing framing;
        uint64_t length;
    } cases[] = {
        {OK "Content-Length: 5\r\n\r\n", false, H1_BODY_LENGTH, 5},
        {OK "Content-Length: 0\r\n\r\n", false, H1_BODY_LENGTH, 0},
        {OK "Content-Length: 9223372036854775807\r\n\r\n", false, H1_BODY_LENGTH, INT64_MAX},
        {OK "Transfer-Encoding: chunked\r\n\r\n", false, H1_BODY_CHUNKED, 0},
        {OK "\r\n", false, H1_BODY_TO_EOF, 0},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false, H1_BODY_TO_EOF, 0},
        {OK "Content-Length: 5\r\n\r\n", true, H1_BODY_NONE, 0},
        {OK "Transfer-Encoding: chunked\r\n\r\n", true, H1_BODY_NONE, 0},
        {OK "\r\n", true, H1_BODY_NONE, 0},
        {"HTTP/1.1 204 x\r\n\r\n", false, H1_BODY_NONE, 0},
        {"HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", false, H1_BODY_NONE, 0},
        {"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", false, H1_BODY_NONE, 0},
        {"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", false, H1_BODY_NONE, 0},
        {"HTTP/1.1 100 Continue\r\n\r\n", false, H1_BODY_NONE, 0},
        {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", false, H1_BODY_NONE, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct feed out = parse_for(cases[i].text, cases[i].head_request);

        assert_int_equal(cases[i].framing, out.head.framing);
        assert_int_equal(cases[i].length, out.head.content_length);
        assert_int_equal(cases[i].framing != H1_BODY_NONE, out.head.http.has_body);
        assert_int_equal(cases[i].framing == H1_BODY_CHUNKED || cases[i].framing == H1_BODY_TO_EOF
                             ? HTTP_LENGTH_UNKNOWN
                             : (int64_t)cases[i].length,
                         out.head.http.body_length);
        free(out.block);
    }
}

static void
test_framing_on_an_answer_without_body_is_refused(void **state)
{
    static const struct feed_case cases[] = {
        FEED("204 length", "HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", H1_FAULT_BODY_FORBIDDEN),
        FEED("204 chunked", "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BODY_FORBIDDEN),
        FEED("100 length", "HTTP/1.1 100 x\r\nContent-Length: 5\r\n\r\n", H1_FAULT_BODY_FORBIDDEN),
        FEED("103 chunked", "HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n",
             H1_FAULT_BODY_FORBIDDEN),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_switching_protocols_is_502(void **state)
{
    static const struct feed_case cases[] = {
        FEED("101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
             H1_FAULT_UPGRADE),
        FEED("101 with a body", "HTTP/1.1 101 x\r\nContent-Length: 5\r\n\r\n", H1_FAULT_UPGRADE),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    assert_int_equal(502, h1_fault_status(H1_FAULT_UPGRADE));
}

static void
test_response_nomination_is_bounded(void **state)
{
    static const struct feed_case cases[] = {
        FEED("length", OK "Connection: content-length\r\nContent-Length: 5\r\n\r\n",
             H1_FAULT_CONNECTION),
        FEED("coding", OK "Connection: transfer-encoding\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("ours", OK "Connection: residency-evidence\r\n\r\n", H1_FAULT_CONNECTION),
        FEED("no token", OK "Connection: a;b\r\n\r\n", H1_FAULT_CONNECTION),
    };
    static const char *const left[] = {"X-B", NULL};
    struct feed out;

    (void)state;
    run(cases, ARRAY_COUNT(cases));
    feed_nominations(H1_RESPONSE, OK "Content-Type: text/plain\r\n");
    out = parse(OK "X-A: 1\r\nConnection: x-a\r\nX-B: 2\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(H1_BODY_CHUNKED, out.head.framing);
    feed_names(&out.head.http, left);
    free(out.block);
}

static void
test_response_keep_alive(void **state)
{
    static const struct {
        const char *text;
        bool keeps;
    } cases[] = {
        {OK "Content-Length: 5\r\n\r\n", true},
        {OK "Content-Length: 5\r\nConnection: close\r\n\r\n", false},
        {OK "\r\n", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", true},
        {"HTTP/1.1 204 x\r\n\r\n", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct feed out = parse(cases[i].text);

        assert_int_equal(cases[i].keeps, out.head.keep_alive);
        free(out.block);
    }
}

static void
test_request_rules_do_not_bind_a_response(void **state)
{
    static const struct feed_case cases[] = {
        FEED("Host", OK "Host: a\r\nHost: b\r\n\r\n", H1_FAULT_NONE),
        FEED("Expect", OK "Expect: x\r\n\r\n", H1_FAULT_NONE),
    };

    (void)state;
    run(cases, ARRAY_COUNT(cases));
}

static void
test_next_response_is_left_alone(void **state)
{
    struct feed out = parse("HTTP/1.1 100 Continue\r\n\r\n" OK "\r\n");

    (void)state;
    assert_int_equal(100, out.head.http.status);
    assert_int_equal(strlen("HTTP/1.1 100 Continue\r\n\r\n"), out.head_len);
    free(out.block);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_line_is_strict),
        cmocka_unit_test(test_long_status_line_is_refused),
        cmocka_unit_test(test_response_lines_end_in_crlf_only),
        cmocka_unit_test(test_response_fields_are_strict),
        cmocka_unit_test(test_response_headers_are_limited),
        cmocka_unit_test(test_response_framing_is_strict),
        cmocka_unit_test(test_response_framing_is_found),
        cmocka_unit_test(test_framing_on_an_answer_without_body_is_refused),
        cmocka_unit_test(test_switching_protocols_is_502),
        cmocka_unit_test(test_response_nomination_is_bounded),
        cmocka_unit_test(test_response_keep_alive),
        cmocka_unit_test(test_request_rules_do_not_bind_a_response),
        cmocka_unit_test(test_next_response_is_left_alone),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
