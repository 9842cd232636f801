#include "node/client.h"

#include "base/check.h"
#include "base/clock.h"
#include "node/handshake.h"
#include "node/journey.h"

#include <stdlib.h>
#include <unistd.h>

#define CLIENT_MAGIC 0x434c4e54u
#define CLIENT_IN_MAX (H1_HEAD_MAX + 32768)
#define CLIENT_OUT_MAX (CLIENT_HIGH_WATER + (4u << 20)) /* a 1 MiB event passes whole */
#define CLIENT_BODY_GRACE_MS 10000 /* before the slowest body must have brought 1 KiB/s */
#define CLIENT_BODY_RATE 1024      /* bytes a second */
#define CLIENT_DRAIN_RATE 8        /* bytes a millisecond, when the connection closes */
#define CLIENT_ANSWER_HEAD_MAX 8192
#define CLIENT_REFUSAL_MAX 2048

static void on_conn(void *owner, struct conn *conn, unsigned events);
static void read_on(struct client *c);

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
    free(c->cert);
    free(c);
}

void
client_end(struct client *c, uint64_t linger_ms)
{
    struct txn *t = c->txn;

    if (c->state == CLIENT_GONE)
        return;
    c->state = CLIENT_GONE;
    c->txn = NULL;
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
    c->address = address;
    c->waiting_since = loop_now(w->loop);
    c->worker = w;
    c->mesh = mesh;
    c->handshaking = true;
    opts.owner = c;
    if (conn_accepted(&opts, fd, &c->conn) != ERR_OK) {
        handshake_drop(w, mesh);
        free(c);
        goto refused;
    }
    h1_parser_init(&c->parser, H1_REQUEST);
    c->next = w->clients;
    if (c->next != NULL)
        c->next->prev = c;
    w->clients = c;
    conn_set_low_water(c->conn, CLIENT_HIGH_WATER / 2);
    conn_deadline(c->conn, (uint64_t)w->snapshot->config->head_timeout_ms);
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

    if (der.len == 0)
        return true;
    c->cert = calloc(1, sizeof(*c->cert));
    if (c->cert == NULL || cert_read(der, &c->cert->facts) != ERR_OK)
        return false;
    c->cert->chain_count = conn_peer_chain_sha256(c->conn, c->cert->chain, CLIENT_CHAIN_MAX);
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

/* A fault in framing: nothing behind it is interpreted. */
static void
refuse_fault(struct client *c, enum h1_fault fault)
{
    enum refusal r = fault_refusal(fault);

    metrics_add(&c->worker->shared->metrics.unrecorded[r]);
    c->keep_alive = false;
    client_refuse(c, r, h1_fault_text(fault), NULL, SLICE_NONE);
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
    journey_refuse_body(c->txn, r, reason, words);
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
    bool has_body;
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
    if (e != ERR_OK) {
        refuse_fault(c, c->parser.fault);
        return false;
    }
    c->is_1_0 = head.is_1_0;
    c->is_head_request = head.http.method == HTTP_HEAD;
    c->keep_alive = head.keep_alive;
    c->expect_continue = head.http.expect_continue;
    /* Without a body the connection can go on after any answer; with one, an answer that
     * comes before it was read ends the connection. */
    has_body = head.framing != H1_BODY_NONE;
    if (!has_body)
        c->state = CLIENT_BUSY;
    go_on = journey_begin(c, &head.http);
    if (c->state == CLIENT_GONE)
        return false;
    conn_consume(c->conn, head_len);
    h1_parser_init(&c->parser, H1_REQUEST);
    if (go_on && has_body && head.framing == H1_BODY_LENGTH &&
        head.content_length > upload_bytes_max(c->txn)) {
        c->state = CLIENT_BODY;
        refuse_body(c, REFUSAL_REQUEST_TOO_LARGE, "request_too_large",
                    "the body is larger than this node takes");
    } else if (go_on && has_body) {
        begin_body(c, &head);
    } else if (go_on) {
        conn_deadline(c->conn, 0);
        journey_run(c->txn);
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
        if (piece.len > 0 && !journey_body(c->txn, piece)) {
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
    journey_run(c->txn);
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
        metrics_add(&c->worker->shared->metrics.unrecorded[REFUSAL_REQUEST_TIMEOUT]);
        c->keep_alive = false;
        client_refuse(c, REFUSAL_REQUEST_TIMEOUT, "the request came too slowly", NULL, SLICE_NONE);
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
        conn_deadline(c->conn, (uint64_t)c->worker->snapshot->config->head_timeout_ms);
    }
    if ((events & CONN_DATA) != 0 || ((events & CONN_DRAINED) != 0 && c->state == CLIENT_HEAD)) {
        if (c->state == CLIENT_HEAD && c->requests > 0 && !c->body_timed &&
            buf_used(conn_in(c->conn)) > 0 && !client_backed_up(c)) {
            c->body_timed = true; /* the head's deadline runs from its first byte */
            conn_deadline(c->conn, (uint64_t)c->worker->snapshot->config->head_timeout_ms);
        }
        read_on(c);
    }
    if (c->state != CLIENT_GONE && (events & CONN_DRAINED) != 0 && c->txn != NULL)
        journey_client_drained(c->txn);
    /* In HEAD what is unsent belongs to answers that are complete. */
    if (c->state != CLIENT_GONE && (events & CONN_EOF) != 0)
        client_end(c, c->state == CLIENT_HEAD ? CLIENT_LINGER_MS : 0);
}

/* ---- Answers ---------------------------------------------------------------------- */

bool
client_answer_head(struct client *c, int status, struct slice fields, int64_t length)
{
    uint8_t head[CLIENT_ANSWER_HEAD_MAX];
    const struct config *config = c->worker->snapshot->config;
    struct text t;

    if (c->state == CLIENT_GONE)
        return false;
    /* An answer before the body was read: what follows is never interpreted. */
    if (c->state == CLIENT_BODY || c->state == CLIENT_HEAD ||
        atomic_load_explicit(&c->worker->shared->announced, memory_order_relaxed) ||
        (config->requests_per_connection > 0 &&
         c->requests >= (uint64_t)config->requests_per_connection) ||
        overload_stage(c->worker->shared->overload) >= PRESSURE_SHED || (length < 0 && c->is_1_0))
        c->keep_alive = false;
    c->chunked = length < 0 && !c->is_1_0;
    text_init(&t, head, sizeof(head));
    h1_write_status_line(&t, status);
    text_add(&t, fields);
    if (length >= 0)
        h1_write_field_u64(&t, SLICE_LIT("Content-Length"), (uint64_t)length);
    else if (c->chunked)
        h1_write_field(&t, SLICE_LIT("Transfer-Encoding"), SLICE_LIT("chunked"));
    if (!c->keep_alive)
        h1_write_field(&t, SLICE_LIT("Connection"), SLICE_LIT("close"));
    else if (c->is_1_0)
        h1_write_field(&t, SLICE_LIT("Connection"), SLICE_LIT("keep-alive"));
    h1_write_end(&t);
    c->head_sent = true;
    return !NEVER(!text_ok(&t)) && conn_write(c->conn, text_slice(&t)) == ERR_OK;
}

bool
client_answer_body(struct client *c, struct slice piece)
{
    uint8_t size[24];
    struct text t;

    if (c->state == CLIENT_GONE)
        return false;
    if (piece.len == 0 || c->is_head_request)
        return true;
    if (conn_write_left(c->conn) < piece.len + sizeof(size) + 2)
        return false;
    text_init(&t, size, sizeof(size));
    if (c->chunked)
        h1_write_chunk_head(&t, piece.len);
    if (conn_write(c->conn, text_slice(&t)) != ERR_OK || conn_write(c->conn, piece) != ERR_OK)
        return false;
    return !c->chunked || conn_write(c->conn, H1_CHUNK_TAIL) == ERR_OK;
}

static void
next_request(struct client *c)
{
    const struct config *config = c->worker->snapshot->config;

    c->state = CLIENT_HEAD;
    c->txn = NULL;
    c->body_timed = false;
    c->waiting_since = loop_now(c->worker->loop);
    h1_parser_init(&c->parser, H1_REQUEST);
    conn_deadline(c->conn, (uint64_t)config->idle_timeout_ms);
    /* A pipelined request may be here already; it is read in a turn of its own. */
    if (buf_used(conn_in(c->conn)) > 0)
        conn_kick(c->conn);
}

void
client_answer_end(struct client *c)
{
    if (c->state == CLIENT_GONE)
        return;
    c->txn = NULL;
    if (c->chunked && conn_write(c->conn, H1_LAST_CHUNK) != ERR_OK) {
        client_end(c, 0);
        return;
    }
    c->chunked = false;
    /* An answer before the body was read: what follows is never interpreted. */
    if (!c->keep_alive || c->state == CLIENT_BODY || c->state == CLIENT_HEAD)
        client_end(c, CLIENT_LINGER_MS);
    else
        next_request(c);
}

void
client_answer_cut(struct client *c)
{
    /* To an HTTP/1.0 client the orderly end of the connection would be that of the answer. */
    bool ends_by_close = c->head_sent && c->is_1_0 && !c->keep_alive;

    c->txn = NULL;
    client_end(c, ends_by_close ? 0 : CLIENT_LINGER_MS);
}

void
client_answer(struct client *c, int status, struct slice fields, struct slice body)
{
    if (!client_answer_head(c, status, fields, (int64_t)body.len) || !client_answer_body(c, body))
        client_end(c, 0);
    else
        client_answer_end(c);
}

void
client_refuse(struct client *c, enum refusal refusal, const char *message, const char *param,
              struct slice fields)
{
    const struct refusal_row *row = refusal_row(refusal);
    uint8_t body[CLIENT_REFUSAL_MAX];
    uint8_t head[CLIENT_ANSWER_HEAD_MAX - 1024];
    struct text b;
    struct text h;

    metrics_add(&c->worker->shared->metrics.refusals[refusal]);
    text_init(&b, body, sizeof(body));
    text_add_str(&b, "{\"error\":{\"message\":");
    text_add_json(&b, slice_str(message));
    text_add_str(&b, ",\"type\":");
    text_add_json(&b, slice_str(row->type));
    text_add_str(&b, ",\"param\":");
    if (param == NULL)
        text_add_str(&b, "null");
    else
        text_add_json(&b, slice_str(param));
    text_add_str(&b, ",\"code\":");
    text_add_json(&b, slice_str(row->code));
    text_add_str(&b, "}}\n");
    text_init(&h, head, sizeof(head));
    h1_write_field(&h, SLICE_LIT("Content-Type"), SLICE_LIT("application/json"));
    text_add(&h, fields);
    if (NEVER(!text_ok(&b) || !text_ok(&h))) {
        client_end(c, 0);
        return;
    }
    client_answer(c, row->status, text_slice(&h), text_slice(&b));
}

bool
client_backed_up(const struct client *c)
{
    return c->state != CLIENT_GONE && conn_unsent(c->conn) > CLIENT_HIGH_WATER;
}
