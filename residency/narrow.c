#include "residency/narrow.h"

#include <string.h>

static bool
same_text(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

bool
narrow_same_backend(const struct charter *a, const struct charter_backend *in_a,
                    const struct charter *b, const struct charter_backend *in_b)
{
    const struct charter_region *ra = &a->regions[in_a->region];
    const struct charter_region *rb = &b->regions[in_b->region];

    return same_text(ra->name, rb->name) && ra->country == rb->country &&
           in_a->country == in_b->country && in_a->storage_country == in_b->storage_country &&
           in_a->operator_country == in_b->operator_country &&
           in_a->owner_country == in_b->owner_country &&
           same_text(in_a->operator_name, in_b->operator_name) &&
           same_text(in_a->owner_name, in_b->owner_name) &&
           in_a->has_access_from == in_b->has_access_from &&
           country_set_equal(&in_a->access_from, &in_b->access_from) &&
           in_a->assurance == in_b->assurance &&
           memcmp(in_a->spki_sha256, in_b->spki_sha256, HASH_SIZE) == 0 &&
           same_text(in_a->ca, in_b->ca) && same_text(in_a->transfer, in_b->transfer) &&
           in_a->tls == in_b->tls && same_text(in_a->host, in_b->host) &&
           in_a->port == in_b->port && same_text(in_a->path_prefix, in_b->path_prefix);
}

void
narrow_decision(const struct charter *now, struct decision *decision, const struct charter *then,
                const struct decision *pinned)
{
    if (decision->reason != DECIDE_PERMITTED)
        return;
    if (pinned->reason != DECIDE_PERMITTED) {
        decision->reason = pinned->reason;
        bits_clear(&decision->legal);
        return;
    }
    for (uint32_t i = bits_next(&decision->legal, 0); i < now->backend_count;
         i = bits_next(&decision->legal, i + 1)) {
        uint32_t was = charter_find_backend(then, slice_str(now->backends[i].name));

        if (was == CHARTER_NONE || !bits_has(&pinned->legal, was) ||
            !narrow_same_backend(now, &now->backends[i], then, &then->backends[was]))
            bits_remove(&decision->legal, i);
    }
    decision->cross_region_ok = decision->cross_region_ok && pinned->cross_region_ok;
    if (bits_empty(&decision->legal))
        decision->reason = DECIDE_NO_LEGAL_PLACE;
}

void
narrow_backends(const struct charter *from, const struct bits *in, const struct charter *to,
                struct bits *out)
{
    struct bits moved = {{0}};

    for (uint32_t i = bits_next(in, 0); i < from->backend_count; i = bits_next(in, i + 1)) {
        uint32_t at = charter_find_backend(to, slice_str(from->backends[i].name));

        if (at != CHARTER_NONE)
            bits_add(&moved, at);
    }
    *out = moved;
}

void
narrow_nodes(const struct charter *from, const struct bits *in, const struct charter *to,
             struct bits *out)
{
    struct bits moved = {{0}};

    for (uint32_t i = bits_next(in, 0); i < from->node_count; i = bits_next(in, i + 1)) {
        uint32_t at = charter_find_node(to, slice_str(from->nodes[i].name));

        if (at != CHARTER_NONE)
            bits_add(&moved, at);
    }
    *out = moved;
}
