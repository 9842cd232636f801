/* Keys: how they come to be, what they are called, how they end. Their JWK form is in
 * key_jwk.c, signatures are in key_signature.c. */
#include "crypto/key_priv.h"

#include "base/check.h"
#include "crypto/hash.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include <stdlib.h>

#define PEM_MAX (64u << 10)
#define GROUP_NAME_MAX 32
#define P256_POINT_SIZE (1 + 2 * KEY_P256_SIZE)
#define RSA_E_MIN 65537
#define RSA_E_SIZE_MAX 8
#define THUMBPRINT_INPUT_MAX 2048 /* n of RSA-8192 in base64url is 1366 */

static const char *const alg_names[] = {
    [KEY_ES256] = "ES256",
    [KEY_EDDSA] = "EdDSA",
    [KEY_RS256] = "RS256",
    [KEY_PS256] = "PS256",
};

const char *
key_alg_name(enum key_alg alg)
{
    ASSERT((size_t)alg < ARRAY_COUNT(alg_names));
    return alg_names[alg];
}

bool
key_alg_parse(struct slice name, enum key_alg *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(alg_names); i++) {
        if (slice_is(name, alg_names[i])) {
            *out = (enum key_alg)i;
            return true;
        }
    }
    return false;
}

enum key_alg
key_algorithm(const struct key *key)
{
    return key->alg;
}

bool
key_is_private(const struct key *key)
{
    return key->is_private;
}

const char *
key_thumbprint(const struct key *key)
{
    return key->thumbprint;
}

static enum err
thumbprint(struct key *key)
{
    uint8_t storage[THUMBPRINT_INPUT_MAX], digest[HASH_SIZE];
    struct text t;
    enum err e;

    text_init(&t, storage, sizeof(storage));
    text_add_char(&t, '{');
    e = key_jwk_members(key, true, &t);
    if (e != ERR_OK)
        return e;
    text_add_char(&t, '}');
    if (NEVER(!text_ok(&t)))
        return ERR_TOOBIG;
    hash_sha256(text_slice(&t), digest);
    text_init(&t, key->thumbprint, KEY_THUMBPRINT_SIZE);
    text_add_b64url(&t, slice_of(digest, HASH_SIZE));
    ASSERT(text_ok(&t) && t.used == KEY_THUMBPRINT_SIZE);
    return ERR_OK;
}

enum err
key_wrap(EVP_PKEY *pkey, enum key_alg alg, bool is_private, struct key **out)
{
    struct key *key = calloc(1, sizeof(*key));
    enum err e;

    if (key == NULL) {
        EVP_PKEY_free(pkey);
        return ERR_NOMEM;
    }
    key->pkey = pkey;
    key->alg = alg;
    key->is_private = is_private;
    e = thumbprint(key);
    if (e == ERR_OK)
        e = key_contexts_prepare(key);
    if (e != ERR_OK) {
        key_free(&key);
        ERR_clear_error();
        return e;
    }
    *out = key;
    return ERR_OK;
}

void
key_free(struct key **key)
{
    if (*key == NULL)
        return;
    key_contexts_free(*key);
    EVP_PKEY_free((*key)->pkey); /* cleanses the private part with the last reference */
    free(*key);
    *key = NULL;
}

enum err
key_generate(enum key_alg alg, struct key **out)
{
    EVP_PKEY *pkey;

    if (alg == KEY_ES256)
        pkey = EVP_EC_gen("P-256");
    else if (alg == KEY_EDDSA)
        pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else
        return ERR_UNSUPPORTED;
    if (pkey == NULL) {
        ERR_clear_error();
        return ERR_CRYPTO;
    }
    return key_wrap(pkey, alg, true, out);
}

/* A curve that is written out in numbers instead of named is refused, even where the
 * numbers are those of P-256: nobody needs it and it has been forged before
 * (CVE-2020-0601). */
static bool
is_named_p256(const EVP_PKEY *pkey)
{
    char name[GROUP_NAME_MAX];
    size_t len;
    int explicit_curve = 0;

    if (EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) != 1)
        return false;
    if (EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                               &explicit_curve) == 1 &&
        explicit_curve != 0)
        return false;
    return strcmp(name, "prime256v1") == 0;
}

static bool
is_consistent(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool ok = ctx != NULL && EVP_PKEY_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

static bool
is_valid_public(EVP_PKEY *pkey)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    bool ok = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    return ok;
}

/* Keys of the node are plain files with tight permissions: no passphrase is asked for. */
static int
no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

enum err
key_from_private_pem(struct slice pem, struct key **out)
{
    EVP_PKEY *pkey = NULL;
    enum key_alg alg;
    BIO *bio;

    if (pem.len > PEM_MAX)
        return ERR_TOOBIG;
    if (pem.len == 0)
        return ERR_BADMSG;
    bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    if (bio == NULL)
        return ERR_NOMEM;
    pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (pkey == NULL) {
        ERR_clear_error();
        return ERR_BADMSG;
    }
    if (EVP_PKEY_is_a(pkey, "EC") && is_named_p256(pkey)) {
        alg = KEY_ES256;
    } else if (EVP_PKEY_is_a(pkey, "ED25519")) {
        alg = KEY_EDDSA;
    } else {
        EVP_PKEY_free(pkey);
        ERR_clear_error();
        return ERR_UNSUPPORTED;
    }
    if (!is_consistent(pkey)) {
        EVP_PKEY_free(pkey);
        ERR_clear_error();
        return ERR_BADMSG;
    }
    return key_wrap(pkey, alg, true, out);
}

enum err
key_to_private_pem(const struct key *key, struct text *out)
{
    BIO *bio;
    char *p = NULL;
    long len;
    bool ok;

    if (!key->is_private)
        return ERR_FORBIDDEN;
    bio = BIO_new(BIO_s_mem());
    if (bio == NULL)
        return ERR_NOMEM;
    ok = PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1;
    len = BIO_get_mem_data(bio, &p);
    if (ok && len > 0)
        text_add(out, slice_of(p, (size_t)len));
    if (len > 0)
        hash_wipe(p, (size_t)len);
    BIO_free(bio);
    if (!ok) {
        ERR_clear_error();
        return ERR_CRYPTO;
    }
    return text_ok(out) ? ERR_OK : ERR_TOOBIG;
}

/* Gives a public key from provider parameters, or NULL. */
static EVP_PKEY *
pkey_from_params(const char *type, OSSL_PARAM *params)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

static EVP_PKEY *
pkey_from_point(const uint8_t point[P256_POINT_SIZE])
{
    uint8_t copy[P256_POINT_SIZE];
    char group[] = "prime256v1";
    OSSL_PARAM params[3];

    memcpy(copy, point, P256_POINT_SIZE); /* parameters point to non-const bytes */
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0);
    params[1] = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy));
    params[2] = OSSL_PARAM_construct_end();
    return pkey_from_params("EC", params);
}

enum err
key_from_raw_public(enum key_alg alg, struct slice raw, struct key **out)
{
    EVP_PKEY *pkey;

    switch (alg) {
    case KEY_ES256:
        if (raw.len != P256_POINT_SIZE || raw.p[0] != 0x04)
            return ERR_BADMSG;
        pkey = pkey_from_point(raw.p);
        if (pkey != NULL && !is_valid_public(pkey)) {
            EVP_PKEY_free(pkey);
            pkey = NULL;
        }
        break;
    case KEY_EDDSA:
        if (raw.len != KEY_ED25519_SIZE || !key_ed25519_point_ok(raw.p))
            return ERR_BADMSG;
        pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, raw.p, raw.len);
        break;
    case KEY_RS256:
    case KEY_PS256:
    default:
        return ERR_UNSUPPORTED;
    }
    if (pkey == NULL) {
        ERR_clear_error();
        return ERR_BADMSG;
    }
    return key_wrap(pkey, alg, false, out);
}

static EVP_PKEY *
pkey_from_numbers(const BIGNUM *n, const BIGNUM *e)
{
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY *pkey = NULL;

    if (builder != NULL && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        params = OSSL_PARAM_BLD_to_param(builder);
    if (params != NULL)
        pkey = pkey_from_params("RSA", params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(builder);
    return pkey;
}

/* ENGINEERING section 3: 2048 bits and more, e odd and at least 65537; and e no wider
 * than a word, because verifying costs what e is long. */
static bool
rsa_in_range(const BIGNUM *n, const BIGNUM *e)
{
    int bits = BN_num_bits(n);

    return bits >= KEY_RSA_BITS_MIN && bits <= KEY_RSA_BITS_MAX && BN_is_odd(n) && BN_is_odd(e) &&
           BN_num_bytes(e) <= RSA_E_SIZE_MAX && BN_get_word(e) >= RSA_E_MIN;
}

enum err
key_from_rsa(enum key_alg alg, struct slice n, struct slice e, struct key **out)
{
    BIGNUM *n_number, *e_number;
    EVP_PKEY *pkey = NULL;
    enum err result = ERR_BADMSG;

    ASSERT(alg == KEY_RS256 || alg == KEY_PS256);
    if (n.len > KEY_RSA_BITS_MAX / 8 || e.len > KEY_RSA_BITS_MAX / 8)
        return ERR_FORBIDDEN;
    n_number = BN_bin2bn(n.p, (int)n.len, NULL);
    e_number = BN_bin2bn(e.p, (int)e.len, NULL);
    if (n_number == NULL || e_number == NULL) {
        result = ERR_NOMEM;
    } else if (!rsa_in_range(n_number, e_number)) {
        result = ERR_FORBIDDEN;
    } else {
        pkey = pkey_from_numbers(n_number, e_number);
        if (pkey != NULL && is_valid_public(pkey)) {
            result = key_wrap(pkey, alg, false, out);
            pkey = NULL;
        }
    }
    EVP_PKEY_free(pkey);
    BN_free(n_number);
    BN_free(e_number);
    if (result != ERR_OK)
        ERR_clear_error();
    return result;
}
