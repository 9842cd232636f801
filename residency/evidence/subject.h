#ifndef RESIDENCY_EVIDENCE_SUBJECT_H
#define RESIDENCY_EVIDENCE_SUBJECT_H

#include "base/err.h"
#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

/* The node's store of subject keys (docs/formats.md section 7): one random key for each
 * (tenant, subject, quarter), kept under the tenant's key. New rows wait in memory until
 * the commit thread has written and synced them, which it does before the batch of
 * records that may use them. Thread-safe (one short mutex). */

#define SUBJECT_KEY_SIZE 32
#define SUBJECT_ROWS_MAX (1u << 24)

struct subject_store;

/* Opens or creates the folder's two files; a damaged row is a named issue text in *why.
 * dir must exist. */
MUST_USE enum err subject_store_open(const char *dir, struct subject_store **out, const char **why);
void subject_store_close(struct subject_store **s);

/* The tenant's key is created and synced if it is new: call at load time for each tenant
 * of a charter, never on the path of a request. */
MUST_USE enum err subject_tenant_ensure(struct subject_store *s, struct slice tenant);
/* Finds or creates the key. ERR_NOENT when the tenant was not ensured, ERR_FULL at the
 * maximum of rows. */
MUST_USE enum err subject_key(struct subject_store *s, struct slice tenant, struct slice subject,
                              int64_t wall_ms, uint8_t out[SUBJECT_KEY_SIZE]);
/* Writes and syncs the rows created since the last call (commit thread). */
MUST_USE enum err subject_flush(struct subject_store *s);

#endif
