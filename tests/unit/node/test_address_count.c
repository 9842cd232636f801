#include "node/address_count.h"

#include "base/check.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct geo_address
address(const char *text)
{
    struct geo_address a;

    assert_int_equal(geo_address_parse(slice_str(text), &a), ERR_OK);
    return a;
}

/* One of many IPv4 addresses. */
static struct geo_address
numbered(uint32_t n)
{
    struct geo_address a = {.family = 4};

    a.bytes[0] = 10;
    a.bytes[1] = (uint8_t)(n >> 16);
    a.bytes[2] = (uint8_t)(n >> 8);
    a.bytes[3] = (uint8_t)n;
    return a;
}

static struct address_count *
opened(size_t entries_max)
{
    struct address_count *c = NULL;

    assert_int_equal(address_count_new(entries_max, &c), ERR_OK);
    return c;
}

static void
test_the_maximum_and_one_beyond(void **state)
{
    struct address_count *c = opened(8);
    struct geo_address one = address("192.0.2.1");
    struct geo_address other = address("192.0.2.2");

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(address_count_enter(c, &one, 3), ADDRESS_COUNTED);
    assert_int_equal(address_count_enter(c, &one, 3), ADDRESS_OVER_MAX);
    assert_int_equal(address_count_enter(c, &other, 3), ADDRESS_COUNTED);
    address_count_leave(c, &one);
    assert_int_equal(address_count_enter(c, &one, 3), ADDRESS_COUNTED);
    assert_int_equal(address_count_enter(c, &one, 3), ADDRESS_OVER_MAX);
    /* A lower limit, as a reload brings it, closes nothing and admits nothing. */
    assert_int_equal(address_count_enter(c, &one, 1), ADDRESS_OVER_MAX);
    address_count_free(&c);
    assert_null(c);
}

static void
test_ipv6_is_counted_by_its_64(void **state)
{
    struct address_count *c = opened(8);
    struct geo_address host = address("2001:db8:1:2::1");
    struct geo_address same = address("2001:db8:1:2:ffff:ffff:ffff:ffff");
    struct geo_address next = address("2001:db8:1:3::1");

    (void)state;
    assert_int_equal(address_count_enter(c, &host, 2), ADDRESS_COUNTED);
    assert_int_equal(address_count_enter(c, &same, 2), ADDRESS_COUNTED);
    assert_int_equal(address_count_enter(c, &same, 2), ADDRESS_OVER_MAX);
    assert_int_equal(address_count_enter(c, &next, 2), ADDRESS_COUNTED);
    assert_int_equal(address_count_used(c), 2);
    address_count_free(&c);
}

static void
test_families_do_not_mix(void **state)
{
    struct address_count *c = opened(8);
    struct geo_address v4 = address("32.1.13.184"); /* the bytes of 2001:db8::/32 */
    struct geo_address v6 = address("2001:db8::");

    (void)state;
    assert_int_equal(address_count_enter(c, &v4, 1), ADDRESS_COUNTED);
    assert_int_equal(address_count_enter(c, &v6, 1), ADDRESS_COUNTED);
    address_count_free(&c);
}

static void
test_a_full_table_refuses_new_addresses_and_takes_them_when_one_goes(void **state)
{
    struct address_count *c = opened(ADDRESS_COUNT_MAX);
    struct geo_address beyond = address("198.51.100.1");
    struct geo_address first = numbered(0);

    (void)state;
    for (uint32_t i = 0; i < ADDRESS_COUNT_MAX; i++) {
        struct geo_address a = numbered(i);

        assert_int_equal(address_count_enter(c, &a, 2), ADDRESS_COUNTED);
    }
    assert_int_equal(address_count_used(c), ADDRESS_COUNT_MAX);
    assert_int_equal(address_count_enter(c, &beyond, 2), ADDRESS_TABLE_FULL);
    /* Those that are in it go on. */
    assert_int_equal(address_count_enter(c, &first, 2), ADDRESS_COUNTED);
    address_count_leave(c, &first);
    assert_int_equal(address_count_enter(c, &beyond, 2), ADDRESS_TABLE_FULL);
    address_count_leave(c, &first);
    assert_int_equal(address_count_enter(c, &beyond, 2), ADDRESS_COUNTED);
    address_count_free(&c);
}

static void
test_empty_entries_go_whatever_the_order(void **state)
{
    struct address_count *c = opened(64);

    (void)state;
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 64; i++) {
            struct geo_address a = numbered(round * 1000 + i);

            assert_int_equal(address_count_enter(c, &a, 1), ADDRESS_COUNTED);
        }
        for (uint32_t i = 0; i < 64; i++) {
            struct geo_address a = numbered(round * 1000 + (i * 37 + round) % 64);

            address_count_leave(c, &a);
        }
        assert_int_equal(address_count_used(c), 0);
    }
    address_count_free(&c);
}

#define THREADS 4
#define ROUNDS 20000

static void *
come_and_go(void *context)
{
    struct address_count *c = context;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct geo_address a = numbered(i % 7);

        if (address_count_enter(c, &a, 2) == ADDRESS_COUNTED)
            address_count_leave(c, &a);
    }
    return NULL;
}

static void
test_threads_leave_nothing_behind(void **state)
{
    struct address_count *c = opened(8);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, c), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(address_count_used(c), 0);
    address_count_free(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_maximum_and_one_beyond),
        cmocka_unit_test(test_ipv6_is_counted_by_its_64),
        cmocka_unit_test(test_families_do_not_mix),
        cmocka_unit_test(test_a_full_table_refuses_new_addresses_and_takes_them_when_one_goes),
        cmocka_unit_test(test_empty_entries_go_whatever_the_order),
        cmocka_unit_test(test_threads_leave_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
