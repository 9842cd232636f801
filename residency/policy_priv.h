#ifndef RESIDENCY_POLICY_PRIV_H
#define RESIDENCY_POLICY_PRIV_H

#include "residency/decide.h"

/* The compiled charter; for policy.c and decide.c only. */

/* What one backend is asked. Compared and hashed as bytes: no padding. */
struct policy_rule {
    struct charter_places places;
    struct country_set operators;
    struct country_set owners;
    struct country_set access;
    uint64_t needs_transfer; /* 1: outside @EEA a transfer tool must be named */
};
_Static_assert(sizeof(struct policy_rule) ==
                   sizeof(struct charter_places) + 3 * sizeof(struct country_set) + 8,
               "rules are compared as bytes");

struct policy_tenant {
    uint32_t rules_first;   /* in numbers: per class, the set of the class and then one set
                               for each by_origin rule of the tenant, in its order */
    uint32_t aliases_first; /* in numbers: the set of each alias */
};

struct policy {
    struct charter *charter;
    struct bits *sets; /* interned */
    size_t set_count;
    uint32_t *numbers; /* indices into sets */
    size_t number_count;
    struct policy_tenant *tenants;
    struct bits *regions; /* the backends that stand in each region */
    struct country_set eea;
};

/* The rule of a tenant's class for callers in a country. */
void policy_rule_of(const struct policy *p, uint32_t tenant, uint32_t class_index, uint16_t country,
                    struct policy_rule *out);
/* NULL when the backend satisfies the rule, else what it fails. */
const char *policy_why_not(const struct policy *p, const struct policy_rule *rule,
                           const struct charter_backend *b);
/* Index of the tenant's by_origin rule for a country, or by_origin_count. */
size_t policy_origin_rule(const struct charter_tenant *t, uint16_t country);

#endif
