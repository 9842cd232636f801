#ifndef RESIDENCY_CHARTER_PRIV_H
#define RESIDENCY_CHARTER_PRIV_H

#include "residency/charter.h"

/* How a charter is built; for the charter*.c files only. Each section has a reader that
 * reports every fault it finds and goes on; charter_load() gives a charter only when
 * there was none. */

/* Zeroed memory that lives as long as the charter. NULL sets a sticky mark that
 * charter_load() looks at once; readers just stop. A count of 0 gives a valid pointer. */
void *charter_alloc(struct charter *c, size_t count, size_t size);
const char *charter_copy(struct charter *c, struct slice s);
MUST_USE enum err charter_heap_new(struct charter_heap **out);
void charter_heap_free(struct charter_heap **heap);
bool charter_heap_failed(const struct charter_heap *heap);

/* Grammar of the names in formats.md section 1. */
enum charter_name {
    CHARTER_NAME_PLAIN, /* mesh, region, node, backend, CA */
    CHARTER_NAME_TENANT,
    CHARTER_NAME_TEXT, /* model id, alias, served name: visible ASCII */
    CHARTER_NAME_ROLE, /* and class */
    CHARTER_NAME_GROUP,
    CHARTER_NAME_KEY_ID, /* of an API key: a-z and 0-9, because "_" parts id and secret */
    CHARTER_NAME_LONG    /* issuer, subject: visible ASCII up to 256 bytes */
};
bool charter_name_ok(enum charter_name kind, struct slice s);

/* A list of names in a tenant's policy that its children may only shorten. */
struct charter_names {
    const char **names; /* sorted */
    size_t count;
    const char *tenant; /* whose list it is */
};
struct charter_names_rule {
    const char *key;
    size_t count_max;
    bool (*ok)(struct slice name);
    const char *words; /* what a name must be */
};
/* Leaves *out as it is (inherited) when the key is absent. */
void charter_load_names(struct charter *c, const struct json_reader *root,
                        const struct charter_names_rule *rule, const char *tenant,
                        const struct charter_names *parent, struct charter_names *out);
bool charter_has_name(const struct charter_names *list, struct slice name);

/* The members of an object, sorted by key in byte order; those whose key breaks the
 * grammar are reported and left out. */
struct charter_section {
    const struct json **values;
    size_t count;
};
/* False when r is absent, no object, or holds more than max (reported, absence only when
 * required); *out is then empty. */
bool charter_section_read(struct charter *c, const struct json_reader *r, bool required,
                          enum charter_name kind, size_t max, struct charter_section *out);

/* A required or optional string member; gives a copy, or otherwise when it is absent. NULL
 * after a fault. */
const char *charter_read_text(struct charter *c, const struct json_reader *r, const char *key,
                              enum charter_name kind, const char *otherwise);
/* One of the NULL-terminated words into its index; absent leaves *out alone. */
bool charter_read_word(const struct json_reader *r, const char *const *words, unsigned *out);
/* A country code; absent leaves *out alone. */
bool charter_read_country(const struct json_reader *r, uint16_t *out);
/* A list of country codes, added to *out. */
void charter_read_countries(const struct json_reader *r, struct country_set *out);
/* The name of a region, or CHARTER_NONE after a fault. */
uint32_t charter_read_region(const struct charter *c, const struct json_reader *r);
/* SHA-256 as 64 lower-case hex characters. */
bool charter_hex_ok(struct slice s);
bool charter_read_hex(const struct json_reader *r, uint8_t out[HASH_SIZE]);
/* A list of strings: the number of items, or 0 after a fault or when absent. */
size_t charter_list_count(const struct json_reader *r, size_t max);
/* The list of roles at r. */
bool charter_read_roles(struct charter *c, const struct json_reader *r, const char ***out,
                        size_t *count);
/* "host:port" with the brackets of an IPv6 literal taken off. */
bool charter_parse_address(struct slice text, struct slice *host, uint16_t *port);
bool charter_parse_port(struct slice text, uint16_t *port);

/* The index of a name in an array whose elements start with a `const char *` and are
 * sorted by it, or CHARTER_NONE. */
uint32_t charter_index(const void *base, size_t count, size_t size, struct slice name);
void charter_sort(void *base, size_t count, size_t size);

/* Places: lists of countries, groups and regions. */
static inline bool
charter_region_bit(const uint64_t *words, uint32_t region)
{
    return region < CHARTER_REGIONS_MAX && (words[region / 64] >> (region % 64) & 1) != 0;
}
static inline void
charter_region_add(uint64_t *words, uint32_t region)
{
    if (region < CHARTER_REGIONS_MAX)
        words[region / 64] |= UINT64_C(1) << (region % 64);
}
/* Reads a list into *out; regions are refused where with_regions is false. */
void charter_places_read(const struct charter *c, const struct json_reader *r, bool with_regions,
                         struct charter_places *out);
/* a becomes what both admit; exact, because `region:x` stands for its region's country. */
void charter_places_and(const struct charter *c, struct charter_places *a,
                        const struct charter_places *b);

/* Who narrows whom, for the words of a fault. */
struct charter_bound {
    const char *tenant;
    const char *member; /* "classes.phi.process_in" */
    const char *outer;  /* "its parent \"acme\"" */
};
/* Reports the item of the list at r through which inner leaves outer. */
bool charter_places_within(const struct charter *c, const struct json_reader *r,
                           const struct charter_bound *bound, const struct charter_places *inner,
                           const struct charter_places *outer);

/* Sections, in the order in which they refer to each other. */
void charter_load_groups(struct charter *c, const struct json_reader *root);
void charter_load_regions(struct charter *c, const struct json_reader *root);
void charter_load_models(struct charter *c, const struct json_reader *root);
void charter_load_nodes(struct charter *c, const struct json_reader *root);
void charter_load_backends(struct charter *c, const struct json_reader *root);
void charter_load_tenants(struct charter *c, const struct json_reader *root);
void charter_load_issuers(struct charter *c, const struct json_reader *root);
void charter_load_cas(struct charter *c, const struct json_reader *root);
void charter_load_api_keys(struct charter *c, const struct json_reader *root);

/* Aliases and roles of one tenant, which starts as a copy of its parent. */
void charter_load_aliases(struct charter *c, const struct json_reader *r, struct charter_tenant *t,
                          const struct charter_tenant *parent);
/* The members that are single words, numbers or plain lists. */
void charter_load_paths(struct charter *c, const struct json_reader *root, struct charter_tenant *t,
                        const struct charter_tenant *parent);
void charter_load_terms(struct charter *c, const struct json_reader *r, struct charter_tenant *t,
                        const struct charter_tenant *parent);

/* Fills t->digest from everything else in t. */
void charter_policy_digest(const struct charter *c, struct charter_tenant *t);

#endif
