#ifndef NET_NDJSON_H
#define NET_NDJSON_H

#include "base/slice.h"

#include <stdbool.h>

/* Where the values of a stream of JSON lines end: each line is one, ended by LF (a CR before
 * it is white space of JSON); empty lines are none. Pure; nothing of a line is kept. The same
 * bytes in any slicing tell the same. */

enum ndjson_what {
    NDJSON_MORE, /* all bytes are used up */
    NDJSON_DATA, /* *piece is some of the line under way */
    NDJSON_LINE, /* the line is complete */
};

struct ndjson {
    bool is_open;  /* bytes of a line came, and not its end */
    bool has_data; /* one of them is no white space */
};

void ndjson_init(struct ndjson *s);
/* Takes *used bytes of `in`; *piece points into it. Call again with the rest until
 * NDJSON_MORE. */
enum ndjson_what ndjson_next(struct ndjson *s, struct slice in, struct slice *piece, size_t *used);
/* Whether a line of ours may stand here. */
bool ndjson_at_boundary(const struct ndjson *s);

#endif
