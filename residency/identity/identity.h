#ifndef RESIDENCY_IDENTITY_IDENTITY_H
#define RESIDENCY_IDENTITY_IDENTITY_H

#include "base/err.h"
#include "base/issue.h"
#include "base/slice.h"
#include "crypto/cert.h"
#include "residency/charter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who calls: from what the connection and the head prove to tenant, subject and roles
 * (DESIGN section 6, ENGINEERING section 3). Opens no sockets; time is an argument. */

#define IDENTITY_SUBJECT_MAX 512
#define IDENTITY_ROLES_MAX 32
#define IDENTITY_ISSUER_MAX 255
#define IDENTITY_SKEW_S 60
#define IDENTITY_API_KEY_MAX 128

/* X(enum, reason, words): all of them are answered with `unauthenticated` 401. */
#define IDENTITY_REASON_LIST(X)                                                                   \
    X(IDENTITY_OK, "ok", "authenticated")                                                         \
    X(IDENTITY_MISSING, "credential_missing", "no credential was given")                          \
    X(IDENTITY_MALFORMED, "credential_malformed", "the credential is malformed")                  \
    X(IDENTITY_ISSUER, "issuer_unknown", "the token's issuer is not known here")                  \
    X(IDENTITY_KEY, "key_unknown", "the token's key is not known")                                \
    X(IDENTITY_SIGNATURE, "signature_invalid", "the token's signature does not verify")           \
    X(IDENTITY_AUDIENCE, "audience_wrong", "the token is meant for another audience")             \
    X(IDENTITY_EXPIRED, "token_expired", "the credential is outside its time of validity")        \
    X(IDENTITY_LIFETIME, "lifetime_too_long", "the token lives longer than its issuer may grant") \
    X(IDENTITY_CLAIMS, "claims_invalid", "a claim is missing or malformed")                       \
    X(IDENTITY_TENANT, "tenant_unknown", "the tenant is not in the charter")                      \
    X(IDENTITY_SPEAKS_NOT, "speaks_for_another", "the issuer may not speak for this tenant")      \
    X(IDENTITY_CERT, "certificate_unknown", "the client certificate belongs to no tenant")        \
    X(IDENTITY_BINDING, "binding_wrong", "the token is bound to another certificate")             \
    X(IDENTITY_API_KEY, "api_key_unknown", "the API key is not known")                            \
    X(IDENTITY_METHOD, "method_not_allowed", "the tenant requires another way to authenticate")
#define IDENTITY_ENUM_ROW(name, reason, words) name,
enum identity_reason { IDENTITY_REASON_LIST(IDENTITY_ENUM_ROW) IDENTITY_REASON_COUNT };
#undef IDENTITY_ENUM_ROW
const char *identity_reason_name(enum identity_reason r);
const char *identity_reason_words(enum identity_reason r);

struct identity {
    uint32_t tenant;                    /* index in the charter */
    enum charter_auth auth;             /* the one method that counted */
    char subject[IDENTITY_SUBJECT_MAX]; /* "jwt:<iss>|<sub>", "mtls:<identity>", "key:<subject>" */
    char roles[IDENTITY_ROLES_MAX][CHARTER_NAME_MAX + 1];
    size_t role_count;
    int64_t expires_ms; /* of the credential; INT64_MAX for certificates and keys without end */
};

/* The local material: key sets of issuers and salted hashes of API keys. Immutable. */
struct identity_keys;
struct identity_keys_opts {
    /* Parallel lists: issuer ids of the node config and the text of their JWKS files. */
    const char *const *issuers;
    const char *const *jwks_files; /* paths, for faults; read by the caller into: */
    const struct slice *jwks_texts;
    size_t issuer_count;
    const char *api_keys_file;  /* path for faults, or NULL */
    struct slice api_keys_text; /* {"v":1,"keys":[{"id","salt","sha256","created","not_after"?}]} */
};
MUST_USE enum err identity_keys_load(const struct identity_keys_opts *opts, struct issues *issues,
                                     struct identity_keys **out);
void identity_keys_free(struct identity_keys **k);
/* What is there: issuers and API keys by their names; keys in byte order, NULL at the end. */
bool identity_keys_has_issuer(const struct identity_keys *k, struct slice id);
bool identity_keys_has_api_key(const struct identity_keys *k, struct slice id);
const char *identity_keys_api_id(const struct identity_keys *k, size_t i);
/* For the control record (docs/formats.md section 5). SHA-256 over the JCS form of
 * {"<issuer>":"<b64url SHA-256 of its key set's text>",...}: of one length, however many. */
void identity_keys_issuers_digest(const struct identity_keys *k, uint8_t out[HASH_SIZE]);
/* SHA-256 of the API keys' text; NULL without one. */
const uint8_t *identity_keys_api_digest(const struct identity_keys *k);

/* Remembers verified tokens by their SHA-256 until they expire; one per worker. Any change
 * of charter or keys needs identity_cache_clear(). Bounded, oldest give way. */
struct identity_cache;
MUST_USE enum err identity_cache_new(size_t count_max, struct identity_cache **out);
void identity_cache_free(struct identity_cache **c);
void identity_cache_clear(struct identity_cache *c);

struct identity_facts {
    struct slice authorization;        /* the field's value; p == NULL when absent */
    struct slice api_key;              /* X-Api-Key's value; p == NULL when absent */
    size_t authorization_count;        /* how many such fields: more than one is malformed */
    size_t api_key_count;              /* likewise */
    const struct cert_facts *cert;     /* of a verified client certificate, or NULL */
    const uint8_t (*chain)[HASH_SIZE]; /* SHA-256 of the verified chain, leaf first */
    size_t chain_count;
    int64_t now_ms;
};
/* A bearer value that starts with IDENTITY_API_KEY_PREFIX is an API key, anything else a
 * JWT. On IDENTITY_OK *out is filled; otherwise *out is untouched. */
#define IDENTITY_API_KEY_PREFIX "ptk_"
enum identity_reason identify(const struct charter *charter, const struct identity_keys *keys,
                              struct identity_cache *cache, const struct identity_facts *facts,
                              struct identity *out);

/* A new API key: "ptk_<id>_<43 characters>" into key, and its JSON row (salt, hash) into
 * row. id: [a-z0-9]{1,32}. */
MUST_USE enum err identity_api_key_new(const char *id, int64_t now_ms, struct text *key,
                                       struct text *row);

#endif
