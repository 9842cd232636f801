#include "base/arena.h"

#include "base/check.h"

void
arena_init(struct arena *a, void *storage, size_t size)
{
    ASSERT(((uintptr_t)storage & 15) == 0);
    a->base = storage;
    a->size = size;
    arena_reset(a);
}

void
arena_reset(struct arena *a)
{
    a->used = 0;
    a->overflowed = false;
}

void *
arena_alloc(struct arena *a, size_t len)
{
    size_t pad = (16 - (a->used & 15)) & 15;
    void *p;

    ASSERT(a->used <= a->size);
    if (a->overflowed || len > a->size || pad > a->size - len || a->used > a->size - len - pad) {
        a->overflowed = true;
        return NULL;
    }
    p = a->base + a->used + pad;
    a->used += pad + len;
    return p;
}

struct slice
arena_copy(struct arena *a, struct slice s)
{
    void *p = arena_alloc(a, s.len);

    if (p == NULL)
        return SLICE_NONE;
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    return slice_of(p, s.len);
}
