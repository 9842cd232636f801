#ifndef NODE_RELAY_H
#define NODE_RELAY_H

#include "node/txn.h"

/* Sending the rebuilt request and relaying the answer, hashing and counting. */

/* The A1 is durable: the request goes out. */
void relay_send(struct txn *t);
/* Something happened on the upstream connection in SEND or RELAY. */
void relay_event(struct txn *t, unsigned events);

/* Its A1 is durable, and the charter now forbids the place: the request ends, refused where
 * nothing was forwarded yet, else with an error event at an event boundary and no end. */
void relay_revoke(struct txn *t);

/* What the answer showed, for the A2. Slices point into t. */
struct relay_facts {
    uint64_t answer_bytes;
    bool has_commitment;
    uint8_t commitment[HASH_SIZE];
    bool has_peer;
    uint8_t peer_hash[HASH_SIZE];
    struct slice model;
    struct slice response_id;
    int64_t prompt_tokens;
    int64_t completion_tokens;
};
void relay_finish(struct txn *t, struct relay_facts *out);

#endif
