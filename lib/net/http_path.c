#include "net/http.h"

#include "net/h1_priv.h"

#include "base/check.h"

/* One spelling for a path (RFC 3986 section 6.2.2), so that policy, routing and backend
 * see the same one. What has two readings in the field is refused instead of resolved. */

/* One segment without its '/'. */
static enum err
segment_add(struct slice segment, struct text *out)
{
    static const char upper[] = "0123456789ABCDEF";

    for (size_t i = 0; i < segment.len; i++) {
        uint8_t c = segment.p[i];

        if ((h1_class[c] & H1_PCHAR) != 0) {
            text_add_char(out, (char)c);
            continue;
        }
        if (c != '%' || segment.len - i < 3 || !h1_all(slice_sub(segment, i + 1, 2), H1_HEX))
            return ERR_BADMSG;
        c = (uint8_t)(h1_hex(segment.p[i + 1]) << 4 | h1_hex(segment.p[i + 2]));
        i += 2;
        if (c == 0 || c == '/' || c == '\\')
            return ERR_BADMSG;
        if ((h1_class[c] & H1_UNRESERVED) != 0) {
            text_add_char(out, (char)c);
            continue;
        }
        text_add_char(out, '%');
        text_add_char(out, upper[c >> 4]);
        text_add_char(out, upper[c & 15]);
    }
    return text_ok(out) ? ERR_OK : ERR_FULL;
}

/* Takes the last "/segment" behind base off; the root has no parent but itself. */
static void
segment_drop(struct text *out, size_t base)
{
    while (out->used > base) {
        out->used--;
        if (out->p[out->used] == '/')
            return;
    }
}

/* "..;x" is a parent to servers that cut path parameters off, and a name to others. */
static bool
is_dots_with_parameter(struct slice segment)
{
    size_t end = slice_find(segment, ';');

    return end < segment.len && (slice_is(slice_sub(segment, 0, end), ".") ||
                                 slice_is(slice_sub(segment, 0, end), ".."));
}

/* Adds "/segment", or resolves it when it is a dot segment. */
static enum err
segment_resolve(struct slice segment, bool is_last, size_t base, struct text *out)
{
    size_t at = out->used;
    struct slice added;
    bool is_parent;
    enum err e;

    text_add_char(out, '/');
    e = segment_add(segment, out);
    if (e != ERR_OK)
        return e;
    added = slice_of(out->p + at + 1, out->used - at - 1);
    if (is_dots_with_parameter(added))
        return ERR_BADMSG;
    is_parent = slice_is(added, "..");
    if (!is_parent && !slice_is(added, "."))
        return ERR_OK;
    out->used = at;
    if (is_parent)
        segment_drop(out, base);
    if (is_last)
        text_add_char(out, '/');
    return ERR_OK;
}

enum err
http_canonical_path(struct slice path, struct text *out)
{
    struct slice rest = path;
    size_t base = out->used;
    enum err e = ERR_OK;

    if (path.len == 0 || path.p[0] != '/')
        return ERR_BADMSG;
    if (!text_ok(out))
        return ERR_FULL;
    (void)slice_cut(&rest, '/');
    while (e == ERR_OK && rest.p != NULL) {
        struct slice segment = slice_cut(&rest, '/');

        e = segment_resolve(segment, rest.p == NULL, base, out);
    }
    if (e != ERR_OK)
        out->used = base;
    return e;
}
