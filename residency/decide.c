/* The decision: a look-up and two ANDs. */
#include "residency/policy_priv.h"

#include "base/check.h"

#define DECIDE_ROW(name, reason, code, status, words) [name] = {reason, code, status, words},
static const struct decide_row rows[] = {DECIDE_REASON_LIST(DECIDE_ROW)};
#undef DECIDE_ROW

static const char *const source_names[] = {
    [ORIGIN_SOCKET] = "socket", [ORIGIN_FORWARDED] = "forwarded", [ORIGIN_ASSUMED] = "assumed"};

_Static_assert(ARRAY_COUNT(source_names) == ORIGIN_SOURCE_COUNT, "a name for each source");

const struct decide_row *
decide_row(enum decide_reason reason)
{
    ASSERT(reason < DECIDE_REASON_COUNT);
    return &rows[reason];
}

const char *
origin_source_name(enum origin_source s)
{
    ASSERT(s < ORIGIN_SOURCE_COUNT);
    return source_names[s];
}

/* Unknown stays unknown, unless the signed policy says what to assume and the way in which
 * it is unknown is one that the policy may speak about. */
static void
assume_home(const struct charter_tenant *t, struct decide_origin *origin)
{
    if (country_valid(origin->country))
        return;
    origin->country = COUNTRY_NONE;
    if (!origin->may_assume || !t->unknown_is_home || t->home_country == COUNTRY_NONE)
        return;
    origin->country = t->home_country;
    origin->source = ORIGIN_ASSUMED;
}

/* The first of the caller's roles that opens the alias, or NULL. */
static const char *
role_for(const struct charter_tenant *t, const struct decide_facts *facts, uint32_t alias)
{
    for (size_t i = 0; i < facts->role_count; i++) {
        uint32_t role = charter_find_role(t, facts->roles[i]);

        if (role == CHARTER_NONE)
            continue;
        for (size_t a = 0; a < t->roles[role].alias_count; a++)
            if (t->roles[role].aliases[a] == alias)
                return t->roles[role].name;
    }
    return NULL;
}

/* Everything that is asked before places are looked at. */
static enum decide_reason
check_caller(const struct charter *c, const struct decide_facts *facts, struct decision *out)
{
    const struct charter_tenant *t = &c->tenants[facts->tenant];
    uint32_t region = facts->ingress_region;

    if (facts->now_ms > c->valid_until_ms)
        return DECIDE_CHARTER_EXPIRED;
    out->class_index = charter_find_class(t, facts->class_name);
    if (out->class_index == CHARTER_NONE)
        return DECIDE_CLASS_UNKNOWN;
    if (region >= c->region_count || (t->ingress_in[region / 64] >> (region % 64) & 1) == 0)
        return DECIDE_INGRESS_FORBIDDEN;
    assume_home(t, &out->origin);
    if (out->origin.country == COUNTRY_NONE)
        return DECIDE_ORIGIN_UNKNOWN;
    if (!country_set_has(&t->origins, out->origin.country))
        return DECIDE_ORIGIN_FORBIDDEN;
    out->alias = charter_find_alias(t, facts->alias);
    if (out->alias == CHARTER_NONE)
        return DECIDE_MODEL_NOT_FOUND;
    if (t->has_roles)
        out->role = role_for(t, facts, out->alias);
    if (t->has_roles && out->role == NULL)
        return DECIDE_MODEL_FORBIDDEN;
    if (facts->remote_host.p != NULL)
        return DECIDE_REMOTE_REFERENCE;
    return DECIDE_PERMITTED;
}

static enum decide_reason
check_places(const struct policy *p, const struct decide_facts *facts, struct decision *out)
{
    const struct charter_tenant *t = &p->charter->tenants[facts->tenant];
    const struct policy_tenant *compiled = &p->tenants[facts->tenant];
    size_t rule = policy_origin_rule(t, out->origin.country);
    size_t number = compiled->rules_first + out->class_index * (1 + t->by_origin_count) +
                    (rule < t->by_origin_count ? rule + 1 : 0);

    ASSERT(number < p->number_count);
    out->legal = p->sets[p->numbers[number]];
    /* Past renew_by nothing crosses regions: neither out of this one nor into it. */
    if (!out->cross_region_ok && facts->ingress_region != facts->own_region)
        bits_clear(&out->legal);
    if (!out->cross_region_ok && facts->own_region < p->charter->region_count)
        bits_and(&out->legal, &p->regions[facts->own_region]);
    else if (!out->cross_region_ok)
        bits_clear(&out->legal);
    if (bits_empty(&out->legal))
        return DECIDE_NO_LEGAL_PLACE;
    bits_and(&out->legal, &p->sets[p->numbers[compiled->aliases_first + out->alias]]);
    return bits_empty(&out->legal) ? DECIDE_NO_LEGAL_MODEL : DECIDE_PERMITTED;
}

void
decide(const struct policy *p, const struct decide_facts *facts, struct decision *out)
{
    const struct charter *c = p->charter;

    ASSERT(facts->tenant < c->tenant_count);
    *out = (struct decision){.tenant = facts->tenant,
                             .alias = CHARTER_NONE,
                             .origin = facts->origin,
                             .cross_region_ok = facts->now_ms <= c->renew_by_ms};
    out->reason = check_caller(c, facts, out);
    if (out->reason == DECIDE_PERMITTED)
        out->reason = check_places(p, facts, out);
}

bool
decide_remote_host_ok(const struct charter_tenant *t, struct slice host)
{
    for (size_t i = 0; i < t->remote_host_count; i++)
        if (slice_eq_nocase(slice_str(t->remote_hosts[i]), host))
            return true;
    return false;
}

const char *
decide_why_not(const struct policy *p, const struct decide_facts *facts,
               const struct decision *decision, uint32_t backend)
{
    const struct charter *c = p->charter;
    const struct charter_backend *b = &c->backends[backend];
    struct policy_rule rule;
    const char *why;

    ASSERT(backend < c->backend_count);
    switch (decision->reason) {
    case DECIDE_PERMITTED:
    case DECIDE_NO_LEGAL_PLACE:
    case DECIDE_NO_LEGAL_MODEL:
        break;
    case DECIDE_CHARTER_EXPIRED:
    case DECIDE_CLASS_UNKNOWN:
    case DECIDE_ORIGIN_UNKNOWN:
    case DECIDE_ORIGIN_FORBIDDEN:
    case DECIDE_INGRESS_FORBIDDEN:
    case DECIDE_MODEL_NOT_FOUND:
    case DECIDE_MODEL_FORBIDDEN:
    case DECIDE_REMOTE_REFERENCE:
    case DECIDE_REASON_COUNT:
        return decide_row(decision->reason)->words;
    }
    policy_rule_of(p, decision->tenant, decision->class_index, decision->origin.country, &rule);
    why = policy_why_not(p, &rule, b);
    if (why != NULL)
        return why;
    if (!decision->cross_region_ok && b->region != facts->own_region)
        return "renew_by: past it only the node's own region is served";
    if (decide_served(c, &c->tenants[decision->tenant], decision->alias, backend) == CHARTER_NONE)
        return "models: the backend serves none of the alias's pinned versions";
    return NULL;
}

void
decide_legal_digest(const struct charter *c, const struct bits *legal, uint8_t out[HASH_SIZE])
{
    struct hash h;

    hash_init(&h);
    for (uint32_t i = bits_next(legal, 0); i < c->backend_count; i = bits_next(legal, i + 1)) {
        hash_add(&h, slice_str(c->backends[i].name));
        hash_add(&h, SLICE_LIT("\n"));
    }
    hash_final(&h, out);
}

uint32_t
decide_served(const struct charter *c, const struct charter_tenant *t, uint32_t alias,
              uint32_t backend)
{
    const struct charter_backend *b = &c->backends[backend];
    const struct charter_alias *a = &t->aliases[alias];

    ASSERT(alias < t->alias_count);
    ASSERT(backend < c->backend_count);
    for (size_t i = 0; i < a->pinned_count; i++)
        for (uint32_t s = 0; s < b->served_count; s++)
            if (b->served[s].model == a->pinned[i])
                return s;
    return CHARTER_NONE;
}
