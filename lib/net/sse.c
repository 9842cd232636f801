#include "net/sse.h"

#include "base/check.h"

#define DATA_NAME "data"
#define DATA_NAME_LEN 4
#define BOM "\xef\xbb\xbf"
#define BOM_LEN 3
#define DONE "[DONE]"
#define DONE_LEN 6
#define DONE_NOT UINT32_MAX /* the data begins otherwise */

enum phase {
    PHASE_BOM, /* the stream's first bytes */
    PHASE_LINE,
    PHASE_NAME,  /* so far the name may be "data" */
    PHASE_COLON, /* behind it: one space is no part of the data */
    PHASE_DATA,
    PHASE_SKIP, /* comments and other fields */
};

void
sse_init(struct sse *s)
{
    *s = (struct sse){.phase = PHASE_BOM};
}

bool
sse_at_boundary(const struct sse *s)
{
    bool at_line = s->phase == PHASE_LINE || (s->phase == PHASE_BOM && s->matched == 0);

    return at_line && !s->is_open && !(s->after_cr && s->uses_crlf);
}

static bool
is_line_end(uint8_t c)
{
    return c == '\r' || c == '\n';
}

static size_t
line_rest(struct slice in, size_t at)
{
    while (at < in.len && !is_line_end(in.p[at]))
        at++;
    return at;
}

/* A line of data begins. True: the lines before it and this one are joined by an LF. */
static bool
begin_data(struct sse *s, enum phase next)
{
    bool joined = s->has_data;

    s->phase = next;
    s->has_data = true;
    if (joined && s->done_matched < DONE_LEN)
        s->done_matched = DONE_NOT;
    else if (!joined)
        s->done_matched = 0;
    return joined;
}

static void
match_done(struct sse *s, struct slice data)
{
    for (size_t i = 0; i < data.len && s->done_matched < DONE_LEN; i++)
        s->done_matched =
            data.p[i] == (uint8_t)DONE[s->done_matched] ? s->done_matched + 1 : DONE_NOT;
}

/* True: the line that ended was empty, and so an event is complete. */
static bool
end_line(struct sse *s, uint8_t c)
{
    bool is_blank = s->phase == PHASE_LINE;
    bool is_event = is_blank && s->has_data;

    s->after_cr = c == '\r';
    s->phase = PHASE_LINE;
    if (!is_blank)
        return false;
    if (is_event && s->done_matched == DONE_LEN)
        s->done = true;
    s->is_open = s->has_data = false;
    return is_event;
}

/* One byte of what stands before the data of a line, and is no line end. True: it was used. */
static bool
take_byte(struct sse *s, uint8_t c)
{
    switch ((enum phase)s->phase) {
    case PHASE_BOM:
        if (c == (uint8_t)BOM[s->matched]) {
            if (++s->matched == BOM_LEN)
                s->phase = PHASE_LINE;
            return true;
        }
        /* A part of a mark is the beginning of a name that means nothing. */
        s->is_open = s->matched > 0;
        s->phase = s->matched > 0 ? PHASE_SKIP : PHASE_LINE;
        return false;
    case PHASE_LINE:
        s->is_open = true;
        s->matched = c == (uint8_t)DATA_NAME[0];
        s->phase = s->matched > 0 ? PHASE_NAME : PHASE_SKIP;
        return true;
    case PHASE_NAME:
        if (s->matched < DATA_NAME_LEN && c == (uint8_t)DATA_NAME[s->matched])
            s->matched++;
        else
            s->phase = PHASE_SKIP;
        return true;
    case PHASE_COLON:
        s->phase = PHASE_DATA;
        return c == ' ';
    case PHASE_DATA:
    case PHASE_SKIP:
        break;
    }
    return false;
}

/* The byte ends the name "data": by its colon, or as a whole line. */
static bool
ends_data_name(const struct sse *s, uint8_t c)
{
    return s->phase == PHASE_NAME && s->matched == DATA_NAME_LEN && (c == ':' || is_line_end(c));
}

enum sse_what
sse_next(struct sse *s, struct slice in, struct slice *piece, size_t *used)
{
    size_t at = 0;

    while (at < in.len) {
        uint8_t c = in.p[at];
        size_t from = at;

        if (s->after_cr) {
            s->after_cr = false;
            if (c == '\n') {
                s->uses_crlf = true;
                at++;
                continue;
            }
        }
        if (ends_data_name(s, c)) {
            at += c == ':';
            if (begin_data(s, c == ':' ? PHASE_COLON : PHASE_DATA)) {
                *piece = SLICE_LIT("\n");
                *used = at;
                return SSE_DATA;
            }
        } else if (is_line_end(c)) {
            if (s->phase == PHASE_BOM) {
                s->is_open = s->matched > 0;
                s->phase = s->matched > 0 ? PHASE_SKIP : PHASE_LINE;
            }
            at++;
            if (end_line(s, c)) {
                *used = at;
                return SSE_EVENT;
            }
        } else if (s->phase == PHASE_SKIP) {
            at = line_rest(in, at);
        } else if (s->phase == PHASE_DATA) {
            at = line_rest(in, at);
            *piece = slice_sub(in, from, at - from);
            match_done(s, *piece);
            *used = at;
            return SSE_DATA;
        } else {
            at += take_byte(s, c);
        }
    }
    *used = at;
    return SSE_MORE;
}
