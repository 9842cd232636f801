#include "net/tls_priv.h"

#include "base/check.h"
#include "net/address.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define CIPHERS_1_2                                                                            \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SIGNATURES                                                                  \
    "ECDSA+SHA256:ed25519:RSA-PSS+SHA256:ECDSA+SHA384:ECDSA+SHA512:RSA-PSS+SHA384:" \
    "RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512"
#define SECURITY_LEVEL 2 /* 112 bits: RSA from 2,048, no SHA-1 */

#define TLS_FAULT_WORD(name, word) [name] = word,
static const char *const fault_words[TLS_FAULT_COUNT] = {TLS_FAULT_LIST(TLS_FAULT_WORD)};
#undef TLS_FAULT_WORD

const char *
tls_fault_text(enum tls_fault f)
{
    ASSERT(f < TLS_FAULT_COUNT);
    return fault_words[f];
}

SSL_CTX *
tls_context(const SSL_METHOD *method, bool mesh)
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
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    SSL_CTX_set_verify_depth(ctx, TLS_CHAIN_MAX - 2); /* counts intermediates */
    /* Sessions are kept in tickets by the clients, or not at all. */
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_min_proto_version(ctx, mesh ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, CIPHERS_1_3) != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1 ||
        SSL_CTX_set1_sigalgs_list(ctx, SIGNATURES) != 1 ||
        SSL_CTX_set1_client_sigalgs_list(ctx, SIGNATURES) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    if (mesh) {
        (void)SSL_CTX_set_num_tickets(ctx, 0);
        (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    }
    return ctx;
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
    t->mesh = opts->mesh;
    t->crl_until_s = INT64_MAX;
    t->socket_method = tls_socket_method();
    t->ctx = tls_context(TLS_client_method(), opts->mesh);
    if (t->ctx == NULL || t->socket_method == NULL)
        goto fail;
    /* An answer that ends with the connection is whole only when the server said so. */
    (void)SSL_CTX_clear_options(t->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (opts->cert_pem.len > 0) {
        e = tls_pem_certificate(t->ctx, opts->cert_pem, opts->key_pem, why);
        if (e != ERR_OK)
            goto fail;
    }
    *why = "neither a CA nor a public key to verify the server by";
    e = ERR_BADMSG;
    if (opts->ca_pem.len == 0 && opts->spki_sha256 == NULL)
        goto fail;
    if (opts->ca_pem.len > 0) {
        e = tls_pem_cas(t->ctx, opts->ca_pem, false, why);
        if (e == ERR_OK && opts->crl_pem.len > 0)
            e = tls_pem_crls(t->ctx, opts->crl_pem, &t->crl_until_s, why);
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
    if (!t->mesh)
        tls_reuse_allow(t);
    *out = t;
    return ERR_OK;

fail:
    SSL_CTX_free(t->ctx);
    BIO_meth_free(t->socket_method);
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
    if (!t->server)
        SSL_CTX_free(t->ctx);
    for (size_t i = 0; i < t->cert_count; i++) {
        SSL_CTX_free(t->certs[i].ctx);
        tls_names_free(&t->certs[i].names);
    }
    tls_tickets_unref(&t->tickets);
    BIO_meth_free(t->socket_method);
    free(t);
}

SSL *
tls_session(struct tls *t, BIO *bio, struct tls_hello *hello)
{
    SSL *ssl = SSL_new(t->ctx);
    struct address literal;
    bool is_ip;

    if (ssl == NULL) {
        BIO_free(bio);
        return NULL;
    }
    SSL_set_bio(ssl, bio, bio);
    if (t->server) {
        (void)SSL_set_app_data(ssl, hello);
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
