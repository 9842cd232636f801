#ifndef NODE_AGAIN_H
#define NODE_AGAIN_H

#include "node/txn.h"
#include "routing/retry.h"

/* An attempt came to nothing before anything of its answer was forwarded: once more, or the
 * request is refused. */

struct again_failure {
    enum retry_failure failure;
    const char *outcome; /* in the A2 */
    int status;          /* of the answer, or 0 */
    enum breaker_outcome health;
    uint32_t retry_after_s; /* that the backend named */
};
/* t is not touched any more by the caller: it may be gone, or busy with another attempt. */
void again_failed(struct txn *t, const struct again_failure *f);
/* The record is durable, but the law changed meanwhile, or the node stops: true when nothing is
 * to be sent under it, and the request was dispatched anew or refused. */
bool again_superseded(struct txn *t);

#endif
