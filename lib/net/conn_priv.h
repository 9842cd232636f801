#ifndef NET_CONN_PRIV_H
#define NET_CONN_PRIV_H

#include "net/conn.h"
#include "net/hangup_priv.h"
#include "net/loop_priv.h"
#include "net/tls_priv.h"

/* What the files of a connection share: conn.c is its life, conn_bytes.c its two buffers,
 * conn_tls.c what TLS adds. */

enum conn_state {
    CONN_STATE_CONNECTING,
    CONN_STATE_HANDSHAKE,
    CONN_STATE_OPEN,
    CONN_STATE_CLOSING,
    CONN_STATE_DEAD,
};

struct event;
struct conn {
    uint32_t magic;
    enum conn_state state; /* written by conn.c alone */
    struct loop *loop;
    struct loop_flush flush; /* listed when bytes wait to be written */
    struct loop_flush end;   /* listed while CLOSING: nobody else knows of it any more */
    conn_fn fn;
    void *owner;
    _Atomic int64_t *sockets; /* or NULL */
    int fd;
    struct event *read_event;
    struct event *write_event;
    struct hangup hangup; /* watched while OPEN, tell_left and not read */
    struct timer *timer;
    struct tls *tls;
    SSL *ssl; /* NULL: plain */
    struct tls_hello hello;
    enum tls_fault fault;
    struct buf in;
    struct buf out;
    size_t low_water;
    bool above_low_water;
    bool paused;
    bool tell_left;
    bool read_added;
    bool write_added;
    bool eof_seen;
    bool eof_told;
    bool kicked;      /* conn_kick: CONN_DATA is due without new bytes */
    bool half_closed; /* CLOSING: our side ended, reading what the peer still sends */
    enum err error;
    struct address remote;
    unsigned char *peer_der;
    size_t peer_der_len;
};

/* conn.c: which readiness the loop tells. */
void conn_want_read(struct conn *c, bool on);
/* Reading goes off while the connection goes on: the peer's leaving is heard if it is asked for. */
void conn_rest(struct conn *c);
void conn_want_write(struct conn *c, bool on);
/* Tells CONN_FAILED; a connection that was only flushing is gone instead. */
void conn_fail(struct conn *c, enum err e);

/* conn_bytes.c: between the buffers and the socket. Both false when the connection failed
 * (and conn_fail() said so). */
bool conn_fill(struct conn *c, unsigned *events);
bool conn_drain(struct conn *c);

/* conn_tls.c: init refs tls; reuse may be NULL. */
MUST_USE enum err conn_tls_init(struct conn *c, struct tls *tls, struct tls_reuse *reuse);
void conn_tls_fini(struct conn *c);
/* These give ERR_AGAIN when the session only has to wait. */
MUST_USE enum err conn_tls_handshake(struct conn *c); /* ERR_AUTH: who the peer is doesn't hold */
MUST_USE enum err conn_tls_read(struct conn *c, uint8_t *at, size_t room, size_t *out);
MUST_USE enum err conn_tls_write(struct conn *c, struct slice bytes, size_t *out);
/* Whether the session holds bytes that the socket will not announce again. */
bool conn_tls_holds(const struct conn *c);
/* Gives the record buffers back, unless they hold something. */
void conn_tls_rest(struct conn *c);
void conn_tls_goodbye(struct conn *c);

#endif
