#include "base/map.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
test_finds_what_was_added(void **state)
{
    static char names[500][8];
    struct map *map = NULL;

    (void)state;
    assert_int_equal(map_new(&map, 500), ERR_OK);
    for (uint32_t i = 0; i < 500; i++) {
        assert_true(text_format(names[i], sizeof(names[i]), "k%u", i));
        assert_int_equal(map_add(map, slice_str(names[i]), i), ERR_OK);
    }
    for (uint32_t i = 0; i < 500; i++)
        assert_int_equal(map_get(map, slice_str(names[i])), i);
    assert_int_equal(map_get(map, SLICE_LIT("k500")), MAP_NONE);
    assert_int_equal(map_get(map, SLICE_LIT("")), MAP_NONE);
    map_free(&map);
    assert_null(map);
    map_free(&map);
}

static void
test_a_second_time_is_refused_and_changes_nothing(void **state)
{
    struct map *map = NULL;

    (void)state;
    assert_int_equal(map_new(&map, 4), ERR_OK);
    assert_int_equal(map_add(map, SLICE_LIT("a"), 1), ERR_OK);
    assert_int_equal(map_add(map, SLICE_LIT("a"), 2), ERR_EXIST);
    assert_int_equal(map_get(map, SLICE_LIT("a")), 1);
    map_free(&map);
}

static void
test_count_max_is_exact(void **state)
{
    struct map *map = NULL;

    (void)state;
    assert_int_equal(map_new(&map, 2), ERR_OK);
    assert_int_equal(map_add(map, SLICE_LIT("a"), 1), ERR_OK);
    assert_int_equal(map_add(map, SLICE_LIT("b"), 2), ERR_OK);
    assert_int_equal(map_add(map, SLICE_LIT("c"), 3), ERR_FULL);
    assert_int_equal(map_add(map, SLICE_LIT("a"), 3), ERR_EXIST);
    assert_int_equal(map_get(map, SLICE_LIT("c")), MAP_NONE);
    map_free(&map);
}

static void
test_keys_are_bytes(void **state)
{
    struct map *map = NULL;

    (void)state;
    assert_int_equal(map_new(&map, 4), ERR_OK);
    assert_int_equal(map_add(map, SLICE_LIT("a\0b"), 1), ERR_OK);
    assert_int_equal(map_add(map, SLICE_LIT("a\0c"), 2), ERR_OK);
    assert_int_equal(map_add(map, SLICE_NONE, 3), ERR_OK);
    assert_int_equal(map_get(map, SLICE_LIT("a")), MAP_NONE);
    assert_int_equal(map_get(map, SLICE_LIT("a\0c")), 2);
    assert_int_equal(map_get(map, SLICE_LIT("")), 3);
    assert_int_equal(map_get(map, SLICE_LIT("A\0b")), MAP_NONE);
    map_free(&map);
}

static void
test_hash_tells_lengths_and_bytes_apart(void **state)
{
    static const uint8_t zeros[32];

    (void)state;
    for (size_t a = 0; a <= sizeof(zeros); a++)
        for (size_t b = 0; b < a; b++)
            assert_true(map_hash(slice_of(zeros, a)) != map_hash(slice_of(zeros, b)));
    assert_true(map_hash(SLICE_LIT("abcdefgh")) != map_hash(SLICE_LIT("abcdefgi")));
    assert_true(map_hash(SLICE_LIT("abc")) == map_hash(SLICE_LIT("abc")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_was_added),
        cmocka_unit_test(test_a_second_time_is_refused_and_changes_nothing),
        cmocka_unit_test(test_count_max_is_exact),
        cmocka_unit_test(test_keys_are_bytes),
        cmocka_unit_test(test_hash_tells_lengths_and_bytes_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
