/* What TLS adds to a connection: the handshake, the records, and who the peer is. */

#include "net/conn_priv.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

/* ---- the socket, as OpenSSL sees it -------------------------------------------------------- */

/* OpenSSL's own socket BIO uses read() and write(), which go through the layer of files and
 * raise SIGPIPE; these go to the socket. */

static bool
must_wait(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static int
socket_read(BIO *bio, char *at, int room)
{
    struct conn *c = BIO_get_data(bio);
    ssize_t n = recv(c->fd, at, (size_t)room, 0);

    BIO_clear_retry_flags(bio);
    if (n < 0 && must_wait())
        BIO_set_retry_read(bio);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)n;
}

static int
socket_write(BIO *bio, const char *at, int len)
{
    struct conn *c = BIO_get_data(bio);
    ssize_t n = send(c->fd, at, (size_t)len, MSG_NOSIGNAL);

    BIO_clear_retry_flags(bio);
    if (n < 0 && must_wait())
        BIO_set_retry_write(bio);
    return (int)n;
}

static long
socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    default:
        return 0;
    }
}

BIO_METHOD *
tls_socket_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_START | BIO_TYPE_SOURCE_SINK, "connection");

    if (m != NULL &&
        (BIO_meth_set_read(m, socket_read) != 1 || BIO_meth_set_write(m, socket_write) != 1 ||
         BIO_meth_set_ctrl(m, socket_control) != 1)) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

/* ---- life ----------------------------------------------------------------------------------- */

enum err
conn_tls_init(struct conn *c, struct tls *tls, struct tls_reuse *reuse)
{
    BIO *bio = BIO_new(tls->socket_method);

    if (bio == NULL)
        return ERR_NOMEM;
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    c->ssl = tls_session(tls, bio, &c->hello);
    if (c->ssl == NULL)
        return ERR_NOMEM;
    c->tls = tls_ref(tls);
    if (reuse != NULL)
        tls_reuse_begin(reuse, tls, c->ssl);
    return ERR_OK;
}

void
conn_tls_fini(struct conn *c)
{
    /* An end without its close is an error of this connection, not of the session: OpenSSL would
     * make that one useless for those that go on with it (RFC 4346 dropped this in TLS 1.1). */
    if (c->ssl != NULL)
        SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    c->ssl = NULL;
    tls_unref(&c->tls);
    OPENSSL_free(c->peer_der);
    c->peer_der = NULL;
    free(c->hello.name);
    c->hello.name = NULL;
}

/* What an SSL call that did not succeed asks for; ERR_AGAIN when it only has to wait. */
static enum err
tls_wait(struct conn *c, int result)
{
    switch (SSL_get_error(c->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return ERR_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        conn_want_write(c, true);
        return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return ERR_EOF;
    default:
        return ERR_IO;
    }
}

static enum tls_fault
verify_fault(long result)
{
    switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_FAULT_CERT_EXPIRED;
    case X509_V_ERR_CERT_REVOKED:
        return TLS_FAULT_CERT_REVOKED;
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_NOT_YET_VALID:
        return TLS_FAULT_CRL_EXPIRED;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        return TLS_FAULT_CRL_MISSING;
    default:
        return TLS_FAULT_CERT_UNTRUSTED;
    }
}

static enum tls_fault
handshake_fault(struct conn *c, int ssl_error)
{
    unsigned long last = ERR_peek_last_error();
    long result = SSL_get_verify_result(c->ssl);

    if (result != X509_V_OK)
        return verify_fault(result);
    if (ERR_GET_LIB(last) == ERR_LIB_SSL &&
        ERR_GET_REASON(last) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        return TLS_FAULT_CERT_MISSING;
    if (ERR_GET_LIB(last) == ERR_LIB_SSL &&
        ERR_GET_REASON(last) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return TLS_FAULT_GONE;
    return ssl_error == SSL_ERROR_SSL ? TLS_FAULT_PROTOCOL : TLS_FAULT_GONE;
}

enum err
conn_tls_handshake(struct conn *c)
{
    int n;

    ERR_clear_error();
    n = SSL_do_handshake(c->ssl);
    if (n == 1) {
        if (tls_peer_ok(c->tls, c->ssl))
            return ERR_OK;
        c->fault = TLS_FAULT_CERT_UNTRUSTED;
        return ERR_AUTH;
    }
    if (tls_wait(c, n) == ERR_AGAIN)
        return ERR_AGAIN;
    c->fault = handshake_fault(c, SSL_get_error(c->ssl, n));
    return SSL_get_verify_result(c->ssl) != X509_V_OK ? ERR_AUTH : ERR_IO;
}

enum err
conn_tls_read(struct conn *c, uint8_t *at, size_t room, size_t *out)
{
    int n;

    ERR_clear_error();
    n = SSL_read(c->ssl, at, room > INT32_MAX ? INT32_MAX : (int)room);
    if (n <= 0)
        return tls_wait(c, n);
    *out = (size_t)n;
    return ERR_OK;
}

enum err
conn_tls_write(struct conn *c, struct slice bytes, size_t *out)
{
    int n;

    ERR_clear_error();
    n = SSL_write(c->ssl, bytes.p, bytes.len > INT32_MAX ? INT32_MAX : (int)bytes.len);
    if (n <= 0)
        return tls_wait(c, n);
    *out = (size_t)n;
    return ERR_OK;
}

bool
conn_tls_holds(const struct conn *c)
{
    return SSL_has_pending(c->ssl) == 1;
}

void
conn_tls_rest(struct conn *c)
{
    (void)SSL_free_buffers(c->ssl);
}

void
conn_tls_goodbye(struct conn *c)
{
    (void)SSL_shutdown(c->ssl);
}

struct slice
conn_peer_cert(struct conn *c)
{
    X509 *peer;
    int len;

    if (c->ssl == NULL)
        return SLICE_NONE;
    if (c->peer_der == NULL) {
        peer = SSL_get1_peer_certificate(c->ssl);
        if (peer == NULL)
            return SLICE_NONE;
        len = i2d_X509(peer, &c->peer_der);
        X509_free(peer);
        if (len <= 0)
            return SLICE_NONE;
        c->peer_der_len = (size_t)len;
    }
    return slice_of(c->peer_der, c->peer_der_len);
}

size_t
conn_peer_chain_sha256(struct conn *c, uint8_t (*out)[32], size_t max)
{
    return c->ssl == NULL ? 0 : tls_resume_chain(c->ssl, out, max);
}

const char *
conn_sni(struct conn *c)
{
    return c->hello.name;
}

bool
conn_is_resumed(const struct conn *c)
{
    return c->ssl != NULL && SSL_session_reused(c->ssl) == 1;
}

enum tls_fault
conn_tls_fault(const struct conn *c)
{
    return c->fault;
}
