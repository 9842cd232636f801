#ifndef HEALTH_STORE_RESOLVE_H
#define HEALTH_STORE_RESOLVE_H

#include "base/err.h"
#include "net/address.h"

#include <stdbool.h>

/* One name through the system's resolver, which blocks, on a thread of its own. */

struct resolve;
MUST_USE enum err resolve_start(const char *host, uint16_t port, struct resolve **out);
/* ERR_AGAIN while it is under way. */
MUST_USE enum err resolve_result(const struct resolve *r, struct address *out);
/* Also while it is under way: the thread then cleans up by itself. */
void resolve_free(struct resolve **r);

#endif
