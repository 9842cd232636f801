/* The strict scanner against cJSON and against itself: what the scanner takes, cJSON takes
 * too, to the last byte; a second scan gives the same tokens; decoded strings are well-formed,
 * fit their room and equal themselves; the tree and the commented reader agree. */
#include "base/check.h"
#include "base/jscan.h"
#include "base/json.h"
#include "base/text.h"

#include <cjson/cJSON.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Into a block of exactly room bytes, so that the sanitizer sees an overrun. */
static enum err
decode_into(const struct jscan_token *token, size_t room, size_t *out_len)
{
    uint8_t *out = malloc(room == 0 ? 1 : room);
    size_t len = room;
    enum err e;

    ASSERT(out != NULL);
    e = jscan_decode(token, out, &len);
    if (e == ERR_OK) {
        ASSERT(len <= room);
        ASSERT(text_is_utf8(slice_of(out, len)));
        ASSERT(slice_find(slice_of(out, len), 0) == len);
        *out_len = len;
    }
    free(out);
    return e;
}

static void
check_string(const struct jscan_token *token)
{
    size_t len = 0;
    size_t again = 0;

    ASSERT(token->escaped == (slice_find(token->raw, '\\') < token->raw.len));
    ASSERT(decode_into(token, token->raw.len, &len) == ERR_OK); /* escapes only shrink */
    ASSERT(decode_into(token, len, &again) == ERR_OK);
    ASSERT(again == len);
    if (len > 0)
        ASSERT(decode_into(token, len - 1, &again) == ERR_TOOBIG);
}

static bool
same_token(const struct jscan_token *a, const struct jscan_token *b)
{
    return a->type == b->type && a->raw.p == b->raw.p && a->raw.len == b->raw.len &&
           a->escaped == b->escaped && a->depth == b->depth && a->at == b->at;
}

/* Two scans in step over the same bytes, each with its own table. */
static enum err
scan_twice(struct slice text, struct jscan_keys *keys, struct jscan_keys *keys2)
{
    struct jscan_token token = {.type = JSCAN_NULL};
    struct jscan_token token2 = {.type = JSCAN_NULL};
    struct jscan s;
    struct jscan s2;
    enum err e;

    jscan_init(&s, text, keys);
    jscan_init(&s2, text, keys2);
    do {
        e = jscan_next(&s, &token);
        ASSERT(jscan_next(&s2, &token2) == e);
        ASSERT(s.at == s2.at);
        ASSERT(s.at <= text.len);
        if (e != ERR_OK)
            break;
        ASSERT(same_token(&token, &token2));
        ASSERT(token.depth <= JSCAN_DEPTH_MAX);
        if (token.type == JSCAN_KEY || token.type == JSCAN_STRING)
            check_string(&token);
    } while (token.type != JSCAN_END);
    if (e != ERR_OK)
        ASSERT(s.why != NULL);
    return e;
}

/* cJSON must take it all, and so must the readers that stand on both. */
static void
check_accepted(struct slice text)
{
    char *copy = slice_dup(text);
    struct json_doc *doc = NULL;
    cJSON *tree;

    ASSERT(copy != NULL);
    tree = cJSON_ParseWithLengthOpts(copy, text.len + 1, NULL, 1);
    ASSERT(tree != NULL);
    cJSON_Delete(tree);
    free(copy);
    ASSERT(json_parse(text, &doc, NULL) == ERR_OK);
    json_free(&doc);
}

static void
check_commented(struct slice text, bool strict_ok)
{
    struct issues *issues = issues_new();
    struct json_doc *doc = NULL;
    enum err e;

    ASSERT(issues != NULL);
    e = json_parse_commented(text, "fuzz", issues, &doc);
    ASSERT(issues_any(issues) == (e != ERR_OK));
    if (strict_ok) /* no comment, no trailing comma: nothing may have changed */
        ASSERT(e == ERR_OK);
    json_free(&doc);
    issues_free(&issues);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jscan_keys *keys; /* big: new ones for each input would be most of the work */
    static struct jscan_keys *keys2;
    struct slice text = slice_of(data, size);
    const char *why = NULL;
    size_t at = 0;
    enum err e;

    check_never_fatal();
    ASSERT(keys != NULL || jscan_keys_new(&keys) == ERR_OK);
    ASSERT(keys2 != NULL || jscan_keys_new(&keys2) == ERR_OK);
    e = scan_twice(text, keys, keys2);
    /* The tables are as the last scan left them, perhaps in the middle of an object. */
    ASSERT(jscan_check(text, keys, &why, &at) == e);
    if (e == ERR_OK)
        check_accepted(text);
    check_commented(text, e == ERR_OK);
    return 0;
}
