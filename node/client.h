#ifndef NODE_CLIENT_H
#define NODE_CLIENT_H

#include "net/conn.h"
#include "net/h1.h"
#include "node/exchange.h"
#include "node/worker.h"

#include <stdbool.h>

/* One HTTP/1 connection of a client (or of a peer, on the mesh listener): reads requests one
 * after the other, hands each to the journey as an exchange, and writes its answer.
 *
 *   HEAD -> BODY -> BUSY -> HEAD ... -> closed
 */

#define CLIENT_MAGIC 0x434c4e54u
#define CLIENT_LINGER_MS 2000

struct client {
    uint32_t magic;
    enum { CLIENT_HEAD, CLIENT_BODY, CLIENT_BUSY, CLIENT_GONE } state;
    struct worker *worker;
    struct client *next, *prev;
    struct conn *conn;
    struct caller caller;
    struct exchange exchange; /* of the request under way; its txn from there to the answer */
    bool handshaking;         /* counted as such: handshake.c */
    struct h1_parser parser;
    struct h1_body body;
    struct geo_address address; /* family 0: not counted per address */
    struct mono waiting_since;  /* for its first or next request */
    uint64_t requests;
    bool opened;     /* TLS is up */
    bool keep_alive; /* after this answer */
    bool is_1_0;
    bool is_head_request;
    bool head_sent;
    bool bodiless; /* the answer's status is one without a body */
    bool chunked;  /* the answer under way */
    bool expect_continue;
    bool body_paused; /* the body is not read on: its bytes stay in the socket */
    bool head_timed;  /* the next head's deadline runs */
    struct mono body_started;
    uint64_t body_bytes;
};

/* The connection ends, after the rest of its answer where linger_ms > 0; whatever its request
 * still does, it does without a client. */
void client_end(struct client *c, uint64_t linger_ms);
/* Whether it does not take what was written. */
bool client_backed_up(const struct client *c);
/* The answer is complete and the connection goes on. */
void client_next(struct client *c);
/* Back-pressure on the body under way. */
void client_body_pause(struct client *c);
void client_body_resume(struct client *c);
/* client_answer.c: what the journey may say. */
extern const struct exchange_ops client_ops;

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

#endif
