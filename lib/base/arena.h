#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Memory of one transaction: handed out in a row, given back in one step.
 * Running out is normal and sticky: a parser looks once, at its end. */
struct arena {
    uint8_t *base; /* 16-byte aligned */
    size_t used;
    size_t size;
    bool overflowed; /* stays so until arena_reset() */
};

/* storage is borrowed for the arena's life and must be 16-byte aligned. */
void arena_init(struct arena *a, void *storage, size_t size);
void arena_reset(struct arena *a);
/* Gives 16-byte aligned room, or NULL and a sticky mark. Not cleared. */
void *arena_alloc(struct arena *a, size_t len);
/* A copy of s that lives as long as the arena; p == NULL when it did not fit. */
struct slice arena_copy(struct arena *a, struct slice s);

#endif
