/* The charter: opened, checked, found in, shared. */
#include "residency/charter_priv.h"

#include "base/check.h"
#include "base/text.h"
#include "crypto/dsse.h"

#include <stdatomic.h>
#include <stdlib.h>

#define VERSION_MAX ((int64_t)1 << 53)

static const char *const key_use_words[] = {"attest", "log", "witness", "advert"};

const char *
charter_key_use_name(enum charter_key_use u)
{
    ASSERT(u < KEY_USE_COUNT);
    return key_use_words[u];
}

static void
charter_free(struct charter *c)
{
    for (size_t i = 0; i < c->node_count; i++)
        for (size_t k = 0; k < c->nodes[i].key_count; k++)
            key_free(&c->nodes[i].keys[k].key);
    json_free(&c->doc);
    charter_heap_free(&c->heap);
    free(c);
}

static void
load_head(struct charter *c, const struct json_reader *root)
{
    struct json_reader v = json_reader_get(root, "v");
    struct json_reader version = json_reader_get(root, "version");
    struct json_reader issued = json_reader_get(root, "issued");
    struct json_reader renew = json_reader_get(root, "renew_by");
    struct json_reader valid = json_reader_get(root, "valid_until");
    struct json_reader seed = json_reader_get(root, "seed");
    size_t seed_len = sizeof(c->seed);
    struct slice text;
    int64_t n;

    (void)json_reader_int(&v, 1, 1, &n);
    c->mesh = charter_read_text(c, root, "mesh", CHARTER_NAME_PLAIN, NULL);
    if (json_reader_int(&version, 1, VERSION_MAX, &n))
        c->version = (uint64_t)n;
    if (json_reader_time(&issued, &c->issued_ms) && json_reader_time(&renew, &c->renew_by_ms) &&
        json_reader_time(&valid, &c->valid_until_ms)) {
        if (c->renew_by_ms < c->issued_ms)
            json_reader_fault(&renew, "must not be before issued");
        if (c->valid_until_ms < c->renew_by_ms)
            json_reader_fault(&valid, "must not be before renew_by");
    }
    if (json_reader_string(&seed, &text) &&
        (!text_unb64url(text, c->seed, &seed_len) || seed_len != sizeof(c->seed)))
        json_reader_fault(&seed, "must be 32 bytes in base64url");
}

static void
load_sections(struct charter *c, const struct json_reader *root)
{
    static const char *const keys[] = {
        "v",       "mesh",        "version",  "issued",  "seed",   "renew_by",
        "groups",  "valid_until", "regions",  "nodes",   "models", "backends",
        "issuers", "client_cas",  "api_keys", "tenants", NULL};

    if (!json_reader_keys(root, keys))
        return;
    load_head(c, root);
    charter_load_groups(c, root);
    charter_load_regions(c, root);
    charter_load_models(c, root);
    charter_load_nodes(c, root);
    charter_load_backends(c, root);
    charter_load_tenants(c, root);
    charter_load_issuers(c, root);
    charter_load_cas(c, root);
    charter_load_api_keys(c, root);
}

enum err
charter_load(struct slice text, const char *file, bool commented, struct issues *issues,
             struct charter **out)
{
    size_t before = issues->count + issues->dropped;
    struct json_reader root;
    struct charter *c;
    enum err e;

    ASSERT(out != NULL && *out == NULL);
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return ERR_NOMEM;
    atomic_init(&c->references, 1);
    e = charter_heap_new(&c->heap);
    if (e != ERR_OK)
        goto fail;
    if (commented)
        e = json_parse_commented(text, file, issues, &c->doc);
    else
        e = json_parse_file(text, file, issues, &c->doc);
    if (e != ERR_OK)
        goto fail;
    root = json_reader_root(c->doc, file, issues);
    load_sections(c, &root);
    e = charter_heap_failed(c->heap) ? ERR_NOMEM : ERR_OK;
    if (e == ERR_OK && issues->count + issues->dropped != before)
        e = ERR_BADMSG;
    if (e != ERR_OK)
        goto fail;
    for (size_t i = 0; i < c->tenant_count; i++)
        charter_policy_digest(c, &c->tenants[i]);
    hash_sha256(text, c->digest);
    *out = c;
    return ERR_OK;

fail:
    charter_free(c);
    return e;
}

enum err
charter_open(struct slice envelope, const char *file, const struct charter_trust *trust,
             struct issues *issues, struct charter **out)
{
    const char *why = "";
    struct dsse *env = NULL;
    size_t signers;
    enum err e;

    e = dsse_parse(envelope, &env, &why);
    if (e != ERR_OK) {
        issues_add(issues, file, 0, "", "not a charter envelope: %s", why);
        return e;
    }
    signers = dsse_verify(env, (const struct key *const *)trust->keys, trust->key_count);
    if (trust->threshold == 0 || signers < trust->threshold) {
        issues_add(issues, file, 0, "", "signed by %zu of the trusted keys, %zu are needed",
                   signers, trust->threshold);
        e = ERR_AUTH;
    } else if (!slice_is(dsse_payload_type(env), CHARTER_PAYLOAD_TYPE)) {
        issues_add(issues, file, 0, "", "the envelope holds no charter");
        e = ERR_BADMSG;
    } else {
        e = charter_load(dsse_payload(env), file, false, issues, out);
    }
    dsse_free(&env);
    return e;
}

struct charter *
charter_ref(struct charter *c)
{
    uint32_t before = atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);

    ASSERT(before > 0);
    ASSERT(before < UINT32_MAX);
    return c;
}

void
charter_unref(struct charter **c)
{
    if (*c == NULL)
        return;
    if (atomic_fetch_sub_explicit(&(*c)->references, 1, memory_order_acq_rel) == 1)
        charter_free(*c);
    *c = NULL;
}

uint32_t
charter_find_region(const struct charter *c, struct slice name)
{
    return charter_index(c->regions, c->region_count, sizeof(*c->regions), name);
}

uint32_t
charter_find_node(const struct charter *c, struct slice name)
{
    return charter_index(c->nodes, c->node_count, sizeof(*c->nodes), name);
}

uint32_t
charter_find_node_spiffe(const struct charter *c, struct slice spiffe)
{
    for (size_t i = 0; i < c->node_count; i++)
        if (slice_is(spiffe, c->nodes[i].spiffe))
            return (uint32_t)i;
    return CHARTER_NONE;
}

uint32_t
charter_find_model(const struct charter *c, struct slice id)
{
    return charter_index(c->models, c->model_count, sizeof(*c->models), id);
}

uint32_t
charter_find_backend(const struct charter *c, struct slice name)
{
    return charter_index(c->backends, c->backend_count, sizeof(*c->backends), name);
}

uint32_t
charter_find_tenant(const struct charter *c, struct slice name)
{
    return charter_index(c->tenants, c->tenant_count, sizeof(*c->tenants), name);
}

uint32_t
charter_find_issuer(const struct charter *c, struct slice id)
{
    return charter_index(c->issuers, c->issuer_count, sizeof(*c->issuers), id);
}

uint32_t
charter_find_api_key(const struct charter *c, struct slice id)
{
    return charter_index(c->api_keys, c->api_key_count, sizeof(*c->api_keys), id);
}

uint32_t
charter_find_alias(const struct charter_tenant *t, struct slice alias)
{
    return charter_index(t->aliases, t->alias_count, sizeof(*t->aliases), alias);
}

uint32_t
charter_find_role(const struct charter_tenant *t, struct slice role)
{
    return charter_index(t->roles, t->role_count, sizeof(*t->roles), role);
}

uint32_t
charter_find_class(const struct charter_tenant *t, struct slice name)
{
    return charter_index(t->classes, t->class_count, sizeof(*t->classes), name);
}

const struct key *
charter_node_key(const struct charter_node *n, enum charter_key_use use, struct slice kid,
                 int64_t at_ms)
{
    for (size_t i = 0; i < n->key_count; i++) {
        const struct charter_key *k = &n->keys[i];

        if (k->use == use && at_ms >= k->not_before_ms && at_ms <= k->not_after_ms &&
            slice_is(kid, key_thumbprint(k->key)))
            return k->key;
    }
    return NULL;
}
