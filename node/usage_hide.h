#ifndef NODE_USAGE_HIDE_H
#define NODE_USAGE_HIDE_H

#include "base/buf.h"
#include "base/jscan.h"
#include "base/slice.h"
#include "net/sse.h"

#include <stdbool.h>

/* Takes out of a stream of events what is in it only because the node, and not the caller, asked
 * for its usage (stream_options.include_usage): the event with no choices and a usage, and the
 * member "usage" of every other event. All other bytes stay as they are.
 *
 * Pure but for the memory. An event is held until it is whole: nobody can read it before. One
 * that passes USAGE_EVENT_MAX, or that no memory is there for, goes on as it is, and so does what
 * is no strict JSON. The same bytes in any slicing come out the same, and comments at once. */

#define USAGE_EVENT_MAX 262144 /* as much as a stream may hold before its first event */

struct usage_hide {
    bool is_on; /* init and not released: the others mean something */
    struct sse sse;
    struct sse before;       /* as it was where the event under way began */
    struct jscan_keys *keys; /* borrowed */
    struct buf event;        /* what earlier pieces had of the event under way */
    struct buf shown;        /* an event without its usage, for one call */
    bool is_behind;          /* the stream's first block: a mark (BOM) counts there only */
    bool is_given;           /* what `event` holds was handed out by the last call */
    bool is_passing;         /* the event under way is too large */
    bool drops_lf;           /* the event that was taken out ended with a CR: so does its LF */
};

void usage_hide_init(struct usage_hide *h, struct buf_pool *pool, struct jscan_keys *keys);
void usage_hide_release(struct usage_hide *h);
/* Takes bytes off the front of *in. True: *out is what to hand on, never empty, valid until the
 * next call; call again. False: *in is used up. */
bool usage_hide_next(struct usage_hide *h, struct slice *in, struct slice *out);
/* The stream ended: what is held of an event that never became whole. */
struct slice usage_hide_rest(const struct usage_hide *h);

#endif
