#ifndef RESIDENCY_CHARTER_H
#define RESIDENCY_CHARTER_H

#include "base/err.h"
#include "base/issue.h"
#include "base/json.h"
#include "base/slice.h"
#include "crypto/hash.h"
#include "crypto/key.h"
#include "residency/country.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The charter as plain data (docs/formats.md section 2): the mesh-wide signed document.
 * Loaded once, then immutable; shared through a reference count. Everything that stands
 * in it was checked: names, references, counts, and that no tenant widens its parent. */

#define CHARTER_NAME_MAX 32
#define CHARTER_TENANT_MAX 64
#define CHARTER_MODEL_MAX 96
#define CHARTER_BACKENDS_MAX 4096
#define CHARTER_NODES_MAX 1024
#define CHARTER_REGIONS_MAX 256
#define CHARTER_TENANTS_MAX 16000 /* below JSCAN_KEYS_MAX: they are keys of one object */
#define CHARTER_MODELS_MAX 1024
#define CHARTER_GROUPS_MAX 64
#define CHARTER_CLASSES_MAX 64
#define CHARTER_ALIASES_MAX 256
#define CHARTER_ROLES_MAX 64
#define CHARTER_PINNED_MAX 16 /* versions behind one alias */
#define CHARTER_SERVED_MAX 64 /* models of one backend: bits of a health mask */
#define CHARTER_ISSUERS_MAX 256
#define CHARTER_CAS_MAX 64
#define CHARTER_IDENTITIES_MAX 4096
#define CHARTER_API_KEYS_MAX 16000
#define CHARTER_KEY_ID_MAX 32
#define CHARTER_NODE_KEYS_MAX 16
#define CHARTER_REMOTE_HOSTS_MAX 64
#define CHARTER_PATHS_MAX 64 /* passthrough, of a tenant */
#define CHARTER_PATH_MAX 63  /* bytes of one */
#define CHARTER_NONE UINT32_MAX

enum charter_assurance { ASSURANCE_NETWORK, ASSURANCE_CA, ASSURANCE_SPKI, ASSURANCE_COUNT };
enum charter_kind { KIND_OPENAI, KIND_VLLM, KIND_OLLAMA, KIND_LLAMACPP, KIND_COUNT };
enum charter_evidence { EVIDENCE_DECLARED, EVIDENCE_NAME, EVIDENCE_DIGEST, EVIDENCE_COUNT };
enum charter_key_use {
    KEY_USE_ATTEST,
    KEY_USE_LOG,
    KEY_USE_WITNESS,
    KEY_USE_ADVERT,
    KEY_USE_COUNT
};
enum charter_regime { REGIME_GDPR, REGIME_UK_GDPR, REGIME_CH_FADP, REGIME_HIPAA, REGIME_COUNT };
enum charter_capture { CAPTURE_NONE, CAPTURE_COMMITMENT, CAPTURE_COUNT };
enum charter_auth { /* bits */
                    AUTH_MTLS = 1,
                    AUTH_JWT = 2,
                    AUTH_MTLS_JWT = 4,
                    AUTH_API_KEY = 8
};
const char *charter_assurance_name(enum charter_assurance a);
const char *charter_kind_name(enum charter_kind k);
const char *charter_evidence_name(enum charter_evidence e);
const char *charter_key_use_name(enum charter_key_use u);
const char *charter_regime_name(enum charter_regime r);
const char *charter_capture_name(enum charter_capture c);
const char *charter_auth_name(enum charter_auth bit); /* of one bit */

struct charter_group {
    const char *name; /* with its @ */
    struct country_set countries;
};

struct charter_region {
    const char *name;
    uint16_t country;
};

struct charter_key {
    enum charter_key_use use;
    struct key *key;
    int64_t not_before_ms;
    int64_t not_after_ms;
};

struct charter_node {
    const char *name;
    uint32_t region;
    const char *spiffe;
    const char *host; /* of the mesh listener */
    uint16_t port;
    struct charter_key *keys;
    size_t key_count;
};

struct charter_model {
    const char *id;
    const char *digest; /* lower-case hex of SHA-256, or "" */
};

struct charter_served {
    uint32_t model;   /* index into models */
    const char *name; /* what the backend calls it */
};

struct charter_backend {
    const char *name;
    uint32_t region;
    uint16_t country; /* COUNTRY_NONE where a fact is missing */
    uint16_t storage_country;
    uint16_t operator_country;
    uint16_t owner_country;
    const char *operator_name; /* "" when missing */
    const char *owner_name;
    bool has_access_from; /* the list was given, possibly empty: nobody from outside */
    struct country_set access_from;
    enum charter_assurance assurance;
    uint8_t spki_sha256[HASH_SIZE]; /* with ASSURANCE_SPKI */
    const char *ca;       /* with ASSURANCE_CA: name of a CA in the node config; else "" */
    const char *transfer; /* "" when missing */
    enum charter_kind kind;
    bool tls;
    const char *host;
    uint16_t port;
    const char *path_prefix; /* "" or "/something" without trailing slash */
    uint32_t slots;
    const char *credential; /* name of a credential file in the node config, or "" */
    struct charter_served *served;
    size_t served_count;
};

struct charter_issuer {
    const char *id;
    const char *audience;
    uint32_t *tenants; /* sorted */
    size_t tenant_count;
    int64_t max_lifetime_s;
    const char *tenant_claim;
    const char *roles_claim;
};

enum charter_match { MATCH_SPIFFE, MATCH_DNS, MATCH_SHA256 };
struct charter_identity {
    enum charter_match match;
    const char *value; /* sha256: lower-case hex */
    uint32_t ca;
    uint32_t tenant;
    const char **roles;
    size_t role_count;
};

struct charter_ca {
    const char *name;
    uint8_t sha256[HASH_SIZE];
};

struct charter_api_key {
    const char *id;
    uint32_t tenant;
    const char *subject;
    const char **roles;
    size_t role_count;
};

#define CHARTER_REGION_WORDS (CHARTER_REGIONS_MAX / 64)

/* Where data may be: effective, groups expanded, exclusions taken out. */
struct charter_places {
    struct country_set countries;
    uint64_t regions[CHARTER_REGION_WORDS];     /* admitted by name */
    uint64_t not_regions[CHARTER_REGION_WORDS]; /* excluded by name, whatever their countries */
};

struct charter_class {
    const char *name;
    struct charter_places process_in;
    struct country_set operators_from;
    struct country_set owners_from;
    struct country_set access_from;
};

struct charter_alias {
    const char *name;
    uint32_t pinned[CHARTER_PINNED_MAX]; /* models, preferred first */
    size_t pinned_count;
};

struct charter_role {
    const char *name;
    uint32_t *aliases; /* sorted indices into the tenant's aliases */
    size_t alias_count;
};

struct charter_origin_rule {
    uint16_t country;
    struct charter_places process_in;
};

/* One tenant with its *effective* policy. */
struct charter_tenant {
    const char *name;
    uint32_t parent; /* CHARTER_NONE at the top */
    uint32_t top;    /* its top-level ancestor, itself at the top: pools are kept apart by it */
    /* classes[0] is "no class": the base rules, name "". */
    struct charter_class *classes;
    size_t class_count;
    struct country_set origins;
    struct charter_origin_rule *by_origin;
    size_t by_origin_count;
    uint64_t ingress_in[CHARTER_REGION_WORDS];
    uint16_t home_country; /* COUNTRY_NONE when not set */
    bool unknown_is_home;
    struct charter_alias *aliases; /* sorted by name */
    size_t alias_count;
    bool has_roles;
    struct charter_role *roles; /* sorted by name */
    size_t role_count;
    enum charter_evidence evidence;
    unsigned auth;             /* bits of charter_auth */
    uint32_t limit_concurrent; /* 0: none */
    uint32_t limit_per_minute; /* 0: none */
    enum charter_capture capture;
    const char **remote_hosts; /* sorted */
    size_t remote_host_count;
    const char **paths; /* passthrough; sorted */
    size_t path_count;
    bool rewrite_alias;
    bool cut_on_revoke;
    bool stream_usage; /* streams are asked for their usage, whether the caller asked or not */
    int64_t retention_days;
    enum charter_regime regime;
    uint8_t digest[HASH_SIZE]; /* of the effective policy, JCS */
};

struct charter {
    _Atomic uint32_t references; /* charter_ref, charter_unref */
    struct json_doc *doc;        /* owns the names that are keys; other strings: heap */
    const char *mesh;
    uint64_t version;
    int64_t issued_ms;
    int64_t renew_by_ms;
    int64_t valid_until_ms;
    uint8_t seed[32];
    bool has_paths;            /* some tenant has a passthrough */
    uint8_t digest[HASH_SIZE]; /* of the DSSE payload; of the source text for unsigned ones */
    struct charter_group *groups;
    size_t group_count;
    struct charter_region *regions; /* all lists below are sorted by name in byte order */
    size_t region_count;
    struct charter_node *nodes;
    size_t node_count;
    struct charter_model *models;
    size_t model_count;
    struct charter_backend *backends;
    size_t backend_count;
    struct charter_issuer *issuers;
    size_t issuer_count;
    struct charter_ca *cas;
    size_t ca_count;
    struct charter_identity *identities;
    size_t identity_count;
    struct charter_api_key *api_keys;
    size_t api_key_count;
    struct charter_tenant *tenants;
    size_t tenant_count;
    struct charter_heap *heap; /* every array and copied string above */
};

/* Checks a parsed source or payload. Every fault goes into issues; gives *out only
 * when there was none. file names the text in faults. digest covers `text`. */
MUST_USE enum err charter_load(struct slice text, const char *file, bool commented,
                               struct issues *issues, struct charter **out);

/* The trust root of a node or verifier: keys and how many of them must have signed. */
struct charter_trust {
    struct key *keys[16];
    size_t key_count;
    size_t threshold;
};
/* Opens and verifies an envelope: ERR_AUTH when fewer than threshold keys signed. */
MUST_USE enum err charter_open(struct slice envelope, const char *file,
                               const struct charter_trust *trust, struct issues *issues,
                               struct charter **out);
#define CHARTER_PAYLOAD_TYPE "application/vnd.portolan.charter+json"

struct charter *charter_ref(struct charter *c);
void charter_unref(struct charter **c);

/* Index by name, or CHARTER_NONE. */
uint32_t charter_find_region(const struct charter *c, struct slice name);
uint32_t charter_find_node(const struct charter *c, struct slice name);
uint32_t charter_find_node_spiffe(const struct charter *c, struct slice spiffe);
uint32_t charter_find_model(const struct charter *c, struct slice id);
uint32_t charter_find_backend(const struct charter *c, struct slice name);
uint32_t charter_find_tenant(const struct charter *c, struct slice name);
uint32_t charter_find_issuer(const struct charter *c, struct slice id);
uint32_t charter_find_api_key(const struct charter *c, struct slice id);
/* Alias and role of one tenant, class index (0 for an empty name), or CHARTER_NONE. */
uint32_t charter_find_alias(const struct charter_tenant *t, struct slice alias);
uint32_t charter_find_role(const struct charter_tenant *t, struct slice role);
uint32_t charter_find_class(const struct charter_tenant *t, struct slice name);
/* Whether a text can be the id of an API key: 1 to CHARTER_KEY_ID_MAX of a-z and 0-9. */
bool charter_key_id_ok(struct slice id);
/* The node's key with that use and thumbprint valid at the time, or NULL. */
const struct key *charter_node_key(const struct charter_node *n, enum charter_key_use use,
                                   struct slice kid, int64_t at_ms);
/* Whether an issuer may speak for a tenant. */
bool charter_issuer_speaks_for(const struct charter_issuer *i, uint32_t tenant);

/* Whether the tenant's policy opens the path beyond the node's own endpoints. */
bool charter_passes(const struct charter_tenant *t, struct slice path);

#endif
