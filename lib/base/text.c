#include "base/text.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void
text_init(struct text *t, void *storage, size_t size)
{
    t->p = storage;
    t->used = 0;
    t->size = size;
    t->overflowed = false;
}

/* Room for len bytes at the end, or NULL and the sticky mark. */
static uint8_t *
room(struct text *t, size_t len)
{
    uint8_t *at;

    if (t->overflowed || len > t->size - t->used) {
        t->overflowed = true;
        return NULL;
    }
    at = t->p + t->used;
    t->used += len;
    return at;
}

void
text_add(struct text *t, struct slice s)
{
    uint8_t *at = room(t, s.len);

    if (at != NULL && s.len > 0)
        memcpy(at, s.p, s.len);
}

void
text_add_char(struct text *t, char c)
{
    uint8_t *at = room(t, 1);

    if (at != NULL)
        *at = (uint8_t)c;
}

void
text_add_u64(struct text *t, uint64_t v)
{
    uint8_t digits[20];
    size_t n = sizeof(digits);

    do {
        digits[--n] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    text_add(t, slice_of(digits + n, sizeof(digits) - n));
}

void
text_add_i64(struct text *t, int64_t v)
{
    if (v < 0) {
        text_add_char(t, '-');
        text_add_u64(t, (uint64_t) - (v + 1) + 1);
    } else {
        text_add_u64(t, (uint64_t)v);
    }
}

void
text_add_hex(struct text *t, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t *at = room(t, bytes.len * 2);

    if (at == NULL)
        return;
    for (size_t i = 0; i < bytes.len; i++) {
        at[2 * i] = (uint8_t)digits[bytes.p[i] >> 4];
        at[2 * i + 1] = (uint8_t)digits[bytes.p[i] & 15];
    }
}

static const char b64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char b64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void
add_b64(struct text *t, struct slice s, const char *alphabet, bool padded)
{
    size_t tail = s.len % 3;
    size_t len = s.len / 3 * 4 + (tail == 0 ? 0 : padded ? 4 : tail + 1);
    uint8_t *at = room(t, len);
    size_t i;

    if (at == NULL)
        return;
    for (i = 0; i + 3 <= s.len; i += 3) {
        uint32_t v = (uint32_t)s.p[i] << 16 | (uint32_t)s.p[i + 1] << 8 | s.p[i + 2];

        *at++ = (uint8_t)alphabet[v >> 18];
        *at++ = (uint8_t)alphabet[v >> 12 & 63];
        *at++ = (uint8_t)alphabet[v >> 6 & 63];
        *at++ = (uint8_t)alphabet[v & 63];
    }
    if (tail == 0)
        return;
    {
        uint32_t v = (uint32_t)s.p[i] << 16 | (tail == 2 ? (uint32_t)s.p[i + 1] << 8 : 0);

        *at++ = (uint8_t)alphabet[v >> 18];
        *at++ = (uint8_t)alphabet[v >> 12 & 63];
        if (tail == 2)
            *at++ = (uint8_t)alphabet[v >> 6 & 63];
        else if (padded)
            *at++ = '=';
        if (padded)
            *at = '=';
    }
}

void
text_add_b64url(struct text *t, struct slice bytes)
{
    add_b64(t, bytes, b64_url, false);
}

void
text_add_b64(struct text *t, struct slice bytes)
{
    add_b64(t, bytes, b64_std, true);
}

static void
add_json_escape(struct text *t, uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    char two[3] = {'\\', 0, 0};

    switch (c) {
    case '"':
    case '\\':
        two[1] = (char)c;
        break;
    case '\b':
        two[1] = 'b';
        break;
    case '\t':
        two[1] = 't';
        break;
    case '\n':
        two[1] = 'n';
        break;
    case '\f':
        two[1] = 'f';
        break;
    case '\r':
        two[1] = 'r';
        break;
    default:
        text_add(t, SLICE_LIT("\\u00"));
        text_add_char(t, digits[c >> 4]);
        text_add_char(t, digits[c & 15]);
        return;
    }
    text_add(t, slice_of(two, 2));
}

void
text_add_json(struct text *t, struct slice s)
{
    size_t from = 0;

    text_add_char(t, '"');
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        text_add(t, slice_of(s.p + from, i - from));
        add_json_escape(t, c);
        from = i + 1;
    }
    if (from < s.len)
        text_add(t, slice_of(s.p + from, s.len - from));
    text_add_char(t, '"');
}

static void
add_digits(struct text *t, int v, int width)
{
    uint8_t *at = room(t, (size_t)width);

    if (at == NULL)
        return;
    for (int i = width - 1; i >= 0; i--) {
        at[i] = (uint8_t)('0' + v % 10);
        v /= 10;
    }
}

void
text_add_time_ms(struct text *t, int64_t unix_ms)
{
    int64_t ms = unix_ms % 1000;
    time_t seconds;
    struct tm tm;

    if (ms < 0)
        ms += 1000;
    seconds = (time_t)((unix_ms - ms) / 1000);
    if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 8099 || tm.tm_year < -1900) {
        t->overflowed = true;
        return;
    }
    add_digits(t, tm.tm_year + 1900, 4);
    text_add_char(t, '-');
    add_digits(t, tm.tm_mon + 1, 2);
    text_add_char(t, '-');
    add_digits(t, tm.tm_mday, 2);
    text_add_char(t, 'T');
    add_digits(t, tm.tm_hour, 2);
    text_add_char(t, ':');
    add_digits(t, tm.tm_min, 2);
    text_add_char(t, ':');
    add_digits(t, tm.tm_sec, 2);
    text_add_char(t, '.');
    add_digits(t, (int)ms, 3);
    text_add_char(t, 'Z');
}

void
text_addf(struct text *t, const char *format, ...)
{
    size_t left = t->size - t->used;
    va_list ap;
    int n;

    if (t->overflowed)
        return;
    va_start(ap, format);
    n = vsnprintf(left == 0 ? NULL : (char *)t->p + t->used, left, format, ap);
    va_end(ap);
    /* vsnprintf wants room for a terminator that text does not keep. */
    if (n < 0 || (size_t)n >= left)
        t->overflowed = true;
    else
        t->used += (size_t)n;
}

bool
text_format(char *out, size_t size, const char *format, ...)
{
    va_list ap;
    int n;

    ASSERT(size > 0);
    va_start(ap, format);
    n = vsnprintf(out, size, format, ap);
    va_end(ap);
    return n >= 0 && (size_t)n < size;
}

void
text_add_escaped(struct text *t, struct slice s, size_t max)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = s.len < max ? s.len : max;

    for (size_t i = 0; i < n; i++) {
        uint8_t c = s.p[i];

        if (c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '=') {
            text_add_char(t, (char)c);
            continue;
        }
        text_add(t, SLICE_LIT("\\x"));
        text_add_char(t, digits[c >> 4]);
        text_add_char(t, digits[c & 15]);
    }
    if (n < s.len)
        text_add(t, SLICE_LIT("..."));
}

static int
hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool
text_unhex(struct slice s, uint8_t *out, size_t *out_len)
{
    if (s.len % 2 != 0 || s.len / 2 > *out_len)
        return false;
    for (size_t i = 0; i < s.len; i += 2) {
        int high = hex_value(s.p[i]);
        int low = hex_value(s.p[i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i / 2] = (uint8_t)(high << 4 | low);
    }
    *out_len = s.len / 2;
    return true;
}

static int
b64_value(uint8_t c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    if (c == (url ? '_' : '/'))
        return 63;
    return -1;
}

/* s has no padding left. */
static bool
unb64(struct slice s, bool url, uint8_t *out, size_t *out_len)
{
    size_t tail = s.len % 4;
    size_t len = s.len / 4 * 3 + (tail == 0 ? 0 : tail - 1);
    uint32_t v = 0;
    unsigned bits = 0;
    size_t n = 0;

    if (tail == 1 || len > *out_len)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        int d = b64_value(s.p[i], url);

        if (d < 0)
            return false;
        v = (v << 6 | (uint32_t)d) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (uint8_t)(v >> bits);
        }
    }
    /* Bits that no byte uses must be zero: one value, one spelling. */
    if ((v & ((1u << bits) - 1)) != 0)
        return false;
    *out_len = n;
    return true;
}

bool
text_unb64url(struct slice s, uint8_t *out, size_t *out_len)
{
    return unb64(s, true, out, out_len);
}

bool
text_unb64(struct slice s, uint8_t *out, size_t *out_len)
{
    if (s.len % 4 != 0)
        return false;
    if (s.len > 0 && s.p[s.len - 1] == '=')
        s.len--;
    if (s.len > 0 && s.len % 4 == 3 && s.p[s.len - 1] == '=')
        s.len--;
    return unb64(s, false, out, out_len);
}

static bool
digits_at(struct slice s, size_t at, size_t n, int *out)
{
    uint64_t v;

    if (!slice_u64(slice_sub(s, at, n), &v))
        return false;
    *out = (int)v;
    return true;
}

bool
text_parse_time(struct slice s, int64_t *out_unix_ms)
{
    struct tm tm;
    int ms = 0;

    memset(&tm, 0, sizeof(tm));
    if (s.len < 20 || s.p[4] != '-' || s.p[7] != '-' || s.p[10] != 'T' || s.p[13] != ':' ||
        s.p[16] != ':' || s.p[s.len - 1] != 'Z')
        return false;
    if (!digits_at(s, 0, 4, &tm.tm_year) || !digits_at(s, 5, 2, &tm.tm_mon) ||
        !digits_at(s, 8, 2, &tm.tm_mday) || !digits_at(s, 11, 2, &tm.tm_hour) ||
        !digits_at(s, 14, 2, &tm.tm_min) || !digits_at(s, 17, 2, &tm.tm_sec))
        return false;
    if (s.len != 20 && (s.len != 24 || s.p[19] != '.' || !digits_at(s, 20, 3, &ms)))
        return false;
    if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    {
        int day = tm.tm_mday;
        time_t t = timegm(&tm);

        if (tm.tm_mday != day) /* 31 February was normalised away */
            return false;
        *out_unix_ms = (int64_t)t * 1000 + ms;
    }
    return true;
}

/* Length of the well-formed sequence at p, or 0 (RFC 3629 section 4). */
static size_t
utf8_length(const uint8_t *p, size_t left)
{
    uint8_t c = p[0];
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) ||
        (c == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

bool
text_is_utf8(struct slice s)
{
    for (size_t i = 0; i < s.len;) {
        size_t n = utf8_length(s.p + i, s.len - i);

        if (n == 0)
            return false;
        i += n;
    }
    return true;
}
