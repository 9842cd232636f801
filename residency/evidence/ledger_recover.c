#include "base/check.h"
#include "base/file.h"
#include "residency/evidence/ledger_priv.h"
#include "residency/evidence/requests_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Closing a run whose process died: read it through, cut the torn tail, close what is
 * open as lost, and end the run. Dying in the middle of this leaves a run that did not
 * end, with fewer open requests: the next start does the rest. Runs of one node overlap
 * where one process took over from another, so that any of them can be such a one; one
 * that a process still holds is left to it. */

#define COMMIT_AT ((size_t)1 << 20)

struct recovery {
    int64_t now_ms;
    struct wal_reader *reader;
    struct requests *requests;
    struct control_shard *shards; /* by slot */
    uint64_t *next_index;
    size_t shard_count, shard_size;
    bool ended;
    const char *fault; /* static text */
    struct wal_writer writer;
    int dir_fd;
    uint64_t segment_bytes;
    uint64_t lost;
};

static enum err
fault(struct recovery *r, const char *what)
{
    r->fault = what;
    return ERR_CONFLICT;
}

static enum err
read_shard(struct recovery *r, struct slice json)
{
    struct control_shard shard;

    if (!control_read_shard_open(json, &shard) || shard.slot != r->shard_count)
        return fault(r, "a shard_open that is malformed or out of its order");
    if (r->shard_count == r->shard_size) {
        size_t size = r->shard_size == 0 ? 64 : r->shard_size * 2;
        struct control_shard *shards = realloc(r->shards, size * sizeof(*shards));
        uint64_t *next_index;

        if (shards == NULL)
            return ERR_NOMEM;
        r->shards = shards;
        next_index = realloc(r->next_index, size * sizeof(*next_index));
        if (next_index == NULL)
            return ERR_NOMEM;
        r->next_index = next_index;
        r->shard_size = size;
    }
    r->next_index[r->shard_count] = 0;
    r->shards[r->shard_count++] = shard;
    return ERR_OK;
}

static enum err
read_a1(struct recovery *r, const struct wal_frame *frame)
{
    struct record_a1_view view;
    struct requests_open *open = NULL;
    uint8_t id[16];
    const char *why;
    enum err e;
    size_t i;

    if (record_a1_parse(frame->payload, &view, &why) != ERR_OK || !requests_id(view.txn, id))
        return fault(r, "an A1 that can't be read");
    if (!view.permit)
        return ERR_OK;
    switch (requests_find(r->requests, id, &open)) {
    case REQUESTS_OPEN:
        break;
    case REQUESTS_UNSEEN:
    case REQUESTS_REFUSED:
        e = requests_add_open(r->requests, id, &open);
        if (e != ERR_OK)
            return e;
        memcpy(open->txn, view.txn, sizeof(open->txn));
        break;
    case REQUESTS_CLOSED:
        return fault(r, "an A1 behind the A2 of its request");
    }
    if (open->count == RECORD_ATTEMPTS_MAX)
        return fault(r, "more attempts of one request than there can be");
    i = open->count++;
    open->slot = frame->slot;
    open->a1[i].index = frame->index;
    hash_sha256(frame->payload, open->a1[i].hash);
    memcpy(open->a1[i].target,
           view.target_backend[0] != '\0' ? view.target_backend : view.target_node,
           sizeof(open->a1[i].target));
    return ERR_OK;
}

static enum err
read_a2(struct recovery *r, const struct wal_frame *frame)
{
    struct record_a2_view view;
    struct requests_open *open = NULL;
    uint8_t id[16];
    const char *why;

    if (record_a2_parse(frame->payload, &view, &why) != ERR_OK || !requests_id(view.txn, id))
        return fault(r, "an A2 that can't be read");
    if (requests_find(r->requests, id, &open) == REQUESTS_OPEN)
        requests_close(r->requests, open);
    return ERR_OK;
}

static enum err
read_frame(struct recovery *r, const struct wal_frame *frame)
{
    if (r->ended)
        return fault(r, "a frame behind the end of the run");
    if (frame->type == WAL_CONTROL) {
        enum control_kind kind = control_kind(frame->payload);

        if ((kind == CONTROL_RUN_START) != (frame->seq == 0))
            return fault(r, "a run begins with run_start, and once");
        r->ended = kind == CONTROL_RUN_END;
        return kind == CONTROL_SHARD_OPEN ? read_shard(r, frame->payload) : ERR_OK;
    }
    if (frame->seq == 0)
        return fault(r, "a run begins with run_start, and once");
    if (frame->slot >= r->shard_count || frame->index != r->next_index[frame->slot])
        return fault(r, "a leaf without its shard, or out of its order");
    r->next_index[frame->slot]++;
    return frame->type == WAL_A1 ? read_a1(r, frame) : read_a2(r, frame);
}

static enum err
read_run(struct recovery *r)
{
    struct wal_frame frame;
    enum err e;

    for (;;) {
        e = wal_reader_next(r->reader, &frame);
        if (e != ERR_OK)
            break;
        e = read_frame(r, &frame);
        if (e != ERR_OK)
            return e;
    }
    if (e == ERR_CONFLICT)
        return fault(r, "a synced record was damaged");
    if (e == ERR_EOF && wal_reader_position(r->reader).seq == 0)
        return fault(r, "the run has no run_start");
    return e == ERR_EOF ? ERR_OK : e;
}

/* Zeros from an offset on; a file that was never finished goes away. */
static enum err
clean_segment(struct recovery *r, uint32_t number, uint64_t from, bool is_torn)
{
    static const uint8_t zeros[1 << 16];
    char name[WAL_NAME_SIZE];
    struct stat st;
    enum err e = ERR_OK;
    int fd;

    wal_segment_name(name, number);
    fd = openat(r->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOENT : ERR_IO;
    if (fstat(fd, &st) != 0) {
        (void)close(fd);
        return ERR_IO;
    }
    if (from == 0 && (uint64_t)st.st_size != r->segment_bytes) {
        (void)close(fd);
        return unlinkat(r->dir_fd, name, 0) == 0 ? ERR_OK : ERR_IO;
    }
    for (uint64_t at = is_torn ? from : r->segment_bytes; at < r->segment_bytes && e == ERR_OK;
         at += sizeof(zeros)) {
        uint64_t left = r->segment_bytes - at;

        e = file_pwrite(fd, slice_of(zeros, left < sizeof(zeros) ? (size_t)left : sizeof(zeros)),
                        (off_t)at);
    }
    if (e == ERR_OK && fdatasync(fd) != 0)
        e = ERR_IO;
    (void)close(fd);
    return e;
}

static enum err
segment_size(struct recovery *r)
{
    struct stat st;

    /* The first one was synced whole before the run began. */
    if (fstatat(r->dir_fd, "00000000.wal", &st, AT_SYMLINK_NOFOLLOW) != 0)
        return ERR_IO;
    r->segment_bytes = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err
cut_tail(struct recovery *r, const struct wal_position *at)
{
    uint32_t number = at->segment;
    enum err e = ERR_OK;

    if (at->offset > 0)
        e = clean_segment(r, number++, at->offset, at->torn_bytes > 0);
    for (; e == ERR_OK; number++)
        e = clean_segment(r, number, 0, at->torn_bytes > 0);
    if (e == ERR_NOENT)
        e = fsync(r->dir_fd) == 0 ? ERR_OK : ERR_IO;
    return e;
}

/* A pre-written segment of the dead process, or a new one. */
static enum err
next_segment(void *context, uint32_t number, int *fd, uint64_t *size)
{
    struct recovery *r = context;
    char name[WAL_NAME_SIZE];

    wal_segment_name(name, number);
    *size = r->segment_bytes;
    *fd = openat(r->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (*fd >= 0)
        return ERR_OK;
    if (errno != ENOENT)
        return ERR_IO;
    return ledger_segment_prepare(r->dir_fd, number, *size, false, NULL, fd);
}

static enum err
continue_run(struct recovery *r, const struct wal_position *at)
{
    struct wal_writer *w = &r->writer;
    uint8_t bytes[WAL_SEGMENT_HEADER];
    struct wal_header header;
    char name[WAL_NAME_SIZE];
    enum err e = wal_writer_init(w, COMMIT_AT);

    if (e != ERR_OK)
        return e;
    memcpy(w->run, wal_reader_run(r->reader), sizeof(w->run));
    w->next = next_segment;
    w->context = r;
    w->sync = true;
    w->number = at->segment;
    w->seq = at->seq;
    if (at->offset == 0)
        return ERR_OK; /* opened, with its header, when the first frame is added */
    wal_segment_name(name, at->segment);
    w->fd = openat(r->dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    w->segment_bytes = r->segment_bytes;
    w->used = at->offset;
    if (w->fd < 0 || pread(w->fd, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes) ||
        !wal_header_decode(bytes, &header))
        return ERR_IO;
    w->salt = header.salt;
    return ERR_OK;
}

static enum err
write_lost(struct recovery *r, const struct requests_open *open)
{
    struct record_attempt attempts[RECORD_ATTEMPTS_MAX];
    struct record_a2 a2 = {
        .txn = open->txn,
        .shard = r->shards[open->slot].id,
        .a1_hash = open->a1[open->count - 1].hash,
        .a1_index = open->a1[open->count - 1].index,
        .end = RECORD_LOST,
        .end_ms = r->now_ms,
        .prompt_tokens = -1,
        .completion_tokens = -1,
        .attempts = attempts,
        .attempt_count = open->count,
    };
    uint8_t storage[RECORD_A2_MAX];
    struct text text;
    enum err e;

    for (size_t i = 0; i < open->count; i++) {
        attempts[i] = (struct record_attempt){.index = open->a1[i].index, .outcome = "lost"};
        memcpy(attempts[i].target, open->a1[i].target, sizeof(attempts[i].target));
    }
    text_init(&text, storage, sizeof(storage));
    e = record_a2_write(&a2, &text);
    if (e == ERR_OK)
        e = wal_writer_add(&r->writer, WAL_A2, open->slot, r->next_index[open->slot],
                           text_slice(&text));
    if (e == ERR_OK) {
        r->next_index[open->slot]++;
        r->lost++;
    }
    return e;
}

static enum err
write_end(struct recovery *r, const char *run, uint64_t cut_bytes)
{
    uint8_t storage[CONTROL_TEXT_MAX];
    struct text text;
    enum err e;

    text_init(&text, storage, sizeof(storage));
    control_write_recovery(&text, run, cut_bytes, r->lost, r->now_ms);
    e = wal_writer_add(&r->writer, WAL_CONTROL, WAL_SLOT_NONE, 0, text_slice(&text));
    if (e == ERR_OK)
        e = wal_writer_room(&r->writer, CONTROL_TEXT_MAX);
    if (e != ERR_OK)
        return e;
    text_init(&text, storage, sizeof(storage));
    control_write_run_end(&text, r->writer.seq + 1, "recovered", r->now_ms);
    e = wal_writer_add(&r->writer, WAL_CONTROL, WAL_SLOT_NONE, 0, text_slice(&text));
    return e == ERR_OK ? wal_writer_commit(&r->writer) : e;
}

static enum err
finish_run(struct recovery *r, const char *run)
{
    struct wal_position at = wal_reader_position(r->reader);
    const struct requests_open *open;
    size_t place = 0;
    enum err e = segment_size(r);

    if (e == ERR_OK)
        e = cut_tail(r, &at);
    if (e == ERR_OK)
        e = continue_run(r, &at);
    if (e != ERR_OK)
        return e;
    wal_writer_begin(&r->writer);
    while (e == ERR_OK && (open = requests_next_open(r->requests, &place)) != NULL) {
        e = write_lost(r, open);
        if (e == ERR_OK && r->writer.buffered >= COMMIT_AT / 2) {
            e = wal_writer_commit(&r->writer);
            wal_writer_begin(&r->writer);
        }
    }
    return e == ERR_OK ? write_end(r, run, at.torn_bytes) : e;
}

static enum err
recover(struct recovery *r, const char *path, const char *run, uint64_t *frames)
{
    enum err e = wal_reader_open(path, &r->reader);

    if (e == ERR_OK)
        e = requests_new(&r->requests);
    if (e != ERR_OK)
        return e;
    r->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->dir_fd < 0)
        return ERR_IO;
    e = read_run(r);
    if (e != ERR_OK)
        return e;
    if (r->ended) {
        struct wal_position at = wal_reader_position(r->reader);

        /* Behind an end nothing may be left to cut. */
        if (at.torn_bytes > 0)
            return fault(r, "bytes behind the end of the run");
        *frames = at.seq;
        return ERR_OK;
    }
    e = finish_run(r, run);
    if (e == ERR_OK)
        *frames = r->writer.seq;
    return e;
}

static void
explain(const struct recovery *r, const char *name, char *why, size_t why_size)
{
    const char *where = wal_reader_where(r->reader);
    struct wal_position at = wal_reader_position(r->reader);

    if (where[0] != '\0')
        (void)text_format(why, why_size, "run %s: %s: %s", name, r->fault, where);
    else
        (void)text_format(why, why_size, "run %s: %s: segment %u before offset %llu (frame %llu)",
                          name, r->fault, at.segment, (unsigned long long)at.offset,
                          (unsigned long long)(at.seq == 0 ? 0 : at.seq - 1));
}

enum err
ledger_recover_run(const char *runs_dir, const char *name, int64_t now_ms,
                   struct ledger_closed *out, char *why, size_t why_size)
{
    struct recovery r = {.now_ms = now_ms, .dir_fd = -1, .writer = {.fd = -1}};
    char path[LEDGER_PATH_MAX];
    uint64_t frames = 0;
    int lock_fd = -1;
    enum err e = ledger_run_probe(runs_dir, name, &lock_fd);

    if (e == ERR_NOENT)
        e = ERR_OK; /* it ended, or is of a time when runs had no locks */
    if (e == ERR_OK)
        e = file_join(path, sizeof(path), runs_dir, name)
                ? recover(&r, path, name + LEDGER_RUN_AT, &frames)
                : ERR_TOOBIG;
    if (e == ERR_OK)
        *out = (struct ledger_closed){.frames = frames, .lost = r.lost, .was_open = !r.ended};
    else if (r.fault != NULL)
        explain(&r, name, why, why_size);
    ledger_run_unlock(r.dir_fd, &lock_fd, e == ERR_OK);
    wal_writer_fini(&r.writer);
    if (r.dir_fd >= 0)
        (void)close(r.dir_fd);
    requests_free(&r.requests);
    wal_reader_close(&r.reader);
    free(r.shards);
    free(r.next_index);
    return e;
}

/* Of all but the newest one the lock file alone tells that there is something to do. */
static bool
is_closed(const char *runs_dir, const char *name)
{
    int lock_fd = -1;
    enum err e = ledger_run_probe(runs_dir, name, &lock_fd);

    if (lock_fd >= 0)
        (void)close(lock_fd);
    return e == ERR_NOENT;
}

static enum err
recover_all(const char *runs_dir, int64_t now_ms, struct ledger_runs *runs,
            struct ledger_previous *previous, char *why, size_t why_size)
{
    size_t live = 0;

    for (size_t i = 0; i < runs->count; i++) {
        const char *name = runs->names[i];
        struct ledger_closed closed = {0};
        enum err e;

        if (i + 1 < runs->count && is_closed(runs_dir, name))
            continue;
        e = ledger_recover_run(runs_dir, name, now_ms, &closed, why, why_size);
        if (e != ERR_OK && e != ERR_EXIST)
            return e;
        if (i + 1 == runs->count) {
            previous->live = e == ERR_EXIST;
            previous->frames = closed.frames;
        }
        if (e == ERR_EXIST)
            memmove(runs->names[live++], name, sizeof(runs->names[0]));
    }
    runs->count = live;
    return ERR_OK;
}

enum err
ledger_recover(const char *runs_dir, int64_t now_ms, struct ledger_previous *out,
               struct ledger_runs *live, char *why, size_t why_size)
{
    struct ledger_runs runs = {0};
    struct ledger_previous previous = {0};
    uint64_t started = 0;
    const char *name;
    enum err e = ledger_runs_list(runs_dir, &runs);

    if (e != ERR_OK || runs.count == 0) {
        ledger_runs_free(&runs);
        return e;
    }
    name = runs.names[runs.count - 1];
    memcpy(previous.run, name + LEDGER_RUN_AT, sizeof(previous.run));
    if (slice_u64(slice_of(name, LEDGER_RUN_AT - 1), &started))
        previous.started_ms = (int64_t)started;
    e = recover_all(runs_dir, now_ms, &runs, &previous, why, why_size);
    if (e != ERR_OK) {
        ledger_runs_free(&runs);
        return e;
    }
    *out = previous;
    *live = runs;
    return ERR_OK;
}
