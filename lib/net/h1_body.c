#include "net/h1_priv.h"

#include "base/check.h"

/* The body reader. Content is handed out where it lies; the chunked framing around it is
 * read byte by byte, so that nothing has to stay in the caller's buffer:
 *
 *   SIZE -> [EXT_NAME -> [EXT_VALUE | QUOTED -> QUOTED_END]] -> SIZE_LF
 *     SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE        a chunk
 *     SIZE_LF -> TRAILER                                   the last chunk
 *   TRAILER -> TRAILER_NAME -> TRAILER_VALUE -> TRAILER_LF -> TRAILER
 *   TRAILER -> END_LF                                      done
 *
 * Narrower than RFC 9112 section 7.1: no white space around size and extension, one
 * extension a chunk, no backslash in its quoted value. No sender is known to need these, and
 * parsers in the field disagree about where such a line ends. */

#define SIZE_DIGITS_MAX 16

enum state {
    STATE_SIZE,
    STATE_EXT_NAME,
    STATE_EXT_VALUE,
    STATE_QUOTED,
    STATE_QUOTED_END,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
};

/* Framing, routing and credentials don't belong in trailers (RFC 9110 section 6.5.1). We
 * drop all trailers; these are refused, because who sends them hopes for a reader that
 * merges them. */
static const char *const forbidden[] = {
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "upgrade",
    "authorization",
    "expect",
    "trailer",
    "content-type",
    "te",
    "proxy-connection",
};
_Static_assert(ARRAY_COUNT(forbidden) < 32, "one bit of trailer_match for each");

void
h1_body_init(struct h1_body *b, enum h1_framing framing, uint64_t content_length)
{
    *b = (struct h1_body){.framing = framing, .state = STATE_SIZE};
    if (framing == H1_BODY_LENGTH)
        b->left = content_length;
    b->done = framing == H1_BODY_NONE || (framing == H1_BODY_LENGTH && content_length == 0);
}

static bool
is(uint8_t c, uint8_t class)
{
    return (h1_class[c] & class) != 0;
}

static bool
size_byte(struct h1_body *b, uint8_t c)
{
    if (is(c, H1_HEX) && b->digits < SIZE_DIGITS_MAX) {
        b->size = b->size << 4 | h1_hex(c);
        b->digits++;
        return true;
    }
    if (b->digits == 0)
        return false;
    b->digits = 0;
    b->line_bytes = 1;
    b->state = c == ';' ? STATE_EXT_NAME : STATE_SIZE_LF;
    return c == ';' || c == '\r';
}

/* b->digits counts the bytes of the current name or value here: neither may be empty. */
static bool
ext_byte(struct h1_body *b, uint8_t c)
{
    if (c != '\r' && ++b->line_bytes > H1_CHUNK_EXT_MAX)
        return false;
    if (is(c, H1_TOKEN)) {
        b->digits++;
        return true;
    }
    if (b->state == STATE_EXT_NAME && c == '=' && b->digits > 0) {
        b->digits = 0;
        b->state = STATE_EXT_VALUE;
        return true;
    }
    if (b->state == STATE_EXT_VALUE && c == '"' && b->digits == 0) {
        b->state = STATE_QUOTED;
        return true;
    }
    b->state = STATE_SIZE_LF;
    return c == '\r' && b->digits > 0;
}

static bool
quoted_byte(struct h1_body *b, uint8_t c)
{
    if (++b->line_bytes > H1_CHUNK_EXT_MAX || !is(c, H1_VALUE))
        return false;
    if (c == '"')
        b->state = STATE_QUOTED_END;
    return c != '\\';
}

static bool
quoted_end_byte(struct h1_body *b, uint8_t c)
{
    b->state = STATE_SIZE_LF;
    return c == '\r';
}

static bool
size_lf_byte(struct h1_body *b, uint8_t c)
{
    b->state = b->size > 0 ? STATE_DATA : STATE_TRAILER;
    b->left = b->size;
    b->size = 0;
    b->digits = 0;
    return c == '\n';
}

/* Narrows down which forbidden names the trailer's name still may be. */
static void
trailer_match(struct h1_body *b, uint8_t c)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(forbidden); i++) {
        size_t len = strlen(forbidden[i]);
        uint8_t folded = c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;

        if (b->line_bytes >= len || (uint8_t)forbidden[i][b->line_bytes] != folded)
            b->trailer_match &= ~(UINT32_C(1) << i);
    }
}

static bool
trailer_is_forbidden(const struct h1_body *b)
{
    for (uint32_t i = 0; i < ARRAY_COUNT(forbidden); i++)
        if ((b->trailer_match >> i & 1) != 0 && strlen(forbidden[i]) == b->line_bytes)
            return true;
    return false;
}

static bool
trailer_name_byte(struct h1_body *b, uint8_t c)
{
    if (is(c, H1_NAME)) {
        trailer_match(b, c);
        b->line_bytes++;
        return true;
    }
    b->state = STATE_TRAILER_VALUE;
    return c == ':' && b->line_bytes > 0 && !trailer_is_forbidden(b);
}

static bool
trailer_start_byte(struct h1_body *b, uint8_t c)
{
    if (c == '\r') {
        b->state = STATE_END_LF;
        return true;
    }
    b->line_bytes = 0;
    b->trailer_match = UINT32_MAX;
    b->state = STATE_TRAILER_NAME;
    return ++b->trailer_count <= H1_TRAILERS_MAX && trailer_name_byte(b, c);
}

static bool
trailer_value_byte(struct h1_body *b, uint8_t c)
{
    if (c == '\r')
        b->state = STATE_TRAILER_LF;
    return c == '\r' || is(c, H1_VALUE);
}

static bool
trailer_byte(struct h1_body *b, uint8_t c)
{
    /* Field lines with CRLF, as in a head; the empty line at the end is free. */
    if (++b->trailer_bytes > H1_TRAILER_BYTES_MAX && c != '\r' && c != '\n')
        return false;
    switch ((enum state)b->state) {
    case STATE_TRAILER:
        return trailer_start_byte(b, c);
    case STATE_TRAILER_NAME:
        return trailer_name_byte(b, c);
    case STATE_TRAILER_VALUE:
        return trailer_value_byte(b, c);
    case STATE_TRAILER_LF:
        b->state = STATE_TRAILER;
        return c == '\n' && b->trailer_bytes <= H1_TRAILER_BYTES_MAX;
    case STATE_END_LF:
        b->done = true;
        return c == '\n';
    case STATE_SIZE:
    case STATE_EXT_NAME:
    case STATE_EXT_VALUE:
    case STATE_QUOTED:
    case STATE_QUOTED_END:
    case STATE_SIZE_LF:
    case STATE_DATA:
    case STATE_DATA_CR:
    case STATE_DATA_LF:
        break;
    }
    return false;
}

static bool
framing_byte(struct h1_body *b, uint8_t c)
{
    switch ((enum state)b->state) {
    case STATE_SIZE:
        return size_byte(b, c);
    case STATE_EXT_NAME:
    case STATE_EXT_VALUE:
        return ext_byte(b, c);
    case STATE_QUOTED:
        return quoted_byte(b, c);
    case STATE_QUOTED_END:
        return quoted_end_byte(b, c);
    case STATE_SIZE_LF:
        return size_lf_byte(b, c);
    case STATE_DATA_CR:
        b->state = STATE_DATA_LF;
        return c == '\r';
    case STATE_DATA_LF:
        b->state = STATE_SIZE;
        return c == '\n';
    case STATE_TRAILER:
    case STATE_TRAILER_NAME:
    case STATE_TRAILER_VALUE:
    case STATE_TRAILER_LF:
    case STATE_END_LF:
        return trailer_byte(b, c);
    case STATE_DATA:
        break;
    }
    return false;
}

/* As much content as there is, of what is left of the body or chunk. */
static struct slice
content_take(struct h1_body *b, struct slice data)
{
    size_t n = b->left < data.len ? (size_t)b->left : data.len;

    b->left -= n;
    if (b->left == 0 && b->framing == H1_BODY_LENGTH)
        b->done = true;
    if (b->left == 0 && b->framing == H1_BODY_CHUNKED)
        b->state = STATE_DATA_CR;
    return slice_sub(data, 0, n);
}

/* Framing up to the next content, the end of the body, or the end of data. */
static bool
framing_read(struct h1_body *b, struct slice data, size_t *used)
{
    size_t i = 0;

    while (i < data.len && !b->done && b->state != STATE_DATA) {
        bool in_trailers = b->state >= STATE_TRAILER;

        if (!framing_byte(b, data.p[i++])) {
            b->done = false;
            b->fault = in_trailers ? H1_FAULT_TRAILER : H1_FAULT_CHUNK;
            return false;
        }
    }
    *used = i;
    return true;
}

enum err
h1_body_read(struct h1_body *b, struct slice data, struct slice *content, size_t *used)
{
    size_t skipped = 0;

    if (b->fault != H1_FAULT_NONE)
        return ERR_BADMSG;
    if (!b->done && data.len == 0)
        return ERR_AGAIN;
    if (!b->done && b->framing == H1_BODY_CHUNKED && !framing_read(b, data, &skipped))
        return ERR_BADMSG;
    *content = slice_sub(data, skipped, 0);
    if (b->framing == H1_BODY_TO_EOF && !b->done)
        *content = data;
    else if (b->left > 0)
        *content = content_take(b, slice_sub(data, skipped, data.len));
    *used = skipped + content->len;
    return ERR_OK;
}

enum err
h1_body_eof(struct h1_body *b)
{
    if (b->fault != H1_FAULT_NONE)
        return ERR_BADMSG;
    if (b->framing == H1_BODY_TO_EOF)
        b->done = true;
    return b->done ? ERR_OK : ERR_EOF;
}
