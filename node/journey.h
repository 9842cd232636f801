#ifndef NODE_JOURNEY_H
#define NODE_JOURNEY_H

#include "node/txn.h"

/* The request's journey: its stages, one after the other, top to bottom in journey.c.
 *
 *   head -> identify -> locate -> body -> decide -> choose -> slot or queue -> checkout
 *        -> attest + ledger -> send -> relay -> complete + ledger
 */

/* A request's head was read and its framing is known; the client goes on to its body. False:
 * the request was answered (refused) already. */
bool journey_begin(struct client *c, const struct h1_head *head);
/* A piece of the body. False: refused meanwhile (too large). */
bool journey_body(struct txn *t, struct slice piece);
/* The body is complete. */
void journey_run(struct txn *t);
/* The client is gone: everything that is under way for it ends now. */
void journey_client_gone(struct txn *t);
/* The client took bytes again after being backed up. */
void journey_client_drained(struct txn *t);
/* A queued request got its slot (worker's thread). */
void journey_granted(struct txn *t);
/* The node stops now: ends what is under way. */
void journey_cut(struct txn *t);

/* ---- Between the journey's files -------------------------------------------------- */

/* decide, choose, check out: the next attempt, or a refusal. */
void journey_dispatch(struct txn *t);
/* An attempt failed before anything of its answer was forwarded: next target or 502/503. */
void journey_attempt_failed(struct txn *t, const char *outcome, int status,
                            enum breaker_outcome health, uint32_t retry_after_s);
/* Refuses a request of a known tenant, with an A1 of verdict deny when there was no attempt
 * yet, else with the A2 that closes it. */
void journey_refuse(struct txn *t, enum refusal refusal, const char *reason, const char *words,
                    const char *param);
/* Gives slot, breaker trial and connection of the attempt back. */
void journey_release_target(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_s);
/* Ends the transaction: A2 if there was an attempt, then memory. */
void journey_finish(struct txn *t, enum record_end end);

#endif
