#include "node/endpoint.h"

#include "base/check.h"

/* Backends of kind `openai` are whatever speaks OpenAI's API: what they lack they say with
 * 404 of their own. */
#define KINDS_ALL ENDPOINT_KINDS_ALL
#define KINDS_GENERIC ENDPOINT_KIND(KIND_OPENAI)
#define KINDS_VLLM (KINDS_GENERIC | ENDPOINT_KIND(KIND_VLLM))
#define KINDS_RANKERS (KINDS_VLLM | ENDPOINT_KIND(KIND_LLAMACPP))
#define KINDS_OLLAMA ENDPOINT_KIND(KIND_OLLAMA)

#define CHAT .operation = OPERATION_CHAT
#define COMPLETION .operation = OPERATION_TEXT_COMPLETION
#define EMBEDDINGS .operation = OPERATION_EMBEDDINGS
/* OpenAI's first two endpoints: their streams tell their usage only when they are asked. */
#define DONE .end = END_DONE, .stream_options = true
#define LINES .stream_default = true, .end = END_OLLAMA
#define RESPONSES .end = END_RESPONSES, .wrapper = "response"
#define MESSAGES .end = END_MESSAGES, .wrapper = "message"

/* ONCE: work that is dear to do twice is not sent again to where it may have begun. */
#define ONCE .on_mesh = true, .on_public = true
#define AGAIN .replay_safe = true, ONCE

/* clang-format off */
static const struct endpoint endpoints[] = {
    {HTTP_POST, "/v1/chat/completions", "chat_completions", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_SSE, USAGE_OPENAI, KINDS_ALL, CHAT, DONE, AGAIN},
    {HTTP_POST, "/v1/completions", "completions", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_SSE, USAGE_OPENAI, KINDS_ALL, COMPLETION, DONE, AGAIN},
    {HTTP_POST, "/v1/embeddings", "embeddings", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI, KINDS_ALL, EMBEDDINGS, AGAIN},
    {HTTP_POST, "/v1/responses", "responses", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_SSE, USAGE_INPUT_OUTPUT, KINDS_ALL, CHAT, RESPONSES, AGAIN},
    {HTTP_POST, "/v1/messages", "messages", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_SSE, USAGE_MESSAGES, KINDS_ALL, CHAT, MESSAGES, AGAIN},
    {HTTP_POST, "/v1/moderations", "moderations", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_NONE, KINDS_GENERIC, AGAIN},
    {HTTP_POST, "/v1/rerank", "rerank", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI, KINDS_RANKERS, AGAIN},
    {HTTP_POST, "/rerank", "rerank", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI, KINDS_RANKERS, AGAIN},
    {HTTP_POST, "/v1/score", "score", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI, KINDS_VLLM, AGAIN},
    {HTTP_POST, "/score", "score", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_OPENAI, KINDS_VLLM, AGAIN},
    {HTTP_POST, "/v1/audio/speech", "audio_speech", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_SSE, USAGE_NONE, KINDS_VLLM, ONCE},
    {HTTP_POST, "/v1/audio/transcriptions", "audio_transcriptions", ENDPOINT_INFERENCE,
     ENDPOINT_FORM, STREAM_SSE, USAGE_INPUT_OUTPUT, KINDS_VLLM, AGAIN},
    {HTTP_POST, "/v1/audio/translations", "audio_translations", ENDPOINT_INFERENCE,
     ENDPOINT_FORM, STREAM_SSE, USAGE_INPUT_OUTPUT, KINDS_VLLM, AGAIN},
    {HTTP_POST, "/v1/images/generations", "images_generations", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_SSE, USAGE_INPUT_OUTPUT, KINDS_VLLM, ONCE},
    {HTTP_POST, "/v1/images/edits", "images_edits", ENDPOINT_INFERENCE,
     ENDPOINT_FORM, STREAM_SSE, USAGE_INPUT_OUTPUT, KINDS_VLLM, ONCE},
    {HTTP_POST, "/v1/images/variations", "images_variations", ENDPOINT_INFERENCE,
     ENDPOINT_FORM, STREAM_NONE, USAGE_NONE, KINDS_VLLM, ONCE},
    {HTTP_POST, "/api/chat", "ollama_chat", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NDJSON, USAGE_OLLAMA, KINDS_OLLAMA, LINES, CHAT, AGAIN},
    {HTTP_POST, "/api/generate", "ollama_generate", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NDJSON, USAGE_OLLAMA, KINDS_OLLAMA, LINES, COMPLETION, AGAIN},
    {HTTP_POST, "/api/embed", "ollama_embed", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_OLLAMA, KINDS_OLLAMA, EMBEDDINGS, AGAIN},
    {HTTP_POST, "/api/embeddings", "ollama_embeddings", ENDPOINT_INFERENCE,
     ENDPOINT_JSON, STREAM_NONE, USAGE_NONE, KINDS_OLLAMA, EMBEDDINGS, AGAIN},

    {HTTP_GET, "/v1/models", "models", ENDPOINT_MODELS, .on_public = true},
    {HTTP_GET, "/api/tags", "ollama_tags", ENDPOINT_TAGS, .on_public = true},
    {HTTP_GET, "/.well-known/jwks.json", "jwks", ENDPOINT_JWKS, .on_public = true},
    {HTTP_GET, "/health", "health", ENDPOINT_HEALTH, .on_mesh = true},
};
/* clang-format on */

const struct endpoint *
endpoint_passthrough(void)
{
    static const struct endpoint row = {
        HTTP_POST,        "/",          "passthrough",      ENDPOINT_INFERENCE,   ENDPOINT_JSON,
        STREAM_SSE,       USAGE_OPENAI, .kinds = KINDS_ALL, .replay_safe = false, .on_mesh = true,
        .on_public = true};

    return &row;
}

const struct endpoint *
endpoint_at(size_t index)
{
    return index < ARRAY_COUNT(endpoints) ? &endpoints[index] : NULL;
}

const struct endpoint *
endpoint_find(enum http_method method, struct slice path, bool mesh, uint32_t *methods)
{
    const struct endpoint *found = NULL;

    *methods = 0;
    for (size_t i = 0; i < ARRAY_COUNT(endpoints); i++) {
        const struct endpoint *e = &endpoints[i];

        if (!(mesh ? e->on_mesh : e->on_public) || !slice_is(path, e->path))
            continue;
        *methods |= 1u << e->method;
        if (e->method == method)
            found = e;
    }
    return found;
}
