#include "net/tls_names.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

bool
tls_names_lower(const char *p, size_t len, char out[TLS_NAME_MAX + 1])
{
    if (len > TLS_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] - 'A' + 'a' : p[i]);
    out[len] = '\0';
    return true;
}

/* RFC 6125 section 6.4.3, its strict reading: no "w*.example". */
static bool
is_usable(const char *name)
{
    const char *star = strchr(name, '*');

    return name[0] != '\0' && (star == NULL || (star == name && name[1] == '.' && name[2] != '\0' &&
                                                strchr(name + 1, '*') == NULL));
}

static enum err
add_name(struct tls_names *names, const char *p, size_t len)
{
    if (memchr(p, '\0', len) != NULL)
        return ERR_BADMSG;
    if (names->count == TLS_NAMES_MAX || !tls_names_lower(p, len, names->items[names->count]))
        return ERR_TOOBIG;
    if (is_usable(names->items[names->count]))
        names->count++;
    return ERR_OK;
}

enum err
tls_names_read(struct x509_st *cert, struct tls_names *out)
{
    struct tls_names names = {calloc(TLS_NAMES_MAX, sizeof(*names.items)), 0};
    GENERAL_NAMES *sans = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    enum err e = names.items == NULL ? ERR_NOMEM : ERR_OK;

    for (int i = 0; e == ERR_OK && i < sk_GENERAL_NAME_num(sans); i++) {
        const GENERAL_NAME *one = sk_GENERAL_NAME_value(sans, i);

        if (one->type == GEN_DNS)
            e = add_name(&names, (const char *)ASN1_STRING_get0_data(one->d.dNSName),
                         (size_t)ASN1_STRING_length(one->d.dNSName));
    }
    GENERAL_NAMES_free(sans);
    if (e == ERR_OK)
        *out = names;
    else
        tls_names_free(&names);
    return e;
}

enum err
tls_names_narrow(struct tls_names *names, const char *const *wanted, size_t count)
{
    struct tls_names narrow = {calloc(TLS_NAMES_MAX, sizeof(*narrow.items)), 0};
    enum err e = narrow.items == NULL ? ERR_NOMEM : ERR_OK;

    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        size_t before = narrow.count;

        e = add_name(&narrow, wanted[i], strlen(wanted[i]));
        if (e == ERR_OK && (narrow.count == before ||
                            tls_names_match(names, narrow.items[before]) == TLS_MATCH_NONE))
            e = ERR_BADMSG;
    }
    if (e != ERR_OK) {
        tls_names_free(&narrow);
        return e;
    }
    tls_names_free(names);
    *names = narrow;
    return ERR_OK;
}

void
tls_names_free(struct tls_names *names)
{
    free(names->items);
    *names = (struct tls_names){NULL, 0};
}

enum tls_match
tls_names_match(const struct tls_names *names, const char *name)
{
    const char *dot = strchr(name, '.');
    enum tls_match best = TLS_MATCH_NONE;

    for (size_t i = 0; i < names->count; i++) {
        const char *own = names->items[i];

        if (strcmp(own, name) == 0)
            return TLS_MATCH_EXACT;
        if (own[0] == '*' && dot != NULL && dot != name && strcmp(own + 1, dot) == 0)
            best = TLS_MATCH_WILDCARD;
    }
    return best;
}
