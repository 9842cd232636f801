/* What a context is made of, from PEM texts: certificate and key, CAs, CRLs. Whatever can't be
 * used is refused when it is loaded, not when a client comes. */

#include "net/tls_priv.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define CHAIN_CERTS_MAX 8
#define CAS_MAX 64
#define CRLS_MAX 64
#define RSA_BITS_MIN 2048

static BIO *
bio_of(struct slice s)
{
    return s.len > INT32_MAX ? NULL : BIO_new_mem_buf(s.p, (int)s.len);
}

/* A key under a passphrase is no key for us: nobody is there to type it. */
static int
no_passphrase(char *out, int size, int writing, void *context)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

static enum err
use_chain(SSL_CTX *ctx, BIO *bio, const char **why)
{
    for (int i = 0;; i++) {
        X509 *next = PEM_read_bio_X509(bio, NULL, NULL, NULL);

        if (next == NULL)
            return ERR_OK;
        if (i == CHAIN_CERTS_MAX || SSL_CTX_add0_chain_cert(ctx, next) != 1) {
            X509_free(next);
            *why = "the certificate's chain is too long or holds a weak certificate";
            return ERR_BADMSG;
        }
    }
}

enum err
tls_pem_certificate(SSL_CTX *ctx, struct slice cert_pem, struct slice key_pem, const char **why)
{
    BIO *bio = bio_of(cert_pem);
    BIO *key_bio = bio_of(key_pem);
    X509 *leaf = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    EVP_PKEY *key = NULL;
    const EVP_PKEY *public = leaf == NULL ? NULL : X509_get0_pubkey(leaf);
    enum err e = ERR_BADMSG;

    *why = "the certificate is not PEM";
    if (public == NULL)
        goto out;
    *why = "the certificate's RSA key is shorter than 2048 bits";
    if (EVP_PKEY_is_a(public, "RSA") && EVP_PKEY_get_bits(public) < RSA_BITS_MIN)
        goto out;
    *why = "the certificate's key or signature is too weak or of an unknown kind";
    if (SSL_CTX_use_certificate(ctx, leaf) != 1)
        goto out;
    e = use_chain(ctx, bio, why);
    if (e != ERR_OK)
        goto out;
    e = ERR_BADMSG;
    *why = "the private key is not PEM, or needs a passphrase";
    key = key_bio == NULL ? NULL : PEM_read_bio_PrivateKey(key_bio, NULL, no_passphrase, NULL);
    if (key == NULL)
        goto out;
    *why = "the private key does not belong to the certificate";
    if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
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

enum err
tls_pem_cas(SSL_CTX *ctx, struct slice pem, bool server, const char **why)
{
    BIO *bio = bio_of(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    enum err e = ERR_BADMSG;
    int count = 0;

    *why = "the CA file holds no usable PEM certificate";
    if (bio == NULL)
        return pem.len == 0 ? ERR_BADMSG : ERR_NOMEM;
    for (; count < CAS_MAX; count++) {
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

static bool
is_of(X509_CRL *crl, X509 *ca)
{
    return X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(ca)) == 0 &&
           X509_CRL_verify(crl, X509_get0_pubkey(ca)) == 1;
}

/* When a CA's newest CRL ends; -1 without any. */
static int64_t
crl_end_s(STACK_OF(X509_CRL) * crls, X509 *ca)
{
    int64_t end = -1;

    for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
        X509_CRL *crl = sk_X509_CRL_value(crls, i);
        const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
        int64_t until;

        if (!is_of(crl, ca))
            continue;
        until = next == NULL ? INT64_MAX : tls_resume_end_s(next);
        if (until > end)
            end = until;
    }
    return end;
}

/* One CRL at least a CA: without, every certificate of it would be refused. */
static bool
cas_covered(X509_STORE *store, STACK_OF(X509_CRL) * crls, int64_t *until_s)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);

    *until_s = INT64_MAX;
    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        X509 *ca = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
        int64_t end = ca == NULL ? INT64_MAX : crl_end_s(crls, ca);

        if (end < 0)
            return false;
        if (end < *until_s)
            *until_s = end;
    }
    return true;
}

static bool
is_known(X509_STORE *store, X509_CRL *crl)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);

    for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        X509 *ca = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));

        if (ca != NULL && is_of(crl, ca))
            return true;
    }
    return false;
}

static void
free_crl(X509_CRL *crl)
{
    X509_CRL_free(crl);
}

enum err
tls_pem_crls(SSL_CTX *ctx, struct slice pem, int64_t *until_s, const char **why)
{
    BIO *bio = bio_of(pem);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    STACK_OF(X509_CRL) *crls = sk_X509_CRL_new_null();
    enum err e = ERR_BADMSG;

    *why = "the CRL file holds no PEM CRL, or too many";
    for (X509_CRL *crl; bio != NULL && crls != NULL;) {
        crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
        if (crl == NULL)
            break;
        if (sk_X509_CRL_num(crls) == CRLS_MAX || sk_X509_CRL_push(crls, crl) <= 0) {
            X509_CRL_free(crl);
            goto out;
        }
    }
    if (sk_X509_CRL_num(crls) <= 0)
        goto out;
    *why = "a CRL of the CRL file is signed by no CA of the CA file";
    for (int i = 0; i < sk_X509_CRL_num(crls); i++)
        if (!is_known(store, sk_X509_CRL_value(crls, i)))
            goto out;
    *why = "the CRL file has no CRL of one of the CAs";
    if (!cas_covered(store, crls, until_s))
        goto out;
    *why = "the CRL file can't be used";
    for (int i = 0; i < sk_X509_CRL_num(crls); i++)
        if (X509_STORE_add_crl(store, sk_X509_CRL_value(crls, i)) != 1)
            goto out;
    if (X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1)
        e = ERR_OK;
out:
    ERR_clear_error();
    sk_X509_CRL_pop_free(crls, free_crl);
    BIO_free(bio);
    return e;
}
