#include "base/slice.h"

#include <stdlib.h>

struct slice
slice_sub(struct slice s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return slice_of(s.p == NULL ? NULL : s.p + from, len);
}

static uint8_t
fold(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

bool
slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (fold(a.p[i]) != fold(b.p[i]))
            return false;
    return true;
}

int
slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int d = n == 0 ? 0 : memcmp(a.p, b.p, n);

    if (d != 0)
        return d;
    return a.len < b.len ? -1 : a.len > b.len;
}

size_t
slice_find(struct slice s, uint8_t c)
{
    const uint8_t *at = s.len == 0 ? NULL : memchr(s.p, c, s.len);

    return at == NULL ? s.len : (size_t)(at - s.p);
}

size_t
slice_find_either(struct slice s, size_t from, uint8_t a, uint8_t b)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);

    /* A byte is zero where its lowest bit borrows (Hacker's Delight, 6-1). */
    for (; from + 8 <= s.len; from += 8) {
        uint64_t w, x, y;

        memcpy(&w, s.p + from, sizeof(w));
        x = w ^ ones * a;
        y = w ^ ones * b;
        if ((((x - ones) & ~x) | ((y - ones) & ~y)) & ones << 7)
            break;
    }
    while (from < s.len && s.p[from] != a && s.p[from] != b)
        from++;
    return from;
}

struct slice
slice_trim(struct slice s)
{
    while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t')) {
        s.p++;
        s.len--;
    }
    while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct slice
slice_cut(struct slice *rest, uint8_t c)
{
    struct slice all = *rest;
    size_t at = slice_find(all, c);

    if (at == all.len) {
        *rest = SLICE_NONE;
        return all;
    }
    *rest = slice_of(all.p + at + 1, all.len - at - 1);
    return slice_of(all.p, at);
}

bool
slice_u64(struct slice s, uint64_t *out)
{
    uint64_t v = 0;

    if (s.len == 0 || s.len > 19)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = v;
    return true;
}

bool
slice_copy_str(struct slice s, char *out, size_t size)
{
    if (size == 0)
        return false;
    out[0] = '\0';
    if (s.len >= size || (s.len > 0 && memchr(s.p, 0, s.len) != NULL))
        return false;
    if (s.len > 0)
        memcpy(out, s.p, s.len);
    out[s.len] = '\0';
    return true;
}

char *
slice_dup(struct slice s)
{
    char *copy = malloc(s.len + 1);

    if (copy == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(copy, s.p, s.len);
    copy[s.len] = '\0';
    return copy;
}
