#ifndef RESIDENCY_GEO_ADDRESS_H
#define RESIDENCY_GEO_ADDRESS_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Network addresses as plain values, and what an address says about its place before
 * any database is asked. Pure; an IPv4-mapped IPv6 address is the IPv4 address. */

struct sockaddr;

#define GEO_ADDRESS_TEXT_MAX 45 /* the longest IPv6 text, with an IPv4 tail */

struct geo_address {
    uint8_t family;    /* 4 or 6; 0 in a value that was never filled */
    uint8_t bytes[16]; /* network order; the first four for IPv4, the rest zero */
};

/* How the country of a caller was, or was not, learnt: X(enum, word, may_assume, words).
 * The word stands in attestation, log and metric; may_assume: unknown in the way that a
 * policy's `unknown_origin: home` covers (DESIGN section 7), everything else is refused. */
#define GEO_QUALITY_LIST(X)                                                                     \
    X(GEO_FOUND, "found", false, "the database names a country")                                \
    X(GEO_MISS, "miss", true, "the database names no country for this address")                 \
    X(GEO_PRIVATE, "private", true, "a private or link-local address")                          \
    X(GEO_LOOPBACK, "loopback", true, "this host")                                              \
    X(GEO_CGNAT, "cgnat", true, "shared by a carrier's customers (RFC 6598)")                   \
    X(GEO_TRANSITION, "transition", false,                                                      \
      "6to4, Teredo or NAT64: the place is not the address's")                                  \
    X(GEO_RESERVED, "reserved", false, "unspecified, multicast or reserved: no caller has it")  \
    X(GEO_MALFORMED, "malformed_chain", false, "the forwarding chain is malformed or too long") \
    X(GEO_UNREADABLE, "unreadable", false, "the database entry could not be read")

#define GEO_ENUM_ROW(name, word, may_assume, words) name,
enum geo_quality { GEO_QUALITY_LIST(GEO_ENUM_ROW) GEO_QUALITY_COUNT };
#undef GEO_ENUM_ROW

struct geo_quality_row {
    const char *name;
    bool may_assume;
    const char *words;
};
const struct geo_quality_row *geo_quality_row(enum geo_quality quality);

/* A dotted quad without leading zeros, or an IPv6 address (RFC 4291 section 2.2) without
 * zone. ERR_BADMSG otherwise, and *out is untouched. */
MUST_USE enum err geo_address_parse(struct slice text, struct geo_address *out);
/* len: as accept() gave it. ERR_UNSUPPORTED for a family that has no place. */
MUST_USE enum err geo_address_from_sockaddr(const struct sockaddr *sa, size_t len,
                                            struct geo_address *out);
bool geo_address_equal(const struct geo_address *a, const struct geo_address *b);

/* What the address says by itself: a quality other than GEO_FOUND and GEO_MISS, and
 * true; false for an address that a database may know. */
bool geo_address_special(const struct geo_address *address, enum geo_quality *out);

struct geo_network {
    struct geo_address address; /* bits behind the prefix are zero */
    uint8_t prefix_bits;
};

/* "address/bits", or a bare address for that host alone. ERR_BADMSG when malformed or
 * when bits behind the prefix are set: a typing error is not guessed at. */
MUST_USE enum err geo_network_parse(struct slice text, struct geo_network *out);
bool geo_network_has(const struct geo_network *network, const struct geo_address *address);
/* Whether any of the networks has it. */
bool geo_networks_have(const struct geo_network *networks, size_t count,
                       const struct geo_address *address);

#endif
