#include "node/endpoint.h"

#include "base/check.h"

/* clang-format off */
static const struct endpoint endpoints[] = {
    {H1_POST, "/v1/chat/completions", "chat_completions", ENDPOINT_INFERENCE,
     STREAM_SSE, USAGE_OPENAI, .operation = OPERATION_CHAT, .ends_with_done = true,
     .replay_safe = true, .on_mesh = true, .on_public = true},
    {H1_POST, "/v1/completions", "completions", ENDPOINT_INFERENCE,
     STREAM_SSE, USAGE_OPENAI, .operation = OPERATION_TEXT_COMPLETION, .ends_with_done = true,
     .replay_safe = true, .on_mesh = true, .on_public = true},
    {H1_POST, "/v1/embeddings", "embeddings", ENDPOINT_INFERENCE,
     STREAM_NONE, USAGE_OPENAI, .operation = OPERATION_EMBEDDINGS,
     .replay_safe = true, .on_mesh = true, .on_public = true},
    {H1_GET, "/v1/models", "models", ENDPOINT_MODELS,
     STREAM_NONE, USAGE_NONE, .replay_safe = true, .on_public = true},
    {H1_GET, "/.well-known/jwks.json", "jwks", ENDPOINT_JWKS,
     STREAM_NONE, USAGE_NONE, .replay_safe = true, .on_public = true},
    {H1_GET, "/health", "health", ENDPOINT_HEALTH,
     STREAM_NONE, USAGE_NONE, .replay_safe = true, .on_mesh = true},
};
/* clang-format on */

const struct endpoint *
endpoint_find(enum h1_method method, struct slice path, bool mesh, bool *other_method)
{
    *other_method = false;
    for (size_t i = 0; i < ARRAY_COUNT(endpoints); i++) {
        const struct endpoint *e = &endpoints[i];

        if (!(mesh ? e->on_mesh : e->on_public) || !slice_is(path, e->path))
            continue;
        if (e->method == method)
            return e;
        *other_method = true;
    }
    return NULL;
}
