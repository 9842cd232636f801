#ifndef UNIT_GEO_GEO_FIXTURE_H
#define UNIT_GEO_GEO_FIXTURE_H

#include "mmdb_make.h"

#include "base/check.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "residency/geo/geo.h"

#include <limits.h>

/* A folder of its own, a database that the test composes, and the one that is loaded. */

#define BUILT UINT64_C(1750000000)

struct fixture {
    char folder[PATH_MAX];
    char path[PATH_MAX];
    struct make make;
    uint8_t file_bytes[256 << 10];
    struct text file;
    struct geo_opts opts;
    struct issues *issues;
    struct geo_db *db;
};

static inline int
fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");

    assert_non_null(f);
    assert_true(text_format(f->folder, sizeof(f->folder), "%s/portolan-geo-XXXXXX",
                            tmp == NULL ? "/tmp" : tmp));
    assert_non_null(mkdtemp(f->folder));
    assert_true(file_join(f->path, sizeof(f->path), f->folder, "geo.mmdb"));
    f->issues = issues_new();
    assert_non_null(f->issues);
    f->opts.path = f->path;
    f->opts.now_ms = (int64_t)(BUILT + 86400) * 1000;
    *state = f;
    return 0;
}

static inline int
fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char own[PATH_MAX];

    geo_db_unref(&f->db);
    issues_free(&f->issues);
    if (file_join(own, sizeof(own), f->folder, "geo.mmdb"))
        (void)unlink(own);
    (void)rmdir(f->folder);
    free(f);
    return 0;
}

#define FIXTURE_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

/* The bytes as they stand in f->file. Not synced: a damage test writes thousands. */
static inline void
fixture_write(const struct fixture *f)
{
    FILE *out = fopen(f->path, "wb");

    assert_non_null(out);
    assert_int_equal(f->file.used, fwrite(f->file.p, 1, f->file.used, out));
    assert_int_equal(0, fclose(out));
}

static inline void
fixture_compose(struct fixture *f)
{
    text_init(&f->file, f->file_bytes, sizeof(f->file_bytes));
    make_file(&f->make, &f->file);
    fixture_write(f);
}

static inline void
fixture_load_path(struct fixture *f)
{
    enum err e;

    geo_db_unref(&f->db);
    e = geo_db_load(&f->opts, f->issues, &f->db);
    if (e != ERR_OK) {
        issues_print(f->issues, stderr);
        fail_msg("not loaded: %s", err_text(e));
    }
    assert_int_equal(0, f->issues->count);
}

/* Refused with one issue that names the file and says why. */
static inline void
fixture_refused_path(struct fixture *f, enum err want, const char *why)
{
    struct geo_db *db = NULL;
    enum err e;

    f->issues->count = 0;
    e = geo_db_load(&f->opts, f->issues, &db);
    assert_int_equal(want, e);
    assert_null(db);
    assert_int_equal(1, f->issues->count);
    assert_non_null(strstr(f->issues->items[0].file, ".mmdb"));
    if (strstr(f->issues->items[0].text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", f->issues->items[0].text, why);
    f->issues->count = 0;
}

static inline void
fixture_load(struct fixture *f)
{
    fixture_compose(f);
    fixture_load_path(f);
}

static inline void
fixture_refused(struct fixture *f, enum err want, const char *why)
{
    fixture_compose(f);
    fixture_refused_path(f, want, why);
}

/* Points the options at a third-party database; skips the test where there is none. */
static inline void
fixture_vector(struct fixture *f, const char *name)
{
    assert_true(text_format(f->path, sizeof(f->path), PORTOLAN_VECTORS "/geoip/%s", name));
    if (access(f->path, R_OK) != 0) {
        print_message("skipped: no %s\n", f->path);
        skip();
    }
    /* As built in early 2026, whatever the day of the test. */
    f->opts.now_ms = INT64_C(1772000000000);
}

#endif
