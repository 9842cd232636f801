#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/err.h"
#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

/* A bounded first-in first-out byte buffer over one contiguous block, which comes
 * from a per-thread pool of power-of-two blocks and goes back to it as soon as the
 * buffer is empty: an idle connection holds no buffer at all. */

struct buf_pool; /* one per thread; not thread-safe */

/* kept_bytes_max: idle blocks kept for reuse. Gives. */
MUST_USE enum err buf_pool_new(struct buf_pool **out, size_t kept_bytes_max);
void buf_pool_free(struct buf_pool **pool); /* every buffer must have been released */
/* A period ends: idle blocks that it did not need go (base/spare.h). */
void buf_pool_trim(struct buf_pool *pool);
size_t buf_pool_kept(const struct buf_pool *pool); /* bytes of idle blocks */
/* Bytes that buffers of this pool hold now. */
size_t buf_pool_held(const struct buf_pool *pool);

struct buf {
    struct buf_pool *pool;
    uint8_t *p;
    size_t head; /* first unread byte */
    size_t tail; /* first free byte */
    size_t size; /* of the block; 0 when none is held */
    size_t max;  /* never holds more unread bytes than this */
};

void buf_init(struct buf *b, struct buf_pool *pool, size_t max);
void buf_release(struct buf *b); /* drops content and block */
static inline size_t
buf_used(const struct buf *b)
{
    return b->tail - b->head;
}
static inline struct slice
buf_slice(const struct buf *b)
{
    return slice_of(b->p == NULL ? NULL : b->p + b->head, b->tail - b->head);
}
/* How many more bytes may be added. */
static inline size_t
buf_left(const struct buf *b)
{
    return b->max - (b->tail - b->head);
}
/* Contiguous writable room of at least len bytes (len <= buf_left); NULL when the
 * limit or memory forbids. *room is what there is. Follow with buf_commit(). */
uint8_t *buf_room(struct buf *b, size_t len, size_t *room);
void buf_commit(struct buf *b, size_t len);
MUST_USE enum err buf_add(struct buf *b, struct slice s);
/* Drops len bytes from the front; gives the block back when nothing is left. */
void buf_consume(struct buf *b, size_t len);

#endif
