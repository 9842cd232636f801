#include "net/h1.h"

#include "base/check.h"

#include <stdlib.h>

/* The body reader by itself, so that no head has to be found first: the same bytes in any
 * slicing give the same content, fault and end; content of a length or to the end is what
 * lies there; an accepted chunked body is what a plain reader of its lines makes of it.
 * data[0]: low four bits the slice less one, the next two the framing; where that is
 * LENGTH, data[1] is the length. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 16384

static const enum h1_framing framings[] = {
    H1_BODY_CHUNKED,
    H1_BODY_LENGTH,
    H1_BODY_TO_EOF,
    H1_BODY_NONE,
};

struct reading {
    enum err e; /* of the body's end */
    enum h1_fault fault;
    bool done; /* before the connection ended */
    size_t used;
    struct text content;
    uint8_t content_bytes[INPUT_MAX];
};

static enum err
feed(struct h1_body *b, struct slice data, struct reading *r)
{
    enum err e = ERR_OK;

    while (e == ERR_OK && !b->done) {
        struct slice content = SLICE_NONE;
        size_t used = 0;

        e = h1_body_read(b, data, &content, &used);
        ASSERT(e != ERR_AGAIN || data.len == 0);
        if (e != ERR_OK)
            break;
        ASSERT(used > 0 && used <= data.len);
        ASSERT(content.len <= used);
        ASSERT(content.len == 0 || content.p + content.len == data.p + used);
        text_add(&r->content, content);
        r->used += used;
        data = slice_sub(data, used, data.len);
    }
    return e;
}

/* What was said at the end is said again, and nothing more is taken. */
static void
check_end(struct h1_body *b, const struct reading *r)
{
    struct slice content = SLICE_NONE;
    size_t used = 0;

    ASSERT((b->fault != H1_FAULT_NONE) == (r->e == ERR_BADMSG));
    ASSERT(b->done == (r->e == ERR_OK));
    if (r->e == ERR_EOF)
        return;
    ASSERT(h1_body_read(b, SLICE_LIT("0\r\n\r\n"), &content, &used) == r->e);
    ASSERT(content.len == 0 && used == 0);
    ASSERT(h1_body_eof(b) == r->e);
}

/* Each slice in a block of exactly its size, so that the sanitizer sees an overrun. */
static void
read_body(struct h1_body b, struct slice data, size_t cut, struct reading *r)
{
    enum err e = b.done ? ERR_OK : ERR_AGAIN;

    text_init(&r->content, r->content_bytes, sizeof(r->content_bytes));
    r->used = 0;
    for (size_t at = 0; at < data.len && e == ERR_AGAIN; at += cut) {
        struct slice piece = slice_sub(data, at, cut);
        uint8_t *block = malloc(piece.len);

        ASSERT(block != NULL);
        memcpy(block, piece.p, piece.len);
        e = feed(&b, slice_of(block, piece.len), r);
        free(block);
    }
    ASSERT(text_ok(&r->content));
    r->done = b.done;
    r->e = h1_body_eof(&b);
    r->fault = b.fault;
    ASSERT((e == ERR_BADMSG) == (r->e == ERR_BADMSG));
    check_end(&b, r);
}

/* A line with its CRLF, taken off the front. */
static struct slice
line_take(struct slice *rest)
{
    struct slice line = slice_sub(*rest, 0, slice_find(*rest, '\n'));

    ASSERT(line.len > 0 && line.p[line.len - 1] == '\r');
    *rest = slice_sub(*rest, line.len + 1, rest->len);
    return slice_sub(line, 0, line.len - 1);
}

/* The content of a chunked body that was accepted, read line by line. */
static void
chunks_plain(struct slice rest, struct text *out)
{
    size_t size;

    do {
        struct slice line = line_take(&rest);

        line = slice_sub(line, 0, slice_find(line, ';'));
        size = 0;
        for (size_t i = 0; i < line.len; i++)
            size = size << 4 | (line.p[i] <= '9' ? line.p[i] - '0' : (line.p[i] | 0x20) - 'a' + 10);
        ASSERT(size <= rest.len);
        text_add(out, slice_sub(rest, 0, size));
        rest = slice_sub(rest, size, rest.len);
        if (size > 0)
            ASSERT(line_take(&rest).len == 0);
    } while (size > 0);
    while (line_take(&rest).len > 0) /* trailers */
        ;
    ASSERT(rest.len == 0);
}

static void
check_content(const struct h1_body *b, struct slice data, const struct reading *r)
{
    static uint8_t bytes[INPUT_MAX];
    struct slice content = text_slice(&r->content);
    struct text plain;

    switch (b->framing) {
    case H1_BODY_NONE:
        ASSERT(content.len == 0 && r->used == 0 && r->done);
        break;
    case H1_BODY_LENGTH:
        ASSERT(slice_eq(content, slice_sub(data, 0, b->left)));
        ASSERT(r->done == (data.len >= b->left));
        break;
    case H1_BODY_TO_EOF:
        ASSERT(slice_eq(content, data));
        ASSERT(r->e == ERR_OK && !r->done);
        break;
    case H1_BODY_CHUNKED:
        if (r->e != ERR_OK)
            break;
        text_init(&plain, bytes, sizeof(bytes));
        chunks_plain(slice_sub(data, 0, r->used), &plain);
        ASSERT(slice_eq(content, text_slice(&plain)));
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reading whole;
    static struct reading cut;
    enum h1_framing framing;
    struct h1_body b;
    size_t head;

    check_never_fatal();
    if (size < 1 || size > INPUT_MAX)
        return 0;
    framing = framings[data[0] >> 4 & 3];
    head = framing == H1_BODY_LENGTH ? 2 : 1;
    if (size < head)
        return 0;
    h1_body_init(&b, framing, head == 2 ? data[1] : 0);
    read_body(b, slice_of(data + head, size - head), size, &whole);
    read_body(b, slice_of(data + head, size - head), (size_t)(data[0] & 0x0f) + 1, &cut);
    ASSERT(whole.e == cut.e && whole.fault == cut.fault && whole.done == cut.done);
    ASSERT(whole.used == cut.used || whole.e == ERR_BADMSG);
    ASSERT(slice_eq(text_slice(&whole.content), text_slice(&cut.content)));
    check_content(&b, slice_of(data + head, size - head), &whole);
    return 0;
}
