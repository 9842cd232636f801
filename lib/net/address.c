#include "net/address.h"

#include "base/check.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>

enum err
address_parse(const char *host, uint16_t port, struct address *out)
{
    struct address a;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    memset(&a, 0, sizeof(a));
    memset(&v4, 0, sizeof(v4));
    memset(&v6, 0, sizeof(v6));
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        memcpy(&a.storage, &v4, sizeof(v4));
        a.len = sizeof(v4);
    } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        memcpy(&a.storage, &v6, sizeof(v6));
        a.len = sizeof(v6);
    } else {
        return ERR_BADMSG;
    }
    *out = a;
    return ERR_OK;
}

enum err
address_resolve(const char *host, uint16_t port, struct address *out)
{
    struct addrinfo hints;
    struct addrinfo *list = NULL;
    char service[8];

    if (address_parse(host, port, out) == ERR_OK)
        return ERR_OK;
    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
    if (!text_format(service, sizeof(service), "%u", port))
        return ERR_BADMSG;
    if (getaddrinfo(host, service, &hints, &list) != 0 || list == NULL)
        return ERR_NOENT;
    memset(out, 0, sizeof(*out));
    memcpy(&out->storage, list->ai_addr, list->ai_addrlen);
    out->len = list->ai_addrlen;
    freeaddrinfo(list);
    return ERR_OK;
}

void
address_of_peer(int fd, struct address *out)
{
    memset(out, 0, sizeof(*out));
    out->len = sizeof(out->storage);
    if (getpeername(fd, (struct sockaddr *)&out->storage, &out->len) != 0)
        memset(out, 0, sizeof(*out));
}

uint16_t
address_port(const struct address *a)
{
    if (a->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 v6;

        memcpy(&v6, &a->storage, sizeof(v6));
        return ntohs(v6.sin6_port);
    } else {
        struct sockaddr_in v4;

        memcpy(&v4, &a->storage, sizeof(v4));
        return ntohs(v4.sin_port);
    }
}

bool
address_equal(const struct address *a, const struct address *b)
{
    return a->len == b->len && memcmp(&a->storage, &b->storage, a->len) == 0;
}

enum err
address_split(struct slice text, char host[254], uint16_t *port)
{
    size_t colon = text.len;
    struct slice name;
    uint64_t number;

    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return ERR_BADMSG;
    name = slice_sub(text, 0, colon - 1);
    if (name.len >= 2 && name.p[0] == '[' && name.p[name.len - 1] == ']')
        name = slice_sub(name, 1, name.len - 2);
    else if (slice_find(name, ':') != name.len)
        return ERR_BADMSG;
    if (name.len == 0 || !slice_copy_str(name, host, 254) ||
        !slice_u64(slice_sub(text, colon, text.len), &number) || number > 65535)
        return ERR_BADMSG;
    *port = (uint16_t)number;
    return ERR_OK;
}

struct egress {
    struct address *list;
    size_t count;
};

enum err
egress_new(struct egress **out)
{
    struct egress *g = calloc(1, sizeof(*g));

    if (g == NULL)
        return ERR_NOMEM;
    *out = g;
    return ERR_OK;
}

bool
egress_allows(const struct egress *g, const struct address *a)
{
    for (size_t i = 0; i < g->count; i++)
        if (address_equal(&g->list[i], a))
            return true;
    return false;
}

enum err
egress_allow(struct egress *g, const struct address *a)
{
    struct address *list;

    if (egress_allows(g, a))
        return ERR_OK;
    if (g->count == EGRESS_MAX)
        return ERR_FULL;
    list = realloc(g->list, (g->count + 1) * sizeof(*list));
    if (list == NULL)
        return ERR_NOMEM;
    g->list = list;
    g->list[g->count++] = *a;
    return ERR_OK;
}

void
egress_free(struct egress **g)
{
    if (*g == NULL)
        return;
    free((*g)->list);
    free(*g);
    *g = NULL;
}
