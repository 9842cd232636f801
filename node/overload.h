#ifndef NODE_OVERLOAD_H
#define NODE_OVERLOAD_H

#include "base/err.h"
#include "base/text.h"
#include "node/address_count.h"
#include "node/config.h"
#include "node/metrics.h"
#include "node/pressure.h"
#include "residency/geo/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the node holds of descriptors, memory and connections, over all threads, and what
 * that means for the next connection and the next request (docs/internals/overload.md).
 * Each thread publishes its share at the end of a turn; the stage is judged anew then. All
 * of it is relaxed atomics; only connections per address have a mutex. */

/* What is counted: X(enum, metric, label, value). Rows of one metric stand together. */
#define OVERLOAD_EVENT_LIST(X)                                                                     \
    X(OVERLOAD_REFUSED_CONNECTIONS, "portolan_connections_refused_total", "reason", "connections") \
    X(OVERLOAD_REFUSED_ADDRESS, "portolan_connections_refused_total", "reason",                    \
      "connections_per_address")                                                                   \
    X(OVERLOAD_REFUSED_TABLE, "portolan_connections_refused_total", "reason", "address_table")     \
    X(OVERLOAD_REFUSED_DESCRIPTORS, "portolan_connections_refused_total", "reason", "descriptors") \
    X(OVERLOAD_REFUSED_MEMORY, "portolan_connections_refused_total", "reason", "memory")           \
    X(OVERLOAD_REST, "portolan_overload_actions_total", "action", "accepting_rested")              \
    X(OVERLOAD_SHED_KEPT, "portolan_overload_actions_total", "action", "kept_connection_closed")   \
    X(OVERLOAD_SHED_WAITING, "portolan_overload_actions_total", "action", "connection_closed")     \
    X(OVERLOAD_SHED_QUEUE, "portolan_overload_actions_total", "action", "queueing_refused")        \
    X(OVERLOAD_SHED_REQUEST, "portolan_overload_actions_total", "action", "request_refused")       \
    X(OVERLOAD_SHED_BODY, "portolan_overload_actions_total", "action", "body_refused")             \
    X(OVERLOAD_TIMEOUT_HANDSHAKE, "portolan_client_timeouts_total", "phase", "handshake")          \
    X(OVERLOAD_TIMEOUT_HEAD, "portolan_client_timeouts_total", "phase", "head")                    \
    X(OVERLOAD_TIMEOUT_BODY, "portolan_client_timeouts_total", "phase", "body")                    \
    X(OVERLOAD_TIMEOUT_IDLE, "portolan_client_timeouts_total", "phase", "idle")
#define OVERLOAD_ENUM_ROW(name, metric, label, value) name,
enum overload_event { OVERLOAD_EVENT_LIST(OVERLOAD_ENUM_ROW) OVERLOAD_EVENT_COUNT };
#undef OVERLOAD_ENUM_ROW

struct overload;

/* metrics: borrowed; its gauges are facts here. Gives. */
MUST_USE enum err overload_new(const struct metrics *metrics, struct overload **out);
void overload_free(struct overload **o);
/* The limits in force, from now on. Can't fail: a reload calls it when nothing may. */
void overload_limits(struct overload *o, const struct config *config);
/* Once all is open: how many descriptors connections may take, which is what the system allows
 * without those that are open for other things, and without a reserve for files, the log's
 * segments and the admin listener. ERR_FULL when that leaves too few to serve. */
MUST_USE enum err overload_descriptors(struct overload *o);

/* A thread's share in what is counted: what it last published. All zero at the start. */
struct overload_share {
    int64_t conns;
    int64_t buffer_bytes;
    int64_t records;
};
/* At the end of a turn: what the thread holds now. Judges the stage. */
void overload_publish(struct overload *o, struct overload_share *share,
                      const struct overload_share *now);

enum pressure_stage overload_stage(const struct overload *o);
/* All memory is in use: nothing may grow. */
bool overload_memory_full(const struct overload *o);
/* For a refusal now: 1 to PRESSURE_RETRY_MAX_S. */
uint32_t overload_retry_after(const struct overload *o);
void overload_count(struct overload *o, enum overload_event event);

/* May one more connection be taken? Asked before TLS; a refusal is counted. `open` is how many
 * there are without it. address: to be counted, or NULL: not counted (a proxy, a peer). On
 * true with an address, overload_leave() is due when the connection ends. */
MUST_USE bool overload_enter(struct overload *o, const struct geo_address *address, int64_t open);
void overload_leave(struct overload *o, const struct geo_address *address);

void overload_metrics(struct overload *o, struct text *out);

#endif
