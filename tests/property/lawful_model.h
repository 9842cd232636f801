#ifndef TESTS_PROPERTY_LAWFUL_MODEL_H
#define TESTS_PROPERTY_LAWFUL_MODEL_H

/* The source of a charter as a naive model: everything is the text that a person would
 * write. It is drawn at random, printed as JSON for the loader, and read by the oracle. */

#include "base/check.h"
#include "base/slice.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ITEMS_MAX 8
#define ITEM_MAX 24

struct list {
    bool stated;
    size_t count;
    char items[ITEMS_MAX][ITEM_MAX];
};

enum { PROCESS_IN, OPERATORS_FROM, OWNERS_FROM, ACCESS_FROM, RULES };
static const char *const model_rules[RULES] = {"process_in", "operators_from", "owners_from",
                                               "access_from"};
static const char *const model_countries[] = {"DE", "FR", "IE", "HU", "CH", "IS", "US"};
static const char *const model_regions[] = {"east", "north", "west"};
static const char *const model_versions[] = {"m@1", "m@2", "n@1"};
static const char *const model_aliases[] = {"alpha", "beta", "gamma"};
static const char *const model_classes[] = {"phi", "secret"};
static const char *const model_roles[] = {"admin", "user"};
static const char *const model_tenants[] = {"a", "a/b", "a/b/c", "d", "d/e"};
static const int model_parents[] = {-1, 0, 1, -1, 3};

#define COUNTRIES ARRAY_COUNT(model_countries)
#define REGIONS ARRAY_COUNT(model_regions)
#define VERSIONS ARRAY_COUNT(model_versions)
#define ALIASES ARRAY_COUNT(model_aliases)
#define CLASSES ARRAY_COUNT(model_classes)
#define ROLES ARRAY_COUNT(model_roles)
#define TENANTS ARRAY_COUNT(model_tenants)
#define GROUPS 2
#define BACKENDS_MAX 12

struct model_backend {
    char name[8];
    const char *region;
    const char *country; /* "" where a fact is missing */
    const char *storage;
    const char *operated;
    const char *owned;
    struct list access;
    const char *transfer;
    bool serves[VERSIONS];
};

struct model_tenant {
    const char *name;
    int parent; /* -1 at the top */
    struct list rules[RULES];
    struct list classes[CLASSES][RULES];
    bool has_class[CLASSES];
    struct list by_origin[COUNTRIES];
    struct list origins;
    struct list ingress;
    const char *home;    /* "" when not stated */
    const char *unknown; /* "" when not stated */
    const char *regime;  /* "" when not stated */
    bool states_models;
    struct list aliases[ALIASES]; /* stated: the alias is there */
    bool states_roles;
    bool has_role[ROLES];
    struct list roles[ROLES];
};

struct model {
    const char *region_country[REGIONS];
    bool has_node[REGIONS];
    const char *group_names[GROUPS];
    struct list groups[GROUPS]; /* not stated: the charter has no such group */
    struct model_backend backends[BACKENDS_MAX];
    size_t backend_count;
    struct model_tenant tenants[TENANTS];
};

/* ---- Random bits (splitmix64) ------------------------------------------------------ */

struct rng {
    uint64_t state;
};

static uint64_t
rng_next(struct rng *r)
{
    uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t
rng_below(struct rng *r, size_t bound)
{
    return (size_t)(rng_next(r) % bound);
}

static bool
rng_chance(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}

static const char *
rng_country(struct rng *r)
{
    /* Half of all draws fall on two countries, so that rules and facts often meet. */
    return rng_chance(r, 50) ? model_countries[rng_below(r, 2)]
                             : model_countries[rng_below(r, COUNTRIES)];
}

/* ---- Drawing ----------------------------------------------------------------------- */

static void
list_add(struct list *l, const char *prefix, const char *item)
{
    if (l->count < ITEMS_MAX)
        (void)text_format(l->items[l->count++], ITEM_MAX, "%s%s", prefix, item);
}

static void
draw_item(struct rng *r, const struct model *m, bool regions, struct list *l)
{
    const char *prefix = rng_chance(r, 5) ? "!" : "";
    size_t kind = rng_below(r, 10);
    size_t group = rng_below(r, GROUPS);

    if (kind < 4 && m->groups[group].stated) {
        list_add(l, prefix, m->group_names[group]);
    } else if (kind < 6 && regions) {
        list_add(l,
                 prefix[0] == '!' ? "!region:" : "region:", model_regions[rng_below(r, REGIONS)]);
    } else {
        list_add(l, prefix, rng_country(r));
    }
}

static void
draw_list(struct rng *r, const struct model *m, bool regions, struct list *l)
{
    size_t count = rng_chance(r, 2) ? 0 : 3 + rng_below(r, 5);

    *l = (struct list){.stated = true};
    while (l->count < count)
        draw_item(r, m, regions, l);
}

/* Usually narrower than the outer list: exclusions stay, some other items go. What comes out
 * wider after all is refused by the loader, and the whole charter is drawn anew. */
static void
draw_narrower(struct rng *r, const struct model *m, bool regions, const struct list *outer,
              struct list *l)
{
    *l = (struct list){.stated = true};
    for (size_t i = 0; i < outer->count; i++)
        if (outer->items[i][0] == '!' || rng_chance(r, 75))
            list_add(l, "", outer->items[i]);
    if (rng_chance(r, 15))
        list_add(l, "!", rng_country(r));
    if (rng_chance(r, 2))
        draw_item(r, m, regions, l);
}

static void
draw_group(struct rng *r, struct model *m, size_t i, const char *name, unsigned percent)
{
    static const char *const members[] = {"DE", "FR", "IE", "HU", "IS"};

    m->group_names[i] = name;
    m->groups[i].stated = rng_chance(r, percent);
    for (size_t k = 0; k < 4 + i && m->groups[i].stated; k++)
        if (rng_chance(r, 95))
            list_add(&m->groups[i], "", members[k]);
}

static const char *
draw_fact(struct rng *r, const char *likely)
{
    if (rng_chance(r, 3))
        return "";
    return rng_chance(r, 80) ? likely : rng_country(r);
}

static void
draw_backend(struct rng *r, const struct model *m, struct model_backend *b, size_t number)
{
    static const char *const tools[] = {"", "none", "adequacy:1", "adequacy:2", "scc:1", "scc:2"};
    size_t region = rng_below(r, REGIONS);
    bool any = false;

    *b = (struct model_backend){.region = model_regions[region]};
    (void)text_format(b->name, sizeof(b->name), "b%02zu", number);
    b->country = draw_fact(r, m->region_country[region]);
    b->storage = draw_fact(r, b->country[0] == '\0' ? "DE" : b->country);
    b->operated = draw_fact(r, m->region_country[region]);
    b->owned = draw_fact(r, b->operated[0] == '\0' ? "DE" : b->operated);
    b->access.stated = !rng_chance(r, 3);
    for (size_t n = rng_below(r, 3); n > 0; n--)
        list_add(&b->access, "", rng_chance(r, 70) ? m->region_country[region] : rng_country(r));
    b->transfer = tools[rng_below(r, ARRAY_COUNT(tools))];
    for (size_t i = 0; i < VERSIONS; i++)
        any |= b->serves[i] = rng_chance(r, 40);
    b->serves[0] |= !any;
}

static void
draw_models(struct rng *r, const struct model_tenant *outer, struct model_tenant *t)
{
    t->states_models = true;
    for (size_t i = 0; i < ALIASES; i++) {
        t->aliases[i] = (struct list){.stated = false};
        if (outer != NULL && !outer->aliases[i].stated)
            continue;
        t->aliases[i].stated = rng_chance(r, 90);
        for (size_t v = 0; v < VERSIONS && t->aliases[i].stated && outer == NULL; v++)
            if (rng_chance(r, 45))
                list_add(&t->aliases[i], "", model_versions[v]);
        if (outer != NULL && t->aliases[i].stated)
            list_add(&t->aliases[i], "",
                     outer->aliases[i].items[rng_below(r, outer->aliases[i].count)]);
        if (t->aliases[i].stated && t->aliases[i].count == 0)
            list_add(&t->aliases[i], "", model_versions[rng_below(r, VERSIONS)]);
    }
}

static void
draw_roles(struct rng *r, const struct model_tenant *models, struct model_tenant *t)
{
    t->states_roles = true;
    for (size_t i = 0; i < ROLES; i++) {
        t->has_role[i] = rng_chance(r, 85);
        for (size_t a = 0; a < ALIASES && t->has_role[i]; a++)
            if (models->aliases[a].stated && rng_chance(r, 70))
                list_add(&t->roles[i], "", model_aliases[a]);
    }
}

static void
draw_stricter(struct rng *r, const struct model *m, const struct model_tenant *bound,
              struct model_tenant *t)
{
    for (size_t i = 0; i < CLASSES; i++) {
        t->has_class[i] = rng_chance(r, 70);
        for (size_t k = 0; k < RULES && t->has_class[i]; k++)
            if (bound->rules[k].stated && rng_chance(r, k == PROCESS_IN ? 75 : 10))
                draw_narrower(r, m, k == PROCESS_IN, &bound->rules[k], &t->classes[i][k]);
    }
    for (size_t i = 0; i < COUNTRIES; i++)
        if (rng_chance(r, 10))
            draw_narrower(r, m, true, &bound->rules[PROCESS_IN], &t->by_origin[i]);
}

static void
draw_top(struct rng *r, const struct model *m, struct model_tenant *t)
{
    static const char *const regimes[] = {"", "gdpr", "hipaa", "ch-fadp", "uk-gdpr"};

    draw_list(r, m, true, &t->rules[PROCESS_IN]);
    draw_list(r, m, false, &t->rules[OPERATORS_FROM]);
    if (rng_chance(r, 40))
        draw_list(r, m, false, &t->rules[OWNERS_FROM]);
    if (rng_chance(r, 40))
        draw_list(r, m, false, &t->rules[ACCESS_FROM]);
    draw_list(r, m, false, &t->origins);
    for (size_t i = 0; i < 2; i++) /* where most of the callers are */
        if (rng_chance(r, 90))
            list_add(&t->origins, "", model_countries[i]);
    t->ingress.stated = rng_chance(r, 20);
    for (size_t i = 0; i < REGIONS && t->ingress.stated; i++)
        if (rng_chance(r, 75))
            list_add(&t->ingress, "", model_regions[i]);
    t->home = rng_chance(r, 70) ? rng_country(r) : "";
    t->unknown = rng_chance(r, 50) ? (t->home[0] != '\0' ? "home" : "deny") : "";
    t->regime = regimes[rng_below(r, ARRAY_COUNT(regimes))];
    draw_models(r, NULL, t);
    if (rng_chance(r, 14))
        draw_roles(r, t, t);
    draw_stricter(r, m, t, t);
}

/* The nearest tenant, from t upward, that states its models. */
static const struct model_tenant *
models_of(const struct model *m, const struct model_tenant *t)
{
    while (!t->states_models)
        t = &m->tenants[t->parent];
    return t;
}

static void
draw_child(struct rng *r, const struct model *m, const struct model_tenant *parent,
           struct model_tenant *t)
{
    bool base = false;

    for (size_t k = 0; k < RULES; k++) {
        if (parent->rules[k].stated && rng_chance(r, 25)) {
            draw_narrower(r, m, k == PROCESS_IN, &parent->rules[k], &t->rules[k]);
            base = true;
        }
    }
    if (parent->origins.stated && rng_chance(r, 15))
        draw_narrower(r, m, false, &parent->origins, &t->origins);
    for (size_t i = 0; i < parent->ingress.count && rng_chance(r, 80); i++) {
        t->ingress.stated = true;
        list_add(&t->ingress, "", parent->ingress.items[i]);
    }
    t->unknown = rng_chance(r, 10) ? "deny" : "";
    if (rng_chance(r, 10))
        t->home = rng_country(r);
    if (rng_chance(r, 30))
        draw_models(r, models_of(m, parent), t);
    if (!parent->states_roles && rng_chance(r, 15) && parent->parent < 0)
        draw_roles(r, models_of(m, t), t);
    if (!base && parent->rules[PROCESS_IN].stated && rng_chance(r, 40))
        draw_stricter(r, m, parent, t);
}

/* Regions, groups and backends: anew, or mostly those of the version before. */
static void
draw_ground(struct rng *r, struct model *m, const struct model *before)
{
    *m = (struct model){.backend_count = 3 + rng_below(r, BACKENDS_MAX - 2)};
    if (before != NULL) {
        *m = *before;
        memset(m->tenants, 0, sizeof(m->tenants));
        if (rng_chance(r, 10))
            m->region_country[rng_below(r, REGIONS)] = rng_country(r);
        if (rng_chance(r, 20))
            m->backend_count = 3 + rng_below(r, BACKENDS_MAX - 2);
    } else {
        for (size_t i = 0; i < REGIONS; i++) {
            m->region_country[i] = rng_country(r);
            m->has_node[i] = rng_chance(r, 85);
        }
        draw_group(r, m, 0, "@EU", 90);
        draw_group(r, m, 1, "@EEA", 90);
    }
    for (size_t i = 0; i < m->backend_count; i++)
        if (before == NULL || i >= before->backend_count || rng_chance(r, 15))
            draw_backend(r, m, &m->backends[i], i);
}

/* before: the version that this one follows, or NULL. */
static void
model_draw(struct rng *r, struct model *m, const struct model *before)
{
    draw_ground(r, m, before);
    for (size_t i = 0; i < TENANTS; i++) {
        struct model_tenant *t = &m->tenants[i];

        t->name = model_tenants[i];
        t->parent = model_parents[i];
        t->home = t->unknown = t->regime = "";
        if (t->parent < 0)
            draw_top(r, m, t);
        else
            draw_child(r, m, &m->tenants[t->parent], t);
    }
}

/* ---- Printing ---------------------------------------------------------------------- */

static void
print_list(struct text *t, const char *name, const struct list *l)
{
    if (!l->stated)
        return;
    text_addf(t, "\"%s\":[", name);
    for (size_t i = 0; i < l->count; i++)
        text_addf(t, "\"%s\",", l->items[i]);
    text_add_str(t, "],"); /* trailing commas are allowed in a source */
}

static void
print_word(struct text *t, const char *name, const char *value)
{
    if (value[0] != '\0')
        text_addf(t, "\"%s\":\"%s\",", name, value);
}

static void
print_rules(struct text *t, const struct list rules[RULES])
{
    for (size_t k = 0; k < RULES; k++)
        print_list(t, model_rules[k], &rules[k]);
}

static void
print_backend(struct text *t, const struct model_backend *b)
{
    text_addf(t, "\"%s\":{\"region\":\"%s\",", b->name, b->region);
    print_word(t, "country", b->country);
    print_word(t, "storage_country", b->storage);
    text_add_str(t, "\"operator\":{");
    print_word(t, "country", b->operated);
    text_add_str(t, "},\"owner\":{");
    print_word(t, "country", b->owned);
    text_add_str(t, "},");
    print_list(t, "access_from", &b->access);
    print_word(t, "transfer", b->transfer);
    text_add_str(t, "\"assurance\":\"network\",\"kind\":\"vllm\",\"url\":\"http://h\","
                    "\"slots\":4,\"models\":{");
    for (size_t i = 0; i < VERSIONS; i++)
        if (b->serves[i])
            text_addf(t, "\"%s\":\"x\",", model_versions[i]);
    text_add_str(t, "}},\n");
}

static void
print_tenant(struct text *t, const struct model_tenant *m)
{
    text_addf(t, "\"%s\":{", m->name);
    print_rules(t, m->rules);
    print_list(t, "origins", &m->origins);
    print_list(t, "ingress_in", &m->ingress);
    print_word(t, "home_country", m->home);
    print_word(t, "unknown_origin", m->unknown);
    print_word(t, "regime", m->regime);
    if (m->parent < 0)
        text_add_str(t, "\"auth\":[\"jwt\"],");
    text_add_str(t, "\"classes\":{");
    for (size_t i = 0; i < CLASSES; i++) {
        if (!m->has_class[i])
            continue;
        text_addf(t, "\"%s\":{", model_classes[i]);
        print_rules(t, m->classes[i]);
        text_add_str(t, "},");
    }
    text_add_str(t, "},\"by_origin\":{");
    for (size_t i = 0; i < COUNTRIES; i++) {
        if (!m->by_origin[i].stated)
            continue;
        text_addf(t, "\"%s\":{", model_countries[i]);
        print_list(t, "process_in", &m->by_origin[i]);
        text_add_str(t, "},");
    }
    text_add_str(t, "},");
    if (m->states_models)
        text_add_str(t, "\"models\":{");
    for (size_t i = 0; i < ALIASES && m->states_models; i++)
        print_list(t, model_aliases[i], &m->aliases[i]);
    text_add_str(t, m->states_models ? "}," : "");
    text_add_str(t, m->states_roles ? "\"roles\":{" : "");
    for (size_t i = 0; i < ROLES && m->states_roles; i++) {
        struct list role = m->roles[i];

        role.stated = m->has_role[i];
        print_list(t, model_roles[i], &role);
    }
    text_add_str(t, m->states_roles ? "}," : "");
    text_add_str(t, "},\n");
}

static void
model_print(const struct model *m, struct text *t)
{
    text_add_str(t, "{\"v\":1,\"mesh\":\"p\",\"version\":1,\"issued\":\"2026-01-01T00:00:00Z\","
                    "\"renew_by\":\"2026-01-02T00:00:00Z\",\"valid_until\":"
                    "\"2026-01-03T00:00:00Z\",\"seed\":"
                    "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\n\"groups\":{");
    for (size_t i = 0; i < GROUPS; i++) {
        if (!m->groups[i].stated)
            continue;
        text_addf(t, "\"%s\":{\"as_of\":\"x\",\"source\":\"x\",", m->group_names[i]);
        print_list(t, "countries", &m->groups[i]);
        text_add_str(t, "},");
    }
    text_add_str(t, "},\n\"regions\":{");
    for (size_t i = 0; i < REGIONS; i++)
        text_addf(t, "\"%s\":{\"country\":\"%s\"},", model_regions[i], m->region_country[i]);
    text_add_str(t, "},\n\"nodes\":{");
    for (size_t i = 0; i < REGIONS; i++)
        if (m->has_node[i])
            text_addf(t,
                      "\"n-%s\":{\"region\":\"%s\",\"spiffe\":\"spiffe://p/%s\",\"address\":"
                      "\"127.0.0.1:1\"},",
                      model_regions[i], model_regions[i], model_regions[i]);
    text_add_str(t, "},\n\"models\":{");
    for (size_t i = 0; i < VERSIONS; i++)
        text_addf(t, "\"%s\":{},", model_versions[i]);
    text_add_str(t, "},\n\"backends\":{");
    for (size_t i = 0; i < m->backend_count; i++)
        print_backend(t, &m->backends[i]);
    text_add_str(t, "},\n\"tenants\":{");
    for (size_t i = 0; i < TENANTS; i++)
        print_tenant(t, &m->tenants[i]);
    text_add_str(t, "}}\n");
}

#endif
