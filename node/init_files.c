/* Keys and certificates of a local mesh: three authorities that know nothing of each other
 * (nodes, clients, backends), and what each of them vouches for. */
#include "node/init.h"

#include "base/check.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "residency/identity/identity.h"

#include <stdio.h>
#include <stdlib.h>

#define HOUR_MS INT64_C(3600000)

struct authority {
    struct key *key;
    char pem[INIT_PEM_MAX];
    size_t pem_len;
};

bool
init_write(const struct init *in, const char *name, struct slice content, mode_t mode)
{
    char path[INIT_PATH_MAX];
    enum err e = ERR_TOOBIG;

    if (file_join(path, sizeof(path), in->dir, name))
        e = file_write(path, content, mode);
    if (e != ERR_OK)
        (void)fprintf(stderr, "%s/%s: can't be written: %s\n", in->dir, name, err_text(e));
    return e == ERR_OK;
}

bool
init_folder(const struct init *in, const char *name)
{
    char path[INIT_PATH_MAX];
    enum err e = ERR_TOOBIG;

    if (file_join(path, sizeof(path), in->dir, name))
        e = file_mkdirs(path, 0700);
    if (e != ERR_OK)
        (void)fprintf(stderr, "%s/%s: can't be made: %s\n", in->dir, name, err_text(e));
    return e == ERR_OK;
}

static bool
failed(const char *name, enum err e)
{
    if (e != ERR_OK)
        (void)fprintf(stderr, "%s: %s\n", name, err_text(e));
    return e != ERR_OK;
}

/* A new key, written to the folder; and its public JWK where one is asked for. */
static bool
new_key(const struct init *in, const char *name, enum key_alg alg, struct key **out,
        char jwk[INIT_JWK_MAX])
{
    char pem[INIT_PEM_MAX];
    struct text t;
    bool ok;

    text_init(&t, pem, sizeof(pem));
    if (failed(name, key_generate(alg, out)) || failed(name, key_to_private_pem(*out, &t)))
        return false;
    ok = init_write(in, name, text_slice(&t), 0600);
    hash_wipe(pem, sizeof(pem));
    if (!ok || jwk == NULL)
        return ok;
    text_init(&t, jwk, INIT_JWK_MAX - 1);
    if (failed(name, key_to_jwk(*out, &t)))
        return false;
    jwk[t.used] = '\0';
    return true;
}

static bool
make_authority(const struct init *in, const char *folder, const char *what, struct authority *out)
{
    char name[INIT_PATH_MAX];
    char common[96];
    struct cert_request request = {.common_name = common,
                                   .is_ca = true,
                                   .not_before_ms = in->now_ms - HOUR_MS,
                                   .not_after_ms = in->until_ms};
    struct text t;

    if (!text_format(common, sizeof(common), "%s %s CA", in->mesh, what) ||
        !init_folder(in, folder) || !text_format(name, sizeof(name), "%s/ca.key", folder) ||
        !new_key(in, name, KEY_ES256, &out->key, NULL))
        return false;
    text_init(&t, out->pem, sizeof(out->pem));
    if (failed(name, cert_make(&request, out->key, SLICE_NONE, out->key, &t)))
        return false;
    out->pem_len = t.used;
    return text_format(name, sizeof(name), "%s/ca.pem", folder) &&
           init_write(in, name, text_slice(&t), 0644);
}

/* <base>.key and <base>.pem; *facts may be NULL. */
static bool
make_pair(const struct init *in, const struct authority *ca, const char *base,
          struct cert_request *request, struct cert_facts *facts)
{
    char name[INIT_PATH_MAX];
    char pem[2 * INIT_PEM_MAX];
    struct key *key = NULL;
    struct text t;
    bool ok = false;

    request->not_before_ms = in->now_ms - HOUR_MS;
    request->not_after_ms = in->until_ms;
    text_init(&t, pem, sizeof(pem));
    if (!text_format(name, sizeof(name), "%s.key", base) ||
        !new_key(in, name, KEY_ES256, &key, NULL))
        goto out;
    if (failed(base, cert_make(request, key, slice_of(ca->pem, ca->pem_len), ca->key, &t)) ||
        (facts != NULL && failed(base, cert_read_pem(text_slice(&t), facts))) ||
        !text_format(name, sizeof(name), "%s.pem", base))
        goto out;
    ok = init_write(in, name, text_slice(&t), 0644);
out:
    key_free(&key);
    return ok;
}

static bool
make_node(struct init *in, const struct authority *ca, struct init_region *r)
{
    static const char *const folders[] = {"state", "ledger", "subjects"};
    static const char *const ips[] = {"127.0.0.1", "::1", NULL};
    char spiffe[CERT_URI_MAX];
    char host[160];
    char path[INIT_PATH_MAX];
    const char *dns[] = {"localhost", r->node, host, NULL};
    struct cert_request public = {.common_name = r->node, .dns = dns, .ips = ips};
    struct cert_request mesh = {.common_name = r->node, .spiffe = spiffe};
    struct key *attest = NULL;
    struct key *advert = NULL;
    bool ok;

    for (size_t i = 0; i < ARRAY_COUNT(folders); i++)
        if (!text_format(path, sizeof(path), "nodes/%s/%s", r->node, folders[i]) ||
            !init_folder(in, path))
            return false;
    ok = text_format(spiffe, sizeof(spiffe), "spiffe://%s.example/node/%s", in->mesh, r->node) &&
         text_format(host, sizeof(host), "%s.%s.example", r->node, in->mesh) &&
         text_format(path, sizeof(path), "nodes/%s/public", r->node) &&
         make_pair(in, ca, path, &public, NULL) &&
         text_format(path, sizeof(path), "nodes/%s/mesh", r->node) &&
         make_pair(in, ca, path, &mesh, NULL) &&
         text_format(path, sizeof(path), "nodes/%s/attest.key", r->node) &&
         new_key(in, path, KEY_ES256, &attest, r->attest_jwk) &&
         text_format(path, sizeof(path), "nodes/%s/advert.key", r->node) &&
         new_key(in, path, KEY_EDDSA, &advert, r->advert_jwk);
    key_free(&attest);
    key_free(&advert);
    return ok;
}

static bool
hex_of(const uint8_t digest[HASH_SIZE], char out[2 * HASH_SIZE + 1])
{
    struct text t;

    text_init(&t, out, 2 * HASH_SIZE);
    text_add_hex(&t, slice_of(digest, HASH_SIZE));
    out[t.used] = '\0';
    return text_ok(&t);
}

/* The certificate is for the host of the URL: an address or a name. */
static bool
make_backend(const struct init *in, const struct authority *ca, struct init_backend *b)
{
    const struct slice https = SLICE_LIT("https://");
    struct slice host = slice_str(b->url);
    char name[CERT_DNS_MAX];
    char path[INIT_PATH_MAX];
    const char *names[] = {name, NULL};
    struct cert_request request = {.common_name = b->name};
    struct cert_facts facts;
    bool is_ip;

    if (!slice_starts(host, https))
        return true;
    host = slice_sub(host, https.len, host.len);
    host = slice_cut(&host, '/');
    if (host.len > 0 && host.p[0] == '[') {
        host = slice_sub(host, 1, host.len);
        host = slice_cut(&host, ']');
        is_ip = true;
    } else {
        host = slice_cut(&host, ':');
        is_ip = host.len > 0 && host.p[host.len - 1] <= '9';
    }
    if (host.len == 0 || !slice_copy_str(host, name, sizeof(name)) ||
        !text_format(path, sizeof(path), "backends/%s", b->name)) {
        (void)fprintf(stderr, "%s: no host in \"%s\"\n", b->name, b->url);
        return false;
    }
    if (is_ip)
        request.ips = names;
    else
        request.dns = names;
    return make_pair(in, ca, path, &request, &facts) && hex_of(facts.spki_sha256, b->spki);
}

static bool
make_clients(struct init *in, const struct authority *ca)
{
    static const char *const names[] = {"example", "clinic"};
    struct cert_facts facts;
    char spiffe[CERT_URI_MAX];
    char path[INIT_PATH_MAX];

    if (failed("clients/ca.pem", cert_read_pem(slice_of(ca->pem, ca->pem_len), &facts)) ||
        !hex_of(facts.sha256, in->client_ca_sha256))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct cert_request request = {.common_name = names[i], .spiffe = spiffe};

        if (!text_format(spiffe, sizeof(spiffe), "spiffe://%s.example/client/%s", in->mesh,
                         names[i]) ||
            !text_format(path, sizeof(path), "clients/%s", names[i]) ||
            !make_pair(in, ca, path, &request, NULL))
            return false;
    }
    return true;
}

static bool
make_issuer(const struct init *in)
{
    char jwk[INIT_JWK_MAX];
    char jwks[INIT_JWK_MAX + 32];
    struct key *key = NULL;
    bool ok = init_folder(in, "issuer") && new_key(in, "issuer/issuer.key", KEY_ES256, &key, jwk) &&
              text_format(jwks, sizeof(jwks), "{\"keys\":[%s]}\n", jwk) &&
              init_write(in, "issuer/jwks.json", slice_str(jwks), 0644);

    key_free(&key);
    return ok;
}

static bool
make_api_key(struct init *in)
{
    char row[512];
    char file[640];
    struct text k;
    struct text r;
    struct text f;

    text_init(&k, in->api_key, sizeof(in->api_key) - 1);
    text_init(&r, row, sizeof(row));
    text_init(&f, file, sizeof(file));
    if (failed("api-keys.json", identity_api_key_new(INIT_API_KEY_ID, in->now_ms, &k, &r)))
        return false;
    in->api_key[k.used] = '\0';
    text_add_str(&f, "{\"v\":1,\"keys\":[\n");
    text_add(&f, text_slice(&r));
    text_add_str(&f, "\n]}\n");
    return init_write(in, "api-keys.json", text_slice(&f), 0600);
}

static bool
make_charter_key(struct init *in)
{
    struct key *key = NULL;
    bool ok = init_folder(in, "charter") &&
              new_key(in, "charter/charter-key.pem", KEY_EDDSA, &key, in->charter_jwk) &&
              init_write(in, "charter/charter-key.jwk.json", slice_str(in->charter_jwk), 0644);

    key_free(&key);
    return ok;
}

bool
init_files_write(struct init *in)
{
    struct authority nodes = {.key = NULL};
    struct authority clients = {.key = NULL};
    struct authority backends = {.key = NULL};
    bool ok = make_authority(in, "ca", "mesh", &nodes) &&
              make_authority(in, "clients", "client", &clients) &&
              make_authority(in, "backends", "backend", &backends);

    for (size_t i = 0; ok && i < in->region_count; i++)
        ok = make_node(in, &nodes, &in->regions[i]);
    for (size_t i = 0; ok && i < in->backend_count; i++)
        ok = make_backend(in, &backends, &in->backends[i]);
    ok = ok && make_clients(in, &clients) && make_issuer(in) && make_api_key(in) &&
         make_charter_key(in);
    key_free(&nodes.key);
    key_free(&clients.key);
    key_free(&backends.key);
    return ok;
}
