#ifndef NET_H1_H
#define NET_H1_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"
#include "net/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The strict HTTP/1 codec (RFC 9110, RFC 9112; ENGINEERING section 1), the same in all
 * four roles: client request, backend response, peer request, peer response. Pure: bytes
 * in, facts or a typed refusal out. Slices point into the caller's buffer; no string
 * functions touch wire bytes; nothing is allocated. The same bytes in any slicing give
 * the same result. */

#define H1_LINE_MAX HTTP_PATH_MAX /* start line without CRLF; a longer request line: 414 */
#define H1_HEADER_BYTES_MAX 32768 /* all field lines with CRLF; more: 431 */
#define H1_VALUE_MAX 16384        /* one value; longer: 431 */
#define H1_HEAD_MAX (H1_LINE_MAX + H1_HEADER_BYTES_MAX + 4)
#define H1_METHOD_MAX 32
#define H1_CHUNK_EXT_MAX 256
#define H1_TRAILER_BYTES_MAX 8192
#define H1_TRAILERS_MAX 32

enum h1_role { H1_REQUEST, H1_RESPONSE };

/* Why a message is refused: one row feeds log, metric, and answer. For responses any
 * fault is a malformed answer of the backend (502). status is that of a request fault. */
#define H1_FAULT_LIST(X)                                                            \
    X(H1_FAULT_NONE, 0, "none")                                                     \
    X(H1_FAULT_START_LINE, 400, "malformed start line")                             \
    X(H1_FAULT_URI_TOO_LONG, 414, "request line too long")                          \
    X(H1_FAULT_METHOD, 405, "method not allowed")                                   \
    X(H1_FAULT_VERSION, 400, "not HTTP/1.0 or HTTP/1.1")                            \
    X(H1_FAULT_TARGET, 400, "malformed request target")                             \
    X(H1_FAULT_BARE_LF, 400, "line without CR before LF")                           \
    X(H1_FAULT_FIELD, 400, "malformed header field")                                \
    X(H1_FAULT_FIELD_NAME, 400, "malformed header name")                            \
    X(H1_FAULT_FIELD_VALUE, 400, "malformed header value")                          \
    X(H1_FAULT_OBS_FOLD, 400, "folded header line")                                 \
    X(H1_FAULT_TOO_LARGE, 431, "headers too large")                                 \
    X(H1_FAULT_HOST, 400, "not exactly one valid Host")                             \
    X(H1_FAULT_CONTENT_LENGTH, 400, "malformed or repeated Content-Length")         \
    X(H1_FAULT_TRANSFER_ENCODING, 400, "Transfer-Encoding is not exactly chunked")  \
    X(H1_FAULT_BOTH_FRAMINGS, 400, "Content-Length and Transfer-Encoding together") \
    X(H1_FAULT_BODY_FORBIDDEN, 400, "a body on a method that takes none")           \
    X(H1_FAULT_CONNECTION, 400, "Connection names a field it must not")             \
    X(H1_FAULT_EXPECT, 417, "Expect is not 100-continue")                           \
    X(H1_FAULT_UPGRADE, 502, "the backend switched protocols")                      \
    X(H1_FAULT_CHUNK, 400, "malformed chunk")                                       \
    X(H1_FAULT_TRAILER, 400, "malformed or too many trailers")

#define H1_FAULT_ENUM_ROW(name, status, text) name,
enum h1_fault { H1_FAULT_LIST(H1_FAULT_ENUM_ROW) H1_FAULT_COUNT };
#undef H1_FAULT_ENUM_ROW
const char *h1_fault_text(enum h1_fault fault);
int h1_fault_status(enum h1_fault fault);

enum h1_framing {
    H1_BODY_NONE,
    H1_BODY_LENGTH, /* content_length bytes */
    H1_BODY_CHUNKED,
    H1_BODY_TO_EOF, /* responses only */
};

/* A parsed head. Slices point into the buffer the head was parsed from. Of its fields those
 * are taken out that go no further (RFC 9110 section 7.6.1): Connection, what it nominates,
 * and the hop-by-hop fields by name. */
struct h1_head {
    struct http_head http; /* authority: Host, equal to an absolute form's */
    struct slice target;   /* requests: as received */
    bool is_1_0;
    bool keep_alive; /* what the sender's version and Connection say */
    enum h1_framing framing;
    uint64_t content_length; /* at most INT64_MAX */
};

/* Incremental head parser. `data` always starts at the message's first byte; more bytes
 * are appended between calls, and the block may move. */
struct h1_parser {
    enum h1_role role;
    bool head_request;   /* responses: the request was HEAD, so there is no body */
    size_t scanned;      /* bytes already found to be well-formed whole lines */
    size_t probed;       /* bytes already searched for LF */
    size_t fields_at;    /* where the field lines begin, once the start line is known */
    uint32_t line_count; /* start line and field lines found so far */
    enum h1_fault fault;
};
void h1_parser_init(struct h1_parser *p, enum h1_role role);
/* ERR_AGAIN: more bytes are needed. ERR_BADMSG: refused, p->fault says why. ERR_OK: *head
 * is complete and *head_len bytes belong to it; on any other result *head is not to be
 * read (it is filled in place: a second copy of 4 KiB a request is not worth it). Init the
 * parser anew for the next message. Up to one empty line (CRLF) before a
 * request line is skipped (RFC 9112 section 2.2). For responses 1xx other than 101 are
 * returned like any head (framing NONE): the caller drops them and parses on; 101 is
 * H1_FAULT_UPGRADE. */
MUST_USE enum err h1_parse_head(struct h1_parser *p, struct slice data, struct h1_head *head,
                                size_t *head_len);
/* Incremental body reader for the framings above. */
struct h1_body {
    enum h1_framing framing;
    uint64_t left; /* LENGTH: bytes to come; CHUNKED: bytes left in this chunk */
    uint32_t state;
    uint32_t line_bytes; /* bytes of the current size, extension or trailer line */
    uint32_t trailer_bytes;
    uint32_t trailer_count;
    uint32_t trailer_match; /* forbidden trailer names that this one still may be */
    uint64_t size;          /* chunk size under construction */
    uint32_t digits;        /* of the size; then bytes of an extension's name or value */
    enum h1_fault fault;
    bool done;
};
void h1_body_init(struct h1_body *b, enum h1_framing framing, uint64_t content_length);
/* Takes bytes from data: *used of them are consumed, and *content (inside data, possibly
 * empty) is the piece of body among them; at most one piece a call. Returns ERR_OK while
 * it goes on (b->done tells the end), ERR_AGAIN when it needs more bytes, ERR_BADMSG with
 * b->fault. TO_EOF bodies end when the caller says so with h1_body_eof(). */
MUST_USE enum err h1_body_read(struct h1_body *b, struct slice data, struct slice *content,
                               size_t *used);
/* The connection ended. ERR_OK if the body is complete by that, ERR_EOF if truncated. */
MUST_USE enum err h1_body_eof(struct h1_body *b);

/* Writers: always rebuilt messages. Names and values are checked against the grammar
 * (no CR, LF, NUL, controls); a bad one sets the text's sticky mark, nothing is cut. */
void h1_write_request_line(struct text *out, enum http_method method, struct slice target);
void h1_write_status_line(struct text *out, int status);
void h1_write_field(struct text *out, struct slice name, struct slice value);
void h1_write_field_u64(struct text *out, struct slice name, uint64_t value);
void h1_write_fields(struct text *out, const struct http_fields *fields);
/* Host, an IPv6 literal in brackets; port 0 leaves it out. */
void h1_write_host(struct text *out, const char *host, uint16_t port);
void h1_write_end(struct text *out);
/* "<hex>\r\n" before and "\r\n" behind a chunk are written by the caller around the data. */
void h1_write_chunk_head(struct text *out, uint64_t size);
#define H1_CHUNK_TAIL SLICE_LIT("\r\n")
#define H1_LAST_CHUNK SLICE_LIT("0\r\n\r\n")
const char *h1_status_reason(int status);

#endif
