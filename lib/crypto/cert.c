/* Reading certificates for identity; making them is in cert_make.c.
 *
 * A name counts only if every reader sees the same one: no NUL, no other control or
 * foreign byte, no second URI beside a SPIFFE id. */
#include "crypto/cert.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#define PEM_MAX (1u << 20) /* a bundle; only its first certificate is read */
#define TRUST_DOMAIN_MAX 255
#define MS_PER_SECOND 1000
#define SECONDS_PER_DAY 86400

/* ---- SPIFFE-ID, section 2 ------------------------------------------------------ */

static bool
is_domain_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

static bool
is_segment(struct slice s)
{
    if (s.len == 0 || slice_is(s, ".") || slice_is(s, ".."))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_domain_char(s.p[i]) && !(s.p[i] >= 'A' && s.p[i] <= 'Z'))
            return false;
    return true;
}

/* Cuts "spiffe://" off; false when it is not there. */
static bool
cut_scheme(struct slice id, struct slice *rest)
{
    static const struct slice scheme = {(const uint8_t *)"spiffe://", 9};

    if (!slice_starts(id, scheme))
        return false;
    *rest = slice_of(id.p + scheme.len, id.len - scheme.len);
    return true;
}

bool
cert_spiffe_ok(struct slice id)
{
    struct slice rest, domain;

    if (id.len >= CERT_URI_MAX || !cut_scheme(id, &rest))
        return false;
    domain = slice_cut(&rest, '/');
    if (domain.len == 0 || domain.len > TRUST_DOMAIN_MAX)
        return false;
    for (size_t i = 0; i < domain.len; i++)
        if (!is_domain_char(domain.p[i]))
            return false;
    /* rest.p is NULL when no slash followed; a slash at the end leaves an empty segment. */
    while (rest.p != NULL)
        if (!is_segment(slice_cut(&rest, '/')))
            return false;
    return true;
}

/* ---- Subject alternative names --------------------------------------------------- */

static bool
is_visible_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7f)
            return false;
    return s.len > 0;
}

static struct slice
string_bytes(const ASN1_STRING *s)
{
    int len = ASN1_STRING_length(s);

    return slice_of(ASN1_STRING_get0_data(s), len > 0 ? (size_t)len : 0);
}

/* Whoever writes the scheme in another case means SPIFFE and fails its grammar. */
static bool
is_spiffe(struct slice uri)
{
    return slice_eq_nocase(slice_sub(uri, 0, 7), SLICE_LIT("spiffe:"));
}

static enum err
read_uri(struct slice uri, struct cert_facts *facts, size_t *uri_count)
{
    struct slice rest;

    (*uri_count)++;
    if (!is_spiffe(uri))
        return ERR_OK;
    if (uri.len >= CERT_URI_MAX)
        return ERR_TOOBIG;
    /* X509-SVID section 4.1: a leaf's id has a path. */
    if (!cert_spiffe_ok(uri) || !cut_scheme(uri, &rest) || slice_find(rest, '/') == rest.len)
        return ERR_BADMSG;
    return slice_copy_str(uri, facts->spiffe, sizeof(facts->spiffe)) ? ERR_OK : ERR_BADMSG;
}

static enum err
read_dns(struct slice name, struct cert_facts *facts)
{
    if (name.len >= CERT_DNS_MAX || facts->dns_count == CERT_DNS_COUNT_MAX)
        return ERR_TOOBIG;
    if (!slice_copy_str(name, facts->dns[facts->dns_count], CERT_DNS_MAX))
        return ERR_BADMSG;
    facts->dns_count++;
    return ERR_OK;
}

static enum err
read_name(const GENERAL_NAME *name, struct cert_facts *facts, size_t *uri_count)
{
    int type;
    const void *value = GENERAL_NAME_get0_value(name, &type);
    struct slice text;

    if (type != GEN_URI && type != GEN_DNS && type != GEN_EMAIL)
        return ERR_OK;
    text = string_bytes(value);
    if (!is_visible_ascii(text))
        return ERR_BADMSG;
    if (type == GEN_URI)
        return read_uri(text, facts, uri_count);
    return type == GEN_DNS ? read_dns(text, facts) : ERR_OK;
}

static enum err
read_names(const X509 *cert, struct cert_facts *facts)
{
    int found;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &found, NULL);
    size_t uri_count = 0;
    enum err e = ERR_OK;

    if (names == NULL)
        return found == -1 ? ERR_OK : ERR_BADMSG; /* else malformed, or there twice */
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && e == ERR_OK; i++)
        e = read_name(sk_GENERAL_NAME_value(names, i), facts, &uri_count);
    GENERAL_NAMES_free(names);
    if (e == ERR_OK && facts->spiffe[0] != '\0' && uri_count > 1)
        return ERR_BADMSG;
    return e;
}

/* ---- The rest --------------------------------------------------------------------- */

static bool
read_time(const ASN1_TIME *t, int64_t *out_ms)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days, seconds;
    bool ok = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;

    ASN1_TIME_free(epoch);
    if (ok)
        *out_ms = ((int64_t)days * SECONDS_PER_DAY + seconds) * MS_PER_SECOND;
    return ok;
}

static bool
read_spki(const X509 *cert, uint8_t out[HASH_SIZE])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

    if (len <= 0)
        return false;
    hash_sha256(slice_of(der, (size_t)len), out);
    OPENSSL_free(der);
    return true;
}

/* X509-SVID section 4: a certificate with a workload's id neither is a CA nor may sign
 * certificates or revocation lists. */
static bool
may_sign_others(X509 *cert)
{
    uint32_t usage = X509_get_key_usage(cert); /* all bits set when there is none */

    if ((X509_get_extension_flags(cert) & EXFLAG_CA) != 0)
        return true;
    return usage != UINT32_MAX && (usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0;
}

static enum err
read_facts(X509 *cert, struct cert_facts *facts)
{
    enum err e;

    if ((X509_get_extension_flags(cert) & EXFLAG_INVALID) != 0)
        return ERR_BADMSG;
    e = read_names(cert, facts);
    if (e != ERR_OK)
        return e;
    if (facts->spiffe[0] != '\0' && may_sign_others(cert))
        return ERR_BADMSG;
    if (!read_time(X509_get0_notBefore(cert), &facts->not_before_ms) ||
        !read_time(X509_get0_notAfter(cert), &facts->not_after_ms))
        return ERR_BADMSG;
    return read_spki(cert, facts->spki_sha256) ? ERR_OK : ERR_BADMSG;
}

enum err
cert_read(struct slice der, struct cert_facts *out)
{
    const unsigned char *at = der.p;
    struct cert_facts facts = {0};
    enum err e = ERR_BADMSG;
    X509 *cert;

    if (der.len == 0)
        return ERR_BADMSG;
    if (der.len > CERT_DER_MAX)
        return ERR_TOOBIG;
    cert = d2i_X509(NULL, &at, (long)der.len);
    if (cert != NULL && at == der.p + der.len)
        e = read_facts(cert, &facts);
    X509_free(cert);
    ERR_clear_error();
    if (e != ERR_OK)
        return e;
    hash_sha256(der, facts.sha256);
    *out = facts;
    return ERR_OK;
}

enum err
cert_read_pem(struct slice pem, struct cert_facts *out)
{
    unsigned char *der = NULL;
    X509 *cert;
    BIO *bio;
    int len;
    enum err e;

    if (pem.len == 0)
        return ERR_BADMSG;
    if (pem.len > PEM_MAX)
        return ERR_TOOBIG;
    bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    if (bio == NULL)
        return ERR_NOMEM;
    cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    len = cert == NULL ? -1 : i2d_X509(cert, &der);
    X509_free(cert);
    if (len <= 0) {
        ERR_clear_error();
        return ERR_BADMSG;
    }
    e = cert_read(slice_of(der, (size_t)len), out);
    OPENSSL_free(der);
    return e;
}
