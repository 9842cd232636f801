#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/err.h"
#include "base/issue.h"
#include "base/slice.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* JSON as a tree, for charter, config, tokens and adverts: cJSON behind the strict
 * scanner. Every text passes jscan first; getters are case-sensitive and typed.
 * Not for request bodies (jscan takes their fields without a tree). */

struct json_doc; /* owns the text and the tree */
struct json;     /* one value inside a doc; lives as long as the doc */

#define JSON_TEXT_MAX (16u << 20)

/* Parses strict JSON. Gives *out. On error *why (may be NULL to ignore) is a static
 * text. text is copied. */
MUST_USE enum err json_parse(struct slice text, struct json_doc **out, const char **why);
/* The same for files that people write: // and block comments and trailing commas
 * are allowed (JSON with comments); what is wrong goes into issues with file and line. */
MUST_USE enum err json_parse_commented(struct slice text, const char *file, struct issues *issues,
                                       struct json_doc **out);
/* Strict, but faults go into issues with file and line (charter payloads). */
MUST_USE enum err json_parse_file(struct slice text, const char *file, struct issues *issues,
                                  struct json_doc **out);
void json_free(struct json_doc **doc);
const struct json *json_root(const struct json_doc *doc);

enum json_type { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_BOOL, JSON_NULL };
enum json_type json_type_of(const struct json *v);
const char *json_type_name(enum json_type type);

/* Member of an object by exact key, or NULL (also when v is no object or NULL). */
const struct json *json_get(const struct json *v, const char *key);
/* First child of an object or array, and the next after v; NULL at the end. */
const struct json *json_first(const struct json *v);
const struct json *json_next(const struct json *v);
size_t json_count(const struct json *v);
/* The member name under which v stands in its object; "" elsewhere. */
const char *json_key(const struct json *v);

/* Typed reads: false when v is NULL or of another type. Strings hold no NUL.
 * Integers must be exact and within [-(2^53), 2^53]. */
bool json_string(const struct json *v, struct slice *out);
bool json_int(const struct json *v, int64_t *out);
bool json_bool(const struct json *v, bool *out);

/* ---- Reading a file that a person wrote, with named faults ---------------------
 * A reader walks one value and reports every fault with file, line and path.
 * The struct is plain and copied by value for children. */
struct json_reader {
    const struct json_doc *doc;
    const struct json *v; /* may be NULL: absent; every typed read then reports "missing" */
    const char *file;
    struct issues *issues;
    const struct json_reader *parent; /* outlives the child */
    const char *key;                  /* member name, or NULL for an array item */
    size_t index;                     /* array item */
};

struct json_reader json_reader_root(const struct json_doc *doc, const char *file,
                                    struct issues *issues);
/* A child for a member (possibly absent) or array item. r is borrowed by the child. */
struct json_reader json_reader_get(const struct json_reader *r, const char *key);
struct json_reader json_reader_item(const struct json_reader *r, const struct json *item,
                                    size_t index);
/* Child for the object member value v (whose name is json_key(v)). */
struct json_reader json_reader_member(const struct json_reader *r, const struct json *v);

/* Reports a fault at r with its line and path. */
void json_reader_fault(const struct json_reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void json_reader_vfault(const struct json_reader *r, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* Reports each member of the object r whose key is not in the NULL-terminated list,
 * with the nearest known name where one is near. False if r is no object (reported). */
bool json_reader_keys(const struct json_reader *r, const char *const *known);
/* Typed reads that report a fault and return false. "opt_" variants leave *out alone
 * and return true when the member is absent. */
bool json_reader_string(const struct json_reader *r, struct slice *out);
bool json_reader_opt_string(const struct json_reader *r, struct slice *out);
bool json_reader_int(const struct json_reader *r, int64_t min, int64_t max, int64_t *out);
bool json_reader_opt_int(const struct json_reader *r, int64_t min, int64_t max, int64_t *out);
bool json_reader_opt_bool(const struct json_reader *r, bool *out);
bool json_reader_time(const struct json_reader *r, int64_t *out_unix_ms);

/* The name in the NULL-terminated list nearest to name (edit distance <= 2 and
 * less than half its length), or NULL: "did you mean". */
const char *json_nearest(const char *name, const char *const *known);

#endif
