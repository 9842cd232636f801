#ifndef NODE_CONTROL_H
#define NODE_CONTROL_H

#include "base/err.h"
#include "node/metrics.h"
#include "node/snapshot.h"
#include "residency/evidence/ledger.h"

/* Control records of the node's life (docs/formats.md section 5). */

/* charter, keys, geoip: at the start and before a reload takes effect. Waits until they are
 * durable; on an error none of them is on record. */
MUST_USE enum err control_snapshot(struct ledger *l, const struct snapshot *s, int64_t now_ms);
/* The refusals counted since from_ms, if there were any; they stay counted when the ledger
 * can't take the record now. */
void control_refusals(struct ledger *l, struct metrics *m, int64_t from_ms, int64_t now_ms);

#endif
