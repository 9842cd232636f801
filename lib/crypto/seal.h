#ifndef CRYPTO_SEAL_H
#define CRYPTO_SEAL_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

/* AES-256-GCM (NIST SP 800-38D): keys at rest under another key. */

#define SEAL_KEY_SIZE 32
#define SEAL_NONCE_SIZE 12
#define SEAL_TAG_SIZE 16

/* out gets plain.len bytes, tag the authentication tag; nonce must be fresh. */
MUST_USE enum err seal_encrypt(const uint8_t key[SEAL_KEY_SIZE],
                               const uint8_t nonce[SEAL_NONCE_SIZE], struct slice aad,
                               struct slice plain, uint8_t *out, uint8_t tag[SEAL_TAG_SIZE]);
/* ERR_AUTH when key, nonce, aad, bytes or tag do not belong together; out is wiped. */
MUST_USE enum err seal_decrypt(const uint8_t key[SEAL_KEY_SIZE],
                               const uint8_t nonce[SEAL_NONCE_SIZE], struct slice aad,
                               struct slice cipher, const uint8_t tag[SEAL_TAG_SIZE], uint8_t *out);

#endif
