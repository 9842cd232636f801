#ifndef NET_TLS_NAMES_H
#define NET_TLS_NAMES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* The host names of a certificate, and which of them meets a name that was asked for. */

#define TLS_NAME_MAX 255  /* bytes of a DNS name */
#define TLS_NAMES_MAX 100 /* of one certificate */

struct x509_st;
struct tls_names {
    char (*items)[TLS_NAME_MAX + 1]; /* lower case */
    size_t count;
};

enum tls_match { TLS_MATCH_NONE, TLS_MATCH_WILDCARD, TLS_MATCH_EXACT };

/* The DNS names among a certificate's SANs; a "*" only as the whole first label. ERR_BADMSG:
 * one holds a NUL; ERR_TOOBIG: more than TLS_NAMES_MAX, or a longer name. */
MUST_USE enum err tls_names_read(struct x509_st *cert, struct tls_names *out);
/* These, of which the certificate must have each. ERR_BADMSG: it has not. */
MUST_USE enum err tls_names_narrow(struct tls_names *names, const char *const *wanted,
                                   size_t count);
void tls_names_free(struct tls_names *names);
/* name is in lower case; a "*" stands for one label. */
enum tls_match tls_names_match(const struct tls_names *names, const char *name);
/* ASCII lower case; false when it has no room. */
bool tls_names_lower(const char *p, size_t len, char out[TLS_NAME_MAX + 1]);

#endif
