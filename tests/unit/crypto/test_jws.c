#include "crypto/jws.h"

#include "base/check.h"
#include "base/jscan.h"
#include "unit/crypto/keys.h"

#include <stdlib.h>

#define TOKEN_SIZE (2 * JWS_SIZE_MAX)

static struct jscan_keys *scan_keys;
static uint8_t scratch[JWS_SIZE_MAX];

static int
set_up(void **state)
{
    (void)state;
    return jscan_keys_new(&scan_keys) == ERR_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    jscan_keys_free(&scan_keys);
    return 0;
}

static enum err
parse(struct slice token, struct jws *out)
{
    return jws_parse(token, scan_keys, scratch, sizeof(scratch), out);
}

static enum err
parse_and_verify(const char *token, const char *jwk)
{
    struct key *key = keys_must_read(jwk);
    struct jws jws;
    enum err e = parse(slice_str(token), &jws);

    if (e == ERR_OK)
        e = jws_verify(&jws, key);
    key_free(&key);
    return e;
}

/* RFC 8037 A.4, RFC 7515 A.3 and A.2; the last two were made with OpenSSL's tool. */
#define EDDSA_TOKEN                                             \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
#define RFC_PAYLOAD                                                                                \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"
#define ES256_TOKEN                                             \
    "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD                         \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djx" \
    "La8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define RS256_TOKEN                                                                                \
    "eyJhbGciOiJSUzI1NiJ9." RFC_PAYLOAD                                                            \
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOi"                                    \
    "Zj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrn" \
    "byTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqt" \
    "FZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypG" \
    "lUPQGe77Rw"
#define PSS_KEY(alg)                                                                             \
    "{\"kty\":\"RSA\",\"alg\":\"" alg                                                            \
    "\",\"e\":\"AQAB\",\"n\":\"w_-aSNfwz92SU0_8qGgG9sOudQk8w9iwHXk9qL9m5ZyDTtl0S6--G4bPE6-5DyL-" \
    "o5yPMvuet8C92b12"                                                                           \
    "8EvyDCYOx4LffY08Eu238wS1MojpXdA4tJg5mIj0SO95hJq7OqvYYplP868r2WmoE_8SCFxUneOB5a8Z"           \
    "GuARR0Vtwg0hiKRR0aMnapeiytQjv_8hEFhh5zPbOa38sSv35a7RZkFURXuQtAWUoWxSHTO_hyAKqZlp"           \
    "97WmswgYl_ft384ievLwsy0Qu13u6uFKIjtoSsThK_Vd7G1GgS_MwzokuSDQG_jPWjtJKWBBF34mmXP4"           \
    "xttqyz13EVybsGvtkZSPWQ\"}"
#define PS256_TOKEN                                                                    \
    "eyJhbGciOiJQUzI1NiJ9.eyJpc3MiOiJqb2UifQ.beF0AtutE9tobYpSxdCaF8EWgojZJ4J-Jxskmsp3" \
    "ZeObVf6VhvcGWjiLb-TGFCbvmUIA50y7YPWOsXieXyBxgrzG2bDMDlKaAPzNNytjzonzTy7JOQj58GZs" \
    "_aznGVXi87950lSl79aCJ5_X6HbWyM-CAsnu41RndR82Bm_ntDsEFLH6T3WcSV1rvrZUfPCvTR0Ht2JX" \
    "iQrD66RVaZ2kGTt47MD9pXfwytPTtwg1426pO0gcakNeTFI_STCm2uQVizK5RXGW09CgQ0yFjWYPhPG7" \
    "lhdeFlRjs6Qd2prQW5o74_Uc3iPopWslIpqq7EItk1eRGweESGJ-6VbNaO143Q"
#define PS256_SALT_20_TOKEN                                                            \
    "eyJhbGciOiJQUzI1NiJ9.eyJpc3MiOiJqb2UifQ.EGRhLCFtmPTDayngeYhFnRlthZnRLIa1tn9HykJc" \
    "VMUsC3F7D__MVL9-STl-XPKfodTJKJWEfjDzcWWZQIxCYgZazToKdLTRP2H2V-8T7NTZ4IcdgJMJp2zn" \
    "2THnDBSQnGBKZ76sG0OVoLpKbl2LrKd0N8aLLVJ81WLRMeLwSZKIyB3FplNAIozw-uNyBvb1dBFN-Hv5" \
    "6GE20akyP6xpjrKH8nOZjiJ77lykBcF8Us26D-mtyAEhudPuJ4przEjv5Byu7erf-eVinlvWWHogviDB" \
    "loBsspb1wzAh3Snb1wC030fWA13b7-kZ-CIZH_m_2z4K1TpAuzKlmHzjjxeY7g"

static void
tokens_of_the_rfcs_verify(void **state)
{
    (void)state;
    assert_int_equal(parse_and_verify(EDDSA_TOKEN, KEYS_ED25519), ERR_OK);
    assert_int_equal(parse_and_verify(ES256_TOKEN, KEYS_P256), ERR_OK);
    assert_int_equal(parse_and_verify(RS256_TOKEN, KEYS_RSA), ERR_OK);
    assert_int_equal(parse_and_verify(PS256_TOKEN, PSS_KEY("PS256")), ERR_OK);
}

static void
a_key_verifies_no_other_algorithm_than_its_own(void **state)
{
    (void)state;
    assert_int_equal(parse_and_verify(PS256_TOKEN, PSS_KEY("RS256")), ERR_AUTH);
    assert_int_equal(parse_and_verify(RS256_TOKEN, KEYS_P256), ERR_AUTH);
    assert_int_equal(parse_and_verify(ES256_TOKEN, KEYS_ED25519), ERR_AUTH);
}

static void
the_header_can_not_rename_the_algorithm(void **state)
{
    struct key *key = keys_must_read(KEYS_P256);
    struct jws jws;

    (void)state;
    assert_int_equal(parse(SLICE_LIT(ES256_TOKEN), &jws), ERR_OK);
    jws.alg = KEY_EDDSA;
    assert_int_equal(jws_verify(&jws, key), ERR_AUTH);
    jws.alg = KEY_ES256;
    assert_int_equal(jws_verify(&jws, key), ERR_OK);
    key_free(&key);
}

static void
pss_with_another_salt_is_refused(void **state)
{
    (void)state;
    assert_int_equal(parse_and_verify(PS256_SALT_20_TOKEN, PSS_KEY("PS256")), ERR_AUTH);
}

static void
a_changed_token_does_not_verify(void **state)
{
    struct key *key = keys_must_read(KEYS_P256);
    char token[] = ES256_TOKEN;
    struct jws jws;

    (void)state;
    token[30] = token[30] == 'A' ? 'B' : 'A';
    assert_int_equal(parse(slice_str(token), &jws), ERR_OK);
    assert_int_equal(jws_verify(&jws, key), ERR_AUTH);
    key_free(&key);
}

static void
parts_are_decoded_into_the_scratch(void **state)
{
    struct jws jws;

    (void)state;
    assert_int_equal(parse(SLICE_LIT(EDDSA_TOKEN), &jws), ERR_OK);
    assert_true(slice_is(jws.payload, "Example of Ed25519 signing"));
    assert_true(
        slice_is(jws.signing_input, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"));
    assert_int_equal(jws.alg, KEY_EDDSA);
    assert_int_equal(jws.signature_len, 64);
    assert_int_equal(jws.kid.len, 0);
    assert_int_equal(jws.typ.len, 0);
}

/* Parses a token of this header, a payload and a signature that are well formed. */
static enum err
parse_header(const char *header, struct jws *out)
{
    static uint8_t storage[TOKEN_SIZE];
    struct text t;

    text_init(&t, storage, sizeof(storage));
    text_add_b64url(&t, slice_str(header));
    text_add_str(&t, ".e30.AAAA");
    assert_true(text_ok(&t));
    return parse(text_slice(&t), out);
}

static void
kid_and_typ_are_decoded(void **state)
{
    struct jws jws;

    (void)state;
    assert_int_equal(
        parse_header("{ \"typ\" : \"at+j\\u0077t\", \"kid\":\"a\\/b\",\"alg\":\"ES256\"}", &jws),
        ERR_OK);
    assert_true(slice_is(jws.typ, "at+jwt"));
    assert_true(slice_is(jws.kid, "a/b"));
    assert_true(slice_is(jws.payload, "{}"));
}

static void
headers_are_read_strictly(void **state)
{
    static const struct {
        const char *header;
        enum err e;
    } cases[] = {
        {"{\"alg\":\"ES256\"}", ERR_OK},
        {"{\"alg\":\"ES256\",\"x5t#S256\":\"abc\",\"iat\":1,\"nested\":{\"jku\":[1]}}", ERR_OK},
        {"{\"alg\":\"ES256\",\"JKU\":\"https://evil.example\"}", ERR_OK},
        /* Algorithms. */
        {"{\"alg\":\"none\"}", ERR_UNSUPPORTED},
        {"{\"alg\":\"None\"}", ERR_UNSUPPORTED},
        {"{\"alg\":\"\"}", ERR_UNSUPPORTED},
        {"{\"alg\":\"HS256\"}", ERR_UNSUPPORTED},
        {"{\"alg\":\"ES384\"}", ERR_UNSUPPORTED},
        {"{\"alg\":\"es256\"}", ERR_UNSUPPORTED},
        {"{\"alg\":null}", ERR_BADMSG},
        {"{\"alg\":[\"ES256\"]}", ERR_BADMSG},
        {"{\"typ\":\"JWT\"}", ERR_BADMSG},
        {"{\"ALG\":\"ES256\"}", ERR_BADMSG},
        {"{}", ERR_BADMSG},
        /* Members that would bring a key or change the reading. */
        {"{\"alg\":\"ES256\",\"jku\":\"https://evil.example\"}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"x5u\":\"https://evil.example\"}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"x5c\":[]}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"jwk\":{}}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"j\\u0077k\":{}}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"crit\":[\"exp\"]}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"b64\":false}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"cty\":\"JWT\"}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"zip\":\"DEF\"}", ERR_BADMSG},
        /* Types, emptiness, duplicates, what stands around. */
        {"{\"alg\":\"ES256\",\"kid\":7}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"kid\":\"\"}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"typ\":{}}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"alg\":\"ES256\"}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"al\\u0067\":\"EdDSA\"}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"x\":{\"a\":1,\"a\":2}}", ERR_BADMSG},
        {"{\"alg\":\"ES256\"}{}", ERR_BADMSG},
        {"{\"alg\":\"ES256\"", ERR_BADMSG},
        {"{\"alg\":\"ES256\",}", ERR_BADMSG},
        {"[\"alg\",\"ES256\"]", ERR_BADMSG},
        {"\"ES256\"", ERR_BADMSG},
        {"\xef\xbb\xbf{\"alg\":\"ES256\"}", ERR_BADMSG},
        {"{\"alg\":\"ES256\",\"x\":\"\xff\"}", ERR_BADMSG},
    };
    struct jws jws;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum err e = parse_header(cases[i].header, &jws);

        if (e != cases[i].e)
            fail_msg("%s: %s", cases[i].header, err_text(e));
    }
}

static void
kid_has_a_longest_length(void **state)
{
    char header[64 + JWS_KID_MAX + 2], kid[JWS_KID_MAX + 2];
    struct jws jws;

    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        memset(kid, 'k', sizeof(kid));
        kid[JWS_KID_MAX + extra] = '\0';
        assert_true(text_format(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid));
        assert_int_equal(parse_header(header, &jws), extra == 0 ? ERR_OK : ERR_TOOBIG);
    }
}

#define H "eyJhbGciOiJFUzI1NiJ9"

static void
tokens_are_taken_apart_strictly(void **state)
{
    static const struct {
        const char *token;
        enum err e;
    } cases[] = {
        {H ".e30.AAAA", ERR_OK},
        {"", ERR_BADMSG},
        {".", ERR_BADMSG},
        {"..", ERR_BADMSG},
        {H, ERR_BADMSG},
        {H ".e30", ERR_BADMSG},
        {H ".e30.", ERR_BADMSG},
        {H "..AAAA", ERR_BADMSG},
        {".e30.AAAA", ERR_BADMSG},
        {H ".e30.AAAA.", ERR_BADMSG},
        {H ".e30.AAAA.AAAA", ERR_BADMSG},
        {H ".e30.AAAA.AAAA.AAAA", ERR_BADMSG},
        {H "=.e30.AAAA", ERR_BADMSG},
        {H ".e30=.AAAA", ERR_BADMSG},
        {H ".e30.AAA=", ERR_BADMSG},
        {H ".e31.AAAA", ERR_BADMSG}, /* spare bits */
        {H ".e30.AAB", ERR_BADMSG},
        {H ".e30.A", ERR_BADMSG},
        {H ".e3+.AAAA", ERR_BADMSG},
        {H ".e30.AA/A", ERR_BADMSG},
        {H ".e30.AAAA\n", ERR_BADMSG},
        {" " H ".e30.AAAA", ERR_BADMSG},
        {H ".e 30.AAAA", ERR_BADMSG},
    };
    struct jws jws;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        enum err e = parse(slice_str(cases[i].token), &jws);

        if (e != cases[i].e)
            fail_msg("%s: %s", cases[i].token, err_text(e));
    }
}

/* A token of exactly len bytes with a payload that is as long as that takes. */
static struct slice
token_of_length(size_t len)
{
    static uint8_t storage[TOKEN_SIZE];
    size_t at = sizeof(H ".") - 1;

    memcpy(storage, H ".", at);
    memset(storage + at, 'A', len - at);
    memcpy(storage + len - 5, ".AAAA", 5);
    return slice_of(storage, len);
}

static void
a_token_has_a_longest_length(void **state)
{
    struct jws jws;
    size_t payload_spare = (JWS_SIZE_MAX - (sizeof(H ".") - 1) - 5) % 4;

    (void)state;
    assert_int_not_equal(payload_spare, 1); /* else the longest token is no base64 */
    assert_int_equal(parse(token_of_length(JWS_SIZE_MAX), &jws), ERR_OK);
    assert_int_equal(parse(token_of_length(JWS_SIZE_MAX + 1), &jws), ERR_TOOBIG);
}

static void
a_signature_has_a_longest_length(void **state)
{
    static uint8_t storage[TOKEN_SIZE];
    static const uint8_t zeros[KEY_SIGNATURE_MAX + 1];
    struct jws jws;
    struct text t;

    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        text_init(&t, storage, sizeof(storage));
        text_add_str(&t, H ".e30.");
        text_add_b64url(&t, slice_of(zeros, KEY_SIGNATURE_MAX + extra));
        assert_int_equal(parse(text_slice(&t), &jws), extra == 0 ? ERR_OK : ERR_TOOBIG);
    }
}

static void
a_refused_token_leaves_the_result_alone(void **state)
{
    struct jws jws, before;

    (void)state;
    memset(&jws, 0x77, sizeof(jws));
    memcpy(&before, &jws, sizeof(jws));
    assert_int_equal(parse_header("{\"alg\":\"none\"}", &jws), ERR_UNSUPPORTED);
    assert_memory_equal(&jws, &before, sizeof(jws));
}

static void
what_is_signed_here_verifies(void **state)
{
    static const enum key_alg algs[] = {KEY_ES256, KEY_EDDSA};
    uint8_t header_storage[256], token_storage[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(algs); i++) {
        struct text header, token;
        struct key *key = NULL;
        struct jws jws;

        text_init(&header, header_storage, sizeof(header_storage));
        text_init(&token, token_storage, sizeof(token_storage));
        assert_int_equal(key_generate(algs[i], &key), ERR_OK);
        assert_int_equal(jws_header(key, "a\"b", &header), ERR_OK);
        text_add_str(&token, "before "); /* what stands before is not signed */
        assert_int_equal(jws_sign(key, text_slice(&header), SLICE_LIT("{\"a\":1}"), &token),
                         ERR_OK);
        assert_int_equal(parse(slice_of(token.p + 7, token.used - 7), &jws), ERR_OK);
        assert_int_equal(jws_verify(&jws, key), ERR_OK);
        assert_true(slice_is(jws.kid, key_thumbprint(key)));
        assert_true(slice_is(jws.typ, "a\"b"));
        assert_true(slice_is(jws.payload, "{\"a\":1}"));
        key_free(&key);
    }
}

static void
signing_into_too_little_room_says_so(void **state)
{
    uint8_t storage[100];
    struct key *key = NULL;

    (void)state;
    assert_int_equal(key_generate(KEY_EDDSA, &key), ERR_OK);
    for (size_t size = 0; size <= sizeof(storage); size++) {
        struct text t;

        text_init(&t, storage, size);
        assert_int_equal(jws_sign(key, SLICE_LIT(H), SLICE_LIT("{}"), &t), ERR_TOOBIG);
    }
    key_free(&key);
}

static void
a_public_key_signs_no_token(void **state)
{
    struct key *key = keys_must_read(KEYS_P256);
    uint8_t storage[256];
    struct text t;

    (void)state;
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(jws_sign(key, SLICE_LIT(H), SLICE_LIT("{}"), &t), ERR_FORBIDDEN);
    assert_int_equal(t.used, 0);
    key_free(&key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_of_the_rfcs_verify),
        cmocka_unit_test(a_key_verifies_no_other_algorithm_than_its_own),
        cmocka_unit_test(the_header_can_not_rename_the_algorithm),
        cmocka_unit_test(pss_with_another_salt_is_refused),
        cmocka_unit_test(a_changed_token_does_not_verify),
        cmocka_unit_test(parts_are_decoded_into_the_scratch),
        cmocka_unit_test(kid_and_typ_are_decoded),
        cmocka_unit_test(headers_are_read_strictly),
        cmocka_unit_test(kid_has_a_longest_length),
        cmocka_unit_test(tokens_are_taken_apart_strictly),
        cmocka_unit_test(a_token_has_a_longest_length),
        cmocka_unit_test(a_signature_has_a_longest_length),
        cmocka_unit_test(a_refused_token_leaves_the_result_alone),
        cmocka_unit_test(what_is_signed_here_verifies),
        cmocka_unit_test(signing_into_too_little_room_says_so),
        cmocka_unit_test(a_public_key_signs_no_token),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
