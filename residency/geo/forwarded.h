#ifndef RESIDENCY_GEO_FORWARDED_H
#define RESIDENCY_GEO_FORWARDED_H

#include "base/slice.h"
#include "residency/geo/address.h"

#include <stdbool.h>
#include <stddef.h>

#define FORWARDED_HOPS_MAX 32
#define FORWARDED_BYTES_MAX 2048 /* all field values together */

struct forwarded_facts {
    struct geo_address peer;           /* the other end of the socket */
    const struct geo_network *trusted; /* configured proxies */
    size_t trusted_count;
    const struct slice *values; /* of X-Forwarded-For, in the order of the head */
    size_t value_count;
};

struct forwarded_client {
    enum geo_quality quality;   /* GEO_FOUND: address is filled; GEO_MALFORMED: it is not */
    struct geo_address address; /* of the caller, as far as trusted proxies vouch for it */
    bool is_forwarded;          /* the address was vouched for, not seen on the socket */
};

/* Who the caller is. A peer that is no configured proxy vouches for nobody: the field is
 * not even read and the caller is the peer. From a proxy, the chain is walked from right
 * to left up to the first hop that is not a proxy; if all are, the leftmost is taken; if
 * there is no chain, the peer.
 *
 * A hop is an address, "a.b.c.d:port", "[v6]" or "[v6]:port". One malformed hop, more
 * than FORWARDED_HOPS_MAX, or more than FORWARDED_BYTES_MAX anywhere in the chain makes
 * all of it GEO_MALFORMED: half of a forged chain is not believed either. Pure. */
void forwarded_client(const struct forwarded_facts *facts, struct forwarded_client *out);

#endif
