#ifndef NET_TLS_PRIV_H
#define NET_TLS_PRIV_H

#include "net/tls.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

struct tls {
    atomic_uint references;
    SSL_CTX *ctx;
    bool server;
    bool pinned;
    uint8_t spki_sha256[32];
    char host[254];
    bool check_host;
};

/* A new session object for one connection; NULL without memory. */
SSL *tls_session(struct tls *t, int fd);
/* After the handshake: pin and name hold. */
bool tls_peer_ok(const struct tls *t, SSL *ssl);

#endif
