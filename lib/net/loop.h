#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/clock.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* One event loop, one thread. A turn is: wait, run callbacks, flush what they wrote,
 * destroy what they buried. Timers are good to some milliseconds. libevent stays behind
 * this header. */

struct loop;

MUST_USE enum err loop_new(struct loop **out);
void loop_free(struct loop **loop);
/* Runs turns until loop_stop(). */
void loop_run(struct loop *loop);
/* From any thread or callback: loop_run() returns after the current turn. */
void loop_stop(struct loop *loop);
/* The monotonic time of this turn. */
struct mono loop_now(struct loop *loop);
/* From any thread: calls the wake callback on the loop's thread, at least once after the
 * last call, however many calls there were. */
void loop_wake(struct loop *loop);
typedef void (*loop_fn)(void *context);
void loop_on_wake(struct loop *loop, loop_fn fn, void *context);
/* Called on the loop's thread when the process gets the signal. At most 8. */
MUST_USE enum err loop_on_signal(struct loop *loop, int signal_number, loop_fn fn, void *context);
/* Work that is gathered while events keep coming and handed over together. After each turn
 * that left something gathered (loop_gathered) the loop looks for more events without
 * waiting; it calls fn when there are none, when the work has been held for max_us, and
 * before the loop ends. */
void loop_on_rest(struct loop *loop, loop_fn fn, void *context, uint64_t max_us);
/* Something was gathered: fn is due. Loop's thread. */
void loop_gathered(struct loop *loop);
/* Called at the end of each turn, after everything else in it. */
void loop_on_turn_end(struct loop *loop, loop_fn fn, void *context);
/* Connections of this loop whose descriptor is open: those that are closing too. */
int64_t loop_conns(const struct loop *loop);
/* fn(context) after the callbacks of this turn; for objects that end in a callback. */
void loop_bury(struct loop *loop, loop_fn fn, void *context);

/* A timer owned by its caller; armed while set. */
struct timer;
MUST_USE enum err timer_new(struct loop *loop, loop_fn fn, void *context, struct timer **out);
void timer_free(struct timer **t);
/* (Re)arms for ms from now. Moving a deadline later costs no system or heap work. */
void timer_set(struct timer *t, uint64_t ms);
void timer_clear(struct timer *t);

#endif
