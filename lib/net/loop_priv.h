#ifndef NET_LOOP_PRIV_H
#define NET_LOOP_PRIV_H

#include "net/loop.h"

struct event_base;
struct hangups;
struct loop_flush {
    struct loop_flush *next;
    struct loop_flush *prev; /* NULL when not listed */
    void (*fn)(struct loop_flush *f);
};

struct event_base *loop_base(struct loop *loop);
struct hangups *loop_hangups(struct loop *loop);
/* Lists f for one call of f->fn at the end of the turn; once, however often it is asked. */
void loop_flush_later(struct loop *loop, struct loop_flush *f);
void loop_flush_forget(struct loop_flush *f);
/* Lists f for one call of f->fn by loop_free(): for objects that have no owner but the loop. */
void loop_at_end(struct loop *loop, struct loop_flush *f);
/* A connection's descriptor was opened (1) or closed (-1). */
void loop_count_conn(struct loop *loop, int by);

#endif
