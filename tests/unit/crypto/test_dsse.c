#include "crypto/dsse.h"

#include "base/check.h"
#include "unit/crypto/keys.h"

#include <stdlib.h>

#define TYPE "application/vnd.portolan.charter+json"
#define KEY_COUNT 3
#define ENVELOPE_SIZE (16u << 10)

static struct key *owned[KEY_COUNT];
static const struct key *keys[KEY_COUNT];
static char envelope[ENVELOPE_SIZE];

static int
set_up(void **state)
{
    static const enum key_alg algs[KEY_COUNT] = {KEY_ES256, KEY_EDDSA, KEY_EDDSA};

    (void)state;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (key_generate(algs[i], &owned[i]) != ERR_OK)
            return -1;
        keys[i] = owned[i];
    }
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < KEY_COUNT; i++)
        key_free(&owned[i]);
    return 0;
}

/* Leaves the envelope in envelope[], NUL-terminated. */
static void
sign(const char *type, const char *payload, const struct key *const *with, size_t count)
{
    struct text t;

    text_init(&t, envelope, sizeof(envelope) - 1);
    assert_int_equal(dsse_sign(slice_str(type), slice_str(payload), with, count, &t), ERR_OK);
    envelope[t.used] = '\0';
}

static struct dsse *
must_parse(void)
{
    struct dsse *env = NULL;
    const char *why = "";

    if (dsse_parse(slice_str(envelope), &env, &why) != ERR_OK)
        fail_msg("%s", why);
    return env;
}

/* Signatures that count, of the keys of the list, over what envelope[] holds. */
static size_t
count_good(const struct key *const *with, size_t count)
{
    struct dsse *env = must_parse();
    size_t good = dsse_verify(env, with, count);

    dsse_free(&env);
    return good;
}

static void
replace(const char *from, const char *to)
{
    char *at = strstr(envelope, from);

    assert_non_null(at);
    assert_int_equal(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
}

static void
an_envelope_comes_back_whole(void **state)
{
    struct dsse *env;

    (void)state;
    sign(TYPE, "{\"version\":7}", keys, 2);
    env = must_parse();
    assert_true(slice_is(dsse_payload(env), "{\"version\":7}"));
    assert_true(slice_is(dsse_payload_type(env), TYPE));
    assert_int_equal(dsse_signature_count(env), 2);
    dsse_free(&env);
    assert_null(env);
    dsse_free(&env);
}

static void
the_pae_is_that_of_the_specification(void **state)
{
    /* protocol.md: PAE(type, body) of http://example.com/HelloWorld and hello world. */
    static const char pae[] = "DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    uint8_t sig[KEY_SIGN_SIZE];
    struct text t;

    (void)state;
    assert_int_equal(key_sign(keys[0], slice_str(pae), sig), ERR_OK);
    text_init(&t, envelope, sizeof(envelope));
    text_add_str(&t, "{\"payload\":\"aGVsbG8gd29ybGQ=\",\"payloadType\":"
                     "\"http://example.com/HelloWorld\",\"signatures\":[{\"keyid\":\"");
    text_add_str(&t, key_thumbprint(keys[0]));
    text_add_str(&t, "\",\"sig\":\"");
    text_add_b64(&t, slice_of(sig, sizeof(sig)));
    text_add_str(&t, "\",\"extra\":1}],\"more\":{}}");
    text_add_char(&t, '\0');
    assert_true(text_ok(&t));
    assert_int_equal(count_good(keys, KEY_COUNT), 1);
}

static void
each_key_that_signed_counts_once(void **state)
{
    const struct key *const twice[] = {keys[1], keys[1], keys[1]};

    (void)state;
    sign(TYPE, "x", keys, KEY_COUNT);
    assert_int_equal(count_good(keys, KEY_COUNT), 3);
    assert_int_equal(count_good(keys, 2), 2);
    assert_int_equal(count_good(keys, 0), 0);
    sign(TYPE, "x", keys, 2);
    assert_int_equal(count_good(keys, KEY_COUNT), 2);
    assert_int_equal(count_good(keys + 2, 1), 0);
    /* One key that signed three times, or that is listed three times. */
    sign(TYPE, "x", twice, 3);
    assert_int_equal(count_good(keys, KEY_COUNT), 1);
    assert_int_equal(count_good(twice, 3), 1);
}

static void
a_bad_signature_beside_a_good_one_of_its_key_does_no_harm(void **state)
{
    const struct key *const twice[] = {keys[1], keys[1]};
    char *sig;

    (void)state;
    sign(TYPE, "x", twice, 2);
    sig = strstr(envelope, "\"sig\":\"");
    assert_non_null(sig);
    sig[7] = sig[7] == 'A' ? 'B' : 'A';
    assert_int_equal(count_good(keys, KEY_COUNT), 1);
}

static void
another_payload_or_type_does_not_verify(void **state)
{
    (void)state;
    sign(TYPE, "abc", keys, KEY_COUNT);
    replace("\"YWJj\"", "\"YWJk\"");
    assert_int_equal(count_good(keys, KEY_COUNT), 0);
    sign(TYPE, "abc", keys, KEY_COUNT);
    replace("portolan.charter", "portolan.reports");
    assert_int_equal(count_good(keys, KEY_COUNT), 0);
}

static void
a_keyid_that_names_another_key_does_not_count(void **state)
{
    (void)state;
    sign(TYPE, "abc", keys + 1, 1);
    replace(key_thumbprint(keys[1]), key_thumbprint(keys[2]));
    assert_int_equal(count_good(keys, KEY_COUNT), 0);
}

#define SIGS(sigs) "{\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":" sigs "}"
#define SIG "{\"keyid\":\"k\",\"sig\":\"AAAA\"}"
#define SIGS16                                                                                  \
    SIG "," SIG "," SIG "," SIG "," SIG "," SIG "," SIG "," SIG "," SIG "," SIG "," SIG "," SIG \
        "," SIG "," SIG "," SIG "," SIG

static void
envelopes_are_read_strictly(void **state)
{
    static const struct {
        const char *text;
        enum err e;
    } cases[] = {
        {SIGS("[" SIG "]"), ERR_OK},
        {SIGS("[{\"sig\":\"AAAA\"}]"), ERR_OK},
        {SIGS("[" SIGS16 "]"), ERR_OK},
        {SIGS("[" SIGS16 "," SIG "]"), ERR_TOOBIG},
        {"{\"payload\":\"\",\"payloadType\":\"t\",\"signatures\":[" SIG "]}", ERR_OK},
        {"", ERR_BADMSG},
        {"[]", ERR_BADMSG},
        {"{}", ERR_BADMSG},
        {SIGS("[]"), ERR_BADMSG},
        {SIGS("{}"), ERR_BADMSG},
        {SIGS("[1]"), ERR_BADMSG},
        {SIGS("[{}]"), ERR_BADMSG},
        {SIGS("[{\"keyid\":\"k\",\"sig\":\"\"}]"), ERR_BADMSG},
        {SIGS("[{\"keyid\":\"k\",\"sig\":\"AAA\"}]"), ERR_BADMSG},
        {SIGS("[{\"keyid\":\"k\",\"sig\":\"AA==AA==\"}]"), ERR_BADMSG},
        {SIGS("[{\"keyid\":7,\"sig\":\"AAAA\"}]"), ERR_BADMSG},
        {"{\"payload\":\"YR==\",\"payloadType\":\"t\",\"signatures\":[" SIG "]}", ERR_BADMSG},
        {"{\"payload\":\"YQ\",\"payloadType\":\"t\",\"signatures\":[" SIG "]}", ERR_BADMSG},
        {"{\"payload\":\"====\",\"payloadType\":\"t\",\"signatures\":[" SIG "]}", ERR_BADMSG},
        {"{\"payload\":\"YQ==\",\"payloadType\":\"\",\"signatures\":[" SIG "]}", ERR_BADMSG},
        {"{\"payload\":\"YQ==\",\"signatures\":[" SIG "]}", ERR_BADMSG},
        {"{\"payload\":1,\"payloadType\":\"t\",\"signatures\":[" SIG "]}", ERR_BADMSG},
        {"{\"payload\":\"YQ==\",\"payload\":\"YQ==\",\"payloadType\":\"t\",\"signatures\":[" SIG
         "]}",
         ERR_BADMSG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct dsse *env = NULL;
        const char *why = NULL;
        enum err e = dsse_parse(slice_str(cases[i].text), &env, &why);

        if (e != cases[i].e)
            fail_msg("%s: %s", cases[i].text, err_text(e));
        assert_true(e == ERR_OK ? env != NULL : env == NULL && why != NULL);
        dsse_free(&env);
    }
}

static void
a_payload_type_has_a_longest_length(void **state)
{
    char type[DSSE_TYPE_MAX + 2];
    struct text t;

    (void)state;
    memset(type, 't', sizeof(type));
    type[DSSE_TYPE_MAX] = '\0';
    sign(type, "x", keys, 1);
    assert_int_equal(count_good(keys, 1), 1);
    type[DSSE_TYPE_MAX] = 't';
    type[DSSE_TYPE_MAX + 1] = '\0';
    text_init(&t, envelope, sizeof(envelope));
    assert_int_equal(dsse_sign(slice_str(type), SLICE_LIT("x"), keys, 1, &t), ERR_TOOBIG);
}

static void
the_largest_payload_passes_and_one_byte_more_does_not(void **state)
{
    size_t size = DSSE_PAYLOAD_MAX / 3 * 4 + 1024;
    uint8_t *payload = calloc(1, DSSE_PAYLOAD_MAX + 1), *room = malloc(size);
    struct dsse *env = NULL;
    struct text t;

    (void)state;
    assert_non_null(payload);
    assert_non_null(room);
    text_init(&t, room, size);
    assert_int_equal(
        dsse_sign(SLICE_LIT(TYPE), slice_of(payload, DSSE_PAYLOAD_MAX + 1), keys, 1, &t),
        ERR_TOOBIG);
    assert_int_equal(dsse_sign(SLICE_LIT(TYPE), slice_of(payload, DSSE_PAYLOAD_MAX), keys, 1, &t),
                     ERR_OK);
    assert_int_equal(dsse_parse(text_slice(&t), &env, NULL), ERR_OK);
    assert_int_equal(dsse_verify(env, keys, 1), 1);
    dsse_free(&env);
    free(payload);
    free(room);
}

static void
signing_refuses_what_it_can_not_do(void **state)
{
    struct key *public_key = keys_must_read(KEYS_P256);
    const struct key *const list[] = {keys[0], public_key};
    struct text t;

    (void)state;
    text_init(&t, envelope, sizeof(envelope));
    assert_int_equal(dsse_sign(SLICE_NONE, SLICE_LIT("x"), keys, 1, &t), ERR_EMPTY);
    assert_int_equal(dsse_sign(SLICE_LIT(TYPE), SLICE_LIT("x"), keys, 0, &t), ERR_EMPTY);
    assert_int_equal(dsse_sign(SLICE_LIT(TYPE), SLICE_LIT("x"), list, 2, &t), ERR_FORBIDDEN);
    assert_int_equal(t.used, 0);
    text_init(&t, envelope, 64);
    assert_int_equal(dsse_sign(SLICE_LIT(TYPE), SLICE_LIT("x"), keys, 1, &t), ERR_TOOBIG);
    key_free(&public_key);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_envelope_comes_back_whole),
        cmocka_unit_test(the_pae_is_that_of_the_specification),
        cmocka_unit_test(each_key_that_signed_counts_once),
        cmocka_unit_test(a_bad_signature_beside_a_good_one_of_its_key_does_no_harm),
        cmocka_unit_test(another_payload_or_type_does_not_verify),
        cmocka_unit_test(a_keyid_that_names_another_key_does_not_count),
        cmocka_unit_test(envelopes_are_read_strictly),
        cmocka_unit_test(a_payload_type_has_a_longest_length),
        cmocka_unit_test(the_largest_payload_passes_and_one_byte_more_does_not),
        cmocka_unit_test(signing_refuses_what_it_can_not_do),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
