#ifndef NODE_SNAPSHOT_JUDGE_H
#define NODE_SNAPSHOT_JUDGE_H

#include "base/issue.h"
#include "node/snapshot.h"

#include <stdint.h>

/* What loads, each part by itself, and yet can't work together, or endangers. For a person who
 * asks before the node does (`portolan check`); the node itself goes on with most of it: a
 * charter that takes an issuer or a key away must take effect on a node whose config still
 * names it, and an address may be another one behind a proxy. Reads files, resolves names. */

/* faults: can't work. warnings: works, but should not be so. */
void snapshot_judge(const struct snapshot *s, int64_t now_ms, struct issues *faults,
                    struct issues *warnings);

#endif
