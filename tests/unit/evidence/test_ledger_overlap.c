#include "fixture.h"

#include <fcntl.h>
#include <time.h>

#include "base/check.h"
#include "crypto/hash.h"

/* Two processes of one node for a while: two ledgers on one folder, each with its own run. */

#define WAIT_MS 10000

struct over {
    pthread_mutex_t lock;
    unsigned count;
    struct ledger_run_over last;
};

struct process {
    struct fixture *f;
    struct waiter waiter; /* first: ledger_opts.wake_context */
    struct over over;
    struct ledger *l;
    struct ledger_shard shard;
    struct ledger_entry *entry; /* of the request that is open, or NULL */
    char txn[UUID_TEXT_SIZE];
};

static void
on_wake(void *context, unsigned worker)
{
    struct process *p = context;

    waiter_wake(&p->waiter, worker);
}

static void
on_run_over(void *context, const struct ledger_run_over *over)
{
    struct process *p = context;

    (void)pthread_mutex_lock(&p->over.lock);
    p->over.last = *over;
    p->over.count++;
    (void)pthread_mutex_unlock(&p->over.lock);
}

/* lock_fd: -1, or shared by the process before. */
static enum err
start(struct process *p, struct fixture *f, int lock_fd)
{
    struct waiter unused;
    struct ledger_opts opts = fixture_opts(f, &unused, 1);
    char why[256];
    enum err e;

    *p = (struct process){.f = f};
    waiter_init(&p->waiter);
    (void)pthread_mutex_init(&p->over.lock, NULL);
    opts.wake = on_wake;
    opts.wake_context = p;
    opts.run_over = on_run_over;
    opts.has_lock = lock_fd >= 0;
    opts.lock_fd = lock_fd;
    e = ledger_open(&opts, &p->l, why, sizeof(why));
    if (e != ERR_OK) {
        assert_true(why[0] != '\0');
        return e;
    }
    assert_int_equal(ledger_control(p->l, SLICE_LIT(FIXTURE_CHARTER), true), ERR_OK);
    assert_int_equal(ledger_shard(p->l, SLICE_LIT("acme/de"), FIXTURE_NOW_MS, &p->shard), ERR_OK);
    return ERR_OK;
}

static void
take_over(struct process *p, const struct process *from)
{
    assert_int_equal(start(p, from->f, dup(ledger_lock_fd(from->l))), ERR_OK);
    assert_false(ledger_alone(p->l));
}

static void
begin(struct process *p)
{
    struct random_stock stock = {0};
    struct record_a1 a1;
    struct text text;
    uint8_t hash[HASH_SIZE];

    p->entry = calloc(1, sizeof(*p->entry));
    assert_non_null(p->entry);
    assert_int_equal(ledger_reserve(p->l), ERR_OK);
    random_uuid7(&stock, FIXTURE_NOW_MS, p->txn);
    a1 = fixture_a1(p->txn, p->shard.id);
    text_init(&text, p->entry->bytes, RECORD_A1_MAX);
    assert_int_equal(record_a1_write(p->f->signer, NULL, 0, &a1, &text, hash), ERR_OK);
    p->entry->type = WAL_A1;
    p->entry->slot = p->shard.slot;
    p->entry->len = text.used;
    assert_int_equal(ledger_reserve_entry(p->l, p->entry), ERR_OK);
    assert_int_equal(submit_wait(p->l, &p->waiter, p->entry), ERR_OK);
}

static void
complete(struct process *p)
{
    struct record_attempt attempt = {
        .index = p->entry->index, .outcome = "ok", .status = 200, .target = "de-1"};
    uint8_t hash[32];
    struct record_a2 a2;
    struct text text;

    hash_sha256(slice_of(p->entry->bytes, p->entry->len), hash);
    a2 = fixture_a2(p->txn, p->shard.id, hash, p->entry->index, &attempt);
    text_init(&text, p->entry->bytes, RECORD_A2_MAX);
    assert_int_equal(record_a2_write(&a2, &text), ERR_OK);
    p->entry->type = WAL_A2;
    p->entry->len = text.used;
    assert_int_equal(submit_wait(p->l, &p->waiter, p->entry), ERR_OK);
    free(p->entry);
    p->entry = NULL;
}

/* With a request open this is a death: nothing ends the run. */
static void
stop(struct process *p)
{
    ledger_close(&p->l);
    free(p->entry);
    p->entry = NULL;
}

static struct ledger_run_over
wait_for_end(struct process *p, unsigned count)
{
    struct timespec moment = {.tv_nsec = 1000000};
    struct ledger_run_over over = {0};

    for (int i = 0; i < WAIT_MS; i++) {
        unsigned seen;

        (void)pthread_mutex_lock(&p->over.lock);
        seen = p->over.count;
        over = p->over.last;
        (void)pthread_mutex_unlock(&p->over.lock);
        if (seen == count)
            return over;
        (void)nanosleep(&moment, NULL);
    }
    fail_msg("the end of the earlier run was not noticed");
    return over;
}

static void
both_runs_are_whole(void **state)
{
    struct fixture *f = fixture_new();
    struct process old, new;
    struct ledger_run_over over;
    struct audit_result r;

    (void)state;
    assert_int_equal(start(&old, f, -1), ERR_OK);
    assert_true(ledger_alone(old.l));
    begin(&old);
    take_over(&new, &old);
    begin(&new);
    r = fixture_audit(f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.runs, 2);
    assert_int_equal(r.open, 2); /* each counted once */
    assert_true(r.live_run);
    complete(&old);
    begin(&old);
    complete(&new);
    complete(&old);
    ledger_unlock(old.l);
    stop(&old);
    over = wait_for_end(&new, 1);
    assert_int_equal(over.result, ERR_OK);
    assert_false(over.died);
    assert_true(over.alone);
    assert_true(ledger_alone(new.l));
    stop(&new);
    r = fixture_audit(f);
    assert_int_equal(r.faults, 0);
    assert_false(r.live_run);
    assert_int_equal(r.permits, 3);
    assert_int_equal(r.a2, 3);
    assert_int_equal(r.lost, 0);
    assert_int_equal(r.controls, 9); /* start, charter, shard, end, twice; previous_end */
    fixture_free(f);
}

static void
a_third_process_is_kept_out(void **state)
{
    struct fixture *f = fixture_new();
    struct process old, new, third;

    (void)state;
    assert_int_equal(start(&old, f, -1), ERR_OK);
    take_over(&new, &old);
    assert_int_equal(start(&third, f, -1), ERR_EXIST);
    ledger_unlock(old.l); /* the new one alone has it now */
    assert_int_equal(start(&third, f, -1), ERR_EXIST);
    stop(&old);
    assert_int_equal(start(&third, f, -1), ERR_EXIST);
    stop(&new);
    assert_int_equal(start(&third, f, -1), ERR_OK);
    stop(&third);
    assert_int_equal(fixture_audit(f).faults, 0);
    fixture_free(f);
}

static void
another_file_is_no_lock(void **state)
{
    struct fixture *f = fixture_new();
    struct process p;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(start(&p, f, fd), ERR_CONFLICT);
    fixture_free(f);
}

static void
the_old_one_dies_half_way(void **state)
{
    struct fixture *f = fixture_new();
    struct process old, new;
    struct ledger_run_over over;
    struct audit_result r;

    (void)state;
    assert_int_equal(start(&old, f, -1), ERR_OK);
    begin(&old);
    take_over(&new, &old);
    begin(&new);
    stop(&old);
    over = wait_for_end(&new, 1);
    assert_int_equal(over.result, ERR_OK);
    assert_true(over.died);
    assert_int_equal(over.lost, 1);
    complete(&new);
    stop(&new);
    r = fixture_audit(f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.lost, 1);
    assert_int_equal(r.open, 0);
    fixture_free(f);
}

static void
the_new_one_dies_and_the_old_one_goes_on(void **state)
{
    struct fixture *f = fixture_new();
    struct process old, new, next;
    struct audit_result r;

    (void)state;
    assert_int_equal(start(&old, f, -1), ERR_OK);
    begin(&old);
    take_over(&new, &old);
    begin(&new);
    ledger_unlock(old.l);
    stop(&new);
    /* Nobody holds the lock, but one run is written on: it must not be touched. */
    assert_int_equal(start(&next, f, -1), ERR_OK);
    assert_false(ledger_alone(next.l));
    r = fixture_audit(f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.lost, 1);
    assert_int_equal(r.open, 1);
    complete(&old);
    stop(&old);
    assert_false(wait_for_end(&next, 1).died);
    stop(&next);
    r = fixture_audit(f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.lost, 1);
    fixture_free(f);
}

static void
a_start_closes_every_run_that_is_open(void **state)
{
    struct fixture *f = fixture_new();
    struct process one, two, three, next;
    struct audit_result r;

    (void)state;
    assert_int_equal(start(&one, f, -1), ERR_OK);
    begin(&one);
    take_over(&two, &one);
    begin(&two);
    take_over(&three, &two);
    begin(&three);
    /* The watchers go first. */
    stop(&three);
    stop(&two);
    stop(&one);
    r = fixture_audit(f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.open, 3);
    assert_int_equal(start(&next, f, -1), ERR_OK);
    assert_true(ledger_alone(next.l));
    stop(&next);
    r = fixture_audit(f);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.runs, 4);
    assert_int_equal(r.lost, 3);
    assert_int_equal(r.open, 0);
    assert_false(r.live_run);
    fixture_free(f);
}

/* Zeros from the last frame of a run on: what cutting off its end leaves. */
static void
cut_last_frame(const struct fixture *f, unsigned run)
{
    static const uint8_t zeros[4096];
    char dir[160], path[192];
    struct wal_reader *reader = NULL;
    struct wal_frame frame;
    uint64_t before = 0, at = 0;
    int fd;

    fixture_run_dir(f, run, dir, sizeof(dir));
    assert_int_equal(wal_reader_open(dir, &reader), ERR_OK);
    while (wal_reader_next(reader, &frame) == ERR_OK) {
        before = at;
        at = wal_reader_position(reader).offset;
    }
    wal_reader_close(&reader);
    assert_true(before > 0);
    assert_true(text_format(path, sizeof(path), "%s/00000000.wal", dir));
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, zeros, at - before, (off_t)before), (ssize_t)(at - before));
    (void)close(fd);
}

static void
a_cut_end_of_an_earlier_run_is_told(void **state)
{
    struct fixture *f = fixture_new();
    struct process old, new;

    (void)state;
    assert_int_equal(start(&old, f, -1), ERR_OK);
    begin(&old);
    complete(&old);
    take_over(&new, &old);
    stop(&old);
    (void)wait_for_end(&new, 1);
    stop(&new);
    assert_int_equal(fixture_audit(f).faults, 0);
    cut_last_frame(f, 0);
    assert_true(fixture_audit(f).faults > 0);
    fixture_free(f);
}

static void
a_run_that_nobody_saw_live_must_have_ended(void **state)
{
    struct fixture *f = fixture_new();
    struct process p;

    (void)state;
    assert_int_equal(start(&p, f, -1), ERR_OK);
    stop(&p);
    assert_int_equal(start(&p, f, -1), ERR_OK);
    stop(&p);
    assert_int_equal(fixture_audit(f).faults, 0);
    cut_last_frame(f, 0);
    assert_true(fixture_audit(f).faults > 0);
    fixture_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_runs_are_whole),
        cmocka_unit_test(a_third_process_is_kept_out),
        cmocka_unit_test(another_file_is_no_lock),
        cmocka_unit_test(the_old_one_dies_half_way),
        cmocka_unit_test(the_new_one_dies_and_the_old_one_goes_on),
        cmocka_unit_test(a_start_closes_every_run_that_is_open),
        cmocka_unit_test(a_cut_end_of_an_earlier_run_is_told),
        cmocka_unit_test(a_run_that_nobody_saw_live_must_have_ended),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
