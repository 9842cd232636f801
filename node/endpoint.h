#ifndef NODE_ENDPOINT_H
#define NODE_ENDPOINT_H

#include "base/slice.h"
#include "net/h1.h"

#include <stdbool.h>

/* What the node answers on its public and mesh listeners: one row an endpoint. */

enum endpoint_kind {
    ENDPOINT_INFERENCE, /* JSON with a model: goes through the journey */
    ENDPOINT_MODELS,    /* the tenant's own models */
    ENDPOINT_JWKS,      /* the node's attestation keys; no credential asked */
    ENDPOINT_HEALTH,    /* mesh listener only: liveness for peers */
};

/* How an answer streams, when it does. */
enum endpoint_stream { STREAM_NONE, STREAM_SSE, STREAM_NDJSON };

/* What the members are called in which an answer counts tokens. */
enum endpoint_usage {
    USAGE_NONE,
    USAGE_OPENAI, /* usage.prompt_tokens, usage.completion_tokens */
};

/* The kind of operation, as metrics are labelled (gen_ai.operation.name). */
enum endpoint_operation {
    OPERATION_NONE,
    OPERATION_CHAT,
    OPERATION_TEXT_COMPLETION,
    OPERATION_EMBEDDINGS,
    OPERATION_COUNT
};

struct endpoint {
    enum h1_method method;
    const char *path;
    const char *name; /* in A1 and metrics */
    enum endpoint_kind kind;
    enum endpoint_stream stream;
    enum endpoint_usage usage;
    enum endpoint_operation operation;
    bool ends_with_done; /* its stream is whole only with the event [DONE] */
    bool replay_safe;    /* may be sent again when the connection died without an answer byte */
    bool on_mesh;
    bool on_public;
};

/* By canonical path. NULL: unknown path; *other_method: the path exists for another one. */
const struct endpoint *endpoint_find(enum h1_method method, struct slice path, bool mesh,
                                     bool *other_method);

#endif
