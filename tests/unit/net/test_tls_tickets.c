#include "net/tls_tickets.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define HOUR TLS_TICKET_KEY_MS

static struct mono
at(uint64_t ms)
{
    return mono_add_ms((struct mono){UINT64_C(5000000000)}, ms);
}

/* What becomes of a key that sealed at `sealed`, looked for at `opened`. */
static void
expect(uint64_t sealed, uint64_t opened, enum err want, bool want_old)
{
    struct tls_tickets *ring = NULL;
    struct tls_ticket_key key;
    struct tls_ticket_key found;
    bool is_old = !want_old;

    assert_int_equal(tls_tickets_new(at(0), &ring), ERR_OK);
    tls_tickets_seal(ring, at(sealed), &key);
    assert_int_equal(tls_tickets_open(ring, at(opened), key.name, &found, &is_old), want);
    if (want == ERR_OK) {
        assert_memory_equal(&found, &key, sizeof(key));
        assert_int_equal(is_old, want_old);
    }
    tls_tickets_unref(&ring);
    assert_null(ring);
}

static void
test_a_key_opens_in_its_hour_and_the_next(void **state)
{
    (void)state;
    expect(0, 0, ERR_OK, false);
    expect(0, HOUR - 1, ERR_OK, false);
    expect(0, HOUR, ERR_OK, true);
    expect(0, 2 * HOUR - 1, ERR_OK, true);
    expect(0, 2 * HOUR, ERR_NOENT, false);
    expect(0, 100 * HOUR, ERR_NOENT, false);
    /* Hours are counted from the first key, not from the last use. */
    expect(HOUR + HOUR / 2, 2 * HOUR, ERR_OK, true);
    expect(HOUR + HOUR / 2, 3 * HOUR - 1, ERR_OK, true);
    expect(HOUR + HOUR / 2, 3 * HOUR, ERR_NOENT, false);
    expect(7 * HOUR + 5, 8 * HOUR + 6, ERR_OK, true);
}

/* The last ticket of a key lives as long as it was promised to. */
static void
test_a_ticket_outlives_its_promise(void **state)
{
    (void)state;
    expect(HOUR - 1, HOUR - 1 + TLS_TICKET_LIFE_S * UINT64_C(1000), ERR_OK, true);
}

static void
test_each_hour_has_its_own_key(void **state)
{
    struct tls_tickets *ring = NULL;
    struct tls_tickets *other = NULL;
    struct tls_ticket_key a;
    struct tls_ticket_key b;

    (void)state;
    assert_int_equal(tls_tickets_new(at(0), &ring), ERR_OK);
    assert_int_equal(tls_tickets_new(at(0), &other), ERR_OK);
    tls_tickets_seal(ring, at(1), &a);
    tls_tickets_seal(other, at(1), &b);
    assert_memory_not_equal(a.name, b.name, sizeof(a.name));
    assert_memory_not_equal(a.cipher, b.cipher, sizeof(a.cipher));
    assert_memory_not_equal(a.mac, b.mac, sizeof(a.mac));
    tls_tickets_seal(ring, at(2), &b);
    assert_memory_equal(&a, &b, sizeof(a));
    tls_tickets_seal(ring, at(HOUR), &b);
    assert_memory_not_equal(a.name, b.name, sizeof(a.name));
    assert_memory_not_equal(a.cipher, b.cipher, sizeof(a.cipher));
    assert_memory_not_equal(a.mac, b.mac, sizeof(a.mac));
    tls_tickets_unref(&ring);
    tls_tickets_unref(&other);
}

static void
test_a_foreign_name_opens_nothing(void **state)
{
    struct tls_tickets *ring = NULL;
    struct tls_ticket_key key;
    const uint8_t nothing[16] = {0};
    bool is_old = false;

    (void)state;
    assert_int_equal(tls_tickets_new(at(0), &ring), ERR_OK);
    /* Not even before there was another key, whose place is all zero. */
    assert_int_equal(tls_tickets_open(ring, at(0), nothing, &key, &is_old), ERR_NOENT);
    tls_tickets_seal(ring, at(0), &key);
    key.name[15] ^= 1;
    assert_int_equal(tls_tickets_open(ring, at(0), key.name, &key, &is_old), ERR_NOENT);
    tls_tickets_unref(&ring);
}

static void
test_a_ring_lives_until_its_last_owner(void **state)
{
    struct tls_tickets *ring = NULL;
    struct tls_tickets *second;
    struct tls_ticket_key a;
    struct tls_ticket_key b;

    (void)state;
    assert_int_equal(tls_tickets_new(at(0), &ring), ERR_OK);
    tls_tickets_seal(ring, at(0), &a);
    second = tls_tickets_ref(ring);
    tls_tickets_unref(&ring);
    tls_tickets_seal(second, at(0), &b);
    assert_memory_equal(&a, &b, sizeof(a));
    tls_tickets_unref(&second);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_key_opens_in_its_hour_and_the_next),
        cmocka_unit_test(test_a_ticket_outlives_its_promise),
        cmocka_unit_test(test_each_hour_has_its_own_key),
        cmocka_unit_test(test_a_foreign_name_opens_nothing),
        cmocka_unit_test(test_a_ring_lives_until_its_last_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
