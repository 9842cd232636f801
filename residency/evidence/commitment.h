#ifndef RESIDENCY_EVIDENCE_COMMITMENT_H
#define RESIDENCY_EVIDENCE_COMMITMENT_H

#include "base/err.h"
#include "base/slice.h"
#include "crypto/hash.h"

#include <stdint.h>

/* Pseudonyms and commitments (docs/formats.md section 7). Pure. */

#define COMMITMENT_KEY_SIZE 32
#define COMMITMENT_SUB_SIZE 16

/* The pseudonym of a subject key. */
void commitment_sub(const uint8_t subject_key[32], uint8_t out[COMMITMENT_SUB_SIZE]);
/* The key of one request's commitments. */
MUST_USE enum err commitment_key(const uint8_t subject_key[32], const char *txn,
                                 uint8_t out[COMMITMENT_KEY_SIZE]);
/* Starts a commitment with a label ("request", "upstream", "answer", "sent"); go on with
 * hmac_add and hmac_final. */
void commitment_init(struct hmac *m, const uint8_t key[COMMITMENT_KEY_SIZE], const char *label);

#endif
