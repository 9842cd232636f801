#include "base/map.h"

#include "base/check.h"

#include <stdlib.h>
#include <sys/random.h>

struct entry {
    struct slice key;
    uint32_t value;
    bool used;
};

struct map {
    struct entry *entries;
    size_t mask;
    size_t count;
    size_t count_max;
};

/* Drawn once, before the first table is filled; the same for the whole process. */
static struct {
    uint64_t k0;
    uint64_t k1;
} sip_key;

__attribute__((constructor)) static void
sip_key_draw(void)
{
    if (getrandom(&sip_key, sizeof(sip_key), 0) != (ssize_t)sizeof(sip_key))
        abort();
}

static uint64_t
rotl(uint64_t x, int b)
{
    return x << b | x >> (64 - b);
}

static void
sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static uint64_t
load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

uint64_t
map_hash(struct slice key)
{
    uint64_t v[4] = {
        sip_key.k0 ^ UINT64_C(0x736f6d6570736575), sip_key.k1 ^ UINT64_C(0x646f72616e646f6d),
        sip_key.k0 ^ UINT64_C(0x6c7967656e657261), sip_key.k1 ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)key.len << 56;
    size_t i;

    for (i = 0; i + 8 <= key.len; i += 8) {
        uint64_t m = load64(key.p + i);

        v[3] ^= m;
        sip_round(v);
        sip_round(v);
        v[0] ^= m;
    }
    for (size_t j = 0; i + j < key.len; j++)
        last |= (uint64_t)key.p[i + j] << (8 * j);
    v[3] ^= last;
    sip_round(v);
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int r = 0; r < 4; r++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

enum err
map_new(struct map **out, size_t count_max)
{
    size_t slots = 8;
    struct map *map;

    while (slots < count_max * 2)
        slots *= 2;
    map = calloc(1, sizeof(*map));
    if (map == NULL)
        return ERR_NOMEM;
    map->entries = calloc(slots, sizeof(*map->entries));
    if (map->entries == NULL) {
        free(map);
        return ERR_NOMEM;
    }
    map->mask = slots - 1;
    map->count_max = count_max;
    *out = map;
    return ERR_OK;
}

void
map_free(struct map **map)
{
    if (*map == NULL)
        return;
    free((*map)->entries);
    free(*map);
    *map = NULL;
}

/* The entry that holds key, or the free one where it would go. */
static struct entry *
locate(const struct map *map, struct slice key)
{
    size_t at = (size_t)map_hash(key) & map->mask;

    while (map->entries[at].used && !slice_eq(map->entries[at].key, key))
        at = (at + 1) & map->mask;
    return &map->entries[at];
}

enum err
map_add(struct map *map, struct slice key, uint32_t value)
{
    struct entry *e = locate(map, key);

    ASSERT(value != MAP_NONE);
    if (e->used)
        return ERR_EXIST;
    if (map->count == map->count_max)
        return ERR_FULL;
    *e = (struct entry){key, value, true};
    map->count++;
    return ERR_OK;
}

uint32_t
map_get(const struct map *map, struct slice key)
{
    const struct entry *e = locate(map, key);

    return e->used ? e->value : MAP_NONE;
}
