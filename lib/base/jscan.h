#ifndef BASE_JSCAN_H
#define BASE_JSCAN_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* The strict JSON scanner (RFC 8259; ENGINEERING section 2): the first reader of
 * every JSON text that comes from outside. A pull parser without a tree and
 * without an allocation of its own: the caller lends the key table.
 *
 * Refused: anything but exactly one JSON value with white space around it, a BOM,
 * malformed UTF-8, NUL written out or as \u0000, unpaired surrogates, duplicate
 * keys in one object (compared after decoding escapes), depth above
 * JSCAN_DEPTH_MAX, more than JSCAN_KEYS_MAX keys open at one time, numbers longer
 * than JSCAN_NUMBER_MAX characters. */

#define JSCAN_DEPTH_MAX 64
#define JSCAN_KEYS_MAX 16384            /* keys of all objects open at one moment */
#define JSCAN_DUPLICATE "duplicate key" /* why, with `at` at the key's quote */
#define JSCAN_NUMBER_MAX 63             /* characters; what cJSON reads at most */

enum jscan_type {
    JSCAN_OBJECT,
    JSCAN_OBJECT_END,
    JSCAN_ARRAY,
    JSCAN_ARRAY_END,
    JSCAN_KEY,
    JSCAN_STRING,
    JSCAN_NUMBER,
    JSCAN_TRUE,
    JSCAN_FALSE,
    JSCAN_NULL,
    JSCAN_END, /* the value is complete and nothing but white space follows */
};

struct jscan_token {
    enum jscan_type type;
    struct slice raw; /* KEY, STRING: what stands between the quotes, undecoded; NUMBER: its text */
    bool escaped;     /* raw holds at least one backslash: see jscan_decode() */
    uint32_t depth;   /* open containers around this token; the outermost value has 0.
                       * A container's own start and end tokens have the same depth. */
    size_t at;        /* offset of the token's first byte (the quote of a string) */
};

/* Storage of the duplicate-key check; big, so lent by the caller (one per
 * thread), reusable without clearing between scans. */
struct jscan_keys;
MUST_USE enum err jscan_keys_new(struct jscan_keys **out);
void jscan_keys_free(struct jscan_keys **keys);

/* Opaque state by value: embedded on the stack of the reader. */
struct jscan {
    struct slice text;
    size_t at;
    struct jscan_keys *keys;
    uint32_t depth;
    uint32_t state;
    uint64_t is_object; /* bit d: the container at depth d is an object */
    uint32_t object_serial[JSCAN_DEPTH_MAX];
    uint32_t serial_last;
    uint32_t live_at[JSCAN_DEPTH_MAX]; /* live keys when the object at that depth opened */
    const char *why;                   /* after an error: what was wrong, a static text */
};

/* text and keys are borrowed until the scan ends. */
void jscan_init(struct jscan *s, struct slice text, struct jscan_keys *keys);

/* The next token. ERR_BADMSG: not JSON, or refused by the rules above; ERR_TOOBIG:
 * a maximum was passed; both are final, s->why names the reason and s->at stands at
 * the byte. After JSCAN_END it must not be called again. */
MUST_USE enum err jscan_next(struct jscan *s, struct jscan_token *out);

/* Skips the rest of the value whose first token was just returned (a container's
 * inner tokens are still checked); returns at once for scalars. */
MUST_USE enum err jscan_skip(struct jscan *s, const struct jscan_token *first);

/* Decodes the escapes of a KEY or STRING into out (UTF-8). *out_len starts as the
 * room and ends as the bytes written. ERR_TOOBIG when it does not fit. */
MUST_USE enum err jscan_decode(const struct jscan_token *token, uint8_t *out, size_t *out_len);

/* Whether a KEY or STRING equals an ASCII literal, after decoding, case-sensitive. */
bool jscan_is(const struct jscan_token *token, const char *literal);

/* A NUMBER that is an integer without fraction or exponent in [-(2^53), 2^53]. */
bool jscan_int(const struct jscan_token *token, int64_t *out);

/* Checks a whole text; on error *why_out names the reason and *at_out the offset. */
MUST_USE enum err jscan_check(struct slice text, struct jscan_keys *keys, const char **why_out,
                              size_t *at_out);

#endif
