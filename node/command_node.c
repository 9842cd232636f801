#include "node/command.h"
#include "node/node.h"

#include <stdio.h>
#include <string.h>

int
command_node(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--config") == 0)
        return node_run(argv[2]);
    (void)fprintf(stderr, "usage: portolan node --config FILE\n");
    return EXIT_USAGE;
}
