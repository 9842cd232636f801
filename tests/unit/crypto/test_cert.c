#include "crypto/cert.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PEM_SIZE (8u << 10)
#define NOT_BEFORE INT64_C(1795000000000)
#define NOT_AFTER INT64_C(4102444800000) /* 2100: GeneralizedTime */
#define ID "spiffe://mesh.example/node/eu-west-1"

struct made {
    uint8_t pem[PEM_SIZE];
    struct text text;
    uint8_t der[PEM_SIZE];
    size_t der_len;
};

static struct key *ca_key, *leaf_key;
static struct made ca, leaf;

/* The bytes between the armour of the one certificate in m->pem. */
static void
decode_pem(struct made *m)
{
    struct slice rest = text_slice(&m->text);
    uint8_t joined[PEM_SIZE];
    struct text t;

    text_init(&t, joined, sizeof(joined));
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');

        if (!slice_starts(line, SLICE_LIT("-----")))
            text_add(&t, line);
    }
    m->der_len = sizeof(m->der);
    assert_true(text_unb64(text_slice(&t), m->der, &m->der_len));
}

static enum err
make_with(const struct cert_request *request, const struct key *subject, struct slice issuer,
          const struct key *issuer_key, struct made *out)
{
    enum err e;

    text_init(&out->text, out->pem, sizeof(out->pem));
    e = cert_make(request, subject, issuer, issuer_key, &out->text);
    if (e == ERR_OK)
        decode_pem(out);
    return e;
}

static struct cert_request
request_of(const char *spiffe, const char *const *dns)
{
    return (struct cert_request){.common_name = "leaf",
                                 .spiffe = spiffe,
                                 .dns = dns,
                                 .not_before_ms = NOT_BEFORE,
                                 .not_after_ms = NOT_AFTER};
}

/* Makes leaf, signed by ca. */
static void
make_leaf(const char *spiffe, const char *const *dns)
{
    struct cert_request request = request_of(spiffe, dns);

    assert_int_equal(make_with(&request, leaf_key, text_slice(&ca.text), ca_key, &leaf), ERR_OK);
}

static int
set_up(void **state)
{
    struct cert_request request = {.common_name = "mesh CA",
                                   .is_ca = true,
                                   .not_before_ms = NOT_BEFORE,
                                   .not_after_ms = NOT_AFTER};

    (void)state;
    if (key_generate(KEY_ES256, &ca_key) != ERR_OK || key_generate(KEY_ES256, &leaf_key) != ERR_OK)
        return -1;
    return make_with(&request, ca_key, SLICE_NONE, ca_key, &ca) == ERR_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    key_free(&ca_key);
    key_free(&leaf_key);
    return 0;
}

static enum err
read_leaf(struct cert_facts *out)
{
    return cert_read(slice_of(leaf.der, leaf.der_len), out);
}

/* Writes to over from in leaf.der, where it stands exactly once or more than once and the
 * last one is meant. Nobody here checks the signature. */
static void
patch(const void *from, const void *to, size_t len)
{
    size_t at = leaf.der_len;

    for (size_t i = 0; i + len <= leaf.der_len; i++)
        if (memcmp(leaf.der + i, from, len) == 0)
            at = i;
    assert_true(at < leaf.der_len);
    memcpy(leaf.der + at, to, len);
}

static void
a_leaf_tells_what_was_asked_for(void **state)
{
    static const char *const dns[] = {"a.example", "*.b.example", NULL};
    struct cert_facts facts;
    uint8_t digest[HASH_SIZE];

    (void)state;
    make_leaf(ID, dns);
    assert_int_equal(read_leaf(&facts), ERR_OK);
    assert_string_equal(facts.spiffe, ID);
    assert_int_equal(facts.dns_count, 2);
    assert_string_equal(facts.dns[0], "a.example");
    assert_string_equal(facts.dns[1], "*.b.example");
    assert_true(facts.not_before_ms == NOT_BEFORE);
    assert_true(facts.not_after_ms == NOT_AFTER);
    hash_sha256(slice_of(leaf.der, leaf.der_len), digest);
    assert_memory_equal(facts.sha256, digest, HASH_SIZE);
}

static void
pem_and_der_tell_the_same(void **state)
{
    struct cert_facts a, b;

    (void)state;
    make_leaf(ID, NULL);
    assert_int_equal(read_leaf(&a), ERR_OK);
    assert_int_equal(cert_read_pem(text_slice(&leaf.text), &b), ERR_OK);
    assert_memory_equal(&a, &b, sizeof(a));
}

static void
the_first_certificate_of_a_bundle_is_read(void **state)
{
    struct cert_facts facts;
    uint8_t bundle[2 * PEM_SIZE];
    struct text t;

    (void)state;
    make_leaf(ID, NULL);
    text_init(&t, bundle, sizeof(bundle));
    text_add(&t, text_slice(&leaf.text));
    text_add(&t, text_slice(&ca.text));
    assert_int_equal(cert_read_pem(text_slice(&t), &facts), ERR_OK);
    assert_string_equal(facts.spiffe, ID);
}

static void
the_spki_digest_names_the_key_and_not_the_certificate(void **state)
{
    struct cert_facts a, b, of_ca;

    (void)state;
    make_leaf(ID, NULL);
    assert_int_equal(read_leaf(&a), ERR_OK);
    make_leaf("spiffe://mesh.example/node/other", NULL);
    assert_int_equal(read_leaf(&b), ERR_OK);
    assert_int_equal(cert_read(slice_of(ca.der, ca.der_len), &of_ca), ERR_OK);
    assert_memory_equal(a.spki_sha256, b.spki_sha256, HASH_SIZE);
    assert_memory_not_equal(a.sha256, b.sha256, HASH_SIZE);
    assert_memory_not_equal(a.spki_sha256, of_ca.spki_sha256, HASH_SIZE);
}

static void
ed25519_makes_certificates_too(void **state)
{
    struct cert_request request = request_of(ID, NULL);
    struct cert_request of_ca = request_of(NULL, NULL);
    static struct made root;
    struct key *key = NULL;
    struct cert_facts facts;

    (void)state;
    of_ca.is_ca = true;
    assert_int_equal(key_generate(KEY_EDDSA, &key), ERR_OK);
    assert_int_equal(make_with(&of_ca, key, SLICE_NONE, key, &root), ERR_OK);
    assert_int_equal(make_with(&request, leaf_key, text_slice(&root.text), key, &leaf), ERR_OK);
    assert_int_equal(read_leaf(&facts), ERR_OK);
    assert_string_equal(facts.spiffe, ID);
    key_free(&key);
}

static void
addresses_are_written_as_bytes(void **state)
{
    static const char *const ips[] = {"192.0.2.1", "2001:db8::1", NULL};
    static const uint8_t v4[] = {0x87, 4, 192, 0, 2, 1};
    static const uint8_t v6[] = {0x87, 16, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0,
                                 0,    0,  0,    0,    0,    0,    0, 0, 1};
    struct cert_request request = request_of(NULL, NULL);
    struct cert_facts facts;

    (void)state;
    request.ips = ips;
    assert_int_equal(make_with(&request, leaf_key, text_slice(&ca.text), ca_key, &leaf), ERR_OK);
    assert_int_equal(read_leaf(&facts), ERR_OK);
    patch(v4, v4, sizeof(v4));
    patch(v6, v6, sizeof(v6));
    assert_string_equal(facts.spiffe, "");
    assert_int_equal(facts.dns_count, 0);
}

static void
two_certificates_have_two_serials(void **state)
{
    struct cert_facts a, b;

    (void)state;
    /* EdDSA signs without chance: only the serial can tell these two apart. */
    for (int i = 0; i < 2; i++) {
        struct cert_request request = request_of(NULL, NULL);
        struct key *key = NULL;
        static const char pem[] =
            "-----BEGIN PRIVATE KEY-----\n"
            "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
            "-----END PRIVATE KEY-----\n"; /* RFC 8037 appendix A.1 */

        request.is_ca = true;
        assert_int_equal(key_from_private_pem(slice_str(pem), &key), ERR_OK);
        assert_string_equal(key_thumbprint(key), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_int_equal(make_with(&request, key, SLICE_NONE, key, &leaf), ERR_OK);
        assert_int_equal(read_leaf(i == 0 ? &a : &b), ERR_OK);
        key_free(&key);
    }
    assert_memory_not_equal(a.sha256, b.sha256, HASH_SIZE);
}

static void
spiffe_ids_follow_the_grammar(void **state)
{
    static const struct {
        const char *id;
        bool ok;
    } cases[] = {
        {"spiffe://d", true},
        {"spiffe://d/a", true},
        {"spiffe://mesh.example-1_x/Node/eu-west.1/_", true},
        {"spiffe://d/...", true},
        {"spiffe://d/", false},
        {"spiffe://d/a/", false},
        {"spiffe://d//a", false},
        {"spiffe://d/./a", false},
        {"spiffe://d/a/..", false},
        {"spiffe://", false},
        {"spiffe:///a", false},
        {"spiffe:d/a", false},
        {"spiffe://D/a", false},
        {"SPIFFE://d/a", false},
        {"spiffe://d:443/a", false},
        {"spiffe://u@d/a", false},
        {"spiffe://d/a?q", false},
        {"spiffe://d?q", false},
        {"spiffe://d/a#f", false},
        {"spiffe://d/%61", false},
        {"spiffe://d/a b", false},
        {"spiffe://d/\xc3\xa4", false},
        {"https://d/a", false},
        {"", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        if (cert_spiffe_ok(slice_str(cases[i].id)) != cases[i].ok)
            fail_msg("%s", cases[i].id);
    assert_false(cert_spiffe_ok(slice_of("spiffe://d/a\0b", 14)));
}

static void
a_trust_domain_has_a_longest_length(void **state)
{
    char id[9 + 256 + 1] = "spiffe://";

    (void)state;
    memset(id + 9, 'd', 256);
    assert_true(cert_spiffe_ok(slice_of(id, 9 + 255)));
    assert_false(cert_spiffe_ok(slice_of(id, 9 + 256)));
}

static void
a_nul_or_space_in_a_name_is_refused(void **state)
{
    static const char *const dns[] = {"a.exampleXevil", NULL};
    static const char bad[] = {'\0', ' ', '\n', '\x7f', '\x80'};
    struct cert_facts facts;

    (void)state;
    for (size_t i = 0; i < sizeof(bad); i++) {
        char to[] = "eXevil";

        to[1] = bad[i];
        make_leaf(NULL, dns);
        assert_int_equal(read_leaf(&facts), ERR_OK);
        patch("eXevil", to, 6);
        assert_int_equal(read_leaf(&facts), ERR_BADMSG);
        /* The same inside an e-mail name and a URI: tags 1 and 6 instead of 2. */
        patch("\x82\x0e", "\x81\x0e", 2);
        assert_int_equal(read_leaf(&facts), ERR_BADMSG);
        patch("\x81\x0e", "\x86\x0e", 2);
        assert_int_equal(read_leaf(&facts), ERR_BADMSG);
    }
}

static void
a_second_uri_beside_a_spiffe_id_is_refused(void **state)
{
    static const char *const dns[] = {"https://d/a", NULL};
    struct cert_facts facts;

    (void)state;
    make_leaf(ID, dns);
    patch("\x82\x0bhttps", "\x86\x0bhttps", 7);
    assert_int_equal(read_leaf(&facts), ERR_BADMSG);
    make_leaf(NULL, dns);
    patch("\x82\x0bhttps", "\x86\x0bhttps", 7);
    assert_int_equal(read_leaf(&facts), ERR_OK); /* a URI that is no identity */
    assert_string_equal(facts.spiffe, "");
}

static void
a_bad_spiffe_id_is_refused(void **state)
{
    static const char *const changes[][2] = {
        {"/node/", "/no e/"}, {"/node/", "/node?"}, {"/eu-west-1", "//u-west-1"},
        {"mesh.", "Mesh."},   {"spiffe", "SPIFFE"},
    };
    struct cert_facts facts;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        make_leaf(ID, NULL);
        patch(changes[i][0], changes[i][1], strlen(changes[i][0]));
        assert_int_equal(read_leaf(&facts), ERR_BADMSG);
    }
    make_leaf("spiffe://mesh.example", NULL); /* a trust domain is no workload */
    assert_int_equal(read_leaf(&facts), ERR_BADMSG);
}

static void
who_may_sign_others_is_no_workload(void **state)
{
    /* keyUsage: digitalSignature alone, then with keyCertSign, then with cRLSign. */
    static const uint8_t usage[] = {0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 4, 3, 2, 7, 0x80};
    static const uint8_t cert_sign[] = {0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 4, 3, 2, 2, 0x84};
    static const uint8_t crl_sign[] = {0x55, 0x1d, 0x0f, 0x01, 0x01, 0xff, 0x04, 4, 3, 2, 1, 0x82};
    struct cert_request request = request_of(ID, NULL);
    struct cert_facts facts;

    (void)state;
    make_leaf(ID, NULL);
    patch(usage, cert_sign, sizeof(usage));
    assert_int_equal(read_leaf(&facts), ERR_BADMSG);
    make_leaf(ID, NULL);
    patch(usage, crl_sign, sizeof(usage));
    assert_int_equal(read_leaf(&facts), ERR_BADMSG);
    request.is_ca = true;
    assert_int_equal(make_with(&request, leaf_key, text_slice(&ca.text), ca_key, &leaf), ERR_OK);
    assert_int_equal(read_leaf(&facts), ERR_BADMSG);
}

static void
more_names_than_there_is_room_for_are_refused(void **state)
{
    static const char *const dns[CERT_DNS_COUNT_MAX + 2] = {
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", NULL, NULL};
    const char *more[CERT_DNS_COUNT_MAX + 2];
    struct cert_request request;
    struct cert_facts facts;

    (void)state;
    make_leaf(ID, dns);
    assert_int_equal(read_leaf(&facts), ERR_OK);
    assert_int_equal(facts.dns_count, CERT_DNS_COUNT_MAX);
    patch("\x86\x24spiffe", "\x82\x24spiffe", 8); /* the id becomes the 17th DNS name */
    assert_int_equal(read_leaf(&facts), ERR_TOOBIG);
    memcpy(more, dns, sizeof(more));
    more[CERT_DNS_COUNT_MAX] = "q";
    request = request_of(NULL, more);
    assert_int_equal(make_with(&request, leaf_key, text_slice(&ca.text), ca_key, &leaf),
                     ERR_BADMSG);
}

static void
what_is_no_certificate_is_refused(void **state)
{
    struct cert_facts facts, before;

    (void)state;
    memset(&facts, 0x55, sizeof(facts));
    memcpy(&before, &facts, sizeof(facts));
    make_leaf(ID, NULL);
    for (size_t len = 0; len < leaf.der_len; len++)
        assert_int_equal(cert_read(slice_of(leaf.der, len), &facts), ERR_BADMSG);
    leaf.der[leaf.der_len] = 0;
    assert_int_equal(cert_read(slice_of(leaf.der, leaf.der_len + 1), &facts), ERR_BADMSG);
    assert_int_equal(cert_read_pem(SLICE_NONE, &facts), ERR_BADMSG);
    assert_int_equal(cert_read_pem(SLICE_LIT("text"), &facts), ERR_BADMSG);
    assert_int_equal(cert_read(slice_of(leaf.der, CERT_DER_MAX + 1), &facts), ERR_TOOBIG);
    assert_memory_equal(&facts, &before, sizeof(facts));
}

static void
certificates_of_bad_requests_are_not_made(void **state)
{
    static const char *const bad_dns[] = {"a b", NULL};
    static const char *const bad_ips[] = {"192.0.2.256", NULL};
    struct cert_request cases[6];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cases[i] = request_of(NULL, NULL);
    cases[0].spiffe = "spiffe://D/a";
    cases[1].dns = bad_dns;
    cases[2].ips = bad_ips;
    cases[3].common_name = "";
    cases[4].common_name = "sixty-five bytes, which is one more than a common name may have..";
    cases[5].not_after_ms = NOT_BEFORE - 1;
    assert_int_equal(strlen(cases[4].common_name), 65);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(make_with(&cases[i], leaf_key, text_slice(&ca.text), ca_key, &leaf),
                         ERR_BADMSG);
        assert_int_equal(leaf.text.used, 0);
    }
}

static void
only_a_ca_with_its_own_key_issues(void **state)
{
    struct cert_request request = request_of(ID, NULL);
    static struct made made;

    (void)state;
    make_leaf(ID, NULL);
    assert_int_equal(make_with(&request, leaf_key, text_slice(&leaf.text), leaf_key, &made),
                     ERR_BADMSG);
    assert_int_equal(make_with(&request, leaf_key, text_slice(&ca.text), leaf_key, &made),
                     ERR_AUTH);
    assert_int_equal(make_with(&request, leaf_key, SLICE_NONE, ca_key, &made), ERR_FORBIDDEN);
    assert_int_equal(make_with(&request, leaf_key, SLICE_LIT("no pem"), ca_key, &made), ERR_BADMSG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leaf_tells_what_was_asked_for),
        cmocka_unit_test(pem_and_der_tell_the_same),
        cmocka_unit_test(the_first_certificate_of_a_bundle_is_read),
        cmocka_unit_test(the_spki_digest_names_the_key_and_not_the_certificate),
        cmocka_unit_test(ed25519_makes_certificates_too),
        cmocka_unit_test(addresses_are_written_as_bytes),
        cmocka_unit_test(two_certificates_have_two_serials),
        cmocka_unit_test(spiffe_ids_follow_the_grammar),
        cmocka_unit_test(a_trust_domain_has_a_longest_length),
        cmocka_unit_test(a_nul_or_space_in_a_name_is_refused),
        cmocka_unit_test(a_second_uri_beside_a_spiffe_id_is_refused),
        cmocka_unit_test(a_bad_spiffe_id_is_refused),
        cmocka_unit_test(who_may_sign_others_is_no_workload),
        cmocka_unit_test(more_names_than_there_is_room_for_are_refused),
        cmocka_unit_test(what_is_no_certificate_is_refused),
        cmocka_unit_test(certificates_of_bad_requests_are_not_made),
        cmocka_unit_test(only_a_ca_with_its_own_key_issues),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
