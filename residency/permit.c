#include "residency/permit.h"

#include "base/check.h"

#define PERMIT_MAGIC UINT32_C(0x7065726d)

struct permit {
    uint32_t magic;
    enum permit_use use;
    bool is_node;
    bool spent;
    uint32_t target;
    uint64_t serial;
};

static enum err
mint(struct arena *arena, const struct permit *as, struct permit **out)
{
    struct permit *p = arena_alloc(arena, sizeof(*p));

    if (p == NULL)
        return ERR_NOMEM;
    *p = *as;
    p->magic = PERMIT_MAGIC;
    *out = p;
    return ERR_OK;
}

enum err
permit_mint_backend(struct arena *arena, const struct policy *policy,
                    const struct decision *decision, uint32_t backend, uint64_t serial,
                    struct permit **out)
{
    struct permit as = {.use = PERMIT_REQUEST, .target = backend, .serial = serial};

    if (decision->reason != DECIDE_PERMITTED || backend >= policy_charter(policy)->backend_count ||
        !bits_has(&decision->legal, backend))
        return ERR_FORBIDDEN;
    return mint(arena, &as, out);
}

static bool
stands_in(const struct charter *c, const struct bits *legal, uint32_t region)
{
    for (uint32_t i = bits_next(legal, 0); i < c->backend_count; i = bits_next(legal, i + 1))
        if (c->backends[i].region == region)
            return true;
    return false;
}

enum err
permit_mint_node(struct arena *arena, const struct policy *policy, const struct decision *decision,
                 uint32_t node, uint64_t serial, struct permit **out)
{
    const struct charter *c = policy_charter(policy);
    struct permit as = {.use = PERMIT_FORWARD, .is_node = true, .target = node, .serial = serial};

    if (decision->reason != DECIDE_PERMITTED || !decision->cross_region_ok ||
        node >= c->node_count || !stands_in(c, &decision->legal, c->nodes[node].region))
        return ERR_FORBIDDEN;
    return mint(arena, &as, out);
}

enum err
permit_mint_probe(struct arena *arena, const struct charter *charter, uint32_t own_region,
                  bool is_node, uint32_t target, struct permit **out)
{
    struct permit as = {.use = PERMIT_PROBE, .is_node = is_node, .target = target};

    if (is_node ? target >= charter->node_count
                : target >= charter->backend_count || own_region >= charter->region_count ||
                      charter->backends[target].region != own_region)
        return ERR_FORBIDDEN;
    return mint(arena, &as, out);
}

enum permit_use
permit_use(const struct permit *p)
{
    ASSERT(p->magic == PERMIT_MAGIC);
    return p->use;
}

uint32_t
permit_target(const struct permit *p)
{
    ASSERT(p->magic == PERMIT_MAGIC);
    return p->target;
}

bool
permit_is_node(const struct permit *p)
{
    ASSERT(p->magic == PERMIT_MAGIC);
    return p->is_node;
}

uint64_t
permit_serial(const struct permit *p)
{
    ASSERT(p->magic == PERMIT_MAGIC);
    return p->serial;
}

bool
permit_spend(struct permit *p)
{
    ASSERT(p->magic == PERMIT_MAGIC);
    if (p->spent)
        return false;
    p->spent = true;
    return true;
}
