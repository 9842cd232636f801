#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

/* SHA-256 (FIPS 180-4), HMAC (RFC 2104) and HKDF (RFC 5869), all over SHA-256. */

#define HASH_SIZE 32

/* Of one text. Aborts only when OpenSSL has no SHA-256 at all. */
void hash_sha256(struct slice s, uint8_t out[HASH_SIZE]);

/* Of a text that comes in pieces. The state is plain and can be embedded, copied
 * and dropped at any time; nothing is allocated. */
struct hash {
    _Alignas(8) uint8_t state[112]; /* SHA256_CTX inside; size checked in hash.c */
};
void hash_init(struct hash *h);
void hash_add(struct hash *h, struct slice s);
void hash_final(struct hash *h, uint8_t out[HASH_SIZE]);

/* HMAC in pieces; plain state, no allocation. Cleanse with hmac_final or hmac_wipe. */
struct hmac {
    struct hash inner;
    struct hash outer;
};
void hmac_init(struct hmac *m, struct slice key);
void hmac_add(struct hmac *m, struct slice s);
void hmac_final(struct hmac *m, uint8_t out[HASH_SIZE]); /* wipes m */
void hmac_wipe(struct hmac *m);
void hmac_sha256(struct slice key, struct slice s, uint8_t out[HASH_SIZE]);

/* HKDF extract-and-expand. out_len <= 255 * 32, else ERR_TOOBIG. */
MUST_USE enum err hkdf_sha256(struct slice key, struct slice salt, struct slice info, uint8_t *out,
                              size_t out_len);

/* Constant-time comparison of equal lengths; false on different lengths. */
bool hash_equal(struct slice a, struct slice b);
/* Overwrites secrets in a way the compiler keeps. */
void hash_wipe(void *p, size_t len);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4), continued from crc (0 at the start). */
uint32_t hash_crc32c(uint32_t crc, struct slice s);
/* The same without the processor's instruction: what other processors run. */
uint32_t hash_crc32c_portable(uint32_t crc, struct slice s);

#endif
