#ifndef NODE_PRESSURE_H
#define NODE_PRESSURE_H

#include <stdint.h>

/* How short the node is of what it may use, and which stage of shedding that calls for.
 *
 *   normal -80 %-> pause -90 %-> shed -95 %-> refuse        (and back 5 points lower)
 *
 * Pure: facts in, stages out; no clock, no I/O, no allocation. */

enum pressure_stage {
    PRESSURE_NORMAL,
    PRESSURE_PAUSE,  /* accepting rests for 100 ms at a time */
    PRESSURE_SHED,   /* what waits without a request goes; nothing queues */
    PRESSURE_REFUSE, /* new requests get a cheap 503 */
    PRESSURE_STAGE_COUNT
};

/* X(enum, label, highest stage). Refusing requests frees no connection, since each comes on one
 * that is open already: the connections alone never lead beyond shedding. */
#define PRESSURE_KIND_LIST(X)                               \
    X(PRESSURE_DESCRIPTORS, "descriptors", PRESSURE_REFUSE) \
    X(PRESSURE_MEMORY, "memory", PRESSURE_REFUSE)           \
    X(PRESSURE_CONNECTIONS, "connections", PRESSURE_SHED)
#define PRESSURE_ENUM_ROW(name, label, highest) name,
enum pressure_kind { PRESSURE_KIND_LIST(PRESSURE_ENUM_ROW) PRESSURE_KIND_COUNT };
#undef PRESSURE_ENUM_ROW

#define PRESSURE_RETRY_MAX_S 60

struct pressure_facts {
    struct {
        uint64_t used;
        uint64_t max; /* 0: nothing is left */
    } of[PRESSURE_KIND_COUNT];
};

/* The stage of each kind, kept from one judgement to the next; all zero at the start. */
struct pressure {
    uint8_t stages[PRESSURE_KIND_COUNT];
};

/* Used per thousand of the maximum, at most 1000. */
unsigned pressure_permille(const struct pressure_facts *facts, enum pressure_kind kind);
struct pressure pressure_next(struct pressure now, const struct pressure_facts *facts);
/* The highest of its stages. */
enum pressure_stage pressure_stage(struct pressure p);
const char *pressure_stage_name(enum pressure_stage stage);
const char *pressure_kind_label(enum pressure_kind kind);
/* Seconds for Retry-After: 1 to PRESSURE_RETRY_MAX_S, spread at random over a time that grows
 * with the pressure, so that those who were refused together don't come back together. */
uint32_t pressure_retry_after(const struct pressure_facts *facts, uint64_t random);

#endif
