/* JWK sets (jws.h): an issuer's public keys, all of them well or none taken. */
#include "crypto/jws.h"

#include "base/check.h"
#include "base/json.h"
#include "crypto/hash.h"

#include <stdlib.h>

struct entry {
    char *kid; /* NULL when the only key of the set has none */
    struct key *key;
};

struct jwks {
    size_t count;
    struct entry entries[JWKS_KEYS_MAX];
    uint8_t digest[HASH_SIZE];
};

static const char *
refusal(enum err e)
{
    switch ((int)e) {
    case ERR_FORBIDDEN:
        return "a key is symmetric, private or too weak";
    case ERR_NOMEM:
        return "memory budget used up";
    default:
        return "a key is malformed";
    }
}

/* Quadratic, over at most JWKS_KEYS_MAX keys. Skipped keys count, too: two keys of one
 * name leave open which of them is meant. */
static const char *
check_kids(const struct json *keys)
{
    bool is_alone = json_count(keys) == 1;

    for (const struct json *a = json_first(keys); a != NULL; a = json_next(a)) {
        const struct json *v = json_get(a, "kid");
        struct slice kid, other;

        if (json_type_of(a) != JSON_OBJECT)
            return "an item of keys is no object";
        if (v == NULL && is_alone)
            continue;
        if (v == NULL)
            return "a key without kid beside others";
        if (!json_string(v, &kid) || kid.len == 0 || kid.len > JWS_KID_MAX)
            return "a kid is no string of 1 to 128 bytes";
        for (const struct json *b = json_next(a); b != NULL; b = json_next(b))
            if (json_string(json_get(b, "kid"), &other) && slice_eq(kid, other))
                return "two keys with one kid";
    }
    return NULL;
}

static enum err
add_key(struct jwks *set, const struct json *jwk)
{
    struct entry entry = {0};
    struct slice text;
    enum err e = key_from_jwk(jwk, &entry.key);

    if (e == ERR_UNSUPPORTED)
        return ERR_OK; /* RFC 7517 section 5: ignored, it can verify nothing here */
    if (e != ERR_OK)
        return e;
    if (json_string(json_get(jwk, "kid"), &text)) {
        entry.kid = slice_dup(text);
        if (entry.kid == NULL) {
            key_free(&entry.key);
            return ERR_NOMEM;
        }
    }
    set->entries[set->count++] = entry;
    return ERR_OK;
}

static enum err
read_set(const struct json *root, struct jwks *set, const char **why)
{
    const struct json *keys = json_get(root, "keys");
    enum err e = ERR_OK;

    if (keys == NULL || json_type_of(keys) != JSON_ARRAY) {
        *why = "keys is no array";
        return ERR_BADMSG;
    }
    if (json_count(keys) > JWKS_KEYS_MAX) {
        *why = "too many keys";
        return ERR_TOOBIG;
    }
    *why = check_kids(keys);
    if (*why != NULL)
        return ERR_BADMSG;
    for (const struct json *v = json_first(keys); v != NULL && e == ERR_OK; v = json_next(v))
        e = add_key(set, v);
    if (e != ERR_OK)
        *why = refusal(e);
    return e;
}

enum err
jwks_parse(struct slice text, struct jwks **out, const char **why)
{
    const char *reason = NULL;
    struct json_doc *doc = NULL;
    struct jwks *set = NULL;
    enum err e;

    if (text.len > JWKS_TEXT_MAX) {
        reason = "longer than a key set may be";
        e = ERR_TOOBIG;
        goto fail;
    }
    e = json_parse(text, &doc, &reason);
    if (e != ERR_OK)
        goto fail;
    set = calloc(1, sizeof(*set));
    if (set == NULL) {
        e = ERR_NOMEM;
        reason = refusal(e);
        goto fail_doc;
    }
    e = read_set(json_root(doc), set, &reason);
    if (e != ERR_OK)
        goto fail_set;
    hash_sha256(text, set->digest);
    json_free(&doc);
    *out = set;
    return ERR_OK;

fail_set:
    jwks_free(&set);
fail_doc:
    json_free(&doc);
fail:
    if (why != NULL)
        *why = reason;
    return e;
}

void
jwks_free(struct jwks **set)
{
    if (*set == NULL)
        return;
    for (size_t i = 0; i < (*set)->count; i++) {
        free((*set)->entries[i].kid);
        key_free(&(*set)->entries[i].key);
    }
    free(*set);
    *set = NULL;
}

const struct key *
jwks_find(const struct jwks *set, struct slice kid)
{
    if (kid.len == 0)
        return set->count == 1 ? set->entries[0].key : NULL;
    for (size_t i = 0; i < set->count; i++)
        if (set->entries[i].kid != NULL && slice_is(kid, set->entries[i].kid))
            return set->entries[i].key;
    return NULL;
}

size_t
jwks_count(const struct jwks *set)
{
    return set->count;
}

const uint8_t *
jwks_digest(const struct jwks *set)
{
    return set->digest;
}
