#include "base/buf.h"

#include "base/check.h"
#include "base/spare.h"

#include <stdlib.h>

#define BLOCK_SHIFT_MIN 12 /* 4 KiB */
#define BLOCK_CLASSES 20   /* up to 2 GiB; the owner's max decides long before */

struct buf_pool {
    struct spare kept[BLOCK_CLASSES];
    size_t kept_bytes;
    size_t kept_bytes_max;
    size_t held;
};

enum err
buf_pool_new(struct buf_pool **out, size_t kept_bytes_max)
{
    struct buf_pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL)
        return ERR_NOMEM;
    pool->kept_bytes_max = kept_bytes_max;
    *out = pool;
    return ERR_OK;
}

void
buf_pool_free(struct buf_pool **pool)
{
    if (*pool == NULL)
        return;
    ASSERT((*pool)->held == 0);
    for (size_t i = 0; i < BLOCK_CLASSES; i++)
        spare_free(&(*pool)->kept[i]);
    free(*pool);
    *pool = NULL;
}

void
buf_pool_trim(struct buf_pool *pool)
{
    for (size_t i = 0; i < BLOCK_CLASSES; i++)
        pool->kept_bytes -= spare_trim(&pool->kept[i]) << (i + BLOCK_SHIFT_MIN);
}

size_t
buf_pool_kept(const struct buf_pool *pool)
{
    return pool->kept_bytes;
}

size_t
buf_pool_held(const struct buf_pool *pool)
{
    return pool->held;
}

static size_t
class_of(size_t len)
{
    size_t c = 0;

    while (((size_t)1 << (c + BLOCK_SHIFT_MIN)) < len)
        c++;
    return c;
}

static uint8_t *
block_get(struct buf_pool *pool, size_t class)
{
    size_t size = (size_t)1 << (class + BLOCK_SHIFT_MIN);
    uint8_t *p = spare_take(&pool->kept[class]);

    if (p != NULL)
        pool->kept_bytes -= size;
    else
        p = malloc(size);
    if (p != NULL)
        pool->held += size;
    return p;
}

static void
block_put(struct buf_pool *pool, uint8_t *p, size_t size)
{
    pool->held -= size;
    if (pool->kept_bytes + size > pool->kept_bytes_max) {
        free(p);
        return;
    }
    spare_put(&pool->kept[class_of(size)], p);
    pool->kept_bytes += size;
}

void
buf_init(struct buf *b, struct buf_pool *pool, size_t max)
{
    *b = (struct buf){.pool = pool, .max = max};
}

void
buf_release(struct buf *b)
{
    if (b->p != NULL)
        block_put(b->pool, b->p, b->size);
    b->p = NULL;
    b->head = b->tail = b->size = 0;
}

/* Moves the content to a block that has room for len more bytes. */
static enum err
grow(struct buf *b, size_t len)
{
    size_t used = buf_used(b);
    size_t class = class_of(used + len);
    uint8_t *p;

    if (class >= BLOCK_CLASSES)
        return ERR_TOOBIG;
    p = block_get(b->pool, class);
    if (p == NULL)
        return ERR_NOMEM;
    if (used > 0)
        memcpy(p, b->p + b->head, used);
    if (b->p != NULL)
        block_put(b->pool, b->p, b->size);
    b->p = p;
    b->size = (size_t)1 << (class + BLOCK_SHIFT_MIN);
    b->head = 0;
    b->tail = used;
    return ERR_OK;
}

uint8_t *
buf_room(struct buf *b, size_t len, size_t *out_room)
{
    size_t used = buf_used(b);
    size_t room;

    if (len > b->max - used)
        return NULL;
    if (len > b->size - b->tail) {
        if (b->head > 0 && len <= b->size - used) {
            memmove(b->p, b->p + b->head, used);
            b->head = 0;
            b->tail = used;
        } else if (grow(b, len) != ERR_OK) {
            return NULL;
        }
    }
    room = b->size - b->tail;
    if (room > b->max - used)
        room = b->max - used;
    *out_room = room;
    return b->p + b->tail;
}

void
buf_commit(struct buf *b, size_t len)
{
    ASSERT(len <= b->size - b->tail);
    b->tail += len;
    if (b->head == b->tail)
        buf_release(b);
}

enum err
buf_add(struct buf *b, struct slice s)
{
    size_t room;
    uint8_t *at;

    if (s.len == 0)
        return ERR_OK;
    at = buf_room(b, s.len, &room);
    if (at == NULL)
        return s.len > buf_left(b) ? ERR_TOOBIG : ERR_NOMEM;
    memcpy(at, s.p, s.len);
    buf_commit(b, s.len);
    return ERR_OK;
}

void
buf_consume(struct buf *b, size_t len)
{
    ASSERT(len <= buf_used(b));
    b->head += len;
    if (b->head == b->tail)
        buf_release(b);
}
