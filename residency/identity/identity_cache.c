/* Verified credentials by their SHA-256: sets of eight, the least recently used gives way.
 * A hit allocates nothing; the table is allocated whole, and touched as it fills. */
#include "residency/identity/identity_priv.h"

#include "base/check.h"
#include "base/map.h"

#include <stdlib.h>

#define WAYS 8u

struct entry {
    bool is_used;
    uint64_t used_at; /* the cache's tick of the last hit */
    uint8_t credential[HASH_SIZE];
    struct identity_proof proof;
};

struct identity_cache {
    struct jscan_keys *keys;
    size_t set_count; /* a power of two */
    uint64_t tick;
    struct entry *entries;
    _Alignas(16) uint8_t scratch[JWS_SIZE_MAX];
};

enum err
identity_cache_new(size_t count_max, struct identity_cache **out)
{
    struct identity_cache *c = calloc(1, sizeof(*c));
    enum err e = ERR_NOMEM;

    if (c == NULL)
        return e;
    c->set_count = 1;
    while (c->set_count * WAYS * 2 <= count_max)
        c->set_count *= 2;
    c->entries = calloc(c->set_count * WAYS, sizeof(*c->entries));
    if (c->entries == NULL)
        goto fail;
    e = jscan_keys_new(&c->keys);
    if (e != ERR_OK)
        goto fail;
    *out = c;
    return ERR_OK;

fail:
    identity_cache_free(&c);
    return e;
}

void
identity_cache_free(struct identity_cache **out)
{
    struct identity_cache *c = *out;

    *out = NULL;
    if (c == NULL)
        return;
    jscan_keys_free(&c->keys);
    free(c->entries);
    free(c);
}

void
identity_cache_clear(struct identity_cache *c)
{
    for (size_t i = 0; i < c->set_count * WAYS; i++)
        c->entries[i].is_used = false;
}

struct jscan_keys *
identity_cache_keys(struct identity_cache *c)
{
    return c->keys;
}

void *
identity_cache_scratch(struct identity_cache *c)
{
    return c->scratch;
}

/* Keyed, so that a holder of many tokens can't aim them at one set. */
static struct entry *
set_of(struct identity_cache *c, const uint8_t credential[HASH_SIZE])
{
    uint64_t h = map_hash(slice_of(credential, HASH_SIZE));

    return &c->entries[(size_t)(h & (c->set_count - 1)) * WAYS];
}

const struct identity_proof *
identity_cache_get(struct identity_cache *c, const uint8_t credential[HASH_SIZE], int64_t now_ms)
{
    struct entry *set = set_of(c, credential);

    for (size_t i = 0; i < WAYS; i++) {
        struct entry *e = &set[i];

        if (!e->is_used || memcmp(e->credential, credential, HASH_SIZE) != 0)
            continue;
        if (now_ms > e->proof.identity.expires_ms) {
            e->is_used = false; /* verified anew, which names the reason */
            return NULL;
        }
        e->used_at = ++c->tick;
        return &e->proof;
    }
    return NULL;
}

struct identity_proof *
identity_cache_put(struct identity_cache *c, const uint8_t credential[HASH_SIZE])
{
    struct entry *set = set_of(c, credential);
    struct entry *victim = &set[0];

    for (size_t i = 0; i < WAYS && victim->is_used; i++)
        if (!set[i].is_used || set[i].used_at < victim->used_at)
            victim = &set[i];
    victim->is_used = true;
    victim->used_at = ++c->tick;
    memcpy(victim->credential, credential, HASH_SIZE);
    return &victim->proof;
}
