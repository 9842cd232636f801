#ifndef NET_TLS_PRIV_H
#define NET_TLS_PRIV_H

#include "net/tls.h"

#include "crypto/hash.h"
#include "net/tls_names.h"
#include "net/tls_tickets.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

/* What the files of TLS share: tls.c is the context and its life, tls_pem.c what it is made of,
 * tls_server.c which certificate a client gets, tls_names.c which names that one has,
 * tls_tickets.c the keys of tickets, tls_resume.c what a ticket says, tls_reuse.c the sessions
 * that a client keeps. */

#define TLS_CHAIN_MAX 8 /* of a verified chain: leaf, intermediates, root */

struct tls_cert {
    SSL_CTX *ctx;
    struct tls_names names;
};

struct tls {
    atomic_uint references;
    SSL_CTX *ctx; /* of a server: that of certs[0] */
    BIO_METHOD *socket_method;
    bool server;
    bool pinned;
    uint8_t spki_sha256[HASH_SIZE];
    char host[254];
    bool check_host;
    bool mesh;
    int64_t crl_until_s; /* INT64_MAX without CRLs */
    /* Servers only. */
    enum tls_client_auth client_auth;
    struct tls_cert certs[TLS_CERTS_MAX];
    size_t cert_count;
    struct tls_tickets *tickets; /* NULL with mesh */
    uint8_t trust[HASH_SIZE];    /* how clients are verified: a ticket of another is void */
};

/* What a server's connection heard before the handshake chose anything. */
struct tls_hello {
    bool seen;
    char *name; /* asked for (SNI), in lower case; NULL: none. Freed with the connection */
};

/* conn_tls.c: how a session reaches the socket of its connection; NULL without memory. */
BIO_METHOD *tls_socket_method(void);

/* tls.c: a context with what both sides have in common; NULL without memory. */
SSL_CTX *tls_context(const SSL_METHOD *method, bool mesh);
/* A new session object for one connection over bio (takes); NULL without memory. hello: a
 * server's, borrowed for the session's life. */
SSL *tls_session(struct tls *t, BIO *bio, struct tls_hello *hello);
/* After the handshake: pin and name hold. */
bool tls_peer_ok(const struct tls *t, SSL *ssl);

/* tls_reuse.c: tickets of a client's context are told; a session goes on with one that is kept. */
void tls_reuse_allow(struct tls *t);
struct tls_reuse;
void tls_reuse_begin(struct tls_reuse *r, struct tls *t, SSL *ssl);

/* tls_pem.c: each names in *why what can't be used. */
MUST_USE enum err tls_pem_certificate(SSL_CTX *ctx, struct slice cert_pem, struct slice key_pem,
                                      const char **why);
/* Trusts the CAs; as a server, also names them to clients. */
MUST_USE enum err tls_pem_cas(SSL_CTX *ctx, struct slice pem, bool server, const char **why);
/* From now on every certificate is looked up in these CRLs, each CA in its own; *until_s: when
 * the first CA's newest one ends. After tls_pem_cas(). */
MUST_USE enum err tls_pem_crls(SSL_CTX *ctx, struct slice pem, int64_t *until_s, const char **why);

/* tls_resume.c: tickets on, for the first context of a server. */
MUST_USE enum err tls_resume_init(struct tls *t);
/* SHA-256 of each certificate of the chain that the peer was verified by, in this handshake or
 * in the one that this session began with. */
size_t tls_resume_chain(SSL *ssl, uint8_t (*out)[HASH_SIZE], size_t max);
/* Seconds of wall time until a certificate's or CRL's time is over. */
int64_t tls_resume_end_s(const ASN1_TIME *end);

#endif
