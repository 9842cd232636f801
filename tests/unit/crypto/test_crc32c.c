#include "crypto/hash.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SIZE 200

typedef uint32_t (*crc_fn)(uint32_t crc, struct slice s);
static const crc_fn both[] = {hash_crc32c, hash_crc32c_portable};

static void
crc32c_gives_the_sums_of_rfc_3720(void **state)
{
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];

    (void)state;
    for (size_t i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    for (size_t i = 0; i < ARRAY_COUNT(both); i++) {
        assert_int_equal(both[i](0, slice_of(zeros, 32)), 0x8a9136aa);
        assert_int_equal(both[i](0, slice_of(ones, 32)), 0x62a8ab43);
        assert_int_equal(both[i](0, slice_of(up, 32)), 0x46dd794e);
        assert_int_equal(both[i](0, slice_of(down, 32)), 0x113fdb5c);
        assert_int_equal(both[i](0, SLICE_LIT("123456789")), 0xe3069283);
        assert_int_equal(both[i](0, SLICE_NONE), 0);
    }
}

/* One bit at a time, as the polynomial says. */
static uint32_t
crc_by_definition(struct slice s)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < s.len; i++) {
        crc ^= s.p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void
crc32c_is_the_same_on_every_path_offset_and_length(void **state)
{
    uint8_t bytes[SIZE];

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * i + 3 * i);
    for (size_t from = 0; from < 9; from++) {
        for (size_t len = 0; len <= SIZE - from; len++) {
            struct slice s = slice_of(bytes + from, len);
            uint32_t expected = crc_by_definition(s);

            assert_int_equal(hash_crc32c(0, s), expected);
            assert_int_equal(hash_crc32c_portable(0, s), expected);
        }
    }
}

static void
crc32c_goes_on_where_it_stopped(void **state)
{
    uint8_t bytes[SIZE];

    (void)state;
    memset(bytes, 0x5a, SIZE);
    for (size_t i = 0; i < ARRAY_COUNT(both); i++) {
        uint32_t whole = both[i](0, slice_of(bytes, SIZE));

        for (size_t cut = 0; cut <= SIZE; cut++) {
            uint32_t crc = both[i](0, slice_of(bytes, cut));

            assert_int_equal(both[i](crc, slice_of(bytes + cut, SIZE - cut)), whole);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_sums_of_rfc_3720),
        cmocka_unit_test(crc32c_is_the_same_on_every_path_offset_and_length),
        cmocka_unit_test(crc32c_goes_on_where_it_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
