#ifndef RESIDENCY_IDENTITY_IDENTITY_PRIV_H
#define RESIDENCY_IDENTITY_IDENTITY_PRIV_H

#include "base/jscan.h"
#include "crypto/jws.h"
#include "residency/identity/identity.h"

/* Between the files of this folder: one for each way to authenticate, one for what is
 * remembered, one for the local material. */

#define IDENTITY_SALT_SIZE 16
#define IDENTITY_KEY_SECRET_SIZE 43 /* characters: 32 bytes in b64url */

struct identity_issuer {
    char *id;
    struct jwks *set;
};

struct identity_api_row {
    char id[CHARTER_KEY_ID_MAX + 1];
    uint8_t salt[IDENTITY_SALT_SIZE];
    uint8_t sha256[HASH_SIZE]; /* of salt and key */
    int64_t not_after_ms;
};

struct identity_keys {
    struct identity_issuer *issuers; /* sorted by id */
    size_t issuer_count;
    struct identity_api_row *rows; /* sorted by id */
    size_t row_count;
    bool has_api_keys;
    uint8_t api_digest[HASH_SIZE]; /* of the file that the rows are from */
};

const struct jwks *identity_keys_issuer(const struct identity_keys *k, struct slice id);
const struct identity_api_row *identity_keys_api_row(const struct identity_keys *k,
                                                     struct slice id);
/* SHA-256 over salt and key. */
void identity_key_hash(const uint8_t salt[IDENTITY_SALT_SIZE], struct slice key,
                       uint8_t out[HASH_SIZE]);

/* What a verified credential came to, before it is asked whether the tenant takes it. */
struct identity_proof {
    struct identity identity;
    bool is_bound; /* the token names the certificate it may be used with */
    uint8_t binding[HASH_SIZE];
};

/* Finds what was proved by this credential; NULL when it is not remembered or ran out. */
const struct identity_proof *
identity_cache_get(struct identity_cache *c, const uint8_t credential[HASH_SIZE], int64_t now_ms);
/* A place for a new proof; the least recently used of its set gives way. */
struct identity_proof *identity_cache_put(struct identity_cache *c,
                                          const uint8_t credential[HASH_SIZE]);
/* Working room of this worker's token parser. */
struct jscan_keys *identity_cache_keys(struct identity_cache *c);
void *identity_cache_scratch(struct identity_cache *c); /* JWS_SIZE_MAX bytes */

/* Each verifies one kind of credential. *out is filled on IDENTITY_OK, undefined otherwise. */
enum identity_reason identity_token_verify(const struct charter *charter,
                                           const struct identity_keys *keys,
                                           struct identity_cache *cache, struct slice token,
                                           int64_t now_ms, struct identity_proof *out);
/* A connection may outlive its certificate, which only the handshake checked. */
bool identity_cert_in_time(const struct identity_facts *facts);
enum identity_reason identity_cert_match(const struct charter *charter,
                                         const struct identity_facts *facts, struct identity *out);
enum identity_reason identity_api_key_verify(const struct charter *charter,
                                             const struct identity_keys *keys, struct slice key,
                                             int64_t now_ms, struct identity *out);

/* Roles of the charter's own rows, which were checked at load. */
void identity_roles_copy(struct identity *out, const char *const *roles, size_t count);

#endif
