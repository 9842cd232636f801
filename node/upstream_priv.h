#ifndef NODE_UPSTREAM_PRIV_H
#define NODE_UPSTREAM_PRIV_H

#include "crypto/cert.h"
#include "net/conn.h"
#include "net/h1.h"
#include "node/upstream.h"

/* What the pool and the messages of a connection share. */

#define UPSTREAM_BUCKETS 256

struct upstream {
    uint32_t magic;
    struct upstream_pool *pool;
    struct upstream *next, *prev;         /* idle: bucket list */
    struct upstream *lru_next, *lru_prev; /* idle: oldest first */
    struct conn *conn;
    struct address address;
    struct tls *tls;     /* reffed: the identity is part of the key */
    uint32_t backend_id; /* number in the admission object; UINT32_MAX: a peer */
    uint32_t top_tenant_id;
    char spiffe[CERT_URI_MAX]; /* the identity a peer must prove, or "" */
    upstream_fn fn;            /* NULL while idle */
    void *owner;
    bool ready;
    bool reused;
    bool ended; /* nothing comes any more */
    /* The message side, from a request's head to its return: written by upstream_h1.c. */
    bool asked; /* a head went out: an answer may come */
    bool heard;
    bool sent;       /* the request is complete */
    bool chunked;    /* its body's length is not known */
    bool keep_alive; /* the answer's head says so */
    uint32_t interims;
    size_t lent; /* bytes handed out, dropped with the next read */
    struct h1_parser parser;
    struct h1_body body;
};

struct upstream_pool {
    struct worker *worker;
    struct tls_reuse *reuse;                   /* of backends; a peer's are never resumed */
    struct upstream buckets[UPSTREAM_BUCKETS]; /* ring heads */
    struct upstream lru;                       /* ring head */
    size_t idle;
    struct h1_head head; /* of the answer that is read now: one at a time */
};

/* upstream_h1.c: nothing is asked. */
void upstream_forget(struct upstream *u);
/* Whether the exchange ended so that another one may follow on the connection. */
bool upstream_may_follow(struct upstream *u);

#endif
