#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TLS contexts over OpenSSL: immutable once published, shared by all threads, counted. */

#define TLS_CERTS_MAX 32 /* of one listener */

struct tls;

/* Why a handshake failed: the log and the metric's label. X(enum, word). */
#define TLS_FAULT_LIST(X)                                                                  \
    X(TLS_FAULT_NONE, "none")                                                              \
    X(TLS_FAULT_PROTOCOL, "protocol") /* nothing in common, malformed, the peer refused */ \
    X(TLS_FAULT_GONE, "gone")         /* the peer left */                                  \
    X(TLS_FAULT_TIMEOUT, "timeout")                                                        \
    X(TLS_FAULT_CERT_MISSING, "certificate_missing")                                       \
    X(TLS_FAULT_CERT_UNTRUSTED, "certificate_untrusted")                                   \
    X(TLS_FAULT_CERT_EXPIRED, "certificate_expired")                                       \
    X(TLS_FAULT_CERT_REVOKED, "certificate_revoked")                                       \
    X(TLS_FAULT_CRL_EXPIRED, "crl_expired") /* whether it is revoked can't be known */     \
    X(TLS_FAULT_CRL_MISSING, "crl_missing") /* nor here */
#define TLS_FAULT_ENUM_ROW(name, word) name,
enum tls_fault { TLS_FAULT_LIST(TLS_FAULT_ENUM_ROW) TLS_FAULT_COUNT };
#undef TLS_FAULT_ENUM_ROW
const char *tls_fault_text(enum tls_fault f);

enum tls_client_auth { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };

struct tls_server_opts {
    struct slice cert_pem; /* chain, leaf first */
    struct slice key_pem;
    struct slice client_ca_pem;  /* empty with TLS_CLIENT_NONE */
    struct slice client_crl_pem; /* empty: revocation is not looked at */
    enum tls_client_auth client_auth;
    bool mesh;                /* TLS 1.3 only, no resumption */
    const char *const *names; /* that the certificate is for; none: all that it names */
    size_t name_count;
    const char *const *hosts; /* the certificate must name one of these; none: not checked */
    size_t host_count;
};
/* ERR_BADMSG: certificate, key, CA or CRL unusable; *why (static text) names which. Tickets are
 * sealed with keys of its own until tls_tickets_adopt(). */
MUST_USE enum err tls_server_new(const struct tls_server_opts *opts, struct tls **out,
                                 const char **why);

/* One more certificate, chosen when the client asks (SNI) for a name of it: exact, then
 * `*.` for one label; the first one serves all others. */
struct tls_cert_opts {
    struct slice cert_pem;
    struct slice key_pem;
    const char *const *names; /* none: all that the certificate names */
    size_t name_count;
    const char *const *hosts;
    size_t host_count;
};
/* Before it is published. ERR_FULL past TLS_CERTS_MAX; else as tls_server_new(). */
MUST_USE enum err tls_server_add(struct tls *t, const struct tls_cert_opts *opts, const char **why);
/* Before it is published: sessions of `from` can be resumed, where they are still lawful. */
void tls_tickets_adopt(struct tls *t, const struct tls *from);

struct tls_client_opts {
    struct slice cert_pem; /* empty: no client certificate */
    struct slice key_pem;
    struct slice ca_pem;        /* empty: the public key is pinned instead */
    struct slice crl_pem;       /* empty: revocation is not looked at */
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
