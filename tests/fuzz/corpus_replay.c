#include "base/check.h"
#include "base/slice.h"
#include "base/text.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs a fuzz target over the files of its corpus without libFuzzer, so that each `ctest`
 * does: every file as it is, and, for targets whose first byte chooses the slices, with each
 * of its low four bits. usage: corpus_replay FOLDER */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_MAX 65536
#define SLICES 16

/* A block of exactly that size, so that a byte read too far is seen. */
static void
run(const uint8_t *bytes, size_t len, uint8_t first)
{
    uint8_t *exact = malloc(len > 0 ? len : 1);

    ASSERT(exact != NULL);
    if (len > 0) {
        memcpy(exact, bytes, len);
        exact[0] = first;
    }
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static void
replay(const char *folder, const char *name)
{
    static uint8_t bytes[FILE_MAX];
    char path[4096];
    size_t len;
    FILE *in;

    ASSERT(text_format(path, sizeof(path), "%s/%s", folder, name));
    in = fopen(path, "rbe");
    ASSERT(in != NULL);
    len = fread(bytes, 1, sizeof(bytes), in);
    ASSERT(len < sizeof(bytes) && ferror(in) == 0);
    (void)fclose(in);
    printf("%s\n", name); /* the last one said is the one that failed */
    (void)fflush(stdout);
    run(bytes, len, bytes[0]);
    for (uint8_t low = 0; low < SLICES; low++)
        run(bytes, len, (uint8_t)((bytes[0] & 0xf0) | low));
}

static int
is_seed(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int
main(int argc, char **argv)
{
    struct dirent **entries = NULL;
    int count = argc == 2 ? scandir(argv[1], &entries, is_seed, alphasort) : -1;

    if (count <= 0) {
        (void)fprintf(stderr, "usage: corpus_replay FOLDER, which holds the corpus\n");
        return 2;
    }
    for (int i = 0; i < count; i++) {
        replay(argv[1], entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return 0;
}
