/* An I/O shim that lets kill -9 prove something about fdatasync: a killed process leaves
 * its unsynced writes in the page cache, a lost machine does not. Under LD_PRELOAD (or
 * linked in) it keeps the old content of every range that was written and not yet synced;
 * nosync-rollback then takes all of that back.
 *
 *   NOSYNC_DIR    files below it are kept an eye on
 *   NOSYNC_STATE  folder of the journals, <pid>.journal; without it the shim does nothing
 *   NOSYNC_FAIL   the n-th sync of such a file fails with EIO
 *   NOSYNC_FULL   1: writes that extend such a file fail with ENOSPC
 *   NOSYNC_HOLD   as long as there is a file of this name, syncs of such a file hang
 *   NOSYNC_BREAK  while this file is there, a sync takes half a second and fails with EIO
 *
 *   cc -shared -fPIC -D_GNU_SOURCE -o nosync.so nosync.c -lpthread
 *
 * Order is everything here: the journal's entry is whole before the write begins; both
 * happen under one mutex; a sync clears only what was journalled before it began. Folders
 * count too: a new or renamed file is safe once its folder was synced. */
#undef _FORTIFY_SOURCE
#define _FORTIFY_SOURCE 0

#include "nosync.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define JOURNAL_SIZE ((uint64_t)256 << 20) /* sparse */

void nosync_start(void);
/* For programs that link the shim: as NOSYNC_FAIL and NOSYNC_FULL, at any time. */
void nosync_fail_sync(int64_t nth);
void nosync_disk_full(bool full);

static pthread_mutex_t nosync_lock = PTHREAD_MUTEX_INITIALIZER;
static struct nosync_header *journal;
static char watched_dir[NOSYNC_PATH_MAX];
static const char *break_file; /* or NULL */
static const char *hold_file;  /* likewise */
static uint64_t epoch;         /* grows when the journal begins anew */

static void
die(const char *why)
{
    (void)!syscall(SYS_write, 2, why, strlen(why));
    _exit(99);
}

/* Reads the environment anew: at load, and by a forked child that wants its own journal. */
__attribute__((constructor)) void
nosync_start(void)
{
    const char *dir = getenv("NOSYNC_DIR");
    const char *state = getenv("NOSYNC_STATE");
    const char *fail = getenv("NOSYNC_FAIL");
    const char *full = getenv("NOSYNC_FULL");
    char path[NOSYNC_PATH_MAX];
    long fd;
    void *map;

    journal = NULL;
    break_file = getenv("NOSYNC_BREAK");
    hold_file = getenv("NOSYNC_HOLD");
    if (dir == NULL || state == NULL)
        return;
    if (strlen(dir) >= PATH_MAX || realpath(dir, path) == NULL)
        die("nosync: NOSYNC_DIR does not exist\n");
    (void)snprintf(watched_dir, sizeof(watched_dir), "%s", path);
    (void)snprintf(path, sizeof(path), "%s/%d.journal", state, (int)getpid());
    fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate((int)fd, (off_t)JOURNAL_SIZE) != 0)
        die("nosync: no journal\n");
    map = mmap(NULL, JOURNAL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    (void)syscall(SYS_close, fd);
    if (map == MAP_FAILED)
        die("nosync: no mapping\n");
    journal = map;
    journal->size = JOURNAL_SIZE;
    journal->used = sizeof(*journal);
    journal->fail_sync = fail == NULL ? 0 : strtoll(fail, NULL, 10);
    journal->disk_full = full == NULL ? 0 : strtoll(full, NULL, 10);
    __atomic_store_n(&journal->magic, NOSYNC_MAGIC, __ATOMIC_RELEASE);
}

void
nosync_fail_sync(int64_t nth)
{
    (void)pthread_mutex_lock(&nosync_lock);
    journal->fail_sync = nth;
    (void)pthread_mutex_unlock(&nosync_lock);
}

void
nosync_disk_full(bool full)
{
    (void)pthread_mutex_lock(&nosync_lock);
    journal->disk_full = full;
    (void)pthread_mutex_unlock(&nosync_lock);
}

static bool
is_below(const char *path)
{
    size_t len = strlen(watched_dir);

    return strncmp(path, watched_dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Whether the fd is a file or folder below the watched_dir. */
static bool
is_watched(int fd, struct stat *st)
{
    char link[64], path[NOSYNC_PATH_MAX];
    long n;

    if (journal == NULL || fd < 0)
        return false;
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof(path) - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    return is_below(path) && fstat(fd, st) == 0 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
}

static struct nosync_entry *
first_entry(void)
{
    return (struct nosync_entry *)(journal + 1);
}

static struct nosync_entry *
end_entry(void)
{
    return (struct nosync_entry *)((char *)journal + journal->used);
}

static struct nosync_entry *
next_entry(struct nosync_entry *e)
{
    return (struct nosync_entry *)((char *)e + e->size);
}

/* Room for an entry; it counts from journal_done() on. */
static struct nosync_entry *
journal_add(enum nosync_kind kind, uint64_t data)
{
    uint64_t size = (sizeof(struct nosync_entry) + data + 7) / 8 * 8;
    struct nosync_entry *e = end_entry();

    if (size > journal->size - journal->used)
        die("nosync: the journal is full\n");
    memset(e, 0, sizeof(*e));
    e->kind = (uint32_t)kind;
    e->live = 1;
    e->size = size;
    return e;
}

static void
journal_done(const struct nosync_entry *e)
{
    __atomic_store_n(&journal->used, journal->used + e->size, __ATOMIC_RELEASE);
}

/* When nothing is live any more the journal begins anew. */
static void
clear_synced(const struct stat *st, uint64_t before)
{
    struct nosync_entry *limit = (struct nosync_entry *)((char *)journal + before);
    bool any = false;

    for (struct nosync_entry *e = first_entry(); e < end_entry(); e = next_entry(e)) {
        if (e < limit && e->device == (uint64_t)st->st_dev && e->inode == (uint64_t)st->st_ino)
            e->live = 0;
        any = any || e->live != 0;
    }
    if (any)
        return;
    __atomic_store_n(&journal->used, sizeof(*journal), __ATOMIC_RELEASE);
    epoch++;
}

static void
save_old(int fd, const struct stat *st, uint64_t offset, uint64_t len)
{
    uint64_t size = (uint64_t)st->st_size;
    uint64_t old = offset >= size ? 0 : size - offset < len ? size - offset : len;
    struct nosync_entry *e = journal_add(NOSYNC_WRITE, old);
    char link[64];
    long in;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    in = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        die("nosync: can't read what is to be overwritten\n");
    for (uint64_t done = 0; done < old;) {
        long n = syscall(SYS_pread64, in, (char *)(e + 1) + done, old - done, offset + done);

        if (n <= 0)
            die("nosync: can't read what is to be overwritten\n");
        done += (uint64_t)n;
    }
    (void)syscall(SYS_close, in);
    e->device = (uint64_t)st->st_dev;
    e->inode = (uint64_t)st->st_ino;
    e->offset = offset;
    e->len = old;
    e->old_size = size;
    journal_done(e);
}

/* Every way to write ends here. offset -1: at the file's position. */
static ssize_t
do_write(int fd, const struct iovec *parts, int count, off_t offset)
{
    struct stat st;
    uint64_t len = 0;
    off_t at = offset;
    long n;

    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    /* What is not kept an eye on goes without the mutex: pipes and sockets may block, and a
     * signal's handler that writes to one may have interrupted the mutex's holder. */
    if (!is_watched(fd, &st) || !S_ISREG(st.st_mode) || len == 0) {
        if (count == 1 && offset < 0)
            return syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len);
        return offset < 0 ? syscall(SYS_writev, fd, parts, count)
                          : syscall(SYS_pwritev, fd, parts, count, offset, 0L);
    }
    (void)pthread_mutex_lock(&nosync_lock);
    (void)fstat(fd, &st); /* its size may have grown meanwhile */
    if (offset < 0)
        at = (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? st.st_size : lseek(fd, 0, SEEK_CUR);
    if (journal->disk_full != 0 && (uint64_t)at + len > (uint64_t)st.st_size) {
        (void)pthread_mutex_unlock(&nosync_lock);
        errno = ENOSPC;
        return -1;
    }
    save_old(fd, &st, (uint64_t)at, len);
    n = offset < 0 ? syscall(SYS_writev, fd, parts, count)
                   : syscall(SYS_pwritev, fd, parts, count, offset, 0L);
    (void)pthread_mutex_unlock(&nosync_lock);
    return n;
}

static struct iovec
part_of(const void *p, size_t len)
{
    union {
        const void *in;
        void *out;
    } u = {.in = p};

    return (struct iovec){u.out, len};
}

ssize_t
write(int fd, const void *p, size_t len)
{
    struct iovec part = part_of(p, len);

    return do_write(fd, &part, 1, -1);
}

ssize_t
writev(int fd, const struct iovec *parts, int count)
{
    return do_write(fd, parts, count, -1);
}

ssize_t
pwrite(int fd, const void *p, size_t len, off_t offset)
{
    struct iovec part = part_of(p, len);

    if (offset < 0) {
        errno = EINVAL;
        return -1;
    }
    return do_write(fd, &part, 1, offset);
}

ssize_t
pwrite64(int fd, const void *p, size_t len, off64_t offset)
{
    return pwrite(fd, p, len, offset);
}

ssize_t
pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return do_write(fd, parts, count, offset < 0 ? 0 : offset);
}

/* A disk that does not answer for a while. */
static void
wait_while_held(int fd)
{
    struct timespec moment = {.tv_nsec = 1000000};
    struct stat st;

    if (hold_file == NULL || !is_watched(fd, &st) || !S_ISREG(st.st_mode))
        return;
    while (syscall(SYS_faccessat, AT_FDCWD, hold_file, F_OK) == 0)
        (void)nanosleep(&moment, NULL);
}

static int
do_sync(int fd, long number)
{
    struct stat st;
    uint64_t before = 0, began = 0;
    bool watched;
    long n;

    wait_while_held(fd);
    (void)pthread_mutex_lock(&nosync_lock);
    watched = is_watched(fd, &st);
    if (watched) {
        before = journal->used;
        began = epoch;
        if (journal->fail_sync > 0 && S_ISREG(st.st_mode) && --journal->fail_sync == 0) {
            (void)pthread_mutex_unlock(&nosync_lock);
            errno = EIO;
            return -1;
        }
    }
    (void)pthread_mutex_unlock(&nosync_lock);
    if (watched && S_ISREG(st.st_mode) && break_file != NULL && access(break_file, F_OK) == 0) {
        (void)usleep(500000);
        errno = EIO;
        return -1;
    }
    n = syscall(number, fd);
    if (watched && n == 0) {
        (void)pthread_mutex_lock(&nosync_lock);
        /* A journal that began anew meanwhile holds newer entries only. */
        if (epoch == began)
            clear_synced(&st, before);
        (void)pthread_mutex_unlock(&nosync_lock);
    }
    return (int)n;
}

int
fdatasync(int fd)
{
    return do_sync(fd, SYS_fdatasync);
}

int
fsync(int fd)
{
    return do_sync(fd, SYS_fsync);
}

/* The folder that a name stands in. */
static bool
parent_stat(int dir_fd, const char *path, struct stat *st)
{
    char parent[NOSYNC_PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);

    if (len >= sizeof(parent))
        return false;
    if (slash == NULL)
        (void)snprintf(parent, sizeof(parent), ".");
    else if (len == 0)
        (void)snprintf(parent, sizeof(parent), "/");
    else
        (void)snprintf(parent, sizeof(parent), "%.*s", (int)len, path);
    return fstatat(dir_fd, parent, st, 0) == 0;
}

static int
do_open(int dir_fd, const char *path, int flags, mode_t mode)
{
    struct stat st, parent;
    bool is_new = false;
    long fd;

    if (journal == NULL || (flags & (O_CREAT | O_TRUNC)) == 0)
        return (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    (void)pthread_mutex_lock(&nosync_lock);
    if ((flags & O_CREAT) != 0)
        is_new = fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
    fd = syscall(SYS_openat, dir_fd, path, flags & ~O_TRUNC, mode);
    if (fd >= 0 && is_watched((int)fd, &st) && S_ISREG(st.st_mode)) {
        if (is_new && parent_stat(dir_fd, path, &parent)) {
            struct nosync_entry *e = journal_add(NOSYNC_CREATE, 0);

            e->device = (uint64_t)parent.st_dev;
            e->inode = (uint64_t)parent.st_ino;
            e->file = (uint64_t)st.st_ino;
            journal_done(e);
        } else if (!is_new && (flags & O_TRUNC) != 0) {
            save_old((int)fd, &st, 0, (uint64_t)st.st_size);
        }
    }
    /* Only now, when the old content is safe. Devices and pipes know no truncation. */
    if (fd >= 0 && (flags & O_TRUNC) != 0)
        (void)!syscall(SYS_ftruncate, fd, 0L);
    (void)pthread_mutex_unlock(&nosync_lock);
    return (int)fd;
}

#define MODE_OF(flags, mode)                      \
    mode_t mode = 0;                              \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) { \
        va_list ap;                               \
        va_start(ap, flags);                      \
        mode = va_arg(ap, mode_t);                \
        va_end(ap);                               \
    }

int
open(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(AT_FDCWD, path, flags, mode);
}

int
openat(int dir_fd, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(dir_fd, path, flags, mode);
}

int
openat64(int dir_fd, const char *path, int flags, ...)
{
    MODE_OF(flags, mode)
    return do_open(dir_fd, path, flags, mode);
}

static int
do_rename(int from_fd, const char *from, int to_fd, const char *to)
{
    char old_path[NOSYNC_PATH_MAX] = "", link[64];
    struct stat parent;
    struct nosync_entry *e;
    size_t old_len, new_len;
    long fd, n = 0, result;

    (void)pthread_mutex_lock(&nosync_lock);
    fd = journal == NULL ? -1 : syscall(SYS_openat, from_fd, from, O_PATH | O_CLOEXEC);
    if (fd >= 0) {
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%ld", fd);
        n = syscall(SYS_readlinkat, AT_FDCWD, link, old_path, sizeof(old_path) - 1);
        (void)syscall(SYS_close, fd);
    }
    /* Only renames within one folder, by absolute paths, can be taken back. */
    if (n > 0 && is_below(old_path) && to[0] == '/' && parent_stat(to_fd, to, &parent)) {
        old_len = (size_t)n + 1;
        new_len = strlen(to) + 1;
        e = journal_add(NOSYNC_RENAME, old_len + new_len);
        memcpy(e + 1, old_path, old_len);
        memcpy((char *)(e + 1) + old_len, to, new_len);
        e->device = (uint64_t)parent.st_dev;
        e->inode = (uint64_t)parent.st_ino;
        journal_done(e);
    }
    result = syscall(SYS_renameat, from_fd, from, to_fd, to);
    (void)pthread_mutex_unlock(&nosync_lock);
    return (int)result;
}

int
rename(const char *from, const char *to)
{
    return do_rename(AT_FDCWD, from, AT_FDCWD, to);
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return do_rename(from_fd, from, to_fd, to);
}

/* The inode may be used again: nothing of the old file may be written into a new one. */
static int
do_unlink(int dir_fd, const char *path, int flags)
{
    struct stat st;
    bool known;
    long n;

    (void)pthread_mutex_lock(&nosync_lock);
    known = journal != NULL && fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    n = syscall(SYS_unlinkat, dir_fd, path, flags);
    if (known && n == 0 && st.st_nlink == 1) {
        for (struct nosync_entry *e = first_entry(); e < end_entry(); e = next_entry(e)) {
            if ((e->kind == NOSYNC_WRITE && e->inode == (uint64_t)st.st_ino) ||
                (e->kind == NOSYNC_CREATE && e->file == (uint64_t)st.st_ino))
                e->live = 0;
        }
    }
    (void)pthread_mutex_unlock(&nosync_lock);
    return (int)n;
}

int
unlink(const char *path)
{
    return do_unlink(AT_FDCWD, path, 0);
}

int
unlinkat(int dir_fd, const char *path, int flags)
{
    return do_unlink(dir_fd, path, flags);
}
