#include "node/args.h"

#include "base/check.h"
#include "node/command.h"

#include <stdio.h>

static bool
fail(const struct args *a, const char *what, struct slice name)
{
    (void)fprintf(stderr, "%s: %.*s\nusage: %s\n", what, SLICE_ARG(name), a->usage);
    return false;
}

static struct args_option *
find(struct args *a, struct slice name)
{
    for (size_t i = 0; i < a->option_count; i++)
        if (slice_is(name, a->options[i].name))
            return &a->options[i];
    return NULL;
}

/* *value is the next argument, or what stands behind "="; *took whether the former was used. */
static bool
take_option(struct args *a, const char *arg, const char *next, bool *took)
{
    struct slice name = slice_str(arg);
    size_t cut = slice_find(name, '=');
    bool joined = cut < name.len;
    const char *value = joined ? arg + cut + 1 : next;
    struct args_option *o;

    name = slice_sub(name, 0, cut);
    o = find(a, name);
    if (o == NULL)
        return fail(a, "unknown option", name);
    if (o->count >= (o->max == 0 ? 1 : o->max))
        return fail(a, "given too often", name);
    if (o->is_flag) {
        o->count++;
        return !joined || fail(a, "takes no value", name);
    }
    if (value == NULL)
        return fail(a, "needs a value", name);
    ASSERT(o->max <= ARGS_VALUES_MAX);
    o->values[o->count++] = value;
    *took = !joined;
    return true;
}

static bool
complete(const struct args *a)
{
    for (size_t i = 0; i < a->option_count; i++)
        if (a->options[i].is_required && a->options[i].count == 0)
            return fail(a, "missing", slice_str(a->options[i].name));
    if (a->operand_count < a->operands_min)
        return fail(a, "an argument is missing", SLICE_NONE);
    return true;
}

bool
args_parse(struct args *a, int argc, char **argv, int *exit_code)
{
    bool options = true;

    ASSERT(a->operands_max <= ARGS_VALUES_MAX);
    *exit_code = EXIT_USAGE;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];

        if (options && strcmp(arg, "--") == 0) {
            options = false;
        } else if (options && strcmp(arg, "--help") == 0) {
            (void)printf("usage: %s\n", a->usage);
            *exit_code = EXIT_GOOD;
            return false;
        } else if (options && arg[0] == '-' && arg[1] != '\0') {
            bool took = false;

            if (!take_option(a, arg, i + 1 < argc ? argv[i + 1] : NULL, &took))
                return false;
            i += took ? 1 : 0;
        } else if (a->operand_count == a->operands_max) {
            return fail(a, "one argument too many", slice_str(arg));
        } else {
            a->operands[a->operand_count++] = arg;
        }
    }
    return complete(a);
}

const char *
args_text(const struct args_option *o, const char *def)
{
    return o->count == 0 ? def : o->values[0];
}

bool
args_number(const struct args_option *o, int64_t min, int64_t max, int64_t def, int64_t *out)
{
    uint64_t n = 0;

    if (o->count == 0) {
        *out = def;
        return true;
    }
    if (!slice_u64(slice_str(o->values[0]), &n) || n > INT64_MAX || (int64_t)n < min ||
        (int64_t)n > max) {
        (void)fprintf(stderr, "%s: must be a number from %lld to %lld\n", o->name, (long long)min,
                      (long long)max);
        return false;
    }
    *out = (int64_t)n;
    return true;
}
