#ifndef NODE_ARGS_H
#define NODE_ARGS_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The arguments of a command: "--name value", "--name=value", flags and operands, in any
 * order; "--" ends the options. */

#define ARGS_VALUES_MAX 64

struct args_option {
    const char *name; /* "--charter" or "-o" */
    bool is_flag;     /* takes no value */
    bool is_required;
    size_t max; /* how often it may be given; 0 means once */
    const char *values[ARGS_VALUES_MAX];
    size_t count;
};

struct args {
    const char *usage; /* "portolan token --dir DIR ...", printed on a wrong call */
    struct args_option *options;
    size_t option_count;
    size_t operands_min;
    size_t operands_max;
    const char *operands[ARGS_VALUES_MAX];
    size_t operand_count;
};

/* argv[0] is the command's name. Faults and the usage go to standard error; "--help" prints
 * the usage. False: the caller returns *exit_code. */
bool args_parse(struct args *a, int argc, char **argv, int *exit_code);
/* Of an option: its first value, or def. */
const char *args_text(const struct args_option *o, const char *def);
/* A number; a fault is printed. */
bool args_number(const struct args_option *o, int64_t min, int64_t max, int64_t def, int64_t *out);

#endif
