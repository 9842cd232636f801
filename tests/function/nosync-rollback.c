/* Takes back what a killed process had written and not synced (see nosync.c):
 *
 *   nosync-rollback <journal> <dir>
 *
 * newest first, so that each range ends with its oldest unsynced content. Give the
 * journals of several processes from the youngest to the oldest. */
#include "nosync.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 8

int nosync_rollback(const char *journal_path, const char *dir, unsigned *taken_back);

/* The path of an inode: the file may have been renamed since. */
static bool
find_inode(const char *dir, uint64_t inode, int depth, char *out, size_t size)
{
    DIR *stream = opendir(dir);
    const struct dirent *item;
    bool found = false;

    if (stream == NULL)
        return false;
    while (!found && (item = readdir(stream)) != NULL) {
        char path[NOSYNC_PATH_MAX];
        struct stat st;
        int n = snprintf(path, sizeof(path), "%s/%s", dir, item->d_name);

        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (n < 0 || (size_t)n >= sizeof(path) || lstat(path, &st) != 0)
            continue;
        if ((uint64_t)st.st_ino == inode) {
            n = snprintf(out, size, "%s", path);
            found = n > 0 && (size_t)n < size;
        } else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
            found = find_inode(path, inode, depth + 1, out, size);
        }
    }
    (void)closedir(stream);
    return found;
}

static int
undo_write(const char *path, const struct nosync_entry *e)
{
    const char *old = (const char *)(e + 1);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat st;
    int result = -1;

    if (fd < 0)
        return -1;
    if (e->len > 0 && pwrite(fd, old, e->len, (off_t)e->offset) != (ssize_t)e->len)
        goto out;
    if (fstat(fd, &st) != 0)
        goto out;
    if ((uint64_t)st.st_size > e->old_size && ftruncate(fd, (off_t)e->old_size) != 0)
        goto out;
    result = 0;
out:
    (void)close(fd);
    return result;
}

static int
undo(const char *dir, const struct nosync_entry *e)
{
    const char *text = (const char *)(e + 1);
    char path[NOSYNC_PATH_MAX];

    switch (e->kind) {
    case NOSYNC_WRITE:
        return find_inode(dir, e->inode, 0, path, sizeof(path)) ? undo_write(path, e) : 0;
    case NOSYNC_CREATE:
        return find_inode(dir, e->file, 0, path, sizeof(path)) ? unlink(path) : 0;
    case NOSYNC_RENAME:
        /* It may have been killed between the entry and the rename. */
        return access(text + strlen(text) + 1, F_OK) == 0 && access(text, F_OK) != 0
                   ? rename(text + strlen(text) + 1, text)
                   : 0;
    default:
        return -1;
    }
}

int
nosync_rollback(const char *journal_path, const char *dir, unsigned *taken_back)
{
    int fd = open(journal_path, O_RDONLY | O_CLOEXEC);
    const struct nosync_entry **list = NULL;
    const struct nosync_header *head;
    size_t count = 0;
    struct stat st;
    void *map;
    int result = -1;

    if (fd < 0 || fstat(fd, &st) != 0)
        return -1;
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (map == MAP_FAILED)
        return -1;
    head = map;
    if (head->magic != NOSYNC_MAGIC || head->used > (uint64_t)st.st_size)
        goto out;
    list = calloc(head->used / sizeof(struct nosync_entry) + 1, sizeof(struct nosync_entry *));
    if (list == NULL)
        goto out;
    for (uint64_t at = sizeof(*head); at < head->used;) {
        const void *p = (const char *)map + at;

        list[count++] = p;
        at += ((const struct nosync_entry *)p)->size;
    }
    result = 0;
    *taken_back = 0;
    while (count > 0 && result == 0) {
        if (list[--count]->live == 0)
            continue;
        result = undo(dir, list[count]);
        ++*taken_back;
    }
out:
    free(list);
    (void)munmap(map, (size_t)st.st_size);
    return result;
}

#ifndef NOSYNC_NO_MAIN
int
main(int argc, char **argv)
{
    unsigned taken_back = 0;

    if (argc != 3) {
        (void)fprintf(stderr, "usage: nosync-rollback <journal> <dir>\n");
        return 2;
    }
    if (nosync_rollback(argv[1], argv[2], &taken_back) != 0) {
        (void)fprintf(stderr, "nosync-rollback: failed\n");
        return 1;
    }
    (void)printf("%u\n", taken_back);
    return 0;
}
#endif
