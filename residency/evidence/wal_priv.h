#ifndef RESIDENCY_EVIDENCE_WAL_PRIV_H
#define RESIDENCY_EVIDENCE_WAL_PRIV_H

#include "base/err.h"
#include "base/slice.h"
#include "residency/evidence/wal.h"

#include <stdbool.h>
#include <stdint.h>

#define WAL_MAGIC 0xA17Cu
#define WAL_VERSION 1
#define WAL_FRAME_MAX (WAL_FRAME_HEADER + WAL_PAYLOAD_MAX)
/* Of a segment's end that a frame may not find room in. */
#define WAL_SEGMENT_WASTE (WAL_FRAME_MAX + WAL_FRAME_HEADER)
#define WAL_NAME_SIZE 16 /* "00000000.wal" and a NUL */
/* Direct writes begin and end at a multiple of this: the largest logical block in use. */
#define WAL_BLOCK 4096

struct wal_header {
    uint8_t run[WAL_RUN_ID_SIZE];
    uint64_t number;
    uint64_t first_seq;
    uint32_t salt;
};
void wal_header_encode(const struct wal_header *h, uint8_t out[WAL_SEGMENT_HEADER]);
/* False when magic, CRC or zeros do not fit. */
bool wal_header_decode(const uint8_t in[WAL_SEGMENT_HEADER], struct wal_header *out);
/* The salt follows from run and number: frames of a recycled or foreign segment never
 * pass, and those of a segment whose header was damaged can still be told. */
uint32_t wal_salt(const uint8_t run[WAL_RUN_ID_SIZE], uint64_t number);
/* One frame at the start of bytes; false when magic, version, type, length or CRC do not
 * fit. The payload points into bytes. */
bool wal_decode(struct slice bytes, uint32_t salt, struct wal_frame *out);
/* "00000003.wal" */
void wal_segment_name(char out[WAL_NAME_SIZE], uint32_t number);

/* Appends frames to one run: into a buffer until wal_writer_commit() writes and syncs
 * them. Used by the commit thread and by recovery, one thread each. */
struct wal_writer {
    uint8_t run[WAL_RUN_ID_SIZE];
    int fd; /* current segment; -1: `number` must be opened first */
    uint32_t number;
    uint32_t salt;
    uint64_t segment_bytes; /* of the current segment */
    uint64_t used;          /* offset of the next frame, buffered ones counted */
    uint64_t seq;           /* of the next frame */
    uint64_t batch;         /* of the frames being added */
    /* What the next write begins with: of a block that was written in part, the bytes before
     * the first new one (direct writes only); then the frames of the batch. */
    uint8_t *buffer;
    size_t kept;
    size_t buffered; /* without kept */
    size_t buffer_size;
    bool direct; /* the current segment is written past the page cache */
    bool sync;
    uint64_t syncs;
    uint64_t bytes; /* written */
    /* Gives the fd and size of a pre-written segment. */
    enum err (*next)(void *context, uint32_t number, int *fd, uint64_t *size);
    void *context;
};
/* Room for batch_max bytes and one frame more. */
MUST_USE enum err wal_writer_init(struct wal_writer *w, size_t batch_max);
void wal_writer_fini(struct wal_writer *w); /* closes fd */
/* A batch is named by the seq of its first frame. */
void wal_writer_begin(struct wal_writer *w);
/* Goes on to the next segment when a payload of that size does not fit this one, so that
 * the seq of the frame added next is known before its payload is written. */
MUST_USE enum err wal_writer_room(struct wal_writer *w, size_t payload_len);
/* Sets the frame's seq and batch. ERR_FULL when the buffer is. */
MUST_USE enum err wal_writer_add(struct wal_writer *w, enum wal_type type, uint32_t slot,
                                 uint64_t index, struct slice payload);
MUST_USE enum err wal_writer_commit(struct wal_writer *w);

#endif
