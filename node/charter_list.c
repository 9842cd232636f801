#include "node/charter_list.h"

#include "base/check.h"
#include "base/file.h"
#include "node/charter_source.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool
list_add(struct charter_list *list, const char *file, const struct charter_trust *trust)
{
    struct charter *c = charter_source_open(file, trust);

    if (c == NULL)
        return false;
    for (size_t i = 0; i < list->count; i++) {
        if (memcmp(c->digest, list->charters[i]->digest, HASH_SIZE) != 0)
            continue;
        charter_unref(&c);
        return true;
    }
    if (list->count > 0 && strcmp(c->mesh, list->charters[0]->mesh) != 0) {
        (void)fprintf(stderr, "%s: is of mesh \"%s\", the others are of \"%s\"\n", file, c->mesh,
                      list->charters[0]->mesh);
        charter_unref(&c);
        return false;
    }
    if (list->count == CHARTER_LIST_MAX) {
        (void)fprintf(stderr, "%s: more than %d charters\n", file, CHARTER_LIST_MAX);
        charter_unref(&c);
        return false;
    }
    list->charters[list->count++] = c;
    return true;
}

static int
is_envelope(const struct dirent *item)
{
    struct slice name = slice_str(item->d_name), end = SLICE_LIT(".dsse.json");

    return name.len > end.len && slice_eq(slice_sub(name, name.len - end.len, end.len), end);
}

static bool
list_add_folder(struct charter_list *list, const char *folder, const struct charter_trust *trust)
{
    struct dirent **items = NULL;
    int count = scandir(folder, &items, is_envelope, alphasort);
    bool ok = count > 0;

    if (!ok)
        (void)fprintf(stderr, "%s: has no file *.dsse.json that can be read\n", folder);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];

        if (ok && !file_join(path, sizeof(path), folder, items[i]->d_name)) {
            (void)fprintf(stderr, "%s: too long a path\n", folder);
            ok = false;
        }
        ok = ok && list_add(list, path, trust);
        free(items[i]);
    }
    free(items);
    return ok;
}

/* Of one version by digest, so that the order in which they are named does not show. */
static int
newest_first(const void *a, const void *b)
{
    const struct charter *const *x = a;
    const struct charter *const *y = b;

    if ((*x)->version != (*y)->version)
        return (*x)->version > (*y)->version ? -1 : 1;
    return memcmp((*x)->digest, (*y)->digest, HASH_SIZE);
}

bool
charter_list_open(const char *const *paths, size_t count, const struct charter_trust *trust,
                  struct charter_list *out)
{
    *out = (struct charter_list){.charters = calloc(CHARTER_LIST_MAX, sizeof(struct charter *))};
    if (out->charters == NULL) {
        (void)fprintf(stderr, "%s\n", err_text(ERR_NOMEM));
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct stat st;
        bool is_folder = stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode);

        if (!(is_folder ? list_add_folder(out, paths[i], trust) : list_add(out, paths[i], trust)))
            return false;
    }
    qsort(out->charters, out->count, sizeof(struct charter *), newest_first);
    return true;
}

bool
charter_list_add_kept(struct charter_list *list, const char *ledger,
                      const struct charter_trust *trust)
{
    char path[PATH_MAX];
    struct stat st;

    if (!file_join(path, sizeof(path), ledger, "charters") || stat(path, &st) != 0)
        return true;
    if (!list_add_folder(list, path, trust))
        return false;
    qsort(list->charters, list->count, sizeof(struct charter *), newest_first);
    return true;
}

void
charter_list_free(struct charter_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        charter_unref(&list->charters[i]);
    free(list->charters);
    *list = (struct charter_list){0};
}
