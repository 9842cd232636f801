#include "residency/geo/address.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define MAPPED_PREFIX_BITS 96u

/* One row a block that no database is asked about; the first match decides. Sources:
 * the IANA special-purpose registries (RFC 6890), RFC 3056, RFC 4380, RFC 6052, RFC 8215. */
struct special {
    uint8_t family;
    uint8_t prefix_bits;
    uint8_t bytes[16];
    enum geo_quality quality;
};

static const struct special specials[] = {
    {4, 8, {0}, GEO_RESERVED},
    {4, 8, {10}, GEO_PRIVATE},
    {4, 10, {100, 64}, GEO_CGNAT},
    {4, 8, {127}, GEO_LOOPBACK},
    {4, 16, {169, 254}, GEO_PRIVATE},
    {4, 12, {172, 16}, GEO_PRIVATE},
    {4, 24, {192, 0, 0}, GEO_RESERVED},
    {4, 24, {192, 0, 2}, GEO_RESERVED},
    {4, 24, {192, 88, 99}, GEO_TRANSITION}, /* the 6to4 relays' anycast block */
    {4, 16, {192, 168}, GEO_PRIVATE},
    {4, 15, {198, 18}, GEO_RESERVED},
    {4, 24, {198, 51, 100}, GEO_RESERVED},
    {4, 24, {203, 0, 113}, GEO_RESERVED},
    {4, 3, {224}, GEO_RESERVED}, /* multicast, class E, broadcast */
    {6, 128, {[15] = 1}, GEO_LOOPBACK},
    {6, 96, {0, 0x64, 0xff, 0x9b}, GEO_TRANSITION},
    {6, 48, {0, 0x64, 0xff, 0x9b, 0, 1}, GEO_TRANSITION},
    {6, 96, {[8] = 0xff, [9] = 0xff}, GEO_TRANSITION}, /* IPv4-translated (RFC 2765) */
    {6, 32, {0x20, 0x01}, GEO_TRANSITION},             /* Teredo */
    {6, 16, {0x20, 0x02}, GEO_TRANSITION},             /* 6to4 */
    {6, 48, {0x20, 0x01, 0, 2}, GEO_RESERVED},         /* benchmarking */
    {6, 28, {0x20, 0x01, 0, 0x10}, GEO_RESERVED},      /* ORCHID */
    {6, 28, {0x20, 0x01, 0, 0x20}, GEO_RESERVED},      /* ORCHIDv2 */
    {6, 32, {0x20, 0x01, 0x0d, 0xb8}, GEO_RESERVED},   /* documentation */
    {6, 20, {0x3f, 0xff}, GEO_RESERVED},               /* documentation */
    {6, 7, {0xfc}, GEO_PRIVATE},
    {6, 10, {0xfe, 0x80}, GEO_PRIVATE},
};

#define QUALITY_ROW(name, word, may_assume, words) [name] = {word, may_assume, words},
static const struct geo_quality_row quality_rows[GEO_QUALITY_COUNT] = {
    GEO_QUALITY_LIST(QUALITY_ROW)};
#undef QUALITY_ROW

const struct geo_quality_row *
geo_quality_row(enum geo_quality quality)
{
    ASSERT(quality < GEO_QUALITY_COUNT);
    return &quality_rows[quality];
}

static bool
parse_octet(struct slice text, uint8_t *out)
{
    uint64_t v;

    if (text.len > 3 || !slice_u64(text, &v) || v > 255 || (text.len > 1 && text.p[0] == '0'))
        return false;
    *out = (uint8_t)v;
    return true;
}

static bool
parse_ipv4(struct slice text, struct geo_address *out)
{
    struct geo_address a = {.family = 4};

    for (size_t i = 0; i < 4; i++) {
        if (text.p == NULL || !parse_octet(slice_cut(&text, '.'), &a.bytes[i]))
            return false;
    }
    if (text.p != NULL)
        return false;
    *out = a;
    return true;
}

static bool
is_ipv6_byte(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' ||
           c == '.';
}

/* An IPv4-mapped address is the IPv4 host that it names: one caller, one answer. */
static struct geo_address
from_ipv6_bytes(const uint8_t bytes[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct geo_address a = {.family = 6};

    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        a.family = 4;
        memcpy(a.bytes, bytes + sizeof(mapped), 4);
    } else {
        memcpy(a.bytes, bytes, 16);
    }
    return a;
}

static bool
parse_ipv6(struct slice text, struct geo_address *out)
{
    char copy[GEO_ADDRESS_TEXT_MAX + 1];
    uint8_t bytes[16];

    for (size_t i = 0; i < text.len; i++) {
        if (!is_ipv6_byte(text.p[i]))
            return false;
    }
    if (!slice_copy_str(text, copy, sizeof(copy)) || inet_pton(AF_INET6, copy, bytes) != 1)
        return false;
    *out = from_ipv6_bytes(bytes);
    return true;
}

enum err
geo_address_parse(struct slice text, struct geo_address *out)
{
    bool ok;

    if (text.len == 0 || text.len > GEO_ADDRESS_TEXT_MAX)
        return ERR_BADMSG;
    if (slice_find(text, ':') == text.len)
        ok = parse_ipv4(text, out);
    else
        ok = parse_ipv6(text, out);
    return ok ? ERR_OK : ERR_BADMSG;
}

enum err
geo_address_from_sockaddr(const struct sockaddr *sa, size_t len, struct geo_address *out)
{
    /* Copied, because the caller's storage need not be aligned for the exact type. */
    if (len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, sa, sizeof(in));
        *out = (struct geo_address){.family = 4};
        memcpy(out->bytes, &in.sin_addr, 4);
        return ERR_OK;
    }
    if (len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, sa, sizeof(in6));
        *out = from_ipv6_bytes(in6.sin6_addr.s6_addr);
        return ERR_OK;
    }
    return ERR_UNSUPPORTED;
}

bool
geo_address_equal(const struct geo_address *a, const struct geo_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static bool
prefix_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool
geo_address_special(const struct geo_address *address, enum geo_quality *out)
{
    ASSERT(address->family == 4 || address->family == 6);
    for (size_t i = 0; i < ARRAY_COUNT(specials); i++) {
        const struct special *row = &specials[i];

        if (row->family == address->family &&
            prefix_equal(row->bytes, address->bytes, row->prefix_bits)) {
            *out = row->quality;
            return true;
        }
    }
    /* All assigned unicast stands in 2000::/3 (RFC 4291 section 2.4). */
    if (address->family == 6 && (address->bytes[0] & 0xe0) != 0x20) {
        *out = GEO_RESERVED;
        return true;
    }
    return false;
}

static bool
tail_is_zero(const struct geo_network *n)
{
    unsigned width = n->address.family == 4 ? 32 : 128;

    for (unsigned bit = n->prefix_bits; bit < width; bit++) {
        if ((n->address.bytes[bit / 8] & (0x80u >> (bit % 8))) != 0)
            return false;
    }
    return true;
}

enum err
geo_network_parse(struct slice text, struct geo_network *out)
{
    struct slice rest = text;
    struct slice host = slice_cut(&rest, '/');
    struct geo_network n;
    bool mapped;
    uint64_t width, bits;

    if (geo_address_parse(host, &n.address) != ERR_OK)
        return ERR_BADMSG;
    width = n.address.family == 4 ? 32 : 128;
    mapped = n.address.family == 4 && slice_find(host, ':') < host.len;
    if (host.len == text.len) {
        bits = width;
    } else {
        if (rest.len > 3 || !slice_u64(rest, &bits) || (rest.len > 1 && rest.p[0] == '0'))
            return ERR_BADMSG;
        if (mapped) {
            if (bits < MAPPED_PREFIX_BITS)
                return ERR_BADMSG;
            bits -= MAPPED_PREFIX_BITS;
        }
    }
    if (bits > width)
        return ERR_BADMSG;
    n.prefix_bits = (uint8_t)bits;
    if (!tail_is_zero(&n))
        return ERR_BADMSG;
    *out = n;
    return ERR_OK;
}

bool
geo_network_has(const struct geo_network *network, const struct geo_address *address)
{
    return network->address.family == address->family &&
           prefix_equal(network->address.bytes, address->bytes, network->prefix_bits);
}

bool
geo_networks_have(const struct geo_network *networks, size_t count,
                  const struct geo_address *address)
{
    for (size_t i = 0; i < count; i++) {
        if (geo_network_has(&networks[i], address))
            return true;
    }
    return false;
}
