#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Socket addresses, and the egress guard: the one list of where this process may connect. */

struct address {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* A literal IPv4 or IPv6 address (no brackets). */
MUST_USE enum err address_parse(const char *host, uint16_t port, struct address *out);
/* Literal, or a name through the system's resolver: blocks, so never on a loop's thread. */
MUST_USE enum err address_resolve(const char *host, uint16_t port, struct address *out);
/* The other end of a connected socket; of no family when there is none any more. */
void address_of_peer(int fd, struct address *out);
uint16_t address_port(const struct address *a);
bool address_equal(const struct address *a, const struct address *b);
/* "host:port", "[v6]:port", into parts. host is NUL-terminated, at most 253 bytes. */
MUST_USE enum err address_split(struct slice text, char host[254], uint16_t *port);

#define EGRESS_MAX 8192
struct egress; /* immutable once built; shared by all threads */
MUST_USE enum err egress_new(struct egress **out);
MUST_USE enum err egress_allow(struct egress *g, const struct address *a);
bool egress_allows(const struct egress *g, const struct address *a);
void egress_free(struct egress **g);

#endif
