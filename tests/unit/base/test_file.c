#include "base/file.h"

#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each test has a folder of its own, empty again at its end. */
static char dir[64];

static int
set_up(void **state)
{
    (void)state;
    memcpy(dir, "/tmp/portolan-file-XXXXXX", sizeof("/tmp/portolan-file-XXXXXX"));
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
    (void)state;
    return rmdir(dir);
}

static const char *
in_dir(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    assert_true(file_join(path, sizeof(paths[0]), dir, name));
    return path;
}

static void
test_write_then_read(void **state)
{
    const char *path = in_dir("a");
    struct stat st;
    char *content = NULL;
    size_t len = 0;

    (void)state;
    assert_int_equal(file_write(path, SLICE_LIT("old"), 0600), ERR_OK);
    assert_int_equal(file_write(path, SLICE_LIT("ne\0w"), 0600), ERR_OK);
    assert_int_equal(file_read(path, 4, &content, &len), ERR_OK);
    assert_int_equal(len, 4);
    assert_memory_equal(content, "ne\0w\0", 5);
    free(content);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(access(in_dir("a.tmp"), F_OK), -1);
    assert_int_equal(unlink(path), 0);
}

static void
test_read_an_empty_file(void **state)
{
    char *content = NULL;
    size_t len = 9;

    (void)state;
    assert_int_equal(file_write(in_dir("a"), SLICE_NONE, 0600), ERR_OK);
    assert_int_equal(file_read(in_dir("a"), 0, &content, &len), ERR_OK);
    assert_int_equal(len, 0);
    assert_string_equal(content, "");
    free(content);
    assert_int_equal(unlink(in_dir("a")), 0);
}

static void
test_read_refuses(void **state)
{
    char *content = NULL;
    size_t len = 9;

    (void)state;
    assert_int_equal(file_read(in_dir("none"), 10, &content, &len), ERR_NOENT);
    assert_int_equal(file_read(dir, 10, &content, &len), ERR_IO);
    assert_int_equal(file_write(in_dir("a"), SLICE_LIT("12345"), 0600), ERR_OK);
    assert_int_equal(file_read(in_dir("a"), 4, &content, &len), ERR_TOOBIG);
    assert_int_equal(file_read(in_dir("a/b"), 4, &content, &len), ERR_NOENT);
    assert_null(content);
    assert_int_equal(len, 9);
    assert_int_equal(unlink(in_dir("a")), 0);
}

static void
test_failed_write_leaves_the_old_file(void **state)
{
    char *content = NULL;
    size_t len;

    (void)state;
    assert_int_equal(file_write(in_dir("none/a"), SLICE_LIT("x"), 0600), ERR_NOENT);
    assert_int_equal(file_write(in_dir("a"), SLICE_LIT("old"), 0600), ERR_OK);
    /* A folder where the temporary file should go makes the write fail. */
    assert_int_equal(mkdir(in_dir("a.tmp"), 0700), 0);
    assert_int_equal(file_write(in_dir("a"), SLICE_LIT("new"), 0600), ERR_IO);
    assert_int_equal(file_read(in_dir("a"), 9, &content, &len), ERR_OK);
    assert_string_equal(content, "old");
    free(content);
    assert_int_equal(rmdir(in_dir("a.tmp")), 0);
    assert_int_equal(unlink(in_dir("a")), 0);
}

static void
test_folders(void **state)
{
    (void)state;
    assert_int_equal(file_mkdir(in_dir("a/b"), 0700), ERR_NOENT);
    assert_int_equal(file_mkdirs(in_dir("a/b/c"), 0700), ERR_OK);
    assert_int_equal(file_mkdirs(in_dir("a/b/c"), 0700), ERR_OK);
    assert_int_equal(file_sync_dir(in_dir("a/b/c")), ERR_OK);
    assert_int_equal(file_sync_dir(in_dir("a/x")), ERR_IO);
    assert_int_equal(rmdir(in_dir("a/b/c")), 0);
    assert_int_equal(rmdir(in_dir("a/b")), 0);
    assert_int_equal(rmdir(in_dir("a")), 0);
}

static void
test_paths(void **state)
{
    char out[8];

    (void)state;
    assert_true(file_join(out, sizeof(out), "a/b", "c"));
    assert_string_equal(out, "a/b/c");
    assert_true(file_join(out, sizeof(out), "a/b", "/c"));
    assert_string_equal(out, "/c");
    assert_false(file_join(out, sizeof(out), "a/b", "long"));
    assert_true(file_dir(out, sizeof(out), "a/b/c"));
    assert_string_equal(out, "a/b");
    assert_true(file_dir(out, sizeof(out), "/c"));
    assert_string_equal(out, "/");
    assert_true(file_dir(out, sizeof(out), "c"));
    assert_string_equal(out, ".");
    assert_false(file_dir(out, sizeof(out), "abcdefgh/c"));
}

static void
test_pwrite_at_an_offset(void **state)
{
    char out[5] = "";
    int fd = open(in_dir("a"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(file_pwrite(fd, SLICE_LIT("abcd"), 0), ERR_OK);
    assert_int_equal(file_pwrite(fd, SLICE_LIT("XY"), 1), ERR_OK);
    assert_int_equal(pread(fd, out, 4, 0), 4);
    assert_string_equal(out, "aXYd");
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(in_dir("a")), 0);
    assert_int_equal(file_pwrite(-1, SLICE_LIT("x"), 0), ERR_IO);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(test_write_then_read), WITH_DIR(test_read_an_empty_file),
        WITH_DIR(test_read_refuses),    WITH_DIR(test_failed_write_leaves_the_old_file),
        WITH_DIR(test_folders),         WITH_DIR(test_pwrite_at_an_offset),
        cmocka_unit_test(test_paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
