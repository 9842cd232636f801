#ifndef NODE_JOURNEY_H
#define NODE_JOURNEY_H

#include "node/txn.h"

/* The request's journey: its stages, one after the other, top to bottom.
 *
 *   journey.c   head -> identify -> locate -> body
 *   dispatch.c  decide -> choose -> slot or queue -> permit -> connection
 *   attest.c    A1 -> ledger
 *   relay.c     send -> answer -> client
 *   attest.c    A2 -> ledger
 */

/* A request's head was read. True: its body is next, or journey_run() where it has none.
 * False: it was refused, and x->txn is NULL, or will be once the refusal is on record. */
bool journey_begin(struct exchange *x, const struct http_head *head);
/* A piece of the body. False: refused meanwhile (too large). */
bool journey_body(struct txn *t, struct slice piece);
/* The body is complete. */
void journey_run(struct txn *t);
/* A form's model is known, the rest of its body streams: goes on with what is here. */
void journey_stream(struct txn *t);
/* The body can't be read on (malformed, too slow, too large): refuses the request. */
void journey_refuse_body(struct txn *t, enum refusal refusal, const char *reason,
                         const char *words);
/* The exchange is gone: everything that is under way for it ends now. */
void journey_client_gone(struct txn *t);
/* The client took bytes again after being backed up. */
void journey_client_drained(struct txn *t);
/* The node stops now: ends what is under way, refused where nothing was forwarded yet. */
void journey_cut(struct txn *t);

/* ---- Between the journey's files -------------------------------------------------- */

/* Refuses a request of a known tenant, with an A1 of verdict deny when there was no attempt
 * yet, else with the A2 that closes it. */
void journey_refuse(struct txn *t, enum refusal refusal, const char *reason, const char *words,
                    const char *param);
/* The same because the node stops. */
void journey_refuse_drained(struct txn *t);
/* Ends the transaction: A2 if there was an attempt, then memory. */
void journey_finish(struct txn *t, enum record_end end);
/* The A2 of one that ended without memory for it. False: there still is none. */
MUST_USE bool journey_close_late(struct txn *t);

#endif
