#ifndef RESIDENCY_GEO_MMDB_WALK_PRIV_H
#define RESIDENCY_GEO_MMDB_WALK_PRIV_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The fields of one value of a MaxMind DB, in the order in which they stand on disk, and
 * without recursion: libmaxminddb 1.7 skips nested values recursively and with no limit,
 * so nothing reaches it that was not walked here first. */

#define MMDB_DEPTH_MAX 32 /* MaxMind's city entries need 5 */

enum mmdb_field_type {
    MMDB_FIELD_POINTER = 1,
    MMDB_FIELD_UTF8 = 2,
    MMDB_FIELD_DOUBLE = 3,
    MMDB_FIELD_BYTES = 4,
    MMDB_FIELD_UINT16 = 5,
    MMDB_FIELD_UINT32 = 6,
    MMDB_FIELD_MAP = 7,
    MMDB_FIELD_INT32 = 8,
    MMDB_FIELD_UINT64 = 9,
    MMDB_FIELD_UINT128 = 10,
    MMDB_FIELD_ARRAY = 11,
    MMDB_FIELD_BOOL = 14,
    MMDB_FIELD_FLOAT = 15,
};

struct mmdb_field {
    enum mmdb_field_type type;
    uint32_t size;        /* of a container: its members; of a boolean: its value */
    uint32_t target;      /* of a pointer: the offset in the data section */
    struct slice payload; /* of all others */
};

struct mmdb_walk {
    struct slice rest;
    uint64_t owed[MMDB_DEPTH_MAX]; /* values still to come, by open container */
    uint32_t depth;
};

enum mmdb_step { MMDB_STEP_FIELD, MMDB_STEP_END, MMDB_STEP_DAMAGED };

/* bytes: from the value's first one to the end of its section. */
void mmdb_walk_init(struct mmdb_walk *w, struct slice bytes);
/* The next field; END behind the last one. DAMAGED: cut off, of an unknown type, of a
 * wrong size, or nested deeper than MMDB_DEPTH_MAX. */
enum mmdb_step mmdb_walk_next(struct mmdb_walk *w, struct mmdb_field *out);

#endif
