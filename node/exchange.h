#ifndef NODE_EXCHANGE_H
#define NODE_EXCHANGE_H

#include "base/slice.h"
#include "crypto/cert.h"
#include "net/http.h"
#include "node/metrics.h"
#include "residency/geo/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One request of a caller and its answer, on a connection of whatever protocol. The journey
 * sees nothing else of a client: the facts of the connection stand in the caller, and what it
 * says goes through the operations of the protocol (client.c has those of HTTP/1).
 *
 * An exchange and its transaction point at each other until one of them ends. The exchange
 * says so with journey_client_gone(); the transaction parts from it (txn_part()) and answers.
 * An exchange's memory stays until the turn ends in which it did. */

#define EXCHANGE_HIGH_WATER 262144 /* bytes unsent before the backend is not read on */
#define CALLER_CHAIN_MAX 8

struct exchange;
struct txn;
struct worker;

/* A certificate that was shown. Apart, because most callers show none. */
struct caller_cert {
    struct cert_facts facts;
    uint8_t chain[CALLER_CHAIN_MAX][HASH_SIZE];
    size_t chain_count;
};

/* The other end of the connection: the same for all requests on it. */
struct caller {
    bool mesh;                 /* a peer, or who would be one */
    struct geo_address remote; /* of the socket; family 0: its place is unknown */
    const char *sni;           /* the name that TLS was asked for, in lower case, or NULL */
    struct caller_cert *cert;  /* NULL: it showed none */
};

/* Which the protocol fills. After the end or the cut the exchange is over. */
struct exchange_ops {
    /* Writes the head; false when the caller is gone or its buffer full. length: of the body,
     * or HTTP_LENGTH_UNKNOWN. Whether a body may follow at all, the status says. */
    bool (*answer_head)(struct exchange *x, int status, const struct http_fields *fields,
                        int64_t length);
    /* A piece of the body. False when the caller is gone or its buffer is full. */
    bool (*answer_body)(struct exchange *x, struct slice piece);
    /* The answer is complete: the connection goes on, or closes. */
    void (*answer_end)(struct exchange *x);
    /* The answer can't be completed, and the caller must be able to tell. */
    void (*answer_cut)(struct exchange *x);
    /* Back-pressure on the request's body: it is not read on, and owes nothing meanwhile. */
    void (*body_pause)(struct exchange *x);
    void (*body_resume)(struct exchange *x);
    /* The caller does not take what was written. */
    bool (*backed_up)(struct exchange *x);
};

struct exchange {
    const struct exchange_ops *ops;
    struct worker *worker;
    const struct caller *caller;
    struct txn *txn; /* NULL: none yet, or parted */
    bool is_last;    /* nothing that comes behind this request is interpreted */
};

static inline bool
exchange_answer_head(struct exchange *x, int status, const struct http_fields *fields,
                     int64_t length)
{
    return x->ops->answer_head(x, status, fields, length);
}

static inline bool
exchange_answer_body(struct exchange *x, struct slice piece)
{
    return x->ops->answer_body(x, piece);
}

static inline void
exchange_answer_end(struct exchange *x)
{
    x->ops->answer_end(x);
}

static inline void
exchange_answer_cut(struct exchange *x)
{
    x->ops->answer_cut(x);
}

static inline void
exchange_body_pause(struct exchange *x)
{
    x->ops->body_pause(x);
}

static inline void
exchange_body_resume(struct exchange *x)
{
    x->ops->body_resume(x);
}

static inline bool
exchange_backed_up(struct exchange *x)
{
    return x->ops->backed_up(x);
}

/* A whole answer with a body. */
void exchange_answer(struct exchange *x, int status, const struct http_fields *fields,
                     struct slice body);

struct exchange_refusal {
    enum refusal code;
    const char *words;      /* our own text */
    const char *param;      /* the request's member that it is about, or NULL */
    uint32_t retry_after_s; /* of 429 and 503, which always name a time; 0: 1 */
};
/* OpenAI's error object as a whole answer. more: further fields, or NULL. */
void exchange_refuse(struct exchange *x, const struct exchange_refusal *r,
                     const struct http_fields *more);

#endif
