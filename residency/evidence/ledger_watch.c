#include "base/check.h"
#include "base/clock.h"
#include "residency/evidence/ledger_priv.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Runs of this folder that another process wrote when this one began: the one that this
 * process took over from, and at times one before it. Their ends are looked for a few times
 * a second, because a lock can be waited for only by a thread that can't be stopped. */

#define WATCH_MS 200

/* Under the lock. True when the ledger is about to close. */
static bool
wait_on(struct ledger *l)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += WATCH_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    if (!l->watch_stop)
        (void)pthread_cond_timedwait(&l->watch_changed, &l->watch_lock, &until);
    return l->watch_stop;
}

static bool
is_held(const struct ledger *l, const char *name)
{
    int fd = -1;
    enum err e = ledger_run_probe(l->runs_dir, name, &fd);

    if (fd >= 0)
        (void)close(fd);
    return e == ERR_EXIST;
}

/* What the run came to is written down in this one, so that nothing of it can be cut off
 * later without a contradiction. */
static enum err
write_down(struct ledger *l, const char *run, uint64_t frames)
{
    uint8_t storage[CONTROL_TEXT_MAX];
    struct text text;

    text_init(&text, storage, sizeof(storage));
    control_write_previous_end(&text, run, frames, clock_wall_ms());
    return ledger_control(l, text_slice(&text), false);
}

/* False: its process still holds it. */
static bool
finish(struct ledger *l, const char *name, bool is_last)
{
    char why[256] = "";
    struct ledger_closed closed = {0};
    struct ledger_run_over over = {.run = name + LEDGER_RUN_AT, .why = why, .alone = is_last};

    if (is_held(l, name))
        return false;
    over.result = ledger_recover_run(l->runs_dir, name, clock_wall_ms(), &closed, why, sizeof(why));
    if (over.result == ERR_EXIST)
        return false;
    over.died = closed.was_open;
    over.lost = closed.lost;
    if (over.result == ERR_OK)
        over.result = write_down(l, over.run, closed.frames);
    if (is_last)
        atomic_store(&l->alone, true);
    if (l->opts.run_over != NULL)
        l->opts.run_over(l->opts.wake_context, &over);
    return true;
}

static void *
watch_main(void *arg)
{
    struct ledger *l = arg;
    struct ledger_runs *live = &l->live;

    ASSERT(l->magic == LEDGER_MAGIC);
    for (;;) {
        bool stop;

        (void)pthread_mutex_lock(&l->watch_lock);
        stop = wait_on(l);
        (void)pthread_mutex_unlock(&l->watch_lock);
        if (stop)
            return NULL;
        for (size_t i = 0; i < live->count;) {
            if (!finish(l, live->names[i], live->count == 1)) {
                i++;
                continue;
            }
            live->count--;
            memmove(live->names[i], live->names[i + 1], (live->count - i) * sizeof(live->names[0]));
        }
        if (live->count == 0)
            return NULL;
    }
}

enum err
ledger_watch_start(struct ledger *l)
{
    atomic_store(&l->alone, l->live.count == 0);
    if (l->live.count == 0)
        return ERR_OK;
    if (pthread_create(&l->watch_thread, NULL, watch_main, l) != 0)
        return ERR_NOMEM;
    l->watching = true;
    return ERR_OK;
}

void
ledger_watch_stop(struct ledger *l)
{
    if (!l->watching)
        return;
    (void)pthread_mutex_lock(&l->watch_lock);
    l->watch_stop = true;
    (void)pthread_cond_signal(&l->watch_changed);
    (void)pthread_mutex_unlock(&l->watch_lock);
    (void)pthread_join(l->watch_thread, NULL);
    l->watching = false;
}
