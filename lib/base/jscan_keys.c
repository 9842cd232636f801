/* Strings of the scanner: their escapes, and the table that finds duplicate keys.
 *
 * The keys of all open objects stand on one stack. A new key is compared with the others of
 * its object; an object that has many puts them into an open-addressing index beside the
 * stack. When it closes, it takes its keys off the top, last in, first out, which gives back
 * exactly the index that was there before each of them went in: linear probing needs no
 * tombstones here. */
#include "base/jscan_priv.h"

#include "base/check.h"
#include "base/map.h"

#include <stdlib.h>

#define SLOT_COUNT (2 * JSCAN_KEYS_MAX) /* a power of two: the index is at most half full */
#define SLOT_NONE UINT16_MAX
#define HASH_BLOCK 64
#define UNINDEXED_MAX 8 /* keys of one object that are found by looking at each */

struct live_key {
    struct slice raw;
    uint32_t serial; /* of its object */
    uint32_t hash;   /* once it is in the index */
    uint16_t slot;   /* in the index, or SLOT_NONE */
    bool escaped;
};

struct jscan_keys {
    uint32_t count;
    uint16_t slots[SLOT_COUNT]; /* 1 + index into live, or 0 */
    struct live_key live[JSCAN_KEYS_MAX + 1];
};

_Static_assert((SLOT_COUNT & (SLOT_COUNT - 1)) == 0, "slots are found by masking");
_Static_assert(SLOT_COUNT < SLOT_NONE, "slots are numbered by 16 bits");

/* The decoded bytes of a string, one at a time. */
struct decoder {
    struct slice rest;
    uint8_t pending[4]; /* of the last \u escape */
    uint8_t pending_at;
    uint8_t pending_count;
};

/* Four hex digits at p, or -1. */
static int32_t
hex4(const uint8_t *p)
{
    int32_t v = 0;

    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        uint8_t lower = (uint8_t)(c | 0x20);

        if (c >= '0' && c <= '9')
            v = v << 4 | (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v << 4 | (lower - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* What a one-character escape stands for, or 0. */
static uint8_t
escape_short(uint8_t c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

const char *
jscan_escape_read(struct slice s, uint32_t *code, size_t *len)
{
    int32_t high;
    int32_t low;

    if (s.len < 2)
        return "the text ends inside an escape";
    *len = 2;
    *code = escape_short(s.p[1]);
    if (*code != 0)
        return NULL;
    if (s.p[1] != 'u')
        return "unknown escape";
    if (s.len < 6)
        return "the text ends inside an escape";
    high = hex4(s.p + 2);
    if (high < 0)
        return "\\u needs four hexadecimal digits";
    if (high == 0)
        return "NUL is not allowed";
    if (high >= 0xdc00 && high <= 0xdfff)
        return "unpaired surrogate";
    *len = 6;
    *code = (uint32_t)high;
    if (high < 0xd800 || high > 0xdbff)
        return NULL;
    if (s.len < 12 || s.p[6] != '\\' || s.p[7] != 'u')
        return "unpaired surrogate";
    low = hex4(s.p + 8);
    if (low < 0xdc00 || low > 0xdfff)
        return "unpaired surrogate";
    *len = 12;
    *code = 0x10000 + (((uint32_t)high - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    return NULL;
}

/* Writes the UTF-8 of a code point that is no surrogate. */
static uint8_t
utf8_put(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xc0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xe0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (code & 0x3f));
    return 4;
}

/* The next decoded byte, or -1 at the end. The string was checked when it was scanned. */
static int
decoder_next(struct decoder *d)
{
    uint32_t code;
    size_t len;
    int c;

    if (d->pending_at < d->pending_count)
        return d->pending[d->pending_at++];
    if (d->rest.len == 0)
        return -1;
    c = d->rest.p[0];
    len = 1;
    if (c == '\\') {
        if (NEVER(jscan_escape_read(d->rest, &code, &len) != NULL))
            return -1;
        d->pending_count = utf8_put(code, d->pending);
        d->pending_at = 1;
        c = d->pending[0];
    }
    d->rest = slice_of(d->rest.p + len, d->rest.len - len);
    return c;
}

enum err
jscan_decode(const struct jscan_token *token, uint8_t *out, size_t *out_len)
{
    struct slice rest = token->raw;
    size_t used = 0;

    ASSERT(token->type == JSCAN_KEY || token->type == JSCAN_STRING);
    while (rest.len > 0) {
        size_t plain = token->escaped ? slice_find(rest, '\\') : rest.len;
        uint8_t bytes[4];
        uint32_t code;
        size_t n;

        if (plain > *out_len - used)
            return ERR_TOOBIG;
        if (plain > 0)
            memcpy(out + used, rest.p, plain);
        used += plain;
        rest = slice_of(rest.p + plain, rest.len - plain);
        if (rest.len == 0)
            break;
        if (NEVER(jscan_escape_read(rest, &code, &n) != NULL))
            return ERR_BADMSG;
        rest = slice_of(rest.p + n, rest.len - n);
        n = utf8_put(code, bytes);
        if (n > *out_len - used)
            return ERR_TOOBIG;
        memcpy(out + used, bytes, n);
        used += n;
    }
    *out_len = used;
    return ERR_OK;
}

bool
jscan_is(const struct jscan_token *token, const char *literal)
{
    struct decoder d = {.rest = token->raw};

    if (token->type != JSCAN_KEY && token->type != JSCAN_STRING)
        return false;
    if (!token->escaped)
        return slice_is(token->raw, literal);
    for (; *literal != '\0'; literal++)
        if (decoder_next(&d) != (uint8_t)*literal)
            return false;
    return decoder_next(&d) < 0;
}

enum err
jscan_keys_new(struct jscan_keys **out)
{
    struct jscan_keys *keys = malloc(sizeof(*keys));

    if (keys == NULL)
        return ERR_NOMEM;
    keys->count = 0;
    memset(keys->slots, 0, sizeof(keys->slots)); /* live is written before it is read */
    *out = keys;
    return ERR_OK;
}

void
jscan_keys_free(struct jscan_keys **keys)
{
    free(*keys);
    *keys = NULL;
}

/* Keyed, so that a client can't choose keys that collide, and over the decoded bytes,
 * so that "a" and "\u0061" meet. Long keys are hashed in blocks, each of which begins
 * with the hash of what stood before it. */
static uint64_t
key_hash(const struct live_key *key)
{
    struct decoder d = {.rest = key->raw};
    uint8_t block[HASH_BLOCK];
    size_t used = 0;
    int c;

    if (!key->escaped && key->raw.len <= HASH_BLOCK)
        return map_hash(key->raw);
    while ((c = decoder_next(&d)) >= 0) {
        if (used == HASH_BLOCK) {
            uint64_t before = map_hash(slice_of(block, HASH_BLOCK));

            memcpy(block, &before, sizeof(before));
            used = sizeof(before);
        }
        block[used++] = (uint8_t)c;
    }
    return map_hash(slice_of(block, used));
}

static bool
key_equal(const struct live_key *a, const struct live_key *b)
{
    struct decoder da = {.rest = a->raw};
    struct decoder db = {.rest = b->raw};
    int ca;

    if (!a->escaped && !b->escaped)
        return slice_eq(a->raw, b->raw);
    do {
        ca = decoder_next(&da);
        if (ca != decoder_next(&db))
            return false;
    } while (ca >= 0);
    return true;
}

/* Enters live[at] into the index, unless its object has the key there already. */
static enum err
index_add(struct jscan_keys *keys, uint32_t at)
{
    struct live_key *key = &keys->live[at];
    uint64_t wide = key_hash(key) + key->serial * UINT64_C(0x9e3779b97f4a7c15);
    size_t slot;

    key->hash = (uint32_t)(wide >> 32);
    slot = key->hash & (SLOT_COUNT - 1);
    for (; keys->slots[slot] != 0; slot = (slot + 1) & (SLOT_COUNT - 1)) {
        const struct live_key *other = &keys->live[keys->slots[slot] - 1];

        if (other->hash == key->hash && other->serial == key->serial && key_equal(other, key))
            return ERR_EXIST;
    }
    key->slot = (uint16_t)slot;
    keys->slots[slot] = (uint16_t)(at + 1);
    return ERR_OK;
}

enum err
jscan_keys_push(struct jscan_keys *keys, uint32_t serial, uint32_t first,
                const struct jscan_token *token)
{
    uint32_t at = keys->count;
    struct live_key *key = &keys->live[at];
    enum err e = ERR_OK;

    /* One place more than the maximum: a duplicate is named before the limit is. */
    *key = (struct live_key){token->raw, serial, 0, SLOT_NONE, token->escaped};
    if (at - first < UNINDEXED_MAX) {
        for (uint32_t i = first; i < at; i++)
            if (key_equal(&keys->live[i], key))
                return ERR_EXIST;
    } else {
        for (uint32_t i = at - first == UNINDEXED_MAX ? first : at; i <= at && e == ERR_OK; i++)
            e = index_add(keys, i);
        if (e != ERR_OK)
            return e;
    }
    keys->count++; /* also past the maximum, so that the next pop takes it off again */
    return at == JSCAN_KEYS_MAX ? ERR_FULL : ERR_OK;
}

void
jscan_keys_pop_to(struct jscan_keys *keys, uint32_t count)
{
    while (keys->count > count) {
        uint16_t slot = keys->live[--keys->count].slot;

        if (slot != SLOT_NONE)
            keys->slots[slot] = 0;
    }
}

uint32_t
jscan_keys_count(const struct jscan_keys *keys)
{
    return keys->count;
}
