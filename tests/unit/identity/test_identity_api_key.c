#include "identity_fixture.h"

#include "base/check.h"

static enum identity_reason
identify_key(struct scene *s, const char *key, struct identity *out)
{
    struct identity_facts facts = {.api_key = slice_str(key), .now_ms = SCENE_NOW_S * 1000};

    return identify(s->charter, s->keys, s->cache, &facts, out);
}

static void
test_a_key_counts_in_either_field(void **state)
{
    struct scene *s = *state;
    struct identity id;
    char field[256];

    assert_int_equal(identify_key(s, s->api_key[0], &id), IDENTITY_OK);
    assert_string_equal(id.subject, "key:docs");
    assert_int_equal(id.auth, AUTH_API_KEY);
    assert_int_equal(id.role_count, 1);
    assert_int_equal(id.expires_ms, INT64_MAX);
    assert_true(text_format(field, sizeof(field), "Bearer %s", s->api_key[0]));
    assert_int_equal(scene_identify(s, slice_str(field), &id), IDENTITY_OK);
    assert_int_equal(id.auth, AUTH_API_KEY);
}

static void
test_another_secret_of_a_known_id_is_unknown(void **state)
{
    struct scene *s = *state;
    struct identity id;

    s->api_key[0][12] = s->api_key[0][12] == 'A' ? 'B' : 'A';
    assert_int_equal(identify_key(s, s->api_key[0], &id), IDENTITY_API_KEY);
}

static void
test_an_unknown_id_is_unknown(void **state)
{
    struct scene *s = *state;
    struct identity id;

    assert_int_equal(identify_key(s, "ptk_nobody_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &id),
                     IDENTITY_API_KEY);
    assert_int_equal(identify_key(s, s->unlisted, &id), IDENTITY_API_KEY);
}

static void
test_an_expired_key_is_expired(void **state)
{
    struct scene *s = *state;
    struct identity id;

    assert_int_equal(identify_key(s, s->api_key[1], &id), IDENTITY_EXPIRED);
}

static void
test_a_tenant_may_refuse_keys(void **state)
{
    struct scene *s = *state;
    struct identity id;

    assert_int_equal(identify_key(s, s->api_key[2], &id), IDENTITY_METHOD);
}

static void
test_what_has_not_the_shape_is_malformed(void **state)
{
    static const char *const keys[] = {
        "",
        "sk-1234",
        "ptk_",
        "ptk_tool",
        "ptk_tool_",
        "ptk__AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ptk_Tool_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ptk_tool_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ptk_tool_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "ptk_tool_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "ptk_tool_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB", /* spare bits */
    };
    struct scene *s = *state;
    struct identity id;

    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        if (identify_key(s, keys[i], &id) != IDENTITY_MALFORMED)
            fail_msg("\"%s\" passed as a key", keys[i]);
}

static void
test_new_refuses_a_bad_id(void **state)
{
    static const char *const ids[] = {"", "A", "a-b", "a_b", "abcdefghijklmnopqrstuvwxyz0123456"};
    char storage[2][512];
    struct text key;
    struct text row;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        text_init(&key, storage[0], sizeof(storage[0]));
        text_init(&row, storage[1], sizeof(storage[1]));
        assert_int_equal(identity_api_key_new(ids[i], 0, &key, &row), ERR_BADMSG);
    }
}

static void
test_a_damaged_key_file_is_named(void **state)
{
#define ROW_OF(id, salt, sha)                                    \
    "{\"id\":\"" id "\",\"salt\":\"" salt "\",\"sha256\":\"" sha \
    "\",\"created\":\"2026-01-01T00:00:00Z\"}"
#define GOOD_SALT "AAAAAAAAAAAAAAAAAAAAAA"
    static const char *const texts[] = {
        "",
        "[]",
        "{\"v\":2,\"keys\":[]}",
        "{\"v\":1}",
        "{\"v\":1,\"keys\":{}}",
        "{\"v\":1,\"keys\":[],\"x\":1}",
        "{\"v\":1,\"keys\":[{}]}",
        "{\"v\":1,\"keys\":[" ROW_OF("A", GOOD_SALT, SCENE_CA) "]}",
        "{\"v\":1,\"keys\":[" ROW_OF("a", "AAAA", SCENE_CA) "]}",
        "{\"v\":1,\"keys\":[" ROW_OF("a", GOOD_SALT, "11") "]}",
        "{\"v\":1,\"keys\":[" ROW_OF("a", GOOD_SALT, SCENE_CA) "," ROW_OF("a", GOOD_SALT,
                                                                          SCENE_CA) "]}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct issues *issues = issues_new();
        struct identity_keys *keys = NULL;

        assert_int_equal(
            identity_keys_load(&(struct identity_keys_opts){.api_keys_file = "k.json",
                                                            .api_keys_text = slice_str(texts[i])},
                               issues, &keys),
            ERR_BADMSG);
        assert_null(keys);
        assert_true(issues_any(issues));
        issues_free(&issues);
    }
}

static void
test_a_damaged_key_set_is_named(void **state)
{
    static const char *const issuers[] = {"https://a.example"};
    static const char *const files[] = {"a.json"};
    struct slice text = slice_str("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}");
    struct issues *issues = issues_new();
    struct identity_keys *keys = NULL;

    (void)state;
    assert_int_equal(identity_keys_load(&(struct identity_keys_opts){.issuers = issuers,
                                                                     .jwks_files = files,
                                                                     .jwks_texts = &text,
                                                                     .issuer_count = 1},
                                        issues, &keys),
                     ERR_BADMSG);
    assert_null(keys);
    assert_string_equal(issues->items[0].file, "a.json");
    issues_free(&issues);
}

/* Whatever the number and length of issuers: the control record has one digest for all. */
static void
test_issuers_at_their_maxima_have_one_digest(void **state)
{
    static char ids[CHARTER_ISSUERS_MAX][IDENTITY_ISSUER_MAX + 2];
    static char jcs[CHARTER_ISSUERS_MAX * (IDENTITY_ISSUER_MAX + 64)];
    const char *issuers[CHARTER_ISSUERS_MAX];
    const char *files[CHARTER_ISSUERS_MAX];
    struct slice texts[CHARTER_ISSUERS_MAX];
    struct identity_keys_opts opts = {.issuers = issuers,
                                      .jwks_files = files,
                                      .jwks_texts = texts,
                                      .issuer_count = CHARTER_ISSUERS_MAX};
    struct scene *s = *state;
    struct issues *issues = issues_new();
    struct identity_keys *keys = NULL;
    uint8_t set[HASH_SIZE], want[HASH_SIZE], got[HASH_SIZE];
    char jwks[512];
    struct text t;

    text_init(&t, jwks, sizeof(jwks));
    text_add_str(&t, "{\"keys\":[");
    assert_int_equal(key_to_jwk(s->signer, &t), ERR_OK);
    text_add_str(&t, "]}");
    hash_sha256(text_slice(&t), set);
    for (size_t i = 0; i < CHARTER_ISSUERS_MAX; i++) {
        memset(ids[i], 'a', IDENTITY_ISSUER_MAX);
        (void)text_format(ids[i], 4, "%03zu", i);
        ids[i][3] = 'a';
        issuers[CHARTER_ISSUERS_MAX - 1 - i] = ids[i]; /* they come in any order */
        files[i] = "jwks.json";
        texts[i] = text_slice(&t);
    }
    assert_int_equal(identity_keys_load(&opts, issues, &keys), ERR_OK);
    identity_keys_issuers_digest(keys, got);
    text_init(&t, jcs, sizeof(jcs));
    for (size_t i = 0; i < CHARTER_ISSUERS_MAX; i++) {
        text_addf(&t, "%c\"%s\":\"", i == 0 ? '{' : ',', ids[i]);
        text_add_b64url(&t, slice_of(set, HASH_SIZE));
        text_add_char(&t, '"');
    }
    text_add_char(&t, '}');
    assert_true(text_ok(&t));
    hash_sha256(text_slice(&t), want);
    assert_memory_equal(got, want, HASH_SIZE);
    assert_null(identity_keys_api_digest(keys));
    identity_keys_free(&keys);
    ids[0][IDENTITY_ISSUER_MAX] = 'a';
    assert_int_equal(identity_keys_load(&opts, issues, &keys), ERR_BADMSG);
    issues_free(&issues);
}

static void
test_the_file_of_api_keys_has_a_digest(void **state)
{
    const struct slice text = SLICE_LIT("{\"v\":1,\"keys\":[]}");
    struct issues *issues = issues_new();
    struct identity_keys *keys = NULL;
    uint8_t want[HASH_SIZE];

    (void)state;
    assert_int_equal(
        identity_keys_load(
            &(struct identity_keys_opts){.api_keys_file = "api-keys.json", .api_keys_text = text},
            issues, &keys),
        ERR_OK);
    hash_sha256(text, want);
    assert_memory_equal(identity_keys_api_digest(keys), want, HASH_SIZE);
    identity_keys_free(&keys);
    issues_free(&issues);
}

static void
test_every_reason_has_a_row(void **state)
{
    (void)state;
    for (unsigned i = 0; i < IDENTITY_REASON_COUNT; i++) {
        assert_true(identity_reason_name((enum identity_reason)i)[0] != '\0');
        assert_true(identity_reason_words((enum identity_reason)i)[0] != '\0');
    }
    assert_string_equal(identity_reason_name(IDENTITY_METHOD), "method_not_allowed");
}

int
main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_a_key_counts_in_either_field),
        ROW(test_another_secret_of_a_known_id_is_unknown),
        ROW(test_an_unknown_id_is_unknown),
        ROW(test_an_expired_key_is_expired),
        ROW(test_a_tenant_may_refuse_keys),
        ROW(test_what_has_not_the_shape_is_malformed),
        ROW(test_new_refuses_a_bad_id),
        ROW(test_a_damaged_key_file_is_named),
        ROW(test_a_damaged_key_set_is_named),
        ROW(test_issuers_at_their_maxima_have_one_digest),
        ROW(test_the_file_of_api_keys_has_a_digest),
        ROW(test_every_reason_has_a_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
