#ifndef NODE_CLIENT_H
#define NODE_CLIENT_H

#include "base/slice.h"
#include "base/text.h"
#include "crypto/cert.h"
#include "net/conn.h"
#include "net/h1.h"
#include "node/worker.h"
#include "residency/geo/address.h"

#include <stdbool.h>

/* One connection of a client (or of a peer, on the mesh listener): reads requests one
 * after the other, hands each to the journey, and writes its answer. What the journey
 * sees of HTTP is this header: a request's head, its body, and the calls below.
 *
 *   HEAD -> BODY -> BUSY -> HEAD ... -> closed
 */

#define CLIENT_CHAIN_MAX 8
#define CLIENT_HIGH_WATER 262144 /* bytes unsent before the backend is not read on */

struct client_cert;

struct client {
    uint32_t magic;
    enum { CLIENT_HEAD, CLIENT_BODY, CLIENT_BUSY, CLIENT_GONE } state;
    struct worker *worker;
    struct client *next, *prev;
    struct conn *conn;
    bool mesh;        /* a peer's connection */
    bool handshaking; /* counted as such: handshake.c */
    struct h1_parser parser;
    struct h1_body body;
    struct txn *txn;            /* BODY, BUSY */
    struct geo_address address; /* family 0: not counted per address */
    struct mono waiting_since;  /* for its first or next request */
    uint64_t requests;
    bool opened;     /* TLS is up */
    bool keep_alive; /* after this answer */
    bool is_1_0;
    bool is_head_request;
    bool head_sent;
    bool chunked; /* the answer under way */
    bool expect_continue;
    bool body_paused; /* the body is not read on: its bytes stay in the socket */
    bool body_timed;  /* the body's slow-sender deadline runs */
    struct mono body_started;
    uint64_t body_bytes;
    struct client_cert *cert; /* NULL: it showed none */
};

/* Apart, because most clients show none and a connection should cost little. */
struct client_cert {
    struct cert_facts facts;
    uint8_t chain[CLIENT_CHAIN_MAX][HASH_SIZE];
    size_t chain_count;
};

#define CLIENT_LINGER_MS 2000
/* The connection ends, after the rest of its answer where linger_ms > 0; whatever its request
 * still does, it does without a client. */
void client_end(struct client *c, uint64_t linger_ms);
/* Takes fd. Overload closes it at once. */
void client_accept(struct worker *w, int fd, bool mesh);
/* Under pressure: closes connections that have waited without a request, a few at a time. */
void client_shed(struct worker *w);
/* Closes idle connections (after shared->drain_grace_ms); busy ones end after their answer. */
void client_drain_all(struct worker *w);
/* The node stops: ends what waits for a request, and cuts what is under way. */
void client_cut_all(struct worker *w);
/* Closes everything. */
void client_close_all(struct worker *w);

/* Back-pressure on the body under way: it is not read on, and owes nothing meanwhile. */
void client_body_pause(struct client *c);
void client_body_resume(struct client *c);

/* ---- Answers ---------------------------------------------------------------------- */

/* Writes the head; false when the client is gone or its buffer full. length < 0: the length is not
 * known (chunked, or ended by closing for HTTP/1.0). fields: complete field lines of ours. */
MUST_USE bool client_answer_head(struct client *c, int status, struct slice fields, int64_t length);
/* A piece of the answer's body. False when the client is gone or its buffer is full. */
bool client_answer_body(struct client *c, struct slice piece);
/* The answer is complete: next request, or close. The transaction is over. */
void client_answer_end(struct client *c);
/* The answer can't be completed: ends the connection without a final chunk. */
void client_answer_cut(struct client *c);
/* A whole answer with a body. */
void client_answer(struct client *c, int status, struct slice fields, struct slice body);
/* OpenAI's error object as a whole answer. message is our own text; param may be NULL. */
void client_refuse(struct client *c, enum refusal refusal, const char *message, const char *param,
                   struct slice fields);
bool client_backed_up(const struct client *c);

#endif
