#include "identity_fixture.h"

#include "base/check.h"

static enum identity_reason
identify_cert(struct scene *s, struct identity *out)
{
    struct identity_facts facts = {.now_ms = SCENE_NOW_S * 1000,
                                   .cert = &s->cert,
                                   .chain = (const uint8_t(*)[HASH_SIZE])s->chain,
                                   .chain_count = 2};

    return identify(s->charter, s->keys, s->cache, &facts, out);
}

static void
set_dns(struct scene *s, const char *name)
{
    assert_true(slice_copy_str(slice_str(name), s->cert.dns[0], sizeof(s->cert.dns[0])));
    s->cert.dns_count = 1;
}

static void
set_spiffe(struct scene *s, const char *name)
{
    assert_true(slice_copy_str(slice_str(name), s->cert.spiffe, sizeof(s->cert.spiffe)));
}

static void
test_a_dns_name_leads_to_its_tenant(void **state)
{
    struct scene *s = *state;
    struct identity id;

    set_dns(s, "Tool.Example");
    assert_int_equal(identify_cert(s, &id), IDENTITY_OK);
    assert_string_equal(s->charter->tenants[id.tenant].name, "all");
    assert_string_equal(id.subject, "mtls:tool.example");
    assert_int_equal(id.auth, AUTH_MTLS);
    assert_int_equal(id.role_count, 1);
    assert_string_equal(id.roles[0], "reader");
    assert_int_equal(id.expires_ms, s->cert.not_after_ms);
}

static void
test_a_spiffe_id_counts_before_a_dns_name(void **state)
{
    struct scene *s = *state;
    struct identity id;

    set_dns(s, "tool.example");
    set_spiffe(s, "spiffe://t/tool");
    assert_int_equal(identify_cert(s, &id), IDENTITY_OK);
    assert_string_equal(s->charter->tenants[id.tenant].name, "cert");
    assert_string_equal(id.subject, "mtls:spiffe://t/tool");
}

static void
test_a_tenant_may_refuse_certificates(void **state)
{
    struct scene *s = *state;
    struct identity id;

    memset(s->cert.sha256, 0x22, HASH_SIZE);
    assert_int_equal(identify_cert(s, &id), IDENTITY_METHOD);
}

static void
test_names_without_an_entry_are_unknown(void **state)
{
    static const char *const names[] = {"tool.example.evil", "xtool.example", "example",
                                        "*.example"};
    struct scene *s = *state;
    struct identity id;

    assert_int_equal(identify_cert(s, &id), IDENTITY_CERT);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        set_dns(s, names[i]);
        assert_int_equal(identify_cert(s, &id), IDENTITY_CERT);
    }
    s->cert.dns_count = 0;
    set_spiffe(s, "spiffe://t/tool/x");
    assert_int_equal(identify_cert(s, &id), IDENTITY_CERT);
}

static void
test_the_charters_ca_must_be_in_the_chain(void **state)
{
    struct scene *s = *state;
    struct identity id;

    set_dns(s, "tool.example");
    assert_int_equal(identify_cert(s, &id), IDENTITY_OK);
    s->chain[1][0] ^= 1;
    assert_int_equal(identify_cert(s, &id), IDENTITY_CERT);
}

static void
test_a_leaf_is_not_its_own_ca(void **state)
{
    struct scene *s = *state;
    struct identity id;

    set_dns(s, "tool.example");
    memset(s->chain[0], 0x11, HASH_SIZE);
    memset(s->chain[1], 0x44, HASH_SIZE);
    assert_int_equal(identify_cert(s, &id), IDENTITY_CERT);
}

static void
test_a_certificate_ends_while_its_connection_lives(void **state)
{
    struct scene *s = *state;
    struct identity id;
    struct identity_facts facts = {.now_ms = SCENE_NOW_S * 1000,
                                   .cert = &s->cert,
                                   .chain = (const uint8_t(*)[HASH_SIZE])s->chain,
                                   .chain_count = 2};

    set_dns(s, "tool.example");
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_OK);
    facts.now_ms = s->cert.not_after_ms + 1;
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_EXPIRED);
    facts.now_ms = s->cert.not_before_ms - 1;
    identity_cache_clear(s->cache);
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_EXPIRED);
}

static void
test_a_bad_token_is_not_saved_by_a_good_certificate(void **state)
{
    struct scene *s = *state;
    struct identity id;
    struct identity_facts facts = {.now_ms = SCENE_NOW_S * 1000,
                                   .authorization = SLICE_LIT("Bearer x.y.z"),
                                   .authorization_count = 1,
                                   .cert = &s->cert,
                                   .chain = (const uint8_t(*)[HASH_SIZE])s->chain,
                                   .chain_count = 2};

    set_dns(s, "tool.example");
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_MALFORMED);
}

int
main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_a_dns_name_leads_to_its_tenant),
        ROW(test_a_spiffe_id_counts_before_a_dns_name),
        ROW(test_a_tenant_may_refuse_certificates),
        ROW(test_names_without_an_entry_are_unknown),
        ROW(test_the_charters_ca_must_be_in_the_chain),
        ROW(test_a_leaf_is_not_its_own_ca),
        ROW(test_a_certificate_ends_while_its_connection_lives),
        ROW(test_a_bad_token_is_not_saved_by_a_good_certificate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
