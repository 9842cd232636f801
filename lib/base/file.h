#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whole files, read bounded and written atomically. */

/* Reads a regular file of at most max bytes. Gives *out (NUL behind it, free()).
 * ERR_NOENT, ERR_TOOBIG, ERR_IO. */
MUST_USE enum err file_read(const char *path, size_t max, char **out, size_t *out_len);
/* Writes path.tmp, syncs, renames, syncs the folder: the reader sees the old or the
 * new content, also after a crash. */
MUST_USE enum err file_write(const char *path, struct slice content, mode_t mode);
/* Creates the folder if it is not there (parents must be). */
MUST_USE enum err file_mkdir(const char *path, mode_t mode);
/* mkdir -p. */
MUST_USE enum err file_mkdirs(const char *path, mode_t mode);
MUST_USE enum err file_sync_dir(const char *path);
/* dir + "/" + name, or name when it is absolute. False when it does not fit. */
bool file_join(char *out, size_t size, const char *dir, const char *name);
/* The folder part of path ("." when it has none). */
bool file_dir(char *out, size_t size, const char *path);
/* flock(LOCK_EX) of an open file, for at most about tries milliseconds: its holder may be
 * stopped. ERR_TIMEOUT: somebody else still has it. */
MUST_USE enum err file_lock(int fd, unsigned tries);
/* All bytes at offset, through short writes and EINTR. */
MUST_USE enum err file_pwrite(int fd, struct slice bytes, off_t offset);

#endif
