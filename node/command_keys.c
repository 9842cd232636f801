/* portolan keys new | list */
#include "node/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "node/args.h"
#include "residency/identity/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define KEYS_FILE_MAX (8u << 20)
#define ROW_MAX 512

/* Whether the text is a key file that the node would take. */
static bool
check(struct slice text, const char *file)
{
    struct identity_keys_opts opts = {.api_keys_file = file, .api_keys_text = text};
    struct issues *issues = issues_new();
    struct identity_keys *keys = NULL;
    bool ok = issues != NULL && identity_keys_load(&opts, issues, &keys) == ERR_OK;

    if (!ok && issues != NULL)
        issues_print(issues, stderr);
    identity_keys_free(&keys);
    issues_free(&issues);
    return ok;
}

/* The file's text with one row more. */
static enum err
append(struct slice old, struct slice row, struct text *out)
{
    size_t end = old.len;

    if (old.len == 0) {
        text_add_str(out, "{\"v\":1,\"keys\":[\n");
    } else {
        /* The text was checked: what it ends with are the list and the object. */
        while (end > 0 && old.p[end - 1] != ']')
            end--;
        for (end--; end > 0 && (old.p[end - 1] == ' ' || old.p[end - 1] == '\n' ||
                                old.p[end - 1] == '\r' || old.p[end - 1] == '\t');)
            end--;
        text_add(out, slice_sub(old, 0, end));
        text_add_str(out, old.p[end - 1] == '[' ? "\n" : ",\n");
    }
    text_add(out, row);
    text_add_str(out, "\n]}\n");
    return text_ok(out) ? ERR_OK : ERR_TOOBIG;
}

/* {"keys":[...],"v":1} is as good, but then the list is not the last member. */
static bool
list_is_last(struct slice text)
{
    struct json_doc *doc = NULL;
    bool ok = false;

    if (json_parse(text, &doc, NULL) == ERR_OK) {
        const struct json *last = json_first(json_root(doc));

        while (last != NULL && json_next(last) != NULL)
            last = json_next(last);
        ok = last != NULL && strcmp(json_key(last), "keys") == 0;
    }
    json_free(&doc);
    return ok;
}

static enum err
add_row(const char *file, struct slice old, struct slice row)
{
    size_t size = old.len + row.len + 64;
    char *to = malloc(size);
    struct text t;
    enum err e;

    if (to == NULL)
        return ERR_NOMEM;
    text_init(&t, to, size);
    e = append(old, row, &t);
    if (e == ERR_OK && !check(text_slice(&t), file))
        e = ERR_BADMSG;
    if (e == ERR_OK)
        e = file_write(file, text_slice(&t), 0600);
    free(to);
    return e;
}

/* Holds off another `keys new` on the same file; the node reads without a lock, since the
 * file is replaced in one step. */
static int
lock_beside(const char *file)
{
    char path[1024];
    int fd;

    if (!text_format(path, sizeof(path), "%s.lock", file))
        return -1;
    fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int
make_key(const char *id, const char *file)
{
    char key_text[IDENTITY_API_KEY_MAX + 1];
    char row_text[ROW_MAX];
    struct text key;
    struct text row;
    char *old = NULL;
    size_t old_len = 0;
    enum err e;

    text_init(&key, key_text, sizeof(key_text));
    text_init(&row, row_text, sizeof(row_text));
    if (identity_api_key_new(id, clock_wall_ms(), &key, &row) != ERR_OK) {
        (void)fprintf(stderr, "%s: an id is 1 to 32 of a-z and 0-9\n", id);
        return EXIT_USAGE;
    }
    e = file_read(file, KEYS_FILE_MAX, &old, &old_len);
    if (e == ERR_OK &&
        (!check(slice_of(old, old_len), file) || !list_is_last(slice_of(old, old_len))))
        e = ERR_BADMSG;
    if (e == ERR_OK || e == ERR_NOENT)
        e = add_row(file, slice_of(old, old_len), text_slice(&row));
    if (e == ERR_OK)
        (void)printf("%.*s\n", SLICE_ARG(text_slice(&key)));
    else
        (void)fprintf(stderr, "%s: nothing was added: %s\n", file, err_text(e));
    hash_wipe(key_text, sizeof(key_text));
    free(old);
    return e == ERR_OK ? EXIT_GOOD : EXIT_USAGE;
}

static int
keys_new(int argc, char **argv)
{
    struct args_option options[] = {{.name = "--file", .is_required = true}};
    struct args a = {.usage = "portolan keys new ID --file api-keys.json",
                     .options = options,
                     .option_count = ARRAY_COUNT(options),
                     .operands_min = 1,
                     .operands_max = 1};
    int code;
    int lock;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    lock = lock_beside(options[0].values[0]);
    if (lock < 0) {
        (void)fprintf(stderr, "%s: can't be locked\n", options[0].values[0]);
        return EXIT_USAGE;
    }
    code = make_key(a.operands[0], options[0].values[0]);
    (void)close(lock);
    return code;
}

static void
print_rows(const struct json *root)
{
    for (const struct json *v = json_first(json_get(root, "keys")); v != NULL; v = json_next(v)) {
        struct slice id = SLICE_NONE;
        struct slice created = SLICE_NONE;
        struct slice not_after = SLICE_LIT("no end");

        (void)json_string(json_get(v, "id"), &id);
        (void)json_string(json_get(v, "created"), &created);
        (void)json_string(json_get(v, "not_after"), &not_after);
        (void)printf("%-32.*s %.*s  %.*s\n", SLICE_ARG(id), SLICE_ARG(created),
                     SLICE_ARG(not_after));
    }
}

static int
keys_list(int argc, char **argv)
{
    struct args_option options[] = {{.name = "--file", .is_required = true}};
    struct args a = {.usage = "portolan keys list --file api-keys.json",
                     .options = options,
                     .option_count = ARRAY_COUNT(options)};
    struct json_doc *doc = NULL;
    char *text = NULL;
    size_t len = 0;
    int code;
    enum err e;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    e = file_read(options[0].values[0], KEYS_FILE_MAX, &text, &len);
    if (e != ERR_OK)
        (void)fprintf(stderr, "%s: can't be read: %s\n", options[0].values[0], err_text(e));
    else if (!check(slice_of(text, len), options[0].values[0]))
        e = ERR_BADMSG;
    else
        e = json_parse(slice_of(text, len), &doc, NULL);
    if (e == ERR_OK)
        print_rows(json_root(doc));
    json_free(&doc);
    free(text);
    return e == ERR_OK ? EXIT_GOOD : EXIT_USAGE;
}

int
command_keys(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "new") == 0)
        return keys_new(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "list") == 0)
        return keys_list(argc - 1, argv + 1);
    (void)fprintf(stderr, "usage: portolan keys new|list ...   (--help says how)\n");
    return EXIT_USAGE;
}
