#include "node/address_count.h"

#include "base/check.h"
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>

#define NOWHERE UINT32_MAX
#define KEY_SIZE 9 /* family, then four bytes of IPv4 or the /64 of IPv6 */

struct entry {
    uint8_t key[KEY_SIZE];
    uint32_t count; /* 0: on the free list */
    uint32_t next;  /* in its bucket, or on the free list */
};

struct address_count {
    pthread_mutex_t lock; /* of everything below */
    struct entry *entries;
    uint32_t *buckets;
    size_t bucket_count; /* a power of two */
    uint32_t first_free;
    size_t used;
};

enum err
address_count_new(size_t entries_max, struct address_count **out)
{
    struct address_count *c;

    ASSERT(entries_max > 0 && entries_max <= ADDRESS_COUNT_MAX);
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return ERR_NOMEM;
    c->bucket_count = 1;
    while (c->bucket_count < entries_max)
        c->bucket_count *= 2;
    c->entries = calloc(entries_max, sizeof(*c->entries));
    c->buckets = malloc(c->bucket_count * sizeof(*c->buckets));
    if (c->entries == NULL || c->buckets == NULL || pthread_mutex_init(&c->lock, NULL) != 0) {
        free(c->entries);
        free(c->buckets);
        free(c);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < c->bucket_count; i++)
        c->buckets[i] = NOWHERE;
    for (size_t i = 0; i < entries_max; i++)
        c->entries[i].next = i + 1 < entries_max ? (uint32_t)(i + 1) : NOWHERE;
    *out = c;
    return ERR_OK;
}

void
address_count_free(struct address_count **out)
{
    struct address_count *c = *out;

    if (c == NULL)
        return;
    (void)pthread_mutex_destroy(&c->lock);
    free(c->entries);
    free(c->buckets);
    free(c);
    *out = NULL;
}

static void
make_key(const struct geo_address *address, uint8_t key[KEY_SIZE])
{
    memset(key, 0, KEY_SIZE);
    key[0] = address->family;
    memcpy(key + 1, address->bytes, address->family == 4 ? 4 : 8);
}

/* The link that leads to the key's entry, or the one at the end of its bucket. */
static uint32_t *
find(struct address_count *c, const uint8_t key[KEY_SIZE])
{
    /* Keyed: whoever has many addresses can't choose them to meet in one bucket. */
    uint32_t *link = &c->buckets[map_hash(slice_of(key, KEY_SIZE)) & (c->bucket_count - 1)];

    while (*link != NOWHERE && memcmp(c->entries[*link].key, key, KEY_SIZE) != 0)
        link = &c->entries[*link].next;
    return link;
}

static enum address_verdict
enter(struct address_count *c, const uint8_t key[KEY_SIZE], uint32_t max)
{
    uint32_t *link = find(c, key);
    struct entry *e;

    if (*link == NOWHERE && c->first_free == NOWHERE)
        return ADDRESS_TABLE_FULL;
    if (*link == NOWHERE) {
        *link = c->first_free;
        e = &c->entries[*link];
        c->first_free = e->next;
        memcpy(e->key, key, KEY_SIZE);
        e->count = 0;
        e->next = NOWHERE;
        c->used++;
    }
    e = &c->entries[*link];
    if (e->count >= max)
        return ADDRESS_OVER_MAX;
    e->count++;
    return ADDRESS_COUNTED;
}

enum address_verdict
address_count_enter(struct address_count *c, const struct geo_address *address, uint32_t max)
{
    uint8_t key[KEY_SIZE];
    enum address_verdict verdict;

    ASSERT(max > 0);
    make_key(address, key);
    (void)pthread_mutex_lock(&c->lock);
    verdict = enter(c, key, max);
    (void)pthread_mutex_unlock(&c->lock);
    return verdict;
}

void
address_count_leave(struct address_count *c, const struct geo_address *address)
{
    uint8_t key[KEY_SIZE];
    uint32_t *link;

    make_key(address, key);
    (void)pthread_mutex_lock(&c->lock);
    link = find(c, key);
    if (!NEVER(*link == NOWHERE) && --c->entries[*link].count == 0) {
        uint32_t index = *link;

        *link = c->entries[index].next;
        c->entries[index].next = c->first_free;
        c->first_free = index;
        c->used--;
    }
    (void)pthread_mutex_unlock(&c->lock);
}

size_t
address_count_used(struct address_count *c)
{
    size_t used;

    (void)pthread_mutex_lock(&c->lock);
    used = c->used;
    (void)pthread_mutex_unlock(&c->lock);
    return used;
}
