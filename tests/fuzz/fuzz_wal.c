#include "base/check.h"
#include "base/slice.h"
#include "base/text.h"
#include "residency/evidence/audit.h"
#include "residency/evidence/record.h"
#include "residency/evidence/wal.h"
#include "residency/evidence/wal_priv.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Arbitrary bytes as what a node finds on its disk: data[0] chooses between the text of a
 * record, the raw bytes of two segments, and a well-framed run of arbitrary payloads (so
 * that the CRC does not keep the rest of the reader out of reach). */

#define RUN "0000000000001-000102030405060708090a0b0c0d0e0f"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char ledger_dir[64];
static char run_dir[160];

static void
remove_dirs(void)
{
    char path[192];

    for (unsigned i = 0; i < 2; i++) {
        ASSERT(text_format(path, sizeof(path), "%s/%08u.wal", run_dir, i));
        (void)unlink(path);
    }
    ASSERT(text_format(path, sizeof(path), "%s/runs", ledger_dir));
    (void)rmdir(run_dir);
    (void)rmdir(path);
    (void)rmdir(ledger_dir);
}

static void
make_dirs(void)
{
    char path[128];

    if (ledger_dir[0] != '\0')
        return;
    ASSERT(text_format(ledger_dir, sizeof(ledger_dir), "/tmp/portolan-fuzz-XXXXXX"));
    ASSERT(mkdtemp(ledger_dir) != NULL);
    ASSERT(text_format(path, sizeof(path), "%s/runs", ledger_dir));
    ASSERT(mkdir(path, 0700) == 0);
    ASSERT(text_format(run_dir, sizeof(run_dir), "%s/" RUN, path));
    ASSERT(mkdir(run_dir, 0700) == 0);
    (void)atexit(remove_dirs);
}

static void
write_segment(unsigned number, struct slice bytes)
{
    char path[192];
    int fd;

    ASSERT(text_format(path, sizeof(path), "%s/%08u.wal", run_dir, number));
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ASSERT(fd >= 0);
    ASSERT(write(fd, bytes.p, bytes.len) == (ssize_t)bytes.len);
    (void)close(fd);
}

/* Records as text: what parses must be within its bounds. */
static void
fuzz_text(struct slice s)
{
    struct record_a1_view a1;
    struct record_a2_view a2;
    const char *why = NULL;

    if (record_a1_parse(s, &a1, &why) == ERR_OK)
        ASSERT(strlen(a1.txn) == UUID_TEXT_SIZE - 1);
    else
        ASSERT(why != NULL);
    why = NULL;
    if (record_a2_parse(s, &a2, &why) == ERR_OK)
        ASSERT(a2.attempt_count <= RECORD_ATTEMPTS_MAX);
    else
        ASSERT(why != NULL);
}

static void
fuzz_a1_payload(struct slice s)
{
    uint8_t storage[4 * RECORD_A1_MAX];
    struct text t;

    text_init(&t, storage, sizeof(storage));
    text_add_b64url(&t, SLICE_LIT("{\"alg\":\"ES256\",\"kid\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                  "AAAAAAAA\",\"typ\":\"residency+jwt\"}"));
    text_add_char(&t, '.');
    text_add_b64url(&t, s);
    text_add_str(&t, ".AAAA");
    if (text_ok(&t))
        fuzz_text(text_slice(&t));
}

static void
walk(void)
{
    struct audit_opts opts = {.dir = ledger_dir};
    struct audit_result result;
    struct wal_reader *r = NULL;
    struct wal_frame frame;
    enum err e = wal_reader_open(run_dir, &r);

    ASSERT(e == ERR_OK);
    while ((e = wal_reader_next(r, &frame)) == ERR_OK)
        ASSERT(frame.payload.len <= WAL_PAYLOAD_MAX);
    ASSERT(e == ERR_EOF || e == ERR_CONFLICT);
    wal_reader_close(&r);
    e = audit_ledger(&opts, &result);
    ASSERT(e == ERR_OK);
}

/* [type, slot, index, length of 2 bytes, payload]... as frames that fit. */
static void
fuzz_frames(struct slice s)
{
    static uint8_t image[1 << 17];
    struct wal_header header = {.number = 0, .first_seq = 0, .salt = 7};
    struct wal_frame frame = {0};
    size_t used = WAL_SEGMENT_HEADER;

    for (unsigned i = 0; i < WAL_RUN_ID_SIZE; i++)
        header.run[i] = (uint8_t)i;
    wal_header_encode(&header, image);
    while (s.len >= 5) {
        size_t len = (size_t)s.p[3] | (size_t)(s.p[4] & 0x3f) << 8;

        frame.type = (enum wal_type)(s.p[0] % 4 + 1);
        frame.slot = s.p[1] == 0xff ? WAL_SLOT_NONE : s.p[1];
        frame.index = s.p[2];
        frame.payload = slice_sub(s, 5, len);
        if (used + WAL_FRAME_HEADER + frame.payload.len > sizeof(image))
            break;
        wal_encode(&frame, header.salt, image + used);
        used += WAL_FRAME_HEADER + frame.payload.len;
        frame.seq++;
        s = slice_sub(s, 5 + frame.payload.len, s.len);
    }
    write_segment(0, slice_of(image, used));
    write_segment(1, SLICE_NONE);
    walk();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s;

    check_never_fatal();
    if (size < 2)
        return 0;
    make_dirs();
    s = slice_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        fuzz_text(s);
        break;
    case 1:
        fuzz_a1_payload(s);
        break;
    case 2:
        write_segment(0, slice_sub(s, 0, s.len / 2));
        write_segment(1, slice_sub(s, s.len / 2, s.len));
        walk();
        break;
    default:
        fuzz_frames(s);
        break;
    }
    return 0;
}
