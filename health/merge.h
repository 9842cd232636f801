#ifndef HEALTH_MERGE_H
#define HEALTH_MERGE_H

#include "base/clock.h"
#include "health/advert.h"

#include <stdbool.h>
#include <stdint.h>

/* What is known of one node by its adverts (ENGINEERING section 8): the newest by (boot,
 * seq), whichever store it came from. Age counts on the receiver's monotonic clock from when
 * a sequence was first seen, so nobody's wall clock matters. A boot that gave way to another
 * is retired and never accepted again. Pure. */

#define MERGE_RETIRED_MAX 8
#define MERGE_FRESH_MS 3000
#define MERGE_STALE_MS 15000
#define MERGE_STATIC_MS 600000

struct merge {
    bool known;
    struct mono seen;       /* when the newest sequence was first seen */
    struct advert *newest;  /* owned; valid while known */
    struct advert *reading; /* owned: room for the next */
    char retired[MERGE_RETIRED_MAX][ADVERT_BOOT_SIZE];
    uint32_t retired_count;
};
MUST_USE enum err merge_init(struct merge *m, const struct charter *c);
void merge_fini(struct merge *m);
/* m->reading was filled: takes it when it is newer than what is known. */
bool merge_take(struct merge *m, struct mono now);
enum health_age merge_age(const struct merge *m, struct mono now);

#endif
