#include "base/file.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum err
read_all(int fd, char *buffer, size_t size, size_t *out_len)
{
    size_t used = 0;

    while (used < size) {
        ssize_t n = read(fd, buffer + used, size - used);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    *out_len = used;
    return ERR_OK;
}

enum err
file_read(const char *path, size_t max, char **out, size_t *out_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    char *buffer;
    size_t len = 0;
    enum err e;

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? ERR_NOENT : ERR_IO;
    e = ERR_IO;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        goto out_fd;
    e = ERR_TOOBIG;
    if ((uint64_t)st.st_size > max)
        goto out_fd;
    e = ERR_NOMEM;
    buffer = malloc((size_t)st.st_size + 2);
    if (buffer == NULL)
        goto out_fd;
    /* One byte more than stat said: a file that grew meanwhile is refused. */
    e = read_all(fd, buffer, (size_t)st.st_size + 1, &len);
    if (e == ERR_OK && len > (size_t)st.st_size)
        e = ERR_CONFLICT;
    if (e != ERR_OK) {
        free(buffer);
        goto out_fd;
    }
    buffer[len] = '\0';
    *out = buffer;
    *out_len = len;
out_fd:
    (void)close(fd);
    return e;
}

enum err
file_lock(int fd, unsigned tries)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (unsigned i = 0; i < tries; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return ERR_OK;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return ERR_IO;
        (void)nanosleep(&pause, NULL);
    }
    return ERR_TIMEOUT;
}

enum err
file_pwrite(int fd, struct slice bytes, off_t offset)
{
    while (bytes.len > 0) {
        ssize_t n = pwrite(fd, bytes.p, bytes.len, offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == ENOSPC ? ERR_FULL : ERR_IO;
        bytes = slice_of(bytes.p + n, bytes.len - (size_t)n);
        offset += n;
    }
    return ERR_OK;
}

bool
file_dir(char *out, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL)
        return text_format(out, size, ".");
    return slice_copy_str(slice_of(path, slash == path ? 1 : (size_t)(slash - path)), out, size);
}

enum err
file_sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum err e = ERR_OK;

    if (fd < 0)
        return ERR_IO;
    if (fsync(fd) != 0)
        e = ERR_IO;
    (void)close(fd);
    return e;
}

enum err
file_write(const char *path, struct slice content, mode_t mode)
{
    char tmp[PATH_MAX];
    char dir[PATH_MAX];
    enum err e;
    int fd;

    if (!text_format(tmp, sizeof(tmp), "%s.tmp", path) || !file_dir(dir, sizeof(dir), path))
        return ERR_TOOBIG;
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOENT : ERR_IO;
    e = file_pwrite(fd, content, 0);
    if (e == ERR_OK && fsync(fd) != 0)
        e = ERR_IO;
    if (close(fd) != 0 && e == ERR_OK)
        e = ERR_IO;
    if (e == ERR_OK && rename(tmp, path) != 0)
        e = ERR_IO;
    if (e != ERR_OK) {
        (void)unlink(tmp);
        return e;
    }
    return file_sync_dir(dir);
}

enum err
file_mkdir(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return ERR_OK;
    return errno == ENOENT ? ERR_NOENT : ERR_IO;
}

enum err
file_mkdirs(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    enum err e = ERR_OK;

    if (!text_format(part, sizeof(part), "%s", path))
        return ERR_TOOBIG;
    for (char *p = part + 1; *p != '\0' && e == ERR_OK; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        e = file_mkdir(part, mode);
        *p = '/';
    }
    return e == ERR_OK ? file_mkdir(part, mode) : e;
}

bool
file_join(char *out, size_t size, const char *dir, const char *name)
{
    if (name[0] == '/')
        return text_format(out, size, "%s", name);
    return text_format(out, size, "%s/%s", dir, name);
}
