#ifndef NODE_ANSWER_FACTS_H
#define NODE_ANSWER_FACTS_H

#include "base/slice.h"
#include "node/endpoint.h"
#include "residency/evidence/record.h"

#include <stdbool.h>
#include <stdint.h>

/* Model, response id and usage as the backend reported them, read while the answer passes:
 * a pure machine over its JSON texts (one, or one for each event or line of a stream) that
 * keeps no more of them than these values. Only members of the outermost object count, and
 * of the one object in it that the endpoint's events wrap an answer in, so nothing inside a
 * content string or another nested object is taken for them; a usage counts when its object
 * is whole. A name spelled with escapes is not recognized: not reported rather than guessed. */

#define ANSWER_NAME_MAX 24 /* bytes of a name or a type; longer ones are none of ours */

/* One more than a record holds: the record sees that it must cut. */
struct answer_text {
    char bytes[RECORD_FOREIGN_MAX + 1];
    size_t len;
    bool has; /* whole; the first one seen counts */
};

struct answer_facts {
    enum endpoint_usage usage;
    enum endpoint_end end; /* END_NONE: of another format, or one that has no mark */
    const char *wrapper;   /* NULL: none */
    uint32_t phase;
    uint32_t level;  /* open objects that are read: the outermost, wrapper and usage in it */
    bool in_wrapper; /* one of them is the wrapper */
    bool marked;     /* the text under way has the member that is an end mark */
    bool ends;       /* it has, and is whole */
    bool escaped;    /* the last byte of the string was a backslash */
    uint64_t deep;   /* open containers that are skipped */
    char name[ANSWER_NAME_MAX];
    size_t name_len;           /* ANSWER_NAME_MAX: none of ours */
    struct answer_text *taken; /* where the string under way goes; NULL: nowhere */
    bool taken_ok;
    bool is_type;                       /* the string under way: goes where its name was */
    uint32_t matched;                   /* bytes of "true"; past them: another word */
    int64_t number;                     /* -1: no count */
    int64_t new_prompt, new_completion; /* of the usage object under way */
    struct answer_text model, response_id;
    int64_t prompt_tokens; /* of the last usage object that was whole; -1: not seen */
    int64_t completion_tokens;
};

/* What an answer of that endpoint in that format holds. */
void answer_facts_init(struct answer_facts *f, const struct endpoint *endpoint,
                       enum endpoint_stream format);
/* The next JSON text begins: what follows is none of the one before. */
void answer_facts_begin(struct answer_facts *f);
void answer_facts_add(struct answer_facts *f, struct slice bytes);
/* What a text holds; empty with p == NULL: not reported. Points into it. */
struct slice answer_text_slice(const struct answer_text *t);

#endif
