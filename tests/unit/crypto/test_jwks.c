#include "crypto/jws.h"

#include "base/check.h"
#include "crypto/hash.h"
#include "unit/crypto/keys.h"

#include <stdlib.h>

#define P256(kid) "{\"kid\":\"" kid "\"," KEYS_P256_MEMBERS "}"
#define ED25519(kid) \
    "{\"kid\":\"" kid "\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" KEYS_ED25519_X "\"}"
#define SET(keys) "{\"keys\":[" keys "]}"

static void
keys_are_found_by_kid(void **state)
{
    static const char text[] = SET(P256("one") "," ED25519("two"));
    uint8_t digest[HASH_SIZE];
    struct jwks *set = NULL;

    (void)state;
    assert_int_equal(jwks_parse(slice_str(text), &set, NULL), ERR_OK);
    assert_int_equal(jwks_count(set), 2);
    assert_int_equal(key_algorithm(jwks_find(set, SLICE_LIT("one"))), KEY_ES256);
    assert_int_equal(key_algorithm(jwks_find(set, SLICE_LIT("two"))), KEY_EDDSA);
    assert_null(jwks_find(set, SLICE_LIT("three")));
    assert_null(jwks_find(set, SLICE_LIT("ONE")));
    assert_null(jwks_find(set, SLICE_NONE));
    hash_sha256(slice_str(text), digest);
    assert_memory_equal(jwks_digest(set), digest, HASH_SIZE);
    jwks_free(&set);
    assert_null(set);
    jwks_free(&set);
}

static void
the_only_key_needs_no_kid(void **state)
{
    struct jwks *set = NULL;

    (void)state;
    assert_int_equal(jwks_parse(SLICE_LIT(SET(KEYS_P256)), &set, NULL), ERR_OK);
    assert_non_null(jwks_find(set, SLICE_NONE));
    assert_null(jwks_find(set, SLICE_LIT("one")));
    jwks_free(&set);
    assert_int_equal(jwks_parse(SLICE_LIT(SET(P256("one"))), &set, NULL), ERR_OK);
    assert_non_null(jwks_find(set, SLICE_NONE));
    assert_non_null(jwks_find(set, SLICE_LIT("one")));
    jwks_free(&set);
}

static void
keys_for_other_purposes_are_skipped(void **state)
{
    static const char *const others[] = {
        "{\"kid\":\"b\",\"use\":\"enc\"," KEYS_P256_MEMBERS "}",
        "{\"kid\":\"b\",\"use\":\"enc\",\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\"}",
        "{\"kid\":\"b\",\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kid\":\"b\",\"kty\":\"EC\",\"alg\":\"ES384\",\"crv\":\"P-384\",\"x\":\"AA\"}",
        "{\"kid\":\"b\",\"kty\":\"AKP\",\"alg\":\"ML-DSA-44\",\"pub\":\"AA\"}",
    };
    struct jwks *set = NULL;
    char text[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        assert_true(text_format(text, sizeof(text), SET("%s," P256("a")), others[i]));
        assert_int_equal(jwks_parse(slice_str(text), &set, NULL), ERR_OK);
        assert_int_equal(jwks_count(set), 1);
        assert_null(jwks_find(set, SLICE_LIT("b")));
        assert_non_null(jwks_find(set, SLICE_LIT("a")));
        jwks_free(&set);
    }
}

static void
an_issuer_may_withdraw_all_its_keys(void **state)
{
    struct jwks *set = NULL;

    (void)state;
    assert_int_equal(jwks_parse(SLICE_LIT(SET("")), &set, NULL), ERR_OK);
    assert_int_equal(jwks_count(set), 0);
    assert_null(jwks_find(set, SLICE_NONE));
    jwks_free(&set);
}

#define RSA_1024_N                                                                                 \
    "3Uj-C7L1MgK4jePkDOE29s3ZkprfkRbBgzjTKMf_ztqol5qXZCvFO0SL_TEVzhWpiTTlxdynEpDuHMCVI1gGTtgZP8cp" \
    "TvMIM-QQBx8bDy5XZaTWiGR7WLEi9T-DoMs3X0izEj5DsxAgXdao7FIR3qJfNGK1r4RDUzg7QKMx28U"

static void
a_bad_set_is_refused_whole(void **state)
{
    static const struct {
        const char *text;
        enum err e;
    } cases[] = {
        {"", ERR_BADMSG},
        {"[]", ERR_BADMSG},
        {"{}", ERR_BADMSG},
        {"{\"keys\":{}}", ERR_BADMSG},
        {"{\"Keys\":[]}", ERR_BADMSG},
        {"{\"keys\":[],\"keys\":[]}", ERR_BADMSG},
        {SET("1"), ERR_BADMSG},
        {SET("{}"), ERR_BADMSG},
        {SET(P256("a") ",null"), ERR_BADMSG},
        /* Names. */
        {SET(P256("a") "," ED25519("a")), ERR_BADMSG},
        {SET(P256("a") "," ED25519("\\u0061")), ERR_BADMSG},
        {SET(P256("a") ",{\"kid\":\"a\",\"kty\":\"EC\",\"crv\":\"P-521\"}"), ERR_BADMSG},
        {SET(P256("a") "," KEYS_ED25519), ERR_BADMSG},
        {SET(KEYS_ED25519 "," P256("a")), ERR_BADMSG},
        {SET(P256("")), ERR_BADMSG},
        {SET("{\"kid\":1," KEYS_P256_MEMBERS "}"), ERR_BADMSG},
        /* Secrets and weakness. */
        {SET(P256("a") ",{\"kid\":\"b\",\"kty\":\"oct\",\"k\":\"AAAA\"}"), ERR_FORBIDDEN},
        {SET(P256("a") ",{\"kid\":\"b\",\"use\":\"enc\",\"kty\":\"oct\",\"k\":\"AAAA\"}"),
         ERR_FORBIDDEN},
        {SET(P256("a") ",{\"kid\":\"b\",\"d\":\"AAAA\"," KEYS_P256_MEMBERS "}"), ERR_FORBIDDEN},
        {SET(P256("a") ",{\"kid\":\"b\",\"kty\":\"RSA\",\"n\":\"" RSA_1024_N "\",\"e\":\"AQAB\"}"),
         ERR_FORBIDDEN},
        {SET(P256("a") ",{\"kid\":\"b\",\"kty\":\"RSA\",\"n\":\"" KEYS_RSA_N "\",\"e\":\"Aw\"}"),
         ERR_FORBIDDEN},
        {SET(P256("a") ",{\"kid\":\"b\",\"kty\":\"EC\",\"crv\":\"P-256\"}"), ERR_BADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct jwks *set = NULL;
        const char *why = NULL;
        enum err e = jwks_parse(slice_str(cases[i].text), &set, &why);

        if (e != cases[i].e)
            fail_msg("%s: %s", cases[i].text, err_text(e));
        assert_null(set);
        assert_non_null(why);
    }
}

static void
a_set_has_a_largest_count(void **state)
{
    static uint8_t storage[64u << 10];
    struct jwks *set = NULL;
    struct text t;

    (void)state;
    for (unsigned extra = 0; extra < 2; extra++) {
        text_init(&t, storage, sizeof(storage));
        text_add_str(&t, "{\"keys\":[");
        for (unsigned i = 0; i < JWKS_KEYS_MAX + extra; i++)
            text_addf(&t, "%s{\"kid\":\"k%u\",%s}", i == 0 ? "" : ",", i, KEYS_P256_MEMBERS);
        text_add_str(&t, "]}");
        assert_true(text_ok(&t));
        assert_int_equal(jwks_parse(text_slice(&t), &set, NULL), extra == 0 ? ERR_OK : ERR_TOOBIG);
        if (extra == 0)
            assert_int_equal(jwks_count(set), JWKS_KEYS_MAX);
        jwks_free(&set);
    }
}

static void
a_set_has_a_longest_text(void **state)
{
    struct jwks *set = NULL;
    char *text = malloc(JWKS_TEXT_MAX + 1);

    (void)state;
    assert_non_null(text);
    memset(text, ' ', JWKS_TEXT_MAX + 1);
    memcpy(text, SET(""), sizeof(SET("")) - 1);
    assert_int_equal(jwks_parse(slice_of(text, JWKS_TEXT_MAX + 1), &set, NULL), ERR_TOOBIG);
    assert_null(set);
    assert_int_equal(jwks_parse(slice_of(text, JWKS_TEXT_MAX), &set, NULL), ERR_OK);
    jwks_free(&set);
    free(text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_by_kid),
        cmocka_unit_test(the_only_key_needs_no_kid),
        cmocka_unit_test(keys_for_other_purposes_are_skipped),
        cmocka_unit_test(an_issuer_may_withdraw_all_its_keys),
        cmocka_unit_test(a_bad_set_is_refused_whole),
        cmocka_unit_test(a_set_has_a_largest_count),
        cmocka_unit_test(a_set_has_a_longest_text),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
