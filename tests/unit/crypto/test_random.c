#include "crypto/random.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#define DRAWS 20000

/* More than two fillings, in pieces that do not divide one: nothing is given twice. */
static void
a_stock_never_gives_the_same_bytes_again(void **state)
{
    enum { PIECE = 24, PIECES = 100 };
    struct random_stock stock = {.left = 0};
    uint8_t seen[PIECES][PIECE];
    static const uint8_t nothing[PIECE];

    (void)state;
    for (size_t i = 0; i < PIECES; i++) {
        random_stock_take(&stock, seen[i], PIECE);
        assert_memory_not_equal(seen[i], nothing, PIECE);
        assert_memory_equal(stock.bytes + stock.left, nothing, PIECE); /* wiped */
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal(seen[i], seen[k], PIECE);
    }
    assert_true(random_stock_u64(&stock) != random_stock_u64(&stock));
}
#define BOUND 7

static void
fill_writes_every_byte_and_no_more(void **state)
{
    uint8_t seen[64] = {0}, out[66];

    (void)state;
    for (int round = 0; round < 32; round++) {
        out[0] = 0xa5;
        out[65] = 0xa5;
        random_fill(out + 1, 64);
        assert_int_equal(out[0], 0xa5);
        assert_int_equal(out[65], 0xa5);
        for (size_t i = 0; i < 64; i++)
            seen[i] |= out[i + 1];
    }
    /* A byte still zero after 32 draws has a chance of 2^-256. */
    for (size_t i = 0; i < 64; i++)
        assert_int_not_equal(seen[i], 0);
}

static void
below_stays_below_and_reaches_everything_evenly(void **state)
{
    unsigned count[BOUND] = {0};

    (void)state;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t v = random_below(BOUND);

        assert_true(v < BOUND);
        count[v]++;
    }
    /* 2857 expected, standard deviation 49: eight of them either way. */
    for (size_t i = 0; i < BOUND; i++)
        assert_in_range(count[i], 2457, 3257);
}

static void
below_takes_the_smallest_and_the_largest_bound(void **state)
{
    (void)state;
    assert_int_equal(random_below(1), 0);
    assert_true(random_below(UINT64_MAX) < UINT64_MAX);
    assert_true(random_below((UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

static void
uuid7_has_the_form_of_rfc_9562(void **state)
{
    struct random_stock stock = {.left = 0};
    char out[UUID_TEXT_SIZE];

    (void)state;
    for (int round = 0; round < 64; round++) {
        memset(out, 'z', sizeof(out));
        random_uuid7(&stock, INT64_C(0x017f22e279b0), out); /* the example of appendix A.6 */
        assert_int_equal(strlen(out), UUID_TEXT_SIZE - 1);
        assert_memory_equal(out, "017f22e2-79b0-7", 15);
        for (size_t i = 0; i < UUID_TEXT_SIZE - 1; i++) {
            bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

            assert_int_equal(out[i] == '-', is_dash);
            assert_true(is_dash || strchr("0123456789abcdef", out[i]) != NULL);
        }
        assert_non_null(strchr("89ab", out[19]));
    }
}

static void
uuid7_of_one_moment_differ(void **state)
{
    struct random_stock stock = {.left = 0};
    char a[UUID_TEXT_SIZE], b[UUID_TEXT_SIZE];

    (void)state;
    random_uuid7(&stock, 1, a);
    random_uuid7(&stock, 1, b);
    assert_string_not_equal(a, b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fill_writes_every_byte_and_no_more),
        cmocka_unit_test(below_stays_below_and_reaches_everything_evenly),
        cmocka_unit_test(below_takes_the_smallest_and_the_largest_bound),
        cmocka_unit_test(uuid7_has_the_form_of_rfc_9562),
        cmocka_unit_test(a_stock_never_gives_the_same_bytes_again),
        cmocka_unit_test(uuid7_of_one_moment_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
