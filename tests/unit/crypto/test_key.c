#include "crypto/key.h"

#include "base/check.h"
#include "crypto/hash.h"
#include "unit/crypto/wycheproof.h"

#include <pthread.h>

#define PEM_SIZE 1024
#define THREADS 4
#define ROUNDS 50

/* Thrown-away keys, made for this file. */
static const char p256_sec1_pem[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHcCAQEEILL/bNvfDDpH2EPLxoFB/pulg90A7mjLlccKyGk/zTA/oAoGCCqGSM49\n"
    "AwEHoUQDQgAERcd0UHU+g8ndrzbHl13mwXnel1jzze8qqcK82jG8ei6SBlIUE5QS\n"
    "wVJYpb3PZuObrphe/BBng+hmgBIgTYBxJg==\n"
    "-----END EC PRIVATE KEY-----\n";
static const char p256_explicit_pem[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MIIBaAIBAQQgtyPJUxzkuC28D18PHTS+m+RCjoGrk9F3DDwt/+luan2ggfowgfcC\n"
    "AQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAAAAAAAAAAAAAA////////////////\n"
    "MFsEIP////8AAAABAAAAAAAAAAAAAAAA///////////////8BCBaxjXYqjqT57Pr\n"
    "vVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSdNgiG5wSTamZ44ROdJreBn36QBEEE\n"
    "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54W\n"
    "K84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8\n"
    "YyVRAgEBoUQDQgAE6t9/RrBIpB6p3GHNuyoUmshBtMKA45djPoHIlwsPLpPHDbLp\n"
    "nrtvKYoHwuuVdkEWfkRR2YIhDO4AezzsjfVpxg==\n"
    "-----END EC PRIVATE KEY-----\n";
static const char p384_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDCgCVdDFNzQyA8woJsG\n"
                               "sWIFz2hiksz9F6n0s5p914Ov0ydwHiZJ/VFGvW/i4Iw5s2+hZANiAAQhRIrhs66A\n"
                               "VM/KmghCS/EaZeabyz82EMfUzP7nZOZ4nzHhWWq5WZSXzt1GzFg9tvLJeAyxqjO/\n"
                               "Q89AWb+XlRDyQkYfNCGJMFwIIDmLDuf9CEMdUiO7EFCI7wbUa6/47qc=\n"
                               "-----END PRIVATE KEY-----\n";
static const char ed448_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                "MEcCAQAwBQYDK2VxBDsEOYkqmNZj1N+vcKHRJRR3CdAFPkiU20Vbx6lWn60zrH0C\n"
                                "CEnZRd/S4PUK9xjNc1FDvKIGr/ElOo6Wsw==\n"
                                "-----END PRIVATE KEY-----\n";
static const char encrypted_pem[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiqjUnidedfugICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECSuV7BFOWZIcBLbzIOQnaIEgZCK\n"
    "zSj+B4XMkVShChwplDSWhZ13azpR5j6s3brGGgESU1JFfggI/ebJB80Clq5yfRyJ\n"
    "IoN0C9hD+BpBFkjEIYkJrysdbf65BzX04qIDnI/onK5yTaY/Z6hewmqIl+I/S2jS\n"
    "zYdCXe8ewE1YLRfCDTxUxfzJ8t/nImNbBjrxtxT+QTxIKELI5YznqoXimw6/XJk=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

static const enum key_alg own_algs[] = {KEY_ES256, KEY_EDDSA};

static void
alg_names_are_those_of_the_registry(void **state)
{
    static const char *const names[] = {"ES256", "EdDSA", "RS256", "PS256"};
    static const char *const strangers[] = {"", "none", "HS256", "es256", "ES256 ", "ES384"};
    enum key_alg alg;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        assert_true(key_alg_parse(slice_str(names[i]), &alg));
        assert_string_equal(key_alg_name(alg), names[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(strangers); i++)
        assert_false(key_alg_parse(slice_str(strangers[i]), &alg));
}

static void
what_a_key_signed_it_verifies(void **state)
{
    uint8_t sig[KEY_SIGN_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(own_algs); i++) {
        struct key *key = NULL;

        assert_int_equal(key_generate(own_algs[i], &key), ERR_OK);
        assert_true(key_is_private(key));
        assert_int_equal(key_algorithm(key), own_algs[i]);
        for (int round = 0; round < ROUNDS; round++) {
            char message[16];
            struct slice s;

            assert_true(text_format(message, sizeof(message), "%d", round));
            s = round == 0 ? SLICE_NONE : slice_str(message);
            assert_int_equal(key_sign(key, s, sig), ERR_OK);
            assert_int_equal(key_verify(key, s, slice_of(sig, sizeof(sig))), ERR_OK);
            assert_int_equal(key_verify(key, SLICE_LIT("else"), slice_of(sig, sizeof(sig))),
                             ERR_AUTH);
        }
        key_free(&key);
        assert_null(key);
        key_free(&key);
    }
}

static void
a_changed_or_cut_signature_is_refused(void **state)
{
    uint8_t sig[KEY_SIGN_SIZE + 1] = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(own_algs); i++) {
        struct key *key = NULL;

        assert_int_equal(key_generate(own_algs[i], &key), ERR_OK);
        assert_int_equal(key_sign(key, SLICE_LIT("m"), sig), ERR_OK);
        for (size_t byte = 0; byte < KEY_SIGN_SIZE; byte++) {
            sig[byte] ^= 1;
            assert_int_equal(key_verify(key, SLICE_LIT("m"), slice_of(sig, KEY_SIGN_SIZE)),
                             ERR_AUTH);
            sig[byte] ^= 1;
        }
        for (size_t len = 0; len <= KEY_SIGN_SIZE + 1; len++)
            assert_int_equal(key_verify(key, SLICE_LIT("m"), slice_of(sig, len)),
                             len == KEY_SIGN_SIZE ? ERR_OK : ERR_AUTH);
        key_free(&key);
    }
}

static void
one_key_does_not_verify_for_another(void **state)
{
    struct key *a = NULL, *b = NULL;
    uint8_t sig[KEY_SIGN_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(own_algs); i++) {
        assert_int_equal(key_generate(own_algs[i], &a), ERR_OK);
        assert_int_equal(key_generate(own_algs[i], &b), ERR_OK);
        assert_string_not_equal(key_thumbprint(a), key_thumbprint(b));
        assert_int_equal(key_sign(a, SLICE_LIT("m"), sig), ERR_OK);
        assert_int_equal(key_verify(b, SLICE_LIT("m"), slice_of(sig, sizeof(sig))), ERR_AUTH);
        key_free(&a);
        key_free(&b);
    }
}

static void
es256_refuses_r_or_s_out_of_range(void **state)
{
    static const char order[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    uint8_t sig[KEY_SIGN_SIZE], good[KEY_SIGN_SIZE], bad[3][32] = {{0}};
    struct key *key = NULL;
    size_t len = 32;

    (void)state;
    assert_true(text_unhex(slice_str(order), bad[1], &len));
    memset(bad[2], 0xff, 32);
    assert_int_equal(key_generate(KEY_ES256, &key), ERR_OK);
    assert_int_equal(key_sign(key, SLICE_LIT("m"), good), ERR_OK);
    for (size_t i = 0; i < 3; i++) {
        for (size_t half = 0; half <= 32; half += 32) {
            memcpy(sig, good, sizeof(sig));
            memcpy(sig + half, bad[i], 32);
            assert_int_equal(key_verify(key, SLICE_LIT("m"), slice_of(sig, sizeof(sig))), ERR_AUTH);
        }
    }
    key_free(&key);
}

static void
own_keys_are_not_made_for_rsa(void **state)
{
    struct key *key = NULL;

    (void)state;
    assert_int_equal(key_generate(KEY_RS256, &key), ERR_UNSUPPORTED);
    assert_int_equal(key_generate(KEY_PS256, &key), ERR_UNSUPPORTED);
    assert_null(key);
}

static void
private_pem_comes_back_as_the_same_key(void **state)
{
    uint8_t pem[PEM_SIZE], sig[KEY_SIGN_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(own_algs); i++) {
        struct key *key = NULL, *again = NULL;
        struct text t;

        text_init(&t, pem, sizeof(pem));
        assert_int_equal(key_generate(own_algs[i], &key), ERR_OK);
        assert_int_equal(key_to_private_pem(key, &t), ERR_OK);
        assert_true(slice_starts(text_slice(&t), SLICE_LIT("-----BEGIN PRIVATE KEY-----\n")));
        assert_int_equal(key_from_private_pem(text_slice(&t), &again), ERR_OK);
        assert_int_equal(key_algorithm(again), own_algs[i]);
        assert_string_equal(key_thumbprint(again), key_thumbprint(key));
        assert_int_equal(key_sign(again, SLICE_LIT("m"), sig), ERR_OK);
        assert_int_equal(key_verify(key, SLICE_LIT("m"), slice_of(sig, sizeof(sig))), ERR_OK);
        key_free(&key);
        key_free(&again);
    }
}

static void
private_pem_says_when_it_does_not_fit(void **state)
{
    uint8_t pem[40];
    struct key *key = NULL;
    struct text t;

    (void)state;
    text_init(&t, pem, sizeof(pem));
    assert_int_equal(key_generate(KEY_ES256, &key), ERR_OK);
    assert_int_equal(key_to_private_pem(key, &t), ERR_TOOBIG);
    key_free(&key);
}

static void
sec1_pem_is_an_es256_key(void **state)
{
    struct key *key = NULL;

    (void)state;
    assert_int_equal(key_from_private_pem(slice_str(p256_sec1_pem), &key), ERR_OK);
    assert_int_equal(key_algorithm(key), KEY_ES256);
    assert_true(key_is_private(key));
    key_free(&key);
}

static void
foreign_or_broken_pem_is_refused(void **state)
{
    static const struct {
        const char *pem;
        enum err e;
    } cases[] = {
        {p384_pem, ERR_UNSUPPORTED},
        {ed448_pem, ERR_UNSUPPORTED},
        {p256_explicit_pem, ERR_UNSUPPORTED},
        {encrypted_pem, ERR_BADMSG},
        {"", ERR_BADMSG},
        {"not a key", ERR_BADMSG},
        {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", ERR_BADMSG},
    };
    struct key *key = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_int_equal(key_from_private_pem(slice_str(cases[i].pem), &key), cases[i].e);
        assert_null(key);
    }
}

static void
a_public_key_neither_signs_nor_tells_a_secret(void **state)
{
    uint8_t raw[32], pem[PEM_SIZE], sig[KEY_SIGN_SIZE];
    size_t len = sizeof(raw);
    struct key *key = NULL;
    struct text t;

    (void)state;
    text_init(&t, pem, sizeof(pem));
    assert_true(text_unb64url(SLICE_LIT("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), raw, &len));
    assert_int_equal(key_from_raw_public(KEY_EDDSA, slice_of(raw, len), &key), ERR_OK);
    assert_false(key_is_private(key));
    assert_int_equal(key_sign(key, SLICE_LIT("m"), sig), ERR_FORBIDDEN);
    assert_int_equal(key_to_private_pem(key, &t), ERR_FORBIDDEN);
    assert_int_equal(t.used, 0);
    key_free(&key);
}

static void
bad_raw_points_are_refused(void **state)
{
    static const struct {
        enum key_alg alg;
        const char *hex;
    } cases[] = {
        {KEY_EDDSA, ""},
        {KEY_EDDSA, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f70751"},
        /* Off the curve: y = 2. */
        {KEY_EDDSA, "0200000000000000000000000000000000000000000000000000000000000000"},
        /* Orders 1, 2, 4, 8 and 8. */
        {KEY_EDDSA, "0100000000000000000000000000000000000000000000000000000000000000"},
        {KEY_EDDSA, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
        {KEY_EDDSA, "0000000000000000000000000000000000000000000000000000000000000080"},
        {KEY_EDDSA, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"},
        {KEY_EDDSA, "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"},
        /* Not below the prime: p + 1 would be read as 1, p + 3 as a point of full order. */
        {KEY_EDDSA, "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
        {KEY_EDDSA, "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"},
        /* Compressed, the point at infinity, and y one too large. */
        {KEY_ES256, "037fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445"},
        {KEY_ES256, "00"},
        {KEY_ES256, "047fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445"
                    "c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ae"},
        {KEY_RS256, "00"},
    };
    struct key *key = NULL;
    uint8_t raw[80];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t len = sizeof(raw);

        assert_true(text_unhex(slice_str(cases[i].hex), raw, &len));
        assert_int_equal(key_from_raw_public(cases[i].alg, slice_of(raw, len), &key),
                         cases[i].alg == KEY_RS256 ? ERR_UNSUPPORTED : ERR_BADMSG);
        assert_null(key);
    }
}

struct worker {
    pthread_t thread;
    const struct key *key;
    unsigned good;
};

static void *
sign_and_verify(void *arg)
{
    struct worker *w = arg;
    uint8_t sig[KEY_SIGN_SIZE];

    for (int i = 0; i < ROUNDS; i++) {
        struct slice message = slice_of(&i, sizeof(i));

        if (key_sign(w->key, message, sig) == ERR_OK &&
            key_verify(w->key, message, slice_of(sig, sizeof(sig))) == ERR_OK)
            w->good++;
    }
    return NULL;
}

static void
threads_share_a_key(void **state)
{
    struct worker workers[THREADS];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(own_algs); i++) {
        struct key *key = NULL;

        assert_int_equal(key_generate(own_algs[i], &key), ERR_OK);
        for (size_t t = 0; t < THREADS; t++) {
            workers[t] = (struct worker){.key = key};
            assert_int_equal(pthread_create(&workers[t].thread, NULL, sign_and_verify, &workers[t]),
                             0);
        }
        for (size_t t = 0; t < THREADS; t++) {
            assert_int_equal(pthread_join(workers[t].thread, NULL), 0);
            assert_int_equal(workers[t].good, ROUNDS);
        }
        key_free(&key);
    }
}

/* The key of one group, or NULL when it is refused, which fails its valid cases. */
static struct key *
group_key(const struct json *group, enum key_alg alg)
{
    const struct json *v = json_get(group, "publicKey");
    struct slice raw = wycheproof_hex(v, alg == KEY_ES256 ? "uncompressed" : "pk");
    struct key *key = NULL;

    if (key_from_raw_public(alg, raw, &key) != ERR_OK)
        key = NULL;
    wycheproof_free(raw);
    return key;
}

static void
signature_case(const struct json *group, const struct json *test, enum key_alg alg, bool must_pass)
{
    struct slice message = wycheproof_hex(test, "msg");
    struct slice sig = wycheproof_hex(test, "sig");
    struct key *key = group_key(group, alg);

    wycheproof_expect(test, key != NULL && key_verify(key, message, sig) == ERR_OK, must_pass);
    key_free(&key);
    wycheproof_free(message);
    wycheproof_free(sig);
}

static void
es256_case(const struct json *group, const struct json *test, bool must_pass)
{
    signature_case(group, test, KEY_ES256, must_pass);
}

static void
eddsa_case(const struct json *group, const struct json *test, bool must_pass)
{
    signature_case(group, test, KEY_EDDSA, must_pass);
}

static void
es256_agrees_with_wycheproof(void **state)
{
    (void)state;
    wycheproof_run("ecdsa_secp256r1_sha256_p1363_test.json", es256_case);
}

static void
eddsa_agrees_with_wycheproof(void **state)
{
    (void)state;
    wycheproof_run("ed25519_test.json", eddsa_case);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alg_names_are_those_of_the_registry),
        cmocka_unit_test(what_a_key_signed_it_verifies),
        cmocka_unit_test(a_changed_or_cut_signature_is_refused),
        cmocka_unit_test(one_key_does_not_verify_for_another),
        cmocka_unit_test(es256_refuses_r_or_s_out_of_range),
        cmocka_unit_test(own_keys_are_not_made_for_rsa),
        cmocka_unit_test(private_pem_comes_back_as_the_same_key),
        cmocka_unit_test(private_pem_says_when_it_does_not_fit),
        cmocka_unit_test(sec1_pem_is_an_es256_key),
        cmocka_unit_test(foreign_or_broken_pem_is_refused),
        cmocka_unit_test(a_public_key_neither_signs_nor_tells_a_secret),
        cmocka_unit_test(bad_raw_points_are_refused),
        cmocka_unit_test(threads_share_a_key),
        cmocka_unit_test(es256_agrees_with_wycheproof),
        cmocka_unit_test(eddsa_agrees_with_wycheproof),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
