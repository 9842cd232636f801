#ifndef RESIDENCY_EVIDENCE_SUBJECT_H
#define RESIDENCY_EVIDENCE_SUBJECT_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The node's store of subject keys (docs/formats.md section 7): one random key for each
 * (tenant, subject, quarter), kept under the tenant's key. New rows wait in memory until
 * the commit thread has written and synced them, which it does before the batch of
 * records that may use them. Thread-safe (one short mutex).
 *
 * While two processes of one node live (one takes over from the other) they share the files:
 * a key that is not known is looked for in the file again and, if it isn't there, made and
 * written under the file's lock, so that no subject gets two. */

#define SUBJECT_KEY_SIZE 32
#define SUBJECT_ROWS_MAX (1u << 24)

struct subject_store;

/* Opens or creates the folder's two files; a damaged row is a named issue text in *why.
 * dir must exist. */
MUST_USE enum err subject_store_open(const char *dir, struct subject_store **out, const char **why);
void subject_store_close(struct subject_store **s);
/* shared: from now on another process may write too (rows that wait are written first; no
 * lookup that was not shared comes after it). A store is opened as shared. Not shared: none
 * does, the caller knows. Any thread. */
MUST_USE enum err subject_store_share(struct subject_store *s, bool shared);

/* The tenant's key is created and synced if it is new: call at load time for each tenant
 * of a charter, never on the path of a request. */
MUST_USE enum err subject_tenant_ensure(struct subject_store *s, struct slice tenant);
/* Finds or creates the key. ERR_NOENT when the tenant was not ensured, ERR_FULL at the
 * maximum of rows. Shared: ERR_TIMEOUT when the other process does not let go of the file. */
MUST_USE enum err subject_key(struct subject_store *s, struct slice tenant, struct slice subject,
                              int64_t wall_ms, uint8_t out[SUBJECT_KEY_SIZE]);
/* Writes and syncs the rows created since the last call (commit thread). */
MUST_USE enum err subject_flush(struct subject_store *s);

#endif
