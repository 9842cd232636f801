#include "node/snapshot_priv.h"

#include "base/check.h"
#include "crypto/cert.h"

#include <stdlib.h>

/* Where the node listens: certificates, and how those of clients and peers are verified. */

/* The pieces of one listener, read; an optional one stays empty. */
struct pieces {
    struct slice cert, key, ca, crl;
    bool whole;
};

static struct slice
read_one(const struct snapshot_load *l, const char *path, bool *whole)
{
    struct slice s = SLICE_NONE;

    if (path[0] == '\0')
        return s;
    s = snapshot_read(l, path, SNAPSHOT_PEM_MAX);
    if (s.p != NULL && s.len == 0)
        issues_add(l->issues, path, 0, NULL, "is empty");
    *whole = *whole && s.len > 0;
    return s;
}

static struct pieces
read_pieces(const struct snapshot_load *l, const char *cert, const char *key, const char *ca,
            const char *crl)
{
    struct pieces p = {.whole = true};

    p.cert = read_one(l, cert, &p.whole);
    p.key = read_one(l, key, &p.whole);
    p.ca = read_one(l, ca, &p.whole);
    p.crl = read_one(l, crl, &p.whole);
    return p;
}

static void
drop_pieces(struct pieces *p)
{
    snapshot_drop(&p->cert);
    snapshot_drop(&p->key);
    snapshot_drop(&p->ca);
    snapshot_drop(&p->crl);
}

static enum tls_client_auth
auth_of(const char *mode)
{
    if (strcmp(mode, "none") == 0)
        return TLS_CLIENT_NONE;
    return strcmp(mode, "required") == 0 ? TLS_CLIENT_REQUIRED : TLS_CLIENT_OPTIONAL;
}

static size_t
list_names(const struct config_cert *one, const char *out[CONFIG_NAMES_MAX])
{
    for (size_t i = 0; i < one->name_count; i++)
        out[i] = one->names[i];
    return one->name_count;
}

/* The certificates beside the first one. */
static void
add_certs(struct snapshot_load *l, size_t from, const char *const *hosts)
{
    const struct config *c = l->config;

    for (size_t i = from; i < c->cert_count; i++) {
        const struct config_cert *one = &c->certs[i];
        const char *names[CONFIG_NAMES_MAX];
        struct pieces p = read_pieces(l, one->cert, one->key, "", "");
        struct tls_cert_opts opts = {.cert_pem = p.cert,
                                     .key_pem = p.key,
                                     .names = names,
                                     .name_count = list_names(one, names),
                                     .hosts = hosts,
                                     .host_count = c->name_count};
        const char *why = "";

        if (p.whole && tls_server_add(l->s->public_tls, &opts, &why) != ERR_OK)
            issues_add(l->issues, one->cert, 0, NULL, "%s", why);
        drop_pieces(&p);
    }
}

static void
load_public(struct snapshot_load *l)
{
    const struct config *c = l->config;
    enum tls_client_auth auth = auth_of(c->public_client_auth);
    bool asks = auth != TLS_CLIENT_NONE;
    const struct config_cert *listed = c->public_cert[0] == '\0' ? &c->certs[0] : NULL;
    const char *cert = listed != NULL ? listed->cert : c->public_cert;
    const char *key = listed != NULL ? listed->key : c->public_key;
    struct pieces p = read_pieces(l, cert, key, asks ? c->public_client_ca : "",
                                  asks ? c->public_client_crl : "");
    const char *hosts[CONFIG_NAMES_MAX];
    const char *names[CONFIG_NAMES_MAX];
    struct tls_server_opts opts = {.cert_pem = p.cert,
                                   .key_pem = p.key,
                                   .client_ca_pem = p.ca,
                                   .client_crl_pem = p.crl,
                                   .client_auth = auth,
                                   .names = names,
                                   .name_count = listed == NULL ? 0 : list_names(listed, names),
                                   .hosts = hosts,
                                   .host_count = c->name_count};
    const char *why = "";

    for (size_t i = 0; i < c->name_count; i++)
        hosts[i] = c->names[i];
    if (p.whole && tls_server_new(&opts, &l->s->public_tls, &why) != ERR_OK)
        issues_add(l->issues, cert, 0, NULL, "%s", why);
    drop_pieces(&p);
    if (l->s->public_tls != NULL)
        add_certs(l, listed == NULL ? 0 : 1, hosts);
}

/* Peers know a node by this name: with another one's they refuse all that it sends. */
static void
check_mesh_name(const struct snapshot_load *l, struct slice cert)
{
    const struct snapshot *s = l->s;
    struct cert_facts facts;
    const char *own;

    if (s->charter == NULL || s->own_node == CHARTER_NONE || cert_read_pem(cert, &facts) != ERR_OK)
        return;
    own = s->charter->nodes[s->own_node].spiffe;
    if (strcmp(facts.spiffe, own) != 0)
        issues_add(l->issues, l->config->mesh_cert, 0, NULL,
                   "is of \"%s\", this node is \"%s\" in the charter", facts.spiffe, own);
}

static void
load_mesh(struct snapshot_load *l)
{
    const struct config *c = l->config;
    struct pieces p = read_pieces(l, c->mesh_cert, c->mesh_key, c->mesh_ca, c->mesh_crl);
    struct tls_server_opts opts = {.cert_pem = p.cert,
                                   .key_pem = p.key,
                                   .client_ca_pem = p.ca,
                                   .client_crl_pem = p.crl,
                                   .client_auth = TLS_CLIENT_REQUIRED,
                                   .mesh = true};
    const char *why = "";

    if (p.whole && tls_server_new(&opts, &l->s->mesh_tls, &why) != ERR_OK)
        issues_add(l->issues, c->mesh_cert, 0, NULL, "%s", why);
    else if (p.whole)
        check_mesh_name(l, p.cert);
    drop_pieces(&p);
}

void
snapshot_load_listeners(struct snapshot_load *l)
{
    load_public(l);
    if (l->config->mesh_address[0] != '\0')
        load_mesh(l);
}
