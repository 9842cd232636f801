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

#define ALL ENDPOINT_KINDS_ALL
#define GENERIC ENDPOINT_KIND(KIND_OPENAI)
#define VLLM (GENERIC | ENDPOINT_KIND(KIND_VLLM))
#define RANKERS (VLLM | ENDPOINT_KIND(KIND_LLAMACPP))
#define OLLAMA ENDPOINT_KIND(KIND_OLLAMA)

/* The whole table, column by column, written a second time from docs/endpoints.md: a change of
 * either must be meant. */
/* clang-format off */
static const struct {
    const char *path;
    const char *name;
    enum endpoint_body body;
    enum endpoint_stream stream;
    enum endpoint_usage usage;
    uint32_t kinds;
    enum endpoint_operation operation;
    bool stream_default;
    enum endpoint_end end;
    const char *wrapper;
    bool replay_safe;
} inference[] = {
    {"/v1/chat/completions", "chat_completions", ENDPOINT_JSON, STREAM_SSE, USAGE_OPENAI,
     ALL, OPERATION_CHAT, false, END_DONE, NULL, true},
    {"/v1/completions", "completions", ENDPOINT_JSON, STREAM_SSE, USAGE_OPENAI,
     ALL, OPERATION_TEXT_COMPLETION, false, END_DONE, NULL, true},
    {"/v1/embeddings", "embeddings", ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI,
     ALL, OPERATION_EMBEDDINGS, false, END_NONE, NULL, true},
    {"/v1/responses", "responses", ENDPOINT_JSON, STREAM_SSE, USAGE_INPUT_OUTPUT,
     ALL, OPERATION_CHAT, false, END_RESPONSES, "response", true},
    {"/v1/messages", "messages", ENDPOINT_JSON, STREAM_SSE, USAGE_MESSAGES,
     ALL, OPERATION_CHAT, false, END_MESSAGES, "message", true},
    {"/v1/moderations", "moderations", ENDPOINT_JSON, STREAM_NONE, USAGE_NONE,
     GENERIC, OPERATION_NONE, false, END_NONE, NULL, true},
    {"/v1/rerank", "rerank", ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI,
     RANKERS, OPERATION_NONE, false, END_NONE, NULL, true},
    {"/rerank", "rerank", ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI,
     RANKERS, OPERATION_NONE, false, END_NONE, NULL, true},
    {"/v1/score", "score", ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI,
     VLLM, OPERATION_NONE, false, END_NONE, NULL, true},
    {"/score", "score", ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI,
     VLLM, OPERATION_NONE, false, END_NONE, NULL, true},
    {"/v1/audio/speech", "audio_speech", ENDPOINT_JSON, STREAM_SSE, USAGE_NONE,
     VLLM, OPERATION_NONE, false, END_NONE, NULL, false},
    {"/v1/audio/transcriptions", "audio_transcriptions", ENDPOINT_FORM, STREAM_SSE,
     USAGE_INPUT_OUTPUT, VLLM, OPERATION_NONE, false, END_NONE, NULL, true},
    {"/v1/audio/translations", "audio_translations", ENDPOINT_FORM, STREAM_SSE,
     USAGE_INPUT_OUTPUT, VLLM, OPERATION_NONE, false, END_NONE, NULL, true},
    {"/v1/images/generations", "images_generations", ENDPOINT_JSON, STREAM_SSE,
     USAGE_INPUT_OUTPUT, VLLM, OPERATION_NONE, false, END_NONE, NULL, false},
    {"/v1/images/edits", "images_edits", ENDPOINT_FORM, STREAM_SSE,
     USAGE_INPUT_OUTPUT, VLLM, OPERATION_NONE, false, END_NONE, NULL, false},
    {"/v1/images/variations", "images_variations", ENDPOINT_FORM, STREAM_NONE, USAGE_NONE,
     VLLM, OPERATION_NONE, false, END_NONE, NULL, false},
    {"/api/chat", "ollama_chat", ENDPOINT_JSON, STREAM_NDJSON, USAGE_OLLAMA,
     OLLAMA, OPERATION_CHAT, true, END_OLLAMA, NULL, true},
    {"/api/generate", "ollama_generate", ENDPOINT_JSON, STREAM_NDJSON, USAGE_OLLAMA,
     OLLAMA, OPERATION_TEXT_COMPLETION, true, END_OLLAMA, NULL, true},
    {"/api/embed", "ollama_embed", ENDPOINT_JSON, STREAM_NONE, USAGE_OLLAMA,
     OLLAMA, OPERATION_EMBEDDINGS, false, END_NONE, NULL, true},
    {"/api/embeddings", "ollama_embeddings", ENDPOINT_JSON, STREAM_NONE, USAGE_NONE,
     OLLAMA, OPERATION_EMBEDDINGS, false, END_NONE, NULL, true},
};

static const struct {
    const char *path;
    const char *name;
    enum endpoint_kind kind;
    bool on_mesh;
    bool on_public;
} own[] = {
    {"/v1/models", "models", ENDPOINT_MODELS, false, true},
    {"/api/tags", "ollama_tags", ENDPOINT_TAGS, false, true},
    {"/.well-known/jwks.json", "jwks", ENDPOINT_JWKS, false, true},
    {"/health", "health", ENDPOINT_HEALTH, true, false},
};
/* clang-format on */

static const struct endpoint *
row_of(const char *path, size_t *rows)
{
    const struct endpoint *found = NULL;
    const struct endpoint *e;

    for (*rows = 0; (e = endpoint_at(*rows)) != NULL; (*rows)++)
        if (strcmp(e->path, path) == 0)
            found = e;
    assert_non_null(found);
    return found;
}

static void
test_every_column_of_what_goes_to_backends(void **state)
{
    size_t rows = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(inference); i++) {
        const struct endpoint *e = row_of(inference[i].path, &rows);

        assert_string_equal(e->name, inference[i].name);
        assert_int_equal(e->kind, ENDPOINT_INFERENCE);
        assert_int_equal(e->body, inference[i].body);
        assert_int_equal(e->stream, inference[i].stream);
        assert_int_equal(e->usage, inference[i].usage);
        assert_int_equal(e->kinds, inference[i].kinds);
        assert_int_equal(e->operation, inference[i].operation);
        assert_int_equal(e->stream_default, inference[i].stream_default);
        assert_int_equal(e->end, inference[i].end);
        assert_int_equal(e->wrapper == NULL, inference[i].wrapper == NULL);
        if (e->wrapper != NULL)
            assert_string_equal(e->wrapper, inference[i].wrapper);
        assert_int_equal(e->replay_safe, inference[i].replay_safe);
        assert_int_equal(e->stream_options, inference[i].end == END_DONE); /* the same two */
        assert_true(e->on_mesh && e->on_public);
    }
    assert_int_equal(rows, ARRAY_COUNT(inference) + ARRAY_COUNT(own));
}

static void
test_every_column_of_what_the_node_answers(void **state)
{
    size_t rows;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(own); i++) {
        const struct endpoint *e = row_of(own[i].path, &rows);

        assert_string_equal(e->name, own[i].name);
        assert_int_equal(e->kind, own[i].kind);
        assert_int_equal(e->on_mesh, own[i].on_mesh);
        assert_int_equal(e->on_public, own[i].on_public);
        assert_int_equal(e->body, ENDPOINT_NO_BODY);
        assert_int_equal(e->stream, STREAM_NONE);
        assert_int_equal(e->usage, USAGE_NONE);
        assert_int_equal(e->kinds, 0);
        assert_int_equal(e->operation, OPERATION_NONE);
        assert_int_equal(e->end, END_NONE);
        assert_false(e->stream_default || e->wrapper != NULL || e->replay_safe ||
                     e->stream_options);
    }
}

/* Nothing is known of what such a path does: any kind may serve it, and none twice. */
static void
test_every_column_of_a_passthrough(void **state)
{
    const struct endpoint *e = endpoint_passthrough();

    (void)state;
    assert_int_equal(e->method, endpoint_at(0)->method);
    assert_string_equal(e->name, "passthrough");
    assert_int_equal(e->kind, ENDPOINT_INFERENCE);
    assert_int_equal(e->body, ENDPOINT_JSON);
    assert_int_equal(e->stream, STREAM_SSE);
    assert_int_equal(e->usage, USAGE_OPENAI);
    assert_int_equal(e->kinds, ENDPOINT_KINDS_ALL);
    assert_int_equal(e->operation, OPERATION_NONE);
    assert_int_equal(e->end, END_NONE);
    assert_false(e->stream_default || e->wrapper != NULL || e->replay_safe || e->stream_options);
    assert_true(e->on_mesh && e->on_public);
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
        assert_false(e->end != END_NONE && e->stream == STREAM_NONE);
        assert_int_equal(e->end == END_OLLAMA, e->stream == STREAM_NDJSON);
        assert_false(e->wrapper != NULL && e->stream != STREAM_SSE);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_every_column_of_what_goes_to_backends),
        cmocka_unit_test(test_every_column_of_what_the_node_answers),
        cmocka_unit_test(test_every_column_of_a_passthrough),
        cmocka_unit_test(test_only_posts_are_inference),
        cmocka_unit_test(test_rows_are_whole),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
