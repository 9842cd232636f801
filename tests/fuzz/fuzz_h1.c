#include "net/h1.h"

#include "base/check.h"

#include <stdlib.h>

/* The HTTP/1 codec against itself: the same bytes in any slicing give the same head, fault
 * and body; what was parsed, written and parsed again is the same, and written again the
 * same bytes; a canonical path is its own canonical form.
 * data[0]: low four bits the slice less one, bit 4 the role, bit 5 a response to HEAD.
 * Requests and responses share this target by that one bit: they share the field lines, the
 * framing and the body, and what is found in one is a seed for the other. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 16384 /* below every sum of limits, so that a rewritten head fits too */

struct message {
    enum err head_e;
    enum h1_fault head_fault;
    size_t head_len;
    struct h1_head head;
    enum err body_e;
    enum h1_fault body_fault;
    size_t body_used;
    struct text content;
    uint8_t content_bytes[INPUT_MAX];
};

/* Adds the pieces of content in data; what is used of it comes out. */
static enum err
body_feed(struct h1_body *b, struct slice data, struct message *m)
{
    enum err e = ERR_OK;

    while (e == ERR_OK && !b->done) {
        struct slice content = SLICE_NONE;
        size_t used = 0;

        e = h1_body_read(b, data, &content, &used);
        ASSERT(used <= data.len);
        ASSERT(e != ERR_OK || used > 0);
        ASSERT(content.len <= used);
        text_add(&m->content, content);
        m->body_used += used;
        data = slice_sub(data, used, data.len);
    }
    return e;
}

static void
body_parse(struct slice data, size_t cut, struct message *m)
{
    struct h1_body b;

    text_init(&m->content, m->content_bytes, sizeof(m->content_bytes));
    m->body_used = 0;
    h1_body_init(&b, m->head.framing, m->head.content_length);
    m->body_e = b.done ? ERR_OK : ERR_AGAIN;
    for (size_t at = 0; at < data.len && m->body_e == ERR_AGAIN; at += cut)
        m->body_e = body_feed(&b, slice_sub(data, at, cut), m);
    m->body_fault = b.fault;
    ASSERT(text_ok(&m->content));
    ASSERT((m->body_e == ERR_BADMSG) == (b.fault != H1_FAULT_NONE));
}

static void
message_parse(struct h1_parser p, struct slice data, size_t cut, struct message *m)
{
    size_t n = 0;

    do {
        n = data.len - n < cut ? data.len : n + cut;
        m->head_e = h1_parse_head(&p, slice_sub(data, 0, n), &m->head, &m->head_len);
    } while (m->head_e == ERR_AGAIN && n < data.len);
    m->head_fault = p.fault;
    ASSERT((m->head_e == ERR_BADMSG) == (p.fault != H1_FAULT_NONE));
    if (m->head_e != ERR_OK)
        return;
    ASSERT(m->head_len <= n);
    body_parse(slice_sub(data, m->head_len, data.len), cut, m);
}

static void
head_same(const struct h1_head *a, const struct h1_head *b)
{
    const struct http_head *one = &a->http;
    const struct http_head *other = &b->http;

    ASSERT(one->method == other->method);
    ASSERT(one->status == other->status);
    ASSERT(one->has_body == other->has_body);
    ASSERT(one->body_length == other->body_length);
    ASSERT(a->framing == b->framing);
    ASSERT(a->content_length == b->content_length);
    ASSERT(slice_eq(one->path, other->path));
    ASSERT(slice_eq(one->query, other->query));
    ASSERT((one->query.p == NULL) == (other->query.p == NULL));
    ASSERT(slice_eq(one->authority, other->authority));
    ASSERT(one->field_count == other->field_count);
    for (size_t i = 0; i < one->field_count; i++) {
        ASSERT(slice_eq(one->fields[i].name, other->fields[i].name));
        ASSERT(slice_eq(one->fields[i].value, other->fields[i].value));
    }
}

static void
message_same(const struct message *a, const struct message *b)
{
    ASSERT(a->head_e == b->head_e);
    ASSERT(a->head_fault == b->head_fault);
    if (a->head_e != ERR_OK)
        return;
    ASSERT(a->head_len == b->head_len);
    head_same(&a->head, &b->head);
    ASSERT(slice_eq(a->head.target, b->head.target));
    ASSERT(a->head.is_1_0 == b->head.is_1_0);
    ASSERT(a->head.keep_alive == b->head.keep_alive);
    ASSERT(a->head.http.expect_continue == b->head.http.expect_continue);
    ASSERT(a->body_e == b->body_e);
    ASSERT(a->body_fault == b->body_fault);
    ASSERT(slice_eq(text_slice(&a->content), text_slice(&b->content)));
    ASSERT(a->body_e == ERR_BADMSG || a->body_used == b->body_used);
}

static void
head_write(enum h1_role role, const struct h1_head *h1, struct text *out)
{
    const struct http_head *head = &h1->http;
    uint8_t storage[H1_LINE_MAX];
    struct text target;

    if (role == H1_REQUEST) {
        text_init(&target, storage, sizeof(storage));
        text_add(&target, head->path);
        if (head->query.p != NULL)
            text_add_char(&target, '?');
        text_add(&target, head->query);
        h1_write_request_line(out, head->method, text_slice(&target));
    } else {
        h1_write_status_line(out, head->status);
    }
    for (size_t i = 0; i < head->field_count; i++)
        h1_write_field(out, head->fields[i].name, head->fields[i].value);
    /* What the parser took out, where it says so: both were there, so there is room. */
    if (h1->framing == H1_BODY_CHUNKED)
        h1_write_field(out, SLICE_LIT("Transfer-Encoding"), SLICE_LIT("chunked"));
    if (!h1->keep_alive && !h1->is_1_0 && h1->framing != H1_BODY_TO_EOF)
        h1_write_field(out, SLICE_LIT("Connection"), SLICE_LIT("close"));
    h1_write_end(out);
    ASSERT(text_ok(out));
}

/* parse -> write -> parse -> write. The writer always says 1.1. */
static void
head_fixpoint(struct h1_parser init, const struct h1_head *head)
{
    static uint8_t first_bytes[4 * INPUT_MAX];
    static uint8_t second_bytes[4 * INPUT_MAX];
    static struct h1_head again;
    struct h1_parser p = init;
    struct text first;
    struct text second;
    size_t len = 0;

    text_init(&first, first_bytes, sizeof(first_bytes));
    head_write(init.role, head, &first);
    ASSERT(h1_parse_head(&p, text_slice(&first), &again, &len) == ERR_OK);
    ASSERT(len == first.used);
    head_same(head, &again);
    ASSERT(head->is_1_0 || head->keep_alive == again.keep_alive);
    ASSERT(head->is_1_0 || head->http.expect_continue == again.http.expect_continue);
    text_init(&second, second_bytes, sizeof(second_bytes));
    head_write(init.role, &again, &second);
    ASSERT(slice_eq(text_slice(&first), text_slice(&second)));
}

/* The content as one chunk of our own, read back. */
static void
body_fixpoint(struct slice content)
{
    static uint8_t bytes[INPUT_MAX + 64];
    static struct message again;
    struct text t;

    text_init(&t, bytes, sizeof(bytes));
    if (content.len > 0) {
        h1_write_chunk_head(&t, content.len);
        text_add(&t, content);
        text_add(&t, H1_CHUNK_TAIL);
    }
    text_add(&t, H1_LAST_CHUNK);
    ASSERT(text_ok(&t));
    again.head.framing = H1_BODY_CHUNKED;
    body_parse(text_slice(&t), t.used, &again);
    ASSERT(again.body_e == ERR_OK);
    ASSERT(again.body_used == t.used);
    ASSERT(slice_eq(text_slice(&again.content), content));
}

static void
path_fixpoint(struct slice path)
{
    static uint8_t once_bytes[INPUT_MAX];
    static uint8_t twice_bytes[INPUT_MAX];
    struct text once;
    struct text twice;

    text_init(&once, once_bytes, sizeof(once_bytes));
    if (http_canonical_path(path, &once) != ERR_OK)
        return;
    ASSERT(once.used > 0 && once.used <= path.len);
    text_init(&twice, twice_bytes, sizeof(twice_bytes));
    ASSERT(http_canonical_path(text_slice(&once), &twice) == ERR_OK);
    ASSERT(slice_eq(text_slice(&once), text_slice(&twice)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct message whole;
    static struct message sliced;
    struct h1_parser p;
    struct slice input;

    check_never_fatal();
    if (size < 1 || size > INPUT_MAX)
        return 0;
    h1_parser_init(&p, (data[0] & 0x10) != 0 ? H1_RESPONSE : H1_REQUEST);
    p.head_request = (data[0] & 0x20) != 0;
    input = slice_of(data + 1, size - 1);
    message_parse(p, input, input.len + 1, &whole);
    message_parse(p, input, (size_t)(data[0] & 0x0f) + 1, &sliced);
    message_same(&whole, &sliced);
    if (whole.head_e != ERR_OK)
        return 0;
    head_fixpoint(p, &whole.head);
    body_fixpoint(text_slice(&whole.content));
    if (p.role == H1_REQUEST)
        path_fixpoint(whole.head.http.path);
    return 0;
}
