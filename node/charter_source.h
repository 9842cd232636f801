#ifndef NODE_CHARTER_SOURCE_H
#define NODE_CHARTER_SOURCE_H

#include "base/err.h"
#include "base/issue.h"
#include "base/slice.h"
#include "residency/charter.h"

#include <stddef.h>

/* Charters at the command line: a source that people write becomes an envelope, and
 * envelopes are opened against trusted keys. */

#define CHARTER_SOURCE_MAX (11u << 20)
#define CHARTER_ENVELOPE_MAX (24u << 20)

/* JSON with comments into JSON without any, and without white space: members and numbers
 * stay as they are. The text must have been parsed before. Gives *out (free()). */
MUST_USE enum err charter_source_strip(struct slice source, char **out, size_t *out_len);
/* Checks the source and signs it with each key. Gives *out (free()). */
MUST_USE enum err charter_source_sign(struct slice source, const char *file,
                                      const struct key *const *keys, size_t key_count,
                                      struct issues *issues, char **out, size_t *out_len);

/* A trust root out of JWK files; faults are printed. charter_source_trust_free() undoes it. */
bool charter_source_trust(const char *const *files, size_t count, size_t threshold,
                          struct charter_trust *out);
void charter_source_trust_free(struct charter_trust *trust);
/* Opens an envelope file against it; faults are printed. Gives a reference, or NULL. */
struct charter *charter_source_open(const char *file, const struct charter_trust *trust);
/* A private key file; faults are printed. Gives, or NULL. */
struct key *charter_source_key(const char *file);

#endif
