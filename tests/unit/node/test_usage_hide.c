#include "node/usage_hide.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define D "data: "
#define E "\n\n"
#define COUNTS "{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}"
#define CHOICE "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]"
#define DONE D "[DONE]" E

static struct buf_pool *pool;
static struct jscan_keys *keys;

static int
set_up(void **state)
{
    (void)state;
    return buf_pool_new(&pool, 1 << 20) == ERR_OK && jscan_keys_new(&keys) == ERR_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    jscan_keys_free(&keys);
    buf_pool_free(&pool);
    return 0;
}

struct sink {
    uint8_t *bytes;
    size_t len;
    size_t size;
};

/* One piece, in a block of exactly its size. */
static void
feed(struct usage_hide *h, struct slice piece, struct sink *out)
{
    uint8_t *block = malloc(piece.len + 1);
    struct slice rest = slice_of(block, piece.len);
    struct slice shown;

    assert_non_null(block);
    if (piece.len > 0)
        memcpy(block, piece.p, piece.len);
    while (usage_hide_next(h, &rest, &shown)) {
        assert_true(shown.len > 0 && out->len + shown.len <= out->size);
        memcpy(out->bytes + out->len, shown.p, shown.len);
        out->len += shown.len;
    }
    assert_int_equal(rest.len, 0);
    free(block);
}

/* The stream cut at two places, and what is left of it at its end. */
static void
play(struct slice in, size_t first, size_t second, struct sink *out)
{
    struct usage_hide *h;
    struct slice rest;

    out->len = 0;
    h = usage_hide_new(pool, keys);
    assert_non_null(h);
    feed(h, slice_sub(in, 0, first), out);
    feed(h, slice_sub(in, first, second - first), out);
    feed(h, slice_sub(in, second, in.len), out);
    rest = usage_hide_rest(h);
    assert_true(out->len + rest.len <= out->size);
    if (rest.len > 0)
        memcpy(out->bytes + out->len, rest.p, rest.len);
    out->len += rest.len;
    usage_hide_free(&h);
    assert_int_equal(buf_pool_held(pool), 0);
}

static void
check_every_split(const char *in, const char *expected)
{
    struct slice s = slice_str(in);
    struct sink out = {.bytes = malloc(s.len + 1), .size = s.len};

    assert_non_null(out.bytes);
    for (size_t first = 0; first <= s.len; first++)
        for (size_t second = first; second <= s.len; second++) {
            play(s, first, second, &out);
            if (!slice_is(slice_of(out.bytes, out.len), expected))
                fail_msg("cut at %zu and %zu of <%s>: <%.*s>", first, second, in, (int)out.len,
                         (const char *)out.bytes);
        }
    free(out.bytes);
}

/* expected NULL: the same. */
static const struct {
    const char *in;
    const char *expected;
} rows[] = {
    /* vLLM */
    {D "{\"id\":\"c\"," CHOICE "}" E D "{\"id\":\"c\",\"choices\":[],\"usage\":" COUNTS "}" E DONE,
     D "{\"id\":\"c\"," CHOICE "}" E DONE},
    /* OpenAI, and older vLLM: null everywhere else */
    {D "{\"id\":\"c\"," CHOICE ",\"usage\":null}" E D "{\"choices\":[],\"usage\":" COUNTS
       "}" E DONE,
     D "{\"id\":\"c\"," CHOICE "}" E DONE},
    {D "{\"id\":\"c\",\"usage\":null," CHOICE "}" E, D "{\"id\":\"c\"," CHOICE "}" E},
    {D "{\"usage\":null," CHOICE "}" E, D "{" CHOICE "}" E},
    {D "{\"choices\": [], \"usage\": null, \"a\": 1}" E, D "{\"choices\": [], \"a\": 1}" E},
    {D "{ \"usage\" : null }" E, D "{  }" E},
    /* vLLM's continuous_usage_stats, Ollama's completions */
    {D "{" CHOICE ",\"usage\":" COUNTS ",\"x\":[{}]}" E, D "{" CHOICE ",\"x\":[{}]}" E},
    /* llama.cpp: in the order of letters, and timings that come with the usage */
    {D "{\"choices\":[],\"id\":\"c\",\"usage\":" COUNTS ",\"timings\":{\"prompt_n\":3}}" E DONE,
     DONE},
    {D "{\"usage\":" COUNTS ",\"choices\":[ ]}" E, ""},
    /* No event of usage alone: what it says beside is the caller's. */
    {D "{\"error\":{\"message\":\"m\"},\"usage\":" COUNTS "}" E,
     D "{\"error\":{\"message\":\"m\"}}" E},
    {D "{\"choices\":null,\"usage\":" COUNTS "}" E, D "{\"choices\":null}" E},
    {D "{\"choices\":{},\"usage\":" COUNTS "}" E, D "{\"choices\":{}}" E},
    {D "{\"choices\":[],\"prompt_filter_results\":[]}" E, NULL},
    /* None of the outermost object's. */
    {D "{\"choices\":[{\"text\":\"\\\"usage\\\":null\",\"usage\":null}],\"x\":{\"usage\":{}}}" E,
     NULL},
    {D "{\"choices\":[],\"\\u0075sage\":{},\"x\":\"usage\"}" E, NULL},
    /* No JSON: as it is. */
    {D "{\"choices\":[],\"usage\":{}" E D "[\"usage\"]" E D "\"usage\"" E D "{\"usage\":1}}" E,
     NULL},
    {D "{\"usage\":{},\"usage\":{}}" E, NULL},
    {D E "data" E ": \"usage\":{}" E "id: 1" E, NULL},
    /* Line ends, comments, other fields, several lines of data. */
    {": x\r\n\r\n" D "{\"choices\":[],\"usage\":{}}\r\n\r\n: y\r\n\r\n" D "[DONE]\r\n\r\n",
     ": x\r\n\r\n: y\r\n\r\n" D "[DONE]\r\n\r\n"},
    {D "{\"a\":1}\r\r" D "{\"choices\":[],\"usage\":{}}\r\r" D "{\"b\":1,\"usage\":null}\r\r",
     D "{\"a\":1}\r\r" D "{\"b\":1}\r\r"},
    {": x\n: y" E ": z\nid: 7\nevent: e\n" D "{\"choices\":[],\"usage\":{}}\nretry: 1" E "\n" DONE,
     ": x\n: y" E "\n" DONE},
    {D "{\"a\":1\n" D ",\"usage\"\ndata::\nid: 1\n" D "null\ndata\n" D ",\"b\":2}" E,
     D "{\"a\":1\n" D "\ndata:\nid: 1\n" D "\ndata\n" D ",\"b\":2}" E},
    {D "{\"choices\":[],\n" D "\"usage\":{}}" E DONE, DONE},
    {D "{\"a\":\"x\n" D "\",\"usage\":null}" E, NULL},
    {"\xef\xbb\xbf" D "{\"a\":1,\"usage\":null}" E, "\xef\xbb\xbf" D "{\"a\":1}" E},
    {"\xef\xbb\xbf" D "{\"choices\":[],\"usage\":{}}" E DONE, "\xef\xbb\xbf" DONE},
    {": x" E "\xef\xbb\xbf: y\n" D "{\"choices\":[],\"usage\":{}}" E DONE, ": x" E DONE},
    {"data:{\"a\":1,\"usage\":null}" E, "data:{\"a\":1}" E},
    /* What never became an event passes at the end. */
    {D "{\"choices\":[],\"usage\":{}}\n", NULL},
    {D "{\"a\":1,\"usage\":null}" E D "{\"choices\":[],\"us",
     D "{\"a\":1}" E D "{\"choices\":[],\"us"},
};

static void
test_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        check_every_split(rows[i].in, rows[i].expected == NULL ? rows[i].in : rows[i].expected);
}

/* An event whose content has that many bytes, and what is to come of it. */
static void
check_size(size_t content, size_t cut, bool is_edited)
{
    static const char head[] = D "{\"c\":\"";
    static const char tail[] = "\",\"usage\":null}" E;
    size_t size = sizeof(head) + sizeof(tail) - 2 + content;
    char *text = malloc(size);
    struct sink out = {.bytes = malloc(2 * size), .size = 2 * size};
    struct usage_hide *h;

    assert_true(text != NULL && out.bytes != NULL);
    memset(text, 'x', size);
    memcpy(text, head, sizeof(head) - 1);
    memcpy(text + size - sizeof(tail) + 1, tail, sizeof(tail) - 1);
    h = usage_hide_new(pool, keys);
    assert_non_null(h);
    for (size_t at = 0; at < size; at += cut)
        feed(h, slice_sub(slice_of(text, size), at, cut), &out);
    assert_int_equal(out.len, is_edited ? size - strlen(",\"usage\":null") : size);
    /* The next one is looked at again. */
    feed(h, SLICE_LIT(D "{\"choices\":[],\"usage\":{}}" E), &out);
    assert_int_equal(out.len, is_edited ? size - strlen(",\"usage\":null") : size);
    assert_int_equal(usage_hide_rest(h).len, 0);
    usage_hide_free(&h);
    assert_int_equal(buf_pool_held(pool), 0);
    free(out.bytes);
    free(text);
}

static void
test_an_event_of_the_maximum_and_one_beyond(void **state)
{
    static const size_t cuts[] = {4096, 65521, USAGE_EVENT_MAX, 4 * USAGE_EVENT_MAX};
    size_t frame = strlen(D "{\"c\":\"\",\"usage\":null}" E);

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        check_size(USAGE_EVENT_MAX - frame, cuts[i], true);
        check_size(USAGE_EVENT_MAX - frame + 1, cuts[i], false);
        check_size(3 * USAGE_EVENT_MAX, cuts[i], false);
    }
}

/* An open stream holds nothing between its events, and comments don't wait. */
static void
test_nothing_is_held_between_events(void **state)
{
    struct sink out = {.bytes = malloc(256), .size = 256};
    struct usage_hide *h;

    (void)state;
    assert_non_null(out.bytes);
    h = usage_hide_new(pool, keys);
    assert_non_null(h);
    feed(h, SLICE_LIT(": ping" E), &out);
    assert_int_equal(out.len, 8);
    feed(h, SLICE_LIT(D "{\"a\":1,"), &out);
    assert_int_equal(out.len, 8);
    assert_true(buf_pool_held(pool) > 0);
    feed(h, SLICE_LIT("\"usage\":null}" E), &out);
    assert_int_equal(buf_pool_held(pool), 0);
    assert_true(slice_is(slice_of(out.bytes, out.len), ": ping" E D "{\"a\":1}" E));
    usage_hide_free(&h);
    free(out.bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_split),
        cmocka_unit_test(test_an_event_of_the_maximum_and_one_beyond),
        cmocka_unit_test(test_nothing_is_held_between_events),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
