#ifndef NODE_ADDRESS_COUNT_H
#define NODE_ADDRESS_COUNT_H

#include "base/err.h"
#include "residency/geo/address.h"

#include <stddef.h>
#include <stdint.h>

/* How many connections each client address holds, over all workers. An IPv6 client is
 * counted by its /64: a host has all of one. Shared by the workers, behind a short mutex that
 * is taken when a connection opens and when it ends; no request touches it.
 *
 * An address is in the table only while it holds a connection, so the table is as large as
 * the connections there can be, and never above its own maximum. */

#define ADDRESS_COUNT_MAX 65536 /* addresses at one time */

struct address_count;

/* entries_max: 1 to ADDRESS_COUNT_MAX. Gives. */
MUST_USE enum err address_count_new(size_t entries_max, struct address_count **out);
void address_count_free(struct address_count **counts);

enum address_verdict {
    ADDRESS_COUNTED,
    ADDRESS_OVER_MAX,   /* holds its maximum already */
    ADDRESS_TABLE_FULL, /* another address needs room that there isn't */
};

/* Counts one more connection of the address, unless it holds `max` of them already. */
MUST_USE enum address_verdict address_count_enter(struct address_count *counts,
                                                  const struct geo_address *address, uint32_t max);
/* For each ADDRESS_COUNTED, once. */
void address_count_leave(struct address_count *counts, const struct geo_address *address);
/* How many addresses hold a connection now. */
size_t address_count_used(struct address_count *counts);

#endif
