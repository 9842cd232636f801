#ifndef ROUTING_DRAW_H
#define ROUTING_DRAW_H

#include "residency/bits.h"
#include "residency/charter.h"

#include <stdbool.h>
#include <stdint.h>

/* A few out of many, so that a choice among a thousand backends does not look at each of them:
 * choose() is asked of those first, and of all only if none of them will do. */

#define DRAW_ABOVE 64 /* so many are looked at whole */
#define DRAW_COUNT 4

struct draw_pool {      /* immutable */
    struct bits own;    /* the backends of the own region */
    uint32_t slots_max; /* the most that one of them has */
};
void draw_pool_init(struct draw_pool *pool, const struct charter *charter, uint32_t own_region);
/* Draws up to DRAW_COUNT of the own region's out of `legal`, each as likely as it has slots.
 * False: there are DRAW_ABOVE at most, and *out is not set. */
bool draw(const struct draw_pool *pool, const struct charter *charter, const struct bits *legal,
          uint64_t random, struct bits *out);

#endif
