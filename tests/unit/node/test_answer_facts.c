#include "node/answer_facts.h"

#include "base/check.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct endpoint openai = {.usage = USAGE_OPENAI};

static const struct endpoint *
find(const char *path)
{
    uint32_t other = 0;
    const struct endpoint *e = endpoint_find(HTTP_POST, slice_str(path), false, &other);

    assert_non_null(e);
    return e;
}

/* One JSON text, cut in two at `cut`. */
static void
read_text(struct slice text, size_t cut, struct answer_facts *out)
{
    answer_facts_init(out, &openai, STREAM_NONE);
    answer_facts_begin(out);
    answer_facts_add(out, slice_sub(text, 0, cut));
    answer_facts_add(out, slice_sub(text, cut, text.len));
}

static void
check_text(const struct answer_text *t, const char *want)
{
    struct slice s = answer_text_slice(t);

    assert_int_equal(s.p == NULL, want == NULL);
    assert_true(want == NULL || slice_is(s, want));
}

static void
test_answers(void **state)
{
    static const struct {
        const char *answer;
        const char *model; /* NULL: not reported */
        const char *id;
        int64_t prompt, completion;
    } rows[] = {
        {"{\"id\":\"c-1\",\"model\":\"m\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0}}",
         "m", "c-1", 3, 0},
        {" {\"id\" : \"c\", \"model\" : \"m\",\n\"usage\" : {\"prompt_tokens\" :\t3 }}", "m", "c",
         3, -1},
        {"{\"usage\":{\"completion_tokens\":2,\"x\":{\"prompt_tokens\":9,\"a\":[{}]},"
         "\"prompt_tokens\":1},\"model\":\"m\"}",
         "m", NULL, 1, 2},
        {"{\"model\":null,\"id\":5,\"usage\":null}", NULL, NULL, -1, -1},
        {"{\"model\":\"a\\u0062\"}", NULL, NULL, -1, -1},
        {"{\"model\":\"\xff\xfe\"}", NULL, NULL, -1, -1},
        {"{\"model\":\"cut", NULL, NULL, -1, -1},
        {"{\"model\":", NULL, NULL, -1, -1},
        {"{\"text\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":5}\"}", NULL, NULL, -1, -1},
        {"{\"choices\":[{\"usage\":{\"prompt_tokens\":5},\"id\":\"x\",\"model\":\"y\"}],"
         "\"id\":\"c\"}",
         NULL, "c", -1, -1},
        {"{\"text\":\"}\\\\\",\"a\":\"]\\\"}\",\"b\":[\"]\\\"\",\"}\"],\"id\":\"c\"}", NULL, "c",
         -1, -1},
        {"{\"a\\\"usage\":{\"prompt_tokens\":5},\"us\\u0061ge\":{\"prompt_tokens\":5}}", NULL, NULL,
         -1, -1},
        {"{\"x\":\"usage\",\"y\":{\"prompt_tokens\":5}}", NULL, NULL, -1, -1},
        {"{\"usage\":[{\"prompt_tokens\":5}],\"prompt_tokens\":6}", NULL, NULL, -1, -1},
        {"[{\"usage\":{\"prompt_tokens\":5}}]", NULL, NULL, -1, -1},
        {"\"usage\":{\"prompt_tokens\":5}", NULL, NULL, -1, -1},
        {"{\"usage\":{\"prompt_tokens\":99999999999,\"completion_tokens\":-1}}", NULL, NULL, -1,
         -1},
        {"{\"usage\":{\"prompt_tokens\":1.5,\"completion_tokens\":1e3}}", NULL, NULL, -1, -1},
        {"{\"usage\":{\"prompt_tokens\":\"7\",\"completion_tokens\":true}}", NULL, NULL, -1, -1},
        {"{\"usage\":{\"prompt_tokens\":2147483647,\"completion_tokens\":2147483648}}", NULL, NULL,
         2147483647, -1},
        {"{\"usage\":{\"prompt_tokens\":12", NULL, NULL, -1, -1},
        {"{\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3", NULL, NULL, -1, -1},
        {"{\"usage\":{\"prompt_tokens\":12}", NULL, NULL, 12, -1},
        {"{\"model\":\"first\",\"model\":\"second\"}", "first", NULL, -1, -1},
        {"{\"a_name_that_is_much_longer_than_any_of_ours\":{\"usage\":1},\"id\":\"c\"}", NULL, "c",
         -1, -1},
        {"", NULL, NULL, -1, -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice text = slice_str(rows[i].answer);

        for (size_t cut = 0; cut <= text.len; cut++) {
            struct answer_facts f;

            read_text(text, cut, &f);
            check_text(&f.model, rows[i].model);
            check_text(&f.response_id, rows[i].id);
            assert_int_equal(f.prompt_tokens, rows[i].prompt);
            assert_int_equal(f.completion_tokens, rows[i].completion);
        }
    }
}

/* The last event that has a usage counts, and one with null takes nothing back. */
static void
test_texts_one_after_the_other(void **state)
{
    static const char *const texts[] = {
        "{\"id\":\"c\",\"usage\":null}",
        "{\"id\":\"d\",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}",
        "{\"choices\":[{\"text\":\"cut",
        "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}",
        "{\"usage\":null}",
        "{\"usage\":{}}",
        "[DONE]",
    };
    struct answer_facts f;

    (void)state;
    answer_facts_init(&f, &openai, STREAM_NONE);
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        answer_facts_begin(&f);
        answer_facts_add(&f, slice_str(texts[i]));
    }
    check_text(&f.response_id, "c");
    assert_int_equal(f.prompt_tokens, 7);
    assert_int_equal(f.completion_tokens, 9);
}

static void
test_an_endpoint_without_usage(void **state)
{
    static const struct endpoint none = {.usage = USAGE_NONE};
    struct answer_facts f;

    (void)state;
    answer_facts_init(&f, &none, STREAM_NONE);
    answer_facts_begin(&f);
    answer_facts_add(&f, SLICE_LIT("{\"usage\":{\"prompt_tokens\":7},\"\":{\"\":5},\"id\":\"c\"}"));
    check_text(&f.response_id, "c");
    assert_int_equal(f.prompt_tokens, -1);
}

/* A text at the record's maximum is whole, a longer one is handed on one byte too long. */
static void
test_long_texts(void **state)
{
    char answer[2 * RECORD_FOREIGN_MAX];

    (void)state;
    for (size_t len = RECORD_FOREIGN_MAX - 1; len < RECORD_FOREIGN_MAX + 9; len++) {
        struct answer_facts f;

        assert_true(text_format(answer, sizeof(answer), "{\"model\":\"%0*d\"}", (int)len, 1));
        read_text(slice_str(answer), 4, &f);
        assert_int_equal(answer_text_slice(&f.model).len,
                         len < RECORD_FOREIGN_MAX + 1 ? len : RECORD_FOREIGN_MAX + 1);
    }
}

static void
test_the_names_of_each_interface(void **state)
{
    static const struct {
        enum endpoint_usage usage;
        const char *texts[3];
        int64_t prompt, completion;
    } rows[] = {
        {USAGE_INPUT_OUTPUT, {"{\"usage\":{\"input_tokens\":4,\"output_tokens\":2}}"}, 4, 2},
        {USAGE_INPUT_OUTPUT,
         {"{\"usage\":{\"input_tokens\":4,\"output_tokens\":1}}",
          "{\"type\":\"message_delta\",\"usage\":{\"output_tokens\":9}}"},
         4,
         9},
        {USAGE_INPUT_OUTPUT, {"{\"usage\":{\"prompt_tokens\":4}}"}, -1, -1},
        {USAGE_OLLAMA, {"{\"done\":true,\"prompt_eval_count\":0,\"eval_count\":7}"}, 0, 7},
        {USAGE_OLLAMA,
         {"{\"message\":{\"eval_count\":5},\"\":{\"eval_count\":6}}", "{\"eval_count\":7}"},
         -1,
         7},
        {USAGE_OLLAMA, {"{\"usage\":{\"prompt_tokens\":4}}"}, -1, -1},
        {USAGE_OPENAI, {"{\"prompt_eval_count\":3,\"prompt_tokens\":5}"}, -1, -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct endpoint e = {.usage = rows[i].usage};
        struct answer_facts f;

        answer_facts_init(&f, &e, STREAM_NONE);
        for (size_t k = 0; k < 3 && rows[i].texts[k] != NULL; k++) {
            answer_facts_begin(&f);
            answer_facts_add(&f, slice_str(rows[i].texts[k]));
        }
        assert_int_equal(f.prompt_tokens, rows[i].prompt);
        assert_int_equal(f.completion_tokens, rows[i].completion);
    }
}

/* What the servers send: the same model, id and counts whether they stream or not. Some
 * events wrap the answer in a member, some repeat it; only the last count is the answer's. */
#define RESPONSE_HEAD "\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1741487325,"
#define RESPONSE_REST                                                                          \
    "\"error\":null,\"model\":\"m\",\"output\":[{\"id\":\"msg_1\",\"model\":\"no\",\"usage\":" \
    "{\"input_tokens\":9,\"output_tokens\":9}}],\"text\":{\"format\":{\"type\":\"text\"}},"
#define RESPONSE_USAGE                                                               \
    "\"usage\":{\"input_tokens\":37,\"input_tokens_details\":{\"cached_tokens\":3}," \
    "\"output_tokens\":11,\"output_tokens_details\":{\"reasoning_tokens\":4},"       \
    "\"total_tokens\":48},\"user\":null,\"metadata\":{}"

static const struct {
    const char *path;
    enum endpoint_stream format;
    const char *texts[6];
    const char *id;
    int64_t prompt, completion;
    bool ends;
} said[] = {
    {"/v1/responses",
     STREAM_NONE,
     {"{" RESPONSE_HEAD "\"status\":\"completed\"," RESPONSE_REST RESPONSE_USAGE "}"},
     "resp_1",
     37,
     11,
     false},
    {"/v1/responses",
     STREAM_SSE,
     {"{\"type\":\"response.created\",\"response\":{" RESPONSE_HEAD
      "\"status\":\"in_progress\"," RESPONSE_REST "\"usage\":null},\"sequence_number\":0}",
      "{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":\"msg_1\","
      "\"type\":\"message\",\"model\":\"no\"},\"sequence_number\":1}",
      "{\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"delta\":"
      "\"{\\\"response\\\":{\\\"id\\\":\\\"no\\\"}}\",\"sequence_number\":2}",
      "{\"type\":\"response.completed\",\"response\":{" RESPONSE_HEAD
      "\"status\":\"completed\"," RESPONSE_REST RESPONSE_USAGE "},\"sequence_number\":3}"},
     "resp_1",
     37,
     11,
     true},
    {"/v1/responses",
     STREAM_SSE,
     {"{\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"usage\":{\"input_tokens\":1,"
      "\"output_tokens\":2}},\"type\":\"response.incomplete\"}"},
     "resp_1",
     1,
     2,
     true},
    /* Cut in the object around it: the count was whole, the event was not. */
    {"/v1/responses",
     STREAM_SSE,
     {"{\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\","
      "\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}"},
     "resp_1",
     1,
     2,
     false},
    {"/v1/responses",
     STREAM_NONE, /* a unary answer has no wrapper */
     {"{\"response\":{\"id\":\"no\",\"model\":\"no\",\"usage\":{\"input_tokens\":1}},"
      "\"model\":\"m\"}"},
     NULL,
     -1,
     -1,
     false},
    {"/v1/messages",
     STREAM_NONE,
     {"{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","
      "\"content\":[{\"type\":\"text\",\"text\":\"Hi\"}],\"stop_reason\":\"end_turn\","
      "\"usage\":"
      "{\"input_tokens\":25,\"cache_read_input_tokens\":0,\"output_tokens\":15}}"},
     "msg_1",
     25,
     15,
     false},
    {"/v1/messages",
     STREAM_SSE,
     {"{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":"
      "\"assistant\",\"content\":[],\"model\":\"m\",\"stop_reason\":null,\"usage\":"
      "{\"input_tokens\":25,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}",
      "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"message_stop\","
      "\"text\":\"Hi\"}}",
      "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},"
      "\"usage\":{\"output_tokens\":15}}",
      "{\"type\":\"message_stop\"}"},
     "msg_1",
     25,
     15,
     true},
    /* One that ended early says what was asked, not what was answered. */
    {"/v1/messages",
     STREAM_SSE,
     {"{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\","
      "\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}",
      "{\"type\":\"ping\"}"},
     "msg_1",
     25,
     -1,
     false},
    {"/api/chat",
     STREAM_NDJSON,
     {"{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\\\"done\\\":true\","
      "\"done\":true},\"done\":false}",
      "{\"model\":\"m\",\"done_reason\":\"stop\",\"done\":true,\"total_duration\":5,"
      "\"prompt_eval_count\":26,\"eval_count\":298}"},
     NULL,
     26,
     298,
     true},
    {"/api/generate",
     STREAM_NDJSON,
     {"{\"model\":\"m\",\"done\":truer}", "{\"done\":\"true\"}", "{\"done\":tru}", "{\"done\":1}",
      "{\"done\":true"},
     NULL,
     -1,
     -1,
     false},
    {"/v1/chat/completions",
     STREAM_SSE,
     {"{\"id\":\"c\",\"model\":\"m\",\"type\":\"message_stop\",\"done\":true,\"choices\":[]}",
      "{\"id\":\"c\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0}}"},
     "c",
     3,
     0,
     false},
};

static void
test_unary_and_stream_say_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(said); i++)
        for (size_t cut = 0; cut < 700; cut++) {
            struct answer_facts f;

            answer_facts_init(&f, find(said[i].path), said[i].format);
            for (size_t k = 0; k < 6 && said[i].texts[k] != NULL; k++) {
                struct slice text = slice_str(said[i].texts[k]);

                answer_facts_begin(&f);
                answer_facts_add(&f, slice_sub(text, 0, cut));
                answer_facts_add(&f, slice_sub(text, cut, text.len));
            }
            check_text(&f.model, "m");
            check_text(&f.response_id, said[i].id);
            assert_int_equal(f.prompt_tokens, said[i].prompt);
            assert_int_equal(f.completion_tokens, said[i].completion);
            assert_int_equal(f.ends, said[i].ends);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_texts_one_after_the_other),
        cmocka_unit_test(test_an_endpoint_without_usage),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_the_names_of_each_interface),
        cmocka_unit_test(test_unary_and_stream_say_the_same),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
