#ifndef NODE_RELAY_H
#define NODE_RELAY_H

#include "node/txn.h"

/* Sending the rebuilt request and relaying the answer, hashing and counting. */

/* The A1 is durable: the request goes out. */
void relay_send(struct txn *t);
/* Something happened on the upstream connection in SEND or RELAY (enum upstream_event). */
void relay_event(struct txn *t, unsigned events);

/* The total deadline passed in SEND or RELAY. */
void relay_out_of_time(struct txn *t);
/* The client took what it had: the backend is read on. */
void relay_resume(struct txn *t);
/* The client is gone, or takes nothing any more: the attempt is over. */
void relay_client_left(struct txn *t);
/* Its A1 is durable, and the charter now forbids the place: the request ends, refused where
 * nothing was forwarded yet, else with an error event at an event boundary and no end. */
void relay_revoke(struct txn *t);

/* What the answer showed, for the A2. Slices point into t. */
struct relay_facts {
    uint64_t answer_bytes;
    bool has_commitment;
    uint8_t commitment[HASH_SIZE];
    bool has_sent; /* what was handed on differs */
    uint64_t sent_bytes;
    uint8_t sent_commitment[HASH_SIZE];
    struct slice model;
    struct slice response_id;
    int64_t prompt_tokens;
    int64_t completion_tokens;
    bool tokens_counted;
};
void relay_finish(struct txn *t, enum record_end end, struct relay_facts *out);

#endif
