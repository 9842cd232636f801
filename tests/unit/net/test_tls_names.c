#include "net/tls_names.h"

#include "base/check.h"

#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* A certificate with nothing but names: DNS ones of these bytes, and one address. */
static X509 *
make_cert(const char *const *names, const size_t *lens, size_t count)
{
    X509 *cert = X509_new();
    GENERAL_NAMES *sans = GENERAL_NAMES_new();

    assert_non_null(cert);
    assert_non_null(sans);
    for (size_t i = 0; i < count + 1; i++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_STRING *text = i < count ? ASN1_IA5STRING_new() : ASN1_OCTET_STRING_new();

        assert_non_null(name);
        assert_int_equal(ASN1_STRING_set(text, i < count ? names[i] : "\x7f\0\0\1",
                                         i < count ? (int)lens[i] : 4),
                         1);
        GENERAL_NAME_set0_value(name, i < count ? GEN_DNS : GEN_IPADD, text);
        assert_true(sk_GENERAL_NAME_push(sans, name) > 0);
    }
    assert_int_equal(X509_add1_ext_i2d(cert, NID_subject_alt_name, sans, 0, 0), 1);
    GENERAL_NAMES_free(sans);
    return cert;
}

static enum err
read_texts(const char *const *texts, size_t count, struct tls_names *out)
{
    size_t lens[TLS_NAMES_MAX + 1];
    X509 *cert;
    enum err e;

    for (size_t i = 0; i < count; i++)
        lens[i] = strlen(texts[i]);
    cert = make_cert(texts, lens, count);
    e = tls_names_read(cert, out);
    X509_free(cert);
    return e;
}

static void
test_names_meet_exactly_or_by_one_label(void **state)
{
    static const char *const own[] = {"Chat.Acme.Example", "*.acme.example", "*.b.example"};
    static const struct {
        const char *name;
        enum tls_match match;
    } cases[] = {
        {"chat.acme.example", TLS_MATCH_EXACT},
        {"a.acme.example", TLS_MATCH_WILDCARD},
        {"*.acme.example", TLS_MATCH_EXACT},
        {"x.b.example", TLS_MATCH_WILDCARD},
        {"acme.example", TLS_MATCH_NONE},
        {"a.b.acme.example", TLS_MATCH_NONE},
        {".acme.example", TLS_MATCH_NONE},
        {"chat.acme.example.", TLS_MATCH_NONE},
        {"chat.acme.exampl", TLS_MATCH_NONE},
        {"chat.acme.examples", TLS_MATCH_NONE},
        {"xchat.acme.example.b", TLS_MATCH_NONE},
        {"", TLS_MATCH_NONE},
        {"localhost", TLS_MATCH_NONE},
        {"127.0.0.1", TLS_MATCH_NONE},
    };
    struct tls_names names = {NULL, 0};

    (void)state;
    assert_int_equal(read_texts(own, ARRAY_COUNT(own), &names), ERR_OK);
    assert_int_equal(names.count, 3);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        if (tls_names_match(&names, cases[i].name) != cases[i].match)
            fail_msg("\"%s\"", cases[i].name);
    tls_names_free(&names);
}

static void
test_odd_stars_serve_nobody(void **state)
{
    static const char *const own[] = {"*",       "*.",           "w*.acme.example", "a.*.example",
                                      "*.*.com", "**.acme.test", "*acme.example",   "",
                                      "good.one"};
    struct tls_names names = {NULL, 0};

    (void)state;
    assert_int_equal(read_texts(own, ARRAY_COUNT(own), &names), ERR_OK);
    assert_int_equal(names.count, 1);
    assert_string_equal(names.items[0], "good.one");
    tls_names_free(&names);
}

static void
test_a_nul_in_a_name_is_refused(void **state)
{
    static const char *const own[] = {"bank.example\0.evil.example"};
    static const size_t lens[] = {26};
    struct tls_names names = {NULL, 0};
    X509 *cert = make_cert(own, lens, 1);

    (void)state;
    assert_int_equal(tls_names_read(cert, &names), ERR_BADMSG);
    assert_null(names.items);
    X509_free(cert);
}

static void
test_names_are_bounded(void **state)
{
    const char *own[TLS_NAMES_MAX + 1];
    char longest[TLS_NAME_MAX + 2];
    struct tls_names names = {NULL, 0};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        own[i] = "a.example";
    assert_int_equal(read_texts(own, TLS_NAMES_MAX, &names), ERR_OK);
    tls_names_free(&names);
    assert_int_equal(read_texts(own, TLS_NAMES_MAX + 1, &names), ERR_TOOBIG);
    memset(longest, 'a', sizeof(longest));
    longest[TLS_NAME_MAX] = '\0';
    own[0] = longest;
    assert_int_equal(read_texts(own, 1, &names), ERR_OK);
    assert_int_equal(strlen(names.items[0]), TLS_NAME_MAX);
    tls_names_free(&names);
    longest[TLS_NAME_MAX] = 'a';
    longest[TLS_NAME_MAX + 1] = '\0';
    assert_int_equal(read_texts(own, 1, &names), ERR_TOOBIG);
}

static void
test_narrowing_needs_what_is_certified(void **state)
{
    static const char *const own[] = {"chat.acme.example", "*.acme.example"};
    static const char *const good[] = {"A.acme.example", "chat.acme.example"};
    static const char *const star[] = {"*.acme.example"};
    static const char *const bad[] = {"a.acme.example", "a.other.example"};
    static const char *const odd[] = {"a*.acme.example"};
    struct tls_names names = {NULL, 0};

    (void)state;
    assert_int_equal(read_texts(own, 2, &names), ERR_OK);
    assert_int_equal(tls_names_narrow(&names, bad, 2), ERR_BADMSG);
    assert_int_equal(tls_names_narrow(&names, odd, 1), ERR_BADMSG);
    assert_int_equal(names.count, 2);
    assert_int_equal(tls_names_narrow(&names, star, 1), ERR_OK);
    assert_int_equal(tls_names_match(&names, "chat.acme.example"), TLS_MATCH_WILDCARD);
    tls_names_free(&names);
    assert_int_equal(read_texts(own, 2, &names), ERR_OK);
    assert_int_equal(tls_names_narrow(&names, good, 2), ERR_OK);
    assert_int_equal(tls_names_match(&names, "a.acme.example"), TLS_MATCH_EXACT);
    assert_int_equal(tls_names_match(&names, "b.acme.example"), TLS_MATCH_NONE);
    tls_names_free(&names);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_meet_exactly_or_by_one_label),
        cmocka_unit_test(test_odd_stars_serve_nobody),
        cmocka_unit_test(test_a_nul_in_a_name_is_refused),
        cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_narrowing_needs_what_is_certified),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
