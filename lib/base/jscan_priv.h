#ifndef BASE_JSCAN_PRIV_H
#define BASE_JSCAN_PRIV_H

#include "base/jscan.h"

/* Between jscan.c (structure) and jscan_keys.c (strings, duplicate keys). */

/* Reads one escape at the front of s (its backslash): the code point, never NUL and never
 * a surrogate, and how many bytes it takes. Returns NULL, or what is wrong with it. */
const char *jscan_escape_read(struct slice s, uint32_t *code, size_t *len);

/* Opens a key in the innermost object, which has this serial and all keys from index first
 * on. ERR_EXIST: it has the key already. ERR_FULL: too many keys are open. key->raw is
 * borrowed until the key is popped. */
MUST_USE enum err jscan_keys_push(struct jscan_keys *keys, uint32_t serial, uint32_t first,
                                  const struct jscan_token *key);
/* Closes the newest keys until count are left. */
void jscan_keys_pop_to(struct jscan_keys *keys, uint32_t count);
uint32_t jscan_keys_count(const struct jscan_keys *keys);

#endif
