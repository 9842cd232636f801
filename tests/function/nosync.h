#ifndef TESTS_FUNCTION_NOSYNC_H
#define TESTS_FUNCTION_NOSYNC_H

#include <stdint.h>

/* The journal of nosync.c, one file a process: a header, then entries one behind the
 * other. It is a shared mapping, so what stands in it survives SIGKILL at any instant. */

#define NOSYNC_MAGIC UINT64_C(0x636e79736f6e3032)
#define NOSYNC_PATH_MAX 1024

struct nosync_header {
    uint64_t magic;
    uint64_t used; /* bytes, with this header; set after the entry is whole */
    uint64_t size;
    int64_t fail_sync; /* 1: the next sync fails, n: the n-th; 0: none */
    int64_t disk_full; /* writes that extend a file fail with ENOSPC */
};

enum nosync_kind { NOSYNC_WRITE = 1, NOSYNC_CREATE = 2, NOSYNC_RENAME = 3 };

struct nosync_entry {
    uint32_t kind;
    uint32_t live; /* 0 once a sync made it durable */
    uint64_t size; /* of the entry with its data, a multiple of 8 */
    uint64_t device;
    uint64_t inode;  /* of the file; for a create and a rename of the folder */
    uint64_t file;   /* create: inode of the file */
    uint64_t offset; /* write: of the old content that follows the entry */
    uint64_t len;
    uint64_t old_size; /* of the file before the write */
    /* Then: a write's old content, or a rename's old and new path with a NUL each. */
};

#endif
