#include "node/answer_facts.h"

#include "base/check.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* One JSON text, cut in two at `cut`. */
static void
read_text(struct slice text, size_t cut, struct answer_facts *out)
{
    answer_facts_init(out, USAGE_OPENAI);
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
    answer_facts_init(&f, USAGE_OPENAI);
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
    struct answer_facts f;

    (void)state;
    answer_facts_init(&f, USAGE_NONE);
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
        struct answer_facts f;

        answer_facts_init(&f, rows[i].usage);
        for (size_t k = 0; k < 3 && rows[i].texts[k] != NULL; k++) {
            answer_facts_begin(&f);
            answer_facts_add(&f, slice_str(rows[i].texts[k]));
        }
        assert_int_equal(f.prompt_tokens, rows[i].prompt);
        assert_int_equal(f.completion_tokens, rows[i].completion);
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
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
