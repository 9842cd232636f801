/* JSON as a tree. The strict scanner reads every text before cJSON does and once more
 * beside the finished tree, so that the two must agree value by value: nothing is in the
 * tree that the scanner did not see.
 *
 * That second walk leaves a tag in cJSON's valueint, a field that nothing else here uses:
 * where the value stands in the text, and whether a number is an exact integer, which
 * cJSON's double no longer tells (9007199254740993 became 9007199254740992). */
#include "base/json.h"

#include "base/check.h"
#include "base/jscan.h"
#include "base/json_priv.h"
#include "base/text.h"

#include <cjson/cJSON.h>

#include <limits.h>
#include <stdlib.h>

struct json_doc {
    char *text; /* comments blanked out, every byte still at its place */
    size_t len;
    cJSON *root;
};

/* Where and why a text was refused. */
#define KEY_SHOWN_MAX 64 /* bytes of a key in a message */

struct refusal {
    const char *why;
    size_t at;
};

_Static_assert(JSON_TEXT_MAX <= INT_MAX / 2, "a tag holds an offset and one more bit");

static const cJSON *
node_of(const struct json *v)
{
    return (const cJSON *)(const void *)v;
}

static const struct json *
json_of(const cJSON *node)
{
    return (const struct json *)(const void *)node;
}

static unsigned
line_at(struct slice text, size_t at)
{
    unsigned line = 1;

    for (size_t i = 0; i < at && i < text.len; i++)
        if (text.p[i] == '\n')
            line++;
    return line;
}

/* ---- Parsing ------------------------------------------------------------------------ */

static bool
same_type(const cJSON *node, enum jscan_type type)
{
    switch (type) {
    case JSCAN_OBJECT:
        return cJSON_IsObject(node);
    case JSCAN_ARRAY:
        return cJSON_IsArray(node);
    case JSCAN_STRING:
        return cJSON_IsString(node);
    case JSCAN_NUMBER:
        return cJSON_IsNumber(node);
    case JSCAN_TRUE:
        return cJSON_IsTrue(node);
    case JSCAN_FALSE:
        return cJSON_IsFalse(node);
    case JSCAN_NULL:
        return cJSON_IsNull(node);
    case JSCAN_OBJECT_END:
    case JSCAN_ARRAY_END:
    case JSCAN_KEY:
    case JSCAN_END:
        break;
    }
    return false;
}

/* Tags every value of the tree. False when tree and text do not agree. */
static bool
tag_values(cJSON *root, struct slice text, struct jscan_keys *keys)
{
    cJSON *due[JSCAN_DEPTH_MAX + 1] = {root}; /* by depth: the value that must come next */
    struct jscan_token token;
    struct jscan_token key = {.type = JSCAN_END};
    struct jscan s;

    jscan_init(&s, text, keys);
    for (;;) {
        cJSON *node;
        int64_t integer;
        size_t at;

        if (jscan_next(&s, &token) != ERR_OK)
            return false;
        node = due[token.depth];
        if (token.type == JSCAN_END)
            return node == NULL;
        if (token.type == JSCAN_KEY)
            key = token;
        if (token.type == JSCAN_KEY)
            continue;
        if (token.type == JSCAN_OBJECT_END || token.type == JSCAN_ARRAY_END) {
            if (due[token.depth + 1] != NULL)
                return false;
            continue;
        }
        if (node == NULL || !same_type(node, token.type))
            return false;
        at = key.type == JSCAN_KEY ? key.at : token.at;
        key.type = JSCAN_END;
        node->valueint = (int)(at << 1 | (jscan_int(&token, &integer) ? 1u : 0u));
        due[token.depth] = node->next;
        if (token.type == JSCAN_OBJECT || token.type == JSCAN_ARRAY)
            due[token.depth + 1] = node->child;
    }
}

static enum err
build(struct json_doc *doc, struct refusal *refusal)
{
    struct slice text = slice_of(doc->text, doc->len);
    struct jscan_keys *keys = NULL;
    enum err e;

    e = jscan_keys_new(&keys);
    if (e != ERR_OK) {
        refusal->why = err_text(e);
        return e;
    }
    e = jscan_check(text, keys, &refusal->why, &refusal->at);
    if (e != ERR_OK)
        goto out_keys;
    /* With the NUL behind the text, cJSON too insists on having read all of it. */
    doc->root = cJSON_ParseWithLengthOpts(doc->text, doc->len + 1, NULL, 1);
    if (doc->root == NULL) {
        e = ERR_NOMEM; /* the only reason left: what the scanner takes, cJSON takes */
        refusal->why = err_text(e);
    } else if (NEVER(!tag_values(doc->root, text, keys))) {
        e = ERR_BADMSG;
        refusal->why = "two readers do not agree on this text";
    }
out_keys:
    jscan_keys_free(&keys);
    return e;
}

/* Takes text (len bytes and a NUL, from the heap), also on failure. */
static enum err
doc_new(char *text, size_t len, struct refusal *refusal, struct json_doc **out)
{
    struct json_doc *doc = calloc(1, sizeof(*doc));
    enum err e;

    if (doc == NULL) {
        free(text);
        refusal->why = err_text(ERR_NOMEM);
        return ERR_NOMEM;
    }
    doc->text = text;
    doc->len = len;
    e = build(doc, refusal);
    if (e == ERR_OK)
        *out = doc;
    else
        json_free(&doc);
    return e;
}

static enum err
copy_text(struct slice text, struct refusal *refusal, char **out)
{
    enum err e = text.len > JSON_TEXT_MAX ? ERR_TOOBIG : ERR_OK;
    char *copy = NULL;

    if (e == ERR_OK) {
        copy = slice_dup(text);
        e = copy == NULL ? ERR_NOMEM : ERR_OK;
    }
    if (e == ERR_OK)
        *out = copy;
    else
        refusal->why = err_text(e);
    return e;
}

static enum err
parse_strict(struct slice text, struct refusal *refusal, struct json_doc **out)
{
    char *copy;
    enum err e = copy_text(text, refusal, &copy);

    return e == ERR_OK ? doc_new(copy, text.len, refusal, out) : e;
}

/* A refusal for people: one key among many is found by its name. */
static void
add_refusal(struct slice text, const char *file, const struct refusal *refusal,
            struct issues *issues)
{
    struct slice key = slice_sub(text, refusal->at + 1, KEY_SHOWN_MAX);
    char shown[4 * KEY_SHOWN_MAX + 8];
    struct text t;
    size_t end = 0;

    while (end < key.len && key.p[end] != '"')
        end += key.p[end] == '\\' ? 2 : 1;
    text_init(&t, shown, sizeof(shown) - 1);
    if (strcmp(refusal->why, JSCAN_DUPLICATE) == 0) {
        text_add_str(&t, " \"");
        text_add_escaped(&t, slice_sub(key, 0, end), KEY_SHOWN_MAX);
        text_add_char(&t, '"');
    }
    shown[t.used] = '\0';
    issues_add(issues, file, line_at(text, refusal->at), NULL, "%s%s", refusal->why, shown);
}

enum err
json_parse(struct slice text, struct json_doc **out, const char **why)
{
    struct refusal refusal = {NULL, 0};
    enum err e = parse_strict(text, &refusal, out);

    if (e != ERR_OK && why != NULL)
        *why = refusal.why;
    return e;
}

enum err
json_parse_file(struct slice text, const char *file, struct issues *issues, struct json_doc **out)
{
    struct refusal refusal = {NULL, 0};
    enum err e = parse_strict(text, &refusal, out);

    if (e != ERR_OK)
        add_refusal(text, file, &refusal, issues);
    return e;
}

/* ---- Comments ----------------------------------------------------------------------- */

/* The offset behind the string whose quote stands at at. */
static size_t
string_end(const char *p, size_t at, size_t len)
{
    for (at++; at < len && p[at] != '"'; at++)
        if (p[at] == '\\')
            at++;
    return at < len ? at + 1 : len;
}

/* The offset behind the comment that begins at at; at when none does; len + 1 when it
 * is never closed. */
static size_t
comment_end(const char *p, size_t at, size_t len)
{
    size_t i = at + 2;

    if (len - at < 2 || p[at] != '/')
        return at;
    if (p[at + 1] == '/') {
        while (i < len && p[i] != '\n' && p[i] != '\r')
            i++;
        return i;
    }
    if (p[at + 1] != '*')
        return at;
    while (len - i >= 2 && (p[i] != '*' || p[i + 1] != '/'))
        i++;
    return len - i >= 2 ? i + 2 : len + 1;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Turns comments and trailing commas into spaces; line ends stay, and so does every other
 * byte's place. A comma is a trailing one when a bracket closes behind it and a value, not
 * a bracket or another comma, stands before it: "[,]" stays wrong. */
static enum err
blank_comments(char *p, size_t len, struct refusal *refusal)
{
    size_t comma = len; /* of the last comma, while it may yet turn out trailing */
    char before = '[';  /* the last byte that is neither space nor comment */
    size_t at = 0;

    while (at < len) {
        size_t end = comment_end(p, at, len);

        if (end > len) {
            refusal->why = "the comment is never closed";
            refusal->at = at;
            return ERR_BADMSG;
        }
        if (end > at) {
            for (; at < end; at++)
                if (p[at] != '\n' && p[at] != '\r')
                    p[at] = ' ';
            continue;
        }
        if (is_space(p[at])) {
            at++;
            continue;
        }
        if ((p[at] == ']' || p[at] == '}') && comma < len)
            p[comma] = ' ';
        comma = p[at] == ',' && strchr("[{,:", before) == NULL ? at : len;
        before = p[at];
        at = before == '"' ? string_end(p, at, len) : at + 1;
    }
    return ERR_OK;
}

enum err
json_parse_commented(struct slice text, const char *file, struct issues *issues,
                     struct json_doc **out)
{
    struct refusal refusal = {NULL, 0};
    char *copy = NULL;
    enum err e = copy_text(text, &refusal, &copy);

    if (e == ERR_OK) {
        e = blank_comments(copy, text.len, &refusal);
        if (e == ERR_OK)
            e = doc_new(copy, text.len, &refusal, out);
        else
            free(copy);
    }
    if (e != ERR_OK)
        add_refusal(text, file, &refusal, issues);
    return e;
}

/* ---- The tree ----------------------------------------------------------------------- */

void
json_free(struct json_doc **doc)
{
    if (*doc == NULL)
        return;
    cJSON_Delete((*doc)->root);
    free((*doc)->text);
    free(*doc);
    *doc = NULL;
}

const struct json *
json_root(const struct json_doc *doc)
{
    return json_of(doc->root);
}

enum json_type
json_type_of(const struct json *v)
{
    const cJSON *node = node_of(v);

    ASSERT(v != NULL);
    if (cJSON_IsObject(node))
        return JSON_OBJECT;
    if (cJSON_IsArray(node))
        return JSON_ARRAY;
    if (cJSON_IsString(node))
        return JSON_STRING;
    if (cJSON_IsNumber(node))
        return JSON_NUMBER;
    return cJSON_IsBool(node) ? JSON_BOOL : JSON_NULL;
}

const char *
json_type_name(enum json_type type)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "object", [JSON_ARRAY] = "array",  [JSON_STRING] = "string",
        [JSON_NUMBER] = "number", [JSON_BOOL] = "boolean", [JSON_NULL] = "null",
    };

    ASSERT((size_t)type < ARRAY_COUNT(names));
    return names[type];
}

const struct json *
json_get(const struct json *v, const char *key)
{
    if (v == NULL || !cJSON_IsObject(node_of(v)))
        return NULL;
    return json_of(cJSON_GetObjectItemCaseSensitive(node_of(v), key));
}

const struct json *
json_first(const struct json *v)
{
    return v == NULL ? NULL : json_of(node_of(v)->child);
}

const struct json *
json_next(const struct json *v)
{
    return v == NULL ? NULL : json_of(node_of(v)->next);
}

size_t
json_count(const struct json *v)
{
    size_t count = 0;

    for (v = json_first(v); v != NULL; v = json_next(v))
        count++;
    return count;
}

const char *
json_key(const struct json *v)
{
    return v == NULL || node_of(v)->string == NULL ? "" : node_of(v)->string;
}

bool
json_string(const struct json *v, struct slice *out)
{
    if (v == NULL || !cJSON_IsString(node_of(v)))
        return false;
    *out = slice_str(node_of(v)->valuestring);
    return true;
}

bool
json_int(const struct json *v, int64_t *out)
{
    if (v == NULL || !cJSON_IsNumber(node_of(v)) || (node_of(v)->valueint & 1) == 0)
        return false;
    *out = (int64_t)node_of(v)->valuedouble; /* exact: the scanner saw |v| <= 2^53 */
    return true;
}

bool
json_bool(const struct json *v, bool *out)
{
    if (v == NULL || !cJSON_IsBool(node_of(v)))
        return false;
    *out = cJSON_IsTrue(node_of(v)) != 0;
    return true;
}

unsigned
json_line_of(const struct json_doc *doc, const struct json *v)
{
    return line_at(slice_of(doc->text, doc->len), (size_t)(node_of(v)->valueint >> 1));
}
