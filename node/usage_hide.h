#ifndef NODE_USAGE_HIDE_H
#define NODE_USAGE_HIDE_H

#include "base/buf.h"
#include "base/jscan.h"
#include "base/slice.h"

#include <stdbool.h>

/* Takes out of a stream of events what is in it only because the node, and not the caller, asked
 * for its usage (stream_options.include_usage): the event with no choices and a usage, and the
 * member "usage" of every other event. All other bytes stay as they are.
 *
 * Pure but for the memory. An event is held until it is whole: nobody can read it before. One
 * that passes USAGE_EVENT_MAX, or that no memory is there for, goes on as it is, and so does what
 * is no strict JSON. The same bytes in any slicing come out the same, and comments at once. */

#define USAGE_EVENT_MAX 262144 /* as much as a stream may hold before its first event */

/* Few streams have one. NULL: no memory, and then the stream goes on as it is. keys is borrowed. */
struct usage_hide;
struct usage_hide *usage_hide_new(struct buf_pool *pool, struct jscan_keys *keys);
void usage_hide_free(struct usage_hide **h);
/* Takes bytes off the front of *in. True: *out is what to hand on, never empty, valid until the
 * next call; call again. False: *in is used up. */
bool usage_hide_next(struct usage_hide *h, struct slice *in, struct slice *out);
/* The stream ended: what is held of an event that never became whole. */
struct slice usage_hide_rest(const struct usage_hide *h);

#endif
