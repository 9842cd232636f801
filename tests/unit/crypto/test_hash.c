#include "crypto/hash.h"

#include "base/check.h"
#include "unit/crypto/wycheproof.h"

struct text_case {
    const char *input;
    const char *hex;
};

static void
assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    uint8_t expected[256];
    size_t expected_len = sizeof(expected);

    assert_true(text_unhex(slice_str(hex), expected, &expected_len));
    assert_int_equal(len, expected_len);
    assert_memory_equal(bytes, expected, len);
}

static void
sha256_gives_the_digests_of_fips_180(void **state)
{
    static const struct text_case cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    uint8_t out[HASH_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        hash_sha256(slice_str(cases[i].input), out);
        assert_hex(out, HASH_SIZE, cases[i].hex);
    }
}

static void
sha256_in_pieces_equals_sha256_at_once(void **state)
{
    uint8_t message[300], whole[HASH_SIZE], parts[HASH_SIZE];
    struct hash h, copy;

    (void)state;
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)(i * 7);
    hash_sha256(slice_of(message, sizeof(message)), whole);
    for (size_t cut = 0; cut <= sizeof(message); cut++) {
        hash_init(&h);
        hash_add(&h, slice_of(message, cut));
        copy = h; /* the state is plain: a copy goes on alone */
        hash_add(&h, SLICE_LIT("something else"));
        hash_add(&copy, slice_of(message + cut, sizeof(message) - cut));
        hash_add(&copy, SLICE_NONE);
        hash_final(&copy, parts);
        assert_memory_equal(parts, whole, HASH_SIZE);
    }
}

static void
hmac_gives_the_macs_of_rfc_4231(void **state)
{
    static const struct {
        const char *key_hex;
        const char *data;
        const char *hex;
    } cases[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "Hi There",
         "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {"4a656665", "what do ya want for nothing?",
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
    };
    uint8_t key[64], out[HASH_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t len = sizeof(key);

        assert_true(text_unhex(slice_str(cases[i].key_hex), key, &len));
        hmac_sha256(slice_of(key, len), slice_str(cases[i].data), out);
        assert_hex(out, HASH_SIZE, cases[i].hex);
    }
}

static void
hmac_hashes_a_key_longer_than_a_block(void **state)
{
    uint8_t key[131], out[HASH_SIZE]; /* RFC 4231 test case 6 */

    (void)state;
    memset(key, 0xaa, sizeof(key));
    hmac_sha256(slice_of(key, sizeof(key)),
                SLICE_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    assert_hex(out, HASH_SIZE, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void
hmac_final_wipes_the_state(void **state)
{
    static const struct hmac zero;
    uint8_t out[HASH_SIZE];
    struct hmac m;

    (void)state;
    hmac_init(&m, SLICE_LIT("key"));
    hmac_add(&m, SLICE_LIT("message"));
    assert_memory_not_equal(&m, &zero, sizeof(m));
    hmac_final(&m, out);
    assert_memory_equal(&m, &zero, sizeof(m));
}

static void
hkdf_gives_the_keys_of_rfc_5869(void **state)
{
    uint8_t key[22], salt[13], info[10], out[42];

    (void)state;
    memset(key, 0x0b, sizeof(key));
    for (size_t i = 0; i < sizeof(salt); i++)
        salt[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(info); i++)
        info[i] = (uint8_t)(0xf0 + i);
    assert_int_equal(hkdf_sha256(slice_of(key, sizeof(key)), slice_of(salt, sizeof(salt)),
                                 slice_of(info, sizeof(info)), out, sizeof(out)),
                     ERR_OK);
    assert_hex(
        out, sizeof(out),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    assert_int_equal(
        hkdf_sha256(slice_of(key, sizeof(key)), SLICE_NONE, SLICE_NONE, out, sizeof(out)), ERR_OK);
    assert_hex(
        out, sizeof(out),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

static void
hkdf_stops_at_255_blocks(void **state)
{
    static uint8_t out[255 * HASH_SIZE + 1];

    (void)state;
    assert_int_equal(hkdf_sha256(SLICE_LIT("key"), SLICE_NONE, SLICE_NONE, out, sizeof(out) - 1),
                     ERR_OK);
    assert_int_equal(hkdf_sha256(SLICE_LIT("key"), SLICE_NONE, SLICE_NONE, out, sizeof(out)),
                     ERR_TOOBIG);
}

static void
equal_compares_length_and_bytes(void **state)
{
    (void)state;
    assert_true(hash_equal(SLICE_LIT("abc"), SLICE_LIT("abc")));
    assert_true(hash_equal(SLICE_NONE, SLICE_LIT("")));
    assert_false(hash_equal(SLICE_LIT("abc"), SLICE_LIT("abd")));
    assert_false(hash_equal(SLICE_LIT("abc"), SLICE_LIT("ab")));
    assert_false(hash_equal(SLICE_LIT("abc"), SLICE_NONE));
}

static void
hmac_case(const struct json *group, const struct json *test, bool must_pass)
{
    struct slice key = wycheproof_hex(test, "key");
    struct slice message = wycheproof_hex(test, "msg");
    struct slice tag = wycheproof_hex(test, "tag");
    uint8_t out[HASH_SIZE];

    assert_int_equal(wycheproof_int(group, "tagSize"), tag.len * 8);
    assert_true(tag.len <= HASH_SIZE);
    hmac_sha256(key, message, out);
    wycheproof_expect(test, hash_equal(slice_of(out, tag.len), tag), must_pass);
    wycheproof_free(key);
    wycheproof_free(message);
    wycheproof_free(tag);
}

static void
hmac_agrees_with_wycheproof(void **state)
{
    (void)state;
    wycheproof_run("hmac_sha256_test.json", hmac_case);
}

static void
hkdf_case(const struct json *group, const struct json *test, bool must_pass)
{
    static uint8_t out[300 * HASH_SIZE];
    struct slice key = wycheproof_hex(test, "ikm");
    struct slice salt = wycheproof_hex(test, "salt");
    struct slice info = wycheproof_hex(test, "info");
    struct slice expected = wycheproof_hex(test, "okm");
    size_t size = (size_t)wycheproof_int(test, "size");
    bool passed;

    (void)group;
    assert_true(size <= sizeof(out));
    passed = hkdf_sha256(key, salt, info, out, size) == ERR_OK &&
             slice_eq(slice_of(out, size), expected);
    wycheproof_expect(test, passed, must_pass);
    wycheproof_free(key);
    wycheproof_free(salt);
    wycheproof_free(info);
    wycheproof_free(expected);
}

static void
hkdf_agrees_with_wycheproof(void **state)
{
    (void)state;
    wycheproof_run("hkdf_sha256_test.json", hkdf_case);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_gives_the_digests_of_fips_180),
        cmocka_unit_test(sha256_in_pieces_equals_sha256_at_once),
        cmocka_unit_test(hmac_gives_the_macs_of_rfc_4231),
        cmocka_unit_test(hmac_hashes_a_key_longer_than_a_block),
        cmocka_unit_test(hmac_final_wipes_the_state),
        cmocka_unit_test(hkdf_gives_the_keys_of_rfc_5869),
        cmocka_unit_test(hkdf_stops_at_255_blocks),
        cmocka_unit_test(equal_compares_length_and_bytes),
        cmocka_unit_test(hmac_agrees_with_wycheproof),
        cmocka_unit_test(hkdf_agrees_with_wycheproof),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
