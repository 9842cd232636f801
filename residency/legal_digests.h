#ifndef RESIDENCY_LEGAL_DIGESTS_H
#define RESIDENCY_LEGAL_DIGESTS_H

#include "crypto/hash.h"
#include "residency/bits.h"
#include "residency/charter.h"

#include <stdint.h>

/* legal.digest of A1s (decide_legal_digest), remembered: a charter has few different legal
 * sets, and hashing the names of a thousand backends costs more than a request. One thread's;
 * a set is found by its members and the charter's digest, so that a reload needs no hook. */

#define LEGAL_DIGESTS_MAX 64 /* sets remembered; a newer one takes an older one's place */

struct legal_digests;

MUST_USE enum err legal_digests_new(struct legal_digests **out);
void legal_digests_free(struct legal_digests **d);
/* Borrowed until the next call. */
const uint8_t *legal_digests_of(struct legal_digests *d, const struct charter *c,
                                const struct bits *legal);

#endif
