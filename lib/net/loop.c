#include "net/loop_priv.h"

#include "base/check.h"
#include "net/hangup_priv.h"

#include <event2/event.h>
#include <event2/thread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOP_MAGIC 0x4c4f4f50u
#define TIMER_MAGIC 0x54494d52u
#define LOOP_SIGNALS_MAX 8

struct grave {
    loop_fn fn;
    void *context;
};

struct signal_hook {
    struct event *event;
    loop_fn fn;
    void *context;
};

struct loop {
    uint32_t magic;
    struct event_base *base;
    struct hangups *hangups;
    struct event *wake_event;
    int wake_fd;
    atomic_bool stopping;
    struct mono now; /* ns == 0: not read in this turn yet */
    loop_fn wake_fn;
    void *wake_context;
    loop_fn turn_end_fn;
    void *turn_end_context;
    loop_fn rest_fn;
    void *rest_context;
    uint64_t rest_max_ns;
    struct mono gathered; /* since when something is; ns == 0: nothing */
    struct signal_hook signals[LOOP_SIGNALS_MAX];
    size_t signal_count;
    struct loop_flush flushes; /* ring head */
    struct loop_flush ends;    /* ring head: what loop_free() ends */
    struct grave *graves;
    size_t grave_count;
    size_t grave_size;
    int64_t conns;
};

struct timer {
    uint32_t magic;
    struct loop *loop;
    struct event *event;
    loop_fn fn;
    void *context;
    struct mono deadline;
    struct mono armed; /* when the libevent timer fires; ns == 0: not armed */
    bool set;
};

static void
on_wake(evutil_socket_t fd, short what, void *context)
{
    struct loop *loop = context;
    uint64_t count;

    (void)what;
    ASSERT(loop->magic == LOOP_MAGIC);
    if (read(fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
        return;
    if (loop->wake_fn != NULL)
        loop->wake_fn(loop->wake_context);
}

enum err
loop_new(struct loop **out)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    struct event_config *config;
    enum err e = ERR_NOMEM;

    if (loop == NULL)
        return ERR_NOMEM;
    loop->magic = LOOP_MAGIC;
    loop->flushes.next = loop->flushes.prev = &loop->flushes;
    loop->ends.next = loop->ends.prev = &loop->ends;
    config = event_config_new();
    if (config == NULL)
        goto fail_loop;
    /* One thread owns the base; other threads only write the eventfd. Precise timers would
     * cost a timerfd call in every turn. */
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    loop->base = event_base_new_with_config(config);
    event_config_free(config);
    if (loop->base == NULL)
        goto fail_loop;
    e = hangups_new(loop->base, &loop->hangups);
    if (e != ERR_OK)
        goto fail_base;
    e = ERR_IO;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0)
        goto fail_hangups;
    loop->wake_event = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
    if (loop->wake_event == NULL || event_add(loop->wake_event, NULL) != 0)
        goto fail_fd;
    *out = loop;
    return ERR_OK;

fail_fd:
    if (loop->wake_event != NULL)
        event_free(loop->wake_event);
    (void)close(loop->wake_fd);
fail_hangups:
    hangups_free(&loop->hangups);
fail_base:
    event_base_free(loop->base);
fail_loop:
    free(loop);
    return e;
}

static void
bury_all(struct loop *loop)
{
    /* A destructor may bury more: the list is walked by index, never by pointer. */
    for (size_t i = 0; i < loop->grave_count; i++) {
        struct grave g = loop->graves[i];

        g.fn(g.context);
    }
    loop->grave_count = 0;
}

static void
call_all(struct loop_flush *ring)
{
    while (ring->next != ring) {
        struct loop_flush *f = ring->next;

        loop_flush_forget(f);
        f->fn(f);
    }
}

void
loop_free(struct loop **out)
{
    struct loop *loop = *out;

    if (loop == NULL)
        return;
    call_all(&loop->flushes);
    call_all(&loop->ends);
    bury_all(loop);
    for (size_t i = 0; i < loop->signal_count; i++)
        event_free(loop->signals[i].event);
    event_free(loop->wake_event);
    (void)close(loop->wake_fd);
    hangups_free(&loop->hangups);
    event_base_free(loop->base);
    free(loop->graves);
    loop->magic = 0;
    free(loop);
    *out = NULL;
}

static void
rest(struct loop *loop)
{
    loop->gathered.ns = 0;
    loop->rest_fn(loop->rest_context);
}

void
loop_run(struct loop *loop)
{
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
        bool holds = loop->gathered.ns != 0;

        loop->now.ns = 0;
        (void)event_base_get_max_events(loop->base, EVENT_BASE_COUNT_ACTIVE, 1);
        if (event_base_loop(loop->base, holds ? EVLOOP_NONBLOCK : EVLOOP_ONCE) < 0)
            return;
        if (holds && (event_base_get_max_events(loop->base, EVENT_BASE_COUNT_ACTIVE, 1) == 0 ||
                      clock_mono().ns - loop->gathered.ns > loop->rest_max_ns))
            rest(loop);
        call_all(&loop->flushes);
        bury_all(loop);
        if (loop->turn_end_fn != NULL)
            loop->turn_end_fn(loop->turn_end_context);
    }
    if (loop->gathered.ns != 0)
        rest(loop);
}

void
loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    loop_wake(loop);
}

struct mono
loop_now(struct loop *loop)
{
    if (loop->now.ns == 0)
        loop->now = clock_mono();
    return loop->now;
}

void
loop_wake(struct loop *loop)
{
    uint64_t one = 1;

    /* EAGAIN means the counter is full: the loop will wake anyway. */
    if (write(loop->wake_fd, &one, sizeof(one)) < 0)
        return;
}

void
loop_on_wake(struct loop *loop, loop_fn fn, void *context)
{
    loop->wake_fn = fn;
    loop->wake_context = context;
}

void
loop_on_rest(struct loop *loop, loop_fn fn, void *context, uint64_t max_us)
{
    loop->rest_fn = fn;
    loop->rest_context = context;
    loop->rest_max_ns = max_us * 1000;
}

void
loop_on_turn_end(struct loop *loop, loop_fn fn, void *context)
{
    loop->turn_end_fn = fn;
    loop->turn_end_context = context;
}

void
loop_gathered(struct loop *loop)
{
    ASSERT(loop->rest_fn != NULL);
    if (loop->gathered.ns == 0)
        loop->gathered = loop_now(loop);
}

static void
on_signal(evutil_socket_t fd, short what, void *context)
{
    struct signal_hook *hook = context;

    (void)fd;
    (void)what;
    hook->fn(hook->context);
}

enum err
loop_on_signal(struct loop *loop, int signal_number, loop_fn fn, void *context)
{
    struct signal_hook *hook;

    if (loop->signal_count == LOOP_SIGNALS_MAX)
        return ERR_FULL;
    hook = &loop->signals[loop->signal_count];
    hook->fn = fn;
    hook->context = context;
    hook->event = evsignal_new(loop->base, signal_number, on_signal, hook);
    if (hook->event == NULL)
        return ERR_NOMEM;
    if (event_add(hook->event, NULL) != 0) {
        event_free(hook->event);
        return ERR_IO;
    }
    loop->signal_count++;
    return ERR_OK;
}

void
loop_bury(struct loop *loop, loop_fn fn, void *context)
{
    if (loop->grave_count == loop->grave_size) {
        size_t size = loop->grave_size == 0 ? 64 : loop->grave_size * 2;
        struct grave *graves = realloc(loop->graves, size * sizeof(*graves));

        /* Without memory for the list the object is leaked, never freed under a caller. */
        if (graves == NULL)
            return;
        loop->graves = graves;
        loop->grave_size = size;
    }
    loop->graves[loop->grave_count++] = (struct grave){fn, context};
}

struct event_base *
loop_base(struct loop *loop)
{
    ASSERT(loop->magic == LOOP_MAGIC);
    return loop->base;
}

struct hangups *
loop_hangups(struct loop *loop)
{
    ASSERT(loop->magic == LOOP_MAGIC);
    return loop->hangups;
}

void
loop_count_conn(struct loop *loop, int by)
{
    loop->conns += by;
}

int64_t
loop_conns(const struct loop *loop)
{
    return loop->conns;
}

static void
list_flush(struct loop_flush *ring, struct loop_flush *f)
{
    if (f->prev != NULL)
        return;
    f->prev = ring->prev;
    f->next = ring;
    f->prev->next = f;
    ring->prev = f;
}

void
loop_flush_later(struct loop *loop, struct loop_flush *f)
{
    list_flush(&loop->flushes, f);
}

void
loop_at_end(struct loop *loop, struct loop_flush *f)
{
    list_flush(&loop->ends, f);
}

void
loop_flush_forget(struct loop_flush *f)
{
    if (f->prev == NULL)
        return;
    f->prev->next = f->next;
    f->next->prev = f->prev;
    f->prev = f->next = NULL;
}

static void
timer_arm(struct timer *t, struct mono now)
{
    uint64_t ns = t->deadline.ns > now.ns ? t->deadline.ns - now.ns : 0;
    struct timeval tv = {.tv_sec = (time_t)(ns / UINT64_C(1000000000)),
                         .tv_usec = (suseconds_t)(ns % UINT64_C(1000000000) / 1000)};

    if (event_add(t->event, &tv) == 0)
        t->armed = t->deadline;
}

static void
on_timer(evutil_socket_t fd, short what, void *context)
{
    struct timer *t = context;
    struct mono now = loop_now(t->loop);

    (void)fd;
    (void)what;
    ASSERT(t->magic == TIMER_MAGIC);
    t->armed.ns = 0;
    if (!t->set)
        return;
    /* The deadline moved on since the event was armed; a millisecond early counts. */
    if (t->deadline.ns > now.ns + 1000000) {
        timer_arm(t, now);
        return;
    }
    t->set = false;
    t->fn(t->context);
}

enum err
timer_new(struct loop *loop, loop_fn fn, void *context, struct timer **out)
{
    struct timer *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return ERR_NOMEM;
    t->magic = TIMER_MAGIC;
    t->loop = loop;
    t->fn = fn;
    t->context = context;
    t->event = evtimer_new(loop->base, on_timer, t);
    if (t->event == NULL) {
        free(t);
        return ERR_NOMEM;
    }
    *out = t;
    return ERR_OK;
}

void
timer_free(struct timer **out)
{
    struct timer *t = *out;

    if (t == NULL)
        return;
    ASSERT(t->magic == TIMER_MAGIC);
    event_free(t->event);
    t->magic = 0;
    free(t);
    *out = NULL;
}

void
timer_set(struct timer *t, uint64_t ms)
{
    struct mono now = loop_now(t->loop);

    t->deadline = mono_add_ms(now, ms);
    t->set = true;
    /* Armed earlier than the new deadline: let it fire and look again. */
    if (t->armed.ns != 0 && t->armed.ns <= t->deadline.ns)
        return;
    timer_arm(t, now);
}

void
timer_clear(struct timer *t)
{
    t->set = false;
}
