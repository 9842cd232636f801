#include "net/h1_priv.h"

/* Start lines and fields of our own. Whatever could end a line early or be read as
 * something else is refused by the text's sticky mark before a byte is added. */

#define HOST_FIELD_MAX 272 /* a DNS name or an address, brackets and a port */

static void
refuse(struct text *out)
{
    out->overflowed = true;
}

void
h1_write_request_line(struct text *out, enum http_method method, struct slice target)
{
    if (target.len == 0 || target.p[0] != '/' || !h1_all(target, H1_TARGET)) {
        refuse(out);
        return;
    }
    text_add_str(out, http_method_name(method));
    text_add_char(out, ' ');
    text_add(out, target);
    text_add(out, SLICE_LIT(" HTTP/1.1\r\n"));
}

void
h1_write_status_line(struct text *out, int status)
{
    if (status < 100 || status > 599) {
        refuse(out);
        return;
    }
    text_add(out, SLICE_LIT("HTTP/1.1 "));
    text_add_u64(out, (uint64_t)status);
    text_add_char(out, ' ');
    text_add_str(out, h1_status_reason(status));
    text_add(out, SLICE_LIT("\r\n"));
}

void
h1_write_field(struct text *out, struct slice name, struct slice value)
{
    if (name.len == 0 || !h1_all(name, H1_NAME) || !h1_all(value, H1_VALUE) ||
        slice_trim(value).len != value.len) {
        refuse(out);
        return;
    }
    text_add(out, name);
    text_add(out, SLICE_LIT(": "));
    text_add(out, value);
    text_add(out, SLICE_LIT("\r\n"));
}

void
h1_write_fields(struct text *out, const struct http_fields *fields)
{
    if (!http_fields_ok(fields))
        refuse(out);
    for (size_t i = 0; i < fields->count; i++)
        h1_write_field(out, fields->list[i].name, fields->list[i].value);
}

void
h1_write_host(struct text *out, const char *host, uint16_t port)
{
    uint8_t storage[HOST_FIELD_MAX];
    struct text authority;
    bool is_v6 = strchr(host, ':') != NULL; /* RFC 3986 section 3.2.2: in brackets */

    text_init(&authority, storage, sizeof(storage));
    text_add_str(&authority, is_v6 ? "[" : "");
    text_add_str(&authority, host);
    text_add_str(&authority, is_v6 ? "]" : "");
    if (port != 0) {
        text_add_char(&authority, ':');
        text_add_u64(&authority, port);
    }
    if (text_ok(&authority))
        h1_write_field(out, SLICE_LIT("Host"), text_slice(&authority));
    else
        refuse(out);
}

void
h1_write_field_u64(struct text *out, struct slice name, uint64_t value)
{
    uint8_t storage[20];
    struct text digits;

    text_init(&digits, storage, sizeof(storage));
    text_add_u64(&digits, value);
    h1_write_field(out, name, text_slice(&digits));
}

void
h1_write_end(struct text *out)
{
    text_add(out, SLICE_LIT("\r\n"));
}

void
h1_write_chunk_head(struct text *out, uint64_t size)
{
    uint8_t digits[16];
    size_t n = sizeof(digits);

    if (size == 0) {
        refuse(out); /* an empty piece must not end the body: that is H1_LAST_CHUNK */
        return;
    }
    do {
        digits[--n] = (uint8_t) "0123456789abcdef"[size & 15];
        size >>= 4;
    } while (size > 0);
    text_add(out, slice_of(digits + n, sizeof(digits) - n));
    text_add(out, SLICE_LIT("\r\n"));
}
