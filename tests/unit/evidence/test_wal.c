#include "fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "residency/evidence/wal.h"
#include "residency/evidence/wal_priv.h"

#define SEGMENT 4096u
#define RUN "0000000000001-000102030405060708090a0b0c0d0e0f"

static const char run_hex[] = "000102030405060708090a0b0c0d0e0f";

/* A run written by hand with small segments. */
struct run {
    char base[64];
    char dir[160];
    struct wal_writer w;
    bool direct;
};

static enum err
next_small(void *context, uint32_t number, int *fd, uint64_t *size)
{
    static const uint8_t zeros[SEGMENT];
    const struct run *run = context;
    char path[200];

    assert_true(text_format(path, sizeof(path), "%s/%08u.wal", run->dir, number));
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    *size = SEGMENT;
    assert_true(*fd >= 0);
    return file_pwrite(*fd, slice_of(zeros, sizeof(zeros)), 0);
}

static void
run_open(struct run *run)
{
    size_t size = WAL_RUN_ID_SIZE;

    memset(run, 0, sizeof(*run));
    memcpy(run->base, "/tmp/portolan-wal-XXXXXX", 25);
    assert_non_null(mkdtemp(run->base));
    assert_true(text_format(run->dir, sizeof(run->dir), "%s/%s", run->base, RUN));
    assert_int_equal(file_mkdir(run->dir, 0700), ERR_OK);
    assert_int_equal(wal_writer_init(&run->w, 65536), ERR_OK);
    assert_true(text_unhex(slice_str(run_hex), run->w.run, &size));
    run->w.fd = -1;
    run->w.next = next_small;
    run->w.context = run;
}

static void
run_close(struct run *run)
{
    wal_writer_fini(&run->w);
    (void)nftw(run->base, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static void
run_batch(struct run *run, unsigned frames, size_t len)
{
    uint8_t payload[2048];

    wal_writer_begin(&run->w);
    for (unsigned i = 0; i < frames; i++) {
        assert_int_equal(wal_writer_room(&run->w, len), ERR_OK);
        memset(payload, 'a' + (int)(run->w.seq % 26), len);
        assert_int_equal(
            wal_writer_add(&run->w, WAL_CONTROL, WAL_SLOT_NONE, 0, slice_of(payload, len)), ERR_OK);
    }
    assert_int_equal(wal_writer_commit(&run->w), ERR_OK);
}

/* Reads to the end: how it ended, and how many frames there were. */
static enum err
run_read(const struct run *run, uint64_t *frames, struct wal_position *at, char where[96])
{
    struct wal_reader *r = NULL;
    struct wal_frame frame;
    enum err e;

    *frames = 0;
    assert_int_equal(wal_reader_open(run->dir, &r), ERR_OK);
    while ((e = wal_reader_next(r, &frame)) == ERR_OK) {
        assert_true(frame.payload.len > 0);
        assert_int_equal(frame.payload.p[0], 'a' + (int)(frame.seq % 26));
        ++*frames;
    }
    *at = wal_reader_position(r);
    (void)text_format(where, 96, "%s", wal_reader_where(r));
    wal_reader_close(&r);
    return e;
}

static int
run_fd(const struct run *run, unsigned number)
{
    char path[200];
    int fd;

    assert_true(text_format(path, sizeof(path), "%s/%08u.wal", run->dir, number));
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void
run_flip(const struct run *run, unsigned number, off_t at)
{
    int fd = run_fd(run, number);
    uint8_t byte;

    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static void
frame_layout(void **state)
{
    static const uint8_t expected[36] = {0x7c, 0xa1, 1, 2, 3,    0, 0, 0, 0x05, 0, 0, 0,
                                         0,    0,    0, 0, 0x04, 0, 0, 0, 0,    0, 0, 0,
                                         7,    0,    0, 0, 0,    0, 0, 0, 9,    0, 0, 0};
    struct wal_frame frame = {WAL_A1, 5, 4, 7, 9, SLICE_LIT("abc")};
    struct wal_frame back;
    uint8_t bytes[WAL_FRAME_HEADER + 3];

    (void)state;
    wal_encode(&frame, 0x01020304, bytes);
    assert_memory_equal(bytes, expected, sizeof(expected));
    assert_memory_equal(bytes + WAL_FRAME_HEADER, "abc", 3);
    assert_true(wal_decode(slice_of(bytes, sizeof(bytes)), 0x01020304, &back));
    assert_int_equal(back.seq, 5);
    assert_int_equal(back.index, 7);
    assert_false(wal_decode(slice_of(bytes, sizeof(bytes)), 0x01020305, &back));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 1;
        assert_false(wal_decode(slice_of(bytes, sizeof(bytes)), 0x01020304, &back));
        bytes[i] ^= 1;
    }
    for (size_t len = 0; len < sizeof(bytes); len++)
        assert_false(wal_decode(slice_of(bytes, len), 0x01020304, &back));
}

static void
reads_over_segments(void **state)
{
    struct run run;
    struct wal_position at;
    uint64_t frames;
    char where[96];

    (void)state;
    run_open(&run);
    for (unsigned i = 0; i < 12; i++)
        run_batch(&run, 3, 300);
    assert_true(run.w.number >= 2);
    assert_int_equal(run_read(&run, &frames, &at, where), ERR_EOF);
    assert_int_equal(frames, 36);
    assert_int_equal(at.torn_bytes, 0);
    assert_int_equal(at.seq, run.w.seq); /* ends of segments have a seq too */
    assert_int_equal(at.segment, run.w.number);
    assert_int_equal(at.offset, run.w.used);
    run_close(&run);
}

/* The last batch cut at every byte: what was synced before stays, the rest is a tail. */
static void
tail_cut_at_every_byte(void **state)
{
    static const uint8_t zeros[SEGMENT];
    struct run run;
    struct wal_position at;
    uint64_t frames, kept_end;
    char where[96];
    int fd;

    (void)state;
    run_open(&run);
    run_batch(&run, 3, 50);
    kept_end = run.w.used;
    run_batch(&run, 4, 60);
    fd = run_fd(&run, 0);
    for (uint64_t cut = run.w.used; cut-- > kept_end;) {
        uint64_t whole = (cut - kept_end) / 100;

        assert_int_equal(file_pwrite(fd, slice_of(zeros, 1), (off_t)cut), ERR_OK);
        assert_int_equal(run_read(&run, &frames, &at, where), ERR_EOF);
        assert_int_equal(frames, 3 + whole);
        assert_int_equal(at.offset, kept_end + whole * 100);
    }
    assert_int_equal(at.torn_bytes, 0);
    (void)close(fd);
    run_close(&run);
}

/* The sectors of a batch may reach the disk in any order. */
static void
tail_torn_in_its_middle(void **state)
{
    static const uint8_t zeros[100];
    struct run run;
    struct wal_position at;
    uint64_t frames, kept_end;
    char where[96];
    int fd;

    (void)state;
    run_open(&run);
    run_batch(&run, 3, 60);
    kept_end = run.w.used;
    run_batch(&run, 4, 60);
    fd = run_fd(&run, 0);
    /* The batch's first frame is missing, the later ones are whole: torn, not damaged. */
    assert_int_equal(file_pwrite(fd, slice_of(zeros, 100), (off_t)kept_end), ERR_OK);
    assert_int_equal(run_read(&run, &frames, &at, where), ERR_EOF);
    assert_int_equal(frames, 3);
    assert_true(at.torn_bytes > 0 && at.torn_bytes <= 300);
    assert_int_equal(at.offset, kept_end);
    (void)close(fd);
    run_close(&run);
}

/* A flipped byte anywhere in a batch that another one followed. */
static void
damage_is_named(void **state)
{
    struct run run;
    struct wal_position at;
    uint64_t frames, first_end, end;
    char where[96];

    (void)state;
    run_open(&run);
    run_batch(&run, 2, 60);
    first_end = run.w.used;
    run_batch(&run, 2, 60);
    end = run.w.used;
    run_batch(&run, 1, 60);
    for (uint64_t i = WAL_SEGMENT_HEADER; i < end; i++) {
        uint64_t n = (i - WAL_SEGMENT_HEADER) / 100;
        char expected[96];

        run_flip(&run, 0, (off_t)i);
        assert_int_equal(run_read(&run, &frames, &at, where), ERR_CONFLICT);
        assert_int_equal(frames, n);
        assert_true(text_format(expected, sizeof(expected), "segment 0 offset %d (frame %d)",
                                (int)(WAL_SEGMENT_HEADER + n * 100), (int)n));
        assert_string_equal(where, expected);
        run_flip(&run, 0, (off_t)i);
    }
    /* Also the last frame of the batch before the last, whose follower begins right there. */
    run_flip(&run, 0, (off_t)first_end - 1);
    assert_int_equal(run_read(&run, &frames, &at, where), ERR_CONFLICT);
    run_flip(&run, 0, (off_t)first_end - 1);
    assert_int_equal(run_read(&run, &frames, &at, where), ERR_EOF);
    assert_int_equal(frames, 5);
    run_close(&run);
}

static void
damaged_header_is_named(void **state)
{
    struct run run;
    struct wal_position at;
    uint64_t frames;
    char where[96];

    (void)state;
    run_open(&run);
    while (run.w.number < 1)
        run_batch(&run, 2, 500);
    run_batch(&run, 1, 100); /* a batch of its own in the second segment */
    for (unsigned segment = 0; segment < 2; segment++) {
        for (off_t i = 0; i < WAL_SEGMENT_HEADER; i++) {
            run_flip(&run, segment, i);
            assert_int_equal(run_read(&run, &frames, &at, where), ERR_CONFLICT);
            assert_int_equal(at.segment, segment);
            run_flip(&run, segment, i);
        }
    }
    run_close(&run);
}

static void
missing_segment_is_named(void **state)
{
    struct run run;
    struct wal_position at;
    uint64_t frames;
    char where[96], path[200];

    (void)state;
    run_open(&run);
    while (run.w.number < 2)
        run_batch(&run, 2, 500);
    run_batch(&run, 1, 100);
    assert_true(text_format(path, sizeof(path), "%s/00000001.wal", run.dir));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run_read(&run, &frames, &at, where), ERR_CONFLICT);
    assert_int_equal(at.segment, 1);
    run_close(&run);
}

/* A batch that goes on in the next segment, whose pages were lost. */
static void
tail_torn_over_segments(void **state)
{
    static const uint8_t zeros[SEGMENT];
    struct run run;
    struct wal_position at;
    uint64_t frames, before;
    char where[96];
    int fd;

    (void)state;
    run_open(&run);
    run_batch(&run, 6, 500);
    before = run.w.seq;
    run_batch(&run, 4, 500);
    assert_int_equal(run.w.number, 1);
    fd = run_fd(&run, 1);
    assert_int_equal(file_pwrite(fd, slice_of(zeros, WAL_SEGMENT_HEADER), 0), ERR_OK);
    assert_int_equal(run_read(&run, &frames, &at, where), ERR_EOF);
    assert_true(frames >= before);
    assert_int_equal(at.segment, 1);
    assert_int_equal(at.offset, 0);
    assert_true(at.torn_bytes > 0);
    (void)close(fd);
    run_close(&run);
}

static void
reader_follows_a_live_run(void **state)
{
    struct run run;
    struct wal_reader *r = NULL;
    struct wal_frame frame;

    (void)state;
    run_open(&run);
    run_batch(&run, 1, 100);
    assert_int_equal(wal_reader_open(run.dir, &r), ERR_OK);
    assert_int_equal(wal_reader_next(r, &frame), ERR_OK);
    for (unsigned i = 1; i < 30; i++) {
        assert_int_equal(wal_reader_next(r, &frame), ERR_EOF);
        run_batch(&run, 1, 500);
        assert_int_equal(wal_reader_next(r, &frame), ERR_OK);
        assert_int_equal(frame.payload.len, 500);
    }
    assert_true(run.w.number > 1);
    wal_reader_close(&r);
    run_close(&run);
}

/* Every scan for what stands behind the end takes longer than the next frame does. */
#define BUSY_SEGMENT (16u << 20)
#define BUSY_FRAMES 20000u
#define BUSY_PACE_NS 50000

static enum err
next_large(void *context, uint32_t number, int *fd, uint64_t *size)
{
    enum err e = next_small(context, number, fd, size);

    *size = BUSY_SEGMENT;
    return e == ERR_OK && ftruncate(*fd, BUSY_SEGMENT) == 0 ? ERR_OK : ERR_IO;
}

struct busy {
    struct run run;
    atomic_bool is_read;
    atomic_uint frames;
};

static void *
write_busy(void *arg)
{
    const struct timespec pace = {.tv_nsec = BUSY_PACE_NS};
    struct busy *b = arg;

    while (!atomic_load(&b->is_read) && atomic_load(&b->frames) < BUSY_FRAMES) {
        run_batch(&b->run, 1, 100);
        atomic_fetch_add(&b->frames, 1);
        (void)nanosleep(&pace, NULL);
    }
    return NULL;
}

static void
reader_comes_to_the_end_of_a_busy_run(void **state)
{
    static struct busy b;
    struct wal_position at;
    uint64_t frames = 0;
    pthread_t writer;
    char where[96];

    (void)state;
    run_open(&b.run);
    b.run.w.next = next_large;
    run_batch(&b.run, 1, 100);
    assert_int_equal(pthread_create(&writer, NULL, write_busy, &b), 0);
    assert_int_equal(run_read(&b.run, &frames, &at, where), ERR_EOF);
    atomic_store(&b.is_read, true);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_true(atomic_load(&b.frames) < BUSY_FRAMES);
    assert_in_range(frames, 1, atomic_load(&b.frames) + 1);
    run_close(&b.run);
}

static void
names_of_runs(void **state)
{
    static const char *const bad[] = {"/tmp", "/tmp/1-00", "/tmp/x000000000001-0001",
                                      "/tmp/0000000000001-0001020304050607zz090a0b0c0d0e0f"};
    struct wal_reader *r = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_int_equal(wal_reader_open(bad[i], &r), ERR_BADMSG);
    assert_int_equal(wal_reader_open("/nowhere/" RUN, &r), ERR_NOENT);
}

static enum err
next_aligned(void *context, uint32_t number, int *fd, uint64_t *size)
{
    static _Alignas(WAL_BLOCK) const uint8_t zeros[4 * WAL_BLOCK];
    const struct run *run = context;
    char path[200];
    int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;

    assert_true(text_format(path, sizeof(path), "%s/%08u.wal", run->dir, number));
    *fd = open(path, run->direct ? flags | O_DIRECT : flags, 0600);
    *size = sizeof(zeros);
    assert_true(*fd >= 0);
    return file_pwrite(*fd, slice_of(zeros, sizeof(zeros)), 0);
}

/* Not every file system does (tmpfs). */
static bool
takes_direct(const struct run *run)
{
    char path[200];
    int fd;

    assert_true(text_format(path, sizeof(path), "%s/probe", run->base));
    fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

static void
same_segments(const struct run *a, const struct run *b)
{
    for (unsigned i = 0; i <= a->w.number; i++) {
        uint8_t of_a[4 * WAL_BLOCK], of_b[4 * WAL_BLOCK];
        int fd_a = run_fd(a, i), fd_b = run_fd(b, i);

        assert_int_equal(pread(fd_a, of_a, sizeof(of_a), 0), sizeof(of_a));
        assert_int_equal(pread(fd_b, of_b, sizeof(of_b), 0), sizeof(of_b));
        assert_memory_equal(of_a, of_b, sizeof(of_a));
        (void)close(fd_a);
        (void)close(fd_b);
    }
}

/* Past the page cache or through it, after every batch: the same bytes. */
static void
direct_writes_are_the_same_bytes(void **state)
{
    static const size_t lengths[] = {1, 37, 2048, 1900, 512, 3, 2000, 1024};
    struct run direct, cached;
    struct wal_position at;
    char where[96];
    uint64_t frames;

    (void)state;
    run_open(&direct);
    run_open(&cached);
    direct.direct = true;
    direct.w.next = cached.w.next = next_aligned;
    if (!takes_direct(&direct)) {
        run_close(&direct);
        run_close(&cached);
        skip();
    }
    for (unsigned i = 0; i < 60; i++) {
        size_t len = lengths[i % ARRAY_COUNT(lengths)];

        run_batch(&direct, 1 + i % 3, len);
        run_batch(&cached, 1 + i % 3, len);
        same_segments(&direct, &cached);
    }
    assert_true(direct.w.direct);
    assert_false(cached.w.direct);
    assert_true(direct.w.number > 3);
    assert_int_equal(run_read(&direct, &frames, &at, where), ERR_EOF);
    assert_int_equal(at.seq, direct.w.seq);
    assert_int_equal(at.torn_bytes, 0);
    run_close(&direct);
    run_close(&cached);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_layout),
        cmocka_unit_test(reads_over_segments),
        cmocka_unit_test(tail_cut_at_every_byte),
        cmocka_unit_test(tail_torn_in_its_middle),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(damaged_header_is_named),
        cmocka_unit_test(missing_segment_is_named),
        cmocka_unit_test(tail_torn_over_segments),
        cmocka_unit_test(reader_follows_a_live_run),
        cmocka_unit_test(reader_comes_to_the_end_of_a_busy_run),
        cmocka_unit_test(names_of_runs),
        cmocka_unit_test(direct_writes_are_the_same_bytes),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
