#include "crypto/memory.h"
#include "node/command.h"

#include <stdio.h>

int
main(int argc, char **argv)
{
    enum err e = crypto_memory_init();

    if (e != ERR_OK) {
        (void)fprintf(stderr, "portolan: OpenSSL's memory: %s\n", err_text(e));
        return 1;
    }
    return command_main(argc, argv);
}
