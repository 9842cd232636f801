#include "node/args.h"
#include "node/command.h"
#include "node/node.h"

enum { CONFIG, TAKE_OVER, OPTION_COUNT };

int
command_node(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [CONFIG] = {.name = "--config", .is_required = true},
        [TAKE_OVER] = {.name = "--take-over", .is_flag = true},
    };
    struct args a = {.usage = "portolan node --config FILE [--take-over]\n"
                              "  --take-over  from the process of this node that serves now: its "
                              "sockets pass to\n               this one once it is ready, and it "
                              "finishes its own requests",
                     .options = options,
                     .option_count = OPTION_COUNT};
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    return node_run(options[CONFIG].values[0], options[TAKE_OVER].count > 0);
}
