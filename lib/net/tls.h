#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* TLS contexts over OpenSSL: immutable once made, shared by all threads, counted. */

struct tls;

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };

struct tls_server_opts {
    struct slice cert_pem; /* chain, leaf first */
    struct slice key_pem;
    struct slice client_ca_pem; /* empty with TLS_CLIENT_NONE */
    enum tls_client_auth client_auth;
    bool mesh; /* TLS 1.3 only, no resumption */
};
/* ERR_BADMSG: certificate, key or CA unusable; *why (static text) names which. */
MUST_USE enum err tls_server_new(const struct tls_server_opts *opts, struct tls **out,
                                 const char **why);

struct tls_client_opts {
    struct slice cert_pem; /* empty: no client certificate */
    struct slice key_pem;
    struct slice ca_pem;        /* empty: the public key is pinned instead */
    const uint8_t *spki_sha256; /* 32 bytes or NULL; checked in addition when both are given */
    const char *host; /* SNI and, with ca_pem, the name (DNS or IP) that must be certified; or
                         NULL with check_host false */
    bool check_host;  /* false: the caller checks the identity (SPIFFE) itself */
    bool mesh;
};
MUST_USE enum err tls_client_new(const struct tls_client_opts *opts, struct tls **out,
                                 const char **why);
struct tls *tls_ref(struct tls *t);
void tls_unref(struct tls **t);

#endif
