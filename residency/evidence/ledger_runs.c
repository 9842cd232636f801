#include "base/file.h"
#include "residency/evidence/ledger_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The folders of runs, and which of them a process still writes: its lock file is there and
 * held for as long as that process lives. A run that ended has none. */

#define RUN_LOCK "lock"

static int
compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool
is_run_name(const char *name)
{
    size_t digits = strspn(name, "0123456789");

    return digits == 13 && name[13] == '-' && strspn(name + 14, "0123456789abcdef") == 32 &&
           name[46] == '\0';
}

enum err
ledger_runs_list(const char *runs_dir, struct ledger_runs *out)
{
    DIR *dir = opendir(runs_dir);
    struct ledger_runs runs = {0};
    size_t size = 0;
    const struct dirent *item;

    if (dir == NULL)
        return errno == ENOENT ? ERR_NOENT : ERR_IO;
    errno = 0;
    while ((item = readdir(dir)) != NULL) { // NOLINT(concurrency-mt-unsafe): own stream
        if (!is_run_name(item->d_name))
            continue;
        if (runs.count == size) {
            void *bigger = realloc(runs.names, (size = size == 0 ? 16 : size * 2) * 48);

            if (bigger == NULL) {
                free(runs.names);
                (void)closedir(dir);
                return ERR_NOMEM;
            }
            runs.names = bigger;
        }
        memcpy(runs.names[runs.count++], item->d_name, 47);
    }
    (void)closedir(dir);
    if (runs.count > 0)
        qsort(runs.names, runs.count, sizeof(runs.names[0]), compare_names);
    *out = runs;
    return ERR_OK;
}

void
ledger_runs_free(struct ledger_runs *runs)
{
    free(runs->names);
    *runs = (struct ledger_runs){0};
}

enum err
ledger_run_lock(int dir_fd, int *lock_fd)
{
    int fd = openat(dir_fd, RUN_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return errno == ENOSPC ? ERR_FULL : ERR_IO;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return ERR_IO;
    }
    *lock_fd = fd;
    return ERR_OK;
}

enum err
ledger_run_probe(const char *runs_dir, const char *name, int *lock_fd)
{
    char path[LEDGER_PATH_MAX], lock[LEDGER_PATH_MAX];
    int fd;

    if (!file_join(path, sizeof(path), runs_dir, name) ||
        !file_join(lock, sizeof(lock), path, RUN_LOCK))
        return ERR_TOOBIG;
    fd = open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOENT : ERR_IO;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum err e = errno == EWOULDBLOCK ? ERR_EXIST : ERR_IO;

        (void)close(fd);
        return e;
    }
    *lock_fd = fd;
    return ERR_OK;
}

void
ledger_run_unlock(int dir_fd, int *lock_fd, bool ended)
{
    if (*lock_fd < 0)
        return;
    /* Gone before it is free: whoever finds it sees a run that nobody ended. */
    if (ended)
        (void)unlinkat(dir_fd, RUN_LOCK, 0);
    (void)close(*lock_fd);
    *lock_fd = -1;
}
