#ifndef CRYPTO_KEY_PRIV_H
#define CRYPTO_KEY_PRIV_H

#include "crypto/key.h"

/* OpenSSL's structs by their tags, so that its headers stay inside the .c files. */
struct evp_pkey_st;
struct evp_pkey_ctx_st;
struct evp_md_ctx_st;

#define KEY_P256_SIZE 32    /* one coordinate, r, s or the private scalar */
#define KEY_ED25519_SIZE 32 /* a public key */

#define KEY_SIGNERS_KEPT 8 /* duplicates that wait for the next signature */

struct key_signers {
    _Atomic(struct evp_pkey_ctx_st *) places[KEY_SIGNERS_KEPT];
};

/* The contexts are prepared once and only duplicated afterwards: looking algorithms up
 * by name costs a quarter of a signature. Whoever signs owns his duplicate, and leaves it
 * in a free place of `kept` for the next; nothing else changes after key_wrap(), which is
 * what lets threads share a key. */
struct key {
    enum key_alg alg;
    bool is_private;
    struct evp_pkey_st *pkey;
    struct evp_pkey_ctx_st *signer;   /* ES256, private only */
    struct key_signers *kept;         /* its duplicates */
    struct evp_pkey_ctx_st *verifier; /* all but EdDSA */
    struct evp_md_ctx_st *ed_signer;  /* EdDSA, private only */
    struct evp_md_ctx_st *ed_verifier;
    char thumbprint[KEY_THUMBPRINT_SIZE + 1];
};

/* Takes pkey, whose type the caller has matched to alg. */
MUST_USE enum err key_wrap(struct evp_pkey_st *pkey, enum key_alg alg, bool is_private,
                           struct key **out);
/* Fills the contexts of key; key_contexts_free() undoes it, done in part or not at all. */
MUST_USE enum err key_contexts_prepare(struct key *key);
void key_contexts_free(struct key *key);

/* Appends the required members of the public JWK in lexical order, without braces:
 * {"crv"..."y"} is what RFC 7638 hashes. alg and use go where RFC 8785 wants them. */
MUST_USE enum err key_jwk_members(const struct key *key, bool for_thumbprint, struct text *out);

/* RSA public key from big-endian numbers, range-checked as key_from_jwk() promises. */
MUST_USE enum err key_from_rsa(enum key_alg alg, struct slice n, struct slice e, struct key **out);

/* Whether 32 bytes are the one canonical encoding of a point on edwards25519 whose
 * order is not 1, 2, 4 or 8: with such a key a signature can fit any message. */
bool key_ed25519_point_ok(const uint8_t point[KEY_ED25519_SIZE]);

#endif
