#ifndef NODE_ANSWER_FACTS_H
#define NODE_ANSWER_FACTS_H

#include "base/slice.h"
#include "node/endpoint.h"
#include "residency/evidence/record.h"

#include <stdbool.h>
#include <stdint.h>

/* Model, response id and usage as the backend reported them, read while the answer passes:
 * a pure machine over its JSON texts (one, or one for each event or line of a stream) that
 * keeps no more of them than these values. Only members of the outermost object count, so
 * nothing inside a content string or a nested object is taken for them; a usage counts when
 * its object is whole. A name spelled with escapes is not recognized: not reported rather
 * than guessed. */

#define ANSWER_NAME_MAX 24 /* bytes of a member's name; longer ones are none of ours */

/* One more than a record holds: the record sees that it must cut. */
struct answer_text {
    char bytes[RECORD_FOREIGN_MAX + 1];
    size_t len;
    bool has; /* whole; the first one seen counts */
};

struct answer_facts {
    enum endpoint_usage usage;
    uint32_t phase;
    uint32_t level; /* open objects that are read: the outermost, and the usage in it */
    uint64_t deep;  /* open containers that are skipped */
    bool escaped;   /* the last byte of the string was a backslash */
    char name[ANSWER_NAME_MAX];
    size_t name_len;           /* ANSWER_NAME_MAX: none of ours */
    struct answer_text *taken; /* where the string under way goes; NULL: nowhere */
    bool taken_ok;
    int64_t number;                     /* -1: no count */
    int64_t new_prompt, new_completion; /* of the usage object under way */
    struct answer_text model, response_id;
    int64_t prompt_tokens; /* of the last usage object that was whole; -1: not seen */
    int64_t completion_tokens;
};

void answer_facts_init(struct answer_facts *f, enum endpoint_usage usage);
/* The next JSON text begins: what follows is none of the one before. */
void answer_facts_begin(struct answer_facts *f);
void answer_facts_add(struct answer_facts *f, struct slice bytes);
/* What a text holds; empty with p == NULL: not reported. Points into it. */
struct slice answer_text_slice(const struct answer_text *t);

#endif
