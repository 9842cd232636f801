/* portolan charter sign | show | verify */
#include "node/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/dsse.h"
#include "crypto/key.h"
#include "node/args.h"
#include "node/charter_source.h"
#include "residency/charter_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGNERS_MAX 16

/* Who signs may do so for a record, or by a clock that is wrong: said, not refused. */
static void
warn_of_time(struct slice text, const char *source)
{
    struct issues *issues = issues_new();
    struct charter *c = NULL;

    if (issues != NULL && charter_load(text, source, true, issues, &c) == ERR_OK) {
        charter_check_time(c, source, clock_wall_ms(), issues, issues);
        issues_print_warnings(issues, stderr);
    }
    charter_unref(&c);
    issues_free(&issues);
}

static int
sign_with(const char *source, const char *out, const struct key *const *keys, size_t key_count)
{
    struct issues *issues = issues_new();
    const char *at = source; /* the file of a fault */
    char *text = NULL;
    char *signed_text = NULL;
    size_t len = 0;
    size_t signed_len = 0;
    int code = EXIT_USAGE;
    enum err e = issues == NULL ? ERR_NOMEM : file_read(source, CHARTER_SOURCE_MAX, &text, &len);

    if (e == ERR_OK) {
        e = charter_source_sign(slice_of(text, len), source, keys, key_count, issues, &signed_text,
                                &signed_len);
        code = e == ERR_BADMSG ? EXIT_NO : EXIT_USAGE;
    }
    if (e == ERR_OK) {
        warn_of_time(slice_of(text, len), source);
        at = out;
        e = file_write(out, slice_of(signed_text, signed_len), 0644);
    }
    if (issues != NULL && issues_any(issues))
        issues_print(issues, stderr);
    else if (e != ERR_OK)
        (void)fprintf(stderr, "%s: %s%s\n", at, at == out ? "can't be written: " : "", err_text(e));
    else
        (void)printf("%s: signed by %zu\n", out, key_count);
    free(text);
    free(signed_text);
    issues_free(&issues);
    return e == ERR_OK ? EXIT_GOOD : code;
}

static int
charter_sign(int argc, char **argv)
{
    enum { KEY, OUT };
    struct args_option options[] = {
        [KEY] = {.name = "--key", .is_required = true, .max = SIGNERS_MAX},
        [OUT] = {.name = "-o", .is_required = true},
    };
    struct args a = {.usage = "portolan charter sign SOURCE --key K.pem [--key ...] -o OUT",
                     .options = options,
                     .option_count = ARRAY_COUNT(options),
                     .operands_min = 1,
                     .operands_max = 1};
    struct key *keys[SIGNERS_MAX] = {NULL};
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    code = EXIT_USAGE;
    for (size_t i = 0; i < options[KEY].count; i++) {
        keys[i] = charter_source_key(options[KEY].values[i]);
        if (keys[i] == NULL)
            goto out;
    }
    code = sign_with(a.operands[0], options[OUT].values[0], (const struct key *const *)keys,
                     options[KEY].count);
out:
    for (size_t i = 0; i < options[KEY].count; i++)
        key_free(&keys[i]);
    return code;
}

/* The payload goes to standard output as it stands; what is known about it beside. */
static int
charter_show(int argc, char **argv)
{
    struct args a = {
        .usage = "portolan charter show ENVELOPE", .operands_min = 1, .operands_max = 1};
    struct dsse *env = NULL;
    const char *why = "";
    char *text = NULL;
    size_t len = 0;
    int code;
    enum err e;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    e = file_read(a.operands[0], CHARTER_ENVELOPE_MAX, &text, &len);
    why = err_text(e);
    if (e == ERR_OK)
        e = dsse_parse(slice_of(text, len), &env, &why);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: no envelope: %s\n", a.operands[0], why);
    } else {
        uint8_t digest[HASH_SIZE];
        char hex[2 * HASH_SIZE];
        struct text t;

        hash_sha256(dsse_payload(env), digest);
        text_init(&t, hex, sizeof(hex));
        text_add_hex(&t, slice_of(digest, HASH_SIZE));
        (void)fprintf(stderr, "unverified; %zu signature(s); digest %.*s\n",
                      dsse_signature_count(env), SLICE_ARG(text_slice(&t)));
        (void)printf("%.*s\n", SLICE_ARG(dsse_payload(env)));
    }
    dsse_free(&env);
    free(text);
    return e == ERR_OK ? EXIT_GOOD : EXIT_USAGE;
}

static void
print_good(const struct charter *c)
{
    char line[512];
    struct text t;

    text_init(&t, line, sizeof(line));
    text_addf(&t, "good: mesh %s, version %" PRIu64 ", digest ", c->mesh, c->version);
    text_add_hex(&t, slice_of(c->digest, HASH_SIZE));
    text_add_str(&t, ", valid until ");
    text_add_time_ms(&t, c->valid_until_ms);
    (void)printf("%.*s\n", SLICE_ARG(text_slice(&t)));
}

/* Its signatures are good; whether a node would go by it. */
static bool
is_fit(const struct charter *c, const char *file)
{
    struct issues *faults = issues_new();
    struct issues *late = issues_new();
    bool fit = false;

    if (faults != NULL && late != NULL) {
        charter_check(c, file, faults);
        charter_check_time(c, file, clock_wall_ms(), faults, late);
        issues_print(faults, stderr);
        issues_print_warnings(late, stderr);
        fit = !issues_any(faults);
    }
    issues_free(&faults);
    issues_free(&late);
    return fit;
}

static int
charter_verify(int argc, char **argv)
{
    enum { TRUST, THRESHOLD };
    struct args_option options[] = {
        [TRUST] = {.name = "--trust", .is_required = true, .max = SIGNERS_MAX},
        [THRESHOLD] = {.name = "--threshold"},
    };
    struct args a = {
        .usage = "portolan charter verify ENVELOPE --trust JWK.json [--trust ...] [--threshold N]",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .operands_min = 1,
        .operands_max = 1};
    struct charter_trust trust;
    struct charter *c;
    int64_t threshold;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    if (!args_number(&options[THRESHOLD], 1, SIGNERS_MAX, 1, &threshold) ||
        !charter_source_trust(options[TRUST].values, options[TRUST].count, (size_t)threshold,
                              &trust))
        return EXIT_USAGE;
    c = charter_source_open(a.operands[0], &trust);
    code = c != NULL && is_fit(c, a.operands[0]) ? EXIT_GOOD : EXIT_NO;
    if (code == EXIT_GOOD)
        print_good(c);
    charter_unref(&c);
    charter_source_trust_free(&trust);
    return code;
}

int
command_charter(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } verbs[] = {{"sign", charter_sign}, {"show", charter_show}, {"verify", charter_verify}};

    for (size_t i = 0; argc > 1 && i < ARRAY_COUNT(verbs); i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    (void)fprintf(stderr, "usage: portolan charter sign|show|verify ...   (--help says how)\n");
    return EXIT_USAGE;
}
