#include "routing/draw.h"

#include "routing/mix.h"

/* A backend is drawn evenly and taken with the probability slots / slots_max, so that nothing has
 * to be summed up. Where one is far larger than all others many are thrown away: after TRIES_MAX
 * the last one is taken as it is. That only makes the small ones a little likelier, and the use of
 * each decides afterwards. */
#define TRIES_MAX 16

void
draw_pool_init(struct draw_pool *pool, const struct charter *charter, uint32_t own_region)
{
    bits_clear(&pool->own);
    pool->slots_max = 1;
    for (uint32_t i = 0; i < charter->backend_count; i++) {
        const struct charter_backend *b = &charter->backends[i];

        if (b->region != own_region)
            continue;
        bits_add(&pool->own, i);
        if (b->slots > pool->slots_max)
            pool->slots_max = b->slots;
    }
}

bool
draw(const struct draw_pool *pool, const struct charter *charter, const struct bits *legal,
     uint64_t random, struct bits *out)
{
    struct bits among = pool->own;
    uint32_t count;

    bits_and(&among, legal);
    count = bits_count(&among);
    if (count <= DRAW_ABOVE)
        return false;
    bits_clear(out);
    for (int drawn = 0; drawn < DRAW_COUNT; drawn++) {
        uint32_t b = 0;

        for (int tries = 0; tries < TRIES_MAX; tries++) {
            random = mix(random);
            b = bits_nth(&among, (uint32_t)(random % count));
            random = mix(random);
            if (random % pool->slots_max < charter->backends[b].slots)
                break;
        }
        bits_add(out, b);
    }
    return true;
}
