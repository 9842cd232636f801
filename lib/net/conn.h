#ifndef NET_CONN_H
#define NET_CONN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One TCP connection, with or without TLS, with a bounded buffer each way. The owner is
 * told what happened through one callback and may close the connection inside it; memory
 * stays until the turn ends.
 *
 *   CONNECTING -> HANDSHAKE -> OPEN -> CLOSING (flush, then gone)
 */

enum conn_event {
    CONN_OPENED = 1,  /* connected, TLS verified: bytes may be written */
    CONN_DATA = 2,    /* new bytes in conn_in() */
    CONN_DRAINED = 4, /* the out buffer fell below its low-water mark after being above it */
    CONN_EOF = 8,     /* the peer ended its side; bytes before it were delivered */
    CONN_FAILED = 16, /* connect, TLS or socket error: conn_error(); only closing is left */
    CONN_TIMED_OUT = 32,
    CONN_LEFT = 64, /* the peer ended its side while nothing was read (opts.tell_left): bytes
                       before it may not have been delivered */
};

struct conn;
struct tls_reuse;
typedef void (*conn_fn)(void *owner, struct conn *c, unsigned events);

struct conn_opts {
    struct loop *loop;
    struct buf_pool *pool;
    struct tls *tls; /* NULL: plain; reffed */
    conn_fn fn;
    void *owner;
    size_t in_max;
    size_t out_max;
    const struct egress *guard; /* for conn_connect: addresses outside fail with ERR_FORBIDDEN */
    struct tls_reuse *reuse;    /* clients: where sessions are kept; NULL: each one is new */
    _Atomic int64_t *sockets;   /* counts this one until its socket is closed; NULL: nobody does */
    bool tell_left;             /* CONN_LEFT while paused, and while the in buffer is full */
};

/* Takes fd (an accepted, non-blocking socket). */
MUST_USE enum err conn_accepted(const struct conn_opts *opts, int fd, struct conn **out);
/* Starts connecting; CONN_OPENED or CONN_FAILED follows, never within the call. */
MUST_USE enum err conn_connect(const struct conn_opts *opts, const struct address *to,
                               struct conn **out);

/* What was received and not yet consumed. */
struct buf *conn_in(struct conn *c);
void conn_consume(struct conn *c, size_t len);
/* Appends to the out buffer; written at the end of the turn. ERR_TOOBIG past out_max. */
MUST_USE enum err conn_write(struct conn *c, struct slice bytes);
/* Bytes written by the owner that the socket has not taken yet. */
size_t conn_unsent(const struct conn *c);
size_t conn_write_left(const struct conn *c);
/* A new bound of the out buffer: a kept connection serves requests of other sizes. */
void conn_set_out_max(struct conn *c, size_t bytes);
/* CONN_DRAINED comes once unsent falls to this after having been above it. */
void conn_set_low_water(struct conn *c, size_t bytes);

/* Back-pressure: no reading while paused, and so no notice of the peer's close but CONN_LEFT. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
/* Tells CONN_DATA again in the next turn: for bytes in the buffer that the owner left there. */
void conn_kick(struct conn *c);

/* One deadline at a time; 0 clears. */
void conn_deadline(struct conn *c, uint64_t ms);

/* Flushes what is unsent (at most linger_ms), then closes. The owner hears nothing more. */
void conn_close(struct conn *c, uint64_t linger_ms);
/* Closes at once. */
void conn_abort(struct conn *c);
/* The close that follows is a reset, which nobody takes for the orderly end of an answer. */
void conn_break(struct conn *c);

/* Open both ways: false once the peer ended its side. */
bool conn_is_open(const struct conn *c);
enum err conn_error(const struct conn *c); /* ERR_AUTH: the peer's identity did not verify */
/* The remote address (accepted connections too). */
const struct address *conn_remote(const struct conn *c);
/* DER of the peer's leaf certificate, or empty; borrowed until the connection closes. */
struct slice conn_peer_cert(struct conn *c);
/* SHA-256 of each certificate in the verified chain, leaf first; count returned. With a resumed
 * session, of the chain that was verified when the session began. */
size_t conn_peer_chain_sha256(struct conn *c, uint8_t (*out)[32], size_t max);
/* The server name that the client asked for on this connection, in lower case, or NULL. */
const char *conn_sni(struct conn *c);
bool conn_is_resumed(const struct conn *c);
/* Why the handshake failed, after CONN_FAILED; TLS_FAULT_NONE when it did not. */
enum tls_fault conn_tls_fault(const struct conn *c);

#endif
