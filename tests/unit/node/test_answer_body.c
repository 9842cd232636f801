#include "node/answer_body.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void
test_formats(void **state)
{
    static const struct {
        const char *type;
        enum endpoint_stream format;
    } rows[] = {
        {"text/event-stream", STREAM_SSE},
        {"Text/Event-Stream; charset=utf-8", STREAM_SSE},
        {"text/event-stream ;charset=utf-8", STREAM_SSE},
        {"text/event-streams", STREAM_NONE},
        {"application/x-ndjson", STREAM_NDJSON},
        {"application/ndjson;x=y", STREAM_NDJSON},
        {"application/json", STREAM_NONE},
        {"", STREAM_NONE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        assert_int_equal(answer_body_format(slice_str(rows[i].type)), rows[i].format);
}

static const struct endpoint openai = {.usage = USAGE_OPENAI};

/* One table for all formats; each row is read at every cut. */
static void
test_bodies(void **state)
{
    static const struct {
        enum endpoint_stream format;
        const char *body;
        uint64_t events;
        bool done, at_boundary;
        int64_t prompt, completion;
    } rows[] = {
        {STREAM_SSE,
         "data: {\"usage\":null}\n\ndata: {\"usage\":{\"prompt_tokens\":3,"
         "\"completion_tokens\":0}}\n\ndata: [DONE]\n\n",
         2, true, true, 3, 0},
        {STREAM_SSE, ": c\n\ndata: {\"usage\":{\"prompt_tokens\":3}}\n\ndata: {\"usage\":{", 1,
         false, false, 3, -1},
        {STREAM_SSE, "data: {\"usage\":\r\ndata: {\"prompt_tokens\":3}}\r\n\r\n", 1, false, true, 3,
         -1},
        {STREAM_SSE, "data\n\n: c\n\n", 1, false, true, -1, -1},
        {STREAM_SSE, "data: {\"a\":\"\n\ndata: \\\"usage\\\":{\\\"prompt_tokens\\\":3}}\"}\n\n", 2,
         false, true, -1, -1},
        {STREAM_NDJSON,
         "{\"a\":\"\\\"usage\\\":{\"}\n\n{\"usage\":{\"prompt_tokens\":3,"
         "\"completion_tokens\":4}}\r\n",
         2, false, true, 3, 4},
        {STREAM_NDJSON, "{\"a\":\n{\"usage\":{\"prompt_tokens\":3}", 1, false, false, 3, -1},
        {STREAM_NONE, "{\"usage\":{\"prompt_tokens\":3}}\n\n", 0, false, false, 3, -1},
        {STREAM_NONE, "data: [DONE]\n\n", 0, false, false, -1, -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice body = slice_str(rows[i].body);

        for (size_t cut = 0; cut <= body.len; cut++) {
            struct answer_body b;

            answer_body_init(&b, rows[i].format, &openai);
            assert_int_equal(answer_body_at_boundary(&b), rows[i].format != STREAM_NONE);
            answer_body_add(&b, slice_sub(body, 0, cut));
            answer_body_add(&b, slice_sub(body, cut, body.len));
            assert_int_equal(answer_body_events(&b), rows[i].events);
            assert_int_equal(answer_body_done(&b), rows[i].done);
            assert_int_equal(answer_body_at_boundary(&b), rows[i].at_boundary);
            assert_int_equal(b.facts.prompt_tokens, rows[i].prompt);
            assert_int_equal(b.facts.completion_tokens, rows[i].completion);
        }
    }
}

/* What makes a stream whole stands in the endpoint's row; each body is read at every cut. */
static void
test_ends(void **state)
{
    static const struct {
        const char *path;
        enum endpoint_stream format;
        const char *body;
        uint64_t events;
        bool done, whole;
    } rows[] = {
        {"/v1/chat/completions", STREAM_SSE, "data: {}\n\ndata: [DONE]\n\n", 1, true, true},
        {"/v1/chat/completions", STREAM_SSE, "data: {}\n\ndata: [DONE]\n", 1, false, false},
        {"/v1/chat/completions", STREAM_SSE, "data: {\"type\":\"message_stop\"}\n\n", 1, false,
         false},
        {"/v1/chat/completions", STREAM_NDJSON, "{}\n", 1, false, true},
        {"/v1/chat/completions", STREAM_NONE, "{}", 0, false, true},
        {"/v1/completions", STREAM_SSE, "", 0, false, false},
        {"/v1/responses", STREAM_SSE,
         "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n", 1, true, true},
        {"/v1/responses", STREAM_SSE, "data: {\"type\":\ndata: \"response.failed\"}\n\n", 1, true,
         true},
        {"/v1/responses", STREAM_SSE,
         "data: {\"type\":\"response.incomplete\",\"response\":{}}\n\n: c\n\n", 1, true, true},
        {"/v1/responses", STREAM_SSE, "data: {\"type\":\"response.completed\"}\n", 0, false, false},
        {"/v1/responses", STREAM_SSE, "data: {\"type\":\"response.completed\"\n\n", 1, false,
         false},
        {"/v1/responses", STREAM_SSE, "data: {\"type\":\"response.in_progress\"}\n\n", 1, false,
         false},
        {"/v1/responses", STREAM_SSE, "data: {\"response\":{\"type\":\"response.completed\"}}\n\n",
         1, false, false},
        {"/v1/responses", STREAM_SSE, "data: {}\n\ndata: [DONE]\n\n", 1, true, true},
        {"/v1/responses", STREAM_NONE, "{\"status\":\"in_progress\"}", 0, false, true},
        {"/v1/messages", STREAM_SSE, "data: {\"type\": \"message_stop\" }\n\n", 1, true, true},
        {"/v1/messages", STREAM_SSE, "data: {\"type\":\"message_stops\"}\n\n", 1, false, false},
        {"/v1/messages", STREAM_SSE, "data: {\"type\":\"message\\u005fstop\"}\n\n", 1, false,
         false},
        {"/api/chat", STREAM_NDJSON, "{\"done\":false}\n{\"done\":true}\n", 2, true, true},
        {"/api/chat", STREAM_NDJSON, "{\"done\":false}\n{\"done\":true}", 1, true, true},
        {"/api/chat", STREAM_NDJSON, "{\"done\":false}\n{\"done\":true", 1, false, false},
        {"/api/generate", STREAM_NDJSON, "{\"error\":\"out of memory\"}\n", 1, false, false},
        {"/api/chat", STREAM_NONE, "{\"done\":true}", 0, false, true},
        {"/v1/audio/speech", STREAM_SSE, "data: {}\n\n", 1, false, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice body = slice_str(rows[i].body);
        uint32_t other = 0;

        for (size_t cut = 0; cut <= body.len; cut++) {
            struct answer_body b;

            answer_body_init(&b, rows[i].format,
                             endpoint_find(HTTP_POST, slice_str(rows[i].path), false, &other));
            answer_body_add(&b, slice_sub(body, 0, cut));
            answer_body_add(&b, slice_sub(body, cut, body.len));
            assert_int_equal(answer_body_events(&b), rows[i].events);
            assert_int_equal(answer_body_done(&b), rows[i].done);
            assert_int_equal(answer_body_is_whole(&b), rows[i].whole);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_ends),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
