/* Groups, regions, models and nodes of a charter. */
#include "residency/charter_priv.h"

#include "base/check.h"

static void
read_group(const struct json_reader *r, struct charter_group *g)
{
    static const char *const keys[] = {"countries", "as_of", "source", NULL};
    struct json_reader countries = json_reader_get(r, "countries");
    struct json_reader as_of = json_reader_get(r, "as_of");
    struct json_reader source = json_reader_get(r, "source");
    struct slice s;

    if (!json_reader_keys(r, keys))
        return;
    if (countries.v == NULL)
        json_reader_fault(&countries, "missing");
    charter_read_countries(&countries, &g->countries);
    /* Dated and sourced, so that an auditor can tell which list was meant. */
    if (json_reader_string(&as_of, &s) && s.len == 0)
        json_reader_fault(&as_of, "must not be empty");
    if (json_reader_string(&source, &s) && s.len == 0)
        json_reader_fault(&source, "must not be empty");
}

void
charter_load_groups(struct charter *c, const struct json_reader *root)
{
    struct json_reader r = json_reader_get(root, "groups");
    struct charter_section s;

    if (!charter_section_read(c, &r, false, CHARTER_NAME_GROUP, CHARTER_GROUPS_MAX, &s))
        return;
    c->groups = charter_alloc(c, s.count, sizeof(*c->groups));
    for (size_t i = 0; i < s.count && c->groups != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);

        c->groups[i].name = json_key(s.values[i]);
        c->group_count = i + 1;
        read_group(&member, &c->groups[i]);
    }
}

void
charter_load_regions(struct charter *c, const struct json_reader *root)
{
    static const char *const keys[] = {"country", NULL};
    struct json_reader r = json_reader_get(root, "regions");
    struct charter_section s;

    if (!charter_section_read(c, &r, true, CHARTER_NAME_PLAIN, CHARTER_REGIONS_MAX, &s))
        return;
    c->regions = charter_alloc(c, s.count, sizeof(*c->regions));
    for (size_t i = 0; i < s.count && c->regions != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);
        struct json_reader country = json_reader_get(&member, "country");

        c->regions[i] = (struct charter_region){json_key(s.values[i]), COUNTRY_NONE};
        c->region_count = i + 1;
        if (!json_reader_keys(&member, keys))
            continue;
        if (country.v == NULL)
            json_reader_fault(&country, "missing");
        (void)charter_read_country(&country, &c->regions[i].country);
    }
}

void
charter_load_models(struct charter *c, const struct json_reader *root)
{
    static const char *const keys[] = {"digest", NULL};
    const struct slice prefix = SLICE_LIT("sha256:");
    struct json_reader r = json_reader_get(root, "models");
    struct charter_section s;

    if (!charter_section_read(c, &r, true, CHARTER_NAME_TEXT, CHARTER_MODELS_MAX, &s))
        return;
    c->models = charter_alloc(c, s.count, sizeof(*c->models));
    for (size_t i = 0; i < s.count && c->models != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);
        struct json_reader digest = json_reader_get(&member, "digest");
        struct slice text = SLICE_NONE;

        c->models[i] = (struct charter_model){json_key(s.values[i]), ""};
        c->model_count = i + 1;
        if (!json_reader_keys(&member, keys) || !json_reader_opt_string(&digest, &text) ||
            digest.v == NULL)
            continue;
        if (slice_starts(text, prefix) && charter_hex_ok(slice_sub(text, prefix.len, text.len)))
            c->models[i].digest = charter_copy(c, slice_sub(text, prefix.len, text.len));
        else
            json_reader_fault(&digest, "must be sha256: and 64 lower-case hex characters");
    }
}

static bool
use_takes(enum charter_key_use use, enum key_alg alg)
{
    /* Checkpoints and cosignatures are signed notes: Ed25519 by their format. */
    if (use == KEY_USE_LOG || use == KEY_USE_WITNESS)
        return alg == KEY_EDDSA;
    return alg == KEY_EDDSA || alg == KEY_ES256;
}

static void
read_node_key(const struct json_reader *r, struct charter_key *k)
{
    static const char *const keys[] = {"use", "jwk", "not_before", "not_after", NULL};
    static const char *const uses[] = {"attest", "log", "witness", "advert", NULL};
    struct json_reader use = json_reader_get(r, "use");
    struct json_reader jwk = json_reader_get(r, "jwk");
    struct json_reader before = json_reader_get(r, "not_before");
    struct json_reader after = json_reader_get(r, "not_after");
    unsigned word = 0;

    if (!json_reader_keys(r, keys))
        return;
    if (use.v == NULL)
        json_reader_fault(&use, "missing");
    if (charter_read_word(&use, uses, &word))
        k->use = (enum charter_key_use)word;
    if (json_reader_time(&before, &k->not_before_ms) &&
        json_reader_time(&after, &k->not_after_ms) && k->not_after_ms <= k->not_before_ms)
        json_reader_fault(&after, "must be later than not_before");
    if (jwk.v == NULL)
        json_reader_fault(&jwk, "missing");
    else if (key_from_jwk(jwk.v, &k->key) != ERR_OK)
        json_reader_fault(&jwk, "is not a public key that can be used");
    else if (!use_takes(k->use, key_algorithm(k->key)))
        json_reader_fault(&jwk, "a key of %s is not used for \"%s\"",
                          key_alg_name(key_algorithm(k->key)), uses[k->use]);
}

static void
read_node(struct charter *c, const struct json_reader *r, struct charter_node *n)
{
    static const char *const known[] = {"region", "spiffe", "address", "keys", NULL};
    struct json_reader region = json_reader_get(r, "region");
    struct json_reader address = json_reader_get(r, "address");
    struct json_reader keys = json_reader_get(r, "keys");
    struct slice text, host;
    const struct json *v;
    size_t count;

    if (!json_reader_keys(r, known))
        return;
    n->region = charter_read_region(c, &region);
    n->spiffe = charter_read_text(c, r, "spiffe", CHARTER_NAME_LONG, NULL);
    if (n->spiffe != NULL && strncmp(n->spiffe, "spiffe://", 9) != 0) {
        struct json_reader spiffe = json_reader_get(r, "spiffe");

        json_reader_fault(&spiffe, "must start with spiffe://");
    }
    if (json_reader_string(&address, &text)) {
        if (charter_parse_address(text, &host, &n->port))
            n->host = charter_copy(c, host);
        else
            json_reader_fault(&address, "must be host:port, an IPv6 address in brackets");
    }
    count = charter_list_count(&keys, CHARTER_NODE_KEYS_MAX);
    n->keys = charter_alloc(c, count, sizeof(*n->keys));
    if (n->keys == NULL)
        return;
    n->key_count = count;
    v = count == 0 ? NULL : json_first(keys.v);
    for (size_t i = 0; i < count && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(&keys, v, i);

        read_node_key(&item, &n->keys[i]);
    }
}

void
charter_load_nodes(struct charter *c, const struct json_reader *root)
{
    struct json_reader r = json_reader_get(root, "nodes");
    struct charter_section s;

    if (!charter_section_read(c, &r, true, CHARTER_NAME_PLAIN, CHARTER_NODES_MAX, &s))
        return;
    c->nodes = charter_alloc(c, s.count, sizeof(*c->nodes));
    for (size_t i = 0; i < s.count && c->nodes != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);
        struct charter_node *n = &c->nodes[i];

        n->name = json_key(s.values[i]);
        n->region = CHARTER_NONE;
        c->node_count = i + 1;
        read_node(c, &member, n);
        for (size_t k = 0; k < i && n->spiffe != NULL; k++)
            if (c->nodes[k].spiffe != NULL && strcmp(c->nodes[k].spiffe, n->spiffe) == 0)
                json_reader_fault(&member, "spiffe is that of node \"%s\" too", c->nodes[k].name);
    }
}
