#ifndef CRYPTO_KEY_H
#define CRYPTO_KEY_H

#include "base/err.h"
#include "base/json.h"
#include "base/slice.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* Asymmetric keys. A key knows its one algorithm: it is never taken from a message. */

enum key_alg {
    KEY_ES256, /* ECDSA P-256 with SHA-256, raw r||s (RFC 7518 section 3.4) */
    KEY_EDDSA, /* Ed25519 (RFC 8037) */
    KEY_RS256, /* RSASSA-PKCS1-v1_5 with SHA-256: verifying only */
    KEY_PS256, /* RSASSA-PSS with SHA-256, salt 32: verifying only */
};
const char *key_alg_name(enum key_alg alg); /* "ES256", "EdDSA", "RS256", "PS256" */
bool key_alg_parse(struct slice name, enum key_alg *out);

#define KEY_SIGNATURE_MAX 1024 /* RSA-8192 */
#define KEY_SIGN_SIZE 64       /* what our own two signing algorithms produce */
#define KEY_THUMBPRINT_SIZE 43 /* base64url of SHA-256 (RFC 7638) */
#define KEY_RSA_BITS_MIN 2048
#define KEY_RSA_BITS_MAX 8192

struct hash;
struct key; /* public, or public and private; immutable; safe to use from many threads */

/* New private key: KEY_ES256 or KEY_EDDSA only. Gives. */
MUST_USE enum err key_generate(enum key_alg alg, struct key **out);
/* From a PEM private key (PKCS#8 or SEC1). EC P-256 -> ES256, Ed25519 -> EdDSA, else
 * ERR_UNSUPPORTED. */
MUST_USE enum err key_from_private_pem(struct slice pem, struct key **out);
/* PKCS#8 PEM, unencrypted; out needs 1 KiB. ERR_FORBIDDEN: only the public part is there. */
MUST_USE enum err key_to_private_pem(const struct key *key, struct text *out);
/* From a public JWK (RFC 7517). Refused: symmetric keys, private members, a point off
 * the curve, RSA outside KEY_RSA_BITS_*, e < 65537 or even, "use" other than "sig",
 * "key_ops" without "verify", an "alg" that is none of ours or contradicts "kty".
 * RSA without "alg" is RS256. Ed25519 points of small order are refused as well.
 * ERR_FORBIDDEN: a symmetric key, a private member, RSA out of bounds. ERR_UNSUPPORTED:
 * kty, crv, alg, use or key_ops that we do not verify with. ERR_BADMSG: all else. */
MUST_USE enum err key_from_jwk(const struct json *jwk, struct key **out);
/* Raw Ed25519 public key of 32 bytes, or raw P-256 point of 65 (0x04...). */
MUST_USE enum err key_from_raw_public(enum key_alg alg, struct slice raw, struct key **out);
/* {"alg":..,"crv":..,"kid":..,"kty":..,"use":"sig","x":..,...}: the public part, in
 * RFC 8785 order. EC and OKP keys only. */
MUST_USE enum err key_to_jwk(const struct key *key, struct text *out);
void key_free(struct key **key);

enum key_alg key_algorithm(const struct key *key);
bool key_is_private(const struct key *key);
/* RFC 7638 thumbprint in base64url, NUL-terminated, computed once. */
const char *key_thumbprint(const struct key *key);

/* Signs into exactly KEY_SIGN_SIZE bytes. ERR_FORBIDDEN with a public key. */
MUST_USE enum err key_sign(const struct key *key, struct slice message, uint8_t out[KEY_SIGN_SIZE]);
/* The same for a caller that has hashed the message: `hashed` took exactly its bytes, and
 * stays as it is. (Ed25519 reads the message all the same.) */
MUST_USE enum err key_sign_hashed(const struct key *key, struct slice message,
                                  const struct hash *hashed, uint8_t out[KEY_SIGN_SIZE]);
/* ERR_OK only for a valid signature in its one allowed form; ERR_AUTH otherwise. */
MUST_USE enum err key_verify(const struct key *key, struct slice message, struct slice signature);

#endif
