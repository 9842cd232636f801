#include "net/conn.h"

#include "base/check.h"
#include "crypto/hash.h"
#include "net/loop_priv.h"
#include "net/tls_priv.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#define CONN_MAGIC 0x434f4e4eu
#define READ_STEP 16384      /* one TLS record */
#define READ_TURN_MAX 262144 /* bytes a connection may read in one turn: others wait too */
#define LOW_WATER_DEFAULT 65536

enum state { CONNECTING, HANDSHAKE, OPEN, CLOSING, DEAD };

struct conn {
    uint32_t magic;
    enum state state;
    struct loop *loop;
    struct loop_flush flush; /* listed when bytes wait to be written */
    struct loop_flush end;   /* listed while CLOSING: nobody else knows of it any more */
    conn_fn fn;
    void *owner;
    int fd;
    struct event *read_event;
    struct event *write_event;
    struct timer *timer;
    struct tls *tls;
    SSL *ssl;
    struct buf in;
    struct buf out;
    size_t low_water;
    bool above_low_water;
    bool paused;
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

static void step(struct conn *c, bool readable, bool writable);

static void
want_read(struct conn *c, bool on)
{
    if (on == c->read_added)
        return;
    if (on ? event_add(c->read_event, NULL) == 0 : event_del(c->read_event) == 0)
        c->read_added = on;
}

static void
want_write(struct conn *c, bool on)
{
    if (on == c->write_added)
        return;
    if (on ? event_add(c->write_event, NULL) == 0 : event_del(c->write_event) == 0)
        c->write_added = on;
}

static void
destroy(void *context)
{
    struct conn *c = context;

    ASSERT(c->magic == CONN_MAGIC && c->state == DEAD);
    event_free(c->read_event);
    event_free(c->write_event);
    timer_free(&c->timer);
    SSL_free(c->ssl);
    tls_unref(&c->tls);
    (void)close(c->fd);
    buf_release(&c->in);
    buf_release(&c->out);
    OPENSSL_free(c->peer_der);
    c->magic = 0;
    free(c);
}

void
conn_abort(struct conn *c)
{
    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == DEAD)
        return;
    want_read(c, false);
    want_write(c, false);
    timer_clear(c->timer);
    loop_flush_forget(&c->flush);
    loop_flush_forget(&c->end);
    c->state = DEAD;
    loop_bury(c->loop, destroy, c);
}

static void
tell(struct conn *c, unsigned events)
{
    if (c->state != DEAD && c->state != CLOSING)
        c->fn(c->owner, c, events);
}

static void
fail(struct conn *c, enum err e)
{
    c->error = e;
    want_read(c, false);
    want_write(c, false);
    loop_flush_forget(&c->flush);
    if (c->state == CLOSING)
        conn_abort(c);
    else
        tell(c, CONN_FAILED);
}

/* What an SSL call that did not succeed asks for; ERR_AGAIN when it only has to wait. */
static enum err
tls_wait(struct conn *c, int result)
{
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        want_write(c, true);
        return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_EOF;
    default:
        return ERR_IO;
    }
}

static enum err
read_some(struct conn *c, uint8_t *at, size_t room, size_t *out)
{
    if (c->ssl != NULL) {
        int n;

        ERR_clear_error();
        n = SSL_read(c->ssl, at, room > INT32_MAX ? INT32_MAX : (int)room);
        if (n > 0) {
            *out = (size_t)n;
            return ERR_OK;
        }
        return tls_wait(c, n);
    }
    for (;;) {
        ssize_t n = read(c->fd, at, room);

        if (n > 0) {
            *out = (size_t)n;
            return ERR_OK;
        }
        if (n == 0)
            return ERR_EOF;
        if (errno == EINTR)
            continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_AGAIN : ERR_IO;
    }
}

static enum err
write_some(struct conn *c, struct slice bytes, size_t *out)
{
    if (c->ssl != NULL) {
        int n;

        ERR_clear_error();
        n = SSL_write(c->ssl, bytes.p, bytes.len > INT32_MAX ? INT32_MAX : (int)bytes.len);
        if (n > 0) {
            *out = (size_t)n;
            return ERR_OK;
        }
        return tls_wait(c, n);
    }
    for (;;) {
        ssize_t n = send(c->fd, bytes.p, bytes.len, MSG_NOSIGNAL);

        if (n >= 0) {
            *out = (size_t)n;
            return ERR_OK;
        }
        if (errno == EINTR)
            continue;
        return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_AGAIN : ERR_IO;
    }
}

/* Reads until the socket is empty, the buffer full or the turn's share used up. */
static unsigned
fill(struct conn *c)
{
    size_t total = 0;
    unsigned events = 0;

    while (!c->paused && total < READ_TURN_MAX && buf_left(&c->in) > 0) {
        size_t want = buf_left(&c->in) < READ_STEP ? buf_left(&c->in) : READ_STEP;
        size_t room = 0;
        size_t n = 0;
        uint8_t *at = buf_room(&c->in, want, &room);
        enum err e;

        if (at == NULL) {
            fail(c, ERR_NOMEM);
            return 0;
        }
        e = read_some(c, at, room, &n);
        buf_commit(&c->in, e == ERR_OK ? n : 0);
        if (e == ERR_OK) {
            total += n;
            events |= CONN_DATA;
            /* A plain socket that gave less than asked is empty: save the extra read. */
            if (c->ssl == NULL && n < room)
                break;
            continue;
        }
        if (e == ERR_EOF || e == ERR_IO) {
            c->eof_seen = true;
            c->error = e == ERR_IO ? ERR_IO : c->error;
            want_read(c, false);
        }
        break;
    }
    /* A full buffer reads on in conn_consume(); until then the event would only spin. */
    if (buf_left(&c->in) == 0)
        want_read(c, false);
    if (c->eof_seen && !c->eof_told) {
        c->eof_told = true;
        events |= CONN_EOF;
    }
    return events;
}

/* Writes what waits; true while the connection lives. */
static bool
drain(struct conn *c)
{
    while (buf_used(&c->out) > 0) {
        size_t n = 0;
        enum err e = write_some(c, buf_slice(&c->out), &n);

        if (e == ERR_AGAIN) {
            want_write(c, true);
            return true;
        }
        if (e != ERR_OK) {
            fail(c, ERR_CLOSED);
            return false;
        }
        buf_consume(&c->out, n);
    }
    want_write(c, false);
    return true;
}

static void
finish_close(struct conn *c)
{
    if (buf_used(&c->out) > 0)
        return;
    if (c->half_closed)
        return;
    if (c->ssl != NULL)
        (void)SSL_shutdown(c->ssl);
    /* Lingering: closing with unread bytes would reset the connection and could take
     * the answer away from a client that is still sending. */
    c->half_closed = true;
    if (c->eof_seen || shutdown(c->fd, SHUT_WR) != 0)
        conn_abort(c);
    else
        want_read(c, true);
}

/* Discards what still comes after the answer; true when the peer is done. */
static bool
linger(struct conn *c)
{
    uint8_t scratch[4096];

    for (int i = 0; i < 16; i++) {
        ssize_t n = read(c->fd, scratch, sizeof(scratch));

        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return true;
        if (n < 0)
            return false;
    }
    return false;
}

static void
on_flush(struct loop_flush *f)
{
    struct conn *c = (struct conn *)(void *)((char *)f - offsetof(struct conn, flush));

    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == OPEN || c->state == CLOSING)
        step(c, false, true);
}

/* The loop ends before the flush or the peer did. */
static void
on_loop_end(struct loop_flush *f)
{
    struct conn *c = (struct conn *)(void *)((char *)f - offsetof(struct conn, end));

    ASSERT(c->magic == CONN_MAGIC);
    conn_abort(c);
}

static bool
handshake(struct conn *c)
{
    int n;
    enum err e;

    ERR_clear_error();
    n = SSL_do_handshake(c->ssl);
    if (n == 1) {
        if (!tls_peer_ok(c->tls, c->ssl)) {
            fail(c, ERR_AUTH);
            return false;
        }
        c->state = OPEN;
        return true;
    }
    e = tls_wait(c, n);
    if (e == ERR_AGAIN) {
        want_read(c, true);
        return false;
    }
    fail(c, SSL_get_verify_result(c->ssl) != X509_V_OK ? ERR_AUTH : ERR_IO);
    return false;
}

static bool
connected(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        fail(c, ERR_IO);
        return false;
    }
    want_write(c, false);
    c->state = c->ssl != NULL ? HANDSHAKE : OPEN;
    want_read(c, true);
    return true;
}

/* The one machine: moves as far as the socket allows and tells the owner once. */
static void
step(struct conn *c, bool readable, bool writable)
{
    unsigned events = 0;

    if (c->state == CONNECTING && (!writable || !connected(c)))
        return;
    if (c->state == HANDSHAKE) {
        want_write(c, false);
        if (!handshake(c))
            return;
        events |= CONN_OPENED;
        readable = true;
    }
    if (writable && !drain(c))
        return;
    if (c->state == CLOSING) {
        finish_close(c);
        return;
    }
    if (readable)
        events |= fill(c);
    if (c->kicked) {
        c->kicked = false;
        events |= CONN_DATA;
    }
    if (c->state != OPEN)
        return;
    if (c->above_low_water && buf_used(&c->out) <= c->low_water) {
        c->above_low_water = false;
        events |= CONN_DRAINED;
    }
    if (events != 0)
        tell(c, events);
}

static void
on_read(evutil_socket_t fd, short what, void *context)
{
    struct conn *c = context;

    (void)fd;
    (void)what;
    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == DEAD)
        return;
    if (c->state == CLOSING && c->half_closed) {
        if (linger(c))
            conn_abort(c);
        return;
    }
    step(c, true, false);
}

static void
on_write(evutil_socket_t fd, short what, void *context)
{
    struct conn *c = context;
    bool plain_connect = c->state == CONNECTING && c->ssl == NULL;

    (void)fd;
    (void)what;
    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == DEAD)
        return;
    if (plain_connect) {
        if (connected(c))
            tell(c, CONN_OPENED);
        return;
    }
    /* TLS may have to write before it can read on, and the other way round. */
    step(c, c->ssl != NULL && !c->paused, true);
}

static void
on_timer(void *context)
{
    struct conn *c = context;

    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == CLOSING)
        conn_abort(c);
    else
        tell(c, CONN_TIMED_OUT);
}

static enum err
conn_new(const struct conn_opts *opts, int fd, enum state state, struct conn **out)
{
    struct conn *c = calloc(1, sizeof(*c));
    int one = 1;

    if (c == NULL)
        return ERR_NOMEM;
    c->magic = CONN_MAGIC;
    c->state = state;
    c->loop = opts->loop;
    c->flush.fn = on_flush;
    c->end.fn = on_loop_end;
    c->fn = opts->fn;
    c->owner = opts->owner;
    c->fd = fd;
    c->low_water = LOW_WATER_DEFAULT;
    buf_init(&c->in, opts->pool, opts->in_max);
    buf_init(&c->out, opts->pool, opts->out_max);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->read_event = event_new(loop_base(c->loop), fd, EV_READ | EV_PERSIST, on_read, c);
    c->write_event = event_new(loop_base(c->loop), fd, EV_WRITE | EV_PERSIST, on_write, c);
    if (c->read_event == NULL || c->write_event == NULL ||
        timer_new(c->loop, on_timer, c, &c->timer) != ERR_OK)
        goto fail;
    if (opts->tls != NULL) {
        c->tls = tls_ref(opts->tls);
        c->ssl = tls_session(c->tls, fd);
        if (c->ssl == NULL)
            goto fail;
    }
    *out = c;
    return ERR_OK;

fail:
    if (c->read_event != NULL)
        event_free(c->read_event);
    if (c->write_event != NULL)
        event_free(c->write_event);
    timer_free(&c->timer);
    tls_unref(&c->tls);
    free(c);
    return ERR_NOMEM;
}

enum err
conn_accepted(const struct conn_opts *opts, int fd, struct conn **out)
{
    struct conn *c = NULL;
    enum err e = conn_new(opts, fd, opts->tls != NULL ? HANDSHAKE : OPEN, &c);

    if (e != ERR_OK) {
        (void)close(fd);
        return e;
    }
    c->remote.len = sizeof(c->remote.storage);
    (void)getpeername(fd, (struct sockaddr *)&c->remote.storage, &c->remote.len);
    want_read(c, true);
    *out = c;
    return ERR_OK;
}

enum err
conn_connect(const struct conn_opts *opts, const struct address *to, struct conn **out)
{
    struct conn *c = NULL;
    enum err e;
    int fd;

    if (opts->guard == NULL || !egress_allows(opts->guard, to))
        return ERR_FORBIDDEN;
    fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ERR_IO;
    if (connect(fd, (const struct sockaddr *)&to->storage, to->len) != 0 && errno != EINPROGRESS) {
        (void)close(fd);
        return ERR_IO;
    }
    e = conn_new(opts, fd, CONNECTING, &c);
    if (e != ERR_OK) {
        (void)close(fd);
        return e;
    }
    c->remote = *to;
    want_write(c, true);
    *out = c;
    return ERR_OK;
}

void
conn_set_owner(struct conn *c, conn_fn fn, void *owner)
{
    c->fn = fn;
    c->owner = owner;
}

struct buf *
conn_in(struct conn *c)
{
    return &c->in;
}

void
conn_consume(struct conn *c, size_t len)
{
    bool was_full = buf_left(&c->in) == 0;

    buf_consume(&c->in, len);
    /* Bytes that TLS holds raise no event by themselves. */
    if (was_full && len > 0 && !c->paused && c->state == OPEN && !c->eof_seen) {
        want_read(c, true);
        event_active(c->read_event, EV_READ, 1);
    }
}

size_t
conn_unsent(const struct conn *c)
{
    return buf_used(&c->out);
}

size_t
conn_write_left(const struct conn *c)
{
    return buf_left(&c->out);
}

void
conn_set_out_max(struct conn *c, size_t bytes)
{
    c->out.max = bytes;
}

static void
wrote(struct conn *c)
{
    if (buf_used(&c->out) > c->low_water)
        c->above_low_water = true;
    /* While the socket is full the write event goes on by itself. */
    if (!c->write_added && c->state == OPEN)
        loop_flush_later(c->loop, &c->flush);
}

enum err
conn_write(struct conn *c, struct slice bytes)
{
    enum err e;

    if (c->state != OPEN)
        return ERR_CLOSED;
    e = buf_add(&c->out, bytes);
    if (e == ERR_OK)
        wrote(c);
    return e;
}

uint8_t *
conn_write_room(struct conn *c, size_t len, size_t *room)
{
    return c->state == OPEN ? buf_room(&c->out, len, room) : NULL;
}

void
conn_write_commit(struct conn *c, size_t len)
{
    buf_commit(&c->out, len);
    wrote(c);
}

void
conn_set_low_water(struct conn *c, size_t bytes)
{
    c->low_water = bytes;
}

void
conn_pause(struct conn *c)
{
    c->paused = true;
    want_read(c, false);
}

void
conn_resume(struct conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    if (c->eof_seen || (c->state != OPEN && c->state != HANDSHAKE))
        return;
    want_read(c, true);
    /* Bytes may wait inside TLS or have been announced while nobody listened. */
    event_active(c->read_event, EV_READ, 1);
}

void
conn_kick(struct conn *c)
{
    if (c->state != OPEN)
        return;
    c->kicked = true;
    event_active(c->read_event, EV_READ, 1);
}

void
conn_deadline(struct conn *c, uint64_t ms)
{
    if (ms == 0)
        timer_clear(c->timer);
    else
        timer_set(c->timer, ms);
}

void
conn_close(struct conn *c, uint64_t linger_ms)
{
    if (c->state == DEAD || c->state == CLOSING)
        return;
    if (c->state != OPEN || c->error != ERR_OK) {
        conn_abort(c);
        return;
    }
    c->state = CLOSING;
    loop_at_end(c->loop, &c->end);
    want_read(c, false);
    timer_set(c->timer, linger_ms == 0 ? 1 : linger_ms);
    if (!c->write_added)
        loop_flush_later(c->loop, &c->flush);
}

bool
conn_is_open(const struct conn *c)
{
    return c->state == OPEN && !c->eof_seen;
}

enum err
conn_error(const struct conn *c)
{
    return c->error;
}

const struct address *
conn_remote(const struct conn *c)
{
    return &c->remote;
}

uint16_t
conn_local_port(const struct conn *c)
{
    struct address a = {.len = sizeof(a.storage)};

    if (getsockname(c->fd, (struct sockaddr *)&a.storage, &a.len) != 0)
        return 0;
    return address_port(&a);
}

struct slice
conn_peer_cert(struct conn *c)
{
    X509 *peer;
    int len;

    if (c->ssl == NULL)
        return SLICE_NONE;
    if (c->peer_der == NULL) {
        peer = SSL_get1_peer_certificate(c->ssl);
        if (peer == NULL)
            return SLICE_NONE;
        len = i2d_X509(peer, &c->peer_der);
        X509_free(peer);
        if (len <= 0)
            return SLICE_NONE;
        c->peer_der_len = (size_t)len;
    }
    return slice_of(c->peer_der, c->peer_der_len);
}

size_t
conn_peer_chain_sha256(struct conn *c, uint8_t (*out)[32], size_t max)
{
    STACK_OF(X509) *chain = c->ssl == NULL ? NULL : SSL_get0_verified_chain(c->ssl);
    size_t n = 0;

    for (int i = 0; chain != NULL && i < sk_X509_num(chain) && n < max; i++) {
        unsigned char *der = NULL;
        int len = i2d_X509(sk_X509_value(chain, i), &der);

        if (len <= 0)
            break;
        hash_sha256(slice_of(der, (size_t)len), out[n++]);
        OPENSSL_free(der);
    }
    return n;
}

const char *
conn_sni(struct conn *c)
{
    return c->ssl == NULL ? NULL : SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name);
}
