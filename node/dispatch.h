#ifndef NODE_DISPATCH_H
#define NODE_DISPATCH_H

#include "node/txn.h"

/* One attempt's way to its target:
 *
 *   decide (lawful under the charter that the request came under and the one in force)
 *     -> choose -> slot, or queue -> permit -> connection -> attest.c
 *
 * and back here (again.c) when the attempt failed before anything of an answer was forwarded. */

/* The next attempt, or a refusal. */
void dispatch(struct txn *t);
/* A queued request got its slot (worker's thread). */
void dispatch_granted(struct txn *t);
/* No slot is waited for any more. False: one was granted meanwhile and is on its way to this
 * thread. */
bool dispatch_leave_queue(struct txn *t);
/* The chosen target counts as not tried. */
void dispatch_untry(struct txn *t);
/* Whether the place of the attempt under way may still have it, under the charter in force now
 * (as the worker sees it) and that which the request came under. */
bool dispatch_is_lawful(struct txn *t);
/* Tells the breaker of the backend whose slot is held, if one is; a trial ends with it. */
void dispatch_note(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_ms);
/* The backend answers: however long the answer lasts, nothing more is tried with it. */
void dispatch_trial_passed(struct txn *t);
/* Gives slot, breaker trial and connection of the attempt back. */
void dispatch_release(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_s);

/* The node stops: nothing more may be sent for any request. */
bool dispatch_is_cut(const struct txn *t);

#endif
