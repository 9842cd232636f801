#ifndef TESTS_UNIT_NODE_COMMAND_SCENE_H
#define TESTS_UNIT_NODE_COMMAND_SCENE_H

/* The commands as a caller meets them: arguments in, exit code, output and files out. */
#include "node/command.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GEO_FILE PORTOLAN_VECTORS "/geoip/GeoLite2-Country-Test.mmdb"

struct scene {
    char dir[64];
    char mesh[96];
    char out[96];
    char err[96];
    char *text;   /* what the last command wrote to standard output */
    char *errors; /* and to standard error */
};

static inline int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Output goes to a file from here on; gives what it went to before. */
static inline int
redirect(int fd, FILE *stream, const char *file)
{
    int saved;
    int to;

    (void)fflush(stream);
    saved = dup(fd);
    to = open(file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(saved >= 0 && to >= 0 && dup2(to, fd) >= 0);
    (void)close(to);
    return saved;
}

static inline void
restore(int fd, FILE *stream, int saved)
{
    (void)fflush(stream);
    assert_true(dup2(saved, fd) >= 0);
    (void)close(saved);
}

/* Runs a command; NULL ends the list. Its output goes into s->text and s->errors. */
static inline int
run(struct scene *s, const char *first, ...)
{
    char *argv[32] = {"portolan"};
    size_t len = 0;
    int argc = 1;
    int code;
    int out;
    int err;
    va_list ap;

    va_start(ap, first);
    for (const char *arg = first; arg != NULL; arg = va_arg(ap, const char *)) {
        assert_true(argc < 31);
        argv[argc] = slice_dup(slice_str(arg));
        assert_non_null(argv[argc++]);
    }
    va_end(ap);
    out = redirect(STDOUT_FILENO, stdout, s->out);
    err = redirect(STDERR_FILENO, stderr, s->err);
    code = command_main(argc, argv);
    restore(STDOUT_FILENO, stdout, out);
    restore(STDERR_FILENO, stderr, err);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    free(s->text);
    free(s->errors);
    s->text = s->errors = NULL;
    assert_int_equal(file_read(s->out, 1u << 24, &s->text, &len), ERR_OK);
    assert_int_equal(file_read(s->err, 1u << 24, &s->errors, &len), ERR_OK);
    return code;
}

static inline const char *
in_mesh(const struct scene *s, const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];

    assert_true(file_join(path, sizeof(paths[0]), s->mesh, name));
    return path;
}

static inline int
setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));

    assert_non_null(s);
    memcpy(s->dir, "/tmp/portolan-command-XXXXXX", 29);
    assert_non_null(mkdtemp(s->dir));
    assert_true(text_format(s->mesh, sizeof(s->mesh), "%s/mesh", s->dir));
    assert_true(text_format(s->out, sizeof(s->out), "%s/stdout", s->dir));
    assert_true(text_format(s->err, sizeof(s->err), "%s/stderr", s->dir));
    *state = s;
    return 0;
}

static inline int
setup_mesh(void **state)
{
    bool has_geo = access(GEO_FILE, R_OK) == 0;
    struct scene *s;

    (void)setup(state);
    s = *state;
    assert_int_equal(run(s, "init", s->mesh, has_geo ? "--geoip" : NULL, GEO_FILE, NULL),
                     EXIT_GOOD);
    return 0;
}

static inline int
teardown(void **state)
{
    struct scene *s = *state;

    (void)nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(s->text);
    free(s->errors);
    free(s);
    return 0;
}

static inline void
need_geo(void)
{
    if (access(GEO_FILE, R_OK) != 0) {
        print_message("skipped: no test database\n");
        skip();
    }
}

#define CHARTER_FILE(s) in_mesh(s, "charter/charter.dsse.json")
#define TRUST_FILE(s) in_mesh(s, "charter/charter-key.jwk.json")

#define BARE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define MESH(test) cmocka_unit_test_setup_teardown(test, setup_mesh, teardown)

#endif
