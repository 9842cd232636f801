/* The listening side: which certificate a client gets (SNI), how clients are verified, which
 * protocol is spoken (ALPN). */

#include "net/tls_priv.h"

#include "base/check.h"
#include "net/address.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- SNI ---------------------------------------------------------------------------- */

/* The one host name of the extension (RFC 6066 section 3); NULL: it is malformed. */
static const char *
sni_of(const unsigned char *p, size_t len, size_t *name_len)
{
    if (len < 5 || (size_t)(p[0] << 8 | p[1]) != len - 2 || p[2] != TLSEXT_NAMETYPE_host_name)
        return NULL;
    *name_len = (size_t)(p[3] << 8 | p[4]);
    if (*name_len != len - 5 || *name_len == 0 || memchr(p + 5, '\0', *name_len) != NULL)
        return NULL;
    return (const char *)p + 5;
}

static const struct tls_cert *
choose(const struct tls *t, const char *name)
{
    const struct tls_cert *best = &t->certs[0];
    enum tls_match best_match = TLS_MATCH_NONE;

    for (size_t i = 0; i < t->cert_count; i++) {
        enum tls_match match = tls_names_match(&t->certs[i].names, name);

        if (match > best_match) {
            best = &t->certs[i];
            best_match = match;
        }
    }
    return best;
}

/* Before OpenSSL looks at a ticket: that depends on the name. */
static int
on_hello(SSL *ssl, int *alert, void *context)
{
    const struct tls *t = context;
    struct tls_hello *hello = SSL_get_app_data(ssl);
    const unsigned char *ext = NULL;
    size_t ext_len = 0;
    size_t len = 0;
    const char *asked = NULL;
    char name[TLS_NAME_MAX + 1] = "";

    *alert = SSL_AD_ILLEGAL_PARAMETER;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &ext_len) == 1) {
        asked = sni_of(ext, ext_len, &len);
        if (asked == NULL || !tls_names_lower(asked, len, name))
            return SSL_CLIENT_HELLO_ERROR;
    }
    /* After a HelloRetryRequest: what was chosen by must not have changed. */
    if (hello->seen)
        return strcmp(hello->name == NULL ? "" : hello->name, name) == 0 ? SSL_CLIENT_HELLO_SUCCESS
                                                                         : SSL_CLIENT_HELLO_ERROR;
    hello->seen = true;
    if (asked == NULL)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_INTERNAL_ERROR;
    hello->name = slice_dup(slice_str(name));
    if (hello->name == NULL || SSL_set_SSL_CTX(ssl, choose(t, name)->ctx) == NULL)
        return SSL_CLIENT_HELLO_ERROR;
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* The name was heard; the session keeps it. */
static int
on_name(SSL *ssl, int *alert, void *context)
{
    (void)alert;
    (void)context;
    return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) == NULL ? SSL_TLSEXT_ERR_NOACK
                                                                      : SSL_TLSEXT_ERR_OK;
}

/* ---- certificates ------------------------------------------------------------------- */

static bool
names_any(const struct tls_names *names, X509 *leaf, const char *const *hosts, size_t count)
{
    struct address literal;
    char host[TLS_NAME_MAX + 1];

    for (size_t i = 0; i < count; i++) {
        if (address_parse(hosts[i], 0, &literal) == ERR_OK) {
            if (X509_check_ip_asc(leaf, hosts[i], 0) == 1)
                return true;
        } else if (tls_names_lower(hosts[i], strlen(hosts[i]), host) &&
                   tls_names_match(names, host) != TLS_MATCH_NONE) {
            return true;
        }
    }
    return count == 0;
}

static enum err
read_names(struct tls_cert *cert, const struct tls_cert_opts *opts, const char **why)
{
    X509 *leaf = SSL_CTX_get0_certificate(cert->ctx);
    enum err e = tls_names_read(leaf, &cert->names);

    *why = "the certificate has a name with a NUL, too long a name or too many";
    if (e != ERR_OK)
        return ERR_BADMSG;
    *why = "the certificate names none of the listener's hosts";
    if (!names_any(&cert->names, leaf, opts->hosts, opts->host_count))
        return ERR_BADMSG;
    *why = "the certificate does not name what its \"names\" say";
    if (opts->name_count > 0)
        e = tls_names_narrow(&cert->names, opts->names, opts->name_count);
    return e == ERR_OK ? ERR_OK : ERR_BADMSG;
}

static enum err
set_up(struct tls *t, struct tls_cert *cert, const struct tls_cert_opts *opts, const char **why)
{
    enum err e;

    *why = "out of memory";
    cert->ctx = tls_context(TLS_server_method(), t->mesh);
    if (cert->ctx == NULL)
        return ERR_NOMEM;
    e = tls_pem_certificate(cert->ctx, opts->cert_pem, opts->key_pem, why);
    if (e == ERR_OK)
        e = read_names(cert, opts, why);
    if (e != ERR_OK)
        return e;
    (void)SSL_CTX_set_app_data(cert->ctx, t);
    SSL_CTX_set_client_hello_cb(cert->ctx, on_hello, t);
    (void)SSL_CTX_set_tlsext_servername_callback(cert->ctx, on_name);
    SSL_CTX_set_alpn_select_cb(cert->ctx, select_alpn, NULL);
    (void)SSL_CTX_set_session_id_context(cert->ctx, (const unsigned char *)"portolan", 8);
    return ERR_OK;
}

static void
verify_clients(SSL_CTX *ctx, enum tls_client_auth auth)
{
    int mode = auth == TLS_CLIENT_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;

    if (auth == TLS_CLIENT_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
}

/* How clients are verified, in 32 bytes. */
static void
trust_of(const struct tls_server_opts *opts, uint8_t out[HASH_SIZE])
{
    uint8_t mode = (uint8_t)opts->client_auth;
    uint8_t part[HASH_SIZE];
    struct hash h;

    hash_init(&h);
    hash_add(&h, slice_of(&mode, 1));
    hash_sha256(opts->client_ca_pem, part);
    hash_add(&h, slice_of(part, sizeof(part)));
    hash_sha256(opts->client_crl_pem, part);
    hash_add(&h, slice_of(part, sizeof(part)));
    hash_final(&h, out);
}

enum err
tls_server_new(const struct tls_server_opts *opts, struct tls **out, const char **why)
{
    const struct tls_cert_opts first = {.cert_pem = opts->cert_pem,
                                        .key_pem = opts->key_pem,
                                        .names = opts->names,
                                        .name_count = opts->name_count,
                                        .hosts = opts->hosts,
                                        .host_count = opts->host_count};
    struct tls *t = calloc(1, sizeof(*t));
    enum err e;

    *why = "out of memory";
    if (t == NULL)
        return ERR_NOMEM;
    atomic_init(&t->references, 1);
    t->server = true;
    t->mesh = opts->mesh;
    t->client_auth = opts->client_auth;
    t->crl_until_s = INT64_MAX;
    t->cert_count = 1;
    t->socket_method = tls_socket_method();
    e = t->socket_method == NULL ? ERR_NOMEM : set_up(t, &t->certs[0], &first, why);
    if (e != ERR_OK)
        goto fail;
    t->ctx = t->certs[0].ctx;
    if (opts->client_auth != TLS_CLIENT_NONE) {
        e = tls_pem_cas(t->ctx, opts->client_ca_pem, true, why);
        if (e == ERR_OK && opts->client_crl_pem.len > 0)
            e = tls_pem_crls(t->ctx, opts->client_crl_pem, &t->crl_until_s, why);
        if (e != ERR_OK)
            goto fail;
    }
    verify_clients(t->ctx, t->client_auth);
    trust_of(opts, t->trust);
    *why = "out of memory";
    e = t->mesh ? ERR_OK : tls_resume_init(t);
    if (e != ERR_OK)
        goto fail;
    *out = t;
    return ERR_OK;

fail:
    tls_unref(&t);
    return e;
}

enum err
tls_server_add(struct tls *t, const struct tls_cert_opts *opts, const char **why)
{
    struct tls_cert *cert = &t->certs[t->cert_count];
    STACK_OF(X509_NAME) * cas;
    X509_STORE *store = SSL_CTX_get_cert_store(t->ctx);
    enum err e;

    ASSERT(t->server && !t->mesh);
    *why = "too many certificates";
    if (t->cert_count == TLS_CERTS_MAX)
        return ERR_FULL;
    e = set_up(t, cert, opts, why);
    if (e != ERR_OK)
        goto fail;
    /* Clients are verified alike, whichever certificate they get. */
    SSL_CTX_set1_cert_store(cert->ctx, store);
    cas = SSL_dup_CA_list(SSL_CTX_get_client_CA_list(t->ctx));
    SSL_CTX_set_client_CA_list(cert->ctx, cas);
    verify_clients(cert->ctx, t->client_auth);
    t->cert_count++;
    return ERR_OK;

fail:
    SSL_CTX_free(cert->ctx);
    tls_names_free(&cert->names);
    *cert = (struct tls_cert){0};
    return e;
}

void
tls_tickets_adopt(struct tls *t, const struct tls *from)
{
    if (t->tickets == NULL || from->tickets == NULL)
        return;
    tls_tickets_unref(&t->tickets);
    t->tickets = tls_tickets_ref(from->tickets);
}
