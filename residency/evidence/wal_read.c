#include "base/check.h"
#include "base/text.h"
#include "residency/evidence/wal_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The reading side of a run. All reads go through a window: the file is never mapped,
 * because a bad disk would then be a signal instead of an error.
 *
 *   frame fits -> given
 *   frame does not -> look behind it: a valid frame of a batch that began later proves
 *   that this one had been synced (damage); nothing such: torn tail or the end. */

#define WINDOW_SIZE ((size_t)256 * 1024)
_Static_assert(WINDOW_SIZE >= 2 * WAL_FRAME_MAX, "a frame fits the window");

struct wal_reader {
    int dir_fd;
    int fd; /* current segment, -1 when it does not exist */
    uint8_t run[WAL_RUN_ID_SIZE];
    uint32_t segment;
    uint32_t salt;
    bool has_header;
    uint64_t offset;
    uint64_t seq;
    uint64_t batch;
    uint64_t torn_bytes;
    uint64_t window_at; /* file offset of window[0] */
    size_t window_len;
    char where[96];
    uint8_t window[WINDOW_SIZE];
};

static bool
run_id_parse(const char *run_dir, uint8_t out[WAL_RUN_ID_SIZE])
{
    const char *name = run_dir;
    size_t len = strlen(run_dir);
    size_t size = WAL_RUN_ID_SIZE;

    while (len > 0 && run_dir[len - 1] == '/')
        len--;
    for (size_t i = 0; i < len; i++) {
        if (run_dir[i] == '/')
            name = run_dir + i + 1;
    }
    len -= (size_t)(name - run_dir);
    if (len != 13 + 1 + 32 || name[13] != '-')
        return false;
    for (size_t i = 0; i < 13; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
    }
    return text_unhex(slice_of(name + 14, 32), out, &size) && size == WAL_RUN_ID_SIZE;
}

static enum err
open_segment(struct wal_reader *r, uint32_t number)
{
    char name[WAL_NAME_SIZE];

    if (r->fd >= 0)
        (void)close(r->fd);
    wal_segment_name(name, number);
    r->fd = openat(r->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    r->window_len = 0;
    r->window_at = 0;
    if (r->fd < 0 && errno != ENOENT)
        return ERR_IO;
    return ERR_OK;
}

enum err
wal_reader_open(const char *run_dir, struct wal_reader **out)
{
    struct wal_reader *r = calloc(1, sizeof(*r));
    enum err e = ERR_BADMSG;

    if (r == NULL)
        return ERR_NOMEM;
    r->fd = -1;
    r->dir_fd = -1;
    if (!run_id_parse(run_dir, r->run))
        goto fail;
    r->dir_fd = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    e = errno == ENOENT ? ERR_NOENT : ERR_IO;
    if (r->dir_fd < 0)
        goto fail;
    e = open_segment(r, 0);
    if (e != ERR_OK)
        goto fail;
    *out = r;
    return ERR_OK;

fail:
    wal_reader_close(&r);
    return e;
}

void
wal_reader_close(struct wal_reader **r)
{
    if (*r == NULL)
        return;
    if ((*r)->fd >= 0)
        (void)close((*r)->fd);
    if ((*r)->dir_fd >= 0)
        (void)close((*r)->dir_fd);
    free(*r);
    *r = NULL;
}

/* Reads the window anew from `at`. Short only at the end of the file. */
static enum err
fill(struct wal_reader *r, uint64_t at)
{
    r->window_at = at;
    r->window_len = 0;
    if (r->fd < 0)
        return ERR_OK;
    while (r->window_len < WINDOW_SIZE) {
        ssize_t n = pread(r->fd, r->window + r->window_len, WINDOW_SIZE - r->window_len,
                          (off_t)(at + r->window_len));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            break;
        r->window_len += (size_t)n;
    }
    return ERR_OK;
}

static struct slice
window_from(const struct wal_reader *r, uint64_t at)
{
    uint64_t skip;

    if (at < r->window_at || at - r->window_at >= r->window_len)
        return SLICE_NONE;
    skip = at - r->window_at;
    return slice_of(r->window + skip, r->window_len - (size_t)skip);
}

static bool
header_fits(const struct wal_reader *r, struct slice bytes, struct wal_header *out)
{
    return bytes.len >= WAL_SEGMENT_HEADER && wal_header_decode(bytes.p, out) &&
           memcmp(out->run, r->run, sizeof(r->run)) == 0 && out->number == r->segment;
}

/* Moves behind the header of the current segment: false when it is not there yet. */
static enum err
read_header(struct wal_reader *r, bool *fits)
{
    struct wal_header header;
    enum err e;

    *fits = false;
    if (r->fd < 0) { /* a live writer may have made it meanwhile */
        e = open_segment(r, r->segment);
        if (e != ERR_OK)
            return e;
    }
    e = fill(r, 0);
    if (e != ERR_OK)
        return e;
    if (!header_fits(r, window_from(r, 0), &header) || header.first_seq != r->seq)
        return ERR_OK;
    r->salt = header.salt;
    r->has_header = true;
    r->offset = WAL_SEGMENT_HEADER;
    *fits = true;
    return ERR_OK;
}

static bool
frame_fits(const struct wal_reader *r, struct wal_frame *out)
{
    struct wal_frame frame;

    if (!wal_decode(window_from(r, r->offset), r->salt, &frame) || frame.seq != r->seq ||
        (frame.batch != r->batch && frame.batch != frame.seq) || frame.batch < r->batch)
        return false;
    *out = frame;
    return true;
}

/* At the reader's place: from the window, or freshly read. */
static enum err
read_frame(struct wal_reader *r, struct wal_frame *out, bool *fits)
{
    enum err e = ERR_OK;

    *fits = frame_fits(r, out);
    if (!*fits) {
        e = fill(r, r->offset);
        if (e == ERR_OK)
            *fits = frame_fits(r, out);
    }
    return e;
}

struct scan {
    uint32_t salt;
    uint64_t nonzero;
    bool later; /* a valid frame of a batch that begins behind the gap */
};

static void
scan_window(const struct wal_reader *r, struct scan *scan, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        struct wal_frame frame;
        uint8_t byte = r->window[i];

        scan->nonzero += byte != 0;
        if (byte != (WAL_MAGIC & 0xff) || scan->later)
            continue;
        if (wal_decode(slice_of(r->window + i, r->window_len - i), scan->salt, &frame) &&
            frame.batch > r->seq && frame.seq >= frame.batch)
            scan->later = true;
    }
}

static enum err
scan_from(struct wal_reader *r, uint64_t at, struct scan *scan)
{
    for (;;) {
        enum err e = fill(r, at);
        size_t len = r->window_len;

        if (e != ERR_OK || len == 0)
            return e;
        /* Frames that cross the window's end are looked at from the next one. */
        if (len == WINDOW_SIZE)
            len -= WAL_FRAME_MAX;
        scan_window(r, scan, len);
        at += len;
    }
}

/* What stands behind a frame that does not fit, in this segment and the later ones. */
static enum err
scan_behind(struct wal_reader *r, struct scan *scan)
{
    uint32_t segment = r->segment;
    enum err e;

    *scan = (struct scan){.salt = r->has_header ? r->salt : wal_salt(r->run, segment)};
    e = scan_from(r, r->offset, scan);
    do { /* also behind a segment that is gone */
        if (e == ERR_OK)
            e = open_segment(r, ++segment);
        scan->salt = wal_salt(r->run, segment);
        if (e == ERR_OK)
            e = scan_from(r, 0, scan);
    } while (e == ERR_OK && r->fd >= 0);
    if (e == ERR_OK)
        e = open_segment(r, r->segment);
    return e;
}

static enum err
end_or_damage(struct wal_reader *r, struct wal_frame *out, bool *fits)
{
    struct scan scan;
    enum err e = scan_behind(r, &scan);

    if (e != ERR_OK)
        return e;
    r->torn_bytes = scan.nonzero;
    /* The end, even if a live writer went on during the scan: who looked again here would
     * scan again, find the next frames there, and never come to an end of a busy run. */
    if (!scan.later)
        return ERR_EOF;
    /* Frames that went on during the scan are no damage: what was missing is there then. */
    if (r->has_header)
        e = read_frame(r, out, fits);
    else
        e = read_header(r, fits);
    if (e != ERR_OK || *fits)
        return e;
    (void)text_format(r->where, sizeof(r->where), "segment %u offset %llu (frame %llu)", r->segment,
                      (unsigned long long)r->offset, (unsigned long long)r->seq);
    return ERR_CONFLICT;
}

enum err
wal_reader_next(struct wal_reader *r, struct wal_frame *out)
{
    for (;;) {
        struct wal_frame frame = {0};
        bool fits = false;
        enum err e = r->has_header ? read_frame(r, &frame, &fits) : read_header(r, &fits);

        if (e == ERR_OK && !fits)
            e = end_or_damage(r, &frame, &fits);
        if (e != ERR_OK)
            return e;
        if (frame.type == 0) /* it was the header */
            continue;
        r->offset += WAL_FRAME_HEADER + frame.payload.len;
        r->seq++;
        r->batch = frame.batch;
        if (frame.type != WAL_SEGMENT_END) {
            *out = frame;
            return ERR_OK;
        }
        r->segment++;
        r->offset = 0;
        r->has_header = false;
        e = open_segment(r, r->segment);
        if (e != ERR_OK)
            return e;
    }
}

struct wal_position
wal_reader_position(const struct wal_reader *r)
{
    return (struct wal_position){
        .segment = r->segment,
        .offset = r->offset,
        .seq = r->seq,
        .batch = r->batch,
        .torn_bytes = r->torn_bytes,
    };
}

const char *
wal_reader_where(const struct wal_reader *r)
{
    return r->where;
}

const uint8_t *
wal_reader_run(const struct wal_reader *r)
{
    return r->run;
}
