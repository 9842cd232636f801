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
    static const struct charter_names_rule rule = {
        .key = "passthrough",
        .count_max = CHARTER_PATHS_MAX,
        .ok = path_ok,
        .words = "a path of letters, digits, \"._-\" and \"/\", like \"/v1/own\"",
    };
    struct charter_names now = {t->paths, t->path_count, t->name};
    struct charter_names above = {0};

    if (parent != NULL)
        above = (struct charter_names){parent->paths, parent->path_count, parent->name};
    charter_load_names(c, root, &rule, t->name, parent == NULL ? NULL : &above, &now);
    t->paths = now.names;
    t->path_count = now.count;
    c->has_paths = c->has_paths || t->path_count > 0;
}
