#ifndef NODE_ANSWER_H
#define NODE_ANSWER_H

#include "base/err.h"
#include "node/txn.h"

#include <stdbool.h>

/* The answer on its way to the client. Its head and first bytes are held until the answer is
 * worth committing to (a first body byte, a stream's first event), so that until then another
 * target can take over; then bytes pass as they come. While a stream is silent its clock runs:
 * keep-alive comments for the client, a soft failure for the backend. */

/* No answer yet: a new attempt begins, or the one under way is given up uncommitted. */
void answer_reset(struct txn *t);
/* The answer's head is accepted; t->answer_type and t->status are set. */
void answer_begin(struct txn *t, struct slice content_type);
/* A piece of its body. False: the client is gone or takes nothing any more. */
MUST_USE bool answer_add(struct txn *t, struct slice piece);
/* Head and held bytes go out, if they did not. False: the client is gone. */
MUST_USE bool answer_commit(struct txn *t);
/* The answer ends: what is still held of an event that never became whole goes out as it is, as
 * if nothing had been taken out of the stream. False: the client is gone. */
MUST_USE bool answer_rest(struct txn *t);
/* The answer's framing ended: whether its content did too. */
bool answer_is_whole(const struct txn *t);
/* A committed answer can't be completed: a stream's reader is told so by an event or line, if
 * one may stand here. The missing end tells it in any case. */
void answer_tell_failure(struct txn *t, enum refusal why);
/* The backend is read on, and its next bytes are waited for. */
MUST_USE enum err answer_wait(struct txn *t);
/* The backend is not read while the client takes nothing: its silence is not its own. */
void answer_wait_stop(struct txn *t);

#endif
