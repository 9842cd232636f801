#ifndef BASE_JSON_PRIV_H
#define BASE_JSON_PRIV_H

#include "base/json.h"

/* Between json.c (the tree; the only file that knows cJSON) and json_reader.c. */

/* The 1-based line where v stands (a member: its key) in the text of doc. */
unsigned json_line_of(const struct json_doc *doc, const struct json *v);

#endif
