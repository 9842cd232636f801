/* portolan reload: asks the node that runs, and says how it went. */
#include "node/args.h"
#include "node/command.h"
#include "node/config.h"
#include "node/takeover.h"

#include <stdio.h>

enum { CONFIG, OPTION_COUNT };

static int
reload(const char *state_dir)
{
    char words[TAKEOVER_WORDS_MAX];
    enum err e = takeover_reload(state_dir, words);

    if (e == ERR_OK) {
        (void)printf("reloaded: %s\n", words);
        return EXIT_GOOD;
    }
    (void)fprintf(stderr, e == ERR_FORBIDDEN ? "nothing changed: %s\n" : "can't be asked: %s\n",
                  words);
    return e == ERR_FORBIDDEN ? EXIT_NO : EXIT_USAGE;
}

int
command_reload(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [CONFIG] = {.name = "--config", .is_required = true},
    };
    struct args a = {.usage = "portolan reload --config FILE\n"
                              "  the node that runs with it takes config, charter, keys, "
                              "certificates and database\n  anew, all of them or nothing",
                     .options = options,
                     .option_count = OPTION_COUNT};
    struct issues *issues;
    struct config *config = NULL;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    issues = issues_new();
    if (issues == NULL)
        return EXIT_USAGE;
    if (config_load(options[CONFIG].values[0], issues, &config) == ERR_OK) {
        code = reload(config->state_dir);
    } else {
        /* The node would say the same of it. */
        issues_print(issues, stderr);
        (void)fprintf(stderr, "nothing changed\n");
        code = EXIT_NO;
    }
    config_free(&config);
    issues_free(&issues);
    return code;
}
