/* A connection's life: how it opens, the one machine that its events drive, how it closes. */

#include "net/conn_priv.h"

#include "base/check.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define CONN_MAGIC 0x434f4e4eu
#define LOW_WATER_DEFAULT 65536

void
conn_want_read(struct conn *c, bool on)
{
    hangup_forget(loop_hangups(c->loop), &c->hangup);
    if (on == c->read_added)
        return;
    if (on ? event_add(c->read_event, NULL) == 0 : event_del(c->read_event) == 0)
        c->read_added = on;
}

void
conn_rest(struct conn *c)
{
    if (c->hangup.watched)
        return;
    conn_want_read(c, false);
    if (c->tell_left && c->state == CONN_STATE_OPEN && !c->eof_seen)
        hangup_watch(loop_hangups(c->loop), &c->hangup, c->fd);
}

void
conn_want_write(struct conn *c, bool on)
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

    ASSERT(c->magic == CONN_MAGIC && c->state == CONN_STATE_DEAD);
    event_free(c->read_event);
    event_free(c->write_event);
    timer_free(&c->timer);
    conn_tls_fini(c);
    (void)close(c->fd);
    loop_count_conn(c->loop, -1);
    if (c->sockets != NULL)
        (void)atomic_fetch_sub(c->sockets, 1);
    buf_release(&c->in);
    buf_release(&c->out);
    c->magic = 0;
    free(c);
}

void
conn_abort(struct conn *c)
{
    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == CONN_STATE_DEAD)
        return;
    conn_want_read(c, false);
    conn_want_write(c, false);
    timer_clear(c->timer);
    loop_flush_forget(&c->flush);
    loop_flush_forget(&c->end);
    c->state = CONN_STATE_DEAD;
    loop_bury(c->loop, destroy, c);
}

static void
tell(struct conn *c, unsigned events)
{
    if (c->state != CONN_STATE_DEAD && c->state != CONN_STATE_CLOSING)
        c->fn(c->owner, c, events);
}

void
conn_fail(struct conn *c, enum err e)
{
    c->error = e;
    conn_want_read(c, false);
    conn_want_write(c, false);
    loop_flush_forget(&c->flush);
    if (c->state == CONN_STATE_CLOSING)
        conn_abort(c);
    else
        tell(c, CONN_FAILED);
}

static void
finish_close(struct conn *c)
{
    if (buf_used(&c->out) > 0)
        return;
    if (c->half_closed)
        return;
    if (c->ssl != NULL)
        conn_tls_goodbye(c);
    /* Lingering: closing with unread bytes would reset the connection and could take
     * the answer away from a client that is still sending. */
    c->half_closed = true;
    if (c->eof_seen || shutdown(c->fd, SHUT_WR) != 0)
        conn_abort(c);
    else
        conn_want_read(c, true);
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

static bool
connected(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        conn_fail(c, ERR_IO);
        return false;
    }
    conn_want_write(c, false);
    c->state = c->ssl != NULL ? CONN_STATE_HANDSHAKE : CONN_STATE_OPEN;
    conn_want_read(c, true);
    return true;
}

static bool
handshake(struct conn *c)
{
    enum err e = conn_tls_handshake(c);

    if (e == ERR_OK)
        c->state = CONN_STATE_OPEN;
    else if (e == ERR_AGAIN)
        conn_want_read(c, true);
    else
        conn_fail(c, e);
    return e == ERR_OK;
}

/* The one machine: moves as far as the socket allows and tells the owner once. */
static void
step(struct conn *c, bool readable, bool writable)
{
    unsigned events = 0;

    if (c->state == CONN_STATE_CONNECTING && (!writable || !connected(c)))
        return;
    if (c->state == CONN_STATE_HANDSHAKE) {
        conn_want_write(c, false);
        if (!handshake(c))
            return;
        events |= CONN_OPENED;
        readable = true;
    }
    if (writable && !conn_drain(c))
        return;
    if (c->state == CONN_STATE_CLOSING) {
        finish_close(c);
        return;
    }
    if (readable && !conn_fill(c, &events))
        return;
    if (c->kicked) {
        c->kicked = false;
        events |= CONN_DATA;
    }
    if (c->state != CONN_STATE_OPEN)
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
    if (c->state == CONN_STATE_DEAD)
        return;
    if (c->state == CONN_STATE_CLOSING && c->half_closed) {
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
    bool plain_connect = c->state == CONN_STATE_CONNECTING && c->ssl == NULL;

    (void)fd;
    (void)what;
    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == CONN_STATE_DEAD)
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
on_hangup(struct hangup *h)
{
    struct conn *c = (struct conn *)(void *)((char *)h - offsetof(struct conn, hangup));

    ASSERT(c->magic == CONN_MAGIC);
    tell(c, CONN_LEFT);
}

static void
on_flush(struct loop_flush *f)
{
    struct conn *c = (struct conn *)(void *)((char *)f - offsetof(struct conn, flush));

    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == CONN_STATE_OPEN || c->state == CONN_STATE_CLOSING)
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

static void
on_timer(void *context)
{
    struct conn *c = context;

    ASSERT(c->magic == CONN_MAGIC);
    if (c->state == CONN_STATE_CLOSING)
        conn_abort(c);
    else
        tell(c, CONN_TIMED_OUT);
}

static enum err
conn_new(const struct conn_opts *opts, int fd, enum conn_state state, struct conn **out)
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
    c->hangup.fn = on_hangup;
    c->tell_left = opts->tell_left;
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
    if (opts->tls != NULL && conn_tls_init(c, opts->tls, opts->reuse) != ERR_OK)
        goto fail;
    loop_count_conn(c->loop, 1);
    c->sockets = opts->sockets;
    if (c->sockets != NULL)
        (void)atomic_fetch_add(c->sockets, 1);
    *out = c;
    return ERR_OK;

fail:
    if (c->read_event != NULL)
        event_free(c->read_event);
    if (c->write_event != NULL)
        event_free(c->write_event);
    timer_free(&c->timer);
    free(c);
    return ERR_NOMEM;
}

enum err
conn_accepted(const struct conn_opts *opts, int fd, struct conn **out)
{
    struct conn *c = NULL;
    enum err e = conn_new(opts, fd, opts->tls != NULL ? CONN_STATE_HANDSHAKE : CONN_STATE_OPEN, &c);

    if (e != ERR_OK) {
        (void)close(fd);
        return e;
    }
    c->remote.len = sizeof(c->remote.storage);
    (void)getpeername(fd, (struct sockaddr *)&c->remote.storage, &c->remote.len);
    conn_want_read(c, true);
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
    if (fd < 0) /* without descriptors it says nothing about the other side */
        return errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM ? ERR_NOMEM
                                                                                         : ERR_IO;
    if (connect(fd, (const struct sockaddr *)&to->storage, to->len) != 0 && errno != EINPROGRESS) {
        (void)close(fd);
        return ERR_IO;
    }
    e = conn_new(opts, fd, CONN_STATE_CONNECTING, &c);
    if (e != ERR_OK) {
        (void)close(fd);
        return e;
    }
    c->remote = *to;
    conn_want_write(c, true);
    *out = c;
    return ERR_OK;
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
    if (c->state == CONN_STATE_DEAD || c->state == CONN_STATE_CLOSING)
        return;
    if (c->state != CONN_STATE_OPEN || c->error != ERR_OK) {
        conn_abort(c);
        return;
    }
    c->state = CONN_STATE_CLOSING;
    loop_at_end(c->loop, &c->end);
    conn_want_read(c, false);
    timer_set(c->timer, linger_ms == 0 ? 1 : linger_ms);
    if (!c->write_added)
        loop_flush_later(c->loop, &c->flush);
}

void
conn_break(struct conn *c)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

bool
conn_is_open(const struct conn *c)
{
    return c->state == CONN_STATE_OPEN && !c->eof_seen;
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
