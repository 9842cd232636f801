#include "base/issue.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdlib.h>

struct issues *
issues_new(void)
{
    return calloc(1, sizeof(struct issues));
}

void
issues_free(struct issues **list)
{
    free(*list);
    *list = NULL;
}

void
issues_add(struct issues *list, const char *file, unsigned line, const char *path,
           const char *format, ...)
{
    struct issue *item;
    va_list ap;

    if (list->count == ISSUE_COUNT_MAX) {
        list->dropped++;
        return;
    }
    item = &list->items[list->count++];
    (void)text_format(item->file, sizeof(item->file), "%s", file);
    (void)text_format(item->path, sizeof(item->path), "%s", path == NULL ? "" : path);
    item->line = line;
    va_start(ap, format);
    (void)vsnprintf(item->text, sizeof(item->text), format, ap);
    va_end(ap);
}

bool
issues_any(const struct issues *list)
{
    return list->count > 0;
}

static void
print(const struct issues *list, const char *prefix, FILE *out)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct issue *item = &list->items[i];

        (void)fprintf(out, "%s%s", prefix, item->file);
        if (item->line > 0)
            (void)fprintf(out, ":%u", item->line);
        if (item->path[0] != '\0')
            (void)fprintf(out, ": %s", item->path);
        (void)fprintf(out, ": %s\n", item->text);
    }
    if (list->dropped > 0)
        (void)fprintf(out, "%sand %zu more\n", prefix, list->dropped);
}

void
issues_print(const struct issues *list, FILE *out)
{
    print(list, "", out);
}

void
issues_print_warnings(const struct issues *list, FILE *out)
{
    print(list, "warning: ", out);
}
