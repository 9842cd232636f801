#include "node/answer_facts.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Reads an answer through windows of the daemon's sizes. */
static void
read_answer(struct slice answer, struct relay_facts *out)
{
    static uint8_t ring[TXN_TAIL_WINDOW];

    memset(ring, 0, sizeof(ring));
    for (size_t i = 0; i < answer.len; i++)
        ring[i % sizeof(ring)] = answer.p[i];
    *out = (struct relay_facts){.prompt_tokens = -1, .completion_tokens = -1};
    answer_facts_read(slice_sub(answer, 0, TXN_HEAD_WINDOW), ring, sizeof(ring), answer.len, out);
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
        {"{\"id\" : \"c\", \"model\" : \"m\", \"usage\" : {\"prompt_tokens\" : 3 }}", "m", "c", 3,
         -1},
        {"data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[]}\n\n"
         "data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n",
         "m", "c", 7, 9},
        {"{\"model\":null,\"id\":5,\"usage\":null}", NULL, NULL, -1, -1},
        {"{\"model\":\"a\\u0062\"}", NULL, NULL, -1, -1},
        {"{\"model\":\"\xff\xfe\"}", NULL, NULL, -1, -1},
        {"{\"model\":\"cut", NULL, NULL, -1, -1},
        {"{\"model\":", NULL, NULL, -1, -1},
        {"{\"text\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":5}\"}", NULL, NULL, -1, -1},
        {"{\"usage\":{\"prompt_tokens\":99999999999,\"completion_tokens\":-1}}", NULL, NULL, -1,
         -1},
        {"{\"usage\":{\"prompt_tokens\":12", NULL, NULL, -1, -1},
        {"", NULL, NULL, -1, -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct relay_facts f;

        read_answer(slice_str(rows[i].answer), &f);
        assert_int_equal(f.model.p == NULL, rows[i].model == NULL);
        assert_int_equal(f.response_id.p == NULL, rows[i].id == NULL);
        assert_true(rows[i].model == NULL || slice_is(f.model, rows[i].model));
        assert_true(rows[i].id == NULL || slice_is(f.response_id, rows[i].id));
        assert_int_equal(f.prompt_tokens, rows[i].prompt);
        assert_int_equal(f.completion_tokens, rows[i].completion);
    }
}

/* Wherever the ring's seam falls, the usage at the end is read. */
static void
test_the_ring_wraps_anywhere(void **state)
{
    static const char end[] = ",\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":17}}";
    static uint8_t answer[3 * TXN_TAIL_WINDOW];

    (void)state;
    for (size_t pad = TXN_TAIL_WINDOW; pad < 2 * TXN_TAIL_WINDOW; pad++) {
        struct relay_facts f;

        memset(answer, 'x', pad);
        memcpy(answer + pad, end, sizeof(end) - 1);
        read_answer(slice_of(answer, pad + sizeof(end) - 1), &f);
        assert_int_equal(f.prompt_tokens, 31);
        assert_int_equal(f.completion_tokens, 17);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_the_ring_wraps_anywhere),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
