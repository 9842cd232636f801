#ifndef NODE_ANSWER_FACTS_H
#define NODE_ANSWER_FACTS_H

#include "node/relay.h"

/* Model, response id and usage as the backend reported them, from the first and last bytes
 * of an answer: the whole is never held. Inside a JSON string a quote is escaped, so that
 * the unescaped spelling "usage": can only be a member. */

/* tail: a ring of `size` bytes in which byte n of the answer stands at n % size; total is
 * how many bytes the answer had. Fills model, response_id and the token counts. */
void answer_facts_read(struct slice head, const uint8_t *tail, size_t size, size_t total,
                       struct relay_facts *out);

#endif
