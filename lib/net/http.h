#ifndef NET_HTTP_H
#define NET_HTTP_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a message is, whatever version of HTTP carries it (RFC 9110). A codec makes a head of
 * what it received, and writes one of the fields that the program puts together; framing and
 * the connection are the codec's own. */

#define HTTP_FIELDS_MAX 100      /* of a message received */
#define HTTP_FIELDS_OWN_MAX 16   /* of a message of ours */
#define HTTP_PATH_MAX 8192       /* no codec takes a longer one */
#define HTTP_LENGTH_UNKNOWN (-1) /* of a body whose end tells itself */

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_DELETE, HTTP_OPTIONS, HTTP_METHOD_COUNT };
const char *http_method_name(enum http_method method);

struct http_field {
    struct slice name;  /* as received; names are compared with folded case */
    struct slice value; /* without surrounding white space */
};

/* The head of a message received. Slices point into the codec's buffer. Fields that belong to
 * the connection are not among its fields: the codec read them. */
struct http_head {
    enum http_method method; /* requests */
    struct slice path;       /* requests: origin form as received, without query */
    struct slice query;      /* requests: behind '?', or p == NULL */
    struct slice authority;  /* requests: host and port that were asked for */
    int status;              /* responses: 100-599 */
    bool has_body;           /* one follows, maybe of no bytes */
    int64_t body_length;     /* or HTTP_LENGTH_UNKNOWN; 0 without a body */
    bool expect_continue;    /* requests: the sender waits for 100 before its body */
    size_t field_count;
    struct http_field fields[HTTP_FIELDS_MAX];
};

/* First field of that name (ASCII case folded), or NULL; http_field_count: how many. */
const struct http_field *http_field_find(const struct http_head *head, struct slice name);
size_t http_field_count(const struct http_head *head, struct slice name);

/* Canonical path: dot segments resolved; percent-encodings of unreserved characters
 * decoded, others upper-cased; "%00", backslash (raw or encoded), encoded slash and
 * malformed escapes refused (ERR_BADMSG). Appends to out. */
MUST_USE enum err http_canonical_path(struct slice path, struct text *out);

/* Fields of our own, put together before a codec writes them. Names and values are borrowed
 * until then, or composed in `text`. Too many, or a text too small, set a sticky mark. */
struct http_fields {
    size_t count;
    size_t composed; /* bytes of text that are values already */
    bool overflowed;
    struct text text;
    struct http_field list[HTTP_FIELDS_OWN_MAX];
};

/* storage is for composed values; NULL and 0 where there are none. */
void http_fields_init(struct http_fields *f, void *storage, size_t size);
bool http_fields_ok(const struct http_fields *f);
void http_fields_add(struct http_fields *f, struct slice name, struct slice value);
/* The value is what was added to f->text since the last composed one. */
void http_fields_add_text(struct http_fields *f, struct slice name);
void http_fields_add_u64(struct http_fields *f, struct slice name, uint64_t value);

#endif
