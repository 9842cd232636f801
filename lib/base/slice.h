#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Borrowed bytes: a pointer and a length, never NUL-terminated by promise.
 * An empty slice may have p == NULL. All bytes from outside travel as slices. */
struct slice {
    const uint8_t *p;
    size_t len;
};

#define SLICE_LIT(s) ((struct slice){(const uint8_t *)(s), sizeof(s) - 1})
#define SLICE_NONE ((struct slice){NULL, 0})
/* For printf-like calls: "%.*s". Only for text that was validated or escaped. */
#define SLICE_ARG(s) (int)(s).len, (const char *)(s).p

static inline struct slice
slice_of(const void *p, size_t len)
{
    return (struct slice){(const uint8_t *)p, len};
}

static inline struct slice
slice_str(const char *s)
{
    return (struct slice){(const uint8_t *)s, s == NULL ? 0 : strlen(s)};
}

static inline bool
slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static inline bool
slice_is(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

static inline bool
slice_starts(struct slice a, struct slice prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.p, prefix.p, prefix.len) == 0);
}

/* [from, from+len) of s, cut to what s has. */
struct slice slice_sub(struct slice s, size_t from, size_t len);
/* ASCII case folded comparison (header names, schemes). */
bool slice_eq_nocase(struct slice a, struct slice b);
/* memcmp order, shorter first on a tie: for sorting. */
int slice_cmp(struct slice a, struct slice b);
/* Index of byte c, or s.len. */
size_t slice_find(struct slice s, uint8_t c);
/* Index of the first byte from `from` on that is a or b, or s.len. */
size_t slice_find_either(struct slice s, size_t from, uint8_t a, uint8_t b);
/* Without spaces and tabs at either end (RFC 9110 OWS). */
struct slice slice_trim(struct slice s);
/* Cuts the text before the first byte c off *rest and returns it; *rest is what
 * stands behind c. Without c: all of it, and *rest becomes empty with p == NULL. */
struct slice slice_cut(struct slice *rest, uint8_t c);
/* Decimal digits only, at most 19, no sign; false when anything else. */
bool slice_u64(struct slice s, uint64_t *out);
/* Copies into a NUL-terminated array; false (and an empty string) if it does not
 * fit or holds a NUL. */
bool slice_copy_str(struct slice s, char *out, size_t size);
/* Heap copy with a NUL behind it, or NULL. Gives. */
char *slice_dup(struct slice s);

#endif
