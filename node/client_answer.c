/* What an exchange says, as HTTP/1: the answer's head, its framing, and what becomes of the
 * connection behind it. */
#include "base/check.h"
#include "node/client.h"

#define CLIENT_ANSWER_HEAD_MAX 8192

static struct client *
client_of(struct exchange *x)
{
    struct client *c = (struct client *)(void *)((char *)x - offsetof(struct client, exchange));

    ASSERT(c->magic == CLIENT_MAGIC);
    return c;
}

/* Whether the connection ends with this answer. */
static bool
is_last_answer(const struct client *c)
{
    const struct shared *shared = c->worker->shared;
    int64_t requests_max = c->worker->snapshot->config->requests_per_connection;

    /* An answer before the body was read: what follows is never interpreted. */
    return c->state == CLIENT_BODY || c->state == CLIENT_HEAD || c->exchange.is_last ||
           atomic_load_explicit(&shared->announced, memory_order_relaxed) ||
           (requests_max > 0 && c->requests >= (uint64_t)requests_max) ||
           overload_stage(shared->overload) >= PRESSURE_SHED;
}

/* RFC 9112 section 6: an answer without a body has no field that frames one. */
static void
frame_answer(struct client *c, int status, int64_t length, struct text *out)
{
    c->bodiless = status < 200 || status == 204 || status == 304;
    c->chunked = !c->bodiless && length < 0 && !c->is_1_0;
    if (c->bodiless)
        return;
    if (length >= 0)
        h1_write_field_u64(out, SLICE_LIT("Content-Length"), (uint64_t)length);
    else if (c->chunked)
        h1_write_field(out, SLICE_LIT("Transfer-Encoding"), SLICE_LIT("chunked"));
    else
        c->keep_alive = false; /* to 1.0 the end of the connection is that of the answer */
}

static bool
answer_head(struct exchange *x, int status, const struct http_fields *fields, int64_t length)
{
    struct client *c = client_of(x);
    uint8_t head[CLIENT_ANSWER_HEAD_MAX];
    struct text t;

    if (c->state == CLIENT_GONE)
        return false;
    if (is_last_answer(c))
        c->keep_alive = false;
    text_init(&t, head, sizeof(head));
    h1_write_status_line(&t, status);
    h1_write_fields(&t, fields);
    frame_answer(c, status, length, &t);
    if (!c->keep_alive)
        h1_write_field(&t, SLICE_LIT("Connection"), SLICE_LIT("close"));
    else if (c->is_1_0)
        h1_write_field(&t, SLICE_LIT("Connection"), SLICE_LIT("keep-alive"));
    h1_write_end(&t);
    c->head_sent = true;
    return !NEVER(!text_ok(&t)) && conn_write(c->conn, text_slice(&t)) == ERR_OK;
}

static bool
answer_body(struct exchange *x, struct slice piece)
{
    struct client *c = client_of(x);
    uint8_t size[24];
    struct text t;

    if (c->state == CLIENT_GONE)
        return false;
    if (piece.len == 0 || c->is_head_request || c->bodiless)
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
answer_end(struct exchange *x)
{
    struct client *c = client_of(x);

    if (c->state == CLIENT_GONE)
        return;
    x->txn = NULL;
    if (c->chunked && !c->is_head_request && conn_write(c->conn, H1_LAST_CHUNK) != ERR_OK) {
        client_end(c, 0);
        return;
    }
    c->chunked = false;
    /* An answer before the body was read: what follows is never interpreted. */
    if (!c->keep_alive || c->state == CLIENT_BODY || c->state == CLIENT_HEAD)
        client_end(c, CLIENT_LINGER_MS);
    else
        client_next(c);
}

static void
answer_cut(struct exchange *x)
{
    struct client *c = client_of(x);
    /* To an HTTP/1.0 client the orderly end of the connection would be that of the answer. */
    bool ends_by_close = c->head_sent && c->is_1_0 && !c->keep_alive;

    x->txn = NULL;
    if (ends_by_close)
        conn_break(c->conn);
    client_end(c, ends_by_close ? 0 : CLIENT_LINGER_MS);
}

bool
client_backed_up(const struct client *c)
{
    return c->state != CLIENT_GONE && conn_unsent(c->conn) > EXCHANGE_HIGH_WATER;
}

static void
body_pause(struct exchange *x)
{
    client_body_pause(client_of(x));
}

static void
body_resume(struct exchange *x)
{
    client_body_resume(client_of(x));
}

static bool
backed_up(struct exchange *x)
{
    return client_backed_up(client_of(x));
}

const struct exchange_ops client_ops = {
    .answer_head = answer_head,
    .answer_body = answer_body,
    .answer_end = answer_end,
    .answer_cut = answer_cut,
    .body_pause = body_pause,
    .body_resume = body_resume,
    .backed_up = backed_up,
};
