#ifndef RESIDENCY_EVIDENCE_RECORD_H
#define RESIDENCY_EVIDENCE_RECORD_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/key.h"
#include "crypto/random.h"
#include "residency/decide.h"

#include <stdbool.h>
#include <stdint.h>

/* The two records of a request, written without a JSON tree (docs/formats.md 3 and 4). */

#define RECORD_A1_MAX 2048
#define RECORD_A2_MAX 4096
#define RECORD_TTL_S 120
#define RECORD_ATTEMPTS_MAX 8
#define RECORD_FOREIGN_MAX 128 /* of a foreign text: requested model, response id */
#define RECORD_ID_SIZE 23      /* 16 bytes as b64url, and a NUL */
#define RECORD_HASH_SIZE 44    /* 32 bytes as b64url, and a NUL */

enum record_end {
    RECORD_COMPLETE,
    RECORD_CLIENT_ABORT,
    RECORD_UPSTREAM_ERROR,
    RECORD_UPSTREAM_TRUNCATED,
    RECORD_TIMEOUT,
    RECORD_DRAINED,
    RECORD_DENIED,
    RECORD_LOST,
    RECORD_END_COUNT
};
const char *record_end_name(enum record_end end);

/* Everything an A1 says. Texts are borrowed; NULL or empty leaves the member out. */
struct record_a1 {
    const char *issuer;   /* SPIFFE id of the node */
    const char *audience; /* NULL on a denial */
    const char *txn;
    const char *node;
    uint32_t attempt;
    int64_t iat_s;
    uint32_t hop;
    const uint8_t *prev; /* 32 bytes or NULL */
    bool permit;
    const char *reason; /* a code of the decision's or choice's row table */
    const char *tenant;
    const char *sub; /* 22 characters or NULL */
    const char *auth;
    const char *role;
    const char *class_name;
    uint16_t country; /* COUNTRY_NONE leaves it out */
    uint16_t registered;
    const char *origin_source;
    const char *origin_quality;
    const char *geo_db; /* cut, 22 characters */
    const char *ingress_region;
    const char *ingress_node;
    uint64_t charter_version;
    const char *charter_digest; /* cut */
    const char *policy_digest;  /* cut */
    uint32_t legal_count;
    const uint8_t *legal_digest; /* 32 bytes; cut when written */
    /* target: all NULL on a denial */
    const char *target_backend;
    const char *target_node;
    const char *target_region;
    uint16_t target_country;
    uint16_t target_operator;
    uint16_t target_owner;
    const char *target_assurance;
    const uint8_t *target_key; /* 32 bytes or NULL */
    struct slice model_requested;
    const char *model_served;
    const char *model_version;
    const char *model_digest; /* hex or "" */
    const char *model_evidence;
    const char *endpoint;
    uint64_t request_bytes;
    const uint8_t *request_commitment; /* 32 bytes or NULL */
    bool request_streamed; /* the body was not whole: request_bytes as announced, 0 leaves it
                            * out; no commitment, that is in the A2 */
    const char *shard;     /* 22 characters */
};

/* One signer for a node's A1s: key and its encoded header, prepared once. */
struct record_signer;
MUST_USE enum err record_signer_new(const struct key *key, struct record_signer **out);
void record_signer_free(struct record_signer **s);
/* Beginnings of A1s, encoded and hashed: what is the same for many requests. One thread's. */
struct record_beginnings;
MUST_USE enum err record_beginnings_new(struct record_beginnings **out);
void record_beginnings_free(struct record_beginnings **b);
/* Appends the compact JWS; hash is its SHA-256. ERR_TOOBIG past RECORD_A1_MAX.
 *
 * beginnings: NULL, or what this thread has kept; then every text of a1 up to its model, but
 * for the requested one, lives as long as anything of the same scope does, and no two scopes
 * that ever are have one number (a snapshot's generation). */
MUST_USE enum err record_a1_write(const struct record_signer *s,
                                  struct record_beginnings *beginnings, uint64_t scope,
                                  const struct record_a1 *a1, struct text *out,
                                  uint8_t hash[HASH_SIZE]);

struct record_attempt {
    uint64_t index;
    const char *outcome; /* static word */
    int status;
    char target[CHARTER_NAME_MAX + 1];
    bool has_peer;
    uint8_t peer_hash[HASH_SIZE]; /* of the peer's A1, whether it permitted or refused */
};

struct record_a2 {
    const char *txn;
    const char *shard;
    const uint8_t *a1_hash; /* 32 bytes, of the last attempt's JWS */
    uint64_t a1_index;
    enum record_end end;
    int status;
    uint64_t answer_bytes;
    const uint8_t *answer_commitment; /* 32 bytes or NULL */
    uint64_t sent_bytes;              /* written only with sent_commitment */
    const uint8_t *sent_commitment;
    const char *reason;                 /* why this node cut the request, or NULL */
    const uint8_t *request_commitment;  /* of a streamed body as received, or NULL */
    uint64_t request_bytes;             /* written only with request_commitment */
    const uint8_t *upstream_commitment; /* of the rewritten request body */
    struct slice model_reported;
    struct slice response_id;
    int64_t received_ms; /* 0 leaves a time out */
    int64_t dispatched_ms;
    int64_t first_byte_ms;
    int64_t end_ms;
    int64_t prompt_tokens; /* -1: not seen */
    int64_t completion_tokens;
    bool tokens_counted; /* by this node, not said by the answer */
    const struct record_attempt *attempts;
    size_t attempt_count;
};
/* Appends the JCS text. Foreign texts are cut at a UTF-8 boundary. */
MUST_USE enum err record_a2_write(const struct record_a2 *a2, struct text *out);

/* A parsed A1, for peers, verify and report. Texts point into storage. */
struct record_a1_view {
    char txn[UUID_TEXT_SIZE];
    char iss[256];
    char aud[256];
    char node[CHARTER_NAME_MAX + 1];
    uint32_t attempt;
    int64_t iat_s;
    int64_t exp_s;
    uint32_t hop;
    char prev[RECORD_HASH_SIZE]; /* "" when absent */
    bool permit;
    char reason[48];
    char tenant[CHARTER_TENANT_MAX + 1];
    char sub[RECORD_ID_SIZE];
    char auth[16];
    char role[CHARTER_NAME_MAX + 1];
    char class_name[CHARTER_NAME_MAX + 1];
    uint16_t country;
    uint16_t registered;
    char origin_source[16];
    char origin_quality[24];
    char geo_db[RECORD_ID_SIZE];
    char ingress_region[CHARTER_NAME_MAX + 1];
    char ingress_node[CHARTER_NAME_MAX + 1];
    uint64_t charter_version;
    char charter_digest[RECORD_ID_SIZE];
    char policy_digest[RECORD_ID_SIZE];
    uint32_t legal_count;
    char legal_digest[RECORD_ID_SIZE];
    bool has_target;
    char target_backend[CHARTER_NAME_MAX + 1];
    char target_node[CHARTER_NAME_MAX + 1];
    char target_region[CHARTER_NAME_MAX + 1];
    uint16_t target_country;
    uint16_t target_operator;
    uint16_t target_owner;
    char target_assurance[12];
    char target_key[RECORD_ID_SIZE];
    char model_requested[RECORD_FOREIGN_MAX + 1];
    char model_served[CHARTER_MODEL_MAX + 1];
    char model_version[CHARTER_MODEL_MAX + 1];
    char model_digest[33];
    char model_evidence[12];
    char endpoint[CHARTER_PATH_MAX + 1];
    uint64_t request_bytes;
    char request_commitment[RECORD_HASH_SIZE];
    bool request_streamed;
    char shard[RECORD_ID_SIZE];
    char kid[KEY_THUMBPRINT_SIZE + 1];
};
/* A digest as records name it: its first 16 bytes, b64url. */
void record_cut(const uint8_t digest[HASH_SIZE], char out[RECORD_ID_SIZE]);
/* Whether it was decided under exactly this charter: its version and its digest. */
bool record_a1_is_under(const struct record_a1_view *a1, const struct charter *charter);
/* That one of many; else one of its version, which it then contradicts; else NULL. */
const struct charter *record_a1_charter(const struct record_a1_view *a1,
                                        const struct charter *const *charters, size_t count);

/* Parses a compact A1 strictly; verifies nothing. *why (static text) on error. */
MUST_USE enum err record_a1_parse(struct slice jws, struct record_a1_view *out, const char **why);
/* Parses and verifies against the charter: iss is a node of it, kid one of its attest keys
 * valid at iat, signature good. */
MUST_USE enum err record_a1_verify(struct slice jws, const struct charter *charter,
                                   struct record_a1_view *out, const char **why);

/* A parsed A2. */
struct record_a2_view {
    char txn[UUID_TEXT_SIZE];
    char shard[RECORD_ID_SIZE];
    char a1_hash[RECORD_HASH_SIZE];
    uint64_t a1_index;
    enum record_end end;
    int status;
    uint64_t answer_bytes;
    char answer_commitment[RECORD_HASH_SIZE];
    char reason[48];
    char request_commitment[RECORD_HASH_SIZE]; /* of a streamed body; "" when absent */
    uint64_t request_bytes;
    char model_reported[RECORD_FOREIGN_MAX + 1];
    char response_id[RECORD_FOREIGN_MAX + 1];
    int64_t received_ms, dispatched_ms, first_byte_ms, end_ms;
    int64_t prompt_tokens, completion_tokens; /* -1: not seen */
    bool tokens_counted;
    size_t attempt_count;
    struct {
        uint64_t index;
        char outcome[24];
        int status;
        char target[CHARTER_NAME_MAX + 1];
        char peer_hash[RECORD_HASH_SIZE]; /* "" without a peer's A1 */
    } attempts[RECORD_ATTEMPTS_MAX];
};
MUST_USE enum err record_a2_parse(struct slice json, struct record_a2_view *out, const char **why);

#endif
