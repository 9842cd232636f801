#include "base/check.h"
#include "base/clock.h"
#include "residency/evidence/ledger_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The commit thread:
 *
 *   take all that was submitted -> sync new subject keys -> frames into one buffer
 *   -> one write, one fdatasync -> answers to the workers, one wake each -> again
 *
 * What arrives meanwhile is the next batch. Records that nobody waits for (A2s) ride along,
 * or start a batch of their own after LEDGER_LAZY_MS. After a failed write or sync nothing
 * is tried again: the kernel may have dropped the pages and would report the next sync as
 * good. Every entry then comes back with ERR_IO. */

static struct ledger_entry *
reversed(struct ledger_entry *newest)
{
    struct ledger_entry *oldest = NULL;

    while (newest != NULL) {
        struct ledger_entry *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

void
ledger_push(struct ledger *l, struct ledger_entry *newest, struct ledger_entry *oldest, bool wake)
{
    struct ledger_entry *head = atomic_load_explicit(&l->submitted, memory_order_relaxed);
    uint64_t one = 1;

    do {
        oldest->next = head;
    } while (!atomic_compare_exchange_weak(&l->submitted, &head, newest));
    if (!wake)
        return;
    atomic_store(&l->wanted, true);
    /* Both sides are sequentially consistent: either the commit thread sees that it is wanted
     * before it sleeps, or this sees that it sleeps. */
    if (atomic_load(&l->asleep) && atomic_exchange(&l->asleep, false)) {
        while (write(l->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
}

static void
sleep_until_wanted(struct ledger *l)
{
    struct pollfd wait = {.fd = l->event_fd, .events = POLLIN};
    uint64_t count;

    atomic_store(&l->asleep, true);
    if (atomic_load(&l->wanted) || atomic_load(&l->stop)) {
        atomic_store(&l->asleep, false);
        return;
    }
    /* An open request's A2 comes without waking anybody. */
    while (atomic_load(&l->asleep) &&
           poll(&wait, 1, atomic_load(&l->open) > 0 ? LEDGER_LAZY_MS : -1) < 0 && errno == EINTR)
        ;
    atomic_store(&l->asleep, false);
    /* In any case: who cleared `asleep` may write after it was read here, or before the sleep
     * began, and an event that stays would end every later sleep at once. */
    (void)!read(l->event_fd, &count, sizeof(count)); /* non-blocking */
}

static enum err
index_room(struct ledger *l, uint32_t slot)
{
    size_t size = l->next_index_size == 0 ? 64 : l->next_index_size;
    uint64_t *bigger;

    if (slot < l->next_index_size)
        return ERR_OK;
    while (size <= slot)
        size *= 2;
    bigger = realloc(l->next_index, size * sizeof(*bigger));
    if (bigger == NULL)
        return ERR_NOMEM;
    memset(bigger + l->next_index_size, 0, (size - l->next_index_size) * sizeof(*bigger));
    l->next_index = bigger;
    l->next_index_size = size;
    return ERR_OK;
}

static enum err
add_entry(struct ledger *l, struct ledger_entry *entry)
{
    enum err e;

    if (entry->type == WAL_CONTROL) {
        const struct ledger_control_item *item = (const void *)entry;

        e = item->opens_slot == WAL_SLOT_NONE ? ERR_OK : index_room(l, item->opens_slot);
        if (e != ERR_OK || item->len == 0)
            return e;
        return wal_writer_add(&l->writer, WAL_CONTROL, WAL_SLOT_NONE, 0,
                              slice_of(item->bytes, item->len));
    }
    if (NEVER(entry->slot >= l->next_index_size || entry->len > sizeof(entry->bytes)))
        return ERR_CONFLICT;
    e = wal_writer_add(&l->writer, entry->type, entry->slot, l->next_index[entry->slot],
                       slice_of(entry->bytes, entry->len));
    if (e == ERR_OK)
        entry->index = l->next_index[entry->slot]++;
    return e;
}

/* What the batch used up of the current segment, and of those it went on to. */
static void
account(struct ledger *l, uint32_t number_before)
{
    const struct wal_writer *w = &l->writer;
    uint64_t left = w->fd >= 0 ? ledger_segment_usable(w->segment_bytes, w->used) : 0;
    uint64_t taken = w->number - number_before;
    uint64_t full = ledger_segment_usable(l->segments.segment_bytes, WAL_SEGMENT_HEADER);

    atomic_fetch_sub(&l->room, l->current_left + taken * full - left);
    l->current_left = left;
    atomic_store_explicit(&l->frames, w->seq, memory_order_relaxed);
    atomic_store_explicit(&l->bytes, w->bytes, memory_order_relaxed);
    atomic_store_explicit(&l->syncs, w->syncs, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->batches, 1, memory_order_relaxed);
}

static void
finish_control(struct ledger *l, struct ledger_control_item *item, enum err result)
{
    bool waited = item->waited;

    atomic_fetch_sub(&l->promised, ledger_control_cost(item->len));
    if (!waited) {
        free(item);
        return;
    }
    (void)pthread_mutex_lock(&l->control_lock);
    item->result = result;
    item->done = true;
    (void)pthread_cond_broadcast(&l->control_done);
    (void)pthread_mutex_unlock(&l->control_lock);
}

static void
finish_entry(struct ledger *l, struct ledger_entry *entry, enum err result)
{
    struct ledger_worker *worker = &l->workers[entry->worker];
    struct ledger_entry *head = atomic_load_explicit(&worker->completed, memory_order_relaxed);

    if (entry->type == WAL_A2)
        ledger_release(l);
    else
        atomic_fetch_sub(&l->promised, entry->promised);
    entry->result = result;
    worker->touched = worker->touched || entry->type == WAL_A1;
    do {
        entry->next = head;
    } while (!atomic_compare_exchange_weak(&worker->completed, &head, entry));
}

static void
finish(struct ledger *l, struct ledger_entry *first, struct ledger_entry *end, enum err result)
{
    while (first != end) {
        struct ledger_entry *next = first->next; /* the entry is its worker's after this */

        if (first->type == WAL_CONTROL)
            finish_control(l, (void *)first, result);
        else
            finish_entry(l, first, result);
        first = next;
    }
    for (unsigned i = 0; i < l->opts.worker_count; i++) {
        if (!l->workers[i].touched)
            continue;
        l->workers[i].touched = false;
        if (l->opts.wake != NULL)
            l->opts.wake(l->opts.wake_context, i);
    }
}

/* Records that belong together and of which this batch has no room for the last. */
static bool
is_too_much(const struct ledger_entry *entry, size_t added)
{
    const struct ledger_control_item *item = (const void *)entry;

    return added > 0 && entry->type == WAL_CONTROL &&
           item->together_bytes > LEDGER_BATCH_MAX - added;
}

/* Entries from first on, as many as a batch holds; *end is the first that is left. */
static enum err
write_batch(struct ledger *l, struct ledger_entry *first, struct ledger_entry **end)
{
    uint32_t number = l->writer.number;
    enum err e = l->opts.subjects == NULL ? ERR_OK : subject_flush(l->opts.subjects);
    size_t added = 0;

    wal_writer_begin(&l->writer);
    for (*end = first;
         e == ERR_OK && *end != NULL && added < LEDGER_BATCH_MAX && !is_too_much(*end, added);
         *end = (*end)->next) {
        e = add_entry(l, *end);
        added += (*end)->len + WAL_FRAME_HEADER;
    }
    if (e == ERR_OK)
        e = wal_writer_commit(&l->writer);
    if (e == ERR_OK)
        account(l, number);
    return e;
}

/* Writes a batch from first on; returns the rest. */
static struct ledger_entry *
commit_batch(struct ledger *l, struct ledger_entry *first)
{
    struct ledger_entry *end = NULL;
    enum err e = ERR_IO;

    if (!atomic_load(&l->sick)) {
        atomic_store(&l->batch_since_ns, clock_mono().ns);
        e = write_batch(l, first, &end);
        atomic_store(&l->batch_since_ns, 0);
    }
    if (e != ERR_OK) {
        atomic_store(&l->sick, true);
        end = NULL;
        e = ERR_IO;
    }
    finish(l, first, end, e);
    return end;
}

static void *
commit_main(void *arg)
{
    struct ledger *l = arg;

    ASSERT(l->magic == LEDGER_MAGIC);
    for (;;) {
        struct ledger_entry *list;
        bool stop = atomic_load(&l->stop);

        if (!stop && !atomic_exchange(&l->wanted, false)) {
            sleep_until_wanted(l);
            atomic_store(&l->wanted, false);
        }
        list = reversed(atomic_exchange(&l->submitted, NULL));
        if (list == NULL && stop)
            return NULL;
        while (list != NULL)
            list = commit_batch(l, list);
    }
}

enum err
ledger_commit_start(struct ledger *l)
{
    if (pthread_create(&l->thread, NULL, commit_main, l) != 0)
        return ERR_NOMEM;
    l->running = true;
    return ERR_OK;
}

void
ledger_commit_stop(struct ledger *l)
{
    uint64_t one = 1;

    if (!l->running)
        return;
    atomic_store(&l->stop, true);
    (void)atomic_exchange(&l->asleep, false);
    (void)!write(l->event_fd, &one, sizeof(one));
    (void)pthread_join(l->thread, NULL);
    l->running = false;
}

void
ledger_collect(struct ledger *l, unsigned worker)
{
    struct ledger_entry *list;

    ASSERT(worker < l->opts.worker_count);
    list = reversed(atomic_exchange(&l->workers[worker].completed, NULL));
    while (list != NULL) {
        struct ledger_entry *next = list->next;

        list->done(list);
        list = next;
    }
}
