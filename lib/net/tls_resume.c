/* Resumed sessions (RFC 8446 section 2.2, RFC 5077): what a ticket says beside what OpenSSL
 * puts into it (the secret, the client's leaf certificate), and when it no longer counts.
 *
 * A ticket knows no chain, no CRL and no clock of certificates, and OpenSSL looks at none of them
 * when it is shown. So each carries the chain that its client was verified by, the end of all
 * that this rested on, and a tag of how clients were verified and which name was asked for. One
 * that does not fit leads to a full handshake, never to a refusal. */

#include "net/tls_priv.h"

#include "base/check.h"
#include "base/clock.h"
#include "crypto/random.h"

#include <string.h>

#define IV_SIZE 16          /* of AES-CBC */
#define SESSION_MAX_S 43200 /* since the full handshake, however often resumed */

/* tag[32], end (seconds, big-endian)[8], count[1], SHA-256 of each certificate. */
#define AT_END HASH_SIZE
#define AT_COUNT (AT_END + 8)
#define AT_CHAIN (AT_COUNT + 1)
#define FACTS_MAX (AT_CHAIN + TLS_CHAIN_MAX * HASH_SIZE)

static void
tag_of(const struct tls *t, SSL *ssl, uint8_t out[HASH_SIZE])
{
    const struct tls_hello *hello = SSL_get_app_data(ssl);
    struct hash h;

    hash_init(&h);
    hash_add(&h, slice_of(t->trust, sizeof(t->trust)));
    /* RFC 6066 section 3: a session of another name is not resumed. */
    if (hello->name != NULL)
        hash_add(&h, slice_str(hello->name));
    hash_final(&h, out);
}

int64_t
tls_resume_end_s(const ASN1_TIME *end)
{
    int days = 0;
    int seconds = 0;

    if (end == NULL || ASN1_TIME_diff(&days, &seconds, NULL, end) != 1)
        return 0;
    return clock_wall_ms() / 1000 + (int64_t)days * 86400 + seconds;
}

static int
on_seal(SSL *ssl, void *context)
{
    const struct tls *t = context;
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    uint8_t facts[FACTS_MAX];
    int64_t end = clock_wall_ms() / 1000 + SESSION_MAX_S;
    size_t count = 0;

    /* A resumed session stays what it was, its end too. */
    if (SSL_session_reused(ssl))
        return 1;
    tag_of(t, ssl, facts);
    if (t->crl_until_s < end)
        end = t->crl_until_s;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t until = tls_resume_end_s(X509_get0_notAfter(sk_X509_value(chain, i)));

        if (until < end)
            end = until;
    }
    count = tls_resume_chain(ssl, (uint8_t(*)[HASH_SIZE])(facts + AT_CHAIN), TLS_CHAIN_MAX);
    for (size_t i = 0; i < 8; i++)
        facts[AT_END + i] = (uint8_t)((uint64_t)end >> (56 - 8 * i));
    facts[AT_COUNT] = (uint8_t)count;
    return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), facts,
                                           AT_CHAIN + count * HASH_SIZE);
}

/* The facts of a session, or an empty slice when they are not whole. */
static struct slice
facts_of(SSL_SESSION *session)
{
    void *p = NULL;
    size_t len = 0;
    struct slice facts;

    if (session == NULL || SSL_SESSION_get0_ticket_appdata(session, &p, &len) != 1 || p == NULL)
        return SLICE_NONE;
    facts = slice_of(p, len);
    if (len < AT_CHAIN || facts.p[AT_COUNT] > TLS_CHAIN_MAX ||
        len != AT_CHAIN + (size_t)facts.p[AT_COUNT] * HASH_SIZE)
        return SLICE_NONE;
    return facts;
}

static bool
still_holds(const struct tls *t, SSL *ssl, SSL_SESSION *session)
{
    struct slice facts = facts_of(session);
    uint8_t tag[HASH_SIZE];
    uint64_t end = 0;

    if (facts.len == 0)
        return false;
    tag_of(t, ssl, tag);
    for (size_t i = 0; i < 8; i++)
        end = end << 8 | facts.p[AT_END + i];
    return hash_equal(slice_of(tag, sizeof(tag)), slice_sub(facts, 0, HASH_SIZE)) &&
           (uint64_t)(clock_wall_ms() / 1000) < end;
}

static SSL_TICKET_RETURN
on_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_len,
          SSL_TICKET_STATUS status, void *context)
{
    (void)name;
    (void)name_len;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (!still_holds(context, ssl, session))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

static bool
use_key(const struct tls_ticket_key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
        EVP_MAC_CTX *mac, int sealing)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0),
                           OSSL_PARAM_construct_end()};

    return EVP_MAC_init(mac, key->mac, sizeof(key->mac), params) == 1 &&
           EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, sealing) == 1;
}

/* OpenSSL's contract: 1 done, 2 done and a new ticket is due, 0 not ours, -1 failed. */
static int
on_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
       int sealing)
{
    const struct tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct mono now = clock_mono();
    struct tls_ticket_key key;
    bool is_old = false;
    bool ok;

    if (sealing) {
        tls_tickets_seal(t->tickets, now, &key);
        memcpy(name, key.name, sizeof(key.name));
        random_fill(iv, IV_SIZE);
    } else if (tls_tickets_open(t->tickets, now, name, &key, &is_old) != ERR_OK) {
        return 0;
    }
    ok = use_key(&key, iv, cipher, mac, sealing);
    hash_wipe(&key, sizeof(key));
    if (!ok)
        return -1;
    return is_old ? 2 : 1;
}

enum err
tls_resume_init(struct tls *t)
{
    enum err e = tls_tickets_new(clock_mono(), &t->tickets);

    if (e != ERR_OK)
        return e;
    (void)SSL_CTX_set_timeout(t->ctx, TLS_TICKET_LIFE_S);
    if (SSL_CTX_set_tlsext_ticket_key_evp_cb(t->ctx, on_key) != 1 ||
        SSL_CTX_set_session_ticket_cb(t->ctx, on_seal, on_opened, t) != 1)
        return ERR_CRYPTO;
    return ERR_OK;
}

size_t
tls_resume_chain(SSL *ssl, uint8_t (*out)[HASH_SIZE], size_t max)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    size_t n = 0;

    if (SSL_session_reused(ssl)) {
        struct slice facts = facts_of(SSL_get_session(ssl));

        while (facts.len > 0 && n < facts.p[AT_COUNT] && n < max) {
            memcpy(out[n], facts.p + AT_CHAIN + n * HASH_SIZE, HASH_SIZE);
            n++;
        }
        return n;
    }
    for (int i = 0; i < sk_X509_num(chain) && n < max; i++) {
        unsigned char *der = NULL;
        int len = i2d_X509(sk_X509_value(chain, i), &der);

        if (len <= 0)
            break;
        hash_sha256(slice_of(der, (size_t)len), out[n++]);
        OPENSSL_free(der);
    }
    return n;
}
