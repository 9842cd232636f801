#ifndef NODE_UPSTREAM_H
#define NODE_UPSTREAM_H

#include "base/err.h"
#include "net/http.h"
#include "node/snapshot.h"
#include "residency/permit.h"

#include <stdbool.h>
#include <stdint.h>

/* A worker's connections to backends and peers, and one request with its answer on each. They
 * are kept alive between requests; one is handed out only against a permit (law 2). Kept apart
 * by backend, address, TLS identity and top-level tenant, so that no desync can cross backends
 * or customers. Who uses one sees messages, not how they are framed:
 *
 *   checkout -> OPENED -> send_head -> send ... -> send_end
 *                              read_head -> read_body ... -> return, or abort at any time
 *
 * upstream.c has the pool, upstream_h1.c the messages as HTTP/1. */

/* A worker: one for each backend that there can be, so that work that is spread over many does not
 * begin with a handshake each time. Above that, and when the node runs short, the longest idle
 * gives way. */
#define UPSTREAM_IDLE_MAX BITS_COUNT_MAX
#define UPSTREAM_IDLE_MS 4000  /* below the 5 s of uvicorn (vLLM) and llama.cpp */
#define UPSTREAM_INTERIM_MAX 8 /* 1xx heads before an answer; all are dropped */

struct upstream_pool;
struct upstream;
struct worker;

MUST_USE enum err upstream_pool_new(struct worker *w, struct upstream_pool **out);
void upstream_pool_free(struct upstream_pool **p);
/* A new snapshot is in force: TLS sessions of the earlier one's contexts are forgotten. */
void upstream_pool_changed(struct upstream_pool *p);
/* Closes up to `max` idle connections, the longest idle first; how many there were. */
unsigned upstream_pool_shed(struct upstream_pool *p, unsigned max);

enum upstream_event {
    UPSTREAM_OPENED = 1,     /* a request may be sent; of a peer: its identity was checked */
    UPSTREAM_DATA = 2,       /* bytes of the answer came: read */
    UPSTREAM_DRAINED = 4,    /* what was unsent fell to the low-water mark */
    UPSTREAM_ENDED = 8,      /* the connection is over: reading tells how the answer ended */
    UPSTREAM_TIMED_OUT = 16, /* the deadline passed */
};
typedef void (*upstream_fn)(void *owner, struct upstream *u, unsigned events);

/* Who uses a connection, and for what. */
struct upstream_use {
    upstream_fn fn;
    void *owner;
    uint32_t top_tenant_id; /* number in the admission object */
    size_t request_bytes;   /* that may wait unsent, beside the head */
    uint64_t connect_ms;    /* one connection attempt, TLS included */
    bool must_be_new;       /* not one that is kept from an earlier request */
};

/* Spends the permit. *out is either ready (upstream_ready) or connecting: then UPSTREAM_OPENED
 * or UPSTREAM_ENDED comes to fn. ERR_FORBIDDEN: no valid permit, or an address outside the
 * egress guard. */
MUST_USE enum err upstream_checkout(struct upstream_pool *p, struct snapshot *s,
                                    struct permit *permit, const struct upstream_use *use,
                                    struct upstream **out);
bool upstream_ready(const struct upstream *u);
/* It served an earlier request: a server may close such a one at any moment. */
bool upstream_reused(const struct upstream *u);
/* After UPSTREAM_ENDED without an answer; ERR_AUTH: who it is does not hold. */
enum err upstream_error(const struct upstream *u);
/* The answer was read to its end: the connection goes back to the pool if it can serve another
 * request (all was sent, nothing is behind the answer, both sides keep it), else it closes. */
void upstream_return(struct upstream *u);
/* Closes at once: the backend's work is cancelled. */
void upstream_abort(struct upstream *u);

/* ---- the request ----------------------------------------------------------------------- */

struct upstream_request {
    enum http_method method;
    struct slice path; /* with query */
    const char *host;
    uint16_t port;
    const struct http_fields *fields;
    int64_t body_length; /* or HTTP_LENGTH_UNKNOWN */
};
MUST_USE enum err upstream_send_head(struct upstream *u, const struct upstream_request *r);
/* A piece of the body. ERR_TOOBIG: more than may wait unsent. */
MUST_USE enum err upstream_send(struct upstream *u, struct slice piece);
/* The request is complete. */
MUST_USE enum err upstream_send_end(struct upstream *u);
/* Bytes that wait unsent; UPSTREAM_DRAINED comes when they fall to the low-water mark. */
size_t upstream_unsent(const struct upstream *u);
void upstream_low_water(struct upstream *u, size_t bytes);

/* ---- the answer ------------------------------------------------------------------------ */

enum upstream_read {
    UPSTREAM_READ_OK,
    UPSTREAM_READ_DONE, /* the body is complete */
    UPSTREAM_READ_WAIT, /* more is to come */
    UPSTREAM_READ_MALFORMED,
    UPSTREAM_READ_TRUNCATED, /* the connection ended first */
};
/* The head of the final answer; borrowed until the next read of this worker. */
MUST_USE enum upstream_read upstream_read_head(struct upstream *u, const struct http_head **out);
/* The next piece of the body, where it lies; borrowed until the next read. */
MUST_USE enum upstream_read upstream_read_body(struct upstream *u, struct slice *piece);
/* Whether any byte of an answer came. */
bool upstream_heard(const struct upstream *u);
/* Back-pressure: nothing is read, and so no end noticed, while paused. */
void upstream_pause(struct upstream *u);
void upstream_resume(struct upstream *u);
/* One deadline at a time; 0 clears. */
void upstream_deadline(struct upstream *u, uint64_t ms);

#endif
