/* One request and its answer on a connection, as HTTP/1. What was handed out of the input is
 * dropped with the next read, so that a piece of a body is passed on from where it lies. */
#include "node/upstream_priv.h"

#include "base/check.h"

#define REQUEST_HEAD_MAX 8192

/* ---- the request ----------------------------------------------------------------------- */

void
upstream_forget(struct upstream *u)
{
    u->asked = u->heard = u->sent = u->chunked = u->keep_alive = false;
    u->interims = 0;
    u->lent = 0;
    h1_parser_init(&u->parser, H1_RESPONSE);
    h1_body_init(&u->body, H1_BODY_TO_EOF, 0);
}

enum err
upstream_send_head(struct upstream *u, const struct upstream_request *r)
{
    uint8_t storage[REQUEST_HEAD_MAX];
    struct text head;

    upstream_forget(u);
    text_init(&head, storage, sizeof(storage));
    h1_write_request_line(&head, r->method, r->path);
    h1_write_host(&head, r->host, r->port);
    h1_write_fields(&head, r->fields);
    u->chunked = r->body_length < 0;
    if (u->chunked)
        h1_write_field(&head, SLICE_LIT("Transfer-Encoding"), SLICE_LIT("chunked"));
    else
        h1_write_field_u64(&head, SLICE_LIT("Content-Length"), (uint64_t)r->body_length);
    h1_write_end(&head);
    if (NEVER(!text_ok(&head)))
        return ERR_TOOBIG;
    u->parser.head_request = r->method == HTTP_HEAD;
    u->asked = true;
    return conn_write(u->conn, text_slice(&head));
}

enum err
upstream_send(struct upstream *u, struct slice piece)
{
    uint8_t size[24];
    struct text head;
    enum err e;

    if (piece.len == 0)
        return ERR_OK;
    if (!u->chunked)
        return conn_write(u->conn, piece);
    text_init(&head, size, sizeof(size));
    h1_write_chunk_head(&head, piece.len);
    e = conn_write(u->conn, text_slice(&head));
    if (e == ERR_OK)
        e = conn_write(u->conn, piece);
    return e == ERR_OK ? conn_write(u->conn, H1_CHUNK_TAIL) : e;
}

enum err
upstream_send_end(struct upstream *u)
{
    enum err e = u->chunked ? conn_write(u->conn, H1_LAST_CHUNK) : ERR_OK;

    u->sent = e == ERR_OK;
    return e;
}

size_t
upstream_unsent(const struct upstream *u)
{
    return conn_unsent(u->conn);
}

void
upstream_low_water(struct upstream *u, size_t bytes)
{
    conn_set_low_water(u->conn, bytes);
}

/* ---- the answer ------------------------------------------------------------------------ */

static struct slice
input(struct upstream *u)
{
    if (u->lent > 0)
        conn_consume(u->conn, u->lent);
    u->lent = 0;
    return buf_slice(conn_in(u->conn));
}

enum upstream_read
upstream_read_head(struct upstream *u, const struct http_head **out)
{
    struct h1_head *head = &u->pool->head;

    for (;;) {
        enum err e = h1_parse_head(&u->parser, input(u), head, &u->lent);

        if (e == ERR_AGAIN)
            return u->ended ? UPSTREAM_READ_TRUNCATED : UPSTREAM_READ_WAIT;
        if (e != ERR_OK)
            return UPSTREAM_READ_MALFORMED;
        if (head->http.status >= 200)
            break;
        if (++u->interims > UPSTREAM_INTERIM_MAX)
            return UPSTREAM_READ_MALFORMED;
        h1_parser_init(&u->parser, H1_RESPONSE);
    }
    u->keep_alive = head->keep_alive;
    h1_body_init(&u->body, head->framing, head->content_length);
    *out = &head->http;
    return UPSTREAM_READ_OK;
}

enum upstream_read
upstream_read_body(struct upstream *u, struct slice *piece)
{
    for (;;) {
        struct slice in = input(u);
        enum err e;

        if (u->body.done)
            return UPSTREAM_READ_DONE;
        e = h1_body_read(&u->body, in, piece, &u->lent);
        if (e == ERR_BADMSG)
            return UPSTREAM_READ_MALFORMED;
        if (e == ERR_AGAIN)
            break;
        if (piece->len > 0)
            return UPSTREAM_READ_OK;
    }
    if (!u->ended)
        return UPSTREAM_READ_WAIT;
    /* A reset is no end: only an orderly close completes an answer without a length. */
    return conn_error(u->conn) == ERR_OK && h1_body_eof(&u->body) == ERR_OK
               ? UPSTREAM_READ_DONE
               : UPSTREAM_READ_TRUNCATED;
}

bool
upstream_heard(const struct upstream *u)
{
    return u->heard;
}

void
upstream_pause(struct upstream *u)
{
    conn_pause(u->conn);
}

void
upstream_resume(struct upstream *u)
{
    conn_resume(u->conn);
}

void
upstream_deadline(struct upstream *u, uint64_t ms)
{
    conn_deadline(u->conn, ms);
}

bool
upstream_may_follow(struct upstream *u)
{
    return u->sent && u->keep_alive && u->body.done && !u->ended && conn_unsent(u->conn) == 0 &&
           conn_is_open(u->conn);
}
