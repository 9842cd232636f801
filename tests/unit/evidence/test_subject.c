#include "fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/check.h"
#include "residency/evidence/commitment.h"
#include "residency/evidence/subject.h"
#include "residency/evidence/subject_memo.h"

static struct subject_store *
open_shared(const struct fixture *f)
{
    struct subject_store *s = NULL;
    const char *why = NULL;

    assert_int_equal(subject_store_open(f->dir, &s, &why), ERR_OK);
    assert_null(why);
    return s;
}

static struct subject_store *
open_store(const struct fixture *f)
{
    struct subject_store *s = open_shared(f);

    assert_int_equal(subject_store_share(s, false), ERR_OK);
    return s;
}

static void
refused(const struct fixture *f, const char *word)
{
    struct subject_store *s = NULL;
    const char *why = NULL;

    assert_int_not_equal(subject_store_open(f->dir, &s, &why), ERR_OK);
    assert_non_null(why);
    assert_non_null(strstr(why, word));
    assert_null(s);
}

static void
get(struct subject_store *s, const char *tenant, const char *subject, int64_t ms, uint8_t out[32])
{
    assert_int_equal(subject_key(s, slice_str(tenant), slice_str(subject), ms, out), ERR_OK);
}

static void
overwrite(const struct fixture *f, const char *name, off_t at, const void *bytes, size_t len)
{
    char path[128];
    int fd;

    assert_true(file_join(path, sizeof(path), f->dir, name));
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, len, at), (ssize_t)len);
    (void)close(fd);
}

static void
keys_differ_and_stay(void **state)
{
    struct fixture *f = fixture_new();
    struct subject_store *s = open_store(f);
    uint8_t first[32], again[32], other[32];
    const int64_t quarter_ms = INT64_C(100) * 24 * 3600 * 1000;

    (void)state;
    assert_int_equal(subject_key(s, SLICE_LIT("acme"), SLICE_LIT("u1"), FIXTURE_NOW_MS, first),
                     ERR_NOENT);
    assert_int_equal(subject_tenant_ensure(s, SLICE_LIT("acme")), ERR_OK);
    assert_int_equal(subject_tenant_ensure(s, SLICE_LIT("acme")), ERR_OK);
    assert_int_equal(subject_tenant_ensure(s, SLICE_LIT("beta")), ERR_OK);
    get(s, "acme", "u1", FIXTURE_NOW_MS, first);
    get(s, "acme", "u1", FIXTURE_NOW_MS, again);
    assert_memory_equal(first, again, 32);
    get(s, "acme", "u2", FIXTURE_NOW_MS, other);
    assert_memory_not_equal(first, other, 32);
    get(s, "beta", "u1", FIXTURE_NOW_MS, other);
    assert_memory_not_equal(first, other, 32);
    get(s, "acme", "u1", FIXTURE_NOW_MS + quarter_ms, other);
    assert_memory_not_equal(first, other, 32);
    assert_int_equal(subject_flush(s), ERR_OK);
    subject_store_close(&s);
    s = open_store(f);
    get(s, "acme", "u1", FIXTURE_NOW_MS, again);
    assert_memory_equal(first, again, 32);
    subject_store_close(&s);
    fixture_free(f);
}

static void
get_known(struct subject_memo *m, struct subject_store *s, const char *tenant, const char *subject,
          int64_t ms, struct subject_known *out)
{
    const struct subject_known *known;

    assert_int_equal(subject_memo_of(m, s, slice_str(tenant), slice_str(subject), ms, &known),
                     ERR_OK);
    *out = *known;
}

/* What is remembered is what the store says: for everybody, whoever took whose row. */
static void
the_memo_says_what_the_store_says(void **state)
{
    struct fixture *f = fixture_new();
    struct subject_store *s = open_store(f);
    struct subject_memo *m;
    const int64_t quarter_ms = INT64_C(100) * 24 * 3600 * 1000;
    char subject[512];

    (void)state;
    assert_int_equal(subject_memo_new(&m), ERR_OK);
    assert_int_equal(subject_tenant_ensure(s, SLICE_LIT("acme")), ERR_OK);
    assert_int_equal(subject_tenant_ensure(s, SLICE_LIT("acmeu")), ERR_OK);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 3 * SUBJECT_MEMO_ROWS; i++)
            for (int64_t ms = FIXTURE_NOW_MS; ms <= FIXTURE_NOW_MS + quarter_ms; ms += quarter_ms) {
                struct subject_known known;
                uint8_t key[32], sub[COMMITMENT_SUB_SIZE], read[COMMITMENT_SUB_SIZE];
                size_t len = sizeof(read);

                /* Some are longer than a row holds; "acme" + "u1" is not "acmeu" + "1". */
                (void)snprintf(subject, sizeof(subject), "u%0*d", i % 7 == 0 ? 300 : 1, i);
                get_known(m, s, "acme", subject, ms, &known);
                get(s, "acme", subject, ms, key);
                assert_memory_equal(known.key, key, 32);
                commitment_sub(key, sub);
                assert_true(text_unb64url(slice_str(known.sub), read, &len));
                assert_int_equal(len, sizeof(sub));
                assert_memory_equal(read, sub, sizeof(sub));
                get_known(m, s, "acmeu", subject + 1, ms, &known);
                get(s, "acmeu", subject + 1, ms, key);
                assert_memory_equal(known.key, key, 32);
            }
    subject_memo_free(&m);
    assert_null(m);
    subject_store_close(&s);
    fixture_free(f);
}

/* The store is asked again after a day, after it is told to forget, and after an error. */
static void
the_memo_forgets(void **state)
{
    struct fixture *f = fixture_new();
    struct subject_store *old = open_store(f), *s;
    struct subject_memo *m;
    struct subject_known first, again;
    const struct subject_known *known;
    const int64_t day_ms = INT64_C(24) * 3600 * 1000;

    (void)state;
    assert_int_equal(subject_memo_new(&m), ERR_OK);
    assert_int_equal(
        subject_memo_of(m, old, SLICE_LIT("acme"), SLICE_LIT("u1"), FIXTURE_NOW_MS, &known),
        ERR_NOENT);
    assert_int_equal(subject_tenant_ensure(old, SLICE_LIT("acme")), ERR_OK);
    get_known(m, old, "acme", "u1", FIXTURE_NOW_MS, &first);
    subject_store_close(&old); /* nothing was flushed: another store has another key */
    s = open_store(f);
    get_known(m, s, "acme", "u1", FIXTURE_NOW_MS, &again);
    assert_memory_equal(first.key, again.key, 32);
    get_known(m, s, "acme", "u1", FIXTURE_NOW_MS + day_ms, &again);
    assert_memory_not_equal(first.key, again.key, 32);
    get_known(m, s, "acme", "u2", FIXTURE_NOW_MS, &first);
    subject_store_close(&s);
    s = open_store(f);
    get_known(m, s, "acme", "u2", FIXTURE_NOW_MS, &again);
    assert_memory_equal(first.key, again.key, 32);
    subject_memo_forget(m);
    get_known(m, s, "acme", "u2", FIXTURE_NOW_MS, &again);
    assert_memory_not_equal(first.key, again.key, 32);
    subject_memo_free(&m);
    subject_store_close(&s);
    fixture_free(f);
}

static void
unflushed_rows_are_not_kept(void **state)
{
    struct fixture *f = fixture_new();
    struct subject_store *s = open_store(f);
    uint8_t first[32], again[32];

    (void)state;
    assert_int_equal(subject_tenant_ensure(s, SLICE_LIT("acme")), ERR_OK);
    get(s, "acme", "u1", FIXTURE_NOW_MS, first);
    subject_store_close(&s);
    s = open_store(f);
    get(s, "acme", "u1", FIXTURE_NOW_MS, again);
    assert_memory_not_equal(first, again, 32);
    subject_store_close(&s);
    fixture_free(f);
}

static struct fixture *
store_with_two_rows(uint8_t first[32], uint8_t second[32])
{
    struct fixture *f = fixture_new();
    struct subject_store *s = open_store(f);

    assert_int_equal(subject_tenant_ensure(s, SLICE_LIT("acme")), ERR_OK);
    get(s, "acme", "u1", FIXTURE_NOW_MS, first);
    get(s, "acme", "u2", FIXTURE_NOW_MS, second);
    assert_int_equal(subject_flush(s), ERR_OK);
    subject_store_close(&s);
    return f;
}

static void
erasing_a_row_unlinks(void **state)
{
    static const uint8_t zeros[128];
    uint8_t first[32], second[32], again[32], sub[16], sub_again[16];
    struct fixture *f = store_with_two_rows(first, second);
    struct subject_store *s;

    (void)state;
    overwrite(f, "subjects.rows", 0, zeros, sizeof(zeros));
    s = open_store(f);
    get(s, "acme", "u1", FIXTURE_NOW_MS, again);
    assert_memory_not_equal(first, again, 32);
    commitment_sub(first, sub);
    commitment_sub(again, sub_again);
    assert_memory_not_equal(sub, sub_again, sizeof(sub));
    get(s, "acme", "u2", FIXTURE_NOW_MS, again);
    assert_memory_equal(second, again, 32);
    subject_store_close(&s);
    fixture_free(f);
}

static void
damaged_rows_are_refused(void **state)
{
    uint8_t first[32], second[32];
    struct fixture *f = store_with_two_rows(first, second);
    uint8_t row[128];
    char path[128];
    int fd;

    (void)state;
    assert_true(file_join(path, sizeof(path), f->dir, "subjects.rows"));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, row, sizeof(row), 128), (ssize_t)sizeof(row));
    (void)close(fd);
    for (off_t i = 0; i < 128; i++) {
        uint8_t byte = row[i] ^ 1;

        overwrite(f, "subjects.rows", 128 + i, &byte, 1);
        refused(f, "subjects.rows");
        overwrite(f, "subjects.rows", 128 + i, &row[i], 1);
    }
    /* A piece of a row at the end was never synced. */
    overwrite(f, "subjects.rows", 256, row, 60);
    {
        struct subject_store *s = open_store(f);

        subject_store_close(&s);
    }
    fixture_free(f);
}

static void
wrong_tenant_key_is_refused(void **state)
{
    uint8_t first[32], second[32];
    struct fixture *f = store_with_two_rows(first, second);
    struct fixture *other = store_with_two_rows(first, second);
    char path[128], *bytes = NULL;
    size_t len;

    (void)state;
    /* The key file of another node: CRCs fit, keys do not. */
    assert_true(file_join(path, sizeof(path), other->dir, "tenants.keys"));
    assert_int_equal(file_read(path, 4096, &bytes, &len), ERR_OK);
    assert_int_equal(len, 72);
    overwrite(f, "tenants.keys", 0, bytes, len);
    refused(f, "no key");
    bytes[40] = (char)(bytes[40] ^ 1);
    overwrite(f, "tenants.keys", 0, bytes, len);
    refused(f, "tenants.keys: a damaged row");
    free(bytes);
    fixture_free(other);
    fixture_free(f);
}

static void
commitments(void **state)
{
    static const uint8_t subject_key_bytes[32] = {9};
    uint8_t key[32], other[32], mac[32], expected[32];
    struct hmac m;

    (void)state;
    assert_int_equal(commitment_key(subject_key_bytes, "txn-1", key), ERR_OK);
    assert_int_equal(commitment_key(subject_key_bytes, "txn-2", other), ERR_OK);
    assert_memory_not_equal(key, other, 32);
    commitment_init(&m, key, "request");
    hmac_add(&m, SLICE_LIT("bo"));
    hmac_add(&m, SLICE_LIT("dy"));
    hmac_final(&m, mac);
    hmac_sha256(slice_of(key, 32), SLICE_LIT("request\0body"), expected);
    assert_memory_equal(mac, expected, 32);
    commitment_init(&m, key, "answer");
    hmac_add(&m, SLICE_LIT("body"));
    hmac_final(&m, mac);
    assert_memory_not_equal(mac, expected, 32);
}

/* Two processes of one node: two stores on one folder, each with locks of its own. */
static void
two_processes_make_one_key(void **state)
{
    struct fixture *f = fixture_new();
    struct subject_store *old = open_store(f);
    struct subject_store *new = NULL;
    uint8_t before[32], a[32], b[32];

    (void)state;
    assert_int_equal(subject_tenant_ensure(old, SLICE_LIT("acme")), ERR_OK);
    get(old, "acme", "known", FIXTURE_NOW_MS, before); /* still waits in memory */
    assert_int_equal(subject_store_share(old, true), ERR_OK);
    new = open_shared(f);
    get(new, "acme", "known", FIXTURE_NOW_MS, a);
    assert_memory_equal(before, a, 32);
    get(old, "acme", "first here", FIXTURE_NOW_MS, a);
    get(new, "acme", "first here", FIXTURE_NOW_MS, b);
    assert_memory_equal(a, b, 32);
    get(new, "acme", "first there", FIXTURE_NOW_MS, a);
    get(old, "acme", "first there", FIXTURE_NOW_MS, b);
    assert_memory_equal(a, b, 32);
    /* A tenant that only the new one's charter has, and subjects of it. */
    assert_int_equal(subject_tenant_ensure(new, SLICE_LIT("beta")), ERR_OK);
    get(new, "beta", "u", FIXTURE_NOW_MS, a);
    get(old, "acme", "after", FIXTURE_NOW_MS, b);
    get(old, "beta", "u", FIXTURE_NOW_MS, b);
    assert_memory_equal(a, b, 32);
    assert_int_equal(subject_tenant_ensure(old, SLICE_LIT("beta")), ERR_OK);
    assert_int_equal(subject_flush(old), ERR_OK);
    assert_int_equal(subject_flush(new), ERR_OK);
    subject_store_close(&old);
    assert_int_equal(subject_store_share(new, false), ERR_OK);
    get(new, "acme", "alone again", FIXTURE_NOW_MS, before);
    assert_int_equal(subject_flush(new), ERR_OK);
    subject_store_close(&new);
    new = open_store(f);
    get(new, "acme", "alone again", FIXTURE_NOW_MS, a);
    assert_memory_equal(before, a, 32);
    get(new, "beta", "u", FIXTURE_NOW_MS, a);
    assert_memory_equal(a, b, 32);
    subject_store_close(&new);
    fixture_free(f);
}

#define RACERS_SUBJECTS 400

struct racer {
    struct subject_store *store;
    uint8_t keys[RACERS_SUBJECTS][32];
};

static void *
race(void *arg)
{
    struct racer *r = arg;

    for (int i = 0; i < RACERS_SUBJECTS; i++) {
        char subject[16];

        if (!text_format(subject, sizeof(subject), "s%d", i) ||
            subject_key(r->store, SLICE_LIT("acme"), slice_str(subject), FIXTURE_NOW_MS,
                        r->keys[i]) != ERR_OK)
            return NULL;
        if (i % 50 == 0 && subject_flush(r->store) != ERR_OK)
            return NULL;
    }
    return r;
}

static void
a_race_of_two_processes_makes_one_key(void **state)
{
    struct fixture *f = fixture_new();
    struct racer *r = calloc(2, sizeof(*r));
    pthread_t threads[2];
    void *result = NULL;

    (void)state;
    assert_non_null(r);
    r[0].store = open_shared(f);
    assert_int_equal(subject_tenant_ensure(r[0].store, SLICE_LIT("acme")), ERR_OK);
    r[1].store = open_shared(f);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &r[i]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
    assert_memory_equal(r[0].keys, r[1].keys, sizeof(r[0].keys));
    subject_store_close(&r[0].store);
    subject_store_close(&r[1].store);
    r[0].store = open_store(f); /* which two rows with one id would refuse */
    subject_store_close(&r[0].store);
    free(r);
    fixture_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_differ_and_stay),
        cmocka_unit_test(the_memo_says_what_the_store_says),
        cmocka_unit_test(the_memo_forgets),
        cmocka_unit_test(unflushed_rows_are_not_kept),
        cmocka_unit_test(erasing_a_row_unlinks),
        cmocka_unit_test(damaged_rows_are_refused),
        cmocka_unit_test(wrong_tenant_key_is_refused),
        cmocka_unit_test(commitments),
        cmocka_unit_test(two_processes_make_one_key),
        cmocka_unit_test(a_race_of_two_processes_makes_one_key),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
