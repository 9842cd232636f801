#include "crypto/seal.h"

#include "base/check.h"
#include "unit/crypto/wycheproof.h"

#define PLAIN SLICE_LIT("the private key of this node")
#define PLAIN_SIZE (sizeof("the private key of this node") - 1)

static const uint8_t key[SEAL_KEY_SIZE] = {1, 2, 3};
static const uint8_t nonce[SEAL_NONCE_SIZE] = {9, 8, 7};

static void
what_was_sealed_opens(void **state)
{
    uint8_t cipher[PLAIN_SIZE], tag[SEAL_TAG_SIZE], plain[PLAIN_SIZE];

    (void)state;
    assert_int_equal(seal_encrypt(key, nonce, SLICE_LIT("aad"), PLAIN, cipher, tag), ERR_OK);
    assert_memory_not_equal(cipher, PLAIN.p, PLAIN_SIZE);
    assert_int_equal(
        seal_decrypt(key, nonce, SLICE_LIT("aad"), slice_of(cipher, PLAIN_SIZE), tag, plain),
        ERR_OK);
    assert_memory_equal(plain, PLAIN.p, PLAIN_SIZE);
}

static void
an_empty_text_is_sealed_by_its_tag(void **state)
{
    uint8_t tag[SEAL_TAG_SIZE], none[1] = {0xee};

    (void)state;
    assert_int_equal(seal_encrypt(key, nonce, SLICE_LIT("a"), SLICE_NONE, none, tag), ERR_OK);
    assert_int_equal(seal_decrypt(key, nonce, SLICE_LIT("a"), SLICE_NONE, tag, none), ERR_OK);
    assert_int_equal(seal_decrypt(key, nonce, SLICE_LIT("b"), SLICE_NONE, tag, none), ERR_AUTH);
    assert_int_equal(none[0], 0xee);
}

/* Each case changes one bit of one thing. */
static void
any_change_is_refused_and_the_output_wiped(void **state)
{
    static const uint8_t zero[PLAIN_SIZE];
    uint8_t k[SEAL_KEY_SIZE], n[SEAL_NONCE_SIZE], a[3] = {'a', 'a', 'd'};
    uint8_t cipher[PLAIN_SIZE], tag[SEAL_TAG_SIZE], plain[PLAIN_SIZE];
    uint8_t *const changed[] = {k, n, a, cipher, tag};

    (void)state;
    memcpy(k, key, sizeof(k));
    memcpy(n, nonce, sizeof(n));
    assert_int_equal(seal_encrypt(k, n, slice_of(a, 3), PLAIN, cipher, tag), ERR_OK);
    for (size_t i = 0; i < ARRAY_COUNT(changed); i++) {
        *changed[i] ^= 0x10;
        memset(plain, 0xaa, sizeof(plain));
        assert_int_equal(
            seal_decrypt(k, n, slice_of(a, 3), slice_of(cipher, PLAIN_SIZE), tag, plain), ERR_AUTH);
        assert_memory_equal(plain, zero, PLAIN_SIZE);
        *changed[i] ^= 0x10;
    }
    assert_int_equal(seal_decrypt(k, n, slice_of(a, 3), slice_of(cipher, PLAIN_SIZE), tag, plain),
                     ERR_OK);
}

static void
sealed_text_of_another_length_is_refused(void **state)
{
    uint8_t cipher[PLAIN_SIZE], tag[SEAL_TAG_SIZE], plain[PLAIN_SIZE];

    (void)state;
    assert_int_equal(seal_encrypt(key, nonce, SLICE_NONE, PLAIN, cipher, tag), ERR_OK);
    assert_int_equal(
        seal_decrypt(key, nonce, SLICE_NONE, slice_of(cipher, PLAIN_SIZE - 1), tag, plain),
        ERR_AUTH);
}

static unsigned cases_run;

static void
aes_case(const struct json *group, const struct json *test, bool must_pass)
{
    struct slice k, iv, aad, message, ct, tag;
    uint8_t *out, made[SEAL_TAG_SIZE];
    bool opened;

    if (wycheproof_int(group, "keySize") != 256 || wycheproof_int(group, "ivSize") != 96)
        return; /* other sizes can't be asked for */
    k = wycheproof_hex(test, "key");
    iv = wycheproof_hex(test, "iv");
    aad = wycheproof_hex(test, "aad");
    message = wycheproof_hex(test, "msg");
    ct = wycheproof_hex(test, "ct");
    tag = wycheproof_hex(test, "tag");
    out = malloc(ct.len + 1);
    assert_non_null(out);
    assert_int_equal(tag.len, SEAL_TAG_SIZE);
    opened = seal_decrypt(k.p, iv.p, aad, ct, tag.p, out) == ERR_OK &&
             slice_eq(slice_of(out, ct.len), message);
    wycheproof_expect(test, opened, must_pass);
    if (must_pass) {
        assert_int_equal(seal_encrypt(k.p, iv.p, aad, message, out, made), ERR_OK);
        assert_true(slice_eq(slice_of(out, ct.len), ct));
        assert_memory_equal(made, tag.p, SEAL_TAG_SIZE);
    }
    cases_run++;
    free(out);
    wycheproof_free(k);
    wycheproof_free(iv);
    wycheproof_free(aad);
    wycheproof_free(message);
    wycheproof_free(ct);
    wycheproof_free(tag);
}

static void
aes_256_gcm_agrees_with_wycheproof(void **state)
{
    (void)state;
    wycheproof_run("aes_gcm_test.json", aes_case);
    assert_int_equal(cases_run, 66);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_opens),
        cmocka_unit_test(an_empty_text_is_sealed_by_its_tag),
        cmocka_unit_test(any_change_is_refused_and_the_output_wiped),
        cmocka_unit_test(sealed_text_of_another_length_is_refused),
        cmocka_unit_test(aes_256_gcm_agrees_with_wycheproof),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
