#ifndef NODE_ANSWER_BODY_H
#define NODE_ANSWER_BODY_H

#include "net/ndjson.h"
#include "net/sse.h"
#include "node/answer_facts.h"

#include <stdbool.h>
#include <stdint.h>

/* What an answer's body shows while it passes: its events, where something of ours may stand
 * between them, how it ended, and its facts. Pure, and nothing of the body is kept. */

struct answer_body {
    enum endpoint_stream format; /* STREAM_NONE: one JSON text, or bytes of another kind */
    struct sse sse;
    struct ndjson ndjson;
    bool in_text;    /* the event or line under way has data */
    bool ended;      /* the endpoint's end mark was seen */
    uint64_t events; /* complete ones; [DONE] is one too */
    struct answer_facts facts;
};

/* The format that a Content-Type names. */
enum endpoint_stream answer_body_format(struct slice content_type);
void answer_body_init(struct answer_body *b, enum endpoint_stream format,
                      const struct endpoint *endpoint);
void answer_body_add(struct answer_body *b, struct slice piece);
/* Whether an event or line of ours may stand here. Never in what is no stream. */
bool answer_body_at_boundary(const struct answer_body *b);
/* The stream's own end was seen: [DONE], or its endpoint's mark. Nobody reads on behind it. */
bool answer_body_done(const struct answer_body *b);
/* Whether nothing is missing, so far as the format can tell. */
bool answer_body_is_whole(const struct answer_body *b);
/* Events without [DONE]. */
uint64_t answer_body_events(const struct answer_body *b);

#endif
