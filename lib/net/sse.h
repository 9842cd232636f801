#ifndef NET_SSE_H
#define NET_SSE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Where the events of a stream of server-sent events begin and end (WHATWG HTML section
 * 9.2.6): line ends LF, CRLF and CR, a byte order mark, comments, data over several lines,
 * and fields that are of no interest here. Pure; the state has a few bytes however long an
 * event is, and nothing of it is kept. The same bytes in any slicing tell the same. */

enum sse_what {
    SSE_MORE,  /* all bytes are used up */
    SSE_DATA,  /* *piece is some of the data of the event under way */
    SSE_EVENT, /* the event is complete; a block without data (comments, ids) is none */
};

struct sse {
    uint32_t phase;
    uint32_t matched;      /* bytes of the name or mark that the line may still become */
    uint32_t done_matched; /* bytes of [DONE] that the event's data begins with */
    bool is_open;          /* the block has a line, or a part of one */
    bool has_data;         /* one of its lines was data */
    bool after_cr;         /* the last byte was a CR: an LF belongs to it */
    bool uses_crlf;        /* some CR was followed by its LF */
    bool done;             /* an event was [DONE], as OpenAI's streams end */
};

void sse_init(struct sse *s);
/* Takes *used bytes of `in`. *piece, for SSE_DATA, points into `in` or to static storage.
 * Call again with the rest until SSE_MORE. An event is told with the first byte of its
 * empty line's end: an LF behind that CR belongs to no event. */
enum sse_what sse_next(struct sse *s, struct slice in, struct slice *piece, size_t *used);
/* Whether an event or comment of ours may stand here. Between the CR and the LF of a stream
 * that ends its lines with both it may not. */
bool sse_at_boundary(const struct sse *s);

#endif
