#ifndef NODE_SNAPSHOT_H
#define NODE_SNAPSHOT_H

#include "base/err.h"
#include "base/issue.h"
#include "health/mesh.h"
#include "net/address.h"
#include "net/tls.h"
#include "node/config.h"
#include "residency/decide.h"
#include "residency/evidence/record.h"
#include "residency/evidence/subject.h"
#include "residency/geo/geo.h"
#include "residency/identity/identity.h"
#include "routing/admission.h"
#include "routing/draw.h"

#include <stdbool.h>
#include <stdint.h>

/* Everything that a reload replaces at once: config, charter, policy, database, keys and
 * certificates. Built beside the one in force, checked whole, then swapped in or dropped;
 * immutable from then on and counted. A request keeps the one that it started with and
 * looks at the current one again at each dispatch. */

struct snapshot {
    _Atomic uint32_t references;
    uint64_t generation;
    struct config *config;
    struct charter *charter;
    struct slice envelope; /* of the charter, owned; until snapshot_charter_keep() */
    struct policy *policy;
    struct geo_db *geo;
    struct identity_keys *identity_keys;
    struct tls *public_tls;
    struct tls *mesh_tls; /* NULL without a mesh listener */
    struct key *attest_key;
    struct key *advert_key;
    struct record_signer *signer;
    struct egress *egress;
    uint32_t own_node;
    uint32_t own_region;
    struct draw_pool pool;
    struct mesh_target *backends; /* charter->backend_count; is_set in the own region only */
    struct mesh_target *nodes;    /* charter->node_count */
    char **authorizations;        /* charter->backend_count; owned texts, or NULL */
    uint32_t *backend_ids;        /* in the admission object; NULL until bound */
    uint32_t *tenant_ids;
    struct admission_shape limits; /* into the two arrays below */
    const char **limit_names;
    uint32_t *limit_numbers;
    struct address redis[CONFIG_REDIS_MAX]; /* config->redis_count */
    struct tls *redis_tls[CONFIG_REDIS_MAX];
    char redis_hosts[CONFIG_REDIS_MAX][254];
    char *redis_passwords[CONFIG_REDIS_MAX]; /* or NULL */
    struct geo_network proxies[CONFIG_PROXIES_MAX];
    size_t proxy_count;
    char charter_cut[RECORD_ID_SIZE];
    char geo_cut[RECORD_ID_SIZE];
    char (*policy_cuts)[RECORD_ID_SIZE]; /* charter->tenant_count */
    char jwks[4096];                     /* the node's attest keys, as served */
    size_t jwks_len;
};

/* Loads and checks everything that the config names. Every fault is in issues. */
MUST_USE enum err snapshot_load(const char *config_path, int64_t now_ms, struct issues *issues,
                                struct snapshot **out);
/* The numbers under which the node counts this charter's backends and tenants; once a
 * snapshot. Limits change only with snapshot_apply_limits(), which can't fail. */
MUST_USE enum err snapshot_bind(struct snapshot *s, struct admission *admission);
void snapshot_apply_limits(const struct snapshot *s, struct admission *admission);
/* Each tenant of the charter has a key for its subjects; one that is there stays. */
MUST_USE enum err snapshot_tenants_ensure(const struct snapshot *s, struct subject_store *subjects);
/* Whether the charter may replace what was seen before (state/charter-seen); a fault goes
 * into issues. snapshot_seen_keep() then writes it down. */
bool snapshot_seen_ok(const struct snapshot *s, struct issues *issues);
MUST_USE enum err snapshot_seen_keep(const struct snapshot *s);
/* A copy of the charter's envelope beside the records that will name it, in <ledger>/charters:
 * who verifies them later needs every charter that was in force (docs/formats.md section 2). Also
 * drops the text. */
MUST_USE enum err snapshot_charter_keep(struct snapshot *s);

struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot **s);

#endif
