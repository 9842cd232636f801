#ifndef NODE_ENDPOINT_H
#define NODE_ENDPOINT_H

#include "base/slice.h"
#include "net/http.h"
#include "residency/charter.h"

#include <stdbool.h>
#include <stdint.h>

/* What the node answers on its public and mesh listeners: one row an endpoint. What a stage
 * of the journey must know of an endpoint stands in its row, so that a new one is a new row
 * (docs/endpoints.md is this table for readers). */

enum endpoint_kind {
    ENDPOINT_INFERENCE, /* a body with a model: goes through the journey */
    ENDPOINT_MODELS,    /* the tenant's own models, as OpenAI's list */
    ENDPOINT_TAGS,      /* the same as Ollama's list */
    ENDPOINT_JWKS,      /* the node's attestation keys; no credential asked */
    ENDPOINT_HEALTH,    /* mesh listener only: liveness for peers */
};

/* What the body is, and so where the model stands. */
enum endpoint_body {
    ENDPOINT_NO_BODY,
    ENDPOINT_JSON, /* the member "model" of the outermost object */
    ENDPOINT_FORM, /* multipart/form-data: the field "model" */
};

/* How an answer streams, when it does. */
enum endpoint_stream { STREAM_NONE, STREAM_SSE, STREAM_NDJSON };

/* What the members are called in which an answer counts tokens. */
enum endpoint_usage {
    USAGE_NONE,
    USAGE_OPENAI,       /* usage.prompt_tokens, usage.completion_tokens */
    USAGE_INPUT_OUTPUT, /* usage.input_tokens, usage.output_tokens */
    USAGE_MESSAGES,     /* the same; what its stream's beginning says of the output is no count */
    USAGE_OLLAMA,       /* prompt_eval_count, eval_count at the top */
    USAGE_COUNT
};

/* The event or line without which a stream is not whole, however its framing ended. */
enum endpoint_end {
    END_NONE,      /* none that all servers send */
    END_DONE,      /* [DONE] */
    END_RESPONSES, /* an event of type response.completed, .failed or .incomplete */
    END_MESSAGES,  /* an event of type message_stop */
    END_OLLAMA,    /* a line with "done":true */
    END_COUNT
};

/* The kind of operation, as metrics are labelled (gen_ai.operation.name). */
enum endpoint_operation {
    OPERATION_NONE,
    OPERATION_CHAT,
    OPERATION_TEXT_COMPLETION,
    OPERATION_EMBEDDINGS,
    OPERATION_COUNT
};
#define ENDPOINT_KIND(k) (1u << (k))
#define ENDPOINT_KINDS_ALL                                                                \
    (ENDPOINT_KIND(KIND_OPENAI) | ENDPOINT_KIND(KIND_VLLM) | ENDPOINT_KIND(KIND_OLLAMA) | \
     ENDPOINT_KIND(KIND_LLAMACPP))

struct endpoint {
    enum http_method method;
    const char *path;
    const char *name; /* in A1 and metrics */
    enum endpoint_kind kind;
    enum endpoint_body body;
    enum endpoint_stream stream;
    enum endpoint_usage usage;
    uint32_t kinds;      /* INFERENCE: bit k: backends of that enum charter_kind speak it */
    bool stream_default; /* what an absent `stream` means */
    enum endpoint_operation operation;
    enum endpoint_end end; /* of a stream in the format above */
    const char *wrapper;   /* member of a stream's events whose object has model, id and usage as
                              a unary answer has them at the top; NULL: they stand at the top */
    bool stream_options;   /* a stream's body asks for its usage by OpenAI's stream_options */
    bool replay_safe;      /* may be sent again when the connection died without an answer byte */
    bool on_mesh;
    bool on_public;
};

/* By canonical path. *methods: a bit for each method that the path takes; none: unknown path. */
const struct endpoint *endpoint_find(enum http_method method, struct slice path, bool mesh,
                                     uint32_t *methods);
/* The row of a path that a tenant's charter opens (`passthrough`): JSON with a model. */
const struct endpoint *endpoint_passthrough(void);
/* The rows one after the other, for tests and documents; NULL behind the last. */
const struct endpoint *endpoint_at(size_t index);

#endif
