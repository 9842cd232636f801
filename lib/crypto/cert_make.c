/* Making certificates (RFC 5280 profile of cert.h) for local meshes and tests. */
#include "crypto/cert.h"

#include "crypto/key_priv.h"
#include "crypto/random.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>

#define SERIAL_SIZE 16    /* 128 random bits (RFC 5280 section 4.1.2.2 allows 160) */
#define NAME_MAX_BYTES 64 /* ub-common-name */
#define ISSUER_PEM_MAX (64u << 10)
#define X509_VERSION 2 /* written as one less than it is called */
#define MS_PER_SECOND 1000

/* ---- Parts ------------------------------------------------------------------------ */

static bool
set_serial(X509 *cert)
{
    uint8_t bytes[SERIAL_SIZE];
    BIGNUM *n;
    bool ok;

    random_fill(bytes, sizeof(bytes));
    n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
    BN_free(n);
    return ok;
}

static bool
set_times(X509 *cert, const struct cert_request *request)
{
    return request->not_before_ms <= request->not_after_ms &&
           ASN1_TIME_adj(X509_getm_notBefore(cert), request->not_before_ms / MS_PER_SECOND, 0, 0) !=
               NULL &&
           ASN1_TIME_adj(X509_getm_notAfter(cert), request->not_after_ms / MS_PER_SECOND, 0, 0) !=
               NULL;
}

static bool
set_subject(X509 *cert, const char *common_name)
{
    size_t len = strlen(common_name);

    return len > 0 && len <= NAME_MAX_BYTES &&
           X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_UTF8,
                                      (const unsigned char *)common_name, (int)len, -1, 0) == 1;
}

/* issuer may be cert itself, once its own subject key identifier is in. */
static bool
add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX ctx;
    bool ok;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

static bool
add_extensions(X509 *cert, X509 *issuer, bool is_ca)
{
    if (!add_extension(cert, issuer, NID_subject_key_identifier, "hash") ||
        !add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always"))
        return false;
    if (is_ca)
        return add_extension(cert, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
               add_extension(cert, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
    return add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
           add_extension(cert, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
}

/* ---- Subject alternative names ------------------------------------------------------ */

/* Built as objects, not through OpenSSL's configuration syntax, in which a comma inside
 * a name would begin another one. Takes value. */
static bool
push_name(GENERAL_NAMES *names, int type, ASN1_STRING *value)
{
    GENERAL_NAME *name = GENERAL_NAME_new();

    if (name == NULL || value == NULL) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(value);
        return false;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) == 0) {
        GENERAL_NAME_free(name);
        return false;
    }
    return true;
}

static bool
push_text(GENERAL_NAMES *names, int type, const char *text, size_t max)
{
    size_t len = strlen(text);
    ASN1_STRING *value;

    if (len == 0 || len >= max)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f)
            return false;
    value = ASN1_STRING_type_new(V_ASN1_IA5STRING);
    if (value != NULL && ASN1_STRING_set(value, text, (int)len) != 1) {
        ASN1_STRING_free(value);
        return false;
    }
    return push_name(names, type, value);
}

static bool
push_address(GENERAL_NAMES *names, const char *literal)
{
    uint8_t bytes[sizeof(struct in6_addr)];
    ASN1_STRING *value;
    int len;

    if (inet_pton(AF_INET, literal, bytes) == 1)
        len = sizeof(struct in_addr);
    else if (inet_pton(AF_INET6, literal, bytes) == 1)
        len = sizeof(struct in6_addr);
    else
        return false;
    value = ASN1_STRING_type_new(V_ASN1_OCTET_STRING);
    if (value != NULL && ASN1_STRING_set(value, bytes, len) != 1) {
        ASN1_STRING_free(value);
        return false;
    }
    return push_name(names, GEN_IPADD, value);
}

static bool
push_names(GENERAL_NAMES *names, const struct cert_request *request)
{
    if (request->spiffe != NULL && (!cert_spiffe_ok(slice_str(request->spiffe)) ||
                                    !push_text(names, GEN_URI, request->spiffe, CERT_URI_MAX)))
        return false;
    for (size_t i = 0; request->dns != NULL && request->dns[i] != NULL; i++)
        if (i == CERT_DNS_COUNT_MAX || !push_text(names, GEN_DNS, request->dns[i], CERT_DNS_MAX))
            return false;
    for (size_t i = 0; request->ips != NULL && request->ips[i] != NULL; i++)
        if (!push_address(names, request->ips[i]))
            return false;
    return true;
}

static bool
add_names(X509 *cert, const struct cert_request *request)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool ok = names != NULL && push_names(names, request);

    if (ok && sk_GENERAL_NAME_num(names) > 0)
        ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

/* ---- The whole ------------------------------------------------------------------------ */

/* Gives *out, or NULL in it for an empty text. */
static enum err
read_issuer(struct slice pem, const struct key *issuer_key, X509 **out)
{
    X509 *issuer;
    BIO *bio;

    *out = NULL;
    if (pem.len == 0)
        return ERR_OK;
    if (pem.len > ISSUER_PEM_MAX)
        return ERR_TOOBIG;
    bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    if (bio == NULL)
        return ERR_NOMEM;
    issuer = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (issuer == NULL || (X509_get_extension_flags(issuer) & EXFLAG_CA) == 0) {
        X509_free(issuer);
        return ERR_BADMSG;
    }
    if (X509_check_private_key(issuer, issuer_key->pkey) != 1) {
        X509_free(issuer);
        return ERR_AUTH;
    }
    *out = issuer;
    return ERR_OK;
}

/* issuer is cert itself for a self-signed one. */
static enum err
fill(X509 *cert, const struct cert_request *request, const struct key *subject_key, X509 *issuer)
{
    if (!set_subject(cert, request->common_name) || !set_times(cert, request))
        return ERR_BADMSG;
    if (X509_set_version(cert, X509_VERSION) != 1 || !set_serial(cert) ||
        X509_set_pubkey(cert, subject_key->pkey) != 1 ||
        X509_set_issuer_name(cert, X509_get_subject_name(issuer)) != 1 ||
        !add_extensions(cert, issuer, request->is_ca))
        return ERR_CRYPTO;
    return add_names(cert, request) ? ERR_OK : ERR_BADMSG;
}

static enum err
write_pem(X509 *cert, struct text *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    enum err e = ERR_CRYPTO;
    char *p = NULL;
    long len;

    if (bio == NULL)
        return ERR_NOMEM;
    if (PEM_write_bio_X509(bio, cert) == 1) {
        len = BIO_get_mem_data(bio, &p);
        text_add(out, slice_of(p, len > 0 ? (size_t)len : 0));
        e = text_ok(out) ? ERR_OK : ERR_TOOBIG;
    }
    BIO_free(bio);
    return e;
}

enum err
cert_make(const struct cert_request *request, const struct key *subject_key,
          struct slice issuer_pem, const struct key *issuer_key, struct text *out)
{
    /* Ed25519 hashes as part of signing and takes no digest of its own. */
    const EVP_MD *digest = issuer_key->alg == KEY_ES256 ? EVP_sha256() : NULL;
    X509 *cert, *issuer = NULL;
    enum err e;

    if (!issuer_key->is_private || (issuer_pem.len == 0 && issuer_key != subject_key))
        return ERR_FORBIDDEN;
    cert = X509_new();
    if (cert == NULL)
        return ERR_NOMEM;
    e = read_issuer(issuer_pem, issuer_key, &issuer);
    if (e == ERR_OK)
        e = fill(cert, request, subject_key, issuer != NULL ? issuer : cert);
    if (e == ERR_OK && X509_sign(cert, issuer_key->pkey, digest) <= 0)
        e = ERR_CRYPTO;
    if (e == ERR_OK)
        e = write_pem(cert, out);
    X509_free(issuer);
    X509_free(cert);
    ERR_clear_error();
    return e;
}
