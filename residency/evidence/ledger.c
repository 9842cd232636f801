#include "residency/evidence/ledger.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "crypto/random.h"
#include "residency/evidence/ledger_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opening and closing, reservations. A run's folder is made under the
 * name NEW_RUN and gets its own name once its run_start is synced: a run without one never
 * exists. */

#define NEW_RUN ".new"
#define SEGMENT_BYTES_MIN ((size_t)1 << 20)
#define SEGMENT_BYTES_MAX ((size_t)1 << 30)

static bool
is_same_file(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

/* A lock that was handed over is held already: it is asked for again because a file that is
 * not locked, or is another one, must not pass for it. */
static enum err
lock_folder(struct ledger *l, const char *dir)
{
    char path[LEDGER_PATH_MAX];

    if (!file_join(path, sizeof(path), dir, "lock"))
        return ERR_TOOBIG;
    if (l->lock_fd < 0)
        l->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    else if (!is_same_file(l->lock_fd, path))
        return ERR_CONFLICT;
    if (l->lock_fd < 0)
        return ERR_IO;
    if (flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return ERR_OK;
    return errno == EWOULDBLOCK ? ERR_EXIST : ERR_IO;
}

/* What a process left that died before its run began. */
static enum err
remove_new_run(const char *path)
{
    char name[WAL_NAME_SIZE];
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return errno == ENOENT ? ERR_OK : ERR_IO;
    for (uint32_t i = 0; i <= LEDGER_SEGMENTS_READY; i++) {
        wal_segment_name(name, i);
        (void)unlinkat(fd, name, 0);
    }
    (void)unlinkat(fd, "lock", 0);
    (void)close(fd);
    return rmdir(path) == 0 ? ERR_OK : ERR_IO;
}

static void
new_run_id(struct ledger *l)
{
    struct text hex;

    random_fill(l->writer.run, sizeof(l->writer.run));
    text_init(&hex, l->run, sizeof(l->run) - 1);
    text_add_hex(&hex, slice_of(l->writer.run, sizeof(l->writer.run)));
}

static enum err
take_first(void *context, uint32_t number, int *fd, uint64_t *size)
{
    struct ledger *l = context;

    *size = l->segments.segment_bytes;
    return ledger_segment_prepare(l->segments.dir_fd, number, *size, l->segments.direct, NULL, fd);
}

static enum err
write_run_start(struct ledger *l, const struct ledger_previous *previous)
{
    const struct ledger_opts *o = &l->opts;
    struct control_run_start start = {
        .durability = o->durability == LEDGER_DISK ? "disk" : "process",
        .mesh = o->mesh,
        .node = o->node,
        .region = o->region,
        .run = l->run,
        .software = o->software,
        .previous_run = previous->run[0] == '\0' ? NULL : previous->run,
        .previous_live = previous->live,
        .previous_frames = previous->frames,
    };
    uint8_t storage[CONTROL_TEXT_MAX];
    struct text text;
    enum err e;

    text_init(&text, storage, sizeof(storage));
    control_write_run_start(&text, &start, o->now_ms);
    if (!text_ok(&text))
        return ERR_TOOBIG;
    l->writer.next = take_first;
    l->writer.context = l;
    l->writer.sync = true; /* whatever the durability: see the file comment */
    wal_writer_begin(&l->writer);
    e = wal_writer_add(&l->writer, WAL_CONTROL, WAL_SLOT_NONE, 0, text_slice(&text));
    if (e == ERR_OK)
        e = wal_writer_commit(&l->writer);
    l->writer.next = ledger_segments_take;
    l->writer.context = &l->segments;
    l->writer.sync = o->durability == LEDGER_DISK;
    return e;
}

static enum err
start_run(struct ledger *l, const char *runs_dir, const struct ledger_previous *previous)
{
    char fresh[LEDGER_PATH_MAX], path[LEDGER_PATH_MAX + 64];
    int64_t ms = l->opts.now_ms;
    int dir_fd;
    enum err e;

    /* The order of the names is the order of the runs, also when the clock went back. */
    if (previous->run[0] != '\0' && ms <= previous->started_ms)
        ms = previous->started_ms + 1;
    new_run_id(l);
    if (!file_join(fresh, sizeof(fresh), runs_dir, NEW_RUN) || ms < 0 ||
        !text_format(path, sizeof(path), "%s/%013lld-%s", runs_dir, (long long)ms, l->run))
        return ERR_TOOBIG;
    e = remove_new_run(fresh);
    if (e == ERR_OK)
        e = file_mkdir(fresh, 0700);
    if (e != ERR_OK)
        return e;
    dir_fd = open(fresh, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (dir_fd < 0)
        return ERR_IO;
    /* Without the wait for the disk the page cache is what a write reaches. */
    e = ledger_segments_init(&l->segments, dir_fd, l->opts.segment_bytes,
                             l->opts.durability == LEDGER_DISK, &l->room);
    if (e == ERR_OK)
        e = ledger_run_lock(dir_fd, &l->run_lock_fd);
    if (e == ERR_OK)
        e = write_run_start(l, previous);
    if (e != ERR_OK)
        return e;
    if (rename(fresh, path) != 0)
        return ERR_IO;
    return file_sync_dir(runs_dir);
}

static enum err
start(struct ledger *l, char *why, size_t why_size)
{
    char runs_dir[LEDGER_PATH_MAX];
    struct ledger_previous previous = {0};
    enum err e = file_mkdirs(l->opts.dir, 0700);

    if (e == ERR_OK)
        e = lock_folder(l, l->opts.dir);
    if (e == ERR_EXIST)
        (void)text_format(why, why_size, "another process holds the lock of %s", l->opts.dir);
    if (e == ERR_OK && !file_join(runs_dir, sizeof(runs_dir), l->opts.dir, "runs"))
        e = ERR_TOOBIG;
    if (e == ERR_OK)
        e = file_mkdir(runs_dir, 0700);
    if (e == ERR_OK)
        e = file_sync_dir(l->opts.dir);
    if (e == ERR_OK)
        e = ledger_recover(runs_dir, l->opts.now_ms, &previous, &l->live, why, why_size);
    if (e == ERR_OK)
        e = wal_writer_init(&l->writer, LEDGER_BATCH_MAX);
    if (e == ERR_OK)
        e = start_run(l, runs_dir, &previous);
    if (e != ERR_OK)
        return e;
    l->current_left = ledger_segment_usable(l->writer.segment_bytes, l->writer.used);
    atomic_fetch_add(&l->room, l->current_left);
    atomic_store(&l->promised, LEDGER_MARGIN_BYTES);
    atomic_store(&l->frames, l->writer.seq);
    l->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->event_fd < 0)
        return ERR_IO;
    l->runs_dir = strdup(runs_dir);
    if (l->runs_dir == NULL)
        return ERR_NOMEM;
    e = ledger_segments_start(&l->segments);
    if (e == ERR_OK)
        e = ledger_commit_start(l);
    if (e != ERR_OK)
        return e;
    e = ledger_watch_start(l);
    if (e != ERR_OK)
        ledger_commit_stop(l);
    return e;
}

/* Threads are down. */
static void
release(struct ledger *l, bool ended)
{
    if (l->segments.room != NULL) {
        ledger_run_unlock(l->segments.dir_fd, &l->run_lock_fd, ended);
        ledger_segments_fini(&l->segments, ended);
    }
    wal_writer_fini(&l->writer);
    if (l->event_fd >= 0)
        (void)close(l->event_fd);
    ledger_unlock(l);
    ledger_runs_free(&l->live);
    free(l->runs_dir);
    (void)pthread_mutex_destroy(&l->watch_lock);
    (void)pthread_cond_destroy(&l->watch_changed);
    ledger_shards_fini(l);
    free(l->next_index);
    free(l->workers);
    (void)pthread_mutex_destroy(&l->shard_lock);
    (void)pthread_mutex_destroy(&l->control_lock);
    (void)pthread_cond_destroy(&l->control_done);
    l->magic = 0;
    free(l);
}

/* NULL without memory. */
static struct ledger *
make(const struct ledger_opts *opts)
{
    struct ledger *l = calloc(1, sizeof(*l));
    pthread_condattr_t attr;

    if (l == NULL)
        return NULL;
    l->workers = calloc(opts->worker_count, sizeof(*l->workers));
    if (l->workers == NULL) {
        free(l);
        return NULL;
    }
    l->magic = LEDGER_MAGIC;
    l->opts = *opts;
    if (l->opts.stall_ms == 0)
        l->opts.stall_ms = LEDGER_STALL_MS;
    l->lock_fd = opts->has_lock ? opts->lock_fd : -1;
    l->run_lock_fd = l->event_fd = l->writer.fd = -1;
    (void)pthread_mutex_init(&l->shard_lock, NULL);
    (void)pthread_mutex_init(&l->control_lock, NULL);
    (void)pthread_cond_init(&l->control_done, NULL);
    (void)pthread_mutex_init(&l->watch_lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->watch_changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return l;
}

enum err
ledger_open(const struct ledger_opts *opts, struct ledger **out, char *why, size_t why_size)
{
    struct ledger *l;
    enum err e;

    ASSERT(opts->worker_count > 0);
    ASSERT(why_size > 0);
    why[0] = '\0';
    l = make(opts);
    if (l == NULL) {
        if (opts->has_lock)
            (void)close(opts->lock_fd);
        return ERR_NOMEM;
    }
    if (opts->segment_bytes < SEGMENT_BYTES_MIN || opts->segment_bytes > SEGMENT_BYTES_MAX) {
        (void)text_format(why, why_size, "the size of a segment is 1 MiB to 1 GiB");
        e = ERR_TOOBIG;
    } else {
        e = start(l, why, why_size);
    }
    if (e != ERR_OK) {
        if (why[0] == '\0')
            (void)text_format(why, why_size, "%s: %s", opts->dir, err_text(e));
        ledger_segments_stop(&l->segments);
        release(l, false);
        return e;
    }
    /* Their storage is the caller's and only promised for the call. */
    l->opts.dir = l->opts.mesh = l->opts.node = l->opts.region = l->opts.software = NULL;
    l->opts.charter = NULL;
    *out = l;
    return ERR_OK;
}

static bool
write_run_end(struct ledger *l)
{
    uint8_t storage[CONTROL_TEXT_MAX];
    struct text text;
    enum err e;

    wal_writer_begin(&l->writer);
    e = wal_writer_room(&l->writer, CONTROL_TEXT_MAX);
    if (e != ERR_OK)
        return false;
    text_init(&text, storage, sizeof(storage));
    control_write_run_end(&text, l->writer.seq + 1, "stop", clock_wall_ms());
    l->writer.sync = true;
    e = wal_writer_add(&l->writer, WAL_CONTROL, WAL_SLOT_NONE, 0, text_slice(&text));
    if (e == ERR_OK)
        e = wal_writer_commit(&l->writer);
    return e == ERR_OK;
}

void
ledger_close(struct ledger **ledger)
{
    struct ledger *l = *ledger;
    bool ended = false;

    if (l == NULL)
        return;
    ASSERT(l->magic == LEDGER_MAGIC);
    ledger_watch_stop(l);
    ledger_commit_stop(l);
    ledger_segments_stop(&l->segments);
    for (unsigned i = 0; i < l->opts.worker_count; i++)
        ledger_collect(l, i);
    /* Requests that are still open are closed as lost by the next start. */
    if (!atomic_load(&l->sick) && atomic_load(&l->open) == 0)
        ended = write_run_end(l);
    release(l, ended);
    *ledger = NULL;
}

bool
ledger_promise(struct ledger *l, uint64_t bytes)
{
    uint64_t room = atomic_load(&l->room);
    uint_fast64_t promised = atomic_load(&l->promised);

    do {
        if (bytes > room || promised > room - bytes)
            return false;
    } while (!atomic_compare_exchange_weak(&l->promised, &promised, promised + bytes));
    return true;
}

enum err
ledger_reserve(struct ledger *l)
{
    if (atomic_load(&l->sick) || ledger_stalled(l))
        return ERR_IO;
    if (!ledger_promise(l, LEDGER_RESERVED_BYTES))
        return ERR_FULL;
    atomic_fetch_add(&l->open, 1);
    return ERR_OK;
}

enum err
ledger_reserve_entry(struct ledger *l, struct ledger_entry *entry)
{
    size_t bytes = entry->len + WAL_FRAME_HEADER;

    if (atomic_load(&l->sick) || ledger_stalled(l))
        return ERR_IO;
    if (!ledger_promise(l, bytes))
        return ERR_FULL;
    entry->promised = bytes;
    return ERR_OK;
}

void
ledger_release(struct ledger *l)
{
    uint64_t before = atomic_fetch_sub(&l->open, 1);

    ASSERT(before > 0);
    atomic_fetch_sub(&l->promised, LEDGER_RESERVED_BYTES);
}

bool
ledger_stalled(const struct ledger *l)
{
    uint64_t since = atomic_load(&l->batch_since_ns);

    return since != 0 && mono_ms_since(clock_mono(), (struct mono){since}) >= l->opts.stall_ms;
}

bool
ledger_healthy(const struct ledger *l)
{
    uint64_t room = atomic_load(&l->room);

    return !atomic_load(&l->sick) && !ledger_stalled(l) && room >= LEDGER_REQUEST_BYTES &&
           atomic_load(&l->promised) <= room - LEDGER_REQUEST_BYTES;
}

void
ledger_submit(struct ledger *l, struct ledger_entry *entry)
{
    ASSERT(entry->type == WAL_A1 || entry->type == WAL_A2);
    ASSERT(entry->worker < l->opts.worker_count);
    ASSERT(entry->len <= sizeof(entry->bytes));
    ledger_push(l, entry, entry, entry->type == WAL_A1);
}

void
ledger_submit_list(struct ledger *l, struct ledger_entry *newest)
{
    struct ledger_entry *oldest = newest;
    bool waited = newest->type == WAL_A1;

    for (; oldest->next != NULL; oldest = oldest->next) {
        ASSERT(oldest->worker < l->opts.worker_count);
        waited = waited || oldest->next->type == WAL_A1;
    }
    ledger_push(l, newest, oldest, waited);
}

const char *
ledger_run_id(const struct ledger *l)
{
    return l->run;
}

int
ledger_lock_fd(const struct ledger *l)
{
    return l->lock_fd;
}

void
ledger_unlock(struct ledger *l)
{
    if (l->lock_fd >= 0)
        (void)close(l->lock_fd);
    l->lock_fd = -1;
}

bool
ledger_alone(const struct ledger *l)
{
    return atomic_load(&l->alone);
}

void
ledger_stats(const struct ledger *l, struct ledger_stats *out)
{
    /* The publisher's count is read without its lock through the room it stands for. */
    uint64_t full = ledger_segment_usable(l->segments.segment_bytes, WAL_SEGMENT_HEADER);

    *out = (struct ledger_stats){
        .frames = atomic_load(&l->frames),
        .batches = atomic_load(&l->batches),
        .bytes = atomic_load(&l->bytes),
        .syncs = atomic_load(&l->syncs),
        .open_requests = atomic_load(&l->open),
        .segments_ready = atomic_load(&l->room) / full,
    };
}
