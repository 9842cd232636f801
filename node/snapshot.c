#include "node/snapshot.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/hash.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PEM_MAX (1u << 20)
#define CHARTER_FILE_MAX (24u << 20)

struct load {
    struct snapshot *s;
    const struct config *config;
    struct issues *issues;
    int64_t now_ms;
};

void
snapshot_cut(const uint8_t digest[HASH_SIZE], char out[RECORD_ID_SIZE])
{
    struct text t;

    text_init(&t, out, RECORD_ID_SIZE - 1);
    text_add_b64url(&t, slice_of(digest, 16));
    out[t.used] = '\0';
}

/* A file's bytes, with the fault named; empty slice when it can't be had. Gives. */
static struct slice
read_file(const struct load *l, const char *path, size_t max)
{
    char *text = NULL;
    size_t len = 0;
    enum err e = file_read(path, max, &text, &len);

    if (e != ERR_OK) {
        issues_add(l->issues, path, 0, NULL, "can't be read: %s", err_text(e));
        return SLICE_NONE;
    }
    return slice_of(text, len);
}

static void
free_file(struct slice *s)
{
    /* Keys and credentials pass through here. */
    if (s->p != NULL) {
        union {
            const uint8_t *borrowed;
            void *owned;
        } p = {s->p};

        hash_wipe(p.owned, s->len);
        free(p.owned);
    }
    *s = SLICE_NONE;
}

static void
load_charter(struct load *l)
{
    struct slice text = read_file(l, l->config->charter, CHARTER_FILE_MAX);
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
        if (policy_compile(s->charter, &s->policy) != ERR_OK)
            issues_add(l->issues, l->config->charter, 0, NULL, "the policy can't be compiled");
        snapshot_cut(s->charter->digest, s->charter_cut);
    }
    free_file(&text);
}

static void
load_geo(struct load *l)
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
        snapshot_cut(geo_db_digest(l->s->geo), l->s->geo_cut);
    for (size_t i = 0; i < l->config->proxy_count; i++)
        if (geo_network_parse(slice_str(l->config->proxies[i]), &l->s->proxies[i]) != ERR_OK)
            issues_add(l->issues, l->config->file, 0, "listeners.public.trusted_proxies",
                       "\"%s\" is no network", l->config->proxies[i]);
    l->s->proxy_count = l->config->proxy_count;
}

static void
load_identity(struct load *l)
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
        texts[i] = read_file(l, files[i], PEM_MAX);
    }
    opts.issuer_count = l->config->issuers.count;
    if (l->config->api_keys[0] != '\0') {
        api_keys = read_file(l, l->config->api_keys, PEM_MAX * 8);
        opts.api_keys_file = l->config->api_keys;
        opts.api_keys_text = api_keys;
    }
    if (l->issues->count == before &&
        identity_keys_load(&opts, l->issues, &l->s->identity_keys) != ERR_OK &&
        l->issues->count == before)
        issues_add(l->issues, l->config->file, 0, "issuers", "can't be loaded");
    for (size_t i = 0; i < l->config->issuers.count; i++)
        free_file(&texts[i]);
    free_file(&api_keys);
}

static struct key *
load_key(struct load *l, const char *path)
{
    struct slice pem = read_file(l, path, PEM_MAX);
    struct key *key = NULL;

    if (pem.p != NULL && key_from_private_pem(pem, &key) != ERR_OK)
        issues_add(l->issues, path, 0, NULL, "is no private key on P-256 or Ed25519");
    free_file(&pem);
    return key;
}

static void
check_key(struct load *l, const struct key *key, enum charter_key_use use, const char *path)
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
check_longest(struct load *l)
{
    static const uint8_t digest[HASH_SIZE] = {0};
    static const char wide[] = "WWWWWWWWWWWWWWWWWWWWWW";
    char requested[RECORD_FOREIGN_MAX];
    uint8_t out[RECORD_A1_MAX];
    const struct charter *c = l->s->charter;
    struct text t;
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
#undef LONGEST
    a1.audience = a1.issuer;
    a1.ingress_node = a1.node;
    a1.target_region = a1.ingress_region;
    a1.model_served = a1.model_version;
    a1.target_country = a1.target_operator = a1.target_owner = a1.country = a1.registered = 83;
    memset(requested, 'm', sizeof(requested));
    text_init(&t, out, sizeof(out));
    if (record_a1_write(l->s->signer, &a1, &t) != ERR_OK)
        issues_add(l->issues, l->config->charter, 0, NULL,
                   "its longest names make an attestation of more than %d bytes", RECORD_A1_MAX);
}

static void
load_keys(struct load *l)
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

static void
load_listeners(struct load *l)
{
    const struct config *c = l->config;
    struct slice cert = read_file(l, c->public_cert, PEM_MAX);
    struct slice key = read_file(l, c->public_key, PEM_MAX);
    struct slice ca = SLICE_NONE;
    const char *why = "";
    struct tls_server_opts opts = {.cert_pem = cert, .key_pem = key};

    if (strcmp(c->public_client_auth, "none") != 0) {
        ca = read_file(l, c->public_client_ca, PEM_MAX);
        opts.client_ca_pem = ca;
        opts.client_auth = strcmp(c->public_client_auth, "required") == 0 ? TLS_CLIENT_REQUIRED
                                                                          : TLS_CLIENT_OPTIONAL;
    }
    if (cert.p != NULL && key.p != NULL && tls_server_new(&opts, &l->s->public_tls, &why) != ERR_OK)
        issues_add(l->issues, c->public_cert, 0, NULL, "%s", why);
    free_file(&cert);
    free_file(&key);
    free_file(&ca);
    if (c->mesh_address[0] == '\0')
        return;
    cert = read_file(l, c->mesh_cert, PEM_MAX);
    key = read_file(l, c->mesh_key, PEM_MAX);
    ca = read_file(l, c->mesh_ca, PEM_MAX);
    opts = (struct tls_server_opts){.cert_pem = cert,
                                    .key_pem = key,
                                    .client_ca_pem = ca,
                                    .client_auth = TLS_CLIENT_REQUIRED,
                                    .mesh = true};
    if (cert.p != NULL && key.p != NULL && ca.p != NULL &&
        tls_server_new(&opts, &l->s->mesh_tls, &why) != ERR_OK)
        issues_add(l->issues, c->mesh_cert, 0, NULL, "%s", why);
    free_file(&cert);
    free_file(&key);
    free_file(&ca);
}

static const struct config_pair *
find_pair(const struct config_pairs *pairs, const char *name)
{
    for (size_t i = 0; i < pairs->count; i++)
        if (strcmp(pairs->items[i].name, name) == 0)
            return &pairs->items[i];
    return NULL;
}

static bool
is_loopback_or_private(const struct address *a)
{
    struct geo_address g;
    enum geo_quality q;

    return geo_address_from_sockaddr((const struct sockaddr *)&a->storage, a->len, &g) == ERR_OK &&
           geo_address_special(&g, &q) && (q == GEO_LOOPBACK || q == GEO_PRIVATE || q == GEO_CGNAT);
}

static void
load_backend_tls(struct load *l, uint32_t i, struct slice cert, struct slice key)
{
    const struct charter_backend *b = &l->s->charter->backends[i];
    const struct config_pair *pair;
    struct slice ca = SLICE_NONE;
    const char *why = "";
    struct tls_client_opts opts = {.cert_pem = cert, .key_pem = key, .host = b->host};

    if (b->assurance == ASSURANCE_SPKI) {
        opts.spki_sha256 = b->spki_sha256;
    } else {
        pair = find_pair(&l->config->cas, b->ca);
        if (pair == NULL) {
            issues_add(l->issues, l->config->file, 0, "cas", "has no \"%s\" (backend \"%s\")",
                       b->ca, b->name);
            return;
        }
        ca = read_file(l, pair->path, PEM_MAX);
        opts.ca_pem = ca;
        opts.check_host = true;
    }
    if (tls_client_new(&opts, &l->s->backends[i].tls, &why) != ERR_OK)
        issues_add(l->issues, l->config->file, 0, "backend_client", "backend \"%s\": %s", b->name,
                   why);
    free_file(&ca);
}

static void
load_credential(struct load *l, uint32_t i)
{
    const struct charter_backend *b = &l->s->charter->backends[i];
    const struct config_pair *pair = find_pair(&l->config->credentials, b->credential);
    struct slice text;
    struct slice token;
    size_t size;

    if (pair == NULL) {
        issues_add(l->issues, l->config->file, 0, "credentials", "has no \"%s\" (backend \"%s\")",
                   b->credential, b->name);
        return;
    }
    text = read_file(l, pair->path, 8192);
    token = text;
    while (token.len > 0 && token.p[token.len - 1] <= ' ')
        token.len--;
    size = token.len + sizeof("Bearer ");
    l->s->authorizations[i] = token.len == 0 ? NULL : malloc(size);
    if (l->s->authorizations[i] == NULL)
        issues_add(l->issues, pair->path, 0, NULL, "holds no credential");
    else
        (void)text_format(l->s->authorizations[i], size, "Bearer %.*s", SLICE_ARG(token));
    l->s->backends[i].authorization = l->s->authorizations[i];
    free_file(&text);
}

static void
load_backends(struct load *l)
{
    struct snapshot *s = l->s;
    struct slice cert = SLICE_NONE;
    struct slice key = SLICE_NONE;

    if (l->config->backend_cert[0] != '\0') {
        cert = read_file(l, l->config->backend_cert, PEM_MAX);
        key = read_file(l, l->config->backend_key, PEM_MAX);
    }
    for (uint32_t i = 0; i < s->charter->backend_count; i++) {
        const struct charter_backend *b = &s->charter->backends[i];
        struct mesh_target *t = &s->backends[i];

        /* Another region's backends are reached through its nodes alone. */
        if (b->region != s->own_region)
            continue;
        if (address_resolve(b->host, b->port, &t->address) != ERR_OK) {
            issues_add(l->issues, l->config->charter, 0, "backends", "\"%s\": no address for %s",
                       b->name, b->host);
            continue;
        }
        if (!b->tls && !is_loopback_or_private(&t->address)) {
            issues_add(l->issues, l->config->charter, 0, "backends",
                       "\"%s\": plain HTTP only to private addresses", b->name);
            continue;
        }
        t->host = b->host;
        t->is_set = true;
        if (b->tls)
            load_backend_tls(l, i, cert, key);
        if (b->credential[0] != '\0')
            load_credential(l, i);
        if (egress_allow(s->egress, &t->address) != ERR_OK)
            issues_add(l->issues, l->config->charter, 0, "backends", "too many addresses");
    }
    free_file(&cert);
    free_file(&key);
}

static void
load_nodes(struct load *l)
{
    struct snapshot *s = l->s;
    struct slice cert;
    struct slice key;
    struct slice ca;

    if (l->config->mesh_address[0] == '\0')
        return;
    cert = read_file(l, l->config->mesh_cert, PEM_MAX);
    key = read_file(l, l->config->mesh_key, PEM_MAX);
    ca = read_file(l, l->config->mesh_ca, PEM_MAX);
    for (uint32_t i = 0; i < s->charter->node_count; i++) {
        const struct charter_node *n = &s->charter->nodes[i];
        struct tls_client_opts opts = {
            .cert_pem = cert, .key_pem = key, .ca_pem = ca, .host = n->host, .mesh = true};
        const char *why = "";

        if (i == s->own_node)
            continue;
        if (address_resolve(n->host, n->port, &s->nodes[i].address) != ERR_OK) {
            issues_add(l->issues, l->config->charter, 0, "nodes", "\"%s\": no address for %s",
                       n->name, n->host);
            continue;
        }
        if (tls_client_new(&opts, &s->nodes[i].tls, &why) != ERR_OK) {
            issues_add(l->issues, l->config->mesh_cert, 0, NULL, "%s", why);
            break;
        }
        s->nodes[i].host = n->host;
        s->nodes[i].is_set = true;
        if (egress_allow(s->egress, &s->nodes[i].address) != ERR_OK)
            issues_add(l->issues, l->config->charter, 0, "nodes", "too many addresses");
    }
    free_file(&cert);
    free_file(&key);
    free_file(&ca);
}

static void
load_redis_secrets(struct load *l, size_t i)
{
    const struct config_redis *r = &l->config->redis[i];
    struct slice text = SLICE_NONE;
    struct slice token;
    const char *why = "";

    if (r->tls) {
        struct tls_client_opts opts = {.host = l->s->redis_hosts[i], .check_host = true};

        text = read_file(l, r->ca, PEM_MAX);
        opts.ca_pem = text;
        if (text.p != NULL && tls_client_new(&opts, &l->s->redis_tls[i], &why) != ERR_OK)
            issues_add(l->issues, r->ca, 0, NULL, "%s", why);
        free_file(&text);
    }
    if (r->password_file[0] == '\0')
        return;
    text = read_file(l, r->password_file, 8192);
    token = text;
    while (token.len > 0 && token.p[token.len - 1] <= ' ')
        token.len--;
    l->s->redis_passwords[i] = token.len == 0 ? NULL : slice_dup(token);
    if (l->s->redis_passwords[i] == NULL)
        issues_add(l->issues, r->password_file, 0, NULL, "holds no password");
    free_file(&text);
}

static void
load_redis(struct load *l)
{
    for (size_t i = 0; i < l->config->redis_count; i++) {
        const struct config_redis *r = &l->config->redis[i];
        uint16_t port = 0;

        if (address_split(slice_str(r->address), l->s->redis_hosts[i], &port) != ERR_OK ||
            address_resolve(l->s->redis_hosts[i], port, &l->s->redis[i]) != ERR_OK) {
            issues_add(l->issues, l->config->file, 0, "store.servers", "no address for \"%s\"",
                       r->address);
            continue;
        }
        if (!r->tls && !is_loopback_or_private(&l->s->redis[i]))
            issues_add(l->issues, l->config->file, 0, "store.servers",
                       "\"%s\": without TLS only private addresses", r->address);
        if (egress_allow(l->s->egress, &l->s->redis[i]) != ERR_OK)
            issues_add(l->issues, l->config->file, 0, "store.servers", "too many addresses");
        load_redis_secrets(l, i);
    }
}

static void
load_tables(struct load *l)
{
    struct snapshot *s = l->s;
    const struct charter *c = s->charter;

    s->backends = calloc(c->backend_count + 1, sizeof(*s->backends));
    s->nodes = calloc(c->node_count + 1, sizeof(*s->nodes));
    s->authorizations = calloc(c->backend_count + 1, sizeof(*s->authorizations));
    s->policy_cuts = calloc(c->tenant_count + 1, sizeof(*s->policy_cuts));
    if (s->backends == NULL || s->nodes == NULL || s->authorizations == NULL ||
        s->policy_cuts == NULL || egress_new(&s->egress) != ERR_OK) {
        issues_add(l->issues, l->config->file, 0, NULL, "out of memory");
        return;
    }
    for (size_t i = 0; i < c->tenant_count; i++)
        snapshot_cut(c->tenants[i].digest, s->policy_cuts[i]);
    load_backends(l);
    load_nodes(l);
    load_redis(l);
}

enum err
snapshot_load(const char *config_path, int64_t now_ms, struct issues *issues, struct snapshot **out)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    struct load l = {.s = s, .issues = issues, .now_ms = now_ms};
    enum err e;

    if (s == NULL)
        return ERR_NOMEM;
    atomic_init(&s->references, 1);
    s->own_node = CHARTER_NONE;
    e = config_load(config_path, issues, &s->config);
    if (e != ERR_OK)
        goto fail;
    l.config = s->config;
    load_charter(&l);
    load_geo(&l);
    load_identity(&l);
    load_keys(&l);
    load_listeners(&l);
    if (s->charter != NULL && s->own_node != CHARTER_NONE)
        load_tables(&l);
    e = ERR_BADMSG;
    if (issues_any(issues))
        goto fail;
    *out = s;
    return ERR_OK;

fail:
    snapshot_unref(&s);
    return e;
}

enum err
snapshot_bind(struct snapshot *s, struct admission *admission)
{
    const struct charter *c = s->charter;
    const char **names = calloc(c->backend_count + c->tenant_count + 1, sizeof(*names));
    uint32_t *numbers = calloc(c->backend_count + 2 * c->tenant_count + 1, sizeof(*numbers));
    struct admission_shape shape;
    enum err e = ERR_NOMEM;

    free(s->backend_ids);
    free(s->tenant_ids);
    s->backend_ids = calloc(c->backend_count + 1, sizeof(uint32_t));
    s->tenant_ids = calloc(c->tenant_count + 1, sizeof(uint32_t));
    if (names == NULL || numbers == NULL || s->backend_ids == NULL || s->tenant_ids == NULL)
        goto out;
    for (size_t i = 0; i < c->backend_count; i++) {
        names[i] = c->backends[i].name;
        numbers[i] = c->backends[i].slots;
    }
    for (size_t i = 0; i < c->tenant_count; i++) {
        names[c->backend_count + i] = c->tenants[i].name;
        numbers[c->backend_count + i] = c->tenants[i].limit_concurrent;
        numbers[c->backend_count + c->tenant_count + i] = c->tenants[i].limit_per_minute;
    }
    shape = (struct admission_shape){
        .backend_names = names,
        .backend_slots = numbers,
        .backend_count = (uint32_t)c->backend_count,
        .tenant_names = names + c->backend_count,
        .tenant_concurrent = numbers + c->backend_count,
        .tenant_per_minute = numbers + c->backend_count + c->tenant_count,
        .tenant_count = (uint32_t)c->tenant_count,
    };
    e = admission_bind(admission, &shape, s->backend_ids, s->tenant_ids);
out:
    free(names);
    free(numbers);
    return e;
}

static bool
seen_path(const struct snapshot *s, char out[CONFIG_PATH_MAX])
{
    return file_join(out, CONFIG_PATH_MAX, s->config->state_dir, "charter-seen");
}

bool
snapshot_seen_ok(const struct snapshot *s, struct issues *issues)
{
    char path[CONFIG_PATH_MAX];
    char digest[2 * HASH_SIZE + 1] = "";
    char *text = NULL;
    size_t len = 0;
    struct slice rest;
    uint64_t version = 0;
    struct text t;
    enum err e;
    bool ok = false;

    if (!seen_path(s, path))
        return false;
    e = file_read(path, 256, &text, &len);
    if (e == ERR_NOENT)
        return true;
    text_init(&t, digest, sizeof(digest));
    text_add_hex(&t, slice_of(s->charter->digest, HASH_SIZE));
    rest = slice_of(text, len);
    if (e != ERR_OK || !slice_u64(slice_cut(&rest, ' '), &version))
        issues_add(issues, path, 1, NULL, "can't be read: the highest charter version is unknown");
    else if (s->charter->version < version)
        issues_add(issues, s->config->charter, 0, "version",
                   "is %" PRIu64 ", but %" PRIu64 " was seen before", s->charter->version, version);
    else if (s->charter->version == version && !slice_eq(slice_sub(rest, 0, 64), text_slice(&t)))
        issues_add(issues, s->config->charter, 0, "version",
                   "%" PRIu64 " was seen before with another content", version);
    else
        ok = true;
    free(text);
    return ok;
}

enum err
snapshot_seen_keep(const struct snapshot *s)
{
    char path[CONFIG_PATH_MAX];
    char line[128];
    struct text t;
    enum err e = file_mkdirs(s->config->state_dir, 0700);

    if (e != ERR_OK)
        return e;
    if (!seen_path(s, path))
        return ERR_TOOBIG;
    text_init(&t, line, sizeof(line));
    text_add_u64(&t, s->charter->version);
    text_add_char(&t, ' ');
    text_add_hex(&t, slice_of(s->charter->digest, HASH_SIZE));
    text_add_char(&t, '\n');
    return file_write(path, text_slice(&t), 0600);
}

struct snapshot *
snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

void
snapshot_unref(struct snapshot **out)
{
    struct snapshot *s = *out;

    *out = NULL;
    if (s == NULL || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; s->charter != NULL && i < s->charter->backend_count; i++) {
        if (s->authorizations != NULL && s->authorizations[i] != NULL) {
            hash_wipe(s->authorizations[i], strlen(s->authorizations[i]));
            free(s->authorizations[i]);
        }
        if (s->backends != NULL)
            tls_unref(&s->backends[i].tls);
    }
    for (size_t i = 0; s->nodes != NULL && i < s->charter->node_count; i++)
        tls_unref(&s->nodes[i].tls);
    for (size_t i = 0; i < CONFIG_REDIS_MAX; i++) {
        tls_unref(&s->redis_tls[i]);
        if (s->redis_passwords[i] != NULL)
            hash_wipe(s->redis_passwords[i], strlen(s->redis_passwords[i]));
        free(s->redis_passwords[i]);
    }
    free(s->backends);
    free(s->nodes);
    free(s->authorizations);
    free(s->policy_cuts);
    free(s->backend_ids);
    free(s->tenant_ids);
    record_signer_free(&s->signer);
    key_free(&s->attest_key);
    key_free(&s->advert_key);
    tls_unref(&s->public_tls);
    tls_unref(&s->mesh_tls);
    egress_free(&s->egress);
    identity_keys_free(&s->identity_keys);
    geo_db_unref(&s->geo);
    policy_free(&s->policy);
    charter_unref(&s->charter);
    config_free(&s->config);
    free(s);
}
