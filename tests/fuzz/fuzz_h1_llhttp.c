#include "net/h1.h"

#include "base/check.h"

/* Its methods have the names of ours. */
#define HTTP_GET LLHTTP_GET
#define HTTP_HEAD LLHTTP_HEAD
#define HTTP_POST LLHTTP_POST
#define HTTP_DELETE LLHTTP_DELETE
#define HTTP_OPTIONS LLHTTP_OPTIONS
#include <llhttp.h>
#undef HTTP_GET
#undef HTTP_HEAD
#undef HTTP_POST
#undef HTTP_DELETE
#undef HTTP_OPTIONS

/* The HTTP/1 codec against llhttp in strict mode: what ours accepts, llhttp accepts too,
 * with the same start line, fields (but for those of the connection, which ours takes out),
 * framing and content. Ours may be stricter, never laxer.
 * data[0]: bit 4 the role, bit 5 a response to HEAD (as in fuzz_h1.c). */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 16384

/* What one parser makes of a message, in a form that can be compared. */
struct view {
    struct text start;
    struct text fields;
    struct text content;
    bool in_trailers;
    bool skips_body;
    bool complete;
    size_t value_at; /* where the current value begins in fields */
    uint8_t start_bytes[INPUT_MAX];
    uint8_t field_bytes[2 * INPUT_MAX];
    uint8_t content_bytes[INPUT_MAX];
};

static void
view_init(struct view *v)
{
    text_init(&v->start, v->start_bytes, sizeof(v->start_bytes));
    text_init(&v->fields, v->field_bytes, sizeof(v->field_bytes));
    text_init(&v->content, v->content_bytes, sizeof(v->content_bytes));
    v->in_trailers = false;
    v->skips_body = false;
    v->complete = false;
    v->value_at = 0;
}

static int
on_url(llhttp_t *l, const char *at, size_t len)
{
    struct view *v = l->data;

    text_add(&v->start, slice_of(at, len));
    return 0;
}

static int
on_field(llhttp_t *l, const char *at, size_t len)
{
    struct view *v = l->data;

    if (!v->in_trailers)
        text_add(&v->fields, slice_of(at, len));
    return 0;
}

static int
on_field_complete(llhttp_t *l)
{
    struct view *v = l->data;

    if (!v->in_trailers)
        text_add_char(&v->fields, ':');
    v->value_at = v->fields.used;
    return 0;
}

/* llhttp leaves white space behind a value where it is. */
static int
on_value_complete(llhttp_t *l)
{
    struct view *v = l->data;
    struct slice value;

    if (v->in_trailers)
        return 0;
    value = slice_sub(text_slice(&v->fields), v->value_at, v->fields.used);
    v->fields.used = v->value_at + slice_trim(value).len;
    text_add_char(&v->fields, '\n');
    return 0;
}

static int
on_headers_complete(llhttp_t *l)
{
    struct view *v = l->data;

    v->in_trailers = true;
    /* That an answer to HEAD and a 304 have no body is the user's to say (RFC 9112 6.3). */
    return v->skips_body || (l->type == HTTP_RESPONSE && l->status_code == 304) ? 1 : 0;
}

static int
on_body(llhttp_t *l, const char *at, size_t len)
{
    struct view *v = l->data;

    text_add(&v->content, slice_of(at, len));
    return 0;
}

static int
on_complete(llhttp_t *l)
{
    struct view *v = l->data;

    ASSERT(!v->complete);
    v->complete = true;
    return 0;
}

/* False: llhttp refuses. data ends where our message does, or where the input does. */
static bool
llhttp_view(enum h1_role role, struct slice data, bool at_eof, struct view *v)
{
    llhttp_settings_t settings;
    llhttp_t l;
    llhttp_errno_t e;

    llhttp_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_field;
    settings.on_header_value = on_field;
    settings.on_header_field_complete = on_field_complete;
    settings.on_header_value_complete = on_value_complete;
    settings.on_headers_complete = on_headers_complete;
    settings.on_body = on_body;
    settings.on_message_complete = on_complete;
    llhttp_init(&l, role == H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    l.data = v;
    e = llhttp_execute(&l, (const char *)data.p, data.len);
    /* Connection: upgrade with Upgrade pauses behind the head; ours reads on as HTTP/1. */
    if (e == HPE_PAUSED_UPGRADE && llhttp_get_error_pos(&l) == (const char *)data.p + data.len)
        e = HPE_OK;
    if (e == HPE_OK && at_eof)
        e = llhttp_finish(&l);
    if (e != HPE_OK)
        return false;
    if (role == H1_RESPONSE)
        text_add_u64(&v->start, l.status_code);
    else
        text_add_str(&v->start, llhttp_method_name((llhttp_method_t)llhttp_get_method(&l)));
    text_add_u64(&v->start, llhttp_get_http_minor(&l));
    return true;
}

/* Whether a Connection field of llhttp's fields nominates the name. */
static bool
is_nominated(struct slice fields, struct slice name)
{
    while (fields.len > 0) {
        struct slice value = slice_cut(&fields, '\n');
        struct slice field = slice_cut(&value, ':');

        while (slice_eq_nocase(field, SLICE_LIT("connection")) && value.p != NULL)
            if (slice_eq_nocase(slice_trim(slice_cut(&value, ',')), name))
                return true;
    }
    return false;
}

/* llhttp's fields without those that end with the connection. */
static void
end_to_end(struct slice fields, struct text *out)
{
    static const char *const hops[] = {
        "connection", "transfer-encoding", "keep-alive", "proxy-connection",
        "te",         "upgrade",           "trailer",    "http2-settings",
    };
    struct slice rest = fields;

    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        struct slice name = slice_sub(line, 0, slice_find(line, ':'));
        bool is_hop = is_nominated(fields, name);

        for (size_t i = 0; i < ARRAY_COUNT(hops); i++)
            is_hop |= slice_eq_nocase(name, slice_str(hops[i]));
        if (is_hop)
            continue;
        text_add(out, line);
        text_add_char(out, '\n');
    }
}

static void
our_head(enum h1_role role, const struct h1_head *head, struct view *v)
{
    const struct http_head *http = &head->http;

    if (role == H1_REQUEST) {
        text_add(&v->start, head->target);
        text_add_str(&v->start, http_method_name(http->method));
    } else {
        text_add_u64(&v->start, (uint64_t)http->status);
    }
    text_add_u64(&v->start, head->is_1_0 ? 0 : 1);
    for (size_t i = 0; i < http->field_count; i++) {
        text_add(&v->fields, http->fields[i].name);
        text_add_char(&v->fields, ':');
        text_add(&v->fields, http->fields[i].value);
        text_add_char(&v->fields, '\n');
    }
}

/* Bytes of the body in data; ERR_BADMSG if ours refuses it. */
static enum err
our_body(const struct h1_head *head, struct slice data, struct view *v, size_t *len)
{
    struct h1_body b;
    enum err e = ERR_OK;
    size_t total = 0;

    h1_body_init(&b, head->framing, head->content_length);
    while (e == ERR_OK && !b.done) {
        struct slice content = SLICE_NONE;
        size_t used = 0;

        e = h1_body_read(&b, slice_sub(data, total, data.len), &content, &used);
        text_add(&v->content, content);
        total += used;
    }
    if (e == ERR_BADMSG)
        return e;
    if (head->framing == H1_BODY_TO_EOF && h1_body_eof(&b) != ERR_OK)
        return ERR_BADMSG;
    v->complete = b.done;
    *len = total;
    return ERR_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct h1_head head;
    static struct view ours;
    static struct view theirs;
    static uint8_t kept_bytes[2 * INPUT_MAX];
    struct text kept;
    struct h1_parser p;
    struct slice input;
    size_t head_len = 0;
    size_t body_len = 0;

    check_never_fatal();
    if (size < 1 || size > INPUT_MAX)
        return 0;
    h1_parser_init(&p, (data[0] & 0x10) != 0 ? H1_RESPONSE : H1_REQUEST);
    p.head_request = (data[0] & 0x20) != 0;
    input = slice_of(data + 1, size - 1);
    if (h1_parse_head(&p, input, &head, &head_len) != ERR_OK)
        return 0;
    view_init(&ours);
    view_init(&theirs);
    theirs.skips_body = p.role == H1_RESPONSE && p.head_request;
    our_head(p.role, &head, &ours);
    if (our_body(&head, slice_sub(input, head_len, input.len), &ours, &body_len) != ERR_OK)
        return 0;
    ASSERT(llhttp_view(p.role, slice_sub(input, 0, head_len + body_len),
                       head.framing == H1_BODY_TO_EOF, &theirs));
    ASSERT(text_ok(&theirs.fields));
    ASSERT(slice_eq(text_slice(&ours.start), text_slice(&theirs.start)));
    text_init(&kept, kept_bytes, sizeof(kept_bytes));
    end_to_end(text_slice(&theirs.fields), &kept);
    ASSERT(text_ok(&kept));
    ASSERT(slice_eq(text_slice(&ours.fields), text_slice(&kept)));
    ASSERT(slice_eq(text_slice(&ours.content), text_slice(&theirs.content)));
    ASSERT(ours.complete == theirs.complete);
    return 0;
}
