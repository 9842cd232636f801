/* Paths beyond the node's own endpoints that a tenant opens: `passthrough`. */
#include "residency/charter_priv.h"

#include "base/text.h"

#include <string.h>

bool
charter_passes(const struct charter_tenant *t, struct slice path)
{
    for (size_t i = 0; i < t->path_count; i++)
        if (slice_is(path, t->paths[i]))
            return true;
    return false;
}

/* A canonical path of plain segments: one spelling, no dots that a reader may resolve. */
static bool
path_ok(struct slice s)
{
    uint8_t before = 0;

    if (s.len < 2 || s.len > CHARTER_PATH_MAX || s.p[0] != '/' || s.p[s.len - 1] == '/')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!plain && (c == '\0' || strchr("/._-", c) == NULL))
            return false;
        if (before == '/' && (c == '/' || c == '.'))
            return false;
        before = c;
    }
    return true;
}

void
charter_load_paths(struct charter *c, const struct json_reader *root, struct charter_tenant *t,
                   const struct charter_tenant *parent)
{
    struct json_reader r = json_reader_get(root, "passthrough");
    size_t n = charter_list_count(&r, CHARTER_PATHS_MAX);
    const struct json *v = n == 0 ? NULL : json_first(r.v);
    const char **paths;
    size_t count = 0;

    if (r.v == NULL)
        return;
    paths = charter_alloc(c, n, sizeof(*paths));
    if (paths == NULL)
        return;
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(&r, v, i);
        struct slice s;

        if (!json_reader_string(&item, &s))
            continue;
        if (!path_ok(s)) {
            json_reader_fault(&item,
                              "must be a path of at most %d letters, digits, \"._-\" and "
                              "\"/\", like \"/v1/own\"",
                              CHARTER_PATH_MAX);
            continue;
        }
        paths[count] = charter_copy(c, s);
        if (paths[count] == NULL)
            return;
        if (parent != NULL && !charter_passes(parent, s))
            json_reader_fault(&item,
                              "tenant \"%s\" may only narrow: passthrough has \"%s\", which its "
                              "parent \"%s\" does not",
                              t->name, paths[count], parent->name);
        count++;
    }
    charter_sort(paths, count, sizeof(*paths));
    t->paths = paths;
    t->path_count = count;
    c->has_paths = c->has_paths || count > 0;
}
