#include "net/multipart.h"

#include "base/check.h"
#include "net/h1_priv.h"
#include "net/multipart_priv.h"

/* The machine. A delimiter begins with CR and a boundary holds none, so that a match that
 * breaks can only begin anew at the breaking byte: the bytes held back are the delimiter's
 * own, and need no buffer.
 *
 *   START -> AFTER -> AFTER_LF -> HEAD -> CONTENT -> AFTER ...
 *            AFTER -> AFTER_HYPHEN -> END -> END_LF -> DONE
 */
enum state {
    STATE_START,
    STATE_AFTER,        /* behind a delimiter */
    STATE_AFTER_LF,     /* its CR was seen */
    STATE_AFTER_HYPHEN, /* the first hyphen of the end was seen */
    STATE_HEAD,
    STATE_CONTENT,
    STATE_END,
    STATE_END_LF,
    STATE_DONE,
};

const char *
multipart_fault_text(enum multipart_fault fault)
{
#define FAULT_ROW(name, text) [name] = text,
    static const char *const texts[] = {MULTIPART_FAULT_LIST(FAULT_ROW)};
#undef FAULT_ROW

    ASSERT(fault < MULTIPART_FAULT_COUNT);
    return texts[fault];
}

static enum err
fail(struct multipart *m, enum multipart_fault fault)
{
    m->fault = fault;
    return ERR_BADMSG;
}

enum err
multipart_init(struct multipart *m, struct slice content_type)
{
    struct slice boundary;

    *m = (struct multipart){.state = STATE_START, .matched = 2};
    if (!multipart_type_boundary(content_type, &boundary))
        return fail(m, MULTIPART_FAULT_TYPE);
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.p, boundary.len);
    m->delimiter_len = 4 + boundary.len;
    return ERR_OK;
}

/* ---- steps: each takes what it can of data ------------------------------------------- */

/* The first delimiter has no CRLF before it: it counts as matched. */
static enum err
read_start(struct multipart *m, struct slice data, size_t *used)
{
    while (*used < data.len && m->matched < m->delimiter_len)
        if (data.p[(*used)++] != m->delimiter[m->matched++])
            return fail(m, MULTIPART_FAULT_START);
    if (m->matched < m->delimiter_len)
        return ERR_AGAIN;
    m->state = STATE_AFTER;
    return ERR_OK;
}

static enum err
read_after(struct multipart *m, uint8_t c)
{
    if (m->state == STATE_AFTER && c == '\r') {
        m->state = STATE_AFTER_LF;
    } else if (m->state == STATE_AFTER && c == '-' && m->part_count > 0) {
        m->state = STATE_AFTER_HYPHEN;
    } else if (m->state == STATE_AFTER_LF && c == '\n') {
        if (m->part_count == MULTIPART_PARTS_MAX)
            return fail(m, MULTIPART_FAULT_PARTS);
        m->part_count++;
        m->head_used = 0;
        m->state = STATE_HEAD;
    } else if (m->state == STATE_AFTER_HYPHEN && c == '-') {
        m->state = STATE_END;
    } else {
        return fail(m, MULTIPART_FAULT_DELIMITER);
    }
    return ERR_OK;
}

static bool
head_is_whole(const struct multipart *m)
{
    return m->head_used >= 4 && memcmp(m->head + m->head_used - 4, "\r\n\r\n", 4) == 0;
}

/* True when the head is complete. Every line ends in CRLF and holds no other CR or LF; that
 * is checked when it is taken apart. */
static enum err
read_head(struct multipart *m, struct slice data, size_t *used)
{
    while (*used < data.len) {
        if (m->head_used == sizeof(m->head))
            return fail(m, MULTIPART_FAULT_HEAD_SIZE);
        m->head[m->head_used++] = data.p[(*used)++];
        if (m->head_used == 2 && memcmp(m->head, "\r\n", 2) == 0)
            return fail(m, MULTIPART_FAULT_DISPOSITION); /* no line at all */
        if (head_is_whole(m)) {
            m->fault = multipart_read_head(m);
            if (m->fault != MULTIPART_FAULT_NONE)
                return ERR_BADMSG;
            m->content_bytes = 0;
            m->matched = 0;
            m->state = STATE_CONTENT;
            return ERR_OK;
        }
    }
    return ERR_AGAIN;
}

static enum err
end_part(struct multipart *m, enum multipart_event *event)
{
    if (m->length_stated && m->length != m->content_bytes)
        return fail(m, MULTIPART_FAULT_LENGTH);
    m->state = STATE_AFTER;
    *event = MULTIPART_PART_END;
    return ERR_OK;
}

/* A match that goes on, or ends: true when something happened. What was held back of a
 * delimiter that turned out to be none is content. */
static bool
read_match(struct multipart *m, struct slice data, struct slice *content, size_t *used)
{
    while (m->matched > 0 && m->matched < m->delimiter_len && *used < data.len) {
        if (data.p[*used] != m->delimiter[m->matched]) {
            *content = slice_of(m->delimiter, m->matched);
            m->matched = 0;
            return true;
        }
        (*used)++;
        m->matched++;
    }
    return m->matched == m->delimiter_len;
}

/* How much of data is content for certain: up to a CR with which a delimiter may begin. */
static size_t
content_len(const struct multipart *m, struct slice data)
{
    size_t at = 0;

    for (;; at++) {
        size_t n;

        at += slice_find(slice_sub(data, at, data.len), '\r');
        n = data.len - at < m->delimiter_len ? data.len - at : m->delimiter_len;
        if (n == 0 || memcmp(data.p + at, m->delimiter, n) == 0)
            return at;
    }
}

static enum err
read_content(struct multipart *m, struct slice data, enum multipart_event *event,
             struct slice *content, size_t *used)
{
    *event = MULTIPART_CONTENT;
    while (*used < data.len) {
        struct slice rest;

        if (m->matched > 0 && !read_match(m, data, content, used))
            return ERR_AGAIN;
        if (m->matched == m->delimiter_len)
            return end_part(m, event);
        if (content->len == 0) {
            rest = slice_sub(data, *used, data.len);
            *content = slice_sub(rest, 0, content_len(m, rest));
            *used += content->len;
        }
        if (content->len > 0) {
            m->content_bytes += content->len;
            return ERR_OK;
        }
        (*used)++; /* a CR */
        m->matched = 1;
    }
    return ERR_AGAIN;
}

static enum err
read_end(struct multipart *m, uint8_t c)
{
    if (m->state == STATE_END && c == '\r')
        m->state = STATE_END_LF;
    else if (m->state == STATE_END_LF && c == '\n')
        m->state = STATE_DONE;
    else
        return fail(m, MULTIPART_FAULT_EPILOGUE);
    return ERR_OK;
}

/* One step; ERR_OK with *event == MULTIPART_END where nothing happened yet. */
static enum err
step(struct multipart *m, struct slice data, enum multipart_event *event, struct slice *content,
     size_t *used)
{
    enum err e;

    switch ((enum state)m->state) {
    case STATE_START:
        return read_start(m, data, used);
    case STATE_AFTER:
    case STATE_AFTER_LF:
    case STATE_AFTER_HYPHEN:
        return read_after(m, data.p[(*used)++]);
    case STATE_HEAD:
        e = read_head(m, data, used);
        *event = e == ERR_OK ? MULTIPART_PART : *event;
        return e;
    case STATE_CONTENT:
        return read_content(m, data, event, content, used);
    case STATE_END:
    case STATE_END_LF:
    case STATE_DONE:
        break;
    }
    return read_end(m, data.p[(*used)++]);
}

enum err
multipart_read(struct multipart *m, struct slice data, enum multipart_event *event,
               struct slice *content, size_t *used)
{
    *used = 0;
    *content = SLICE_NONE;
    if (m->fault != MULTIPART_FAULT_NONE)
        return ERR_BADMSG;
    while (*used < data.len) {
        uint32_t before = m->state;
        enum err e;

        *event = MULTIPART_END;
        e = step(m, data, event, content, used);
        if (e != ERR_OK || *event != MULTIPART_END)
            return e;
        if (m->state == STATE_END && before != STATE_END)
            return ERR_OK;
    }
    return ERR_AGAIN;
}

enum err
multipart_finish(struct multipart *m)
{
    if (m->fault != MULTIPART_FAULT_NONE)
        return ERR_BADMSG;
    /* A CR without its LF behind the end is half of what may follow. */
    if (m->state != STATE_END && m->state != STATE_DONE)
        return fail(m, MULTIPART_FAULT_CUT);
    return ERR_OK;
}

struct multipart_part
multipart_part(const struct multipart *m)
{
    return (struct multipart_part){slice_of(m->name, m->name_len), m->is_file};
}

void
multipart_opening(const struct multipart *m, struct slice *delimiter, struct slice *head)
{
    size_t skip = m->part_count == 1 ? 2 : 0; /* no CRLF before the first */

    *delimiter = slice_of(m->delimiter + skip, m->delimiter_len - skip);
    *head = slice_of(m->head, m->head_used);
}

struct slice
multipart_closing(const struct multipart *m)
{
    return slice_of(m->delimiter, m->delimiter_len);
}

struct slice
multipart_boundary(const struct multipart *m)
{
    return slice_of(m->delimiter + 4, m->delimiter_len - 4);
}
