#ifndef NODE_MODELS_H
#define NODE_MODELS_H

#include "base/text.h"
#include "residency/charter.h"
#include "residency/identity/identity.h"

/* The answer to GET /v1/models (OpenAI API, "List models"): the aliases that the caller's
 * roles open, nothing else. A text that didn't fit is marked so (text_ok). */
void models_write(const struct charter *charter, const struct identity *who, struct text *out);
/* The same as the answer to Ollama's GET /api/tags. Size and details are the backends' own
 * affair: they are given as empty, the digest as the charter pins it. */
void models_write_tags(const struct charter *charter, const struct identity *who, struct text *out);

#endif
