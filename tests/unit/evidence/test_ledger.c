/* The shim's functions take the place of libc's in this program: a full disk and a failing
 * sync are switched on in its journal. It must come first. */
#include "function/nosync.c"

#include "fixture.h"

#include <sys/wait.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "crypto/hash.h"

#define WORKERS 4

struct env {
    struct fixture *f;
    struct waiter waiters[WORKERS];
    struct ledger_opts opts;
    struct ledger *l;
    struct ledger_shard shard;
    char state_dir[64];
    uint32_t stall_ms;
};

static void
env_open(struct env *e)
{
    char why[256];

    e->opts = fixture_opts(e->f, e->waiters, WORKERS);
    e->opts.stall_ms = e->stall_ms;
    if (ledger_open(&e->opts, &e->l, why, sizeof(why)) != ERR_OK)
        fail_msg("%s", why);
    assert_int_equal(ledger_control(e->l, SLICE_LIT(FIXTURE_CHARTER), true), ERR_OK);
    assert_int_equal(ledger_shard(e->l, SLICE_LIT("acme/de"), FIXTURE_NOW_MS, &e->shard), ERR_OK);
}

static struct env *
env_watched(bool watched)
{
    struct env *e = calloc(1, sizeof(*e));

    assert_non_null(e);
    e->f = fixture_new();
    memcpy(e->state_dir, "/tmp/portolan-nosync-XXXXXX", 28);
    assert_non_null(mkdtemp(e->state_dir));
    assert_int_equal(setenv("NOSYNC_DIR", e->f->dir, 1), 0);
    assert_int_equal(setenv("NOSYNC_STATE", e->state_dir, 1), 0);
    if (!watched)
        assert_int_equal(unsetenv("NOSYNC_STATE"), 0);
    nosync_start();
    env_open(e);
    return e;
}

static struct env *
env_new(void)
{
    return env_watched(true);
}

static void
env_free(struct env *e)
{
    ledger_close(&e->l);
    fixture_free(e->f);
    (void)nftw(e->state_dir, fixture_remove, 4, FTW_DEPTH | FTW_PHYS);
    free(e);
}

static void
make_a1(const struct env *e, const char *txn, uint32_t attempt, unsigned worker,
        struct ledger_entry *entry)
{
    struct record_a1 a1 = fixture_a1(txn, e->shard.id);
    struct text text;
    uint8_t hash[HASH_SIZE];

    a1.attempt = attempt;
    memset(entry, 0, offsetof(struct ledger_entry, bytes));
    text_init(&text, entry->bytes, RECORD_A1_MAX);
    assert_int_equal(record_a1_write(e->f->signer, NULL, 0, &a1, &text, hash), ERR_OK);
    entry->type = WAL_A1;
    entry->worker = worker;
    entry->slot = e->shard.slot;
    entry->len = text.used;
}

/* Makes the A2 of an A1 entry that is done; in the same storage. leaves: of every attempt. */
static void
make_a2_of(const struct env *e, const char *txn, const uint64_t *leaves, size_t count,
           struct ledger_entry *entry)
{
    struct record_attempt attempts[RECORD_ATTEMPTS_MAX];
    uint8_t hash[32];
    struct record_a2 a2;
    struct text text;

    for (size_t i = 0; i < count; i++)
        attempts[i] = (struct record_attempt){
            .index = leaves[i], .outcome = "ok", .status = 200, .target = "de-1"};
    hash_sha256(slice_of(entry->bytes, entry->len), hash);
    a2 = fixture_a2(txn, e->shard.id, hash, entry->index, attempts);
    a2.attempt_count = count;
    text_init(&text, entry->bytes, RECORD_A2_MAX);
    assert_int_equal(record_a2_write(&a2, &text), ERR_OK);
    entry->type = WAL_A2;
    entry->len = text.used;
}

static void
make_a2(const struct env *e, const char *txn, struct ledger_entry *entry)
{
    make_a2_of(e, txn, &entry->index, 1, entry);
}

static enum err
request_start(struct env *e, char txn[UUID_TEXT_SIZE], unsigned worker, struct ledger_entry *entry)
{
    struct random_stock stock = {.left = 0};
    enum err err = ledger_reserve(e->l);

    if (err != ERR_OK)
        return err;
    random_uuid7(&stock, FIXTURE_NOW_MS, txn);
    make_a1(e, txn, 0, worker, entry);
    err = ledger_reserve_entry(e->l, entry);
    if (err == ERR_OK)
        return submit_wait(e->l, e->waiters, entry);
    ledger_release(e->l);
    return err;
}

static enum err
request(struct env *e, unsigned worker)
{
    struct ledger_entry *entry = malloc(sizeof(*entry));
    char txn[UUID_TEXT_SIZE];
    enum err err;

    assert_non_null(entry);
    err = request_start(e, txn, worker, entry);
    if (err == ERR_OK) {
        make_a2(e, txn, entry);
        err = submit_wait(e->l, e->waiters, entry);
    }
    free(entry);
    return err;
}

static void
records_come_back(void **state)
{
    struct env *e = env_new();
    struct audit_result r;

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(request(e, i % WORKERS), ERR_OK);
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    assert_true(r.live_run);
    ledger_close(&e->l);
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    assert_false(r.live_run);
    assert_int_equal(r.runs, 1);
    assert_int_equal(r.a1, 20);
    assert_int_equal(r.a2, 20);
    assert_int_equal(r.open, 0);
    assert_int_equal(r.controls, 4); /* run_start, charter, shard_open, run_end */
    env_open(e);                     /* names the run before and its frames, or audit tells */
    ledger_close(&e->l);
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.runs, 2);
    env_free(e);
}

static void
second_process_is_kept_out(void **state)
{
    struct env *e = env_new();
    struct ledger *other = NULL;
    char why[256];

    (void)state;
    assert_int_equal(ledger_open(&e->opts, &other, why, sizeof(why)), ERR_EXIST);
    assert_non_null(strstr(why, "lock"));
    assert_null(other);
    env_free(e);
}

static void
open_requests_are_closed_as_lost(void **state)
{
    struct env *e = env_new();
    struct ledger_entry *entry = malloc(sizeof(*entry));
    char txn[UUID_TEXT_SIZE], first[UUID_TEXT_SIZE];
    struct audit_result r;

    (void)state;
    assert_int_equal(request(e, 0), ERR_OK);
    assert_int_equal(request_start(e, first, 0, entry), ERR_OK);
    make_a1(e, first, 1, 0, entry); /* a second attempt of the same request */
    assert_int_equal(ledger_reserve_entry(e->l, entry), ERR_OK);
    assert_int_equal(submit_wait(e->l, e->waiters, entry), ERR_OK);
    assert_int_equal(request_start(e, txn, 0, entry), ERR_OK);
    r = fixture_audit(e->f);
    assert_int_equal(r.open, 2);
    assert_int_equal(r.faults, 0);
    ledger_close(&e->l); /* without run_end: two are open */
    env_open(e);
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.lost, 2);
    assert_int_equal(r.open, 0);
    assert_int_equal(r.a2, 3);
    free(entry);
    env_free(e);
}

struct submitter {
    struct env *e;
    unsigned worker;
    bool seen[1000];
    unsigned faults;
};

static void *
submit_many(void *arg)
{
    struct submitter *s = arg;
    struct ledger_entry *entry = malloc(sizeof(*entry));

    /* What is not checked here is checked by the audit: cmocka's jumps are for one thread. */
    for (unsigned i = 0; i < 100 && entry != NULL; i++) {
        char txn[UUID_TEXT_SIZE];

        if (request_start(s->e, txn, s->worker, entry) != ERR_OK || entry->index >= 1000 ||
            s->seen[entry->index]) {
            s->faults++;
            break;
        }
        s->seen[entry->index] = true;
        make_a2(s->e, txn, entry);
        s->faults += submit_wait(s->e->l, s->e->waiters, entry) != ERR_OK;
    }
    free(entry);
    return NULL;
}

static void
indices_are_contiguous_with_four_threads(void **state)
{
    struct env *e = env_new();
    struct submitter *s = calloc(WORKERS, sizeof(*s));
    pthread_t threads[WORKERS];
    struct audit_result r;

    (void)state;
    for (unsigned i = 0; i < WORKERS; i++) {
        s[i].e = e;
        s[i].worker = i;
        assert_int_equal(pthread_create(&threads[i], NULL, submit_many, &s[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(s[i].faults, 0);
    }
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(s[0].seen[i] + s[1].seen[i] + s[2].seen[i] + s[3].seen[i] <= 1);
    }
    free(s);
    ledger_close(&e->l);
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.a1, 400);
    assert_int_equal(r.a2, 400);
    env_free(e);
}

static void
control_records_are_kept(void **state)
{
    struct env *e = env_new();
    static char big[WAL_PAYLOAD_MAX + 1];

    (void)state;
    memset(big, ' ', sizeof(big));
    assert_int_equal(ledger_control(e->l, SLICE_LIT("{\"kind\":\"keys\",\"v\":1}"), true), ERR_OK);
    assert_int_equal(ledger_control(e->l, slice_of(big, WAL_PAYLOAD_MAX), false), ERR_OK);
    assert_int_equal(ledger_control(e->l, slice_of(big, WAL_PAYLOAD_MAX + 1), false), ERR_TOOBIG);
    ledger_close(&e->l);
    assert_int_equal(fixture_audit(e->f).controls, 6);
    env_free(e);
}

static void
shards_by_tenant_and_month(void **state)
{
    struct env *e = env_new();
    struct ledger_shard other, again;
    const int64_t month_ms = INT64_C(31) * 24 * 3600 * 1000;
    char tenant[16];

    (void)state;
    assert_int_equal(ledger_shard(e->l, SLICE_LIT("acme/de"), FIXTURE_NOW_MS, &again), ERR_OK);
    assert_int_equal(again.slot, e->shard.slot);
    assert_string_equal(again.id, e->shard.id);
    assert_int_equal(ledger_shard(e->l, SLICE_LIT("acme/de"), FIXTURE_NOW_MS + month_ms, &other),
                     ERR_OK);
    assert_int_not_equal(other.slot, e->shard.slot);
    assert_int_equal(other.month, e->shard.month + 1);
    for (unsigned i = 0; i < 500; i++) {
        assert_true(text_format(tenant, sizeof(tenant), "t%u", i));
        assert_int_equal(ledger_shard(e->l, slice_str(tenant), FIXTURE_NOW_MS, &other), ERR_OK);
        assert_int_equal(other.slot, i + 2);
    }
    ledger_close(&e->l);
    assert_int_equal(fixture_audit(e->f).shards, 502);
    assert_int_equal(fixture_audit(e->f).faults, 0);
    env_free(e);
}

static uint64_t
segments_ready(const struct env *e)
{
    struct ledger_stats stats;

    ledger_stats(e->l, &stats);
    return stats.segments_ready;
}

static void
wait_for_segments(const struct env *e, uint64_t count)
{
    struct timespec tick = {.tv_nsec = 1000000};

    for (unsigned i = 0; i < 20000 && segments_ready(e) != count; i++)
        (void)nanosleep(&tick, NULL); /* a condition with a deadline, not a guess */
    assert_int_equal(segments_ready(e), count);
}

/* Submits all and waits for all: an A2 alone would wait for the commit thread's patience. */
static void
submit_all(struct env *e, struct ledger_entry *entries, unsigned count)
{
    bool *done = calloc(count + 1, sizeof(*done));

    assert_non_null(done);
    for (unsigned i = 0; i < count; i++) {
        entries[i].done = entry_done;
        entries[i].owner = &done[i];
        ledger_submit(e->l, &entries[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        while (!done[i]) {
            waiter_wait(&e->waiters[0]);
            ledger_collect(e->l, 0);
        }
        assert_int_equal(entries[i].result, ERR_OK);
    }
    free(done);
}

/* Whole requests, side by side, until one is refused: why. */
static enum err
fill(struct env *e)
{
    enum { SIDE_BY_SIDE = 64 };
    struct ledger_entry *entries = calloc(SIDE_BY_SIDE, sizeof(*entries));
    struct random_stock stock = {.left = 0};
    char txns[SIDE_BY_SIDE][UUID_TEXT_SIZE];
    enum err err = ERR_OK;

    assert_non_null(entries);
    while (err == ERR_OK) {
        unsigned count = 0;

        while (count < SIDE_BY_SIDE && (err = ledger_reserve(e->l)) == ERR_OK) {
            random_uuid7(&stock, FIXTURE_NOW_MS, txns[count]);
            make_a1(e, txns[count], 0, 0, &entries[count]);
            err = ledger_reserve_entry(e->l, &entries[count]);
            if (err != ERR_OK) {
                ledger_release(e->l);
                break;
            }
            count++;
        }
        submit_all(e, entries, count);
        for (unsigned i = 0; i < count; i++)
            make_a2(e, txns[i], &entries[i]);
        submit_all(e, entries, count);
    }
    free(entries);
    return err;
}

static uint64_t
frames_of(const struct env *e)
{
    struct ledger_stats stats;

    ledger_stats(e->l, &stats);
    return stats.frames;
}

/* A reload that failed half-way left the record of a charter that never was in force. */
static void
records_that_belong_together_are_all_there_or_none(void **state)
{
    struct env *e = env_new();
    static char big[WAL_PAYLOAD_MAX + 1];
    const struct slice good[] = {SLICE_LIT(FIXTURE_CHARTER), SLICE_LIT(FIXTURE_CHARTER),
                                 SLICE_LIT(FIXTURE_CHARTER)};
    struct slice bad[ARRAY_COUNT(good)];
    struct ledger_stats before, after;
    const unsigned one =
        WAL_PAYLOAD_MAX / RECORD_A2_MAX + 1; /* ends hold as much as one of these */
    unsigned reserved = 0;

    (void)state;
    memset(big, ' ', sizeof(big));
    assert_int_equal(ledger_drain(e->l), ERR_OK);
    ledger_stats(e->l, &before);
    assert_int_equal(ledger_control_together(e->l, good, ARRAY_COUNT(good)), ERR_OK);
    ledger_stats(e->l, &after);
    assert_int_equal(after.frames, before.frames + ARRAY_COUNT(good));
    assert_int_equal(after.batches, before.batches + 1);
    memcpy(bad, good, sizeof(bad));
    bad[2] = slice_of(big, sizeof(big));
    assert_int_equal(ledger_control_together(e->l, bad, ARRAY_COUNT(bad)), ERR_TOOBIG);
    assert_int_equal(frames_of(e), after.frames);
    /* Room for the first, not for all. */
    wait_for_segments(e, 2);
    nosync_disk_full(true);
    while (ledger_reserve(e->l) == ERR_OK)
        reserved++;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        bad[i] = slice_of(big, WAL_PAYLOAD_MAX);
    for (unsigned i = 0; i < one; i++)
        ledger_release(e->l);
    assert_int_equal(ledger_control_together(e->l, bad, ARRAY_COUNT(bad)), ERR_FULL);
    assert_int_equal(frames_of(e), after.frames);
    /* What had been promised to the first is free again. */
    assert_int_equal(ledger_control(e->l, slice_of(big, WAL_PAYLOAD_MAX), true), ERR_OK);
    for (unsigned i = one; i < reserved; i++)
        ledger_release(e->l);
    nosync_disk_full(false);
    ledger_close(&e->l);
    assert_int_equal(fixture_audit(e->f).faults, 1); /* the one of spaces */
    env_free(e);
}

/* A full disk: admission stops in time, and everything that was admitted finds room for its end. A
 * second attempt needs more, and is made only if there is some. */
enum { FULL_MAX = 1000 };
static void
full_disk_stops_admission_not_evidence(void **state)
{
    struct env *e = env_new();
    struct ledger_entry *entries = calloc(FULL_MAX, sizeof(*entries));
    struct ledger_entry *second = malloc(sizeof(*second));
    char(*txns)[UUID_TEXT_SIZE] = calloc(FULL_MAX, sizeof(*txns));
    struct audit_result r;
    unsigned open = 0, again = 0;

    (void)state;
    wait_for_segments(e, 2);
    nosync_disk_full(true);
    while (open < FULL_MAX && request_start(e, txns[open], 0, &entries[open]) == ERR_OK)
        open++;
    assert_true(open < FULL_MAX);
    assert_int_equal(fill(e), ERR_FULL);
    assert_false(ledger_healthy(e->l));
    for (unsigned i = 0; i < open; i++) {
        uint64_t leaves[2] = {entries[i].index};
        size_t count = 1;

        make_a1(e, txns[i], 1, 0, second);
        if (ledger_reserve_entry(e->l, second) == ERR_OK) {
            assert_int_equal(submit_wait(e->l, e->waiters, second), ERR_OK);
            leaves[count++] = second->index;
            entries[i] = *second;
        }
        again += count == 2;
        make_a2_of(e, txns[i], leaves, count, &entries[i]);
    }
    assert_true(again < open);
    submit_all(e, entries, open);
    assert_int_equal(fill(e), ERR_FULL);
    assert_true(segments_ready(e) < 2);
    /* Room again: the publisher sees it by itself. */
    nosync_disk_full(false);
    wait_for_segments(e, 2);
    assert_true(ledger_healthy(e->l));
    assert_int_equal(request(e, 0), ERR_OK);
    ledger_close(&e->l);
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.open, 0);
    free(second);
    free(entries);
    free(txns);
    env_free(e);
}

/* After one failed sync nothing is believed any more, and nothing is tried again. */
static void
failed_sync_is_for_good(void **state)
{
    struct env *e = env_new();
    struct ledger_shard shard;
    struct ledger_entry *entry = malloc(sizeof(*entry));
    char txn[UUID_TEXT_SIZE];
    struct audit_result r;

    (void)state;
    assert_int_equal(request(e, 0), ERR_OK);
    wait_for_segments(e, 2); /* so that the next sync is the commit's */
    nosync_fail_sync(1);
    assert_int_equal(request_start(e, txn, 0, entry), ERR_IO);
    ledger_release(e->l);
    assert_false(ledger_healthy(e->l));
    assert_int_equal(ledger_reserve(e->l), ERR_IO);
    make_a1(e, txn, 1, 0, entry);
    assert_int_equal(submit_wait(e->l, e->waiters, entry), ERR_IO);
    assert_int_equal(ledger_control(e->l, SLICE_LIT("{}"), true), ERR_IO);
    assert_int_equal(ledger_shard(e->l, SLICE_LIT("x"), FIXTURE_NOW_MS, &shard), ERR_IO);
    ledger_close(&e->l);
    env_open(e); /* a new process: what stands on disk is closed */
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    free(entry);
    env_free(e);
}

static void
wait_until_healthy(const struct env *e, bool healthy)
{
    struct timespec moment = {.tv_nsec = 1000000};

    for (int i = 0; i < 10000 && ledger_healthy(e->l) != healthy; i++)
        (void)nanosleep(&moment, NULL);
    assert_int_equal(ledger_healthy(e->l), healthy);
}

/* Who waits for it waits on; nobody else is let in until it is over. */
static void
hanging_sync_admits_nobody(void **state)
{
    char path[96], txn[UUID_TEXT_SIZE];
    struct random_stock stock = {.left = 0};
    struct ledger_entry *entry = malloc(sizeof(*entry));
    struct audit_result r;
    struct env *e;
    bool done = false;
    int fd;

    (void)state;
    assert_true(text_format(path, sizeof(path), "/tmp/portolan-hold-%d", (int)getpid()));
    assert_int_equal(setenv("NOSYNC_HOLD", path, 1), 0);
    e = env_new();
    ledger_close(&e->l);
    e->stall_ms = 50;
    env_open(e);
    assert_int_equal(request(e, 0), ERR_OK);
    wait_for_segments(e, 2);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(ledger_reserve(e->l), ERR_OK);
    random_uuid7(&stock, FIXTURE_NOW_MS, txn);
    make_a1(e, txn, 0, 0, entry);
    assert_int_equal(ledger_reserve_entry(e->l, entry), ERR_OK);
    entry->done = entry_done;
    entry->owner = &done;
    ledger_submit(e->l, entry);
    wait_until_healthy(e, false);
    assert_int_equal(ledger_reserve(e->l), ERR_IO);
    assert_int_equal(ledger_control(e->l, SLICE_LIT("{}"), true), ERR_IO);
    assert_int_equal(unlink(path), 0);
    wait_until_healthy(e, true);
    while (!done) {
        waiter_wait(&e->waiters[0]);
        ledger_collect(e->l, 0);
    }
    assert_int_equal(entry->result, ERR_OK);
    make_a2(e, txn, entry);
    assert_int_equal(submit_wait(e->l, e->waiters, entry), ERR_OK);
    assert_int_equal(unsetenv("NOSYNC_HOLD"), 0);
    ledger_close(&e->l);
    r = fixture_audit(e->f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.open, 0);
    free(entry);
    env_free(e);
}

static void
failed_sync_answers_open_a2(void **state)
{
    struct env *e = env_new();
    struct ledger_entry *entry = malloc(sizeof(*entry));
    struct ledger_stats stats;
    char txn[UUID_TEXT_SIZE];

    (void)state;
    wait_for_segments(e, 2);
    assert_int_equal(request_start(e, txn, 0, entry), ERR_OK);
    make_a2(e, txn, entry);
    nosync_fail_sync(1);
    assert_int_equal(submit_wait(e->l, e->waiters, entry), ERR_IO);
    ledger_stats(e->l, &stats);
    assert_int_equal(stats.open_requests, 0); /* the reservation came back all the same */
    free(entry);
    env_free(e);
}

static void
damage_keeps_the_node_from_starting(void **state)
{
    struct env *e = env_new();
    struct ledger *l = NULL;
    char dir[160], path[200], why[256];
    uint8_t byte;
    int fd;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(request(e, 0), ERR_OK);
    ledger_close(&e->l);
    fixture_run_dir(e->f, 0, dir, sizeof(dir));
    assert_true(text_format(path, sizeof(path), "%s/00000000.wal", dir));
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, &byte, 1, 400), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 400), 1);
    (void)close(fd);
    assert_int_equal(ledger_open(&e->opts, &l, why, sizeof(why)), ERR_CONFLICT);
    assert_non_null(strstr(why, "segment 0 offset"));
    assert_true(fixture_audit(e->f).faults > 0);
    env_free(e);
}

/* What the newest run's last frames say is cut anywhere: recovery always ends it, and a
 * second start finds nothing left to do. */
static void
recovery_after_any_cut(void **state)
{
    static const uint8_t zeros[65536];
    struct env *e = env_new();
    char dir[160], path[200], *image = NULL;
    size_t len = 0, used = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(request(e, 0), ERR_OK);
    ledger_close(&e->l);
    fixture_run_dir(e->f, 0, dir, sizeof(dir));
    assert_true(text_format(path, sizeof(path), "%s/00000000.wal", dir));
    assert_int_equal(file_read(path, 1 << 21, &image, &len), ERR_OK);
    for (size_t i = 0; i < len; i++)
        used = image[i] != 0 ? i + 1 : used;
    for (size_t cut = used; cut > 700; cut -= 191) {
        char second[160];
        struct audit_result r;

        int fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(file_pwrite(fd, slice_of(image, cut), 0), ERR_OK);
        assert_int_equal(file_pwrite(fd, slice_of(zeros, sizeof(zeros)), (off_t)cut), ERR_OK);
        (void)close(fd);
        env_open(e);
        ledger_close(&e->l);
        r = fixture_audit(e->f);
        assert_int_equal(r.faults, 0);
        assert_int_equal(r.runs, 2);
        fixture_run_dir(e->f, 1, second, sizeof(second));
        (void)nftw(second, fixture_remove, 4, FTW_DEPTH | FTW_PHYS);
    }
    free(image);
    env_free(e);
}

struct bench_slot {
    bool idle;
};

static void
bench_done(struct ledger_entry *entry)
{
    struct bench_slot *slot = entry->owner;

    assert_int_equal(entry->result, ERR_OK);
    slot->idle = true;
}

static void
frames_per_second(void **state)
{
    struct random_stock stock = {.left = 0};
    enum { COUNT = 20000, INFLIGHT = 256 };
    struct env *e = env_watched(false); /* the shim itself is not to be measured */
    struct ledger_entry *entries = calloc(INFLIGHT, sizeof(*entries));
    struct bench_slot *slots = calloc(INFLIGHT, sizeof(*slots));
    struct ledger_stats before, after;
    char txn[UUID_TEXT_SIZE];
    struct mono from;
    double seconds;
    unsigned submitted = 0;

    (void)state;
    random_uuid7(&stock, FIXTURE_NOW_MS, txn);
    for (unsigned i = 0; i < INFLIGHT; i++) {
        make_a1(e, txn, 0, 0, &entries[i]);
        entries[i].done = bench_done;
        entries[i].owner = &slots[i];
        slots[i] = (struct bench_slot){true};
    }
    ledger_stats(e->l, &before);
    from = clock_mono();
    while (submitted < COUNT) {
        bool in_flight = false;

        for (unsigned i = 0; i < INFLIGHT && submitted < COUNT; i++) {
            if (slots[i].idle && ledger_reserve_entry(e->l, &entries[i]) == ERR_OK) {
                slots[i].idle = false;
                ledger_submit(e->l, &entries[i]);
                submitted++;
            }
            in_flight = in_flight || !slots[i].idle;
        }
        waiter_wait_or_pause(&e->waiters[0], in_flight);
        ledger_collect(e->l, 0);
    }
    for (unsigned i = 0; i < INFLIGHT;) {
        if (slots[i].idle) {
            i++;
            continue;
        }
        waiter_wait(&e->waiters[0]);
        ledger_collect(e->l, 0);
    }
    seconds = (double)mono_ms_since(clock_mono(), from) / 1000;
    ledger_stats(e->l, &after);
    print_message("ledger: %.0f frames/s, %.1f MB/s, %.1f frames a batch\n",
                  (double)(after.frames - before.frames) / seconds,
                  (double)(after.bytes - before.bytes) / seconds / 1e6,
                  (double)(after.frames - before.frames) /
                      (double)(after.batches - before.batches));
    free(entries);
    free(slots);
    env_free(e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back),
        cmocka_unit_test(second_process_is_kept_out),
        cmocka_unit_test(open_requests_are_closed_as_lost),
        cmocka_unit_test(indices_are_contiguous_with_four_threads),
        cmocka_unit_test(control_records_are_kept),
        cmocka_unit_test(records_that_belong_together_are_all_there_or_none),
        cmocka_unit_test(shards_by_tenant_and_month),
        cmocka_unit_test(full_disk_stops_admission_not_evidence),
        cmocka_unit_test(failed_sync_is_for_good),
        cmocka_unit_test(hanging_sync_admits_nobody),
        cmocka_unit_test(failed_sync_answers_open_a2),
        cmocka_unit_test(damage_keeps_the_node_from_starting),
        cmocka_unit_test(recovery_after_any_cut),
        cmocka_unit_test(frames_per_second),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
