#include "residency/evidence/requests_priv.h"

#include "base/check.h"
#include "base/map.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

struct row {
    uint8_t id[16];
    uint32_t state; /* 0: free; else one of the marks, or OPEN_FIRST + place in the pool */
};
_Static_assert(sizeof(struct row) == 20, "ten million requests fit in 350 MB");

enum { FREE, REFUSED, CLOSED, OPEN_FIRST };

struct requests {
    struct row *rows;
    size_t size; /* power of two */
    size_t count;
    struct requests_open **pool; /* NULL: free place */
    size_t pool_size;
    size_t *spare; /* stack of free places */
    size_t spare_count;
};

enum err
requests_new(struct requests **out)
{
    struct requests *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return ERR_NOMEM;
    t->size = 4096;
    t->rows = calloc(t->size, sizeof(*t->rows));
    if (t->rows == NULL) {
        free(t);
        return ERR_NOMEM;
    }
    *out = t;
    return ERR_OK;
}

void
requests_free(struct requests **t)
{
    if (*t == NULL)
        return;
    for (size_t i = 0; i < (*t)->pool_size; i++)
        free((*t)->pool[i]);
    free((*t)->pool);
    free((*t)->spare);
    free((*t)->rows);
    free(*t);
    *t = NULL;
}

bool
requests_id(const char *text, uint8_t out[16])
{
    char hex[33];
    size_t used = 0, len = 16;

    for (size_t i = 0; text[i] != '\0'; i++) {
        if (text[i] == '-')
            continue;
        if (used == 32)
            return false;
        hex[used++] = text[i];
    }
    return used == 32 && text_unhex(slice_of(hex, 32), out, &len);
}

static struct row *
row_of(const struct requests *t, const uint8_t id[16])
{
    /* Keyed: the ids of a hostile log can't be chosen to collide. */
    size_t i = (size_t)map_hash(slice_of(id, 16)) & (t->size - 1);

    while (t->rows[i].state != FREE && memcmp(t->rows[i].id, id, 16) != 0)
        i = (i + 1) & (t->size - 1);
    return &t->rows[i];
}

enum requests_state
requests_find(const struct requests *t, const uint8_t id[16], struct requests_open **open)
{
    const struct row *row = row_of(t, id);

    switch (row->state) {
    case FREE:
        return REQUESTS_UNSEEN;
    case REFUSED:
        return REQUESTS_REFUSED;
    case CLOSED:
        return REQUESTS_CLOSED;
    default:
        *open = t->pool[row->state - OPEN_FIRST];
        return REQUESTS_OPEN;
    }
}

static enum err
rows_grow(struct requests *t)
{
    struct row *old = t->rows;
    size_t old_size = t->size;
    struct row *rows = calloc(old_size * 2, sizeof(*rows));

    if (rows == NULL)
        return ERR_NOMEM;
    t->rows = rows;
    t->size = old_size * 2;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].state != FREE)
            *row_of(t, old[i].id) = old[i];
    }
    free(old);
    return ERR_OK;
}

static enum err
pool_grow(struct requests *t)
{
    size_t size = t->pool_size == 0 ? 256 : t->pool_size * 2;
    struct requests_open **pool = realloc(t->pool, size * sizeof(struct requests_open *));
    size_t *spare;

    if (pool == NULL)
        return ERR_NOMEM;
    t->pool = pool;
    spare = realloc(t->spare, size * sizeof(*spare));
    if (spare == NULL)
        return ERR_NOMEM;
    t->spare = spare;
    for (size_t i = size; i > t->pool_size; i--) {
        pool[i - 1] = NULL;
        t->spare[t->spare_count++] = i - 1;
    }
    t->pool_size = size;
    return ERR_OK;
}

static enum err
row_take(struct requests *t, const uint8_t id[16], struct row **out)
{
    struct row *row;

    if (t->count >= t->size / 4 * 3) {
        enum err e = rows_grow(t);

        if (e != ERR_OK)
            return e;
    }
    row = row_of(t, id);
    if (row->state == FREE) {
        t->count++;
        memcpy(row->id, id, 16);
    }
    *out = row;
    return ERR_OK;
}

enum err
requests_add_open(struct requests *t, const uint8_t id[16], struct requests_open **out)
{
    struct requests_open *open = calloc(1, sizeof(*open));
    struct row *row;
    enum err e = ERR_OK;

    if (open == NULL)
        return ERR_NOMEM;
    if (t->spare_count == 0)
        e = pool_grow(t);
    if (e == ERR_OK)
        e = row_take(t, id, &row);
    if (e != ERR_OK) {
        free(open);
        return e;
    }
    ASSERT(row->state == FREE || row->state == REFUSED);
    open->at = t->spare[--t->spare_count];
    memcpy(open->id, id, 16);
    t->pool[open->at] = open;
    row->state = OPEN_FIRST + (uint32_t)open->at;
    *out = open;
    return ERR_OK;
}

enum err
requests_add_refused(struct requests *t, const uint8_t id[16])
{
    struct row *row;
    enum err e = row_take(t, id, &row);

    if (e != ERR_OK)
        return e;
    ASSERT(row->state == FREE);
    row->state = REFUSED;
    return ERR_OK;
}

void
requests_close(struct requests *t, struct requests_open *open)
{
    struct row *row = row_of(t, open->id);

    ASSERT(row->state == OPEN_FIRST + (uint32_t)open->at);
    row->state = CLOSED;
    t->pool[open->at] = NULL;
    t->spare[t->spare_count++] = open->at;
    free(open);
}

struct requests_open *
requests_next_open(const struct requests *t, size_t *place)
{
    while (*place < t->pool_size) {
        struct requests_open *open = t->pool[(*place)++];

        if (open != NULL)
            return open;
    }
    return NULL;
}
