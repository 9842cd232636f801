#ifndef UNIT_CRYPTO_WYCHEPROOF_H
#define UNIT_CRYPTO_WYCHEPROOF_H

/* Reads one file of Wycheproof vectors and hands out its cases one by one. */

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/slice.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define WYCHEPROOF_FILE_MAX (4u << 20)

/* must_pass is what the vector says of this case. */
typedef void (*wycheproof_fn)(const struct json *group, const struct json *test, bool must_pass);

static inline int64_t
wycheproof_int(const struct json *v, const char *name)
{
    int64_t n = -1;

    assert_true(json_int(json_get(v, name), &n));
    return n;
}

/* A member in hex. Gives; free() the p of it, which is never NULL. */
static inline struct slice
wycheproof_hex(const struct json *v, const char *name)
{
    struct slice text;
    uint8_t *bytes;
    size_t len;

    assert_true(json_string(json_get(v, name), &text));
    len = text.len / 2;
    bytes = malloc(len + 1);
    assert_non_null(bytes);
    assert_true(text_unhex(text, bytes, &len));
    return slice_of(bytes, len);
}

static inline void
wycheproof_free(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

/* Runs each over every case of the file; all of them are there, or the test fails. */
static inline void
wycheproof_run(const char *name, wycheproof_fn each)
{
    struct json_doc *doc = NULL;
    const struct json *groups, *g, *t;
    struct slice result;
    char path[1024], *text = NULL;
    size_t len;
    int64_t count = 0;

    assert_true(file_join(path, sizeof(path), PORTOLAN_VECTORS "/wycheproof", name));
    if (file_read(path, WYCHEPROOF_FILE_MAX, &text, &len) != ERR_OK) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    assert_int_equal(json_parse(slice_of(text, len), &doc, NULL), ERR_OK);
    groups = json_get(json_root(doc), "testGroups");
    for (g = json_first(groups); g != NULL; g = json_next(g)) {
        for (t = json_first(json_get(g, "tests")); t != NULL; t = json_next(t)) {
            assert_true(json_string(json_get(t, "result"), &result));
            count++;
            if (!slice_is(result, "acceptable"))
                each(g, t, slice_is(result, "valid"));
        }
    }
    assert_int_equal(count, wycheproof_int(json_root(doc), "numberOfTests"));
    assert_true(count > 0);
    json_free(&doc);
    free(text);
}

/* Says which case it was before it fails. */
static inline void
wycheproof_expect(const struct json *test, bool passed, bool must_pass)
{
    if (passed != must_pass)
        fail_msg("case %lld: passed %d, must pass %d", (long long)wycheproof_int(test, "tcId"),
                 passed, must_pass);
}

#endif
