#ifndef NODE_OUTGOING_H
#define NODE_OUTGOING_H

#include "node/txn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The body of a request as it goes to a backend: as it came, or with the model's alias replaced
 * by the name under which that backend serves it, or made to ask for a stream's usage, or both.
 * Nothing is copied. A peer gets the body as it came: its attestation is over that. */

#define OUTGOING_PIECES_MAX 7 /* three of the body, the model with its quotes, the question */

struct outgoing {
    struct slice pieces[OUTGOING_PIECES_MAX];
    size_t count;
    uint64_t len; /* of all */
    bool rewritten;
};

struct outgoing_change {
    struct slice served; /* in the model's place; p == NULL: the alias stays */
    struct slice quote;  /* around it: a form's field has none */
    bool asks_usage;
};

/* Pure. The edit that asks (facts->ask) must be there where the change wants it. */
void outgoing_make(struct slice body, const struct body_facts *facts,
                   const struct outgoing_change *change, struct outgoing *out);

/* Whether this hop's stream is asked for its usage though the caller did not ask: by the node
 * that talks to the backend, and answered to the caller without it by the ingress (usage_hide.h).
 * Both find the same: a peer serves only a request of a policy that is the ingress's own. */
bool outgoing_asks_usage(const struct txn *t);
/* For t's choice. Of a body that streams through (upload.h): nothing. */
void outgoing_body(const struct txn *t, struct outgoing *out);
/* t->rewritten, and the commitment to the bytes that go out where they differ. */
void outgoing_commit(struct txn *t, const struct outgoing *o);
MUST_USE enum err outgoing_send(struct upstream *u, const struct outgoing *o);

#endif
