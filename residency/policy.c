/* Compiling a charter: each distinct rule is asked of each backend once, and the answers are
 * interned, so that ten thousand tenants with a handful of rules hold a handful of sets. */
#include "residency/policy_priv.h"

#include "base/check.h"
#include "base/map.h"
#include "residency/charter_priv.h"

#include <stdlib.h>

/* Equal items once, by their bytes. */
struct intern {
    uint8_t *items;
    size_t item_size;
    size_t count;
    size_t room;
    uint32_t *slots; /* item number + 1; 0 is free; always at most half full */
    size_t slot_count;
};

struct compiler {
    struct policy *p;
    struct intern rules;
    struct intern sets;
    uint32_t *rule_sets; /* by rule number: its set */
    size_t rule_set_room;
    size_t number_room;
    struct bits *models; /* by model: the backends that serve it */
};

static void
intern_fini(struct intern *in)
{
    free(in->items);
    free(in->slots);
}

static size_t
intern_probe(const struct intern *in, const void *item)
{
    size_t at = (size_t)map_hash(slice_of(item, in->item_size)) & (in->slot_count - 1);

    while (in->slots[at] != 0 &&
           memcmp(in->items + (in->slots[at] - 1) * in->item_size, item, in->item_size) != 0)
        at = (at + 1) & (in->slot_count - 1);
    return at;
}

static enum err
intern_grow(struct intern *in)
{
    size_t room = in->room == 0 ? 16 : in->room * 2;
    uint8_t *items;
    uint32_t *slots;

    if (in->count < in->room)
        return ERR_OK;
    items = realloc(in->items, room * in->item_size);
    if (items == NULL)
        return ERR_NOMEM;
    in->items = items;
    slots = calloc(room * 2, sizeof(*slots));
    if (slots == NULL)
        return ERR_NOMEM;
    free(in->slots);
    in->slots = slots;
    in->slot_count = room * 2;
    in->room = room;
    for (size_t i = 0; i < in->count; i++)
        slots[intern_probe(in, items + i * in->item_size)] = (uint32_t)i + 1;
    return ERR_OK;
}

static enum err
intern_add(struct intern *in, const void *item, uint32_t *number)
{
    enum err e = intern_grow(in);
    size_t at;

    if (e != ERR_OK)
        return e;
    at = intern_probe(in, item);
    if (in->slots[at] == 0) {
        memcpy(in->items + in->count * in->item_size, item, in->item_size);
        in->slots[at] = (uint32_t)++in->count;
    }
    *number = in->slots[at] - 1;
    return ERR_OK;
}

/* Room for count more entries of an array. */
static enum err
reserve(uint32_t **array, size_t *room, size_t need)
{
    size_t wanted = *room == 0 ? 64 : *room;
    uint32_t *grown;

    if (need <= *room)
        return ERR_OK;
    while (wanted < need)
        wanted *= 2;
    grown = realloc(*array, wanted * sizeof(**array));
    if (grown == NULL)
        return ERR_NOMEM;
    *array = grown;
    *room = wanted;
    return ERR_OK;
}

size_t
policy_origin_rule(const struct charter_tenant *t, uint16_t country)
{
    size_t low = 0;
    size_t high = t->by_origin_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (t->by_origin[middle].country < country)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->by_origin_count && t->by_origin[low].country == country ? low
                                                                            : t->by_origin_count;
}

void
policy_rule_of(const struct policy *p, uint32_t tenant, uint32_t class_index, uint16_t country,
               struct policy_rule *out)
{
    const struct charter_tenant *t = &p->charter->tenants[tenant];
    const struct charter_class *class = &t->classes[class_index];
    size_t rule = policy_origin_rule(t, country);

    *out = (struct policy_rule){.places = class->process_in,
                                .operators = class->operators_from,
                                .owners = class->owners_from,
                                .access = class->access_from,
                                .needs_transfer = t->regime == REGIME_GDPR ? 1 : 0};
    if (rule < t->by_origin_count)
        charter_places_and(p->charter, &out->places, &t->by_origin[rule].process_in);
}

static const char *
why_not_placed(const struct charter *c, const struct charter_places *places,
               const struct charter_backend *b)
{
    uint16_t home = c->regions[b->region].country;

    if (b->country == COUNTRY_NONE)
        return "process_in: the backend's country is missing";
    if (b->storage_country == COUNTRY_NONE)
        return "process_in: the backend's storage_country is missing";
    if (charter_region_bit(places->not_regions, b->region))
        return "process_in: the backend's region is excluded";
    if (charter_region_bit(places->regions, b->region) && b->country == home &&
        b->storage_country == home)
        return NULL;
    if (!country_set_has(&places->countries, b->country))
        return "process_in: the backend's country is not admitted";
    if (!country_set_has(&places->countries, b->storage_country))
        return "process_in: the backend's storage_country is not admitted";
    return NULL;
}

static bool
has_transfer_tool(const struct charter_backend *b)
{
    struct slice tool = slice_str(b->transfer);

    return slice_starts(tool, SLICE_LIT("adequacy:")) || slice_starts(tool, SLICE_LIT("scc:"));
}

const char *
policy_why_not(const struct policy *p, const struct policy_rule *rule,
               const struct charter_backend *b)
{
    const char *why = why_not_placed(p->charter, &rule->places, b);

    if (why != NULL)
        return why;
    if (b->operator_country == COUNTRY_NONE)
        return "operators_from: the operator's country is missing";
    if (!country_set_has(&rule->operators, b->operator_country))
        return "operators_from: the operator's country is not admitted";
    if (b->owner_country == COUNTRY_NONE)
        return "owners_from: the owner's country is missing";
    if (!country_set_has(&rule->owners, b->owner_country))
        return "owners_from: the owner's country is not admitted";
    if (!b->has_access_from)
        return "access_from: the backend does not say who has remote access";
    if (!country_set_subset(&b->access_from, &rule->access))
        return "access_from: a country with remote access is not admitted";
    if (rule->needs_transfer != 0 && !has_transfer_tool(b) &&
        (!country_set_has(&p->eea, b->country) || !country_set_has(&p->eea, b->storage_country)))
        return "transfer: outside the EEA without adequacy decision or standard clauses";
    return NULL;
}

/* The number of the set of a rule; asks the backends only when the rule is new. */
static enum err
set_of_rule(struct compiler *k, const struct policy_rule *rule, uint32_t *out)
{
    const struct charter *c = k->p->charter;
    size_t known = k->rules.count;
    struct bits set;
    uint32_t number = 0;
    enum err e;

    e = intern_add(&k->rules, rule, &number);
    if (e == ERR_OK)
        e = reserve(&k->rule_sets, &k->rule_set_room, k->rules.count);
    if (e != ERR_OK)
        return e;
    if (number == known) {
        bits_clear(&set);
        for (uint32_t i = 0; i < c->backend_count; i++)
            if (policy_why_not(k->p, rule, &c->backends[i]) == NULL)
                bits_add(&set, i);
        e = intern_add(&k->sets, &set, &k->rule_sets[number]);
        if (e != ERR_OK)
            return e;
    }
    *out = k->rule_sets[number];
    return ERR_OK;
}

static enum err
push_number(struct compiler *k, uint32_t number)
{
    enum err e = reserve(&k->p->numbers, &k->number_room, k->p->number_count + 1);

    if (e == ERR_OK)
        k->p->numbers[k->p->number_count++] = number;
    return e;
}

static enum err
compile_rules(struct compiler *k, uint32_t tenant)
{
    const struct charter_tenant *t = &k->p->charter->tenants[tenant];
    enum err e = ERR_OK;

    k->p->tenants[tenant].rules_first = (uint32_t)k->p->number_count;
    for (uint32_t class = 0; class < t->class_count; class ++) {
        for (size_t i = 0; i <= t->by_origin_count && e == ERR_OK; i++) {
            uint16_t country = i == 0 ? COUNTRY_NONE : t->by_origin[i - 1].country;
            struct policy_rule rule;
            uint32_t set = 0;

            policy_rule_of(k->p, tenant, class, country, &rule);
            e = set_of_rule(k, &rule, &set);
            if (e == ERR_OK)
                e = push_number(k, set);
        }
    }
    return e;
}

static enum err
compile_aliases(struct compiler *k, uint32_t tenant)
{
    const struct charter_tenant *t = &k->p->charter->tenants[tenant];
    enum err e = ERR_OK;

    k->p->tenants[tenant].aliases_first = (uint32_t)k->p->number_count;
    for (size_t i = 0; i < t->alias_count && e == ERR_OK; i++) {
        struct bits set;
        uint32_t number = 0;

        bits_clear(&set);
        for (size_t m = 0; m < t->aliases[i].pinned_count; m++)
            for (size_t w = 0; w < BITS_WORDS; w++)
                set.words[w] |= k->models[t->aliases[i].pinned[m]].words[w];
        e = intern_add(&k->sets, &set, &number);
        if (e == ERR_OK)
            e = push_number(k, number);
    }
    return e;
}

/* What the tenant shares with its parent in the charter, it shares here. */
static enum err
compile_tenant(struct compiler *k, uint32_t tenant)
{
    const struct charter_tenant *t = &k->p->charter->tenants[tenant];
    const struct charter_tenant *parent =
        t->parent == CHARTER_NONE ? NULL : &k->p->charter->tenants[t->parent];
    enum err e = ERR_OK;

    if (parent != NULL && parent->classes == t->classes && parent->by_origin == t->by_origin &&
        parent->regime == t->regime)
        k->p->tenants[tenant].rules_first = k->p->tenants[t->parent].rules_first;
    else
        e = compile_rules(k, tenant);
    if (e != ERR_OK)
        return e;
    if (parent != NULL && parent->aliases == t->aliases)
        k->p->tenants[tenant].aliases_first = k->p->tenants[t->parent].aliases_first;
    else
        e = compile_aliases(k, tenant);
    return e;
}

static void
index_backends(struct compiler *k)
{
    const struct charter *c = k->p->charter;
    uint32_t eea = charter_index(c->groups, c->group_count, sizeof(*c->groups), SLICE_LIT("@EEA"));

    if (eea != CHARTER_NONE)
        k->p->eea = c->groups[eea].countries;
    for (uint32_t i = 0; i < c->backend_count; i++) {
        const struct charter_backend *b = &c->backends[i];

        bits_add(&k->p->regions[b->region], i);
        for (size_t m = 0; m < b->served_count; m++)
            bits_add(&k->models[b->served[m].model], i);
    }
}

enum err
policy_compile(struct charter *charter, struct policy **out)
{
    struct compiler k = {.rules.item_size = sizeof(struct policy_rule),
                         .sets.item_size = sizeof(struct bits)};
    enum err e = ERR_NOMEM;

    ASSERT(out != NULL && *out == NULL);
    k.p = calloc(1, sizeof(*k.p));
    if (k.p == NULL)
        return ERR_NOMEM;
    k.p->charter = charter_ref(charter);
    k.p->tenants = calloc(charter->tenant_count + 1, sizeof(*k.p->tenants));
    k.p->regions = calloc(charter->region_count + 1, sizeof(*k.p->regions));
    k.models = calloc(charter->model_count + 1, sizeof(*k.models));
    if (k.p->tenants == NULL || k.p->regions == NULL || k.models == NULL)
        goto out;
    index_backends(&k);
    e = ERR_OK;
    for (uint32_t i = 0; i < charter->tenant_count && e == ERR_OK; i++)
        e = compile_tenant(&k, i);
    if (e != ERR_OK)
        goto out;
    k.p->sets = (struct bits *)(void *)k.sets.items; /* from malloc: aligned for anything */
    k.p->set_count = k.sets.count;
    k.sets.items = NULL;
    *out = k.p;
    k.p = NULL;

out:
    policy_free(&k.p);
    intern_fini(&k.rules);
    intern_fini(&k.sets);
    free(k.rule_sets);
    free(k.models);
    return e;
}

void
policy_free(struct policy **p)
{
    if (*p == NULL)
        return;
    charter_unref(&(*p)->charter);
    free((*p)->sets);
    free((*p)->numbers);
    free((*p)->tenants);
    free((*p)->regions);
    free(*p);
    *p = NULL;
}

const struct charter *
policy_charter(const struct policy *p)
{
    return p->charter;
}

size_t
policy_set_count(const struct policy *p)
{
    return p->set_count;
}
