/* Tenants: each starts as a copy of its parent's effective policy and may only narrow it.
 * What a child does not state is shared with the parent, not copied: ten thousand tenants
 * usually hold a handful of different rules. */
#include "residency/charter_priv.h"

#include "base/check.h"
#include "base/text.h"

#include <stdlib.h>

/* The lists of one class, or of the tenant's base rules. */
enum rule { RULE_PROCESS, RULE_OPERATORS, RULE_OWNERS, RULE_ACCESS, RULE_COUNT };
static const char *const rule_names[] = {"process_in", "operators_from", "owners_from",
                                         "access_from"};

/* One tenant while it is read. */
struct reading {
    struct charter *c;
    const struct json_reader *r;
    struct charter_tenant *t;
    const struct charter_tenant *parent; /* NULL at the top */
    char outer[CHARTER_TENANT_MAX + 32]; /* who bounds it, for faults */
};

static struct country_set *
rule_countries(struct charter_class *rules, enum rule rule)
{
    switch (rule) {
    case RULE_OPERATORS:
        return &rules->operators_from;
    case RULE_OWNERS:
        return &rules->owners_from;
    case RULE_ACCESS:
        return &rules->access_from;
    case RULE_PROCESS:
    case RULE_COUNT:
        break;
    }
    return &rules->process_in.countries;
}

/* A list that narrows *at (or, with no outer bound, becomes it). */
static void
read_places(const struct reading *in, const struct json_reader *list, const char *member,
            const char *outer, bool with_regions, struct charter_places *at)
{
    struct charter_bound bound = {in->t->name, member, outer};
    struct charter_places stated;

    charter_places_read(in->c, list, with_regions, &stated);
    if (outer != NULL) {
        if (!charter_places_within(in->c, list, &bound, &stated, at))
            return;
        charter_places_and(in->c, &stated, at); /* a parent's "!region:x" stays in force */
    }
    *at = stated;
}

/* The four lists at r, each where it is stated. */
static void
read_rules(const struct reading *in, const struct json_reader *r, const char *prefix,
           const char *outer, struct charter_class *rules)
{
    char member[96];

    for (enum rule rule = 0; rule < RULE_COUNT; rule++) {
        struct json_reader list = json_reader_get(r, rule_names[rule]);
        struct charter_places one = {.countries = *rule_countries(rules, rule)};

        if (list.v == NULL)
            continue;
        (void)text_format(member, sizeof(member), "%s%s", prefix, rule_names[rule]);
        if (rule == RULE_PROCESS) {
            read_places(in, &list, member, outer, true, &rules->process_in);
        } else {
            read_places(in, &list, member, outer, false, &one);
            *rule_countries(rules, rule) = one.countries;
        }
    }
}

/* Who is not asked about owners or access is asked the same as about operators: a missing
 * rule must not admit what is unknown. */
static void
default_rules(const struct reading *in, struct charter_class *base)
{
    static const enum rule required[] = {RULE_PROCESS, RULE_OPERATORS};

    for (size_t i = 0; i < ARRAY_COUNT(required); i++) {
        struct json_reader list = json_reader_get(in->r, rule_names[required[i]]);

        if (list.v == NULL)
            json_reader_fault(&list, "missing: a top-level tenant must state it");
    }
    if (json_get(in->r->v, "owners_from") == NULL)
        base->owners_from = base->operators_from;
    if (json_get(in->r->v, "access_from") == NULL)
        base->access_from = base->operators_from;
}

static void
class_and(const struct charter *c, struct charter_class *a, const struct charter_class *b)
{
    charter_places_and(c, &a->process_in, &b->process_in);
    country_set_and(&a->operators_from, &b->operators_from);
    country_set_and(&a->owners_from, &b->owners_from);
    country_set_and(&a->access_from, &b->access_from);
}

/* Reads one stated class into the list, over the parent's of that name or as a new one. */
static void
read_class(const struct reading *in, const struct json_reader *r, struct charter_class *classes,
           size_t *count)
{
    struct charter_class *class = NULL;
    char prefix[64];

    if (!json_reader_keys(r, (const char *const[]){"process_in", "operators_from", "owners_from",
                                                   "access_from", NULL}))
        return;
    for (size_t i = 1; i < *count; i++)
        if (strcmp(classes[i].name, r->key) == 0)
            class = &classes[i];
    if (class == NULL) {
        class = &classes[(*count)++];
        *class = classes[0];
        class->name = r->key;
    }
    (void)text_format(prefix, sizeof(prefix), "classes.%s.", r->key);
    read_rules(in, r, prefix, "the rule that bounds the class", class);
}

static bool
states_any(const struct json_reader *r, const char *const *keys)
{
    for (; *keys != NULL; keys++)
        if (json_get(r->v, *keys) != NULL)
            return true;
    return false;
}

static void
load_classes(const struct reading *in)
{
    static const char *const own[] = {"process_in",  "operators_from", "owners_from",
                                      "access_from", "classes",        NULL};
    struct json_reader r = json_reader_get(in->r, "classes");
    size_t count = in->parent == NULL ? 1 : in->parent->class_count;
    struct charter_class *classes;
    struct charter_section s;

    if (in->parent != NULL && !states_any(in->r, own))
        return; /* shares the parent's */
    (void)charter_section_read(in->c, &r, false, CHARTER_NAME_ROLE, CHARTER_CLASSES_MAX - 1, &s);
    classes = charter_alloc(in->c, count + s.count, sizeof(*classes));
    if (classes == NULL)
        return;
    if (in->parent != NULL)
        memcpy(classes, in->parent->classes, count * sizeof(*classes));
    classes[0].name = "";
    read_rules(in, in->r, "", in->parent == NULL ? NULL : in->outer, &classes[0]);
    if (in->parent == NULL)
        default_rules(in, &classes[0]);
    for (size_t i = 1; i < count; i++)
        class_and(in->c, &classes[i], &classes[0]);
    for (size_t i = 0; i < s.count; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);

        read_class(in, &member, classes, &count);
    }
    if (count > CHARTER_CLASSES_MAX)
        json_reader_fault(&r, "with the parent's there are %zu classes, at most %d are allowed",
                          count, CHARTER_CLASSES_MAX);
    charter_sort(classes, count, sizeof(*classes)); /* "" comes first */
    in->t->classes = classes;
    in->t->class_count = count;
}

static int
rule_cmp(const void *a, const void *b)
{
    const struct charter_origin_rule *x = a;
    const struct charter_origin_rule *y = b;

    return x->country < y->country ? -1 : x->country > y->country;
}

static void
read_origin_rule(const struct reading *in, const struct json_reader *r,
                 struct charter_origin_rule *rules, size_t *count)
{
    static const char *const keys[] = {"process_in", NULL};
    struct json_reader list = json_reader_get(r, "process_in");
    struct charter_origin_rule *rule = NULL;
    uint16_t country;
    char member[64];

    if (!json_reader_keys(r, keys))
        return;
    if (country_parse(slice_str(r->key), &country) != ERR_OK) {
        json_reader_fault(r, "\"%s\" is not an assigned country code", r->key);
        return;
    }
    if (list.v == NULL) {
        json_reader_fault(&list, "missing");
        return;
    }
    for (size_t i = 0; i < *count; i++)
        if (rules[i].country == country)
            rule = &rules[i];
    if (rule == NULL) {
        rule = &rules[(*count)++];
        *rule = (struct charter_origin_rule){country, in->t->classes[0].process_in};
    }
    (void)text_format(member, sizeof(member), "by_origin.%s.process_in", r->key);
    read_places(in, &list, member, "the rule that bounds it", true, &rule->process_in);
}

static void
load_by_origin(const struct reading *in)
{
    static const char *const own[] = {"process_in", "by_origin", NULL};
    struct json_reader r = json_reader_get(in->r, "by_origin");
    size_t count = in->parent == NULL ? 0 : in->parent->by_origin_count;
    struct charter_origin_rule *rules;
    struct charter_section s;

    if (in->t->classes == NULL || (in->parent != NULL && !states_any(in->r, own)))
        return;
    (void)charter_section_read(in->c, &r, false, CHARTER_NAME_TEXT, COUNTRY_COUNT, &s);
    rules = charter_alloc(in->c, count + s.count, sizeof(*rules));
    if (rules == NULL)
        return;
    if (count > 0)
        memcpy(rules, in->parent->by_origin, count * sizeof(*rules));
    for (size_t i = 0; i < count; i++)
        charter_places_and(in->c, &rules[i].process_in, &in->t->classes[0].process_in);
    for (size_t i = 0; i < s.count; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);

        read_origin_rule(in, &member, rules, &count);
    }
    if (count > 1)
        qsort(rules, count, sizeof(*rules), rule_cmp);
    in->t->by_origin = rules;
    in->t->by_origin_count = count;
}

static void
load_origins(const struct reading *in)
{
    struct json_reader list = json_reader_get(in->r, "origins");
    struct charter_places at = {.countries = in->t->origins};

    if (list.v == NULL) {
        if (in->parent == NULL)
            json_reader_fault(&list, "missing: a top-level tenant must state it");
        return;
    }
    read_places(in, &list, "origins", in->parent == NULL ? NULL : in->outer, false, &at);
    in->t->origins = at.countries;
}

static const struct charter_places *
places_of_origin(const struct charter_tenant *t, uint16_t country)
{
    for (size_t i = 0; i < t->by_origin_count; i++)
        if (t->by_origin[i].country == country)
            return &t->by_origin[i].process_in;
    return &t->classes[0].process_in;
}

/* Who is taken to be at home, and where that is. A child may assume another home only if
 * that opens no place to a caller of unknown origin. */
static void
load_home(const struct reading *in)
{
    static const char *const words[] = {"deny", "home", NULL};
    struct json_reader home = json_reader_get(in->r, "home_country");
    struct json_reader unknown = json_reader_get(in->r, "unknown_origin");
    struct charter_tenant *t = in->t;
    unsigned word = t->unknown_is_home ? 1 : 0;
    uint16_t before = t->home_country;
    struct charter_bound bound = {t->name, "home_country", in->outer};

    (void)charter_read_country(&home, &t->home_country);
    if (!charter_read_word(&unknown, words, &word))
        return;
    if (in->parent != NULL && word == 1 && !t->unknown_is_home)
        json_reader_fault(&unknown,
                          "tenant \"%s\" may only narrow: unknown_origin \"home\" widens "
                          "\"deny\" of %s",
                          t->name, in->outer);
    t->unknown_is_home = word == 1;
    if (t->unknown_is_home && t->home_country == COUNTRY_NONE)
        json_reader_fault(&unknown, "\"home\" needs a home_country");
    if (in->parent == NULL || !t->unknown_is_home || before == COUNTRY_NONE ||
        before == t->home_country || t->classes == NULL)
        return;
    (void)charter_places_within(in->c, &home, &bound, places_of_origin(t, t->home_country),
                                places_of_origin(in->parent, before));
}

static void
load_ingress(const struct reading *in)
{
    struct json_reader list = json_reader_get(in->r, "ingress_in");
    size_t n = charter_list_count(&list, CHARTER_REGIONS_MAX);
    const struct json *v = n == 0 ? NULL : json_first(list.v);
    uint64_t stated[CHARTER_REGION_WORDS] = {0};

    if (list.v == NULL) {
        for (uint32_t i = 0; i < in->c->region_count && in->parent == NULL; i++)
            charter_region_add(in->t->ingress_in, i);
        return;
    }
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(&list, v, i);
        uint32_t region = charter_read_region(in->c, &item);

        if (region == CHARTER_NONE)
            continue;
        if (in->parent != NULL && !charter_region_bit(in->t->ingress_in, region))
            json_reader_fault(&item,
                              "tenant \"%s\" may only narrow: ingress_in has \"%s\", which %s "
                              "does not",
                              in->t->name, in->c->regions[region].name, in->outer);
        charter_region_add(stated, region);
    }
    memcpy(in->t->ingress_in, stated, sizeof(stated));
}

/* The tenant that the name hangs under, NULL at the top or after a fault. */
static const struct charter_tenant *
find_parent(const struct charter *c, const struct json_reader *r, const char *name)
{
    const char *slash = strrchr(name, '/');
    uint32_t i;

    if (slash == NULL)
        return NULL;
    i = charter_find_tenant(c, slice_of(name, (size_t)(slash - name)));
    if (i == CHARTER_NONE) {
        json_reader_fault(r, "its parent \"%.*s\" is no tenant of this charter",
                          (int)(slash - name), name);
        return NULL;
    }
    return &c->tenants[i];
}

static void
load_tenant(struct charter *c, const struct json_reader *r, uint32_t index)
{
    static const char *const keys[] = {
        "process_in",     "operators_from", "owners_from",  "access_from",
        "origins",        "by_origin",      "ingress_in",   "home_country",
        "unknown_origin", "models",         "roles",        "classes",
        "evidence",       "auth",           "limits",       "capture",
        "remote_hosts",   "rewrite_alias",  "on_revoke",    "retention_days",
        "regime",         "passthrough",    "stream_usage", NULL};
    struct reading in = {.c = c, .r = r, .t = &c->tenants[index]};

    in.parent = find_parent(c, r, r->key);
    if (in.parent != NULL) {
        *in.t = *in.parent;
        in.t->parent = (uint32_t)(in.parent - c->tenants);
        (void)text_format(in.outer, sizeof(in.outer), "its parent \"%s\"", in.parent->name);
    } else {
        *in.t = (struct charter_tenant){.parent = CHARTER_NONE,
                                        .top = index,
                                        .home_country = COUNTRY_NONE,
                                        .evidence = EVIDENCE_NAME,
                                        .capture = CAPTURE_COMMITMENT,
                                        .rewrite_alias = true,
                                        .retention_days = 365,
                                        .regime = REGIME_GDPR};
    }
    in.t->name = r->key;
    if (!json_reader_keys(r, keys))
        return;
    load_classes(&in);
    load_by_origin(&in);
    load_origins(&in);
    load_home(&in);
    load_ingress(&in);
    charter_load_aliases(c, r, in.t, in.parent);
    charter_load_terms(c, r, in.t, in.parent);
}

void
charter_load_tenants(struct charter *c, const struct json_reader *root)
{
    struct json_reader r = json_reader_get(root, "tenants");
    struct charter_section s;

    if (!charter_section_read(c, &r, true, CHARTER_NAME_TENANT, CHARTER_TENANTS_MAX, &s))
        return;
    c->tenants = charter_alloc(c, s.count, sizeof(*c->tenants));
    /* Byte order puts "acme" before "acme/de": a parent is complete before its children. */
    for (size_t i = 0; i < s.count && c->tenants != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);

        load_tenant(c, &member, (uint32_t)i);
        c->tenant_count = i + 1;
    }
}
