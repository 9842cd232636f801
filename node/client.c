#include "node/client.h"

#include "base/check.h"
#include "base/clock.h"
#include "node/handshake.h"
#include "node/journey.h"

#include <stdlib.h>
#include <unistd.h>

#define CLIENT_IN_MAX (H1_HEAD_MAX + 32768)
#define CLIENT_OUT_MAX (EXCHANGE_HIGH_WATER + (4u << 20)) /* a 1 MiB event passes whole */
#define CLIENT_BODY_GRACE_MS 10000 /* before the slowest body must have brought 1 KiB/s */
#define CLIENT_BODY_RATE 1024      /* bytes a second */
#define CLIENT_DRAIN_RATE 8        /* bytes a millisecond, when the connection closes */

static void on_conn(void *owner, struct conn *conn, unsigned events);

static void
unlink_client(struct client *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->worker->clients = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    if (c->address.family != 0)
        overload_leave(c->worker->shared->overload, &c->address);
    (void)atomic_fetch_sub_explicit(&c->worker->shared->metrics.clients_open, 1,
                                    memory_order_relaxed);
}

static void
destroy(void *context)
{
    struct client *c = context;

    c->magic = 0;
    free(c->caller.cert);
    free(c);
}

void
client_end(struct client *c, uint64_t linger_ms)
{
    struct txn *t = c->exchange.txn;

    if (c->state == CLIENT_GONE)
        return;
    c->state = CLIENT_GONE;
    c->exchange.txn = NULL;
    handshake_failed(c, false);
    /* A slow reader gets the time that its rest takes at the slowest rate we accept. */
    if (linger_ms > 0)
        conn_close(c->conn, linger_ms + conn_unsent(c->conn) / CLIENT_DRAIN_RATE);
    else
        conn_abort(c->conn);
    unlink_client(c);
    loop_bury(c->worker->loop, destroy, c);
    if (t != NULL)
        journey_client_gone(t);
}

/* The address to be counted; of no family for a peer or a trusted proxy, behind which many
 * clients stand. */
static struct geo_address
counted_address(const struct worker *w, int fd, bool mesh)
{
    struct geo_address none = {0};
    struct geo_address a = {0};
    struct address from;

    address_of_peer(fd, &from);
    if (mesh ||
        geo_address_from_sockaddr((const struct sockaddr *)&from.storage, from.len, &a) != ERR_OK)
        return none;
    return geo_networks_have(w->snapshot->proxies, w->snapshot->proxy_count, &a) ? none : a;
}

/* The connection stands; TLS comes first. */
static void
begin(struct client *c)
{
    struct worker *w = c->worker;
    const struct address *remote = conn_remote(c->conn);

    if (geo_address_from_sockaddr((const struct sockaddr *)&remote->storage, remote->len,
                                  &c->caller.remote) != ERR_OK)
        c->caller.remote.family = 0;
    c->exchange = (struct exchange){.ops = &client_ops, .worker = w, .caller = &c->caller};
    c->waiting_since = loop_now(w->loop);
    c->handshaking = true;
    h1_parser_init(&c->parser, H1_REQUEST);
    c->next = w->clients;
    if (c->next != NULL)
        c->next->prev = c;
    w->clients = c;
    conn_set_low_water(c->conn, EXCHANGE_HIGH_WATER / 2);
    conn_deadline(c->conn, (uint64_t)w->snapshot->config->head_timeout_ms);
}

void
client_accept(struct worker *w, int fd, bool mesh)
{
    struct geo_address address = counted_address(w, fd, mesh);
    bool entered;
    bool admitted;
    struct shared *shared = w->shared;
    struct client *c = NULL;
    struct conn_opts opts = {.loop = w->loop,
                             .pool = w->pool,
                             .tls = mesh ? w->snapshot->mesh_tls : w->snapshot->public_tls,
                             .fn = on_conn,
                             .in_max = CLIENT_IN_MAX,
                             .out_max = CLIENT_OUT_MAX,
                             .tell_left = true,
                             .sockets = &shared->metrics.client_sockets};
    int64_t open =
        atomic_fetch_add_explicit(&shared->metrics.clients_open, 1, memory_order_relaxed);

    metrics_add(&shared->metrics.connections);
    entered = overload_enter(shared->overload, address.family != 0 ? &address : NULL, open);
    admitted = entered && handshake_admit(w, mesh);
    if (admitted) {
        c = calloc(1, sizeof(*c));
        if (c == NULL)
            handshake_drop(w, mesh);
    }
    if (c == NULL) {
        /* Before TLS: refusing must be cheap. */
        (void)close(fd);
        goto refused;
    }
    c->magic = CLIENT_MAGIC;
    c->worker = w;
    c->address = address;
    c->caller.mesh = mesh;
    opts.owner = c;
    if (conn_accepted(&opts, fd, &c->conn) != ERR_OK) {
        handshake_drop(w, mesh);
        free(c);
        goto refused;
    }
    begin(c);
    return;

refused:
    if (admitted)
        overload_count(shared->overload, OVERLOAD_REFUSED_MEMORY);
    if (entered && address.family != 0)
        overload_leave(shared->overload, &address);
    (void)atomic_fetch_sub_explicit(&shared->metrics.clients_open, 1, memory_order_relaxed);
}

/* A certificate that can't be read for identity ends the connection: unknown is illegal. */
static bool
read_certificate(struct client *c)
{
    struct slice der = conn_peer_cert(c->conn);
    struct caller_cert *cert;

    if (der.len == 0)
        return true;
    cert = c->caller.cert = calloc(1, sizeof(*cert));
    if (cert == NULL || cert_read(der, &cert->facts) != ERR_OK)
        return false;
    cert->chain_count = conn_peer_chain_sha256(c->conn, cert->chain, CALLER_CHAIN_MAX);
    return true;
}

static enum refusal
fault_refusal(enum h1_fault fault)
{
    switch (h1_fault_status(fault)) {
    case 405:
        return REFUSAL_METHOD_NOT_ALLOWED;
    case 414:
        return REFUSAL_URI_TOO_LONG;
    case 417:
        return REFUSAL_EXPECTATION_FAILED;
    case 431:
        return REFUSAL_HEADERS_TOO_LARGE;
    default:
        return REFUSAL_BAD_REQUEST;
    }
}

/* A refusal without a transaction: nothing behind it is interpreted. */
static void
refuse(struct client *c, enum refusal code, const char *words)
{
    struct exchange_refusal refusal = {.code = code, .words = words};
    struct http_fields fields;

    metrics_add(&c->worker->shared->metrics.unrecorded[code]);
    c->keep_alive = false;
    http_fields_init(&fields, NULL, 0);
    /* RFC 9110 section 15.5.6; what else the codec knows, no path takes. */
    if (code == REFUSAL_METHOD_NOT_ALLOWED)
        http_fields_add(&fields, SLICE_LIT("Allow"), SLICE_LIT("GET, POST"));
    exchange_refuse(&c->exchange, &refusal, &fields);
}

/* Nothing more of the body is read: its refusal is on its way, or was answered already. */
static void
end_body(struct client *c)
{
    if (c->state != CLIENT_BODY)
        return;
    c->state = CLIENT_BUSY;
    c->keep_alive = false;
    conn_deadline(c->conn, 0);
}

/* The tenant is known by now, so that the refusal goes on record (law 4). */
static void
refuse_body(struct client *c, enum refusal r, const char *reason, const char *words)
{
    end_body(c);
    journey_refuse_body(c->exchange.txn, r, reason, words);
}

static void
begin_body(struct client *c, const struct h1_head *head)
{
    if (c->expect_continue && head->framing != H1_BODY_NONE &&
        conn_write(c->conn, SLICE_LIT("HTTP/1.1 100 Continue\r\n\r\n")) != ERR_OK) {
        client_end(c, 0);
        return;
    }
    h1_body_init(&c->body, head->framing, head->content_length);
    c->body_started = loop_now(c->worker->loop);
    c->body_bytes = 0;
    c->body_paused = false;
    c->state = CLIENT_BODY;
    conn_deadline(c->conn, CLIENT_BODY_GRACE_MS);
}

/* True when a head was read and the connection goes on. */
static bool
read_head(struct client *c)
{
    struct h1_head head;
    size_t head_len = 0;
    bool go_on;
    struct slice in = buf_slice(conn_in(c->conn));
    enum err e = in.len == 0 ? ERR_AGAIN : h1_parse_head(&c->parser, in, &head, &head_len);

    if (e == ERR_AGAIN)
        return false;
    metrics_add(&c->worker->shared->metrics.requests);
    c->requests++;
    c->head_sent = false;
    c->is_1_0 = false;
    c->is_head_request = false;
    c->exchange.is_last = false;
    if (e != ERR_OK) {
        refuse(c, fault_refusal(c->parser.fault), h1_fault_text(c->parser.fault));
        return false;
    }
    c->is_1_0 = head.is_1_0;
    c->is_head_request = head.http.method == HTTP_HEAD;
    c->keep_alive = head.keep_alive;
    c->expect_continue = head.http.expect_continue;
    /* Without a body the connection can go on after any answer; with one, an answer that
     * comes before it was read ends the connection. */
    if (!head.http.has_body)
        c->state = CLIENT_BUSY;
    go_on = journey_begin(&c->exchange, &head.http);
    if (c->state == CLIENT_GONE)
        return false;
    conn_consume(c->conn, head_len);
    h1_parser_init(&c->parser, H1_REQUEST);
    if (go_on && head.http.has_body) {
        begin_body(c, &head);
    } else if (go_on) {
        conn_deadline(c->conn, 0);
        journey_run(c->exchange.txn);
    } else if (c->exchange.txn != NULL) {
        /* Refused as soon as that is on record; of a body nothing is read. */
        c->state = CLIENT_BODY;
        end_body(c);
    }
    return c->state == CLIENT_BODY;
}

static void
read_body(struct client *c)
{
    while (!c->body.done && !c->body_paused && c->state == CLIENT_BODY) {
        struct slice in = buf_slice(conn_in(c->conn));
        struct slice piece = SLICE_NONE;
        size_t used = 0;
        enum err e = h1_body_read(&c->body, in, &piece, &used);

        if (e == ERR_BADMSG) {
            refuse_body(c, fault_refusal(c->body.fault), "bad_request",
                        h1_fault_text(c->body.fault));
            return;
        }
        c->body_bytes += piece.len;
        if (piece.len > 0 && !journey_body(c->exchange.txn, piece)) {
            end_body(c);
            return;
        }
        conn_consume(c->conn, used);
        if (e == ERR_AGAIN || (used == 0 && !c->body.done))
            return;
    }
    if (c->state != CLIENT_BODY || c->body_paused)
        return;
    c->state = CLIENT_BUSY;
    conn_deadline(c->conn, 0);
    journey_run(c->exchange.txn);
}

void
client_body_pause(struct client *c)
{
    if (c->state != CLIENT_BODY || c->body_paused)
        return;
    c->body_paused = true;
    conn_deadline(c->conn, 0);
}

void
client_body_resume(struct client *c)
{
    if (c->state != CLIENT_BODY || !c->body_paused)
        return;
    c->body_paused = false;
    c->body_started = loop_now(c->worker->loop);
    c->body_bytes = 0;
    conn_deadline(c->conn, CLIENT_BODY_GRACE_MS);
    conn_kick(c->conn); /* in a turn of its own: the caller may be inside its reading */
}

/* At most one request ahead: once more than the next head is here (or what can't become one),
 * the rest waits in the socket until the answer under way is complete. Up to then the socket is
 * read, so that a client that leaves is noticed. */
static void
look_ahead(struct client *c)
{
    struct h1_head head;
    size_t head_len = 0;
    struct slice in = buf_slice(conn_in(c->conn));
    enum err e;

    if (in.len == 0 || !c->keep_alive)
        return;
    e = h1_parse_head(&c->parser, in, &head, &head_len);
    if (e == ERR_OK)
        h1_parser_init(&c->parser, H1_REQUEST);
    if (e == ERR_BADMSG || (e == ERR_OK && in.len > head_len))
        conn_pause(c->conn);
}

void
client_next(struct client *c)
{
    c->state = CLIENT_HEAD;
    c->head_timed = false;
    c->waiting_since = loop_now(c->worker->loop);
    h1_parser_init(&c->parser, H1_REQUEST);
    conn_deadline(c->conn, (uint64_t)c->worker->snapshot->config->idle_timeout_ms);
    conn_resume(c->conn);
    /* A pipelined request may be here already; it is read in a turn of its own. */
    if (buf_used(conn_in(c->conn)) > 0)
        conn_kick(c->conn);
}

/* Goes as far as the bytes that are here allow. A client that does not take its answers gets
 * no further ones: what it sends ahead waits. */
static void
read_on(struct client *c)
{
    if (c->state == CLIENT_HEAD && client_backed_up(c))
        return;
    if (c->state == CLIENT_HEAD && !read_head(c))
        return;
    if (c->state == CLIENT_BODY)
        read_body(c);
    if (c->state == CLIENT_BUSY)
        look_ahead(c);
}

static void
on_deadline(struct client *c)
{
    uint64_t ms = mono_ms_since(loop_now(c->worker->loop), c->body_started);

    if (c->state == CLIENT_BODY && c->body_bytes / CLIENT_BODY_RATE * 1000 >= ms) {
        conn_deadline(c->conn, 1000);
        return;
    }
    overload_count(c->worker->shared->overload, !c->opened ? OVERLOAD_TIMEOUT_HANDSHAKE
                                                : c->state == CLIENT_BODY ? OVERLOAD_TIMEOUT_BODY
                                                : buf_used(conn_in(c->conn)) > 0 || c->requests == 0
                                                    ? OVERLOAD_TIMEOUT_HEAD
                                                    : OVERLOAD_TIMEOUT_IDLE);
    if (c->state == CLIENT_BODY) {
        refuse_body(c, REFUSAL_REQUEST_TIMEOUT, "request_timeout", "the request came too slowly");
        return;
    }
    if (c->state == CLIENT_HEAD && buf_used(conn_in(c->conn)) > 0 && !client_backed_up(c)) {
        refuse(c, REFUSAL_REQUEST_TIMEOUT, "the request came too slowly");
        return;
    }
    client_end(c, c->state == CLIENT_HEAD ? CLIENT_LINGER_MS : 0);
}

static void
on_conn(void *owner, struct conn *conn, unsigned events)
{
    struct client *c = owner;

    (void)conn;
    ASSERT(c->magic == CLIENT_MAGIC);
    if (c->state == CLIENT_GONE)
        return;
    if ((events & CONN_FAILED) != 0) {
        client_end(c, 0);
        return;
    }
    if ((events & CONN_TIMED_OUT) != 0) {
        handshake_failed(c, true);
        on_deadline(c);
        return;
    }
    if ((events & CONN_OPENED) != 0) {
        handshake_done(c);
        if (!read_certificate(c)) {
            client_end(c, 0);
            return;
        }
        c->opened = true;
        c->caller.sni = conn_sni(c->conn);
        conn_deadline(c->conn, (uint64_t)c->worker->snapshot->config->head_timeout_ms);
    }
    if ((events & CONN_DATA) != 0 || ((events & CONN_DRAINED) != 0 && c->state == CLIENT_HEAD)) {
        if (c->state == CLIENT_HEAD && c->requests > 0 && !c->head_timed &&
            buf_used(conn_in(c->conn)) > 0 && !client_backed_up(c)) {
            c->head_timed = true; /* the head's deadline runs from its first byte */
            conn_deadline(c->conn, (uint64_t)c->worker->snapshot->config->head_timeout_ms);
        }
        read_on(c);
    }
    if (c->state != CLIENT_GONE && (events & CONN_DRAINED) != 0 && c->exchange.txn != NULL)
        journey_client_drained(c->exchange.txn);
    /* In HEAD what is unsent belongs to answers that are complete. */
    if (c->state != CLIENT_GONE && (events & (CONN_EOF | CONN_LEFT)) != 0)
        client_end(c, c->state == CLIENT_HEAD ? CLIENT_LINGER_MS : 0);
}
