#ifndef NET_MULTIPART_H
#define NET_MULTIPART_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The strict multipart/form-data reader (RFC 7578, RFC 2046 section 5.1). Pure: bytes in,
 * parts out; nothing is allocated and only a part's head is kept. The same bytes in any
 * slicing give the same parts, content and fault.
 *
 * Narrower than the RFCs, because readers in the field disagree about the rest: no preamble,
 * no epilogue but one CRLF, no white space behind a delimiter, no nested multipart, no
 * encodings, no escapes in names, no extended parameters. So the bytes between contents are
 * known from what is kept (multipart_opening, multipart_closing), and a form can be passed on
 * byte for byte as it is read. */

#define MULTIPART_BOUNDARY_MAX 70
#define MULTIPART_HEAD_MAX 8192 /* a part's header lines with their CRLFs */
#define MULTIPART_PARTS_MAX 64
#define MULTIPART_NAME_MAX 256

#define MULTIPART_FAULT_LIST(X)                                                          \
    X(MULTIPART_FAULT_NONE, "none")                                                      \
    X(MULTIPART_FAULT_TYPE, "Content-Type is not multipart/form-data with one boundary") \
    X(MULTIPART_FAULT_START, "the form does not begin with its boundary")                \
    X(MULTIPART_FAULT_DELIMITER, "malformed line behind a boundary")                     \
    X(MULTIPART_FAULT_HEAD, "malformed header of a part")                                \
    X(MULTIPART_FAULT_HEAD_SIZE, "the header of a part is too long")                     \
    X(MULTIPART_FAULT_FIELD, "a part has a header that a form does not take")            \
    X(MULTIPART_FAULT_DISPOSITION, "a part has not exactly one form-data disposition")   \
    X(MULTIPART_FAULT_NAME, "a part's name is missing, malformed or too long")           \
    X(MULTIPART_FAULT_ENCODING, "a part has an encoding")                                \
    X(MULTIPART_FAULT_LENGTH, "a part has another length than its header says")          \
    X(MULTIPART_FAULT_PARTS, "the form has too many parts")                              \
    X(MULTIPART_FAULT_EPILOGUE, "bytes behind the form's end")                           \
    X(MULTIPART_FAULT_CUT, "the form ends early")
#define MULTIPART_FAULT_ENUM_ROW(name, text) name,
enum multipart_fault { MULTIPART_FAULT_LIST(MULTIPART_FAULT_ENUM_ROW) MULTIPART_FAULT_COUNT };
#undef MULTIPART_FAULT_ENUM_ROW
const char *multipart_fault_text(enum multipart_fault fault);

enum multipart_event {
    MULTIPART_PART,     /* a part's head is complete: multipart_part() */
    MULTIPART_CONTENT,  /* a piece of its content, never empty */
    MULTIPART_PART_END, /* its content is complete */
    MULTIPART_END,      /* the form is complete; at most one CRLF may follow */
};

struct multipart_part {
    struct slice name;
    bool is_file; /* has a filename, even an empty one */
};

struct multipart {
    uint32_t state;
    enum multipart_fault fault;
    uint8_t delimiter[4 + MULTIPART_BOUNDARY_MAX]; /* CRLF, two hyphens, boundary */
    size_t delimiter_len;
    size_t matched; /* bytes of the delimiter seen and not handed out */
    uint8_t head[MULTIPART_HEAD_MAX];
    size_t head_used;
    size_t part_count;
    char name[MULTIPART_NAME_MAX + 1];
    size_t name_len;
    bool is_file;
    uint64_t content_bytes;
    bool length_stated;
    uint64_t length;
};

/* By the request's Content-Type. ERR_BADMSG: not one of a form (m->fault). */
MUST_USE enum err multipart_init(struct multipart *m, struct slice content_type);
/* Takes bytes from data until something happened: *used of them are consumed. ERR_OK: *event
 * and, for CONTENT, *content (inside data, or inside m until the next call). ERR_AGAIN: all of
 * data is consumed and more is needed. ERR_BADMSG: m->fault, final. */
MUST_USE enum err multipart_read(struct multipart *m, struct slice data,
                                 enum multipart_event *event, struct slice *content, size_t *used);
/* No more bytes come. ERR_BADMSG with MULTIPART_FAULT_CUT when the form is not complete. */
MUST_USE enum err multipart_finish(struct multipart *m);

/* From MULTIPART_PART on, until the next part's head. Borrowed from m. */
struct multipart_part multipart_part(const struct multipart *m);
/* The bytes that stood between the content before and this part's: delimiter line and head.
 * Two slices; valid as multipart_part(). */
void multipart_opening(const struct multipart *m, struct slice *delimiter, struct slice *head);
/* The bytes of the last delimiter without the two hyphens that end it. */
struct slice multipart_closing(const struct multipart *m);
/* The boundary alone. */
struct slice multipart_boundary(const struct multipart *m);

#endif
