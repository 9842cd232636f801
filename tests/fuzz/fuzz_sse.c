/* Server-sent events: any slicing tells the same events, data and boundaries; what the
 * splitter told, read once more as a stream of its own, is the same; and the facts read from
 * the events do not depend on the slicing either, nor does what is left without its usage.
 * The first byte chooses the slices. */
#include "base/check.h"
#include "node/answer_body.h"
#include "node/usage_hide.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
    uint8_t *text; /* each event as "data: ...\n" lines and an empty line */
    size_t len;
    size_t size;
    uint64_t events;
    bool done;
    bool at_boundary;
};

static void
tell(struct told *t, struct slice s)
{
    ASSERT(t->len + s.len <= t->size);
    if (s.len > 0)
        memcpy(t->text + t->len, s.p, s.len);
    t->len += s.len;
}

static void
feed(struct sse *s, struct slice in, bool *in_event, struct told *out)
{
    struct slice piece = SLICE_NONE;
    enum sse_what what;
    size_t used = 0;

    do {
        what = sse_next(s, in, &piece, &used);
        ASSERT(used <= in.len);
        ASSERT(what == SSE_MORE ? used == in.len : true);
        in = slice_sub(in, used, in.len);
        if (what == SSE_DATA) {
            ASSERT(piece.len > 0);
            if (!*in_event)
                tell(out, SLICE_LIT("data: "));
            *in_event = true;
            if (slice_eq(piece, SLICE_LIT("\n")))
                tell(out, SLICE_LIT("\ndata: "));
            else
                tell(out, piece);
        } else if (what == SSE_EVENT) {
            tell(out, *in_event ? SLICE_LIT("\n\n") : SLICE_LIT("data\n\n"));
            *in_event = false;
            out->events++;
        }
    } while (what != SSE_MORE);
}

/* Slices of `cut` bytes (0: whole), each in a block of exactly its size. */
static struct told
split(struct slice in, size_t cut)
{
    struct told out = {.size = in.len * 8 + 16};
    bool in_event = false;
    struct sse s;

    out.text = malloc(out.size);
    ASSERT(out.text != NULL);
    sse_init(&s);
    while (in.len > 0) {
        size_t n = cut == 0 || cut > in.len ? in.len : cut;
        uint8_t *block = malloc(n);

        ASSERT(block != NULL);
        memcpy(block, in.p, n);
        feed(&s, slice_of(block, n), &in_event, &out);
        free(block);
        in = slice_sub(in, n, in.len);
    }
    out.done = s.done;
    out.at_boundary = sse_at_boundary(&s);
    return out;
}

static void
check_facts(const struct endpoint *endpoint, struct slice in, size_t cut)
{
    struct answer_body whole;
    struct answer_body sliced;

    answer_body_init(&whole, STREAM_SSE, endpoint);
    answer_body_init(&sliced, STREAM_SSE, endpoint);
    answer_body_add(&whole, in);
    for (size_t at = 0; at < in.len; at += cut)
        answer_body_add(&sliced, slice_sub(in, at, cut));
    ASSERT(answer_body_events(&whole) == answer_body_events(&sliced));
    ASSERT(answer_body_done(&whole) == answer_body_done(&sliced));
    ASSERT(answer_body_is_whole(&whole) == answer_body_is_whole(&sliced));
    ASSERT(whole.facts.prompt_tokens == sliced.facts.prompt_tokens);
    ASSERT(whole.facts.completion_tokens == sliced.facts.completion_tokens);
    ASSERT(slice_eq(answer_text_slice(&whole.facts.model), answer_text_slice(&sliced.facts.model)));
    ASSERT(slice_eq(answer_text_slice(&whole.facts.response_id),
                    answer_text_slice(&sliced.facts.response_id)));
}

/* What a caller sees of a stream whose usage only we asked for, in slices of `cut` bytes. */
static struct told
hide(struct slice in, size_t cut, struct buf_pool *pool, struct jscan_keys *keys)
{
    struct told out = {.size = in.len + 1};
    struct usage_hide *h;
    struct slice shown;

    out.text = malloc(out.size);
    ASSERT(out.text != NULL);
    h = usage_hide_new(pool, keys);
    if (h == NULL)
        abort();
    for (size_t at = 0; at < in.len; at += cut) {
        struct slice piece = slice_sub(in, at, cut);

        while (usage_hide_next(h, &piece, &shown)) {
            ASSERT(shown.len > 0);
            tell(&out, shown);
        }
        ASSERT(piece.len == 0);
    }
    tell(&out, usage_hide_rest(h));
    usage_hide_free(&h);
    ASSERT(buf_pool_held(pool) == 0);
    return out;
}

/* Without the word nothing is looked at: the scanner's table is too dear to make for nothing. */
static bool
has_usage(struct slice in)
{
    for (size_t at = 0; at < in.len; at++)
        if (slice_starts(slice_sub(in, at, in.len), SLICE_LIT("\"usage\"")))
            return true;
    return false;
}

/* Less than came, and never more events. */
static void
check_hidden(struct slice in, size_t cut)
{
    struct buf_pool *pool = NULL;
    struct jscan_keys *keys = NULL;
    struct told whole;
    struct told sliced;
    struct told events;
    struct told left;

    ASSERT(buf_pool_new(&pool, 0) == ERR_OK);
    ASSERT(jscan_keys_new(&keys) == ERR_OK);
    whole = hide(in, in.len + 1, pool, keys);
    sliced = hide(in, cut, pool, keys);
    ASSERT(slice_eq(slice_of(whole.text, whole.len), slice_of(sliced.text, sliced.len)));
    events = split(in, 0);
    left = split(slice_of(whole.text, whole.len), 0);
    ASSERT(whole.len <= in.len && left.events <= events.events);
    free(whole.text);
    free(sliced.text);
    free(events.text);
    free(left.text);
    jscan_keys_free(&keys);
    buf_pool_free(&pool);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told whole;
    struct told sliced;
    struct told again;
    size_t cut;

    check_never_fatal();
    if (size == 0)
        return 0;
    cut = data[0] % 16 + 1u;
    whole = split(slice_of(data + 1, size - 1), 0);
    sliced = split(slice_of(data + 1, size - 1), cut);
    ASSERT(slice_eq(slice_of(whole.text, whole.len), slice_of(sliced.text, sliced.len)));
    ASSERT(whole.events == sliced.events && whole.done == sliced.done);
    ASSERT(whole.at_boundary == sliced.at_boundary);
    again = split(slice_of(whole.text, whole.len), cut);
    ASSERT(again.events == whole.events && again.done == whole.done);
    for (size_t i = 0; endpoint_at(i) != NULL; i++)
        if (endpoint_at(i)->end != END_NONE && endpoint_at(i)->stream == STREAM_SSE)
            check_facts(endpoint_at(i), slice_of(data + 1, size - 1), cut);
    if (has_usage(slice_of(data + 1, size - 1)))
        check_hidden(slice_of(data + 1, size - 1), cut);
    free(whole.text);
    free(sliced.text);
    free(again.text);
    return 0;
}
