#include "node/answer_body.h"

#include "base/check.h"

enum endpoint_stream
answer_body_format(struct slice content_type)
{
    static const struct {
        const char *type;
        enum endpoint_stream format;
    } rows[] = {
        {"text/event-stream", STREAM_SSE},
        {"application/x-ndjson", STREAM_NDJSON},
        {"application/ndjson", STREAM_NDJSON},
    };
    struct slice type = slice_trim(slice_sub(content_type, 0, slice_find(content_type, ';')));

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (slice_eq_nocase(type, slice_str(rows[i].type)))
            return rows[i].format;
    return STREAM_NONE;
}

void
answer_body_init(struct answer_body *b, enum endpoint_stream format,
                 const struct endpoint *endpoint)
{
    b->format = format;
    b->in_text = b->ended = false;
    b->events = 0;
    sse_init(&b->sse);
    ndjson_init(&b->ndjson);
    answer_facts_init(&b->facts, endpoint, format);
}

static void
add_text(struct answer_body *b, struct slice data)
{
    if (!b->in_text)
        answer_facts_begin(&b->facts);
    b->in_text = true;
    answer_facts_add(&b->facts, data);
    /* The last line's end may be missing; an event without its empty line is none. */
    if (b->format == STREAM_NDJSON && b->facts.ends)
        b->ended = true;
}

static void
end_text(struct answer_body *b)
{
    b->in_text = false;
    b->events++;
    b->ended = b->ended || b->facts.ends;
}

static void
add_sse(struct answer_body *b, struct slice piece)
{
    struct slice data = SLICE_NONE;
    enum sse_what what;
    size_t used = 0;

    do {
        what = sse_next(&b->sse, piece, &data, &used);
        piece = slice_sub(piece, used, piece.len);
        if (what == SSE_DATA)
            add_text(b, data);
        else if (what == SSE_EVENT)
            end_text(b);
    } while (what != SSE_MORE);
}

static void
add_ndjson(struct answer_body *b, struct slice piece)
{
    struct slice data = SLICE_NONE;
    enum ndjson_what what;
    size_t used = 0;

    do {
        what = ndjson_next(&b->ndjson, piece, &data, &used);
        piece = slice_sub(piece, used, piece.len);
        if (what == NDJSON_DATA)
            add_text(b, data);
        else if (what == NDJSON_LINE)
            end_text(b);
    } while (what != NDJSON_MORE);
}

void
answer_body_add(struct answer_body *b, struct slice piece)
{
    switch (b->format) {
    case STREAM_NONE:
        add_text(b, piece);
        break;
    case STREAM_SSE:
        add_sse(b, piece);
        break;
    case STREAM_NDJSON:
        add_ndjson(b, piece);
        break;
    }
}

bool
answer_body_at_boundary(const struct answer_body *b)
{
    switch (b->format) {
    case STREAM_NONE:
        break;
    case STREAM_SSE:
        return sse_at_boundary(&b->sse);
    case STREAM_NDJSON:
        return ndjson_at_boundary(&b->ndjson);
    }
    return false;
}

bool
answer_body_done(const struct answer_body *b)
{
    return b->sse.done || b->ended;
}

bool
answer_body_is_whole(const struct answer_body *b)
{
    return b->facts.end == END_NONE || answer_body_done(b);
}

uint64_t
answer_body_events(const struct answer_body *b)
{
    return b->events - (b->sse.done && b->events > 0);
}
