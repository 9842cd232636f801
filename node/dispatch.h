#ifndef NODE_DISPATCH_H
#define NODE_DISPATCH_H

#include "node/txn.h"

/* One attempt's way to its target:
 *
 *   decide (lawful under the charter that the request came under and the one in force)
 *     -> choose -> slot, or queue -> permit -> connection -> attest.c
 *
 * and back here when the attempt failed before anything of an answer was forwarded. */

/* The next attempt, or a refusal. */
void dispatch(struct txn *t);
/* A queued request got its slot (worker's thread). */
void dispatch_granted(struct txn *t);
/* An attempt failed before anything of its answer was forwarded: next target or 502/503. */
void dispatch_failed(struct txn *t, const char *outcome, int status, enum breaker_outcome health,
                     uint32_t retry_after_s);
/* Whether the place of the attempt under way may still have it, under the charter in force now
 * (as the worker sees it) and that which the request came under. */
bool dispatch_is_lawful(struct txn *t);
/* Tells the breaker of the backend whose slot is held, if one is; a trial ends with it. */
void dispatch_note(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_ms);
/* The backend answers: however long the answer lasts, nothing more is tried with it. */
void dispatch_trial_passed(struct txn *t);
/* Gives slot, breaker trial and connection of the attempt back. */
void dispatch_release(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_s);

/* The record is durable, but the law changed meanwhile, or the node stops: true when nothing is
 * to be sent under it, and the request was dispatched anew or refused. */
bool dispatch_superseded(struct txn *t);

#endif
