#include "residency/geo/address.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct geo_address
address(const char *text)
{
    struct geo_address out;

    if (geo_address_parse(slice_str(text), &out) != ERR_OK)
        fail_msg("no address: %s", text);
    return out;
}

static void
test_malformed_text_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        ".",
        ":",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4.",
        ".1.2.3.4",
        "1..2.3",
        "01.2.3.4",
        "1.2.3.04",
        "1.2.3.00",
        "256.1.1.1",
        "1.2.3.1000",
        "0x1.2.3.4",
        "1.2.3.4 ",
        " 1.2.3.4",
        "+1.2.3.4",
        "-1.2.3.4",
        "1.2.3.4/8",
        "1.2.3.4:80",
        "16909060",
        "1.2.3.a",
        "[::1]",
        "::1%lo",
        "fe80::1%eth0",
        "1::2::3",
        ":::",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "12345::",
        "g::",
        "::1.2.3",
        "::ffff:1.2.3.256",
        "::ffff:01.2.3.4",
        "1:2:3:4:5:6:7:1.2.3.4",
        ":1",
        "1:",
        "0000:0000:0000:0000:0000:0000:255.255.255.2550",
        "localhost",
        "unknown",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct geo_address out = {.family = 99};

        if (geo_address_parse(slice_str(cases[i]), &out) != ERR_BADMSG)
            fail_msg("admitted: \"%s\"", cases[i]);
        assert_int_equal(99, out.family);
    }
}

static void
test_nul_inside_is_refused(void **state)
{
    struct geo_address out;

    (void)state;
    assert_int_equal(ERR_BADMSG, geo_address_parse(SLICE_LIT("::1\0"), &out));
    assert_int_equal(ERR_BADMSG, geo_address_parse(SLICE_LIT("1.2.3.4\0"), &out));
    assert_int_equal(ERR_BADMSG, geo_address_parse(SLICE_NONE, &out));
}

static void
test_texts_of_one_address_are_equal(void **state)
{
    static const char *const cases[][2] = {
        {"1.2.3.4", "::ffff:1.2.3.4"},
        {"1.2.3.4", "::FFFF:0102:0304"},
        {"255.255.255.255", "0000:0000:0000:0000:0000:ffff:255.255.255.255"},
        {"2001:db8::1", "2001:0DB8:0:0:0:0:0:1"},
        {"::", "0:0:0:0:0:0:0:0"},
        {"::1.2.3.4", "::102:304"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct geo_address a = address(cases[i][0]), b = address(cases[i][1]);

        assert_true(geo_address_equal(&a, &b));
    }
}

static void
test_families_are_never_equal(void **state)
{
    struct geo_address four = address("0.0.0.0"), six = address("::");

    (void)state;
    assert_int_equal(4, four.family);
    assert_int_equal(6, six.family);
    assert_false(geo_address_equal(&four, &six));
}

static void
test_sockaddr_gives_the_same_as_text(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = 80};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_scope_id = 3};
    struct geo_address want, got;

    (void)state;
    assert_int_equal(1, inet_pton(AF_INET, "192.0.2.7", &in.sin_addr));
    assert_int_equal(ERR_OK,
                     geo_address_from_sockaddr((const struct sockaddr *)&in, sizeof(in), &got));
    want = address("192.0.2.7");
    assert_true(geo_address_equal(&want, &got));
    assert_int_equal(1, inet_pton(AF_INET6, "::ffff:192.0.2.7", &in6.sin6_addr));
    assert_int_equal(ERR_OK,
                     geo_address_from_sockaddr((const struct sockaddr *)&in6, sizeof(in6), &got));
    assert_true(geo_address_equal(&want, &got));
    assert_int_equal(1, inet_pton(AF_INET6, "2001:db8::7", &in6.sin6_addr));
    assert_int_equal(ERR_OK,
                     geo_address_from_sockaddr((const struct sockaddr *)&in6, sizeof(in6), &got));
    want = address("2001:db8::7");
    assert_true(geo_address_equal(&want, &got));
}

static void
test_other_and_short_sockaddr_is_refused(void **state)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_UNIX};
    struct geo_address got;

    (void)state;
    assert_int_equal(ERR_UNSUPPORTED,
                     geo_address_from_sockaddr((const struct sockaddr *)&in, sizeof(in) - 1, &got));
    assert_int_equal(ERR_UNSUPPORTED,
                     geo_address_from_sockaddr((const struct sockaddr *)&in6, sizeof(in6), &got));
    in6.sin6_family = AF_INET6;
    assert_int_equal(ERR_UNSUPPORTED, geo_address_from_sockaddr((const struct sockaddr *)&in6,
                                                                sizeof(in6) - 1, &got));
}

struct special_case {
    const char *text;
    const char *quality; /* NULL: a database may know it */
};

static void
check_special(const struct special_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct geo_address a = address(cases[i].text);
        enum geo_quality quality = GEO_FOUND;
        bool special = geo_address_special(&a, &quality);

        if (special != (cases[i].quality != NULL))
            fail_msg("%s: special is %d", cases[i].text, special);
        if (special && strcmp(geo_quality_row(quality)->name, cases[i].quality) != 0)
            fail_msg("%s: %s", cases[i].text, geo_quality_row(quality)->name);
    }
}

static void
test_special_ipv4_at_both_edges(void **state)
{
    static const struct special_case cases[] = {
        {"0.0.0.0", "reserved"},
        {"0.255.255.255", "reserved"},
        {"1.0.0.0", NULL},
        {"9.255.255.255", NULL},
        {"10.0.0.0", "private"},
        {"10.255.255.255", "private"},
        {"11.0.0.0", NULL},
        {"100.63.255.255", NULL},
        {"100.64.0.0", "cgnat"},
        {"100.127.255.255", "cgnat"},
        {"100.128.0.0", NULL},
        {"127.0.0.1", "loopback"},
        {"127.255.255.255", "loopback"},
        {"128.0.0.0", NULL},
        {"169.253.255.255", NULL},
        {"169.254.169.254", "private"},
        {"172.15.255.255", NULL},
        {"172.16.0.0", "private"},
        {"172.31.255.255", "private"},
        {"172.32.0.0", NULL},
        {"192.0.0.8", "reserved"},
        {"192.0.2.1", "reserved"},
        {"192.88.99.1", "transition"},
        {"192.167.255.255", NULL},
        {"192.168.0.0", "private"},
        {"192.168.255.255", "private"},
        {"192.169.0.0", NULL},
        {"198.17.255.255", NULL},
        {"198.18.0.0", "reserved"},
        {"198.19.255.255", "reserved"},
        {"198.20.0.0", NULL},
        {"198.51.100.1", "reserved"},
        {"203.0.113.1", "reserved"},
        {"223.255.255.255", NULL},
        {"224.0.0.0", "reserved"},
        {"240.0.0.1", "reserved"},
        {"255.255.255.255", "reserved"},
    };

    (void)state;
    check_special(cases, ARRAY_COUNT(cases));
}

static void
test_special_ipv6_at_both_edges(void **state)
{
    static const struct special_case cases[] = {
        {"::", "reserved"},
        {"::1", "loopback"},
        {"::2", "reserved"},
        {"::8.8.8.8", "reserved"}, /* IPv4-compatible, withdrawn by RFC 4291 */
        {"::ffff:8.8.8.8", NULL},
        {"::ffff:10.0.0.1", "private"},
        {"::ffff:127.0.0.1", "loopback"},
        {"::ffff:100.64.0.1", "cgnat"},
        {"::ffff:0:8.8.8.8", "transition"},
        {"64:ff9b::8.8.8.8", "transition"},
        {"64:ff9b:1::1", "transition"},
        {"64:ff9b:2::1", "reserved"},
        {"100::1", "reserved"},
        {"1fff::1", "reserved"},
        {"2000::1", NULL},
        {"2001::1", "transition"},
        {"2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "transition"},
        {"2001:1::1", NULL},
        {"2001:2::1", "reserved"},
        {"2001:10::1", "reserved"},
        {"2001:2f::1", "reserved"},
        {"2001:30::1", NULL},
        {"2001:db7:ffff::1", NULL},
        {"2001:db8::1", "reserved"},
        {"2001:db9::1", NULL},
        {"2001:ffff::1", NULL},
        {"2002::1", "transition"},
        {"2002:ffff:ffff::1", "transition"},
        {"2003::1", NULL},
        {"3fff::1", "reserved"},
        {"3fff:1000::1", NULL},
        {"3ffe:ffff::1", NULL},
        {"4000::1", "reserved"},
        {"fbff::1", "reserved"},
        {"fc00::1", "private"},
        {"fdff:ffff::1", "private"},
        {"fe00::1", "reserved"},
        {"fe80::1", "private"},
        {"febf::1", "private"},
        {"fec0::1", "reserved"},
        {"ff02::1", "reserved"},
    };

    (void)state;
    check_special(cases, ARRAY_COUNT(cases));
}

/* DESIGN section 7: `home` covers private, CGNAT, loopback and misses, and nothing else. */
static void
test_only_four_qualities_may_be_assumed(void **state)
{
    (void)state;
    for (unsigned q = 0; q < GEO_QUALITY_COUNT; q++) {
        const struct geo_quality_row *row = geo_quality_row((enum geo_quality)q);
        bool want = q == GEO_PRIVATE || q == GEO_CGNAT || q == GEO_LOOPBACK || q == GEO_MISS;

        assert_non_null(row->name);
        assert_int_equal(want, row->may_assume);
    }
}

static void
test_network_holds_its_addresses_only(void **state)
{
    static const struct {
        const char *network;
        const char *address;
        bool inside;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"10.0.0.0/8", "a00::", false},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "11.1.2.3", false},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.0", false},
        {"192.0.2.1/32", "192.0.2.1", true},
        {"0.0.0.0/0", "255.255.255.255", true},
        {"0.0.0.0/0", "::", false},
        {"::/0", "2001:db8::", true},
        {"::/0", "1.2.3.4", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"2001:db8::1", "2001:db8::1", true},
        {"2001:db8::1/128", "2001:db8::", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct geo_address a = address(cases[i].address);
        struct geo_network n;

        assert_int_equal(ERR_OK, geo_network_parse(slice_str(cases[i].network), &n));
        if (geo_network_has(&n, &a) != cases[i].inside)
            fail_msg("%s in %s", cases[i].address, cases[i].network);
    }
}

static void
test_malformed_network_is_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "/",
        "/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/+8",
        "10.0.0.0/08",
        "10.0.0.0/8/8",
        "10.0.0.0/8 ",
        "10.0.0.1/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0/8",
        "::/129",
        "::1/127",
        "2001:db8::1/64",
        "::ffff:10.0.0.0/8",
        "::ffff:10.0.0.0/95",
        "10.0.0.0/1000",
        "10.0.0.0/18446744073709551624",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct geo_network n;

        if (geo_network_parse(slice_str(cases[i]), &n) != ERR_BADMSG)
            fail_msg("admitted: \"%s\"", cases[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_text_is_refused),
        cmocka_unit_test(test_nul_inside_is_refused),
        cmocka_unit_test(test_texts_of_one_address_are_equal),
        cmocka_unit_test(test_families_are_never_equal),
        cmocka_unit_test(test_sockaddr_gives_the_same_as_text),
        cmocka_unit_test(test_other_and_short_sockaddr_is_refused),
        cmocka_unit_test(test_special_ipv4_at_both_edges),
        cmocka_unit_test(test_special_ipv6_at_both_edges),
        cmocka_unit_test(test_only_four_qualities_may_be_assumed),
        cmocka_unit_test(test_network_holds_its_addresses_only),
        cmocka_unit_test(test_malformed_network_is_refused),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
