#ifndef RESIDENCY_EVIDENCE_WAL_H
#define RESIDENCY_EVIDENCE_WAL_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The write-ahead log's bytes (docs/formats.md section 6): frames, segments, reading
 * back. Knows nothing of threads. */

#define WAL_FRAME_HEADER 40
#define WAL_PAYLOAD_MAX 16384
#define WAL_SEGMENT_HEADER 64
#define WAL_RUN_ID_SIZE 16
#define WAL_SLOT_NONE UINT32_C(0xffffffff)

enum wal_type { WAL_CONTROL = 1, WAL_A1 = 2, WAL_A2 = 3, WAL_SEGMENT_END = 4 };

struct wal_frame {
    enum wal_type type;
    uint64_t seq;
    uint64_t batch;
    uint64_t index;
    uint32_t slot;
    struct slice payload; /* borrowed */
};

/* Encodes into out (WAL_FRAME_HEADER + payload bytes). */
void wal_encode(const struct wal_frame *frame, uint32_t salt, uint8_t *out);

/* Reads the segments of one run in order. Each call gives the next frame (those that end
 * a segment are followed, not given); payload is valid until the next call. ERR_EOF: the
 * end, for now on a live run: a later call looks again. ERR_CONFLICT: a damaged frame is
 * followed by a good one of a higher batch; wal_reader_where() names the place. A torn
 * tail ends with ERR_EOF, and wal_reader_position() tells how many non-zero bytes it holds
 * and where it begins.
 * A batch is numbered by the seq of its first frame. So a later frame tells whether what
 * is missing belonged to its own batch (torn) or to one that was synced before (damage).
 *
 * run_dir's last part must be <13 digits>-<32 hex>, else ERR_BADMSG. */
struct wal_reader;
MUST_USE enum err wal_reader_open(const char *run_dir, struct wal_reader **out);
MUST_USE enum err wal_reader_next(struct wal_reader *r, struct wal_frame *out);
void wal_reader_close(struct wal_reader **r);
struct wal_position {
    uint32_t segment;
    uint64_t offset; /* 0: the segment's header is still to be written */
    uint64_t seq;    /* expected next */
    uint64_t batch;  /* of the last good frame */
    uint64_t torn_bytes;
};
struct wal_position wal_reader_position(const struct wal_reader *r);
/* Words for the damage that ended with ERR_CONFLICT: "segment 3 offset 4711 (frame 92)". */
const char *wal_reader_where(const struct wal_reader *r);
/* The run's id, from the folder's name. */
const uint8_t *wal_reader_run(const struct wal_reader *r);

#endif
