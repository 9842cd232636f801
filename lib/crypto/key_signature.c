/* Signing and verifying. Each call works on its own duplicate of a prepared context. */
#include "crypto/key_priv.h"

#include "base/check.h"
#include "crypto/hash.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define DER_SIZE_MAX 80 /* two integers of at most 33 bytes with their heads: 72 */
#define PSS_SALT_SIZE 32

/* The order of the base point of P-256 (FIPS 186-5, SP 800-186 section 3.2.1.3). */
static const uint8_t p256_order[KEY_P256_SIZE] = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
};

/* ---- Contexts ------------------------------------------------------------------ */

static enum err
prepare_ed(struct key *key)
{
    key->ed_verifier = EVP_MD_CTX_new();
    if (key->ed_verifier == NULL)
        return ERR_NOMEM;
    if (EVP_DigestVerifyInit_ex(key->ed_verifier, NULL, NULL, NULL, NULL, key->pkey, NULL) != 1)
        return ERR_CRYPTO;
    if (!key->is_private)
        return ERR_OK;
    key->ed_signer = EVP_MD_CTX_new();
    if (key->ed_signer == NULL)
        return ERR_NOMEM;
    if (EVP_DigestSignInit_ex(key->ed_signer, NULL, NULL, NULL, NULL, key->pkey, NULL) != 1)
        return ERR_CRYPTO;
    return ERR_OK;
}

static bool
set_rsa(EVP_PKEY_CTX *ctx, enum key_alg alg)
{
    if (alg == KEY_RS256)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
               EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, PSS_SALT_SIZE) == 1;
}

enum err
key_contexts_prepare(struct key *key)
{
    if (key->alg == KEY_EDDSA)
        return prepare_ed(key);
    key->verifier = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
    if (key->verifier == NULL || EVP_PKEY_verify_init(key->verifier) != 1)
        return ERR_CRYPTO;
    if (key->alg != KEY_ES256)
        return set_rsa(key->verifier, key->alg) ? ERR_OK : ERR_CRYPTO;
    if (!key->is_private)
        return ERR_OK;
    key->kept = calloc(1, sizeof(*key->kept));
    if (key->kept == NULL)
        return ERR_NOMEM;
    key->signer = EVP_PKEY_CTX_new_from_pkey(NULL, key->pkey, NULL);
    if (key->signer == NULL || EVP_PKEY_sign_init(key->signer) != 1)
        return ERR_CRYPTO;
    return ERR_OK;
}

void
key_contexts_free(struct key *key)
{
    for (size_t i = 0; key->kept != NULL && i < KEY_SIGNERS_KEPT; i++)
        EVP_PKEY_CTX_free(atomic_exchange(&key->kept->places[i], NULL));
    free(key->kept);
    key->kept = NULL;
    EVP_PKEY_CTX_free(key->signer);
    EVP_PKEY_CTX_free(key->verifier);
    EVP_MD_CTX_free(key->ed_signer);
    EVP_MD_CTX_free(key->ed_verifier);
    key->signer = NULL;
    key->verifier = NULL;
    key->ed_signer = NULL;
    key->ed_verifier = NULL;
}

/* ---- ES256: raw r||s outside, DER inside ------------------------------------------ */

/* One positive INTEGER of at most 32 bytes (X.690 section 8.3), to 32 bytes. */
static bool
take_der_integer(struct slice *der, uint8_t out[KEY_P256_SIZE])
{
    struct slice value;

    if (der->len < 2 || der->p[0] != 0x02 || der->p[1] == 0 || der->p[1] > der->len - 2)
        return false;
    value = slice_sub(*der, 2, der->p[1]);
    *der = slice_sub(*der, 2 + (size_t)der->p[1], der->len);
    while (value.len > 1 && value.p[0] == 0)
        value = slice_sub(value, 1, value.len);
    if (value.len > KEY_P256_SIZE)
        return false;
    memset(out, 0, KEY_P256_SIZE);
    memcpy(out + KEY_P256_SIZE - value.len, value.p, value.len);
    return true;
}

/* Of OpenSSL's own making, so its form is known: a SEQUENCE of two INTEGERs. */
static enum err
raw_from_der(struct slice der, uint8_t out[KEY_SIGN_SIZE])
{
    if (der.len < 2 || der.p[0] != 0x30 || der.p[1] != der.len - 2)
        return ERR_CRYPTO;
    der = slice_sub(der, 2, der.len);
    if (!take_der_integer(&der, out) || !take_der_integer(&der, out + KEY_P256_SIZE) ||
        der.len != 0)
        return ERR_CRYPTO;
    return ERR_OK;
}

static EVP_PKEY_CTX *
signer_take(const struct key *key)
{
    for (size_t i = 0; i < KEY_SIGNERS_KEPT; i++) {
        EVP_PKEY_CTX *ctx = atomic_exchange(&key->kept->places[i], NULL);

        if (ctx != NULL)
            return ctx;
    }
    return EVP_PKEY_CTX_dup(key->signer);
}

static void
signer_leave(const struct key *key, EVP_PKEY_CTX *ctx)
{
    for (size_t i = 0; i < KEY_SIGNERS_KEPT; i++) {
        EVP_PKEY_CTX *none = NULL;

        if (atomic_compare_exchange_strong(&key->kept->places[i], &none, ctx))
            return;
    }
    EVP_PKEY_CTX_free(ctx);
}

static enum err
sign_es256(const struct key *key, struct hash hashed, uint8_t out[KEY_SIGN_SIZE])
{
    uint8_t digest[HASH_SIZE], der[DER_SIZE_MAX];
    size_t len = sizeof(der);
    EVP_PKEY_CTX *ctx = signer_take(key);

    if (ctx == NULL)
        return ERR_NOMEM;
    hash_final(&hashed, digest);
    if (EVP_PKEY_sign(ctx, der, &len, digest, sizeof(digest)) != 1) {
        EVP_PKEY_CTX_free(ctx); /* in an unknown state */
        return ERR_CRYPTO;
    }
    signer_leave(key, ctx);
    return raw_from_der(slice_of(der, len), out);
}

/* 1 <= v < n. Nothing here is secret, so the comparison may take what time it likes. */
static bool
in_range(const uint8_t v[KEY_P256_SIZE])
{
    static const uint8_t zero[KEY_P256_SIZE];

    return memcmp(v, zero, KEY_P256_SIZE) != 0 && memcmp(v, p256_order, KEY_P256_SIZE) < 0;
}

/* A positive INTEGER: no zero in front, except before a byte that would read as a sign. */
static void
add_der_integer(struct text *out, const uint8_t v[KEY_P256_SIZE])
{
    size_t skip = 0;
    bool padded;

    while (skip < KEY_P256_SIZE - 1 && v[skip] == 0)
        skip++;
    padded = (v[skip] & 0x80) != 0;
    text_add_char(out, 0x02);
    text_add_char(out, (char)(KEY_P256_SIZE - skip + (padded ? 1 : 0)));
    if (padded)
        text_add_char(out, 0);
    text_add(out, slice_of(v + skip, KEY_P256_SIZE - skip));
}

/* The SEQUENCE of two INTEGERs that OpenSSL takes; s is 64 bytes. Returns its length. */
static size_t
der_from_raw(struct slice raw, uint8_t out[DER_SIZE_MAX])
{
    struct text t;

    text_init(&t, out, DER_SIZE_MAX);
    text_add_char(&t, 0x30);
    text_add_char(&t, 0); /* the length, known below; always under 128 */
    add_der_integer(&t, raw.p);
    add_der_integer(&t, raw.p + KEY_P256_SIZE);
    ASSERT(text_ok(&t));
    out[1] = (uint8_t)(t.used - 2);
    return t.used;
}

/* ---- Both forms of verifying ------------------------------------------------------ */

static enum err
verify_digest(const struct key *key, struct slice message, struct slice signature)
{
    uint8_t digest[HASH_SIZE];
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_dup(key->verifier);
    int ok;

    if (ctx == NULL)
        return ERR_NOMEM;
    hash_sha256(message, digest);
    ok = EVP_PKEY_verify(ctx, signature.p, signature.len, digest, sizeof(digest));
    EVP_PKEY_CTX_free(ctx);
    return ok == 1 ? ERR_OK : ERR_AUTH;
}

static enum err
verify_es256(const struct key *key, struct slice message, struct slice signature)
{
    uint8_t der[DER_SIZE_MAX];

    if (signature.len != 2 * KEY_P256_SIZE || !in_range(signature.p) ||
        !in_range(signature.p + KEY_P256_SIZE))
        return ERR_AUTH;
    return verify_digest(key, message, slice_of(der, der_from_raw(signature, der)));
}

static enum err
verify_rsa(const struct key *key, struct slice message, struct slice signature)
{
    int size = EVP_PKEY_get_size(key->pkey);

    if (size <= 0 || signature.len != (size_t)size)
        return ERR_AUTH;
    return verify_digest(key, message, signature);
}

/* ---- EdDSA: one shot over the whole message --------------------------------------- */

/* Gives a context to work with, or NULL. */
static EVP_MD_CTX *
duplicate(const EVP_MD_CTX *prepared)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    if (ctx != NULL && EVP_MD_CTX_copy_ex(ctx, prepared) != 1) {
        EVP_MD_CTX_free(ctx);
        ctx = NULL;
    }
    return ctx;
}

static enum err
sign_eddsa(const struct key *key, struct slice message, uint8_t out[KEY_SIGN_SIZE])
{
    static const uint8_t nothing[1];
    size_t len = KEY_SIGN_SIZE;
    EVP_MD_CTX *ctx = duplicate(key->ed_signer);
    int ok;

    if (ctx == NULL)
        return ERR_NOMEM;
    ok = EVP_DigestSign(ctx, out, &len, message.len == 0 ? nothing : message.p, message.len);
    EVP_MD_CTX_free(ctx);
    return ok == 1 && len == KEY_SIGN_SIZE ? ERR_OK : ERR_CRYPTO;
}

static enum err
verify_eddsa(const struct key *key, struct slice message, struct slice signature)
{
    static const uint8_t nothing[1];
    EVP_MD_CTX *ctx;
    int ok;

    if (signature.len != KEY_SIGN_SIZE)
        return ERR_AUTH;
    ctx = duplicate(key->ed_verifier);
    if (ctx == NULL)
        return ERR_NOMEM;
    ok = EVP_DigestVerify(ctx, signature.p, signature.len, message.len == 0 ? nothing : message.p,
                          message.len);
    EVP_MD_CTX_free(ctx);
    return ok == 1 ? ERR_OK : ERR_AUTH;
}

/* ---- Dispatch ----------------------------------------------------------------------- */

enum err
key_sign(const struct key *key, struct slice message, uint8_t out[KEY_SIGN_SIZE])
{
    struct hash hashed;

    hash_init(&hashed);
    hash_add(&hashed, message);
    return key_sign_hashed(key, message, &hashed, out);
}

enum err
key_sign_hashed(const struct key *key, struct slice message, const struct hash *hashed,
                uint8_t out[KEY_SIGN_SIZE])
{
    enum err e;

    if (!key->is_private)
        return ERR_FORBIDDEN;
    if (key->alg == KEY_ES256)
        e = sign_es256(key, *hashed, out);
    else if (key->alg == KEY_EDDSA)
        e = sign_eddsa(key, message, out);
    else
        e = ERR_UNSUPPORTED;
    if (e != ERR_OK)
        ERR_clear_error();
    return e;
}

enum err
key_verify(const struct key *key, struct slice message, struct slice signature)
{
    enum err e;

    switch (key->alg) {
    case KEY_ES256:
        e = verify_es256(key, message, signature);
        break;
    case KEY_EDDSA:
        e = verify_eddsa(key, message, signature);
        break;
    case KEY_RS256:
    case KEY_PS256:
    default:
        e = verify_rsa(key, message, signature);
        break;
    }
    if (e != ERR_OK)
        ERR_clear_error(); /* a stale entry would mislead the next SSL_get_error() */
    return e;
}
