#include "residency/geo/forwarded.h"

#include "base/check.h"

static bool
port_ok(struct slice text)
{
    uint64_t port;

    return text.len <= 5 && slice_u64(text, &port) && port <= 65535;
}

/* "[v6]" or "[v6]:port" */
static bool
parse_bracketed(struct slice text, struct geo_address *out)
{
    size_t close = slice_find(text, ']');
    struct slice inner, tail;

    if (close == text.len)
        return false;
    inner = slice_sub(text, 1, close - 1);
    tail = slice_sub(text, close + 1, text.len);
    /* Brackets are for IPv6 alone: "[192.0.2.1]" comes from no proxy. */
    if (slice_find(inner, ':') == inner.len)
        return false;
    if (tail.len > 0 && (tail.p[0] != ':' || !port_ok(slice_sub(tail, 1, tail.len))))
        return false;
    return geo_address_parse(inner, out) == ERR_OK;
}

static bool
parse_hop(struct slice text, struct geo_address *out)
{
    size_t colon = slice_find(text, ':');

    if (text.len == 0)
        return false;
    if (text.p[0] == '[')
        return parse_bracketed(text, out);
    /* A dot before the first colon: an IPv4 address with a port. */
    if (colon < text.len && slice_find(text, '.') < colon) {
        if (!port_ok(slice_sub(text, colon + 1, text.len)))
            return false;
        text = slice_sub(text, 0, colon);
    }
    return geo_address_parse(text, out) == ERR_OK;
}

/* All hops of all values, left to right; false when any of it is malformed. */
static bool
parse_chain(const struct forwarded_facts *facts, struct geo_address hops[FORWARDED_HOPS_MAX],
            size_t *count)
{
    size_t bytes = 0;

    *count = 0;
    for (size_t i = 0; i < facts->value_count; i++) {
        struct slice rest = facts->values[i];

        if (rest.len > FORWARDED_BYTES_MAX - bytes)
            return false;
        bytes += rest.len;
        /* A first round even for an empty value: it is an empty hop, and so malformed. */
        do {
            if (*count == FORWARDED_HOPS_MAX ||
                !parse_hop(slice_trim(slice_cut(&rest, ',')), &hops[*count]))
                return false;
            (*count)++;
        } while (rest.p != NULL);
    }
    return true;
}

void
forwarded_client(const struct forwarded_facts *facts, struct forwarded_client *out)
{
    struct geo_address hops[FORWARDED_HOPS_MAX];
    size_t count;

    ASSERT(facts->peer.family == 4 || facts->peer.family == 6);
    *out = (struct forwarded_client){.quality = GEO_FOUND, .address = facts->peer};
    if (!geo_networks_have(facts->trusted, facts->trusted_count, &facts->peer))
        return;
    if (!parse_chain(facts, hops, &count)) {
        *out = (struct forwarded_client){.quality = GEO_MALFORMED, .is_forwarded = true};
        return;
    }
    while (count > 0) {
        out->address = hops[--count];
        out->is_forwarded = true;
        if (!geo_networks_have(facts->trusted, facts->trusted_count, &out->address))
            return;
    }
}
