#ifndef NODE_WEATHER_H
#define NODE_WEATHER_H

#include "base/err.h"
#include "base/text.h"
#include "net/loop.h"
#include "node/worker.h"

/* The mesh service of one snapshot on the main loop: store, probes, adverts; publishes what
 * it sees to the workers. Stopped and started anew at a reload. */

struct weather;

/* draining: read for the advert; outlives the weather. */
MUST_USE enum err weather_start(struct loop *loop, struct shared *shared, struct snapshot *snapshot,
                                const _Atomic bool *draining, struct weather **out);
void weather_stop(struct weather **w);
void weather_metrics(const struct weather *w, struct text *out);

/* A first view of a new charter: what the old one knew of places that kept their name. */
MUST_USE enum err weather_first_view(struct charter *charter, const struct health_view *old,
                                     struct health_view **out);

#endif
