#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A bounded writer over the caller's storage: what does not fit sets a sticky
 * mark instead of wrapping or cutting silently, so that a caller composes a
 * whole record and looks once, with text_ok(), before it uses it. Raw bytes,
 * no terminator. */
struct text {
    uint8_t *p;
    size_t used;
    size_t size;
    bool overflowed;
};

void text_init(struct text *t, void *storage, size_t size);
static inline bool
text_ok(const struct text *t)
{
    return !t->overflowed;
}
static inline struct slice
text_slice(const struct text *t)
{
    return slice_of(t->p, t->used);
}

void text_add(struct text *t, struct slice s);
static inline void
text_add_str(struct text *t, const char *s)
{
    text_add(t, slice_str(s)); /* inline: the length of a literal is known when compiled */
}
void text_add_char(struct text *t, char c);
void text_add_u64(struct text *t, uint64_t v);
void text_add_i64(struct text *t, int64_t v);
void text_add_hex(struct text *t, struct slice bytes);
/* base64url without padding (RFC 7515 section 2). */
void text_add_b64url(struct text *t, struct slice bytes);
/* base64 with padding (RFC 4648 section 4): DSSE payloads, signed notes. */
void text_add_b64(struct text *t, struct slice bytes);
/* A JSON string in quotes, escaped as RFC 8785 section 3.2.2.2 says; s is UTF-8
 * that was validated, or configured text. */
void text_add_json(struct text *t, struct slice s);
/* RFC 3339 in UTC with milliseconds: 2026-11-23T19:22:47.123Z. */
void text_add_time_ms(struct text *t, int64_t unix_ms);
/* As printf; for logs and messages, never on the path of a request. */
void text_addf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* snprintf with a promise: always terminated, returns false when cut. */
bool text_format(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Foreign text made safe for one log line: at most max bytes, everything outside
 * visible ASCII, and '"', '\\' and '=', as \xNN. */
void text_add_escaped(struct text *t, struct slice s, size_t max);

/* Strict decoders: false on any byte outside the alphabet, on padding where
 * none belongs, and on spare bits that are not zero. *out_len starts as the
 * room in out and ends as the bytes written. */
bool text_unhex(struct slice s, uint8_t *out, size_t *out_len);
bool text_unb64url(struct slice s, uint8_t *out, size_t *out_len);
bool text_unb64(struct slice s, uint8_t *out, size_t *out_len);
/* RFC 3339 with Z and optional fraction into Unix milliseconds. */
bool text_parse_time(struct slice s, int64_t *out_unix_ms);
/* Whether s is well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool text_is_utf8(struct slice s);

#endif
