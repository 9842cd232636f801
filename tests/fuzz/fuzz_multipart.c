#include "net/multipart.h"

#include "base/check.h"
#include "base/text.h"

/* The form reader against itself: the same bytes in any slicing give the same parts, content
 * and fault; what was read whole is passed on as the same bytes. The same input as the value of
 * a Content-Type: what boundary comes out is one that the RFC allows.
 * data[0]: the slice less one. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 32768

struct reading {
    enum err e;
    enum multipart_fault fault;
    struct text facts; /* name, kind and content of each part, with marks between */
    struct text again; /* as passed on */
    uint8_t facts_bytes[INPUT_MAX * 2];
    uint8_t again_bytes[INPUT_MAX * 2];
};

static void
note(struct reading *r, const struct multipart *m, enum multipart_event event, struct slice content)
{
    struct slice delimiter;
    struct slice head;

    if (event == MULTIPART_PART) {
        multipart_opening(m, &delimiter, &head);
        ASSERT(multipart_part(m).name.len <= MULTIPART_NAME_MAX);
        text_add(&r->facts, multipart_part(m).name);
        text_add_char(&r->facts, multipart_part(m).is_file ? '(' : '[');
        text_add(&r->again, delimiter);
        text_add_str(&r->again, "\r\n");
        text_add(&r->again, head);
    } else if (event == MULTIPART_CONTENT) {
        ASSERT(content.len > 0);
        text_add(&r->facts, content);
        text_add(&r->again, content);
    } else if (event == MULTIPART_END) {
        text_add(&r->again, multipart_closing(m));
        text_add_str(&r->again, "--");
    } else {
        text_add_char(&r->facts, ']');
    }
}

static void
read_all(struct reading *r, struct slice form, size_t cut)
{
    static struct multipart m;

    text_init(&r->facts, r->facts_bytes, sizeof(r->facts_bytes));
    text_init(&r->again, r->again_bytes, sizeof(r->again_bytes));
    ASSERT(multipart_init(&m, SLICE_LIT("multipart/form-data; boundary=X")) == ERR_OK);
    r->e = ERR_OK;
    for (size_t at = 0; at < form.len && r->e == ERR_OK; at += cut) {
        struct slice piece = slice_sub(form, at, cut);

        while (r->e == ERR_OK && piece.len > 0) {
            enum multipart_event event;
            struct slice content;
            size_t used = 0;

            r->e = multipart_read(&m, piece, &event, &content, &used);
            ASSERT(used <= piece.len);
            ASSERT(r->e != ERR_AGAIN || used == piece.len);
            if (r->e == ERR_OK)
                note(r, &m, event, content);
            piece = slice_sub(piece, used, piece.len);
        }
        r->e = r->e == ERR_AGAIN ? ERR_OK : r->e;
    }
    if (r->e == ERR_OK)
        r->e = multipart_finish(&m);
    r->fault = m.fault;
    ASSERT((r->e == ERR_BADMSG) == (m.fault != MULTIPART_FAULT_NONE));
    ASSERT(text_ok(&r->facts) && text_ok(&r->again));
}

static void
try_type(struct slice content_type)
{
    static struct multipart m;

    if (multipart_init(&m, content_type) != ERR_OK) {
        ASSERT(m.fault == MULTIPART_FAULT_TYPE);
        return;
    }
    ASSERT(m.fault == MULTIPART_FAULT_NONE);
    ASSERT(multipart_boundary(&m).len >= 1);
    ASSERT(multipart_boundary(&m).len <= MULTIPART_BOUNDARY_MAX);
    ASSERT(slice_find(multipart_boundary(&m), '\r') == multipart_boundary(&m).len);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reading whole;
    static struct reading cut;
    struct slice form;

    check_never_fatal();
    if (size < 2 || size > INPUT_MAX)
        return 0;
    form = slice_of(data + 1, size - 1);
    try_type(form);
    read_all(&whole, form, form.len);
    read_all(&cut, form, (size_t)data[0] + 1);
    ASSERT(whole.e == cut.e && whole.fault == cut.fault);
    ASSERT(slice_eq(text_slice(&whole.facts), text_slice(&cut.facts)));
    if (whole.e == ERR_OK) {
        size_t rest = form.len - whole.again.used;

        ASSERT(rest == 0 || rest == 2);
        ASSERT(slice_eq(text_slice(&whole.again), slice_sub(form, 0, whole.again.used)));
    }
    return 0;
}
