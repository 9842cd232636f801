#include "crypto/key.h"

#include "base/check.h"
#include "unit/crypto/keys.h"

static void
thumbprints_are_those_of_the_rfcs(void **state)
{
    /* RFC 7638 section 3.1 */
    static const char rsa[] =
        "{\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86z"
        "wu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5"
        "w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpb"
        "ISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8aw"
        "apJzKnqDKgw\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}";
    static const struct {
        const char *jwk;
        const char *thumbprint;
    } cases[] = {
        {rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
        {KEYS_ED25519, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}, /* RFC 8037 A.3 */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct key *key = keys_must_read(cases[i].jwk);

        assert_string_equal(key_thumbprint(key), cases[i].thumbprint);
        assert_false(key_is_private(key));
        key_free(&key);
    }
}

static void
the_algorithm_comes_from_the_key(void **state)
{
    static const struct {
        const char *jwk;
        enum key_alg alg;
    } cases[] = {
        {KEYS_P256, KEY_ES256},
        {"{\"alg\":\"ES256\",\"use\":\"sig\"," KEYS_P256_MEMBERS "}", KEY_ES256},
        {"{\"key_ops\":[\"sign\",\"verify\"]," KEYS_P256_MEMBERS "}", KEY_ES256},
        {"{\"x5t\":\"abc\",\"ext\":true," KEYS_P256_MEMBERS "}", KEY_ES256},
        {KEYS_ED25519, KEY_EDDSA},
        {KEYS_RSA, KEY_RS256},
        {"{\"kty\":\"RSA\",\"alg\":\"PS256\",\"n\":\"" KEYS_RSA_N "\",\"e\":\"AQAB\"}", KEY_PS256},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct key *key = keys_must_read(cases[i].jwk);

        assert_int_equal(key_algorithm(key), cases[i].alg);
        key_free(&key);
    }
}

/* A number of 1024 bits: c0, zeros, 01. */
#define A32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define A128 A32 A32 A32 A32
#define RSA_1024 "wAAA" A128 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"
#define OF_RSA(n, e) "{\"kty\":\"RSA\",\"n\":\"" n "\",\"e\":\"" e "\"}"
#define WITH(member) "{" member "," KEYS_P256_MEMBERS "}"

static void
bad_jwks_are_refused(void **state)
{
    static const struct {
        const char *jwk;
        enum err e;
    } cases[] = {
        {"[]", ERR_BADMSG},
        {"{}", ERR_BADMSG},
        {"{\"kty\":7}", ERR_BADMSG},
        /* Secrets. */
        {"{\"kty\":\"oct\",\"k\":\"AAAA\"}", ERR_FORBIDDEN},
        {WITH("\"d\":\"AAAA\""), ERR_FORBIDDEN},
        {WITH("\"k\":\"AAAA\""), ERR_FORBIDDEN},
        {WITH("\"alg\":\"HS256\""), ERR_FORBIDDEN},
        {"{\"kty\":\"RSA\",\"qi\":\"AAAA\",\"n\":\"" KEYS_RSA_N "\",\"e\":\"AQAB\"}",
         ERR_FORBIDDEN},
        /* Not for verifying, or not ours. */
        {WITH("\"use\":\"enc\""), ERR_UNSUPPORTED},
        {WITH("\"key_ops\":[\"sign\"]"), ERR_UNSUPPORTED},
        {WITH("\"key_ops\":[]"), ERR_UNSUPPORTED},
        {WITH("\"alg\":\"ES384\""), ERR_UNSUPPORTED},
        {WITH("\"alg\":\"none\""), ERR_UNSUPPORTED},
        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"}", ERR_UNSUPPORTED},
        {"{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" KEYS_ED25519_X "\"}", ERR_UNSUPPORTED},
        {"{\"kty\":\"ec\",\"crv\":\"P-256\"}", ERR_UNSUPPORTED},
        /* Contradictions and wrong types. */
        {WITH("\"alg\":\"RS256\""), ERR_BADMSG},
        {WITH("\"alg\":\"EdDSA\""), ERR_BADMSG},
        {WITH("\"alg\":null"), ERR_BADMSG},
        {WITH("\"use\":1"), ERR_BADMSG},
        {WITH("\"key_ops\":\"verify\""), ERR_BADMSG},
        {WITH("\"key_ops\":[1,\"verify\"]"), ERR_BADMSG},
        /* Points: missing, short, padded, off the curve. */
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" KEYS_P256_X "\"}", ERR_BADMSG},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" KEYS_P256_X "\",\"y\":\"AAAA\"}", ERR_BADMSG},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" KEYS_P256_X "\",\"y\":\"" KEYS_P256_Y "=\"}",
         ERR_BADMSG},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" KEYS_P256_X "\",\"y\":\"" KEYS_P256_X "\"}",
         ERR_BADMSG},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
         "\"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}",
         ERR_BADMSG},
        /* RSA: 1024 bits, e = 3, e even, e = 1, e of nine bytes, a zero in front, nothing. */
        {OF_RSA(RSA_1024, "AQAB"), ERR_FORBIDDEN},
        {OF_RSA(KEYS_RSA_N, "Aw"), ERR_FORBIDDEN},
        {OF_RSA(KEYS_RSA_N, "AQAC"), ERR_FORBIDDEN},
        {OF_RSA(KEYS_RSA_N, "AQ"), ERR_FORBIDDEN},
        {OF_RSA(KEYS_RSA_N, "AQAAAAAAAAAB"), ERR_FORBIDDEN},
        {OF_RSA(KEYS_RSA_N, "AAEAAQ"), ERR_BADMSG},
        {OF_RSA(KEYS_RSA_N, ""), ERR_BADMSG},
        {OF_RSA("", "AQAB"), ERR_BADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct key *key = NULL;
        enum err e = keys_read(cases[i].jwk, &key);

        if (e != cases[i].e)
            fail_msg("%s: %s", cases[i].jwk, err_text(e));
        assert_null(key);
    }
}

static void
an_even_rsa_modulus_is_refused(void **state)
{
    char jwk[] = KEYS_RSA;
    char *end = strstr(jwk, "oQ\",\"e\"");
    struct key *key = NULL;

    (void)state;
    assert_non_null(end);
    end[1] = 'A'; /* the last byte is a0 instead of a1 */
    assert_int_equal(keys_read(jwk, &key), ERR_FORBIDDEN);
    assert_null(key);
}

static void
a_jwk_is_written_in_canonical_order(void **state)
{
    static const struct {
        const char *jwk;
        const char *before_kid;
        const char *after_kid;
    } cases[] = {
        {KEYS_P256, "{\"alg\":\"ES256\",\"crv\":\"P-256\",\"kid\":\"",
         "\",\"kty\":\"EC\",\"use\":\"sig\",\"x\":\"" KEYS_P256_X "\",\"y\":\"" KEYS_P256_Y "\"}"},
        {KEYS_ED25519, "{\"alg\":\"EdDSA\",\"crv\":\"Ed25519\",\"kid\":\"",
         "\",\"kty\":\"OKP\",\"use\":\"sig\",\"x\":\"" KEYS_ED25519_X "\"}"},
    };
    uint8_t storage[512], expected[512];
    struct text t, want;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct key *key = keys_must_read(cases[i].jwk);

        text_init(&t, storage, sizeof(storage));
        text_init(&want, expected, sizeof(expected));
        text_add_str(&want, cases[i].before_kid);
        text_add_str(&want, key_thumbprint(key));
        text_add_str(&want, cases[i].after_kid);
        assert_int_equal(key_to_jwk(key, &t), ERR_OK);
        assert_true(slice_eq(text_slice(&t), text_slice(&want)));
        key_free(&key);
    }
}

static void
a_private_key_writes_only_its_public_part(void **state)
{
    static const enum key_alg algs[] = {KEY_ES256, KEY_EDDSA};
    char storage[512];
    struct text t;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(algs); i++) {
        struct key *key = NULL, *again;

        text_init(&t, storage, sizeof(storage) - 1);
        assert_int_equal(key_generate(algs[i], &key), ERR_OK);
        assert_int_equal(key_to_jwk(key, &t), ERR_OK);
        storage[t.used] = '\0';
        assert_null(strstr(storage, "\"d\""));
        again = keys_must_read(storage);
        assert_false(key_is_private(again));
        assert_string_equal(key_thumbprint(again), key_thumbprint(key));
        key_free(&again);
        key_free(&key);
    }
}

static void
rsa_keys_are_not_written(void **state)
{
    struct key *key = keys_must_read(KEYS_RSA);
    uint8_t storage[2048];
    struct text t;

    (void)state;
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(key_to_jwk(key, &t), ERR_UNSUPPORTED);
    assert_int_equal(t.used, 0);
    key_free(&key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thumbprints_are_those_of_the_rfcs),
        cmocka_unit_test(the_algorithm_comes_from_the_key),
        cmocka_unit_test(bad_jwks_are_refused),
        cmocka_unit_test(an_even_rsa_modulus_is_refused),
        cmocka_unit_test(a_jwk_is_written_in_canonical_order),
        cmocka_unit_test(a_private_key_writes_only_its_public_part),
        cmocka_unit_test(rsa_keys_are_not_written),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
