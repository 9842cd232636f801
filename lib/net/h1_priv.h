#ifndef NET_H1_PRIV_H
#define NET_H1_PRIV_H

#include "net/h1.h"

/* What the files of the codec share: the classes of bytes, the checks of one line, and
 * the grammar of an authority. */

enum {
    H1_TOKEN = 0x01,      /* tchar (RFC 9110 section 5.6.2) */
    H1_NAME = 0x02,       /* tchar without '_': CGI-style backends read '_' as '-' */
    H1_TARGET = 0x04,     /* visible ASCII without '#' */
    H1_VALUE = 0x08,      /* HTAB, SP, visible ASCII, obs-text */
    H1_UNRESERVED = 0x10, /* RFC 3986 section 2.3 */
    H1_REG_NAME = 0x20,   /* unreserved and sub-delims, without the escapes */
    H1_PCHAR = 0x40,      /* what a path segment holds, without the escapes */
    H1_HEX = 0x80,
};
extern const uint8_t h1_class[256];
/* Whether every byte is of one of the classes; true for the empty slice. */
bool h1_all(struct slice s, uint8_t class);
/* The value of a byte of class H1_HEX. */
static inline uint8_t
h1_hex(uint8_t c)
{
    return (uint8_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* A request line taken apart. Slices point into the line. */
struct h1_start {
    enum http_method method;
    struct slice target;
    struct slice path;
    struct slice query;     /* p == NULL without '?' */
    struct slice authority; /* of an absolute form, else p == NULL */
    bool is_1_0;
};

/* Checks of one line without its CRLF; *out is written on H1_FAULT_NONE alone. */
enum h1_fault h1_line_request(struct slice line, struct h1_start *out);
enum h1_fault h1_line_status(struct slice line, int *status, bool *is_1_0);
enum h1_fault h1_line_field(struct slice line);
/* Takes a checked field line apart; false if there is no colon. */
bool h1_line_split(struct slice line, struct slice *name, struct slice *value);

/* uri-host [ ":" port ] (RFC 9110 section 7.2): host not empty, port 1-65535. */
bool h1_authority_ok(struct slice authority);

#endif
