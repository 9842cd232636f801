#ifndef TESTS_PROPERTY_LAWFUL_ORACLE_H
#define TESTS_PROPERTY_LAWFUL_ORACLE_H

/* What docs/formats.md section 2 says, in the slowest and plainest way: strings, and every
 * rule of every ancestor asked anew. It shares no code with the compiled policy. */

#include "lawful_model.h"

#define ORACLE_RENEW_MS INT64_C(1767312000000) /* 2026-01-02T00:00:00Z */
#define ORACLE_VALID_MS INT64_C(1767398400000)

struct ask {
    size_t tenant;
    const char *class_name;
    const char *alias;
    const char *roles[2];
    size_t role_count;
    const char *origin; /* "" for unknown */
    bool may_assume;
    const char *ingress;
    const char *own;
    bool points_elsewhere;
    int64_t now_ms;
};

struct verdict {
    const char *reason;
    bool legal[BACKENDS_MAX];
};

static bool
in_list(const struct list *l, const char *item)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i], item) == 0)
            return true;
    return false;
}

/* Whether an item without its "!" stands for the country. */
static bool
means_country(const struct model *m, const char *item, const char *country)
{
    for (size_t g = 0; g < GROUPS; g++)
        if (strcmp(item, m->group_names[g]) == 0)
            return in_list(&m->groups[g], country);
    return strcmp(item, country) == 0;
}

static bool
admits_country(const struct model *m, const struct list *l, const char *country)
{
    bool admitted = false;

    if (country[0] == '\0')
        return false;
    for (size_t i = 0; i < l->count; i++) {
        if (l->items[i][0] == '!' && means_country(m, l->items[i] + 1, country))
            return false;
        admitted |= means_country(m, l->items[i], country);
    }
    return admitted;
}

static bool
excludes_country(const struct model *m, const struct list *l, const char *country)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->items[i][0] == '!' && means_country(m, l->items[i] + 1, country))
            return true;
    return false;
}

static const char *
country_of_region(const struct model *m, const char *region)
{
    for (size_t i = 0; i < REGIONS; i++)
        if (strcmp(model_regions[i], region) == 0)
            return m->region_country[i];
    return "";
}

static bool
admits_place(const struct model *m, const struct list *l, const struct model_backend *b)
{
    char item[ITEM_MAX];
    char exclusion[ITEM_MAX];
    const char *home = country_of_region(m, b->region);

    if (b->country[0] == '\0' || b->storage[0] == '\0')
        return false;
    (void)text_format(item, sizeof(item), "region:%s", b->region);
    (void)text_format(exclusion, sizeof(exclusion), "!%s", item);
    if (in_list(l, exclusion) || excludes_country(m, l, b->country) ||
        excludes_country(m, l, b->storage))
        return false;
    if (in_list(l, item) && strcmp(b->country, home) == 0 && strcmp(b->storage, home) == 0)
        return true;
    return admits_country(m, l, b->country) && admits_country(m, l, b->storage);
}

static bool
satisfies(const struct model *m, size_t rule, const struct list *l, const struct model_backend *b)
{
    if (!l->stated)
        return true;
    if (rule == PROCESS_IN)
        return admits_place(m, l, b);
    if (rule == OPERATORS_FROM)
        return admits_country(m, l, b->operated);
    if (rule == OWNERS_FROM)
        return admits_country(m, l, b->owned);
    if (!b->access.stated)
        return false;
    for (size_t i = 0; i < b->access.count; i++)
        if (!admits_country(m, l, b->access.items[i]))
            return false;
    return true;
}

static const struct model_tenant *
parent_of(const struct model *m, const struct model_tenant *t)
{
    return t->parent < 0 ? NULL : &m->tenants[t->parent];
}

static bool
needs_no_transfer(const struct model *m, const struct model_backend *b)
{
    for (size_t g = 0; g < GROUPS; g++)
        if (strcmp(m->group_names[g], "@EEA") == 0)
            return in_list(&m->groups[g], b->country) && in_list(&m->groups[g], b->storage);
    return false;
}

static bool
lawful_place(const struct model *m, const struct ask *ask, const char *origin,
             const struct model_backend *b)
{
    const char *regime = "";

    for (const struct model_tenant *t = &m->tenants[ask->tenant]; t != NULL; t = parent_of(m, t)) {
        for (size_t k = 0; k < RULES; k++) {
            const struct list *l = &t->rules[k];

            /* Who states no owners and no access at the top means the operators' list. */
            if (t->parent < 0 && !l->stated)
                l = &t->rules[OPERATORS_FROM];
            if (!satisfies(m, k, l, b))
                return false;
            for (size_t i = 0; i < CLASSES; i++)
                if (t->has_class[i] && strcmp(ask->class_name, model_classes[i]) == 0 &&
                    !satisfies(m, k, &t->classes[i][k], b))
                    return false;
        }
        for (size_t i = 0; i < COUNTRIES; i++)
            if (strcmp(model_countries[i], origin) == 0 &&
                !satisfies(m, PROCESS_IN, &t->by_origin[i], b))
                return false;
        if (regime[0] == '\0')
            regime = t->regime;
    }
    if ((regime[0] == '\0' || strcmp(regime, "gdpr") == 0) && !needs_no_transfer(m, b) &&
        strncmp(b->transfer, "adequacy:", 9) != 0 && strncmp(b->transfer, "scc:", 4) != 0)
        return false;
    return ask->now_ms <= ORACLE_RENEW_MS ||
           (strcmp(b->region, ask->own) == 0 && strcmp(ask->ingress, ask->own) == 0);
}

static bool
knows_class(const struct model *m, const struct ask *ask)
{
    if (ask->class_name[0] == '\0')
        return true;
    for (const struct model_tenant *t = &m->tenants[ask->tenant]; t != NULL; t = parent_of(m, t))
        for (size_t i = 0; i < CLASSES; i++)
            if (t->has_class[i] && strcmp(ask->class_name, model_classes[i]) == 0)
                return true;
    return false;
}

static bool
admits_caller(const struct model *m, const struct ask *ask, const char *origin)
{
    for (const struct model_tenant *t = &m->tenants[ask->tenant]; t != NULL; t = parent_of(m, t))
        if (t->origins.stated && !admits_country(m, &t->origins, origin))
            return false;
    return true;
}

static bool
admits_ingress(const struct model *m, const struct ask *ask)
{
    for (const struct model_tenant *t = &m->tenants[ask->tenant]; t != NULL; t = parent_of(m, t))
        if (t->ingress.stated && !in_list(&t->ingress, ask->ingress))
            return false;
    return true;
}

static const char *
origin_of(const struct model *m, const struct ask *ask)
{
    const char *home = "";
    const char *unknown = "";

    if (ask->origin[0] != '\0' || !ask->may_assume)
        return ask->origin;
    for (const struct model_tenant *t = &m->tenants[ask->tenant]; t != NULL; t = parent_of(m, t)) {
        home = home[0] == '\0' ? t->home : home;
        unknown = unknown[0] == '\0' ? t->unknown : unknown;
    }
    return strcmp(unknown, "home") == 0 ? home : "";
}

static bool
role_opens(const struct model *m, const struct ask *ask)
{
    const struct model_tenant *t = &m->tenants[ask->tenant];

    while (t != NULL && !t->states_roles)
        t = parent_of(m, t);
    if (t == NULL)
        return true;
    for (size_t k = 0; k < ask->role_count; k++)
        for (size_t i = 0; i < ROLES; i++)
            if (t->has_role[i] && strcmp(model_roles[i], ask->roles[k]) == 0 &&
                in_list(&t->roles[i], ask->alias))
                return true;
    return false;
}

static const struct list *
versions_of(const struct model *m, const struct ask *ask)
{
    const struct model_tenant *t = models_of(m, &m->tenants[ask->tenant]);

    for (size_t i = 0; i < ALIASES; i++)
        if (t->aliases[i].stated && strcmp(model_aliases[i], ask->alias) == 0)
            return &t->aliases[i];
    return NULL;
}

static bool
serves_any(const struct model_backend *b, const struct list *versions)
{
    for (size_t i = 0; i < VERSIONS; i++)
        if (b->serves[i] && in_list(versions, model_versions[i]))
            return true;
    return false;
}

static void
oracle(const struct model *m, const struct ask *ask, struct verdict *out)
{
    const char *origin = origin_of(m, ask);
    const struct list *versions = versions_of(m, ask);
    bool placed = false;
    bool served = false;

    *out = (struct verdict){.reason = "permitted"};
    if (ask->now_ms > ORACLE_VALID_MS)
        out->reason = "charter_expired";
    else if (!knows_class(m, ask))
        out->reason = "class_unknown";
    else if (!admits_ingress(m, ask))
        out->reason = "ingress_forbidden";
    else if (origin[0] == '\0')
        out->reason = "origin_unknown";
    else if (!admits_caller(m, ask, origin))
        out->reason = "origin_forbidden";
    else if (versions == NULL)
        out->reason = "model_not_found";
    else if (!role_opens(m, ask))
        out->reason = "model_forbidden";
    else if (ask->points_elsewhere)
        out->reason = "remote_reference";
    if (strcmp(out->reason, "permitted") != 0)
        return;
    for (size_t i = 0; i < m->backend_count; i++) {
        bool lawful = lawful_place(m, ask, origin, &m->backends[i]);

        placed |= lawful;
        out->legal[i] = lawful && serves_any(&m->backends[i], versions);
        served |= out->legal[i];
    }
    if (!placed)
        out->reason = "no_legal_place";
    else if (!served)
        out->reason = "no_legal_model";
}

#endif
