#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From a byte string to a number, built once and then only read (charter names,
 * config keys). Keys are borrowed and must outlive the map. Keyed hashing
 * (SipHash-2-4) so that foreign keys can't be chosen to collide. */
struct map;

#define MAP_NONE UINT32_MAX

MUST_USE enum err map_new(struct map **out, size_t count_max);
void map_free(struct map **map);
/* ERR_EXIST when the key is there already; ERR_FULL past count_max. */
MUST_USE enum err map_add(struct map *map, struct slice key, uint32_t value);
/* The value, or MAP_NONE. */
uint32_t map_get(const struct map *map, struct slice key);

/* SipHash-2-4 with a key of the process (for tables of foreign keys). */
uint64_t map_hash(struct slice key);

#endif
