/* Who may speak for which tenant: issuers, client CAs with their identities, API keys. */
#include "residency/charter_priv.h"

#include "base/check.h"
#include "base/text.h"

#include <stdlib.h>

#define LIFETIME_S_MAX 86400

static uint32_t
read_tenant(const struct charter *c, const struct json_reader *r)
{
    uint32_t tenant;
    struct slice s;

    if (!json_reader_string(r, &s))
        return CHARTER_NONE;
    tenant = charter_find_tenant(c, s);
    if (tenant == CHARTER_NONE)
        json_reader_fault(r, "\"%.*s\" is no tenant of this charter", SLICE_ARG(s));
    return tenant;
}

static int
index_cmp(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

/* The list "tenants" of an issuer or CA, sorted. */
static void
read_tenants(struct charter *c, const struct json_reader *root, uint32_t **out, size_t *count)
{
    struct json_reader r = json_reader_get(root, "tenants");
    size_t n = charter_list_count(&r, CHARTER_TENANTS_MAX);
    const struct json *v = n == 0 ? NULL : json_first(r.v);
    uint32_t *tenants = charter_alloc(c, n, sizeof(*tenants));

    if (r.v == NULL)
        json_reader_fault(&r, "missing");
    if (tenants == NULL)
        return;
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(&r, v, i);

        tenants[i] = read_tenant(c, &item);
    }
    if (n > 1)
        qsort(tenants, n, sizeof(*tenants), index_cmp);
    *out = tenants;
    *count = n;
}

static bool
has_index(const uint32_t *sorted, size_t count, uint32_t value)
{
    return count > 0 && bsearch(&value, sorted, count, sizeof(*sorted), index_cmp) != NULL;
}

bool
charter_issuer_speaks_for(const struct charter_issuer *i, uint32_t tenant)
{
    return has_index(i->tenants, i->tenant_count, tenant);
}

void
charter_load_issuers(struct charter *c, const struct json_reader *root)
{
    static const char *const keys[] = {"audience",     "tenants",     "max_lifetime_s",
                                       "tenant_claim", "roles_claim", NULL};
    struct json_reader r = json_reader_get(root, "issuers");
    struct charter_section s;

    if (!charter_section_read(c, &r, false, CHARTER_NAME_LONG, CHARTER_ISSUERS_MAX, &s))
        return;
    c->issuers = charter_alloc(c, s.count, sizeof(*c->issuers));
    for (size_t i = 0; i < s.count && c->issuers != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);
        struct json_reader lifetime = json_reader_get(&member, "max_lifetime_s");
        struct charter_issuer *issuer = &c->issuers[i];

        issuer->id = json_key(s.values[i]);
        issuer->max_lifetime_s = 3600;
        c->issuer_count = i + 1;
        if (!json_reader_keys(&member, keys))
            continue;
        issuer->audience = charter_read_text(c, &member, "audience", CHARTER_NAME_LONG, NULL);
        issuer->tenant_claim =
            charter_read_text(c, &member, "tenant_claim", CHARTER_NAME_TEXT, "tenant");
        issuer->roles_claim =
            charter_read_text(c, &member, "roles_claim", CHARTER_NAME_TEXT, "roles");
        (void)json_reader_opt_int(&lifetime, 1, LIFETIME_S_MAX, &issuer->max_lifetime_s);
        read_tenants(c, &member, &issuer->tenants, &issuer->tenant_count);
    }
}

static void
read_match(struct charter *c, const struct json_reader *r, struct charter_identity *id)
{
    static const char *const words[] = {
        [MATCH_SPIFFE] = "spiffe", [MATCH_DNS] = "dns", [MATCH_SHA256] = "sha256"};
    size_t found = 0;

    for (unsigned i = 0; i < ARRAY_COUNT(words); i++) {
        struct json_reader at = json_reader_get(r, words[i]);

        if (at.v == NULL)
            continue;
        found++;
        id->match = (enum charter_match)i;
        id->value = charter_read_text(c, r, words[i], CHARTER_NAME_LONG, NULL);
        if (id->value == NULL)
            continue;
        if (i == MATCH_SHA256 && !charter_hex_ok(slice_str(id->value)))
            json_reader_fault(&at, "must be a SHA-256 of 64 lower-case hex characters");
        if (i == MATCH_SPIFFE && strncmp(id->value, "spiffe://", 9) != 0)
            json_reader_fault(&at, "must start with spiffe://");
    }
    if (found != 1)
        json_reader_fault(r, "needs exactly one of spiffe, dns and sha256");
}

static void
read_identity(struct charter *c, const struct json_reader *r, const uint32_t *tenants,
              size_t tenant_count, struct charter_identity *id)
{
    static const char *const keys[] = {"spiffe", "dns", "sha256", "tenant", "roles", NULL};
    struct json_reader tenant = json_reader_get(r, "tenant");
    struct json_reader roles = json_reader_get(r, "roles");

    if (!json_reader_keys(r, keys))
        return;
    read_match(c, r, id);
    id->tenant = read_tenant(c, &tenant);
    if (id->tenant != CHARTER_NONE && !has_index(tenants, tenant_count, id->tenant))
        json_reader_fault(&tenant, "the CA does not speak for tenant \"%s\"",
                          c->tenants[id->tenant].name);
    (void)charter_read_roles(c, &roles, &id->roles, &id->role_count);
}

/* Two rows for one certificate would leave its tenant to their order. */
static void
check_unique(const struct charter *c, const struct json_reader *r,
             const struct charter_identity *id)
{
    for (const struct charter_identity *o = c->identities; o < id; o++)
        if (o->ca == id->ca && o->match == id->match && o->value != NULL && id->value != NULL &&
            strcmp(o->value, id->value) == 0)
            json_reader_fault(r, "\"%s\" is listed twice", id->value);
}

static void
read_ca(struct charter *c, const struct json_reader *r, uint32_t index)
{
    static const char *const keys[] = {"sha256", "tenants", "identities", NULL};
    struct json_reader sha256 = json_reader_get(r, "sha256");
    struct json_reader list = json_reader_get(r, "identities");
    size_t n = charter_list_count(&list, CHARTER_IDENTITIES_MAX - c->identity_count);
    const struct json *v = n == 0 ? NULL : json_first(list.v);
    uint32_t *tenants = NULL;
    size_t tenant_count = 0;

    if (!json_reader_keys(r, keys))
        return;
    (void)charter_read_hex(&sha256, c->cas[index].sha256);
    read_tenants(c, r, &tenants, &tenant_count);
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(&list, v, i);
        struct charter_identity *id = &c->identities[c->identity_count++];

        id->ca = index;
        read_identity(c, &item, tenants, tenant_count, id);
        check_unique(c, &item, id);
    }
}

void
charter_load_cas(struct charter *c, const struct json_reader *root)
{
    struct json_reader r = json_reader_get(root, "client_cas");
    struct charter_section s;
    size_t identities = 0;

    if (!charter_section_read(c, &r, false, CHARTER_NAME_PLAIN, CHARTER_CAS_MAX, &s))
        return;
    for (size_t i = 0; i < s.count; i++)
        identities += json_count(json_get(s.values[i], "identities"));
    if (identities > CHARTER_IDENTITIES_MAX) {
        json_reader_fault(&r, "holds %zu identities, at most %d are allowed", identities,
                          CHARTER_IDENTITIES_MAX);
        return;
    }
    c->cas = charter_alloc(c, s.count, sizeof(*c->cas));
    c->identities = charter_alloc(c, identities, sizeof(*c->identities));
    if (c->cas == NULL || c->identities == NULL)
        return;
    for (size_t i = 0; i < s.count; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);

        c->cas[i].name = json_key(s.values[i]);
        c->ca_count = i + 1;
        read_ca(c, &member, (uint32_t)i);
    }
}

void
charter_load_api_keys(struct charter *c, const struct json_reader *root)
{
    static const char *const keys[] = {"tenant", "subject", "roles", NULL};
    struct json_reader r = json_reader_get(root, "api_keys");
    struct charter_section s;

    if (!charter_section_read(c, &r, false, CHARTER_NAME_KEY_ID, CHARTER_API_KEYS_MAX, &s))
        return;
    c->api_keys = charter_alloc(c, s.count, sizeof(*c->api_keys));
    for (size_t i = 0; i < s.count && c->api_keys != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);
        struct json_reader tenant = json_reader_get(&member, "tenant");
        struct json_reader roles = json_reader_get(&member, "roles");
        struct charter_api_key *key = &c->api_keys[i];

        key->id = json_key(s.values[i]);
        c->api_key_count = i + 1;
        if (!json_reader_keys(&member, keys))
            continue;
        key->tenant = read_tenant(c, &tenant);
        key->subject = charter_read_text(c, &member, "subject", CHARTER_NAME_LONG, NULL);
        (void)charter_read_roles(c, &roles, &key->roles, &key->role_count);
    }
}
