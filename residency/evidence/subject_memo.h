#ifndef RESIDENCY_EVIDENCE_SUBJECT_MEMO_H
#define RESIDENCY_EVIDENCE_SUBJECT_MEMO_H

#include "base/err.h"
#include "base/slice.h"
#include "residency/evidence/record.h"
#include "residency/evidence/subject.h"

#include <stdint.h>

/* What the store of subject keys said (subject.h), remembered by one thread: the key and its
 * pseudonym, found without the store's mutex and without three HMACs. A row holds for a day of
 * UTC, so that it never outlives its quarter. Whoever erases a subject must have every thread
 * forget. */

#define SUBJECT_MEMO_ROWS 512 /* a newer one takes an older one's place */

struct subject_known {
    uint8_t key[SUBJECT_KEY_SIZE];
    char sub[RECORD_ID_SIZE]; /* the pseudonym as A1 has it */
};

struct subject_memo;

MUST_USE enum err subject_memo_new(struct subject_memo **out);
void subject_memo_free(struct subject_memo **m); /* wipes */
/* Errors as of subject_key(). *out is borrowed until the next call. */
MUST_USE enum err subject_memo_of(struct subject_memo *m, struct subject_store *s,
                                  struct slice tenant, struct slice subject, int64_t wall_ms,
                                  const struct subject_known **out);
/* All of it. */
void subject_memo_forget(struct subject_memo *m);

#endif
