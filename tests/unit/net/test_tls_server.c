#include "net/tls.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/text.h"
#include "crypto/cert.h"
#include "crypto/key.h"

#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PEM_SIZE 4096

/* A self-signed certificate for these names. */
struct pair {
    char cert[PEM_SIZE];
    char key[PEM_SIZE];
    size_t cert_len, key_len;
};

static struct slice
cert_of(const struct pair *p)
{
    return slice_of(p->cert, p->cert_len);
}

static struct slice
key_of(const struct pair *p)
{
    return slice_of(p->key, p->key_len);
}

static void
make_pair(const char *const *dns, struct pair *out)
{
    static const char *const ips[] = {"127.0.0.1", NULL};
    int64_t now = clock_wall_ms();
    struct cert_request request = {.common_name = "host",
                                   .dns = dns,
                                   .ips = ips,
                                   .not_before_ms = now - 60000,
                                   .not_after_ms = now + 3600000};
    struct key *key = NULL;
    struct text cert;
    struct text key_pem;

    text_init(&cert, out->cert, sizeof(out->cert));
    text_init(&key_pem, out->key, sizeof(out->key));
    assert_int_equal(key_generate(KEY_ES256, &key), ERR_OK);
    assert_int_equal(key_to_private_pem(key, &key_pem), ERR_OK);
    assert_int_equal(cert_make(&request, key, SLICE_NONE, key, &cert), ERR_OK);
    out->cert_len = cert.used;
    out->key_len = key_pem.used;
    key_free(&key);
}

static const char *const our_names[] = {"a.example", "*.b.example", NULL};

static enum err
make_server(const struct pair *p, const char *host, struct tls **out, const char **why)
{
    struct tls_server_opts opts = {.cert_pem = cert_of(p),
                                   .key_pem = key_of(p),
                                   .hosts = &host,
                                   .host_count = host == NULL ? 0 : 1};

    return tls_server_new(&opts, out, why);
}

static void
test_certificate_names_a_host(void **state)
{
    static const struct {
        const char *host;
        bool good;
    } cases[] = {{NULL, true},          {"a.example", true},    {"A.Example", true},
                 {"x.b.example", true}, {"127.0.0.1", true},    {"127.0.0.2", false},
                 {"b.example", false},  {"x.a.example", false}, {"x.y.b.example", false},
                 {"host", false} /* the common name is none */};
    struct pair p;
    const char *why = "";

    (void)state;
    make_pair(our_names, &p);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct tls *t = NULL;
        enum err e = make_server(&p, cases[i].host, &t, &why);

        if (e != (cases[i].good ? ERR_OK : ERR_BADMSG))
            fail_msg("%s: %s", cases[i].host, err_text(e));
        if (!cases[i].good)
            assert_string_equal(why, "the certificate names none of the listener's hosts");
        tls_unref(&t);
    }
}

static void
test_certificates_are_bounded(void **state)
{
    struct tls_cert_opts more;
    struct tls *t = NULL;
    struct pair p;
    const char *why = "";

    (void)state;
    make_pair(our_names, &p);
    more = (struct tls_cert_opts){.cert_pem = cert_of(&p), .key_pem = key_of(&p)};
    assert_int_equal(make_server(&p, NULL, &t, &why), ERR_OK);
    for (int i = 1; i < TLS_CERTS_MAX; i++)
        assert_int_equal(tls_server_add(t, &more, &why), ERR_OK);
    assert_int_equal(tls_server_add(t, &more, &why), ERR_FULL);
    assert_string_equal(why, "too many certificates");
    tls_unref(&t);
}

/* What could not be added leaves nothing behind. */
static void
test_a_bad_certificate_adds_nothing(void **state)
{
    static const char *const not_ours[] = {"c.example"};
    struct pair p;
    struct pair other;
    struct tls *t = NULL;
    struct tls_cert_opts good;
    struct tls_cert_opts bad[4];
    const char *why = "";

    (void)state;
    make_pair(our_names, &p);
    make_pair(our_names, &other);
    good = (struct tls_cert_opts){.cert_pem = cert_of(&p), .key_pem = key_of(&p)};
    bad[0] = (struct tls_cert_opts){.cert_pem = cert_of(&p), .key_pem = key_of(&other)};
    bad[1] = (struct tls_cert_opts){.cert_pem = key_of(&p), .key_pem = key_of(&p)};
    bad[2] = (struct tls_cert_opts){.cert_pem = cert_of(&p), .key_pem = SLICE_LIT("none")};
    bad[3] = (struct tls_cert_opts){
        .cert_pem = cert_of(&p), .key_pem = key_of(&p), .names = not_ours, .name_count = 1};
    assert_int_equal(make_server(&p, NULL, &t, &why), ERR_OK);
    for (int round = 0; round < 2 * TLS_CERTS_MAX; round++) {
        assert_int_equal(tls_server_add(t, &bad[round % 4], &why), ERR_BADMSG);
        assert_string_not_equal(why, "");
    }
    for (int i = 1; i < TLS_CERTS_MAX; i++)
        assert_int_equal(tls_server_add(t, &good, &why), ERR_OK);
    tls_unref(&t);
}

/* Nobody is there to type it, and nothing may ask. */
static void
test_a_key_under_a_passphrase_is_refused(void **state)
{
    char sealed[PEM_SIZE];
    char word[] = "secret";
    struct pair p;
    struct tls *t = NULL;
    const char *why = "";
    BIO *in;
    BIO *out = BIO_new(BIO_s_mem());
    EVP_PKEY *key;
    int len;

    (void)state;
    make_pair(our_names, &p);
    in = BIO_new_mem_buf(p.key, (int)p.key_len);
    key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    assert_non_null(key);
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_128_cbc(), word, 6, NULL, NULL), 1);
    len = BIO_read(out, sealed, sizeof(sealed));
    assert_in_range(len, 1, (int)sizeof(sealed));
    memcpy(p.key, sealed, (size_t)len);
    p.key_len = (size_t)len;
    assert_int_equal(make_server(&p, NULL, &t, &why), ERR_BADMSG);
    assert_string_equal(why, "the private key is not PEM, or needs a passphrase");
    EVP_PKEY_free(key);
    BIO_free(in);
    BIO_free(out);
}

static void
test_client_auth_needs_a_ca_and_its_crl(void **state)
{
    struct pair p;
    struct tls_server_opts opts;
    struct tls *t = NULL;
    const char *why = "";

    (void)state;
    make_pair(our_names, &p);
    opts = (struct tls_server_opts){
        .cert_pem = cert_of(&p), .key_pem = key_of(&p), .client_auth = TLS_CLIENT_REQUIRED};
    assert_int_equal(tls_server_new(&opts, &t, &why), ERR_BADMSG);
    assert_string_equal(why, "the CA file holds no usable PEM certificate");
    opts.client_ca_pem = cert_of(&p);
    opts.client_crl_pem = SLICE_LIT("nothing");
    assert_int_equal(tls_server_new(&opts, &t, &why), ERR_BADMSG);
    assert_string_equal(why, "the CRL file holds no PEM CRL, or too many");
    opts.client_crl_pem = SLICE_NONE;
    assert_int_equal(tls_server_new(&opts, &t, &why), ERR_OK);
    tls_unref(&t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certificate_names_a_host),
        cmocka_unit_test(test_certificates_are_bounded),
        cmocka_unit_test(test_a_bad_certificate_adds_nothing),
        cmocka_unit_test(test_a_key_under_a_passphrase_is_refused),
        cmocka_unit_test(test_client_auth_needs_a_ca_and_its_crl),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
