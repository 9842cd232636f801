/* The strict JSON scanner: one pass, no tree, no recursion.
 *
 *   START --value--> DONE --end of text--> ENDED
 *
 *   ARRAY_FIRST --value or ]-->  ARRAY_NEXT  --, value--> ARRAY_NEXT, or ] and out
 *   OBJECT_FIRST --key or }-->   MEMBER --: value--> OBJECT_NEXT --, key--> MEMBER, or } and out
 *
 * Any fault ends in BROKEN or OVERSIZE, which answer every further call alike. */
#include "base/jscan.h"

#include "base/check.h"
#include "base/jscan_priv.h"
#include "base/text.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define INT_MAX_EXACT (INT64_C(1) << 53)

enum state {
    STATE_START,
    STATE_ARRAY_FIRST,
    STATE_ARRAY_NEXT,
    STATE_OBJECT_FIRST,
    STATE_OBJECT_NEXT,
    STATE_MEMBER,
    STATE_DONE,
    STATE_ENDED,
    STATE_BROKEN,
    STATE_OVERSIZE,
};

_Static_assert(JSCAN_DEPTH_MAX <= 64, "is_object has 64 bits");

void
jscan_init(struct jscan *s, struct slice text, struct jscan_keys *keys)
{
    *s = (struct jscan){.text = text, .keys = keys, .state = STATE_START};
    jscan_keys_pop_to(keys, 0); /* what a scan that ended in a fault left behind */
}

static enum err
fail(struct jscan *s, size_t at, const char *why)
{
    s->at = at;
    s->why = why;
    s->state = STATE_BROKEN;
    return ERR_BADMSG;
}

static enum err
fail_size(struct jscan *s, size_t at, const char *why)
{
    s->at = at;
    s->why = why;
    s->state = STATE_OVERSIZE;
    return ERR_TOOBIG;
}

/* The byte at s->at, or -1 at the end: no byte of JSON text equals that. */
static int
peek(const struct jscan *s)
{
    return s->at < s->text.len ? s->text.p[s->at] : -1;
}

static void
skip_space(struct jscan *s)
{
    const uint8_t *p = s->text.p;
    size_t at = s->at;

    while (at < s->text.len && (p[at] == ' ' || p[at] == '\n' || p[at] == '\r' || p[at] == '\t'))
        at++;
    s->at = at;
}

/* Offset of the first byte from at on that a string can't just run over: a quote, a
 * backslash, a control character or the start of a longer UTF-8 sequence; or len. */
static size_t
plain_end(const uint8_t *p, size_t at, size_t len)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');

    for (; len - at >= 16; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
        /* Signed: bytes from 0x80 on are negative, thus below the space too. */
        __m128i low = _mm_cmplt_epi8(v, space);
        __m128i hit =
            _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash)), low);
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);

        if (mask != 0)
            return at + (size_t)__builtin_ctz(mask);
    }
#else
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = ones << 7;

    for (; len - at >= 8; at += 8) {
        uint64_t v;
        uint64_t q;
        uint64_t b;

        memcpy(&v, p + at, sizeof(v));
        q = v ^ ones * '"';
        b = v ^ ones * '\\';
        /* A borrow can mark a byte above a hit, never one in a word without a hit. */
        if (((v | ((v - ones * ' ') & ~v) | ((q - ones) & ~q) | ((b - ones) & ~b)) & tops) != 0)
            break;
    }
#endif
    while (at < len && p[at] >= ' ' && p[at] < 0x80 && p[at] != '"' && p[at] != '\\')
        at++;
    return at;
}

/* The length of the well-formed UTF-8 sequence at at, which is no ASCII, or 0. The common
 * ones are told right here. */
static size_t
sequence_len(const uint8_t *p, size_t at, size_t len)
{
    uint8_t c = p[at];
    size_t n;

    if (c >= 0xc2 && c < 0xe0)
        return len - at >= 2 && (p[at + 1] & 0xc0) == 0x80 ? 2 : 0;
    if (c > 0xe0 && c < 0xf0 && c != 0xed)
        return len - at >= 3 && (p[at + 1] & 0xc0) == 0x80 && (p[at + 2] & 0xc0) == 0x80 ? 3 : 0;
    n = c >= 0xf0 ? 4 : 3; /* or none at all */
    return len - at >= n && text_is_utf8(slice_of(p + at, n)) ? n : 0;
}

/* Moves *at behind the escape there. NULL, or what is wrong. */
static const char *
skip_escape(const uint8_t *p, size_t *at, size_t len)
{
    uint32_t code;
    const char *why;
    size_t n = 2;
    uint8_t c = len - *at >= 2 ? p[*at + 1] : 0;

    if (c != 'n' && c != '"' && c != '\\' && c != 't') { /* the frequent ones */
        why = jscan_escape_read(slice_of(p + *at, len - *at), &code, &n);
        if (why != NULL)
            return why;
    }
    *at += n;
    return NULL;
}

/* Moves *at behind the bytes above ASCII there. NULL, or what is wrong. */
static const char *
skip_foreign(const uint8_t *p, size_t *at, size_t len)
{
    size_t i = *at;

    do {
        size_t n = sequence_len(p, i, len);

        if (n == 0) {
            *at = i;
            return "malformed UTF-8";
        }
        i += n;
    } while (i < len && p[i] >= 0x80);
    *at = i;
    return NULL;
}

/* A string: s->at stands at its quote and ends behind the closing one. */
static enum err
scan_string(struct jscan *s, struct jscan_token *token)
{
    const uint8_t *p = s->text.p;
    size_t len = s->text.len;
    size_t from = s->at + 1;
    size_t at = from;
    const char *why;

    for (;;) {
        at = plain_end(p, at, len);
        if (at == len)
            return fail(s, at, "the text ends inside a string");
        if (p[at] == '"')
            break;
        if (p[at] == '\\') {
            why = skip_escape(p, &at, len);
            token->escaped = true;
        } else if (p[at] >= 0x80) {
            why = skip_foreign(p, &at, len);
        } else {
            why = p[at] == 0 ? "NUL is not allowed"
                             : "a control character in a string must be escaped";
        }
        if (why != NULL)
            return fail(s, at, why);
    }
    token->raw = slice_of(p + from, at - from);
    s->at = at + 1;
    return ERR_OK;
}

/* The offset of the first byte from at on that is no digit. */
static size_t
digits_end(const uint8_t *p, size_t at, size_t len)
{
    while (at < len && p[at] >= '0' && p[at] <= '9')
        at++;
    return at;
}

static enum err
scan_number(struct jscan *s, struct jscan_token *token)
{
    const uint8_t *p = s->text.p;
    size_t len = s->text.len;
    size_t at = s->at + (p[s->at] == '-' ? 1 : 0);
    size_t from = at;

    at = digits_end(p, at, len);
    if (at == from)
        return fail(s, at, "a digit must follow the minus sign");
    if (p[from] == '0' && at > from + 1)
        return fail(s, from, "a number must not begin with 0");
    if (at < len && p[at] == '.') {
        from = at + 1;
        at = digits_end(p, from, len);
        if (at == from)
            return fail(s, at, "a digit must follow the decimal point");
    }
    if (at < len && (p[at] | 0x20) == 'e') {
        from = at + 1;
        if (from < len && (p[from] == '+' || p[from] == '-'))
            from++;
        at = digits_end(p, from, len);
        if (at == from)
            return fail(s, at, "a digit must stand in the exponent");
    }
    if (at - s->at > JSCAN_NUMBER_MAX)
        return fail_size(s, s->at, "the number is too long");
    token->type = JSCAN_NUMBER;
    token->raw = slice_of(p + s->at, at - s->at);
    s->at = at;
    return ERR_OK;
}

static enum err
scan_word(struct jscan *s, struct jscan_token *token, struct slice word, enum jscan_type type)
{
    if (!slice_starts(slice_of(s->text.p + s->at, s->text.len - s->at), word))
        return fail(s, s->at, "a value must begin here");
    s->at += word.len;
    token->type = type;
    return ERR_OK;
}

/* What may follow a value at the current depth. */
static uint32_t
state_behind_value(const struct jscan *s)
{
    if (s->depth == 0)
        return STATE_DONE;
    return (s->is_object >> (s->depth - 1) & 1) != 0 ? STATE_OBJECT_NEXT : STATE_ARRAY_NEXT;
}

static enum err
open_container(struct jscan *s, struct jscan_token *token, bool is_object)
{
    uint64_t bit;

    if (s->depth == JSCAN_DEPTH_MAX)
        return fail_size(s, s->at, "nested too deep");
    bit = UINT64_C(1) << s->depth;
    if (is_object) {
        s->is_object |= bit;
        s->object_serial[s->depth] = ++s->serial_last;
        s->live_at[s->depth] = jscan_keys_count(s->keys);
    } else {
        s->is_object &= ~bit;
    }
    s->depth++;
    s->at++;
    s->state = is_object ? STATE_OBJECT_FIRST : STATE_ARRAY_FIRST;
    token->type = is_object ? JSCAN_OBJECT : JSCAN_ARRAY;
    return ERR_OK;
}

static enum err
close_container(struct jscan *s, struct jscan_token *token)
{
    bool is_object = (s->is_object >> (s->depth - 1) & 1) != 0;

    s->depth--;
    s->at++;
    if (is_object)
        jscan_keys_pop_to(s->keys, s->live_at[s->depth]);
    s->state = state_behind_value(s);
    token->type = is_object ? JSCAN_OBJECT_END : JSCAN_ARRAY_END;
    token->depth = s->depth;
    return ERR_OK;
}

static enum err
scan_value(struct jscan *s, struct jscan_token *token)
{
    enum err e;
    int c = peek(s);

    token->at = s->at;
    switch (c) {
    case '{':
        return open_container(s, token, true);
    case '[':
        return open_container(s, token, false);
    case '"':
        token->type = JSCAN_STRING;
        e = scan_string(s, token);
        break;
    case 't':
        e = scan_word(s, token, SLICE_LIT("true"), JSCAN_TRUE);
        break;
    case 'f':
        e = scan_word(s, token, SLICE_LIT("false"), JSCAN_FALSE);
        break;
    case 'n':
        e = scan_word(s, token, SLICE_LIT("null"), JSCAN_NULL);
        break;
    case -1:
        return fail(s, s->at, "the text ends where a value must begin");
    case 0xef:
        return fail(s, s->at,
                    s->at == 0 ? "a byte order mark is not allowed" : "a value must begin here");
    default:
        if (c != '-' && (c < '0' || c > '9'))
            return fail(s, s->at, "a value must begin here");
        e = scan_number(s, token);
        break;
    }
    if (e == ERR_OK)
        s->state = state_behind_value(s);
    return e;
}

static enum err
scan_key(struct jscan *s, struct jscan_token *token)
{
    enum err e;

    if (peek(s) < 0)
        return fail(s, s->at, "the text ends inside an object");
    if (peek(s) != '"')
        return fail(s, s->at, "a key in quotes must stand here");
    token->type = JSCAN_KEY;
    token->at = s->at;
    e = scan_string(s, token);
    if (e != ERR_OK)
        return e;
    e = jscan_keys_push(s->keys, s->object_serial[s->depth - 1], s->live_at[s->depth - 1], token);
    if (e == ERR_EXIST)
        return fail(s, token->at, JSCAN_DUPLICATE);
    if (e != ERR_OK)
        return fail_size(s, token->at, "too many keys");
    s->state = STATE_MEMBER;
    return ERR_OK;
}

static enum err
scan_array(struct jscan *s, struct jscan_token *token)
{
    if (peek(s) == ']')
        return close_container(s, token);
    if (s->state == STATE_ARRAY_FIRST)
        return scan_value(s, token);
    if (peek(s) < 0)
        return fail(s, s->at, "the text ends inside an array");
    if (peek(s) != ',')
        return fail(s, s->at, "a comma or ] must stand here");
    s->at++;
    skip_space(s);
    return scan_value(s, token);
}

static enum err
scan_object(struct jscan *s, struct jscan_token *token)
{
    if (peek(s) == '}')
        return close_container(s, token);
    if (s->state == STATE_OBJECT_FIRST)
        return scan_key(s, token);
    if (peek(s) < 0)
        return fail(s, s->at, "the text ends inside an object");
    if (peek(s) != ',')
        return fail(s, s->at, "a comma or } must stand here");
    s->at++;
    skip_space(s);
    return scan_key(s, token);
}

static enum err
scan_member(struct jscan *s, struct jscan_token *token)
{
    if (peek(s) != ':')
        return fail(s, s->at, "a colon must follow the key");
    s->at++;
    skip_space(s);
    return scan_value(s, token);
}

static enum err
scan_end(struct jscan *s, struct jscan_token *token)
{
    if (s->at < s->text.len)
        return fail(s, s->at, "only one value may stand here");
    token->type = JSCAN_END;
    s->state = STATE_ENDED;
    return ERR_OK;
}

enum err
jscan_next(struct jscan *s, struct jscan_token *out)
{
    struct jscan_token token = {.depth = s->depth};
    enum err e = ERR_BADMSG;

    ASSERT(s->state != STATE_ENDED);
    if (s->state == STATE_BROKEN)
        return ERR_BADMSG;
    if (s->state == STATE_OVERSIZE)
        return ERR_TOOBIG;
    skip_space(s);
    token.at = s->at;
    switch ((enum state)s->state) {
    case STATE_START:
        e = scan_value(s, &token);
        break;
    case STATE_ARRAY_FIRST:
    case STATE_ARRAY_NEXT:
        e = scan_array(s, &token);
        break;
    case STATE_OBJECT_FIRST:
    case STATE_OBJECT_NEXT:
        e = scan_object(s, &token);
        break;
    case STATE_MEMBER:
        e = scan_member(s, &token);
        break;
    case STATE_DONE:
        e = scan_end(s, &token);
        break;
    case STATE_ENDED:
    case STATE_BROKEN:
    case STATE_OVERSIZE:
        break;
    }
    if (e == ERR_OK)
        *out = token;
    return e;
}

enum err
jscan_skip(struct jscan *s, const struct jscan_token *first)
{
    struct jscan_token token;
    enum err e;

    ASSERT(first->type != JSCAN_KEY);
    if (first->type != JSCAN_OBJECT && first->type != JSCAN_ARRAY)
        return ERR_OK;
    do {
        e = jscan_next(s, &token);
        if (e != ERR_OK)
            return e;
    } while (token.depth > first->depth);
    return ERR_OK;
}

enum err
jscan_check(struct slice text, struct jscan_keys *keys, const char **why_out, size_t *at_out)
{
    struct jscan_token token = {.type = JSCAN_NULL};
    struct jscan s;
    enum err e;

    jscan_init(&s, text, keys);
    do {
        e = jscan_next(&s, &token);
    } while (e == ERR_OK && token.type != JSCAN_END);
    if (e != ERR_OK) {
        *why_out = s.why;
        *at_out = s.at;
    }
    return e;
}

bool
jscan_int(const struct jscan_token *token, int64_t *out)
{
    struct slice digits = token->raw;
    bool negative;
    uint64_t v;

    if (token->type != JSCAN_NUMBER)
        return false;
    negative = slice_starts(digits, SLICE_LIT("-"));
    if (negative)
        digits = slice_sub(digits, 1, digits.len);
    if (!slice_u64(digits, &v) || v > (uint64_t)INT_MAX_EXACT)
        return false;
    *out = negative ? -(int64_t)v : (int64_t)v;
    return true;
}
