#ifndef CRYPTO_JWS_H
#define CRYPTO_JWS_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/key.h"

/* Strict compact JWS (RFC 7515 section 3.1, RFC 8725). */

#define JWS_SIZE_MAX 8192
#define JWS_KID_MAX 128

struct jscan_keys;

struct jws {
    struct slice signing_input; /* header "." payload, as received */
    struct slice kid;           /* empty when absent; points into scratch */
    struct slice typ;           /* empty when absent; points into scratch */
    enum key_alg alg;           /* what the header says: must equal the key's */
    struct slice payload;       /* decoded; points into scratch */
    uint8_t signature[KEY_SIGNATURE_MAX];
    size_t signature_len;
};

/* Splits and decodes; verifies nothing. Two dots, no empty part, strict base64url,
 * header checked by the strict scanner: an object with "alg" one of ours; "jku" "x5u"
 * "x5c" "jwk" "crit" "b64" "cty" "zip" refused; kid and typ strings that are not empty.
 * keys is lent for the call (one per thread). scratch (at least JWS_SIZE_MAX bytes) holds
 * decoded header and payload and is borrowed as long as *out.
 * ERR_BADMSG, ERR_TOOBIG, ERR_UNSUPPORTED (alg). */
MUST_USE enum err jws_parse(struct slice token, struct jscan_keys *keys, void *scratch,
                            size_t scratch_size, struct jws *out);
/* Header alg must equal the key's and the signature verify, else ERR_AUTH. */
MUST_USE enum err jws_verify(const struct jws *jws, const struct key *key);

/* Appends header.payload.signature with header {"alg":..,"kid":thumbprint,"typ":typ}.
 * jws_header writes the encoded header once, for callers that sign often. */
MUST_USE enum err jws_header(const struct key *key, const char *typ, struct text *out);
MUST_USE enum err jws_sign(const struct key *key, struct slice encoded_header, struct slice payload,
                           struct text *out);
/* The same, and the SHA-256 of what was appended: its signing input is hashed once for both. */
MUST_USE enum err jws_sign_hashed(const struct key *key, struct slice encoded_header,
                                  struct slice payload, struct text *out, uint8_t hash[HASH_SIZE]);

/* A JWK set (RFC 7517 section 5). Refused whole: a duplicate kid, a key without kid
 * when there is more than one, a symmetric or private or weak or malformed key, more
 * than JWKS_KEYS_MAX keys. Keys with use "enc", and those of types, curves or algorithms
 * that we do not verify with, are skipped; a set without usable keys is a set (that is
 * how an issuer withdraws them all). ERR_BADMSG, ERR_FORBIDDEN, ERR_TOOBIG, ERR_NOMEM;
 * *why is then a static text. */
#define JWKS_TEXT_MAX (256u << 10)
#define JWKS_KEYS_MAX 64
struct jwks;
MUST_USE enum err jwks_parse(struct slice text, struct jwks **out, const char **why);
void jwks_free(struct jwks **set);
/* By kid; with an empty kid the only key. NULL when there is none. Borrowed. */
const struct key *jwks_find(const struct jwks *set, struct slice kid);
size_t jwks_count(const struct jwks *set);
/* SHA-256 over the text it was parsed from: for the control log. */
const uint8_t *jwks_digest(const struct jwks *set);

#endif
