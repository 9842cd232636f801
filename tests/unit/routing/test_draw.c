#include "routing/draw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { BACKENDS = 300 };

struct world {
    struct charter charter;
    struct charter_backend backends[BACKENDS];
    struct draw_pool pool;
    struct bits legal;
};

/* Every third stands in another region; `big` of the others have 100 slots, the rest 10. */
static struct world *
fresh_world(uint32_t big)
{
    static struct world w;

    w = (struct world){.charter = {.backends = w.backends, .backend_count = BACKENDS}};
    for (uint32_t i = 0; i < BACKENDS; i++) {
        w.backends[i].region = i % 3 == 2;
        w.backends[i].slots = i < big ? 100 : 10;
        bits_add(&w.legal, i);
    }
    draw_pool_init(&w.pool, &w.charter, 0);
    return &w;
}

static void
what_is_drawn_is_legal_and_of_the_own_region(void **state)
{
    struct world *w = fresh_world(0);
    uint32_t seen[BACKENDS] = {0}, total = 0;
    struct bits out;

    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        bits_remove(&w->legal, i);
    for (uint64_t r = 0; r < 4000; r++) {
        uint32_t count;

        assert_true(draw(&w->pool, &w->charter, &w->legal, r, &out));
        count = bits_count(&out);
        assert_true(count >= 1 && count <= DRAW_COUNT);
        total += count;
        for (uint32_t b = bits_next(&out, 0); b < BITS_COUNT_MAX; b = bits_next(&out, b + 1)) {
            assert_true(b >= 100 && b < BACKENDS && b % 3 != 2);
            seen[b]++;
        }
    }
    assert_true(total > 15500);               /* seldom one twice */
    for (uint32_t b = 100; b < BACKENDS; b++) /* 16,000 draws out of 133: 120 each */
        assert_true(b % 3 == 2 || (seen[b] > 60 && seen[b] < 200));
}

static void
slots_are_weights(void **state)
{
    struct world *w = fresh_world(30); /* 20 of ours: 2,000 slots; the other 180: 1,800 */
    uint32_t big = 0, all = 0;
    struct bits out;

    (void)state;
    for (uint64_t r = 0; r < 4000; r++) {
        assert_true(draw(&w->pool, &w->charter, &w->legal, r, &out));
        for (uint32_t b = bits_next(&out, 0); b < BITS_COUNT_MAX; b = bits_next(&out, b + 1)) {
            big += b < 30;
            all++;
        }
    }
    /* Half of the slots; a little less, since one drawn twice counts once and some are taken as
     * they are. */
    assert_true(big * 100 > all * 38);
    assert_true(big * 100 < all * 53);
}

static void
few_are_looked_at_whole(void **state)
{
    struct world *w = fresh_world(0);
    struct bits out;
    uint32_t n = 0;

    (void)state;
    bits_clear(&w->legal);
    for (uint32_t i = 0; n < DRAW_ABOVE; i++) {
        bits_add(&w->legal, i);
        n += w->backends[i].region == 0;
    }
    assert_false(draw(&w->pool, &w->charter, &w->legal, 1, &out));
    bits_add(&w->legal, 298);
    assert_int_equal(w->backends[298].region, 0);
    assert_true(draw(&w->pool, &w->charter, &w->legal, 1, &out));
    bits_clear(&w->legal);
    assert_false(draw(&w->pool, &w->charter, &w->legal, 1, &out));
}

static void
members_are_found_by_their_number(void **state)
{
    struct bits s;

    (void)state;
    bits_clear(&s);
    assert_int_equal(bits_nth(&s, 0), BITS_COUNT_MAX);
    for (uint32_t i = 0; i < BITS_COUNT_MAX; i += 63)
        bits_add(&s, i);
    for (uint32_t n = 0; n < bits_count(&s); n++)
        assert_int_equal(bits_nth(&s, n), n * 63);
    assert_int_equal(bits_nth(&s, bits_count(&s)), BITS_COUNT_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_drawn_is_legal_and_of_the_own_region),
        cmocka_unit_test(slots_are_weights),
        cmocka_unit_test(few_are_looked_at_whole),
        cmocka_unit_test(members_are_found_by_their_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
