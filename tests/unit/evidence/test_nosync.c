/* A killed process is made to lose what a lost machine would lose: all that was written and
 * not synced (tests/function/nosync.c). What the ledger said was durable must be there all
 * the same. The shim comes first: its functions take the place of libc's. */
#include "function/nosync.c"

#define NOSYNC_NO_MAIN
#include "function/nosync-rollback.c"

#include "fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/check.h"
#include "crypto/hash.h"

#define ROUNDS 20
#define INFLIGHT 16
#define REPORTS_MAX 200000

struct env {
    struct fixture *f;
    char state_dir[64];
    char keys_dir[96];
};

static struct env *
env_new(void)
{
    struct env *e = calloc(1, sizeof(*e));

    assert_non_null(e);
    e->f = fixture_new();
    memcpy(e->state_dir, "/tmp/portolan-nosync-XXXXXX", 28);
    assert_non_null(mkdtemp(e->state_dir));
    assert_true(text_format(e->keys_dir, sizeof(e->keys_dir), "%s/keys", e->f->dir));
    assert_int_equal(file_mkdir(e->keys_dir, 0700), ERR_OK);
    return e;
}

static void
env_free(struct env *e)
{
    fixture_free(e->f);
    (void)nftw(e->state_dir, fixture_remove, 4, FTW_DEPTH | FTW_PHYS);
    free(e);
}

/* The child's side of a fork: under the shim from now on. */
static void
watch(const struct env *e)
{
    if (setenv("NOSYNC_DIR", e->f->dir, 1) != 0 || setenv("NOSYNC_STATE", e->state_dir, 1) != 0)
        _exit(1);
    nosync_start();
}

static unsigned
kill_and_roll_back(const struct env *e, pid_t pid)
{
    char path[128];
    unsigned taken_back = 0;
    int status = 0;

    (void)kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(text_format(path, sizeof(path), "%s/%d.journal", e->state_dir, (int)pid));
    if (access(path, F_OK) == 0 && nosync_rollback(path, e->f->dir, &taken_back) != 0 &&
        taken_back > 0)
        fail_msg("the rollback failed");
    (void)unlink(path);
    return taken_back;
}

static void
must(bool ok)
{
    if (!ok)
        _exit(1);
}

static void
write_and_die(const struct env *e)
{
    char path[128];
    int dir_fd, fd;

    watch(e);
    dir_fd = open(e->f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(text_format(path, sizeof(path), "%s/kept", e->f->dir));
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, "AAAAAAAA", 8) == 8 && fdatasync(fd) == 0 && fsync(dir_fd) == 0);
    must(pwrite(fd, "BB", 2, 0) == 2 && fdatasync(fd) == 0);
    must(pwrite(fd, "CC", 2, 2) == 2); /* none of what follows is synced */
    must(pwrite(fd, "DDD", 3, 1) == 3);
    must(pwrite(fd, "EEEE", 4, 20) == 4);
    must(text_format(path, sizeof(path), "%s/lost", e->f->dir));
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, "x", 1) == 1 && fsync(fd) == 0); /* but not its folder */
    (void)kill(getpid(), SIGKILL);
}

static void
unsynced_writes_are_taken_back(void **state)
{
    struct env *e = env_new();
    char path[128], *content = NULL;
    siginfo_t info;
    size_t len = 0;
    pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        write_and_die(e);
        _exit(1);
    }
    (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT); /* it kills itself */
    assert_int_equal(kill_and_roll_back(e, pid), 4);
    assert_true(text_format(path, sizeof(path), "%s/kept", e->f->dir));
    assert_int_equal(file_read(path, 64, &content, &len), ERR_OK);
    assert_int_equal(len, 8);
    assert_memory_equal(content, "BBAAAAAA", 8);
    free(content);
    assert_true(text_format(path, sizeof(path), "%s/lost", e->f->dir));
    assert_int_equal(access(path, F_OK), -1);
    env_free(e);
}

/* ---- The ledger under it ------------------------------------------------------------- */

struct report { /* from the child: this entry's done() was seen */
    uint8_t hash[32];
    uint32_t subject;
    uint8_t key[32];
};

struct flight {
    struct ledger_entry entry;
    char txn[UUID_TEXT_SIZE];
    uint32_t subject;
    uint8_t key[32];
    bool idle;
    int pipe;
};

static void
flight_done(struct ledger_entry *entry)
{
    struct flight *flight = entry->owner;
    struct report report = {.subject = flight->subject};

    must(entry->result == ERR_OK);
    hash_sha256(slice_of(entry->bytes, entry->len), report.hash);
    memcpy(report.key, flight->key, sizeof(report.key));
    must(write(flight->pipe, &report, sizeof(report)) == (ssize_t)sizeof(report));
    flight->idle = true;
}

static void
flight_a1(const struct env *e, struct ledger *l, struct subject_store *subjects,
          struct flight *flight, uint32_t subject)
{
    struct random_stock stock = {.left = 0};
    struct ledger_shard shard;
    struct record_a1 a1;
    struct text text;
    uint8_t hash[HASH_SIZE];
    char name[16];

    must(ledger_shard(l, SLICE_LIT("acme/de"), FIXTURE_NOW_MS, &shard) == ERR_OK);
    must(text_format(name, sizeof(name), "u%u", subject));
    must(subject_key(subjects, SLICE_LIT("acme/de"), slice_str(name), FIXTURE_NOW_MS,
                     flight->key) == ERR_OK);
    flight->subject = subject;
    random_uuid7(&stock, FIXTURE_NOW_MS, flight->txn);
    a1 = fixture_a1(flight->txn, shard.id);
    text_init(&text, flight->entry.bytes, RECORD_A1_MAX);
    must(record_a1_write(e->f->signer, NULL, 0, &a1, &text, hash) == ERR_OK);
    flight->entry.type = WAL_A1;
    flight->entry.slot = shard.slot;
    flight->entry.len = text.used;
    must(ledger_reserve_entry(l, &flight->entry) == ERR_OK);
}

static void
flight_a2(struct ledger *l, struct flight *flight)
{
    struct record_attempt attempt = {
        .index = flight->entry.index, .outcome = "ok", .status = 200, .target = "de-1"};
    struct ledger_shard shard;
    struct record_a2 a2;
    struct text text;
    uint8_t hash[32];

    must(ledger_shard(l, SLICE_LIT("acme/de"), FIXTURE_NOW_MS, &shard) == ERR_OK);
    hash_sha256(slice_of(flight->entry.bytes, flight->entry.len), hash);
    a2 = fixture_a2(flight->txn, shard.id, hash, flight->entry.index, &attempt);
    text_init(&text, flight->entry.bytes, RECORD_A2_MAX);
    must(record_a2_write(&a2, &text) == ERR_OK);
    flight->entry.type = WAL_A2;
    flight->entry.len = text.used;
}

static void
run_until_killed(const struct env *e, int pipe_fd)
{
    struct waiter waiter;
    struct ledger_opts opts = fixture_opts(e->f, &waiter, 1);
    struct flight *flights = calloc(INFLIGHT, sizeof(*flights));
    struct subject_store *subjects = NULL;
    struct ledger *l = NULL;
    uint32_t subject = (uint32_t)random_below(1u << 20);
    const char *why;
    char words[256];

    watch(e);
    must(flights != NULL && subject_store_open(e->keys_dir, &subjects, &why) == ERR_OK);
    must(subject_tenant_ensure(subjects, SLICE_LIT("acme/de")) == ERR_OK);
    opts.subjects = subjects;
    must(ledger_open(&opts, &l, words, sizeof(words)) == ERR_OK);
    must(ledger_control(l, SLICE_LIT(FIXTURE_CHARTER), true) == ERR_OK);
    for (unsigned i = 0; i < INFLIGHT; i++) {
        flights[i].entry.owner = &flights[i];
        flights[i].entry.done = flight_done;
        flights[i].entry.type = WAL_A2;
        flights[i].pipe = pipe_fd;
        flights[i].idle = true;
    }
    for (;;) {
        bool in_flight = false;

        for (unsigned i = 0; i < INFLIGHT; i++) {
            struct flight *flight = &flights[i];

            in_flight = in_flight || !flight->idle;
            if (!flight->idle || (flight->entry.type == WAL_A2 && ledger_reserve(l) != ERR_OK))
                continue;
            if (flight->entry.type == WAL_A2)
                flight_a1(e, l, subjects, flight, subject++);
            else
                flight_a2(l, flight);
            flight->idle = false;
            in_flight = true;
            ledger_submit(l, &flight->entry);
        }
        waiter_wait_or_pause(&waiter, in_flight);
        ledger_collect(l, 0);
    }
}

struct found {
    uint8_t (*hashes)[32];
    size_t count;
};

static void
collect_hash(void *context, const struct audit_record *record)
{
    struct found *found = context;

    if (record->frame.type == WAL_CONTROL || found->count == REPORTS_MAX)
        return;
    hash_sha256(record->frame.payload, found->hashes[found->count++]);
}

static int
compare_hashes(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

static void
check_log(const struct env *e, const struct report *reports, size_t count)
{
    const struct charter *charters[] = {&e->f->charter};
    struct found found = {.hashes = calloc(REPORTS_MAX, 32)};
    struct audit_opts opts = {.dir = e->f->dir,
                              .charters = charters,
                              .charter_count = 1,
                              .visit = collect_hash,
                              .fault = fixture_print_fault,
                              .context = &found};
    struct audit_result result;

    assert_non_null(found.hashes);
    assert_int_equal(audit_ledger(&opts, &result), ERR_OK);
    assert_int_equal(result.faults, 0);
    assert_int_equal(result.open, 0);
    qsort(found.hashes, found.count, 32, compare_hashes);
    for (size_t i = 0; i < count; i++)
        assert_non_null(bsearch(reports[i].hash, found.hashes, found.count, 32, compare_hashes));
    free(found.hashes);
}

static void
check_subjects(const struct env *e, const struct report *reports, size_t count)
{
    struct subject_store *s = NULL;
    const char *why = NULL;

    if (subject_store_open(e->keys_dir, &s, &why) != ERR_OK)
        fail_msg("%s", why);
    for (size_t i = 0; i < count; i++) {
        uint8_t key[32];
        char name[16];

        assert_true(text_format(name, sizeof(name), "u%u", reports[i].subject));
        assert_int_equal(subject_key(s, SLICE_LIT("acme/de"), slice_str(name), FIXTURE_NOW_MS, key),
                         ERR_OK);
        assert_memory_equal(key, reports[i].key, 32);
    }
    subject_store_close(&s);
}

/* Reads reports: n of them, or all that the pipe still holds. */
static size_t
read_reports(int fd, struct report *reports, size_t count, size_t more)
{
    while (more > 0 && count < REPORTS_MAX) {
        size_t have = 0;

        while (have < sizeof(*reports)) {
            ssize_t n = read(fd, (uint8_t *)&reports[count] + have, sizeof(*reports) - have);

            if (n <= 0)
                return count;
            have += (size_t)n;
        }
        count++;
        more--;
    }
    return count;
}

static size_t
one_round(const struct env *e, struct report *reports, size_t count)
{
    struct timespec moment = {.tv_nsec = (long)random_below(8000000)};
    struct waiter waiter;
    struct ledger_opts opts = fixture_opts(e->f, &waiter, 1);
    struct ledger *l = NULL;
    char why[256];
    int fds[2];
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(fds[0]);
        run_until_killed(e, fds[1]);
        _exit(1);
    }
    (void)close(fds[1]);
    /* Some die while they start and recover, the others in full work. */
    if (random_below(5) > 0)
        count = read_reports(fds[0], reports, count, (size_t)random_below(600));
    (void)nanosleep(&moment, NULL);
    (void)kill_and_roll_back(e, pid);
    count = read_reports(fds[0], reports, count, SIZE_MAX);
    (void)close(fds[0]);
    if (random_below(2) == 0)
        return count; /* the next child recovers, and may be killed at that */
    if (ledger_open(&opts, &l, why, sizeof(why)) != ERR_OK)
        fail_msg("%s", why);
    ledger_close(&l);
    check_log(e, reports, count);
    check_subjects(e, reports, count);
    return count;
}

static void
durable_means_durable(void **state)
{
    struct env *e = env_new();
    struct report *reports = calloc(REPORTS_MAX, sizeof(*reports));
    struct waiter waiter;
    struct ledger_opts opts = fixture_opts(e->f, &waiter, 1);
    struct ledger *l = NULL;
    char why[256];
    size_t count = 0;

    (void)state;
    assert_non_null(reports);
    for (unsigned i = 0; i < ROUNDS; i++)
        count = one_round(e, reports, count);
    if (ledger_open(&opts, &l, why, sizeof(why)) != ERR_OK)
        fail_msg("%s", why);
    ledger_close(&l);
    check_log(e, reports, count);
    check_subjects(e, reports, count);
    print_message("%u kills, %zu durable entries, none lost\n", ROUNDS, count);
    assert_true(count > 0);
    free(reports);
    env_free(e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unsynced_writes_are_taken_back),
        cmocka_unit_test(durable_means_durable),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
