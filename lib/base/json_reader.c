/* Reading a file that a person wrote: every fault names file, line and path, and the
 * name that was probably meant. */
#include "base/json.h"

#include "base/jscan.h"
#include "base/json_priv.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define NAME_LEN_MAX 64 /* longer names get no suggestion */
#define QUOTED_MAX 96   /* foreign text in a message */

/* ---- Walking ------------------------------------------------------------------------ */

struct json_reader
json_reader_root(const struct json_doc *doc, const char *file, struct issues *issues)
{
    return (struct json_reader){.doc = doc, .v = json_root(doc), .file = file, .issues = issues};
}

static struct json_reader
child_of(const struct json_reader *r, const struct json *v)
{
    return (struct json_reader){
        .doc = r->doc, .v = v, .file = r->file, .issues = r->issues, .parent = r};
}

struct json_reader
json_reader_get(const struct json_reader *r, const char *key)
{
    struct json_reader child = child_of(r, json_get(r->v, key));

    child.key = key;
    return child;
}

struct json_reader
json_reader_item(const struct json_reader *r, const struct json *item, size_t index)
{
    struct json_reader child = child_of(r, item);

    child.index = index;
    return child;
}

struct json_reader
json_reader_member(const struct json_reader *r, const struct json *v)
{
    struct json_reader child = child_of(r, v);

    child.key = json_key(v);
    return child;
}

/* ---- Faults ------------------------------------------------------------------------- */

static bool
is_plain_name(const char *name)
{
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

    return *name != '\0' && name[strspn(name, plain)] == '\0';
}

static void
add_step(struct text *path, const struct json_reader *r)
{
    if (r->key == NULL) {
        text_add_char(path, '[');
        text_add_u64(path, r->index);
        text_add_char(path, ']');
        return;
    }
    if (path->used > 0)
        text_add_char(path, '.');
    if (is_plain_name(r->key))
        text_add_str(path, r->key);
    else
        text_add_json(path, slice_str(r->key));
}

/* tenants."acme/de".origins[2]; what does not fit is cut. */
static void
path_of(const struct json_reader *r, char *out, size_t size)
{
    /* No value stands deeper than the scanner lets it, an absent one but little. */
    const struct json_reader *steps[JSCAN_DEPTH_MAX + 8];
    size_t count = 0;
    struct text path;

    for (; r->parent != NULL && count < sizeof(steps) / sizeof(steps[0]); r = r->parent)
        steps[count++] = r;
    text_init(&path, out, size - 1);
    while (count > 0)
        add_step(&path, steps[--count]);
    out[path.used] = '\0';
}

void
json_reader_vfault(const struct json_reader *r, const char *format, va_list ap)
{
    char path[sizeof(((struct issue *)NULL)->path)];
    char text[ISSUE_TEXT_MAX];
    const struct json_reader *at = r;

    (void)vsnprintf(text, sizeof(text), format, ap);
    path_of(r, path, sizeof(path));
    /* What is missing is missing in the nearest value that is there. */
    while (at->v == NULL && at->parent != NULL)
        at = at->parent;
    issues_add(r->issues, r->file, at->v == NULL ? 0 : json_line_of(r->doc, at->v), path, "%s",
               text);
}

void
json_reader_fault(const struct json_reader *r, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    json_reader_vfault(r, format, ap);
    va_end(ap);
}

/* s in quotes for a message: control characters escaped, cut at a character's edge. */
static const char *
quoted(const char *s, char out[QUOTED_MAX * 6 + 8])
{
    struct slice all = slice_str(s);
    struct slice kept = slice_sub(all, 0, QUOTED_MAX);
    struct text t;

    while (kept.len < all.len && kept.len > 0 && (all.p[kept.len] & 0xc0) == 0x80)
        kept.len--;
    text_init(&t, out, QUOTED_MAX * 6 + 7);
    text_add_json(&t, kept);
    text_add_str(&t, kept.len < all.len ? "..." : "");
    out[t.used] = '\0';
    return out;
}

static const char *
article_of(enum json_type type)
{
    if (type == JSON_NULL)
        return "";
    return type == JSON_OBJECT || type == JSON_ARRAY ? "an " : "a ";
}

/* Reports a value that is absent or not of the wanted type. */
static void
fault_type(const struct json_reader *r, enum json_type wanted)
{
    enum json_type type;

    if (r->v == NULL) {
        json_reader_fault(r, "missing");
        return;
    }
    type = json_type_of(r->v);
    json_reader_fault(r, "must be %s%s, is %s%s", article_of(wanted), json_type_name(wanted),
                      article_of(type), json_type_name(type));
}

/* ---- Nearest names ------------------------------------------------------------------ */

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits from a to b: one byte changed, added or dropped, or two neighbours swapped. Both
 * are at most NAME_LEN_MAX + 2 long. */
static size_t
edit_distance(struct slice a, struct slice b)
{
    size_t rows[3][NAME_LEN_MAX + 3]; /* row i stands in rows[i % 3] */

    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        const size_t *above = rows[(i + 2) % 3];
        const size_t *above2 = rows[(i + 1) % 3];
        size_t *row = rows[i % 3];

        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = a.p[i - 1] == b.p[j - 1];

            row[j] = least(above[j], row[j - 1]) + 1;
            row[j] = least(row[j], above[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
                row[j] = least(row[j], above2[j - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

const char *
json_nearest(const char *name, const char *const *known)
{
    struct slice a = slice_str(name);
    const char *nearest = NULL;
    size_t best = 3;

    if (a.len > NAME_LEN_MAX)
        return NULL;
    for (; *known != NULL; known++) {
        struct slice b = slice_str(*known);
        size_t distance;

        if (b.len > a.len + 2 || a.len > b.len + 2)
            continue;
        distance = edit_distance(a, b);
        if (distance < best && distance * 2 < a.len) {
            best = distance;
            nearest = *known;
        }
    }
    return nearest;
}

static bool
is_known(const char *key, const char *const *known)
{
    while (*known != NULL && strcmp(*known, key) != 0)
        known++;
    return *known != NULL;
}

bool
json_reader_keys(const struct json_reader *r, const char *const *known)
{
    char name[QUOTED_MAX * 6 + 8];

    if (r->v == NULL || json_type_of(r->v) != JSON_OBJECT) {
        fault_type(r, JSON_OBJECT);
        return false;
    }
    for (const struct json *v = json_first(r->v); v != NULL; v = json_next(v)) {
        struct json_reader member = json_reader_member(r, v);
        const char *nearest;

        if (is_known(member.key, known))
            continue;
        nearest = json_nearest(member.key, known);
        if (nearest == NULL)
            json_reader_fault(&member, "unknown key %s", quoted(member.key, name));
        else
            json_reader_fault(&member, "unknown key %s (did you mean \"%s\"?)",
                              quoted(member.key, name), nearest);
    }
    return true;
}

/* ---- Typed reads -------------------------------------------------------------------- */

bool
json_reader_string(const struct json_reader *r, struct slice *out)
{
    if (json_string(r->v, out))
        return true;
    fault_type(r, JSON_STRING);
    return false;
}

bool
json_reader_opt_string(const struct json_reader *r, struct slice *out)
{
    return r->v == NULL || json_reader_string(r, out);
}

bool
json_reader_int(const struct json_reader *r, int64_t min, int64_t max, int64_t *out)
{
    int64_t v;

    if (r->v == NULL || json_type_of(r->v) != JSON_NUMBER) {
        fault_type(r, JSON_NUMBER);
        return false;
    }
    if (!json_int(r->v, &v)) {
        json_reader_fault(r,
                          "must be between %" PRId64 " and %" PRId64
                          ", a whole number without fraction or exponent",
                          min, max);
        return false;
    }
    if (v < min || v > max) {
        json_reader_fault(r, "must be between %" PRId64 " and %" PRId64 ", is %" PRId64, min, max,
                          v);
        return false;
    }
    *out = v;
    return true;
}

bool
json_reader_opt_int(const struct json_reader *r, int64_t min, int64_t max, int64_t *out)
{
    return r->v == NULL || json_reader_int(r, min, max, out);
}

bool
json_reader_opt_bool(const struct json_reader *r, bool *out)
{
    if (r->v == NULL || json_bool(r->v, out))
        return true;
    fault_type(r, JSON_BOOL);
    return false;
}

bool
json_reader_time(const struct json_reader *r, int64_t *out_unix_ms)
{
    struct slice s;

    if (!json_reader_string(r, &s))
        return false;
    if (text_parse_time(s, out_unix_ms))
        return true;
    json_reader_fault(r, "must be a time in UTC such as 2026-11-23T19:22:47Z");
    return false;
}
