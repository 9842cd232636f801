#ifndef RESIDENCY_CHARTER_CHECK_H
#define RESIDENCY_CHARTER_CHECK_H

#include "residency/charter.h"

/* For those who write, sign and hand out a charter. charter_load() takes all of this: evidence
 * that was made under such a charter must still be read. Faults have file, line and path. */

/* A node that lacks a key, two nodes with one key or one address. */
void charter_check(const struct charter *c, const char *file, struct issues *faults);
/* Past valid_until: into expired. Past renew_by alone: into late. */
void charter_check_time(const struct charter *c, const char *file, int64_t now_ms,
                        struct issues *expired, struct issues *late);

#endif
