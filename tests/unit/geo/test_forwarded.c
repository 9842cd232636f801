#include "residency/geo/forwarded.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* The configured proxies of every case. */
static void
trusted_networks(struct geo_network out[3])
{
    static const char *const texts[] = {"10.0.0.0/8", "192.0.2.1", "2001:db8:ff::/48"};

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        assert_int_equal(ERR_OK, geo_network_parse(slice_str(texts[i]), &out[i]));
}

static struct forwarded_client
client_of(const char *peer, const struct slice *values, size_t count)
{
    struct geo_network trusted[3];
    struct forwarded_facts facts = {
        .trusted = trusted, .trusted_count = 3, .values = values, .value_count = count};
    struct forwarded_client out;

    trusted_networks(trusted);
    assert_int_equal(ERR_OK, geo_address_parse(slice_str(peer), &facts.peer));
    forwarded_client(&facts, &out);
    return out;
}

static void
expect(const char *peer, const char *chain, const char *want, bool is_forwarded)
{
    struct slice value = slice_str(chain);
    struct forwarded_client got = client_of(peer, &value, 1);
    struct geo_address address;

    assert_int_equal(ERR_OK, geo_address_parse(slice_str(want), &address));
    if (got.quality != GEO_FOUND || !geo_address_equal(&got.address, &address))
        fail_msg("%s from %s is not %s", chain, peer, want);
    assert_int_equal(is_forwarded, got.is_forwarded);
}

static void
test_rightmost_untrusted_hop_is_the_client(void **state)
{
    static const struct {
        const char *chain;
        const char *client;
    } cases[] = {
        {"8.8.8.8", "8.8.8.8"},
        {"8.8.8.8, 10.1.1.1", "8.8.8.8"},
        {"1.1.1.1, 8.8.8.8, 10.1.1.1", "8.8.8.8"},   /* 1.1.1.1 is the client's own word */
        {"10.9.9.9, 8.8.8.8, 192.0.2.1", "8.8.8.8"}, /* so is 10.9.9.9 */
        {"8.8.8.8,192.0.2.1,10.1.1.1", "8.8.8.8"},   /* without blanks */
        {"\t8.8.8.8 ,  10.1.1.1\t", "8.8.8.8"},
        {"2001:4860::8, 2001:db8:ff::1", "2001:4860::8"},
        {"8.8.8.8, 192.0.2.2", "192.0.2.2"}, /* next door is no proxy */
        {"::ffff:8.8.8.8, ::ffff:10.1.1.1", "8.8.8.8"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        expect("10.0.0.1", cases[i].chain, cases[i].client, true);
}

static void
test_all_hops_trusted_gives_the_leftmost(void **state)
{
    (void)state;
    expect("10.0.0.1", "10.3.3.3, 10.2.2.2, 192.0.2.1", "10.3.3.3", true);
}

static void
test_an_unknown_peer_vouches_for_nobody(void **state)
{
    (void)state;
    expect("8.8.4.4", "1.1.1.1", "8.8.4.4", false);
    expect("2001:4860::1", "not even an address", "2001:4860::1", false);
    expect("192.0.2.2", "", "192.0.2.2", false);
}

static void
test_a_proxy_without_a_chain_is_the_caller(void **state)
{
    struct forwarded_client got = client_of("10.0.0.1", NULL, 0);

    (void)state;
    assert_int_equal(GEO_FOUND, got.quality);
    assert_false(got.is_forwarded);
    assert_int_equal(10, got.address.bytes[0]);
}

static void
test_ports_and_brackets_as_load_balancers_send_them(void **state)
{
    static const struct {
        const char *chain;
        const char *client;
    } cases[] = {
        {"8.8.8.8:51234, 10.1.1.1:80", "8.8.8.8"},
        {"8.8.8.8:0", "8.8.8.8"},
        {"8.8.8.8:65535", "8.8.8.8"},
        {"[2001:4860::8]", "2001:4860::8"},
        {"[2001:4860::8]:443", "2001:4860::8"},
        {"[::ffff:8.8.8.8]:443", "8.8.8.8"},
        {"::ffff:8.8.8.8", "8.8.8.8"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        expect("10.0.0.1", cases[i].chain, cases[i].client, true);
}

static void
test_one_malformed_hop_spoils_the_chain(void **state)
{
    static const char *const cases[] = {
        "",
        " ",
        ",",
        "8.8.8.8,",
        ",8.8.8.8",
        "8.8.8.8,,10.1.1.1",
        "unknown",
        "_hidden",
        "8.8.8.8, unknown",
        "unknown, 8.8.8.8",
        "8.8.8.8 10.1.1.1",
        "8.8.8.8; 10.1.1.1",
        "\"8.8.8.8\"",
        "for=8.8.8.8",
        "8.8.8",
        "08.8.8.8",
        "8.8.8.8:",
        "8.8.8.8:x",
        "8.8.8.8:65536",
        "8.8.8.8:000080",
        "8.8.8.8:80:80",
        "8.8.8.8:+80",
        "[8.8.8.8]",
        "[8.8.8.8]:80",
        "[::1",
        "[]",
        "[]:80",
        "[",
        "]",
        "::1]",
        "[::1]80",
        "[::1]:",
        "[::1]:65536",
        "[[::1]]",
        "[::1]]",
        "[fe80::1%eth0]",
        "fe80::1%eth0",
        "2001:db8::1::2",
        "8.8.8.8/32",
        "8.8.8.8\v",
        "::ffff:8.8.8.8:80",
        "localhost",
        "\357\273\2778.8.8.8",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct slice value = slice_str(cases[i]);
        struct forwarded_client got = client_of("10.0.0.1", &value, 1);

        if (got.quality != GEO_MALFORMED)
            fail_msg("admitted: \"%s\"", cases[i]);
        assert_int_equal(0, got.address.family);
    }
    assert_string_equal("malformed_chain", geo_quality_row(GEO_MALFORMED)->name);
}

static void
test_values_are_one_chain_in_order(void **state)
{
    const struct slice values[] = {SLICE_LIT("1.1.1.1, 8.8.8.8"), SLICE_LIT("10.1.1.1"),
                                   SLICE_LIT("192.0.2.1")};
    const struct slice broken[] = {SLICE_LIT("8.8.8.8"), SLICE_LIT(""), SLICE_LIT("10.1.1.1")};
    struct forwarded_client got = client_of("10.0.0.1", values, 3);
    struct geo_address want;

    (void)state;
    assert_int_equal(ERR_OK, geo_address_parse(SLICE_LIT("8.8.8.8"), &want));
    assert_int_equal(GEO_FOUND, got.quality);
    assert_true(geo_address_equal(&want, &got.address));
    got = client_of("10.0.0.1", broken, 3);
    assert_int_equal(GEO_MALFORMED, got.quality);
}

static void
test_hops_at_the_maximum_and_one_more(void **state)
{
    struct slice values[FORWARDED_HOPS_MAX + 1];
    struct forwarded_client got;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(values); i++)
        values[i] = SLICE_LIT("8.8.8.8");
    got = client_of("10.0.0.1", values, FORWARDED_HOPS_MAX);
    assert_int_equal(GEO_FOUND, got.quality);
    got = client_of("10.0.0.1", values, FORWARDED_HOPS_MAX + 1);
    assert_int_equal(GEO_MALFORMED, got.quality);
}

static void
test_bytes_at_the_maximum_and_one_more(void **state)
{
    char text[FORWARDED_BYTES_MAX + 1];
    struct forwarded_client got;
    struct slice values[2];

    (void)state;
    memset(text, ' ', sizeof(text));
    memcpy(text, "8.8.8.8", 7);
    values[0] = slice_of(text, FORWARDED_BYTES_MAX);
    got = client_of("10.0.0.1", values, 1);
    assert_int_equal(GEO_FOUND, got.quality);
    values[0] = slice_of(text, FORWARDED_BYTES_MAX + 1);
    got = client_of("10.0.0.1", values, 1);
    assert_int_equal(GEO_MALFORMED, got.quality);
    values[0] = slice_of(text, FORWARDED_BYTES_MAX - 6); /* the sum counts */
    values[1] = slice_of(text, 7);
    got = client_of("10.0.0.1", values, 2);
    assert_int_equal(GEO_MALFORMED, got.quality);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rightmost_untrusted_hop_is_the_client),
        cmocka_unit_test(test_all_hops_trusted_gives_the_leftmost),
        cmocka_unit_test(test_an_unknown_peer_vouches_for_nobody),
        cmocka_unit_test(test_a_proxy_without_a_chain_is_the_caller),
        cmocka_unit_test(test_ports_and_brackets_as_load_balancers_send_them),
        cmocka_unit_test(test_one_malformed_hop_spoils_the_chain),
        cmocka_unit_test(test_values_are_one_chain_in_order),
        cmocka_unit_test(test_hops_at_the_maximum_and_one_more),
        cmocka_unit_test(test_bytes_at_the_maximum_and_one_more),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
