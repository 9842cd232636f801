/* Messages of the bare relay: heads rebuilt, bodies passed on as they arrive. */
#include "bare/message.h"

void
message_add_fields(const struct h1_head *head, struct text *out)
{
    for (size_t i = 0; i < head->http.field_count; i++) {
        const struct http_field *f = &head->http.fields[i];

        if (!slice_eq_nocase(f->name, SLICE_LIT("host")) &&
            !slice_eq_nocase(f->name, SLICE_LIT("content-length")))
            h1_write_field(out, f->name, f->value);
    }
}

void
message_add_framing(const struct h1_head *head, bool *rechunk, struct text *out)
{
    *rechunk = head->framing == H1_BODY_CHUNKED || head->framing == H1_BODY_TO_EOF;
    if (*rechunk)
        h1_write_field(out, SLICE_LIT("Transfer-Encoding"), SLICE_LIT("chunked"));
    else if (head->framing == H1_BODY_LENGTH)
        h1_write_field_u64(out, SLICE_LIT("Content-Length"), head->content_length);
    h1_write_end(out);
}

bool
message_write_text(struct conn *to, const struct text *t)
{
    return text_ok(t) && conn_write(to, text_slice(t)) == ERR_OK;
}

static bool
write_content(struct conn *to, struct slice content, bool rechunk)
{
    uint8_t storage[32];
    struct text head;

    if (content.len == 0)
        return true;
    if (!rechunk)
        return conn_write(to, content) == ERR_OK;
    text_init(&head, storage, sizeof(storage));
    h1_write_chunk_head(&head, content.len);
    return message_write_text(to, &head) && conn_write(to, content) == ERR_OK &&
           conn_write(to, H1_CHUNK_TAIL) == ERR_OK;
}

enum message_pump
message_pump(struct h1_body *body, struct conn *from, struct conn *to, bool rechunk)
{
    while (!body->done && buf_used(conn_in(from)) > 0) {
        struct slice content;
        size_t used = 0;
        enum err e;

        if (conn_unsent(to) > MESSAGE_HIGH_WATER) {
            conn_pause(from);
            return PUMP_MORE;
        }
        e = h1_body_read(body, buf_slice(conn_in(from)), &content, &used);
        if (e == ERR_BADMSG || !write_content(to, content, rechunk))
            return PUMP_FAILED;
        conn_consume(from, used);
        if (e == ERR_AGAIN)
            break;
    }
    if (!body->done)
        return PUMP_MORE;
    return !rechunk || conn_write(to, H1_LAST_CHUNK) == ERR_OK ? PUMP_DONE : PUMP_FAILED;
}
