#ifndef TESTS_UNIT_IDENTITY_IDENTITY_FIXTURE_H
#define TESTS_UNIT_IDENTITY_IDENTITY_FIXTURE_H

/* One issuer, one client CA, two API keys and four tenants, and tokens made to order. */

#include "base/text.h"
#include "crypto/jws.h"
#include "residency/identity/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SCENE_NOW_S INT64_C(1767225600)
#define SCENE_ISSUER "https://idp.example"
#define SCENE_CA "1111111111111111111111111111111111111111111111111111111111111111"
#define SCENE_LEAF "2222222222222222222222222222222222222222222222222222222222222222"

static const char scene_charter[] =
    "{\"v\":1,\"mesh\":\"test\",\"version\":3,\"issued\":\"2026-01-01T00:00:00Z\","
    "\"renew_by\":\"2026-01-11T00:00:00Z\",\"valid_until\":\"2026-01-21T00:00:00Z\","
    "\"seed\":\"3ubheWvWf_2rl4nJxzUqmkV3X1GHdUPZZz20fq4c3sY\","
    "\"groups\":{},\"regions\":{\"central\":{\"country\":\"DE\"}},"
    "\"nodes\":{\"n1\":{\"region\":\"central\",\"spiffe\":\"spiffe://t/n1\",\"address\":"
    "\"127.0.0.1:8444\"}},\"models\":{\"m@1\":{}},"
    "\"backends\":{\"b\":{\"region\":\"central\",\"country\":\"DE\",\"storage_country\":\"DE\","
    "\"operator\":{\"country\":\"DE\"},\"owner\":{\"country\":\"DE\"},\"access_from\":[],"
    "\"assurance\":\"network\",\"kind\":\"openai\",\"url\":\"http://h\",\"slots\":1,"
    "\"models\":{\"m@1\":\"m\"}}},"
    "\"issuers\":{\"" SCENE_ISSUER "\":{\"audience\":\"mesh\",\"tenants\":[\"all\",\"bound\","
    "\"cert\"],\"max_lifetime_s\":3600},\"https://other.example\":{\"audience\":\"mesh\","
    "\"tenants\":[\"all\"]}},"
    "\"client_cas\":{\"ca\":{\"sha256\":\"" SCENE_CA "\",\"tenants\":[\"all\",\"cert\",\"token\"],"
    "\"identities\":[{\"dns\":\"tool.example\",\"tenant\":\"all\",\"roles\":[\"reader\"]},"
    "{\"spiffe\":\"spiffe://t/tool\",\"tenant\":\"cert\",\"roles\":[]},"
    "{\"sha256\":\"" SCENE_LEAF "\",\"tenant\":\"token\",\"roles\":[]}]}},"
    "\"api_keys\":{\"tool\":{\"tenant\":\"all\",\"subject\":\"docs\",\"roles\":[\"reader\"]},"
    "\"old\":{\"tenant\":\"all\",\"subject\":\"docs\",\"roles\":[]},"
    "\"refused\":{\"tenant\":\"cert\",\"subject\":\"docs\",\"roles\":[]}},"
    "\"tenants\":{"
#define SCENE_TENANT(name, auth)                                                              \
    "\"" name "\":{\"process_in\":[\"DE\"],\"operators_from\":[\"DE\"],\"origins\":[\"DE\"]," \
    "\"models\":{\"m\":[\"m@1\"]},\"auth\":[" auth "]}"
    SCENE_TENANT("all", "\"mtls\",\"jwt\",\"mtls+jwt\",\"api_key\"") "," SCENE_TENANT(
        "bound", "\"mtls+jwt\"") "," SCENE_TENANT("cert",
                                                  "\"mtls\"") "," SCENE_TENANT("token",
                                                                               "\"jwt\"") "}}";

struct scene {
    struct charter *charter;
    struct identity_keys *keys;
    struct identity_cache *cache;
    struct key *signer;
    struct key *stranger;                      /* not in the key set */
    char api_key[3][IDENTITY_API_KEY_MAX + 1]; /* tool, old (expired), refused */
    char unlisted[IDENTITY_API_KEY_MAX + 1];   /* has a row but stands in no charter */
    struct cert_facts cert;
    uint8_t chain[2][HASH_SIZE];
};

static inline void
scene_api_row(const char *id, const char *more, char key[IDENTITY_API_KEY_MAX + 1],
              struct text *rows)
{
    struct text k;
    char row[512];
    struct text r;

    text_init(&k, key, IDENTITY_API_KEY_MAX);
    text_init(&r, row, sizeof(row));
    assert_int_equal(identity_api_key_new(id, SCENE_NOW_S * 1000, &k, &r), ERR_OK);
    key[k.used] = '\0';
    r.used--; /* the closing brace */
    if (rows->p[rows->used - 1] != '[')
        text_add_char(rows, ',');
    text_add(rows, text_slice(&r));
    text_add_str(rows, more);
    text_add_char(rows, '}');
}

static inline void
scene_keys(struct scene *s, struct issues *issues)
{
    static const char *const issuers[] = {SCENE_ISSUER};
    static const char *const files[] = {"jwks.json"};
    char jwks[1024];
    char rows[4096];
    struct text t;
    struct text r;
    struct slice jwks_text;

    text_init(&t, jwks, sizeof(jwks));
    text_add_str(&t, "{\"keys\":[");
    assert_int_equal(key_to_jwk(s->signer, &t), ERR_OK);
    text_add_str(&t, "]}");
    jwks_text = text_slice(&t);
    text_init(&r, rows, sizeof(rows));
    text_add_str(&r, "{\"v\":1,\"keys\":[");
    scene_api_row("tool", "", s->api_key[0], &r);
    scene_api_row("old", ",\"not_after\":\"2025-12-31T00:00:00Z\"", s->api_key[1], &r);
    scene_api_row("refused", "", s->api_key[2], &r);
    scene_api_row("unlisted", "", s->unlisted, &r);
    text_add_str(&r, "]}");
    assert_true(text_ok(&r));
    assert_int_equal(
        identity_keys_load(&(struct identity_keys_opts){.issuers = issuers,
                                                        .jwks_files = files,
                                                        .jwks_texts = &jwks_text,
                                                        .issuer_count = 1,
                                                        .api_keys_file = "api-keys.json",
                                                        .api_keys_text = text_slice(&r)},
                           issues, &s->keys),
        ERR_OK);
}

static inline int
scene_setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct issues *issues = issues_new();

    assert_non_null(s);
    assert_non_null(issues);
    if (charter_load(slice_str(scene_charter), "charter.json", false, issues, &s->charter) !=
        ERR_OK)
        issues_print(issues, stderr);
    assert_non_null(s->charter);
    assert_int_equal(key_generate(KEY_ES256, &s->signer), ERR_OK);
    assert_int_equal(key_generate(KEY_ES256, &s->stranger), ERR_OK);
    scene_keys(s, issues);
    assert_int_equal(identity_cache_new(64, &s->cache), ERR_OK);
    memset(s->cert.sha256, 0x33, HASH_SIZE);
    s->cert.not_before_ms = (SCENE_NOW_S - 60) * 1000;
    s->cert.not_after_ms = (SCENE_NOW_S + 3600) * 1000;
    memset(s->chain[0], 0x33, HASH_SIZE);
    memset(s->chain[1], 0x11, HASH_SIZE);
    issues_free(&issues);
    *state = s;
    return 0;
}

static inline int
scene_teardown(void **state)
{
    struct scene *s = *state;

    identity_cache_free(&s->cache);
    identity_keys_free(&s->keys);
    charter_unref(&s->charter);
    key_free(&s->signer);
    key_free(&s->stranger);
    free(s);
    return 0;
}

/* "Bearer <token>" with these claims, signed by key. */
static inline struct slice
scene_token(const struct key *key, const char *typ, const char *claims, char out[4096])
{
    char header[512];
    struct text h;
    struct text t;

    text_init(&h, header, sizeof(header));
    text_init(&t, out, 4096);
    text_add_str(&t, "Bearer ");
    assert_int_equal(jws_header(key, typ, &h), ERR_OK);
    assert_int_equal(jws_sign(key, text_slice(&h), slice_str(claims), &t), ERR_OK);
    return text_slice(&t);
}

/* Claims that are good but for what `more` replaces; %s of the tenant. */
static inline void
scene_claims(const char *tenant, const char *more, char out[1024])
{
    assert_true(text_format(out, 1024,
                            "{\"iss\":\"" SCENE_ISSUER "\",\"sub\":\"alice\",\"aud\":\"mesh\","
                            "\"iat\":%lld,\"exp\":%lld,\"tenant\":\"%s\"%s}",
                            (long long)SCENE_NOW_S - 10, (long long)SCENE_NOW_S + 600, tenant,
                            more));
}

static inline enum identity_reason
scene_identify(struct scene *s, struct slice authorization, struct identity *out)
{
    struct identity_facts facts = {.authorization = authorization,
                                   .authorization_count = authorization.p == NULL ? 0 : 1,
                                   .now_ms = SCENE_NOW_S * 1000};

    return identify(s->charter, s->keys, s->cache, &facts, out);
}

#endif
