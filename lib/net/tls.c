#include "net/tls_priv.h"

#include "crypto/hash.h"
#include "net/address.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define CIPHERS_1_2                                                                            \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CHAIN_CERTS_MAX 8
#define CLIENT_CAS_MAX 64

static BIO *
bio_of(struct slice s)
{
    return s.len > INT32_MAX ? NULL : BIO_new_mem_buf(s.p, (int)s.len);
}

static enum err
use_certificate(SSL_CTX *ctx, struct slice cert_pem, struct slice key_pem, const char **why)
{
    BIO *bio = bio_of(cert_pem);
    X509 *leaf = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    EVP_PKEY *key = NULL;
    BIO *key_bio = NULL;
    X509 *next;
    enum err e = ERR_BADMSG;

    *why = "the certificate is not PEM";
    if (leaf == NULL || SSL_CTX_use_certificate(ctx, leaf) != 1)
        goto out;
    for (int i = 0; i < CHAIN_CERTS_MAX; i++) {
        next = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (next == NULL)
            break;
        if (SSL_CTX_add0_chain_cert(ctx, next) != 1) {
            X509_free(next);
            goto out;
        }
    }
    *why = "the private key is not PEM";
    key_bio = bio_of(key_pem);
    key = key_bio == NULL ? NULL : PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    if (key == NULL || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        goto out;
    *why = "the private key does not belong to the certificate";
    if (SSL_CTX_check_private_key(ctx) != 1)
        goto out;
    e = ERR_OK;
out:
    ERR_clear_error();
    EVP_PKEY_free(key);
    X509_free(leaf);
    BIO_free(key_bio);
    BIO_free(bio);
    return e;
}

/* Trusts the CAs of a PEM text; for servers also names them to clients. */
static enum err
use_cas(SSL_CTX *ctx, struct slice pem, bool server, const char **why)
{
    BIO *bio = bio_of(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    enum err e = ERR_BADMSG;
    int count = 0;

    *why = "the CA file holds no usable PEM certificate";
    if (bio == NULL)
        return ERR_NOMEM;
    for (; count < CLIENT_CAS_MAX; count++) {
        X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        bool ok;

        if (ca == NULL)
            break;
        ok = X509_STORE_add_cert(store, ca) == 1 && (!server || SSL_CTX_add_client_CA(ctx, ca));
        X509_free(ca);
        if (!ok)
            goto out;
    }
    if (count > 0)
        e = ERR_OK;
out:
    ERR_clear_error();
    BIO_free(bio);
    return e;
}

static SSL_CTX *
context(const SSL_METHOD *method, bool mesh)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* A record with its head in one system call. */
    SSL_CTX_set_read_ahead(ctx, 1);
    (void)SSL_CTX_set_max_early_data(ctx, 0);
    if (SSL_CTX_set_min_proto_version(ctx, mesh ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    if (mesh) {
        (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        (void)SSL_CTX_set_num_tickets(ctx, 0);
    }
    return ctx;
}

/* ALPN (RFC 7301): http/1.1 only; a client that offers other protocols alone is refused. */
static int
select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
            unsigned in_len, void *arg)
{
    static const unsigned char ours[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    unsigned char *chosen = NULL;

    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof(ours), in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

enum err
tls_server_new(const struct tls_server_opts *opts, struct tls **out, const char **why)
{
    struct tls *t = calloc(1, sizeof(*t));
    int mode = SSL_VERIFY_NONE;
    enum err e = ERR_NOMEM;

    *why = "out of memory";
    if (t == NULL)
        return ERR_NOMEM;
    atomic_init(&t->references, 1);
    t->server = true;
    t->ctx = context(TLS_server_method(), opts->mesh);
    if (t->ctx == NULL)
        goto fail;
    e = use_certificate(t->ctx, opts->cert_pem, opts->key_pem, why);
    if (e != ERR_OK)
        goto fail;
    if (opts->client_auth != TLS_CLIENT_NONE) {
        e = use_cas(t->ctx, opts->client_ca_pem, true, why);
        if (e != ERR_OK)
            goto fail;
        /* A resumed session has no verified chain, which says whom a certificate speaks for. */
        (void)SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
        (void)SSL_CTX_set_num_tickets(t->ctx, 0);
        (void)SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET);
        mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;
        if (opts->client_auth == TLS_CLIENT_REQUIRED)
            mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    }
    SSL_CTX_set_verify(t->ctx, mode, NULL);
    SSL_CTX_set_alpn_select_cb(t->ctx, select_alpn, NULL);
    (void)SSL_CTX_set_session_id_context(t->ctx, (const unsigned char *)"portolan", 8);
    *out = t;
    return ERR_OK;

fail:
    SSL_CTX_free(t->ctx);
    free(t);
    return e;
}

enum err
tls_client_new(const struct tls_client_opts *opts, struct tls **out, const char **why)
{
    struct tls *t = calloc(1, sizeof(*t));
    enum err e = ERR_NOMEM;

    *why = "out of memory";
    if (t == NULL)
        return ERR_NOMEM;
    atomic_init(&t->references, 1);
    t->ctx = context(TLS_client_method(), opts->mesh);
    if (t->ctx == NULL)
        goto fail;
    /* An answer that ends with the connection is whole only when the server said so. */
    (void)SSL_CTX_clear_options(t->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (opts->cert_pem.len > 0) {
        e = use_certificate(t->ctx, opts->cert_pem, opts->key_pem, why);
        if (e != ERR_OK)
            goto fail;
    }
    *why = "neither a CA nor a public key to verify the server by";
    e = ERR_BADMSG;
    if (opts->ca_pem.len == 0 && opts->spki_sha256 == NULL)
        goto fail;
    if (opts->ca_pem.len > 0) {
        e = use_cas(t->ctx, opts->ca_pem, false, why);
        if (e != ERR_OK)
            goto fail;
    }
    /* A pinned key is checked after the handshake, before the first byte goes out. */
    SSL_CTX_set_verify(t->ctx, opts->ca_pem.len > 0 ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (opts->spki_sha256 != NULL) {
        t->pinned = true;
        memcpy(t->spki_sha256, opts->spki_sha256, sizeof(t->spki_sha256));
    }
    t->check_host = opts->check_host && opts->ca_pem.len > 0;
    if (opts->host != NULL && !slice_copy_str(slice_str(opts->host), t->host, sizeof(t->host)))
        goto fail;
    *out = t;
    return ERR_OK;

fail:
    SSL_CTX_free(t->ctx);
    free(t);
    return e;
}

struct tls *
tls_ref(struct tls *t)
{
    atomic_fetch_add_explicit(&t->references, 1, memory_order_relaxed);
    return t;
}

void
tls_unref(struct tls **out)
{
    struct tls *t = *out;

    *out = NULL;
    if (t == NULL || atomic_fetch_sub_explicit(&t->references, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(t->ctx);
    free(t);
}

SSL *
tls_session(struct tls *t, int fd)
{
    SSL *ssl = SSL_new(t->ctx);
    struct address literal;
    bool is_ip;

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1)
        goto fail;
    if (t->server) {
        SSL_set_accept_state(ssl);
        return ssl;
    }
    SSL_set_connect_state(ssl);
    is_ip = address_parse(t->host, 0, &literal) == ERR_OK;
    if (t->host[0] != '\0' && !is_ip && SSL_set_tlsext_host_name(ssl, t->host) != 1)
        goto fail;
    if (t->check_host) {
        X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
        int ok = is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, t->host)
                       : X509_VERIFY_PARAM_set1_host(param, t->host, 0);

        if (ok != 1)
            goto fail;
    }
    return ssl;

fail:
    SSL_free(ssl);
    return NULL;
}

bool
tls_peer_ok(const struct tls *t, SSL *ssl)
{
    X509 *peer;
    unsigned char *der = NULL;
    uint8_t digest[32];
    int len;

    if (!t->pinned)
        return true;
    peer = SSL_get1_peer_certificate(ssl);
    if (peer == NULL)
        return false;
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(peer), &der);
    X509_free(peer);
    if (len <= 0)
        return false;
    hash_sha256(slice_of(der, (size_t)len), digest);
    OPENSSL_free(der);
    return hash_equal(slice_of(digest, sizeof(digest)),
                      slice_of(t->spki_sha256, sizeof(t->spki_sha256)));
}
