#ifndef TESTS_UNIT_HEALTH_SAMPLE_H
#define TESTS_UNIT_HEALTH_SAMPLE_H

#include "base/issue.h"
#include "base/text.h"
#include "residency/charter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A mesh of two regions. By name: nodes c1 (eu-central), w1 and w2 (eu-west); backends
 * c-ollama, c-openai (eu-central), w-llama, w-ollama, w-openai, w-vllm (eu-west). Each
 * backend has the models m-plain@1 (served as "plain", without a digest) and m-pinned@1
 * (served as "pinned", with the digest 64 x 'a'). */

enum { SAMPLE_C1, SAMPLE_W1, SAMPLE_W2, SAMPLE_NODES };
enum {
    SAMPLE_C_OLLAMA,
    SAMPLE_C_OPENAI,
    SAMPLE_W_LLAMA,
    SAMPLE_W_OLLAMA,
    SAMPLE_W_OPENAI,
    SAMPLE_W_VLLM,
    SAMPLE_BACKENDS
};
#define SAMPLE_PLAIN UINT64_C(1) /* bits by the order of the backend's models */
#define SAMPLE_PINNED UINT64_C(2)
#define SAMPLE_DIGEST "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct sample {
    struct charter *charter;
    struct key *keys[SAMPLE_NODES]; /* private advert keys */
    uint64_t version;
};

static inline void
sample_node(struct text *t, const char *name, const char *region, const struct key *key,
            uint32_t port)
{
    text_addf(t,
              "\"%s\":{\"region\":\"%s\",\"spiffe\":\"spiffe://sample/node/%s\",\"address\":"
              "\"127.0.0.1:%u\",\"keys\":[{\"use\":\"advert\",\"jwk\":",
              name, region, name, port);
    assert_int_equal(key_to_jwk(key, t), ERR_OK);
    text_add_str(t, ",\"not_before\":\"2020-01-01T00:00:00Z\",\"not_after\":"
                    "\"2099-01-01T00:00:00Z\"}]}");
}

static inline void
sample_backend(struct text *t, const char *name, const char *region, const char *country,
               const char *kind)
{
    text_addf(t,
              "\"%s\":{\"region\":\"%s\",\"country\":\"%s\",\"storage_country\":\"%s\","
              "\"operator\":{\"name\":\"Acme\",\"country\":\"DE\"},"
              "\"owner\":{\"name\":\"Acme\",\"country\":\"DE\"},\"access_from\":[\"DE\"],"
              "\"assurance\":\"network\",\"transfer\":\"none\",\"kind\":\"%s\",\"slots\":4,"
              "\"url\":\"http://127.0.0.1:9000/base\","
              "\"models\":{\"m-plain@1\":\"plain\",\"m-pinned@1\":\"pinned\"}}",
              name, region, country, country, kind);
}

static inline void
sample_text(const struct sample *s, struct text *t)
{
    text_addf(t,
              "{\"v\":1,\"mesh\":\"sample\",\"version\":%u,\"issued\":\"2026-01-01T00:00:00Z\","
              "\"renew_by\":\"2098-01-01T00:00:00Z\",\"valid_until\":\"2099-01-01T00:00:00Z\","
              "\"seed\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"groups\":{},"
              "\"regions\":{\"eu-central\":{\"country\":\"DE\"},"
              "\"eu-west\":{\"country\":\"IE\"}},\"nodes\":{",
              (unsigned)s->version);
    sample_node(t, "c1", "eu-central", s->keys[SAMPLE_C1], 8441);
    text_add_char(t, ',');
    sample_node(t, "w1", "eu-west", s->keys[SAMPLE_W1], 8442);
    text_add_char(t, ',');
    sample_node(t, "w2", "eu-west", s->keys[SAMPLE_W2], 8443);
    text_add_str(t, "},\"models\":{\"m-plain@1\":{},\"m-pinned@1\":{\"digest\":"
                    "\"sha256:" SAMPLE_DIGEST "\"}},\"backends\":{");
    sample_backend(t, "c-ollama", "eu-central", "DE", "ollama");
    text_add_char(t, ',');
    sample_backend(t, "c-openai", "eu-central", "DE", "openai");
    text_add_char(t, ',');
    sample_backend(t, "w-llama", "eu-west", "IE", "llamacpp");
    text_add_char(t, ',');
    sample_backend(t, "w-ollama", "eu-west", "IE", "ollama");
    text_add_char(t, ',');
    sample_backend(t, "w-openai", "eu-west", "IE", "openai");
    text_add_char(t, ',');
    sample_backend(t, "w-vllm", "eu-west", "IE", "vllm");
    text_add_str(t, "},\"issuers\":{},\"client_cas\":{},\"api_keys\":{},\"tenants\":{}}");
}

static inline struct charter *
sample_charter(const struct sample *s)
{
    struct issues *issues = issues_new();
    struct charter *c = NULL;
    char *storage = malloc(65536);
    struct text t;
    enum err e;

    assert_non_null(issues);
    assert_non_null(storage);
    text_init(&t, storage, 65536);
    sample_text(s, &t);
    assert_true(text_ok(&t));
    e = charter_load(text_slice(&t), "sample", false, issues, &c);
    issues_print(issues, stderr);
    issues_free(&issues);
    free(storage);
    assert_int_equal(e, ERR_OK);
    return c;
}

static inline void
sample_open(struct sample *s)
{
    memset(s, 0, sizeof(*s));
    s->version = 1;
    for (int i = 0; i < SAMPLE_NODES; i++)
        assert_int_equal(key_generate(i == 0 ? KEY_ES256 : KEY_EDDSA, &s->keys[i]), ERR_OK);
    s->charter = sample_charter(s);
    assert_string_equal(s->charter->backends[SAMPLE_W_VLLM].name, "w-vllm");
    assert_string_equal(s->charter->nodes[SAMPLE_W2].name, "w2");
}

static inline void
sample_close(struct sample *s)
{
    charter_unref(&s->charter);
    for (int i = 0; i < SAMPLE_NODES; i++)
        key_free(&s->keys[i]);
}

#endif
