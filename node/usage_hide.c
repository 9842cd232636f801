#include "node/usage_hide.h"

#include "base/check.h"
#include "net/sse.h"

#include <stdlib.h>

static const char word[] = "\"usage\"";
static const char mark[] = "\xef\xbb\xbf";

/* Where an event's JSON says what of its usage. */
struct finding {
    bool has_usage; /* the outermost object has the member */
    bool is_object; /* ... and it is one that counts: null is none */
    bool no_choices;
    size_t from, to; /* the member, with the comma that goes with it */
};

struct usage_hide {
    struct sse sse;
    struct sse before;       /* as it was where the event under way began */
    struct jscan_keys *keys; /* borrowed */
    struct buf event;        /* what earlier pieces had of the event under way */
    struct buf shown;        /* an event without its usage, for one call */
    bool is_behind;          /* the stream's first block: a mark (BOM) counts there only */
    bool is_given;           /* what `event` holds was handed out by the last call */
    bool is_passing;         /* the event under way is too large */
    bool drops_lf;           /* the event that was taken out ended with a CR: so does its LF */
};

struct usage_hide *
usage_hide_new(struct buf_pool *pool, struct jscan_keys *keys)
{
    struct usage_hide *h = calloc(1, sizeof(*h));

    if (h == NULL)
        return NULL;
    h->keys = keys;
    sse_init(&h->sse);
    h->before = h->sse;
    buf_init(&h->event, pool, USAGE_EVENT_MAX);
    buf_init(&h->shown, pool, USAGE_EVENT_MAX);
    return h;
}

void
usage_hide_free(struct usage_hide **hide)
{
    struct usage_hide *h = *hide;

    *hide = NULL;
    if (h == NULL)
        return;
    buf_release(&h->event);
    buf_release(&h->shown);
    free(h);
}

/* ---- finding ----------------------------------------------------------------------------- */

/* Most events of most servers have none: they are not looked at any further. */
static bool
has_word(struct slice s)
{
    size_t len = sizeof(word) - 1;
    size_t at = slice_find(s, '"');

    for (; at < s.len; at = slice_find_either(s, at + 1, '"', '"'))
        if (slice_is(slice_sub(s, at, len), word))
            return true;
    return false;
}

static size_t
token_end(const struct jscan_token *t)
{
    switch (t->type) {
    case JSCAN_KEY:
    case JSCAN_STRING:
        return t->at + t->raw.len + 2;
    case JSCAN_NUMBER:
        return t->at + t->raw.len;
    case JSCAN_TRUE:
    case JSCAN_NULL:
        return t->at + 4;
    case JSCAN_FALSE:
        return t->at + 5;
    case JSCAN_OBJECT:
    case JSCAN_OBJECT_END:
    case JSCAN_ARRAY:
    case JSCAN_ARRAY_END:
    case JSCAN_END:
        break;
    }
    return t->at + 1;
}

/* The value of a member of the outermost object; *t becomes its last token. */
static enum err
read_value(struct jscan *s, bool is_usage, bool is_choices, struct jscan_token *t,
           struct finding *out)
{
    enum err e = jscan_next(s, t);
    bool is_array = e == ERR_OK && t->type == JSCAN_ARRAY;
    bool is_container = is_array || (e == ERR_OK && t->type == JSCAN_OBJECT);

    if (is_usage)
        out->is_object = is_container && !is_array;
    if (is_container)
        e = jscan_next(s, t);
    if (is_choices)
        out->no_choices = is_array && e == ERR_OK && t->type == JSCAN_ARRAY_END;
    while (e == ERR_OK && is_container &&
           !(t->depth == 1 && (t->type == JSCAN_ARRAY_END || t->type == JSCAN_OBJECT_END)))
        e = jscan_next(s, t);
    return e;
}

/* False: no strict JSON object. */
static bool
find_usage(struct slice text, struct jscan_keys *keys, struct finding *out)
{
    struct jscan_token t;
    struct jscan s;
    bool is_first = true;
    bool opens = false; /* usage is the first member: the comma behind it goes with it */
    size_t end = 0;     /* of the member before */

    *out = (struct finding){0};
    jscan_init(&s, text, keys);
    if (jscan_next(&s, &t) != ERR_OK || t.type != JSCAN_OBJECT)
        return false;
    for (;;) {
        bool is_usage;

        if (jscan_next(&s, &t) != ERR_OK)
            return false;
        if (t.type != JSCAN_KEY)
            break;
        if (opens)
            out->to = t.at;
        is_usage = slice_is(t.raw, "usage");
        opens = is_usage && is_first;
        out->from = is_usage ? (is_first ? t.at : end) : out->from;
        out->has_usage = out->has_usage || is_usage;
        if (read_value(&s, is_usage, slice_is(t.raw, "choices"), &t, out) != ERR_OK)
            return false;
        end = token_end(&t);
        out->to = is_usage ? end : out->to;
        is_first = false;
    }
    return jscan_next(&s, &t) == ERR_OK;
}

/* ---- one event --------------------------------------------------------------------------- */

/* Its data where it stands, and LF, which no line of data has, everywhere else: JSON with white
 * space in it, and every offset is that of the event. */
static void
mask(const struct usage_hide *h, struct slice event, uint8_t *out)
{
    struct slice rest = event;
    struct slice data = SLICE_NONE;
    struct sse s = h->before;
    size_t used = 0;

    memset(out, '\n', event.len);
    while (rest.len > 0) {
        enum sse_what what = sse_next(&s, rest, &data, &used);

        rest = slice_sub(rest, used, rest.len);
        if (what == SSE_DATA && !slice_is(data, "\n")) /* what joins two lines is not in it */
            memcpy(out + (data.p - event.p), data.p, data.len);
    }
}

/* The event without a stretch of its data. p holds its mask, and then what is left. */
static size_t
cut_out(struct slice event, const struct finding *f, uint8_t *p)
{
    size_t at = f->from;

    for (size_t i = f->from; i < f->to; i++)
        if (p[i] == '\n') /* between two lines of data */
            p[at++] = event.p[i];
    memcpy(p, event.p, f->from);
    memcpy(p + at, event.p + f->to, event.len - f->to);
    return at + event.len - f->to;
}

/* Where the last block of lines begins: comments and the like may stand before it. */
static size_t
block_start(struct slice event)
{
    size_t start = 0;
    size_t line = 0;

    for (size_t i = 0; i < event.len; i++) {
        bool is_blank = i == line;

        if (event.p[i] != '\r' && event.p[i] != '\n')
            continue;
        if (event.p[i] == '\r' && i + 1 < event.len && event.p[i + 1] == '\n')
            i++;
        line = i + 1;
        if (is_blank && line < event.len)
            start = line;
    }
    return start;
}

/* What stands before the event itself: blocks without data, or the stream's mark. */
static struct slice
before_event(const struct usage_hide *h, struct slice event)
{
    size_t start = block_start(event);

    if (start == 0 && !h->is_behind && slice_starts(event, slice_str(mark)))
        start = sizeof(mark) - 1;
    return slice_sub(event, 0, start);
}

/* What is left of an event; empty: nothing. */
static struct slice
without_usage(struct usage_hide *h, struct slice event)
{
    struct finding f;
    uint8_t *p;
    size_t room;

    if (!has_word(event))
        return event;
    p = buf_room(&h->shown, event.len, &room);
    if (p == NULL)
        return event;
    mask(h, event, p);
    if (!find_usage(slice_of(p, event.len), h->keys, &f) || !f.has_usage)
        return event;
    if (f.is_object && f.no_choices) {
        h->drops_lf = event.p[event.len - 1] == '\r';
        return before_event(h, event);
    }
    buf_commit(&h->shown, cut_out(event, &f, p));
    return buf_slice(&h->shown);
}

/* ---- the stream -------------------------------------------------------------------------- */

/* Up to an event's end, which is told, or all there is. */
static bool
take(struct sse *s, struct slice *in, struct slice *out)
{
    struct slice data = SLICE_NONE;
    enum sse_what what;
    size_t all = 0;
    size_t used = 0;

    do {
        what = sse_next(s, slice_sub(*in, all, in->len), &data, &used);
        all += used;
    } while (what == SSE_DATA);
    *out = slice_sub(*in, 0, all);
    *in = slice_sub(*in, all, in->len);
    return what == SSE_EVENT;
}

/* Adds a piece to what is held and gives all of it. False: it does not fit. */
static bool
gather(struct usage_hide *h, struct slice piece, struct slice *out)
{
    *out = piece;
    if (buf_used(&h->event) == 0)
        return true;
    if (buf_add(&h->event, piece) != ERR_OK)
        return false;
    *out = buf_slice(&h->event);
    h->is_given = true;
    return true;
}

/* The event under way goes on as it is, from what is held of it. */
static bool
give_up(struct usage_hide *h, struct slice *out)
{
    h->is_passing = true;
    h->is_given = true;
    *out = buf_slice(&h->event);
    return out->len > 0;
}

/* One turn: *in gets shorter, or is_passing begins. *out may be empty. */
static void
turn(struct usage_hide *h, struct slice *in, struct slice *out)
{
    const struct slice whole = *in;
    const struct sse sse = h->sse;
    struct slice piece;
    bool is_event = take(&h->sse, in, &piece);
    bool is_over = is_event || sse_at_boundary(&h->sse);

    if (h->is_passing) {
        *out = piece;
        h->is_passing = !is_over;
    } else if (is_over && gather(h, piece, out)) {
        *out = is_event ? without_usage(h, *out) : *out;
    } else if (!is_over && buf_add(&h->event, piece) == ERR_OK) {
        *out = SLICE_NONE;
        return;
    } else {
        *in = whole;
        h->sse = sse;
        (void)give_up(h, out);
        return;
    }
    if (!is_over)
        return;
    h->before = h->sse;
    h->is_behind = true;
}

bool
usage_hide_next(struct usage_hide *h, struct slice *in, struct slice *out)
{
    buf_release(&h->shown);
    if (h->is_given)
        buf_release(&h->event);
    h->is_given = false;
    while (in->len > 0) {
        if (h->drops_lf && in->p[0] == '\n') {
            struct slice lf = slice_sub(*in, 0, 1);
            struct slice none;

            (void)take(&h->sse, &lf, &none);
            h->before = h->sse;
            *in = slice_sub(*in, 1, in->len);
        }
        h->drops_lf = false;
        if (in->len == 0)
            break;
        turn(h, in, out);
        if (out->len > 0)
            return true;
        if (h->is_given)
            buf_release(&h->event);
        h->is_given = false;
    }
    return false;
}

struct slice
usage_hide_rest(const struct usage_hide *h)
{
    return h->is_given ? SLICE_NONE : buf_slice(&h->event);
}
