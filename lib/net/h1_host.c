#include "net/h1_priv.h"

/* The grammar of uri-host [ ":" port ] (RFC 3986 section 3.2), narrower in three points:
 * the host is not empty, a colon has a port behind it, and IPvFuture does not exist. */

#define IPV6_GROUPS 8
#define HOST_PORT_MAX 65535

static bool
port_ok(struct slice port)
{
    uint64_t number;

    return port.len <= 5 && slice_u64(port, &number) && number >= 1 && number <= HOST_PORT_MAX;
}

static bool
ipv4_ok(struct slice s)
{
    for (int i = 0; i < 4; i++) {
        struct slice part;
        uint64_t number;

        if (i > 0 && s.p == NULL)
            return false;
        part = slice_cut(&s, '.');
        if (part.len > 3 || !slice_u64(part, &number) || number > 255)
            return false;
        if (part.len > 1 && part.p[0] == '0')
            return false; /* some readers take a leading zero for octal */
    }
    return s.p == NULL;
}

/* One group of IPv6 hex digits, or the IPv4 tail, which counts for two; 0: malformed. */
static int
ipv6_group(struct slice group, bool is_last)
{
    if (is_last && slice_find(group, '.') < group.len)
        return ipv4_ok(group) ? 2 : 0;
    return group.len >= 1 && group.len <= 4 && h1_all(group, H1_HEX) ? 1 : 0;
}

/* Groups of s, which holds no "::"; -1 if malformed. An empty s has none. */
static int
ipv6_groups(struct slice s, bool tail_allowed)
{
    int count = 0;

    if (s.len == 0)
        return 0;
    while (s.p != NULL) {
        struct slice group = slice_cut(&s, ':');
        int n = ipv6_group(group, tail_allowed && s.p == NULL);

        if (n == 0)
            return -1;
        count += n;
        if (count > IPV6_GROUPS)
            return -1;
    }
    return count;
}

static bool
ipv6_ok(struct slice s)
{
    int before;
    int after;

    for (size_t i = 0; i + 1 < s.len; i++) {
        if (s.p[i] != ':' || s.p[i + 1] != ':')
            continue;
        before = ipv6_groups(slice_sub(s, 0, i), false);
        after = ipv6_groups(slice_sub(s, i + 2, s.len), true);
        return before >= 0 && after >= 0 && before + after < IPV6_GROUPS;
    }
    return ipv6_groups(s, true) == IPV6_GROUPS;
}

static bool
reg_name_ok(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((h1_class[s.p[i]] & H1_REG_NAME) != 0)
            continue;
        if (s.p[i] != '%' || s.len - i < 3 || !h1_all(slice_sub(s, i + 1, 2), H1_HEX))
            return false;
        i += 2;
    }
    return s.len > 0;
}

bool
h1_authority_ok(struct slice authority)
{
    size_t end;

    if (authority.len == 0)
        return false;
    if (authority.p[0] == '[') {
        end = slice_find(authority, ']');
        if (end == authority.len || !ipv6_ok(slice_sub(authority, 1, end - 1)))
            return false;
        end++;
    } else {
        end = slice_find(authority, ':');
        if (!reg_name_ok(slice_sub(authority, 0, end)))
            return false;
    }
    if (end == authority.len)
        return true;
    return authority.p[end] == ':' && port_ok(slice_sub(authority, end + 1, authority.len));
}
