#include "crypto/seal.h"

#include "crypto/hash.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>

/* EVP counts in int; what is sealed here are keys and small records. */
static bool
fits(struct slice aad, struct slice bytes)
{
    return aad.len <= INT_MAX && bytes.len <= INT_MAX;
}

static bool
encrypt(EVP_CIPHER_CTX *ctx, struct slice aad, struct slice plain, uint8_t *out,
        uint8_t tag[SEAL_TAG_SIZE])
{
    int n;

    if (aad.len > 0 && EVP_EncryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) != 1)
        return false;
    if (plain.len > 0 && EVP_EncryptUpdate(ctx, out, &n, plain.p, (int)plain.len) != 1)
        return false;
    return EVP_EncryptFinal_ex(ctx, tag, &n) == 1 && n == 0 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_SIZE, tag) == 1;
}

enum err
seal_encrypt(const uint8_t key[SEAL_KEY_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE],
             struct slice aad, struct slice plain, uint8_t *out, uint8_t tag[SEAL_TAG_SIZE])
{
    EVP_CIPHER_CTX *ctx;
    bool ok;

    if (!fits(aad, plain))
        return ERR_TOOBIG;
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL)
        return ERR_NOMEM;
    /* GCM's nonce is 12 bytes unless told otherwise. */
    ok = EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), key, nonce, NULL) == 1 &&
         encrypt(ctx, aad, plain, out, tag);
    EVP_CIPHER_CTX_free(ctx);
    if (!ok) {
        hash_wipe(out, plain.len);
        ERR_clear_error();
    }
    return ok ? ERR_OK : ERR_CRYPTO;
}

static enum err
decrypt(EVP_CIPHER_CTX *ctx, struct slice aad, struct slice cipher,
        const uint8_t tag[SEAL_TAG_SIZE], uint8_t *out)
{
    uint8_t expected[SEAL_TAG_SIZE], rest[SEAL_TAG_SIZE];
    int n;

    memcpy(expected, tag, SEAL_TAG_SIZE); /* the control call takes no const */
    if (aad.len > 0 && EVP_DecryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) != 1)
        return ERR_CRYPTO;
    if (cipher.len > 0 && EVP_DecryptUpdate(ctx, out, &n, cipher.p, (int)cipher.len) != 1)
        return ERR_CRYPTO;
    if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_SIZE, expected) != 1)
        return ERR_CRYPTO;
    return EVP_DecryptFinal_ex(ctx, rest, &n) == 1 ? ERR_OK : ERR_AUTH;
}

enum err
seal_decrypt(const uint8_t key[SEAL_KEY_SIZE], const uint8_t nonce[SEAL_NONCE_SIZE],
             struct slice aad, struct slice cipher, const uint8_t tag[SEAL_TAG_SIZE], uint8_t *out)
{
    EVP_CIPHER_CTX *ctx;
    enum err e = ERR_CRYPTO;

    if (!fits(aad, cipher))
        return ERR_TOOBIG;
    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL)
        return ERR_NOMEM;
    if (EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), key, nonce, NULL) == 1)
        e = decrypt(ctx, aad, cipher, tag, out);
    EVP_CIPHER_CTX_free(ctx);
    if (e != ERR_OK) {
        hash_wipe(out, cipher.len);
        ERR_clear_error();
    }
    return e;
}
