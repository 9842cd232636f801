#include "identity_fixture.h"

#include "base/check.h"

static const char base64_of_chain_leaf[] = "MzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzMzM";

static void
test_a_good_token_names_tenant_subject_and_roles(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];

    scene_claims("all", ",\"roles\":[\"analyst\",\"user\"]", claims);
    assert_int_equal(scene_identify(s, scene_token(s->signer, "at+jwt", claims, token), &id),
                     IDENTITY_OK);
    assert_string_equal(s->charter->tenants[id.tenant].name, "all");
    assert_string_equal(id.subject, "jwt:" SCENE_ISSUER "|alice");
    assert_int_equal(id.auth, AUTH_JWT);
    assert_int_equal(id.role_count, 2);
    assert_string_equal(id.roles[0], "analyst");
    assert_string_equal(id.roles[1], "user");
    assert_int_equal(id.expires_ms, (SCENE_NOW_S + 600 + IDENTITY_SKEW_S) * 1000);
}

#define ISS "\"iss\":\"" SCENE_ISSUER "\","
#define SUB "\"sub\":\"a\","
#define AUD "\"aud\":\"mesh\","
#define TIMES "\"iat\":1767225590,\"exp\":1767226200,"
#define TENANT "\"tenant\":\"all\""

static void
test_each_claim_is_checked(void **state)
{
    static const struct {
        const char *claims;
        enum identity_reason expected;
    } cases[] = {
        {"{" ISS SUB AUD TIMES TENANT "}", IDENTITY_OK},
        {"[" TIMES "1]", IDENTITY_MALFORMED},
        {"[]", IDENTITY_MALFORMED},
        {"{" ISS SUB AUD TIMES TENANT "," TENANT "}", IDENTITY_MALFORMED}, /* duplicate */
        {"{" SUB AUD TIMES TENANT "}", IDENTITY_CLAIMS},
        {"{\"iss\":7," SUB AUD TIMES TENANT "}", IDENTITY_CLAIMS},
        {"{\"iss\":\"https://evil.example\"," SUB AUD TIMES TENANT "}", IDENTITY_ISSUER},
        /* in the charter, but the node has no key set of it */
        {"{\"iss\":\"https://other.example\"," SUB AUD TIMES TENANT "}", IDENTITY_ISSUER},
        {"{" ISS AUD TIMES TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS "\"sub\":\"\"," AUD TIMES TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS "\"sub\":5," AUD TIMES TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB TIMES TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB "\"aud\":\"Mesh\"," TIMES TENANT "}", IDENTITY_AUDIENCE},
        {"{" ISS SUB "\"aud\":\"mesh2\"," TIMES TENANT "}", IDENTITY_AUDIENCE},
        {"{" ISS SUB "\"aud\":[]," TIMES TENANT "}", IDENTITY_AUDIENCE},
        {"{" ISS SUB "\"aud\":[\"x\",\"mesh\"]," TIMES TENANT "}", IDENTITY_OK},
        {"{" ISS SUB "\"aud\":[\"x\"]," TIMES TENANT "}", IDENTITY_AUDIENCE},
        {"{" ISS SUB "\"aud\":[\"mesh\",1]," TIMES TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"iat\":1767225590," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"exp\":1767226200," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"iat\":-1,\"exp\":1767226200," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"iat\":1767225590,\"exp\":\"1767226200\"," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"iat\":1767225590,\"exp\":1767226200.5," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"iat\":1767225600,\"exp\":1767225600," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"iat\":1767225590,\"exp\":9007199254740993," TENANT "}",
         IDENTITY_CLAIMS},
        {"{" ISS SUB AUD "\"iat\":1767225590,\"exp\":9007199254740992," TENANT "}",
         IDENTITY_LIFETIME},
        {"{" ISS SUB AUD "\"iat\":1767225600,\"exp\":1767229200," TENANT "}", IDENTITY_OK},
        {"{" ISS SUB AUD "\"iat\":1767225600,\"exp\":1767229201," TENANT "}", IDENTITY_LIFETIME},
        {"{" ISS SUB AUD "\"iat\":1767225000,\"exp\":1767225540," TENANT "}", IDENTITY_OK},
        {"{" ISS SUB AUD "\"iat\":1767225000,\"exp\":1767225539," TENANT "}", IDENTITY_EXPIRED},
        {"{" ISS SUB AUD "\"iat\":1767225660,\"exp\":1767226200," TENANT "}", IDENTITY_OK},
        {"{" ISS SUB AUD "\"iat\":1767225661,\"exp\":1767226200," TENANT "}", IDENTITY_EXPIRED},
        {"{" ISS SUB AUD TIMES "\"nbf\":1767225660," TENANT "}", IDENTITY_OK},
        {"{" ISS SUB AUD TIMES "\"nbf\":1767225661," TENANT "}", IDENTITY_EXPIRED},
        {"{" ISS SUB AUD TIMES "\"nbf\":null," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD TIMES "\"x\":1}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD TIMES "\"tenant\":[\"all\"]}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD TIMES "\"tenant\":\"nowhere\"}", IDENTITY_TENANT},
        {"{" ISS SUB AUD TIMES "\"tenant\":\"token\"}", IDENTITY_SPEAKS_NOT},
        {"{" ISS SUB AUD TIMES "\"tenant\":\"cert\"}", IDENTITY_METHOD},
        {"{" ISS SUB AUD TIMES "\"tenant\":\"bound\"}", IDENTITY_METHOD},
        {"{" ISS SUB AUD TIMES "\"roles\":\"analyst\"," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD TIMES "\"roles\":[1]," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD TIMES "\"roles\":[]," TENANT "}", IDENTITY_OK},
        {"{" ISS SUB AUD TIMES "\"cnf\":{}," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD TIMES "\"cnf\":{\"jkt\":\"x\"}," TENANT "}", IDENTITY_CLAIMS},
        {"{" ISS SUB AUD TIMES "\"cnf\":{\"x5t#S256\":\"MzMz\"}," TENANT "}", IDENTITY_CLAIMS},
    };
    struct scene *s = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct identity id = {.tenant = 77};
        char token[4096];
        enum identity_reason r =
            scene_identify(s, scene_token(s->signer, "JWT", cases[i].claims, token), &id);

        if (r != cases[i].expected)
            fail_msg("%s: %s, expected %s", cases[i].claims, identity_reason_name(r),
                     identity_reason_name(cases[i].expected));
        assert_true((r == IDENTITY_OK) == (id.tenant != 77)); /* untouched otherwise */
    }
}

static void
test_a_foreign_key_or_signature_is_refused(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];
    struct slice t;

    scene_claims("all", "", claims);
    assert_int_equal(scene_identify(s, scene_token(s->stranger, "JWT", claims, token), &id),
                     IDENTITY_KEY);
    t = scene_token(s->signer, "JWT", claims, token);
    token[t.len - 10] = token[t.len - 10] == 'A' ? 'B' : 'A';
    assert_int_equal(scene_identify(s, t, &id), IDENTITY_SIGNATURE);
}

static void
test_a_token_of_another_kind_is_refused(void **state)
{
    static const char *const kinds[] = {"residency+jwt", "logout+jwt", "dpop+jwt"};
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];

    scene_claims("all", "", claims);
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        assert_int_equal(scene_identify(s, scene_token(s->signer, kinds[i], claims, token), &id),
                         IDENTITY_MALFORMED);
}

static void
test_a_field_that_is_no_bearer_token_is_malformed(void **state)
{
    static const char *const fields[] = {
        "",         "Bearer",      "Bearer ",    "Bearer  ",        "Basic YTpi",
        "Bearer x", "Bearer a.b.", "Bearerxxxx", "Bearer e30.e30.", "Bearer a b.c.d",
    };
    struct scene *s = *state;
    struct identity id;

    for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
        assert_int_equal(scene_identify(s, slice_str(fields[i]), &id), IDENTITY_MALFORMED);
}

static void
test_the_schemes_case_does_not_matter(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];
    struct slice t;

    scene_claims("all", "", claims);
    t = scene_token(s->signer, "JWT", claims, token);
    memcpy(token, "bEARER", 6);
    assert_int_equal(scene_identify(s, t, &id), IDENTITY_OK);
}

static void
test_two_credentials_are_malformed(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];
    struct identity_facts facts = {.authorization_count = 2, .now_ms = SCENE_NOW_S * 1000};

    scene_claims("all", "", claims);
    facts.authorization = scene_token(s->signer, "JWT", claims, token);
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_MALFORMED);
    facts.authorization_count = 1;
    facts.api_key = slice_str(s->api_key[0]);
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_MALFORMED);
}

static void
test_nothing_given_is_missing(void **state)
{
    struct identity id;

    assert_int_equal(scene_identify(*state, SLICE_NONE, &id), IDENTITY_MISSING);
}

static void
test_too_many_roles_are_refused(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char roles[512] = ",\"roles\":[";
    char claims[1024];
    char token[4096];
    struct text t;

    text_init(&t, roles, sizeof(roles) - 1);
    t.used = strlen(roles);
    for (int i = 0; i <= IDENTITY_ROLES_MAX; i++)
        text_addf(&t, "%s\"r%d\"", i == 0 ? "" : ",", i);
    text_add_char(&t, ']');
    roles[t.used] = '\0';
    scene_claims("all", roles, claims);
    assert_int_equal(scene_identify(s, scene_token(s->signer, "JWT", claims, token), &id),
                     IDENTITY_CLAIMS);
}

static void
test_a_role_too_long_for_any_charter_is_left_out(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];

    scene_claims("all", ",\"roles\":[\"a-role-whose-name-no-charter-can-hold\",\"user\"]", claims);
    assert_int_equal(scene_identify(s, scene_token(s->signer, "JWT", claims, token), &id),
                     IDENTITY_OK);
    assert_int_equal(id.role_count, 1);
    assert_string_equal(id.roles[0], "user");
}

/* ---- Binding to a certificate ---------------------------------------------------- */

static enum identity_reason
identify_bound(struct scene *s, const char *tenant, bool with_cert, struct identity *out)
{
    char more[128];
    char claims[1024];
    char token[4096];
    struct identity_facts facts = {.authorization_count = 1, .now_ms = SCENE_NOW_S * 1000};

    assert_true(
        text_format(more, sizeof(more), ",\"cnf\":{\"x5t#S256\":\"%s\"}", base64_of_chain_leaf));
    scene_claims(tenant, more, claims);
    facts.authorization = scene_token(s->signer, "JWT", claims, token);
    if (with_cert) {
        facts.cert = &s->cert;
        facts.chain = (const uint8_t(*)[HASH_SIZE])s->chain;
        facts.chain_count = 2;
    }
    return identify(s->charter, s->keys, s->cache, &facts, out);
}

static void
test_a_bound_token_with_its_certificate_counts_as_both(void **state)
{
    struct identity id;

    assert_int_equal(identify_bound(*state, "bound", true, &id), IDENTITY_OK);
    assert_int_equal(id.auth, AUTH_MTLS_JWT);
    assert_int_equal(identify_bound(*state, "all", true, &id), IDENTITY_OK);
    assert_int_equal(id.auth, AUTH_MTLS_JWT);
}

static void
test_a_bound_token_without_its_certificate_is_refused(void **state)
{
    struct scene *s = *state;
    struct identity id;

    assert_int_equal(identify_bound(s, "all", false, &id), IDENTITY_BINDING);
    s->cert.sha256[31] ^= 1;
    assert_int_equal(identify_bound(s, "all", true, &id), IDENTITY_BINDING);
}

static void
test_a_plain_token_with_a_certificate_stays_a_plain_token(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];
    struct identity_facts facts = {.authorization_count = 1,
                                   .now_ms = SCENE_NOW_S * 1000,
                                   .cert = &s->cert,
                                   .chain = (const uint8_t(*)[HASH_SIZE])s->chain,
                                   .chain_count = 2};

    scene_claims("all", "", claims);
    facts.authorization = scene_token(s->signer, "JWT", claims, token);
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_OK);
    assert_int_equal(id.auth, AUTH_JWT);
    scene_claims("bound", "", claims);
    facts.authorization = scene_token(s->signer, "JWT", claims, token);
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_METHOD);
}

/* ---- What is remembered ---------------------------------------------------------- */

static void
test_a_remembered_token_ends_with_its_lifetime(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char claims[1024];
    char token[4096];
    struct identity_facts facts = {.authorization_count = 1, .now_ms = SCENE_NOW_S * 1000};

    scene_claims("all", "", claims);
    facts.authorization = scene_token(s->signer, "JWT", claims, token);
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_OK);
    facts.now_ms = id.expires_ms;
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_OK);
    facts.now_ms++;
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_EXPIRED);
}

static void
test_a_remembered_token_is_held_against_the_certificate_again(void **state)
{
    struct scene *s = *state;
    struct identity id;

    /* ECDSA signs anew each time, so one token is used here. */
    char more[128];
    char claims[1024];
    char token[4096];
    struct identity_facts facts = {.authorization_count = 1,
                                   .now_ms = SCENE_NOW_S * 1000,
                                   .cert = &s->cert,
                                   .chain = (const uint8_t(*)[HASH_SIZE])s->chain,
                                   .chain_count = 2};

    assert_true(
        text_format(more, sizeof(more), ",\"cnf\":{\"x5t#S256\":\"%s\"}", base64_of_chain_leaf));
    scene_claims("all", more, claims);
    facts.authorization = scene_token(s->signer, "JWT", claims, token);
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_OK);
    s->cert.sha256[0] ^= 1;
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_BINDING);
    facts.cert = NULL;
    assert_int_equal(identify(s->charter, s->keys, s->cache, &facts, &id), IDENTITY_BINDING);
}

static void
test_a_clear_forgets_what_other_keys_vouched_for(void **state)
{
    struct scene *s = *state;
    struct identity_keys *none = NULL;
    struct issues *issues = issues_new();
    struct identity id;
    char claims[1024];
    char token[4096];
    struct slice t;
    struct identity_facts facts = {.authorization_count = 1, .now_ms = SCENE_NOW_S * 1000};

    scene_claims("all", "", claims);
    t = scene_token(s->signer, "JWT", claims, token);
    assert_int_equal(scene_identify(s, t, &id), IDENTITY_OK);
    assert_int_equal(
        identity_keys_load(&(struct identity_keys_opts){.issuer_count = 0}, issues, &none), ERR_OK);
    facts.authorization = t;
    /* Remembered: the keys are not asked. */
    assert_int_equal(identify(s->charter, none, s->cache, &facts, &id), IDENTITY_OK);
    identity_cache_clear(s->cache);
    assert_int_equal(identify(s->charter, none, s->cache, &facts, &id), IDENTITY_ISSUER);
    identity_keys_free(&none);
    issues_free(&issues);
}

static void
test_a_full_cache_lets_the_oldest_go_and_still_answers(void **state)
{
    struct scene *s = *state;

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 150; i++) {
            struct identity id;
            char subject[64];
            char claims[1024];
            char token[4096];

            assert_true(text_format(subject, sizeof(subject), ",\"n\":%d", i));
            scene_claims("all", subject, claims);
            assert_int_equal(scene_identify(s, scene_token(s->signer, "JWT", claims, token), &id),
                             IDENTITY_OK);
            assert_string_equal(id.subject, "jwt:" SCENE_ISSUER "|alice");
        }
}

int
main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_a_good_token_names_tenant_subject_and_roles),
        ROW(test_each_claim_is_checked),
        ROW(test_a_foreign_key_or_signature_is_refused),
        ROW(test_a_token_of_another_kind_is_refused),
        ROW(test_a_field_that_is_no_bearer_token_is_malformed),
        ROW(test_the_schemes_case_does_not_matter),
        ROW(test_two_credentials_are_malformed),
        ROW(test_nothing_given_is_missing),
        ROW(test_too_many_roles_are_refused),
        ROW(test_a_role_too_long_for_any_charter_is_left_out),
        ROW(test_a_bound_token_with_its_certificate_counts_as_both),
        ROW(test_a_bound_token_without_its_certificate_is_refused),
        ROW(test_a_plain_token_with_a_certificate_stays_a_plain_token),
        ROW(test_a_remembered_token_ends_with_its_lifetime),
        ROW(test_a_remembered_token_is_held_against_the_certificate_again),
        ROW(test_a_clear_forgets_what_other_keys_vouched_for),
        ROW(test_a_full_cache_lets_the_oldest_go_and_still_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
