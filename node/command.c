#include "node/command.h"

#include "base/check.h"
#include "node/node.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"node", command_node, "run a node"},
    {"reload", command_reload, "make a node that runs take its files anew"},
    {"init", command_init, "write a complete local mesh into a folder"},
    {"check", command_check, "check a node's files, or a charter's source"},
    {"explain", command_explain, "show why each backend may or may not serve a request"},
    {"charter", command_charter, "sign, show or verify a charter"},
    {"keys", command_keys, "make and list API keys"},
    {"token", command_token, "make a token of a local mesh's issuer"},
    {"verify", command_verify, "verify attestations or a ledger, offline"},
    {"report", command_report, "prove from the ledgers where everything was processed"},
};

static void
usage(FILE *out)
{
    (void)fprintf(out, "usage: portolan COMMAND ...   (COMMAND --help says how)\n\n");
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        (void)fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
}

int
command_main(int argc, char **argv)
{
    if (argc < 2) {
        usage(stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return EXIT_GOOD;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("%s\n", NODE_SOFTWARE);
        return EXIT_GOOD;
    }
    (void)fprintf(stderr, "unknown command: %s\n", argv[1]);
    usage(stderr);
    return EXIT_USAGE;
}
