#include "node/snapshot_priv.h"

#include "base/check.h"
#include "base/text.h"
#include "node/endpoint.h"

/* What is lawful here and how it is proved: charter and policy, database, keys of issuers
 * and callers, and the node's own keys. */

#define CHARTER_FILE_MAX (24u << 20)

static void
load_charter(struct snapshot_load *l)
{
    struct slice text = snapshot_read(l, l->config->charter, CHARTER_FILE_MAX);
    struct snapshot *s = l->s;

    if (text.p == NULL)
        return;
    if (charter_open(text, l->config->charter, &l->config->trust, l->issues, &s->charter) ==
        ERR_OK) {
        if (strcmp(s->charter->mesh, l->config->mesh) != 0)
            issues_add(l->issues, l->config->charter, 0, "mesh", "is \"%s\", the node's is \"%s\"",
                       s->charter->mesh, l->config->mesh);
        if (s->charter->valid_until_ms <= l->now_ms)
            issues_add(l->issues, l->config->charter, 0, "valid_until", "has passed");
        s->own_node = charter_find_node(s->charter, slice_str(l->config->node));
        if (s->own_node == CHARTER_NONE)
            issues_add(l->issues, l->config->charter, 0, "nodes", "has no node \"%s\"",
                       l->config->node);
        else
            s->own_region = s->charter->nodes[s->own_node].region;
        draw_pool_init(&s->pool, s->charter, s->own_region);
        if (policy_compile(s->charter, &s->policy) != ERR_OK)
            issues_add(l->issues, l->config->charter, 0, NULL, "the policy can't be compiled");
        record_cut(s->charter->digest, s->charter_cut);
    }
    s->envelope = text;
}

static void
load_geo(struct snapshot_load *l)
{
    struct geo_canary canaries[CONFIG_CANARIES_MAX];
    struct geo_opts opts = {.path = l->config->geoip_path,
                            .max_age_days = (unsigned)l->config->geoip_max_age_days,
                            .canaries = canaries,
                            .canary_count = l->config->canary_count,
                            .now_ms = l->now_ms};

    for (size_t i = 0; i < l->config->canary_count; i++)
        canaries[i] =
            (struct geo_canary){l->config->canaries[i].ip, l->config->canaries[i].country};
    if (geo_db_load(&opts, l->issues, &l->s->geo) == ERR_OK)
        record_cut(geo_db_digest(l->s->geo), l->s->geo_cut);
    for (size_t i = 0; i < l->config->proxy_count; i++)
        if (geo_network_parse(slice_str(l->config->proxies[i]), &l->s->proxies[i]) != ERR_OK)
            issues_add(l->issues, l->config->file, 0, "listeners.public.trusted_proxies",
                       "\"%s\" is no network", l->config->proxies[i]);
    l->s->proxy_count = l->config->proxy_count;
}

static void
load_identity(struct snapshot_load *l)
{
    const char *issuers[CONFIG_PAIRS_MAX];
    const char *files[CONFIG_PAIRS_MAX];
    struct slice texts[CONFIG_PAIRS_MAX];
    struct identity_keys_opts opts = {.issuers = issuers, .jwks_files = files, .jwks_texts = texts};
    struct slice api_keys = SLICE_NONE;
    size_t before = l->issues->count;

    for (size_t i = 0; i < l->config->issuers.count; i++) {
        issuers[i] = l->config->issuers.items[i].name;
        files[i] = l->config->issuers.items[i].path;
        texts[i] = snapshot_read(l, files[i], SNAPSHOT_PEM_MAX);
    }
    opts.issuer_count = l->config->issuers.count;
    if (l->config->api_keys[0] != '\0') {
        api_keys = snapshot_read(l, l->config->api_keys, SNAPSHOT_PEM_MAX * 8);
        opts.api_keys_file = l->config->api_keys;
        opts.api_keys_text = api_keys;
    }
    if (l->issues->count == before &&
        identity_keys_load(&opts, l->issues, &l->s->identity_keys) != ERR_OK &&
        l->issues->count == before)
        issues_add(l->issues, l->config->file, 0, "issuers", "can't be loaded");
    for (size_t i = 0; i < l->config->issuers.count; i++)
        snapshot_drop(&texts[i]);
    snapshot_drop(&api_keys);
}

static struct key *
load_key(struct snapshot_load *l, const char *path)
{
    struct slice pem = snapshot_read(l, path, SNAPSHOT_PEM_MAX);
    struct key *key = NULL;

    if (pem.p != NULL && key_from_private_pem(pem, &key) != ERR_OK)
        issues_add(l->issues, path, 0, NULL, "is no private key on P-256 or Ed25519");
    snapshot_drop(&pem);
    return key;
}

static void
check_key(struct snapshot_load *l, const struct key *key, enum charter_key_use use,
          const char *path)
{
    const struct charter_node *n;

    if (key == NULL || l->s->charter == NULL || l->s->own_node == CHARTER_NONE)
        return;
    n = &l->s->charter->nodes[l->s->own_node];
    if (charter_node_key(n, use, slice_str(key_thumbprint(key)), l->now_ms) == NULL)
        issues_add(l->issues, path, 0, NULL,
                   "is not among node \"%s\"'s %s keys valid now in the charter", n->name,
                   charter_key_use_name(use));
}

static const char *
longer(const char *a, const char *b)
{
    return strlen(b) > strlen(a) ? b : a;
}

/* The longest A1 that this charter can lead to must fit (docs/formats.md section 3). */
static void
check_longest(struct snapshot_load *l)
{
    static const uint8_t digest[HASH_SIZE] = {0};
    static const char wide[] = "WWWWWWWWWWWWWWWWWWWWWW";
    char requested[RECORD_FOREIGN_MAX];
    uint8_t out[RECORD_A1_MAX];
    const struct charter *c = l->s->charter;
    struct text t;
    uint8_t hash[HASH_SIZE];
    struct record_a1 a1 = {.txn = "00000000-0000-7000-8000-000000000000",
                           .attempt = 99,
                           .iat_s = 9999999999,
                           .hop = 1,
                           .prev = digest,
                           .permit = true,
                           .reason = "permitted",
                           .sub = wide,
                           .auth = "mtls+jwt",
                           .origin_source = "forwarded",
                           .origin_quality = "malformed_chain",
                           .geo_db = wide,
                           .charter_version = c->version,
                           .charter_digest = wide,
                           .policy_digest = wide,
                           .legal_count = CHARTER_BACKENDS_MAX,
                           .legal_digest = digest,
                           .target_assurance = "network",
                           .target_key = digest,
                           .model_requested = slice_of(requested, sizeof(requested)),
                           .model_digest = "",
                           .model_evidence = "declared",
                           .endpoint = "chat_completions",
                           .request_bytes = UINT32_MAX,
                           .request_commitment = digest,
                           .shard = wide};

#define LONGEST(list, count, member, into) \
    for (size_t i = 0; i < (count); i++)   \
        (into) = longer((into), (list)[i].member);
    a1.issuer = a1.node = a1.tenant = a1.ingress_region = a1.target_backend = "";
    a1.model_version = "";
    LONGEST(c->nodes, c->node_count, spiffe, a1.issuer)
    LONGEST(c->nodes, c->node_count, name, a1.node)
    LONGEST(c->tenants, c->tenant_count, name, a1.tenant)
    LONGEST(c->regions, c->region_count, name, a1.ingress_region)
    LONGEST(c->backends, c->backend_count, name, a1.target_backend)
    LONGEST(c->models, c->model_count, id, a1.model_version)
    for (size_t i = 0; endpoint_at(i) != NULL; i++)
        a1.endpoint = longer(a1.endpoint, endpoint_at(i)->name);
    for (size_t i = 0; i < c->tenant_count; i++)
        for (size_t k = 0; k < c->tenants[i].path_count; k++)
            a1.endpoint = longer(a1.endpoint, c->tenants[i].paths[k]);
#undef LONGEST
    a1.audience = a1.issuer;
    a1.ingress_node = a1.node;
    a1.target_region = a1.ingress_region;
    a1.model_served = a1.model_version;
    a1.target_country = a1.target_operator = a1.target_owner = a1.country = a1.registered = 83;
    memset(requested, 'm', sizeof(requested));
    text_init(&t, out, sizeof(out));
    if (record_a1_write(l->s->signer, NULL, 0, &a1, &t, hash) != ERR_OK)
        issues_add(l->issues, l->config->charter, 0, NULL,
                   "its longest names make an attestation of more than %d bytes", RECORD_A1_MAX);
}

static void
load_keys(struct snapshot_load *l)
{
    struct snapshot *s = l->s;
    struct text t;

    s->attest_key = load_key(l, l->config->attest_key);
    s->advert_key = load_key(l, l->config->advert_key);
    check_key(l, s->attest_key, KEY_USE_ATTEST, l->config->attest_key);
    check_key(l, s->advert_key, KEY_USE_ADVERT, l->config->advert_key);
    if (s->attest_key == NULL || s->charter == NULL)
        return;
    if (record_signer_new(s->attest_key, &s->signer) != ERR_OK) {
        issues_add(l->issues, l->config->attest_key, 0, NULL, "can't sign");
        return;
    }
    check_longest(l);
    text_init(&t, s->jwks, sizeof(s->jwks));
    text_add_str(&t, "{\"keys\":[");
    if (key_to_jwk(s->attest_key, &t) != ERR_OK)
        issues_add(l->issues, l->config->attest_key, 0, NULL, "has no JWK form");
    text_add_str(&t, "]}");
    s->jwks_len = t.used;
}

void
snapshot_load_law(struct snapshot_load *l)
{
    load_charter(l);
    load_geo(l);
    load_identity(l);
    load_keys(l);
}
