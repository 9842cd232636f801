#include "node/snapshot_priv.h"

#include "base/check.h"
#include "base/text.h"

#include <stdlib.h>

/* Whom the node may connect to: targets with their identities and credentials, and the egress
 * guard that knows all of their addresses. */

static const struct config_pair *
find_pair(const struct config_pairs *pairs, const char *name)
{
    for (size_t i = 0; i < pairs->count; i++)
        if (strcmp(pairs->items[i].name, name) == 0)
            return &pairs->items[i];
    return NULL;
}

static bool
is_near(const struct address *a, bool loopback_only)
{
    struct geo_address g;
    enum geo_quality q;

    return geo_address_from_sockaddr((const struct sockaddr *)&a->storage, a->len, &g) == ERR_OK &&
           geo_address_special(&g, &q) &&
           (q == GEO_LOOPBACK || (!loopback_only && (q == GEO_PRIVATE || q == GEO_CGNAT)));
}

static void
load_backend_tls(struct snapshot_load *l, uint32_t i, struct slice cert, struct slice key)
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
        ca = snapshot_read(l, pair->path, SNAPSHOT_PEM_MAX);
        opts.ca_pem = ca;
        opts.check_host = true;
    }
    if (tls_client_new(&opts, &l->s->backends[i].tls, &why) != ERR_OK)
        issues_add(l->issues, l->config->file, 0, "backend_client", "backend \"%s\": %s", b->name,
                   why);
    snapshot_drop(&ca);
}

static void
load_credential(struct snapshot_load *l, uint32_t i)
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
    text = snapshot_read(l, pair->path, 8192);
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
    snapshot_drop(&text);
}

static void
load_backends(struct snapshot_load *l)
{
    struct snapshot *s = l->s;
    struct slice cert = SLICE_NONE;
    struct slice key = SLICE_NONE;

    if (l->config->backend_cert[0] != '\0') {
        cert = snapshot_read(l, l->config->backend_cert, SNAPSHOT_PEM_MAX);
        key = snapshot_read(l, l->config->backend_key, SNAPSHOT_PEM_MAX);
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
        if (!b->tls && !is_near(&t->address, false)) {
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
    snapshot_drop(&cert);
    snapshot_drop(&key);
}

static void
load_nodes(struct snapshot_load *l)
{
    struct snapshot *s = l->s;
    struct slice cert;
    struct slice key;
    struct slice ca;
    struct slice crl = SLICE_NONE;

    if (l->config->mesh_address[0] == '\0')
        return;
    cert = snapshot_read(l, l->config->mesh_cert, SNAPSHOT_PEM_MAX);
    key = snapshot_read(l, l->config->mesh_key, SNAPSHOT_PEM_MAX);
    ca = snapshot_read(l, l->config->mesh_ca, SNAPSHOT_PEM_MAX);
    if (l->config->mesh_crl[0] != '\0')
        crl = snapshot_read(l, l->config->mesh_crl, SNAPSHOT_PEM_MAX);
    for (uint32_t i = 0; i < s->charter->node_count; i++) {
        const struct charter_node *n = &s->charter->nodes[i];
        struct tls_client_opts opts = {.cert_pem = cert,
                                       .key_pem = key,
                                       .ca_pem = ca,
                                       .crl_pem = crl,
                                       .host = n->host,
                                       .mesh = true};
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
    snapshot_drop(&cert);
    snapshot_drop(&key);
    snapshot_drop(&ca);
    snapshot_drop(&crl);
}

static void
load_redis_secrets(struct snapshot_load *l, size_t i)
{
    const struct config_redis *r = &l->config->redis[i];
    struct slice text = SLICE_NONE;
    struct slice token;
    const char *why = "";

    if (r->tls) {
        struct tls_client_opts opts = {.host = l->s->redis_hosts[i], .check_host = true};

        text = snapshot_read(l, r->ca, SNAPSHOT_PEM_MAX);
        opts.ca_pem = text;
        if (text.p != NULL && tls_client_new(&opts, &l->s->redis_tls[i], &why) != ERR_OK)
            issues_add(l->issues, r->ca, 0, NULL, "%s", why);
        snapshot_drop(&text);
    }
    if (r->password_file[0] == '\0')
        return;
    text = snapshot_read(l, r->password_file, 8192);
    token = text;
    while (token.len > 0 && token.p[token.len - 1] <= ' ')
        token.len--;
    l->s->redis_passwords[i] = token.len == 0 ? NULL : slice_dup(token);
    if (l->s->redis_passwords[i] == NULL)
        issues_add(l->issues, r->password_file, 0, NULL, "holds no password");
    snapshot_drop(&text);
}

static void
load_redis(struct snapshot_load *l)
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
        if (!r->tls && !is_near(&l->s->redis[i], true))
            issues_add(l->issues, l->config->file, 0, "store.servers",
                       "\"%s\": without TLS only on this machine", r->address);
        if (egress_allow(l->s->egress, &l->s->redis[i]) != ERR_OK)
            issues_add(l->issues, l->config->file, 0, "store.servers", "too many addresses");
        load_redis_secrets(l, i);
    }
}

void
snapshot_load_targets(struct snapshot_load *l)
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
        record_cut(c->tenants[i].digest, s->policy_cuts[i]);
    load_backends(l);
    load_nodes(l);
    load_redis(l);
}
