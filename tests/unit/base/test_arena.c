#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static _Alignas(16) uint8_t storage[256];

static void
test_pieces_are_aligned_and_apart(void **state)
{
    struct arena a;
    uint8_t *p;
    uint8_t *q;

    (void)state;
    arena_init(&a, storage, sizeof(storage));
    p = arena_alloc(&a, 3);
    q = arena_alloc(&a, 17);
    assert_non_null(p);
    assert_non_null(q);
    assert_int_equal((uintptr_t)p & 15, 0);
    assert_int_equal((uintptr_t)q & 15, 0);
    assert_true(q >= p + 3);
    assert_true(q + 17 <= storage + sizeof(storage));
}

static void
test_takes_exactly_its_size(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, storage, sizeof(storage));
    assert_non_null(arena_alloc(&a, sizeof(storage)));
    assert_false(a.overflowed);
    arena_reset(&a);
    assert_null(arena_alloc(&a, sizeof(storage) + 1));
    assert_true(a.overflowed);
}

static void
test_padding_counts(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, storage, 32);
    assert_non_null(arena_alloc(&a, 1));
    assert_null(arena_alloc(&a, 17)); /* 31 bytes are free, 16 behind the padding */
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 1));
    assert_non_null(arena_alloc(&a, 16));
}

static void
test_overflow_is_sticky_until_reset(void **state)
{
    struct arena a;

    (void)state;
    arena_init(&a, storage, sizeof(storage));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, 1));
    arena_reset(&a);
    assert_non_null(arena_alloc(&a, 1));
}

static void
test_huge_lengths_do_not_wrap(void **state)
{
    struct arena a;

    (void)state;
    for (size_t less = 0; less < 64; less++) {
        arena_init(&a, storage, sizeof(storage));
        assert_non_null(arena_alloc(&a, 5));
        assert_null(arena_alloc(&a, SIZE_MAX - less));
    }
}

static void
test_copy_lives_in_the_arena(void **state)
{
    char text[] = "lisboa";
    struct arena a;
    struct slice s;

    (void)state;
    arena_init(&a, storage, 16);
    s = arena_copy(&a, slice_str(text));
    text[0] = 'x';
    assert_true(slice_is(s, "lisboa"));
    s = arena_copy(&a, SLICE_LIT("b"));
    assert_null(s.p);
    assert_int_equal(s.len, 0);
    assert_true(a.overflowed);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_aligned_and_apart),
        cmocka_unit_test(test_takes_exactly_its_size),
        cmocka_unit_test(test_padding_counts),
        cmocka_unit_test(test_overflow_is_sticky_until_reset),
        cmocka_unit_test(test_huge_lengths_do_not_wrap),
        cmocka_unit_test(test_copy_lives_in_the_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
