/* portolan check: everything that a node would check at start, without one. */
#include "node/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "node/args.h"
#include "node/charter_source.h"
#include "node/config.h"
#include "node/snapshot.h"
#include "node/snapshot_judge.h"
#include "residency/charter_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONFIG, CHARTER, REFERENCE, OPTION_COUNT };

static int
check_config(const char *path, struct issues *issues)
{
    int64_t now_ms = clock_wall_ms();
    struct issues *warnings = issues_new();
    struct snapshot *s = NULL;

    if (warnings == NULL)
        return EXIT_USAGE;
    if (snapshot_load(path, now_ms, issues, &s) == ERR_OK) {
        (void)snapshot_seen_ok(s, issues);
        snapshot_judge(s, now_ms, issues, warnings);
    } else if (!issues_any(issues)) {
        issues_add(issues, path, 0, NULL, "can't be loaded");
    }
    issues_print_warnings(warnings, stderr);
    if (!issues_any(issues))
        (void)printf("%s: good; node %s, charter version %" PRIu64 "\n", path, s->config->node,
                     s->charter->version);
    issues_free(&warnings);
    snapshot_unref(&s);
    return issues_any(issues) ? EXIT_NO : EXIT_GOOD;
}

/* What those who run nodes under it would find out too late. */
static bool
judge_charter(const struct charter *c, const char *path, struct issues *issues)
{
    struct issues *late = issues_new();

    if (late == NULL)
        return false;
    charter_check(c, path, issues);
    charter_check_time(c, path, clock_wall_ms(), issues, late);
    issues_print_warnings(late, stderr);
    issues_free(&late);
    return !issues_any(issues);
}

static int
check_charter(const char *path, struct issues *issues)
{
    struct charter *c = NULL;
    char *text = NULL;
    size_t len = 0;
    enum err e = file_read(path, CHARTER_SOURCE_MAX, &text, &len);

    if (e != ERR_OK) {
        issues_add(issues, path, 0, NULL, "can't be read: %s", err_text(e));
        return EXIT_USAGE;
    }
    e = charter_load(slice_of(text, len), path, true, issues, &c);
    if (e == ERR_OK && !judge_charter(c, path, issues))
        e = ERR_BADMSG;
    if (e == ERR_OK)
        (void)printf("%s: good; mesh %s, version %" PRIu64 ", %zu tenants, %zu backends\n", path,
                     c->mesh, c->version, c->tenant_count, c->backend_count);
    else if (!issues_any(issues))
        issues_add(issues, path, 0, NULL, "%s", err_text(e));
    charter_unref(&c);
    free(text);
    return e == ERR_OK ? EXIT_GOOD : EXIT_NO;
}

int
command_check(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [CONFIG] = {.name = "--config"},
        [CHARTER] = {.name = "--charter"},
        [REFERENCE] = {.name = "--reference", .is_flag = true},
    };
    struct args a = {.usage = "portolan check --config node.jsonc | --charter SOURCE.jsonc | "
                              "--reference",
                     .options = options,
                     .option_count = OPTION_COUNT};
    struct issues *issues;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    if (options[CONFIG].count + options[CHARTER].count + options[REFERENCE].count != 1) {
        (void)fprintf(stderr, "exactly one is needed\nusage: %s\n", a.usage);
        return EXIT_USAGE;
    }
    if (options[REFERENCE].count > 0) {
        config_print_reference(stdout);
        return EXIT_GOOD;
    }
    issues = issues_new();
    if (issues == NULL)
        return EXIT_USAGE;
    code = options[CONFIG].count > 0 ? check_config(options[CONFIG].values[0], issues)
                                     : check_charter(options[CHARTER].values[0], issues);
    issues_print(issues, stderr);
    issues_free(&issues);
    return code;
}
