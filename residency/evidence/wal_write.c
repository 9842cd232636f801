#include "base/check.h"
#include "base/file.h"
#include "residency/evidence/wal_priv.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The appending side of a run. Every segment keeps room for its WAL_SEGMENT_END.
 *
 * A segment that was opened for direct I/O is written in whole blocks: a batch begins with the
 * block that the one before it ended in, the same bytes again, and ends with zeros, which is
 * what stood there. So a write that is torn can't change what was synced before, and nothing
 * goes through the page cache, whose copies and fresh pages would cost more than the log. */

#define FRAMES_AT(w) ((w)->buffer + (w)->kept)

static size_t
block_up(size_t len)
{
    return (len + WAL_BLOCK - 1) & ~(size_t)(WAL_BLOCK - 1);
}

enum err
wal_writer_init(struct wal_writer *w, size_t batch_max)
{
    w->buffer_size = block_up(batch_max + WAL_FRAME_MAX + 2 * WAL_SEGMENT_HEADER);
    /* Room for the block before the batch and for the zeros behind it. */
    w->buffer = aligned_alloc(WAL_BLOCK, w->buffer_size + 2 * WAL_BLOCK);
    return w->buffer == NULL ? ERR_NOMEM : ERR_OK;
}

void
wal_writer_fini(struct wal_writer *w)
{
    if (w->fd >= 0)
        (void)close(w->fd);
    w->fd = -1;
    free(w->buffer);
    w->buffer = NULL;
}

void
wal_writer_begin(struct wal_writer *w)
{
    ASSERT(w->buffered == 0);
    w->batch = w->seq;
}

static void
add_frame(struct wal_writer *w, const struct wal_frame *frame)
{
    size_t size = WAL_FRAME_HEADER + frame->payload.len;

    ASSERT(size <= w->buffer_size - w->buffered);
    wal_encode(frame, w->salt, FRAMES_AT(w) + w->buffered);
    w->buffered += size;
    w->used += size;
    w->seq++;
}

/* The batch in whole blocks; the last one, where frames follow in it, is kept. */
static enum err
write_direct(struct wal_writer *w)
{
    size_t len = w->kept + w->buffered;
    size_t whole = block_up(len);
    uint64_t at = w->used - len;
    enum err e;

    ASSERT(at % WAL_BLOCK == 0);
    ASSERT(at + whole <= w->segment_bytes);
    memset(w->buffer + len, 0, whole - len);
    e = file_pwrite(w->fd, slice_of(w->buffer, whole), (off_t)at);
    if (e != ERR_OK)
        return e;
    w->kept = len % WAL_BLOCK;
    if (w->kept < len)
        memmove(w->buffer, w->buffer + len - w->kept, w->kept);
    return ERR_OK;
}

enum err
wal_writer_commit(struct wal_writer *w)
{
    enum err e;

    if (w->buffered == 0)
        return ERR_OK;
    e = w->direct
            ? write_direct(w)
            : file_pwrite(w->fd, slice_of(w->buffer, w->buffered), (off_t)(w->used - w->buffered));
    if (e != ERR_OK)
        return e;
    w->bytes += w->buffered;
    w->buffered = 0;
    if (!w->sync)
        return ERR_OK;
    w->syncs++;
    /* Never retried: after a failure the kernel may have dropped the pages. */
    return fdatasync(w->fd) == 0 ? ERR_OK : ERR_IO;
}

/* The next segment begins with its header, in the same batch. */
static enum err
open_next(struct wal_writer *w)
{
    struct wal_header header = {.number = w->number, .first_seq = w->seq};
    enum err e;

    ASSERT(w->buffered == 0);
    e = w->next(w->context, w->number, &w->fd, &w->segment_bytes);
    if (e != ERR_OK)
        return e;
    memcpy(header.run, w->run, sizeof(header.run));
    header.salt = wal_salt(w->run, w->number);
    w->salt = header.salt;
    w->direct = (fcntl(w->fd, F_GETFL) & O_DIRECT) != 0;
    w->kept = 0;
    wal_header_encode(&header, w->buffer);
    w->buffered = WAL_SEGMENT_HEADER;
    w->used = WAL_SEGMENT_HEADER;
    return ERR_OK;
}

static enum err
end_segment(struct wal_writer *w)
{
    struct wal_frame end = {
        .type = WAL_SEGMENT_END, .seq = w->seq, .batch = w->batch, .slot = WAL_SLOT_NONE};
    enum err e;

    if (WAL_FRAME_HEADER > w->buffer_size - w->buffered)
        return ERR_FULL;
    add_frame(w, &end);
    e = wal_writer_commit(w);
    if (e != ERR_OK)
        return e;
    (void)close(w->fd);
    w->fd = -1;
    w->number++;
    return ERR_OK;
}

enum err
wal_writer_room(struct wal_writer *w, size_t payload_len)
{
    uint64_t need = 2 * (uint64_t)WAL_FRAME_HEADER + payload_len;
    enum err e;

    if (payload_len > WAL_PAYLOAD_MAX)
        return ERR_TOOBIG;
    if (w->fd >= 0 && need > w->segment_bytes - w->used) {
        e = end_segment(w);
        if (e != ERR_OK)
            return e;
    }
    if (w->fd < 0) {
        e = open_next(w);
        if (e != ERR_OK)
            return e;
    }
    /* The end of a segment must fit the buffer too. */
    return need > w->buffer_size - w->buffered ? ERR_FULL : ERR_OK;
}

enum err
wal_writer_add(struct wal_writer *w, enum wal_type type, uint32_t slot, uint64_t index,
               struct slice payload)
{
    struct wal_frame frame = {.type = type, .index = index, .slot = slot, .payload = payload};
    enum err e = wal_writer_room(w, payload.len);

    if (e != ERR_OK)
        return e;
    frame.seq = w->seq;
    frame.batch = w->batch;
    add_frame(w, &frame);
    return ERR_OK;
}
