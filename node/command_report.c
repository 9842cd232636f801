/* portolan report: from ledgers to a folder that proves where everything was processed. */
#include "node/command.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"
#include "node/args.h"
#include "node/charter_list.h"
#include "node/charter_source.h"
#include "residency/report/report.h"

#include <inttypes.h>
#include <stdio.h>

#define TRUST_MAX 16

enum { CHARTER, TRUST, THRESHOLD, FROM, TO, TENANT, LEDGER, OUT, OPTION_COUNT };

/* A day ("2026-11-01", its start in UTC) or a whole RFC 3339 time. */
static bool
parse_day(const struct args_option *o, int64_t *out)
{
    char text[64];

    if (text_parse_time(slice_str(o->values[0]), out) ||
        (text_format(text, sizeof(text), "%sT00:00:00Z", o->values[0]) &&
         text_parse_time(slice_str(text), out)))
        return true;
    (void)fprintf(stderr, "%s: no day (2026-11-01): %s\n", o->name, o->values[0]);
    return false;
}

static int
run(const struct report_opts *opts)
{
    struct report_result r;
    enum err e = file_mkdirs(opts->out_dir, 0700);

    if (e == ERR_OK)
        e = report_write(opts, &r);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: no report: %s\n", opts->out_dir, err_text(e));
        return EXIT_USAGE;
    }
    (void)printf("%s  %s: %" PRIu64 " requests, %" PRIu64 " attestations; %" PRIu64
                 " exceptions, %" PRIu64 " faults, %" PRIu64 " nodes missing, %" PRIu64
                 " records under a charter that is not given%s\n",
                 report_complete(&r) ? "complete" : "INCOMPLETE", opts->out_dir, r.requests, r.rows,
                 r.exceptions, r.faults, r.missing, r.unchecked,
                 r.live_run ? "; a ledger still grows" : "");
    return report_complete(&r) ? EXIT_GOOD : EXIT_NO;
}

static int
report_with(const struct args_option *o, const struct charter_trust *trust)
{
    struct charter_list list = {0};
    struct report_opts opts = {.ledgers = o[LEDGER].values,
                               .ledger_count = o[LEDGER].count,
                               .tenant = args_text(&o[TENANT], NULL),
                               .out_dir = o[OUT].values[0]};
    int code = EXIT_USAGE;

    if (!parse_day(&o[FROM], &opts.from_ms) || !parse_day(&o[TO], &opts.to_ms))
        return code;
    if (opts.from_ms >= opts.to_ms) {
        (void)fprintf(stderr, "--to: must be later than --from\n");
        return code;
    }
    if (!charter_list_open(o[CHARTER].values, o[CHARTER].count, trust, &list))
        goto out;
    for (size_t i = 0; i < o[LEDGER].count; i++)
        if (!charter_list_add_kept(&list, o[LEDGER].values[i], trust)) {
            code = EXIT_NO;
            goto out;
        }
    opts.charters = (const struct charter *const *)list.charters;
    opts.charter_count = list.count;
    if (opts.tenant != NULL &&
        charter_find_tenant(list.charters[0], slice_str(opts.tenant)) == CHARTER_NONE) {
        (void)fprintf(stderr, "--tenant: no tenant of the charter: %s\n", opts.tenant);
        goto out;
    }
    code = run(&opts);
out:
    charter_list_free(&list);
    return code;
}

int
command_report(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [CHARTER] = {.name = "--charter", .is_required = true, .max = ARGS_VALUES_MAX},
        [TRUST] = {.name = "--trust", .is_required = true, .max = TRUST_MAX},
        [THRESHOLD] = {.name = "--threshold"},
        [FROM] = {.name = "--from", .is_required = true},
        [TO] = {.name = "--to", .is_required = true},
        [TENANT] = {.name = "--tenant"},
        [LEDGER] = {.name = "--ledger", .is_required = true, .max = REPORT_LEDGERS_MAX},
        [OUT] = {.name = "--out", .is_required = true},
    };
    struct args a = {
        .usage = "portolan report --charter ENVELOPE-OR-DIR [--charter older ...] --trust JWK.json "
                 "[--threshold N]\n         --from 2026-11-01 --to 2026-12-01 [--tenant acme] "
                 "--ledger DIR [--ledger DIR ...] --out DIR",
        .options = options,
        .option_count = OPTION_COUNT};
    struct charter_trust trust;
    int64_t threshold;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    if (!args_number(&options[THRESHOLD], 1, TRUST_MAX, 1, &threshold) ||
        !charter_source_trust(options[TRUST].values, options[TRUST].count, (size_t)threshold,
                              &trust))
        return EXIT_USAGE;
    code = report_with(options, &trust);
    charter_source_trust_free(&trust);
    return code;
}
