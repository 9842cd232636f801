#ifndef BASE_ISSUE_H
#define BASE_ISSUE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* What is wrong with a file that a person wrote: collected while it is checked, so
 * that one run of `portolan check` names everything, and printed at the edge as
 * "file:line: path: message". */

#define ISSUE_COUNT_MAX 64
#define ISSUE_TEXT_MAX 384

struct issue {
    char file[256];
    unsigned line;  /* 1-based; 0 when no line applies */
    char path[192]; /* e.g. tenants."acme/de".origins[2]; empty when none applies */
    char text[ISSUE_TEXT_MAX];
};

struct issues {
    struct issue items[ISSUE_COUNT_MAX];
    size_t count;   /* kept */
    size_t dropped; /* found beyond ISSUE_COUNT_MAX */
};

struct issues *issues_new(void); /* gives; NULL when out of memory */
void issues_free(struct issues **list);
/* Formats and keeps one; parts that do not fit are cut. */
void issues_add(struct issues *list, const char *file, unsigned line, const char *path,
                const char *format, ...) __attribute__((format(printf, 5, 6)));
bool issues_any(const struct issues *list);
void issues_print(const struct issues *list, FILE *out);
void issues_print_warnings(const struct issues *list,
                           FILE *out); /* each line says that it is one */

#endif
