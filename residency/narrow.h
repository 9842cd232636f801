#ifndef RESIDENCY_NARROW_H
#define RESIDENCY_NARROW_H

#include "residency/decide.h"

#include <stdbool.h>
#include <stdint.h>

/* A request that began under one charter and is dispatched under the next must be lawful
 * under both (ENGINEERING section 4). Pure: two decisions in, the narrower one out. */

/* Whether a backend is the same place under both charters: same region, countries,
 * operator, owner, administrators, identity and address. A name that now means another
 * place was never judged by the earlier charter. */
bool narrow_same_backend(const struct charter *a, const struct charter_backend *in_a,
                         const struct charter *b, const struct charter_backend *in_b);

/* Takes out of *decision (made under `now`) whatever `pinned` (made under `then`) did not
 * allow. Only shrinks: a refusal stays as it is, a refusal of pinned's becomes the
 * decision's. Indices, policy and charter described stay those of `now`. */
void narrow_decision(const struct charter *now, struct decision *decision,
                     const struct charter *then, const struct decision *pinned);

/* The same names' indices in another charter; names that it does not have fall out. */
void narrow_backends(const struct charter *from, const struct bits *in, const struct charter *to,
                     struct bits *out);
void narrow_nodes(const struct charter *from, const struct bits *in, const struct charter *to,
                  struct bits *out);

#endif
