#ifndef NODE_PEER_H
#define NODE_PEER_H

#include "node/txn.h"

/* The receiving side of a forwarded request (law 7): the sender's attestation and identity
 * are verified, the decision is made again by this node's own charter. */

/* From the head: the sender's certificate, its A1, its charter's policy for the tenant.
 * False: refused. */
bool peer_identify(struct txn *t);
/* From the body: the commitment must be that of the A1. False: refused. */
bool peer_check_body(struct txn *t);

#endif
