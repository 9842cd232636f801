#include "node/endpoint.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void
test_rows(void **state)
{
    static const struct {
        enum http_method method;
        const char *path;
        bool mesh;
        const char *name; /* NULL: none */
        bool other_method;
    } rows[] = {
        {HTTP_POST, "/v1/chat/completions", false, "chat_completions", false},
        {HTTP_POST, "/v1/chat/completions", true, "chat_completions", false},
        {HTTP_POST, "/v1/completions", false, "completions", false},
        {HTTP_POST, "/v1/embeddings", true, "embeddings", false},
        {HTTP_GET, "/v1/models", false, "models", false},
        {HTTP_GET, "/v1/models", true, NULL, false},
        {HTTP_POST, "/v1/responses", true, "responses", false},
        {HTTP_POST, "/v1/messages", false, "messages", false},
        {HTTP_POST, "/v1/messages/count_tokens", false, NULL, false},
        {HTTP_POST, "/v1/moderations", false, "moderations", false},
        {HTTP_POST, "/rerank", true, "rerank", false},
        {HTTP_POST, "/v1/score", false, "score", false},
        {HTTP_POST, "/v1/audio/transcriptions", true, "audio_transcriptions", false},
        {HTTP_POST, "/v1/images/edits", true, "images_edits", false},
        {HTTP_POST, "/api/chat", true, "ollama_chat", false},
        {HTTP_POST, "/api/pull", false, NULL, false},
        {HTTP_GET, "/api/tags", false, "ollama_tags", false},
        {HTTP_GET, "/api/tags", true, NULL, false},
        {HTTP_GET, "/v1/responses", false, NULL, true},
        {HTTP_GET, "/.well-known/jwks.json", false, "jwks", false},
        {HTTP_GET, "/.well-known/jwks.json", true, NULL, false},
        {HTTP_GET, "/health", true, "health", false},
        {HTTP_GET, "/health", false, NULL, false},
        {HTTP_GET, "/v1/chat/completions", false, NULL, true},
        {HTTP_HEAD, "/v1/models", false, NULL, true},
        {HTTP_DELETE, "/v1/models", false, NULL, true},
        {HTTP_POST, "/health", false, NULL, false},
        {HTTP_POST, "/v1/chat/completions/", false, NULL, false},
        {HTTP_POST, "/V1/chat/completions", false, NULL, false},
        {HTTP_POST, "/v1/chat", false, NULL, false},
        {HTTP_GET, "", false, NULL, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint32_t methods = UINT32_MAX;
        const struct endpoint *e =
            endpoint_find(rows[i].method, slice_str(rows[i].path), rows[i].mesh, &methods);

        if (rows[i].name == NULL) {
            assert_null(e);
        } else {
            assert_non_null(e);
            assert_string_equal(e->name, rows[i].name);
        }
        assert_int_equal(e == NULL && methods != 0, rows[i].other_method);
        assert_int_equal(methods & (1u << rows[i].method), e != NULL ? 1u << rows[i].method : 0);
    }
}

/* What takes a model goes through the journey: nothing else may reach a backend. */
static void
test_only_posts_are_inference(void **state)
{
    static const char *const paths[] = {"/v1/models", "/.well-known/jwks.json", "/health"};
    uint32_t methods;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        for (int mesh = 0; mesh < 2; mesh++) {
            const struct endpoint *e =
                endpoint_find(HTTP_GET, slice_str(paths[i]), mesh == 1, &methods);

            assert_true(e == NULL || e->kind != ENDPOINT_INFERENCE);
        }
}

/* What the journey relies on: one row a path and method; what is inference has a body and
 * backends that speak it, goes through peers too, and has a name that fits an A1. */
static void
test_rows_are_whole(void **state)
{
    const struct endpoint *e;

    (void)state;
    for (size_t i = 0; (e = endpoint_at(i)) != NULL; i++) {
        for (size_t k = 0; k < i; k++)
            assert_false(endpoint_at(k)->method == e->method &&
                         strcmp(endpoint_at(k)->path, e->path) == 0);
        assert_true(strlen(e->name) < 32);
        if (e->kind != ENDPOINT_INFERENCE)
            continue;
        assert_int_equal(e->method, HTTP_POST);
        assert_int_not_equal(e->body, ENDPOINT_NO_BODY);
        assert_true(e->on_mesh && e->on_public);
        assert_int_not_equal(e->kinds & ENDPOINT_KINDS_ALL, 0);
        assert_false(e->stream_default && e->stream == STREAM_NONE);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_only_posts_are_inference),
        cmocka_unit_test(test_rows_are_whole),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
