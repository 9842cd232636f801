#ifndef NODE_REVOKE_H
#define NODE_REVOKE_H

#include "node/worker.h"

/* `on_revoke` of a tenant: what a reload does to its requests that are under way in a place
 * which the new charter forbids. `finish`: nothing, they keep the charter they began with;
 * `cut`: they end now, with an error event and an A2 that says denied. */

/* After the worker took a new snapshot. */
void revoke_all(struct worker *w);

#endif
