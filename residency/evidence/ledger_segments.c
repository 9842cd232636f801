#include "base/check.h"
#include "base/file.h"
#include "residency/evidence/ledger_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Segments are written with zeros and synced before they are used, so that a commit's
 * fdatasync changes no metadata and can't run out of disk. A thread of its own keeps
 * LEDGER_SEGMENTS_READY ahead; on a full disk it tries again each second. */

#define CHUNK ((size_t)1 << 18)
_Static_assert(CHUNK % WAL_BLOCK == 0, "zeros go out in whole blocks");

uint64_t
ledger_segment_usable(uint64_t size, uint64_t used)
{
    return size - used > WAL_SEGMENT_WASTE ? size - used - WAL_SEGMENT_WASTE : 0;
}

static enum err
write_zeros(int fd, uint64_t size, const atomic_bool *stop)
{
    static _Alignas(WAL_BLOCK) const uint8_t zeros[CHUNK];
    enum err e = ERR_OK;

    for (uint64_t at = 0; at < size && e == ERR_OK; at += CHUNK) {
        size_t len = size - at < CHUNK ? (size_t)(size - at) : CHUNK;

        if (stop != NULL && atomic_load(stop))
            return ERR_CLOSED;
        e = file_pwrite(fd, slice_of(zeros, len), (off_t)at);
    }
    return e;
}

/* Whether the file takes direct writes; if not, it is written through the page cache. */
static void
try_direct(int fd)
{
    static _Alignas(WAL_BLOCK) const uint8_t block[WAL_BLOCK];
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT) != 0)
        return;
    if (pwrite(fd, block, sizeof(block), 0) < 0 && errno == EINVAL)
        (void)fcntl(fd, F_SETFL, flags);
}

enum err
ledger_segment_prepare(int dir_fd, uint32_t number, uint64_t size, bool direct,
                       const atomic_bool *stop, int *out)
{
    char name[WAL_NAME_SIZE];
    enum err e;
    int fd;

    wal_segment_name(name, number);
    fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno == ENOSPC ? ERR_FULL : ERR_IO;
    if (direct)
        try_direct(fd);
    e = write_zeros(fd, size, stop);
    if (e == ERR_OK && (fsync(fd) != 0 || fsync(dir_fd) != 0))
        e = ERR_IO;
    if (e != ERR_OK) {
        (void)close(fd);
        (void)unlinkat(dir_fd, name, 0);
        return e;
    }
    *out = fd;
    return ERR_OK;
}

enum err
ledger_segments_init(struct ledger_segments *s, int dir_fd, uint64_t segment_bytes, bool direct,
                     atomic_uint_fast64_t *room)
{
    pthread_condattr_t attr;

    s->dir_fd = dir_fd;
    s->segment_bytes = segment_bytes;
    s->direct = direct;
    s->room = room;
    s->next_number = 1; /* the run begins with segment 0 */
    if (pthread_mutex_init(&s->lock, NULL) != 0)
        return ERR_NOMEM;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    return ERR_OK;
}

/* Under the lock: until something changes, at most a second. */
static void
wait_a_second(struct ledger_segments *s)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    (void)pthread_cond_timedwait(&s->changed, &s->lock, &until);
}

static void
prepare_one(struct ledger_segments *s)
{
    uint32_t number = s->next_number;
    enum err e;
    int fd = -1;

    (void)pthread_mutex_unlock(&s->lock);
    e = ledger_segment_prepare(s->dir_fd, number, s->segment_bytes, s->direct, &s->stop, &fd);
    (void)pthread_mutex_lock(&s->lock);
    if (e != ERR_OK) {
        if (!atomic_load(&s->stop))
            wait_a_second(s);
        return;
    }
    ASSERT(s->ready_count < LEDGER_SEGMENTS_READY);
    s->ready[s->ready_count++] = fd;
    s->next_number++;
    atomic_fetch_add(s->room, ledger_segment_usable(s->segment_bytes, WAL_SEGMENT_HEADER));
}

static void *
publisher_main(void *arg)
{
    struct ledger_segments *s = arg;

    (void)pthread_mutex_lock(&s->lock);
    while (!atomic_load(&s->stop)) {
        if (s->ready_count < LEDGER_SEGMENTS_READY)
            prepare_one(s);
        else
            (void)pthread_cond_wait(&s->changed, &s->lock);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

enum err
ledger_segments_start(struct ledger_segments *s)
{
    if (pthread_create(&s->thread, NULL, publisher_main, s) != 0)
        return ERR_NOMEM;
    s->running = true;
    return ERR_OK;
}

enum err
ledger_segments_take(void *segments, uint32_t number, int *fd, uint64_t *size)
{
    struct ledger_segments *s = segments;
    enum err e = ERR_FULL;

    (void)pthread_mutex_lock(&s->lock);
    if (s->ready_count > 0) {
        ASSERT(number == s->next_number - s->ready_count);
        *fd = s->ready[0];
        *size = s->segment_bytes;
        s->ready_count--;
        for (uint32_t i = 0; i < s->ready_count; i++)
            s->ready[i] = s->ready[i + 1];
        (void)pthread_cond_signal(&s->changed);
        e = ERR_OK;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return e;
}

void
ledger_segments_stop(struct ledger_segments *s)
{
    if (!s->running)
        return;
    (void)pthread_mutex_lock(&s->lock);
    atomic_store(&s->stop, true);
    (void)pthread_cond_signal(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_join(s->thread, NULL);
    s->running = false;
}

void
ledger_segments_fini(struct ledger_segments *s, bool remove_ready)
{
    ledger_segments_stop(s);
    for (uint32_t i = 0; i < s->ready_count; i++) {
        char name[WAL_NAME_SIZE];

        (void)close(s->ready[i]);
        wal_segment_name(name, s->next_number - s->ready_count + i);
        if (remove_ready)
            (void)unlinkat(s->dir_fd, name, 0);
    }
    s->ready_count = 0;
    (void)close(s->dir_fd);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
}
