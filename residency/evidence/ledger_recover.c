#include "base/check.h"
#include "base/file.h"
#include "residency/evidence/ledger_priv.h"
#include "residency/evidence/requests_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Closing a run whose process died: read it through, cut the torn tail, close what is
 * open as lost, and end the run. Dying in the middle of this leaves a run that did not
 * end, with fewer open requests: the next start does the rest. Only the newest run can
 * be such a one, because a run starts after its predecessor has ended. */

#define COMMIT_AT ((size_t)1 << 20)

struct recovery {
    const struct ledger_opts *opts;
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
    return ledger_segment_prepare(r->dir_fd, number, *size, NULL, fd);
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
        .end_ms = r->opts->now_ms,
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
    control_write_recovery(&text, run, cut_bytes, r->lost, r->opts->now_ms);
    e = wal_writer_add(&r->writer, WAL_CONTROL, WAL_SLOT_NONE, 0, text_slice(&text));
    if (e == ERR_OK)
        e = wal_writer_room(&r->writer, CONTROL_TEXT_MAX);
    if (e != ERR_OK)
        return e;
    text_init(&text, storage, sizeof(storage));
    control_write_run_end(&text, r->writer.seq + 1, "recovered", r->opts->now_ms);
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
recover_run(struct recovery *r, const char *path, struct ledger_previous *out)
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
        out->frames = at.seq;
        return ERR_OK;
    }
    e = finish_run(r, out->run);
    out->frames = r->writer.seq;
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
ledger_recover(const char *runs_dir, const struct ledger_opts *opts, struct ledger_previous *out,
               char *why, size_t why_size)
{
    struct recovery r = {.opts = opts, .dir_fd = -1, .writer = {.fd = -1}};
    struct ledger_runs runs = {0};
    struct ledger_previous previous = {0};
    char path[LEDGER_PATH_MAX];
    uint64_t started = 0;
    const char *name;
    enum err e = ledger_runs_list(runs_dir, &runs);

    if (e != ERR_OK || runs.count == 0) {
        ledger_runs_free(&runs);
        return e;
    }
    name = runs.names[runs.count - 1];
    memcpy(previous.run, name + 14, sizeof(previous.run));
    if (slice_u64(slice_of(name, 13), &started))
        previous.started_ms = (int64_t)started;
    e = file_join(path, sizeof(path), runs_dir, name) ? recover_run(&r, path, &previous)
                                                      : ERR_TOOBIG;
    if (e == ERR_OK)
        *out = previous;
    else if (r.fault != NULL)
        explain(&r, name, why, why_size);
    wal_writer_fini(&r.writer);
    if (r.dir_fd >= 0)
        (void)close(r.dir_fd);
    requests_free(&r.requests);
    wal_reader_close(&r.reader);
    free(r.shards);
    free(r.next_index);
    ledger_runs_free(&runs);
    return e;
}
