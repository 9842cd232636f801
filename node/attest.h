#ifndef NODE_ATTEST_H
#define NODE_ATTEST_H

#include "node/txn.h"

/* The evidence of a request: who it is by pseudonym, an A1 before anything leaves the
 * node, an A2 that closes it (law 4). */

/* Subject key, pseudonym and request commitment of a caller at the ingress. False: the
 * request was refused. */
bool attest_subject(struct txn *t);
/* Signs the A1 of the chosen target and hands it to the ledger; relay_send() follows once
 * it is durable. */
void attest_attempt(struct txn *t);
/* How the latest attempt went, for the A2. */
void attest_outcome(struct txn *t, const char *outcome, int status);
/* Records the refusal in t as an A1 of verdict deny; the client is answered once it is
 * durable. False: it can't be recorded (the refusal in t says so now). */
bool attest_denial(struct txn *t);
/* Answers the refusal in t and ends the transaction. */
void attest_refused(struct txn *t);
/* Writes the A2 of a transaction that had attempts. False: there is no memory for it now; t
 * stays in the worker's list until a record comes back from the ledger (law 4). */
bool attest_complete(struct txn *t, enum record_end end);
/* Our fields of an answer: attestations, receipt link, request id. They borrow from t. */
void attest_fields(const struct txn *t, struct http_fields *out);

#endif
