#include "fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/check.h"
#include "residency/evidence/commitment.h"
#include "residency/evidence/subject.h"

static struct subject_store *
open_store(const struct fixture *f)
{
    struct subject_store *s = NULL;
    const char *why = NULL;

    assert_int_equal(subject_store_open(f->dir, &s, &why), ERR_OK);
    assert_null(why);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_differ_and_stay),
        cmocka_unit_test(unflushed_rows_are_not_kept),
        cmocka_unit_test(erasing_a_row_unlinks),
        cmocka_unit_test(damaged_rows_are_refused),
        cmocka_unit_test(wrong_tenant_key_is_refused),
        cmocka_unit_test(commitments),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
