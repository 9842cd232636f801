#ifndef BASE_SPARE_H
#define BASE_SPARE_H

#include <stddef.h>

/* Blocks of one size that wait to be used again, the latest first. How many are worth their
 * memory shows by itself: those that a whole period never needed go back to the allocator at
 * its end, so that what a burst left behind is gone soon and an idle process is small. All
 * blocks are malloc()'s and hold at least a pointer. One thread's. */

struct spare_block;
struct spare {
    struct spare_block *first;
    size_t count;
    size_t least; /* of count in this period */
    size_t floor; /* so many are kept whatever a period needs; the owner's to set */
};

/* Gives, or NULL when there is none. */
void *spare_take(struct spare *s);
/* Takes. */
void spare_put(struct spare *s, void *block);
/* A period ends: frees what it did not need; returns how many blocks that were. */
size_t spare_trim(struct spare *s);
void spare_free(struct spare *s); /* all of them */

#endif
