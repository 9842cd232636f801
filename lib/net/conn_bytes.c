/* A connection's two buffers: from the socket into one, out of the other to the socket, and
 * the back-pressure of both. */

#include "net/conn_priv.h"

#include <errno.h>
#include <event2/event.h>
#include <unistd.h>

#define READ_STEP 16384      /* one TLS record */
#define READ_TURN_MAX 262144 /* bytes a connection may read in one turn: others wait too */

static enum err
read_some(struct conn *c, uint8_t *at, size_t room, size_t *out)
{
    if (c->ssl != NULL)
        return conn_tls_read(c, at, room, out);
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
    if (c->ssl != NULL)
        return conn_tls_write(c, bytes, out);
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
bool
conn_fill(struct conn *c, unsigned *events)
{
    size_t total = 0;

    while (!c->paused && total < READ_TURN_MAX && buf_left(&c->in) > 0) {
        size_t want = buf_left(&c->in) < READ_STEP ? buf_left(&c->in) : READ_STEP;
        size_t room = 0;
        size_t n = 0;
        uint8_t *at = buf_room(&c->in, want, &room);
        enum err e;

        if (at == NULL) {
            conn_fail(c, ERR_NOMEM);
            return false;
        }
        e = read_some(c, at, room, &n);
        buf_commit(&c->in, e == ERR_OK ? n : 0);
        if (e == ERR_OK) {
            total += n;
            *events |= CONN_DATA;
            /* What gave less than asked is empty: save the extra read. */
            if (c->ssl != NULL ? !conn_tls_holds(c) : n < room)
                break;
            continue;
        }
        if (e == ERR_EOF || e == ERR_IO) {
            c->eof_seen = true;
            c->error = e == ERR_IO ? ERR_IO : c->error;
            conn_want_read(c, false);
        }
        break;
    }
    if (c->ssl != NULL && !conn_tls_holds(c))
        conn_tls_rest(c);
    /* A full buffer reads on in conn_consume(); until then the event would only spin. */
    if (buf_left(&c->in) == 0)
        conn_rest(c);
    if (c->eof_seen && !c->eof_told) {
        c->eof_told = true;
        *events |= CONN_EOF;
    }
    return true;
}

bool
conn_drain(struct conn *c)
{
    while (buf_used(&c->out) > 0) {
        size_t n = 0;
        enum err e = write_some(c, buf_slice(&c->out), &n);

        if (e == ERR_AGAIN) {
            conn_want_write(c, true);
            return true;
        }
        if (e != ERR_OK) {
            conn_fail(c, ERR_CLOSED);
            return false;
        }
        buf_consume(&c->out, n);
    }
    conn_want_write(c, false);
    return true;
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
    if (was_full && len > 0 && !c->paused && c->state == CONN_STATE_OPEN && !c->eof_seen) {
        conn_want_read(c, true);
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

enum err
conn_write(struct conn *c, struct slice bytes)
{
    enum err e;

    if (c->state != CONN_STATE_OPEN)
        return ERR_CLOSED;
    e = buf_add(&c->out, bytes);
    if (e != ERR_OK)
        return e;
    if (buf_used(&c->out) > c->low_water)
        c->above_low_water = true;
    /* While the socket is full the write event goes on by itself. */
    if (!c->write_added)
        loop_flush_later(c->loop, &c->flush);
    return ERR_OK;
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
    conn_rest(c);
}

void
conn_resume(struct conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    if (c->eof_seen || (c->state != CONN_STATE_OPEN && c->state != CONN_STATE_HANDSHAKE))
        return;
    conn_want_read(c, true);
    /* Bytes may wait inside TLS or have been announced while nobody listened. */
    event_active(c->read_event, EV_READ, 1);
}

void
conn_kick(struct conn *c)
{
    if (c->state != CONN_STATE_OPEN)
        return;
    c->kicked = true;
    event_active(c->read_event, EV_READ, 1);
}
