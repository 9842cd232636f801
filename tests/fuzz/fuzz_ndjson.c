/* JSON lines: any slicing tells the same lines, data, boundaries and facts; the lines are
 * those of a plain search for LF. The first byte chooses the slices. */
#include "base/check.h"
#include "node/answer_body.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lines that hold more than white space, counted in the plainest way. */
static uint64_t
count_lines(struct slice in)
{
    uint64_t lines = 0;
    bool has_data = false;

    for (size_t i = 0; i < in.len; i++) {
        if (in.p[i] == '\n') {
            lines += has_data;
            has_data = false;
        } else if (in.p[i] != ' ' && in.p[i] != '\t' && in.p[i] != '\r') {
            has_data = true;
        }
    }
    return lines;
}

/* The data of all lines, one after the other; its length is returned. */
static size_t
split(struct slice in, size_t cut, uint8_t *out, bool *at_boundary)
{
    struct slice piece = SLICE_NONE;
    struct ndjson s;
    size_t len = 0;

    ndjson_init(&s);
    for (size_t at = 0; at < in.len; at += cut) {
        struct slice part = slice_sub(in, at, cut);
        enum ndjson_what what;
        size_t used = 0;

        do {
            what = ndjson_next(&s, part, &piece, &used);
            ASSERT(used <= part.len);
            part = slice_sub(part, used, part.len);
            if (what == NDJSON_DATA) {
                ASSERT(piece.len > 0);
                memcpy(out + len, piece.p, piece.len);
                len += piece.len;
            } else if (what == NDJSON_LINE) {
                out[len++] = '\n';
            }
        } while (what != NDJSON_MORE);
        ASSERT(part.len == 0);
    }
    *at_boundary = ndjson_at_boundary(&s);
    return len;
}

static void
check_facts(const struct endpoint *endpoint, struct slice in, size_t cut)
{
    struct answer_body whole;
    struct answer_body sliced;

    answer_body_init(&whole, STREAM_NDJSON, endpoint);
    answer_body_init(&sliced, STREAM_NDJSON, endpoint);
    answer_body_add(&whole, in);
    for (size_t at = 0; at < in.len; at += cut)
        answer_body_add(&sliced, slice_sub(in, at, cut));
    ASSERT(answer_body_events(&whole) == count_lines(in));
    ASSERT(answer_body_events(&sliced) == count_lines(in));
    ASSERT(answer_body_is_whole(&whole) == answer_body_is_whole(&sliced));
    ASSERT(whole.facts.prompt_tokens == sliced.facts.prompt_tokens);
    ASSERT(whole.facts.completion_tokens == sliced.facts.completion_tokens);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in;
    uint8_t *whole;
    uint8_t *sliced;
    bool whole_boundary = false;
    bool sliced_boundary = false;
    size_t cut;
    size_t len;

    check_never_fatal();
    if (size < 2)
        return 0;
    cut = data[0] % 16 + 1u;
    in = slice_of(data + 1, size - 1);
    whole = malloc(in.len);
    sliced = malloc(in.len);
    ASSERT(whole != NULL && sliced != NULL);
    len = split(in, in.len, whole, &whole_boundary);
    ASSERT(split(in, cut, sliced, &sliced_boundary) == len);
    ASSERT(slice_eq(slice_of(whole, len), slice_of(sliced, len)));
    ASSERT(whole_boundary == sliced_boundary);
    ASSERT(whole_boundary == (in.p[in.len - 1] == '\n'));
    for (size_t i = 0; endpoint_at(i) != NULL; i++)
        if (endpoint_at(i)->stream != STREAM_NONE)
            check_facts(endpoint_at(i), in, cut);
    free(whole);
    free(sliced);
    return 0;
}
