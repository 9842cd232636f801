#include "net/sse.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* What a stream told: the data of its events, each ended by '|', and at every byte whether a
 * boundary stood behind it. */

#define STREAM_MAX 4096

struct told {
    char data[STREAM_MAX];
    size_t len;
    bool done;
    bool boundary[STREAM_MAX];
};

static void
feed(struct sse *s, struct slice in, struct told *out)
{
    struct slice piece = SLICE_NONE;
    enum sse_what what;
    size_t used = 0;

    do {
        what = sse_next(s, in, &piece, &used);
        assert_true(used <= in.len);
        in = slice_sub(in, used, in.len);
        if (what == SSE_DATA) {
            assert_true(piece.len > 0 && out->len + piece.len < STREAM_MAX);
            memcpy(out->data + out->len, piece.p, piece.len);
            out->len += piece.len;
        } else if (what == SSE_EVENT) {
            out->data[out->len++] = '|';
        }
    } while (what != SSE_MORE);
    assert_int_equal(in.len, 0);
    out->done = s->done;
}

/* In slices of `first` and then `cut` bytes, each in a block of exactly its size. */
static void
feed_sliced(struct slice stream, size_t first, size_t cut, struct told *out)
{
    struct sse s;
    size_t n = first;

    memset(out, 0, sizeof(*out));
    sse_init(&s);
    for (size_t at = 0; at < stream.len; at += n, n = cut) {
        uint8_t *block;

        if (n == 0 || n > stream.len - at)
            n = stream.len - at;
        block = malloc(n);
        assert_non_null(block);
        memcpy(block, stream.p + at, n);
        feed(&s, slice_of(block, n), out);
        out->boundary[at + n - 1] = sse_at_boundary(&s);
        free(block);
    }
}

static const struct {
    const char *stream;
    const char *data;
    bool done;
} rows[] = {
    {"data: a\n\n", "a|", false},
    {"data: a\r\n\r\n", "a|", false},
    {"data: a\r\r", "a|", false},
    {"data:a\n\ndata:  b\n\n", "a| b|", false},
    {"data: a\r\ndata: b\n\rdata: c\n\n", "a\nb|c|", false},
    {"data\n\ndata\ndata\n\ndata:", "|\n|", false},
    {"data: a\ndata\ndata:\ndata: b\n\n", "a\n\n\nb|", false},
    {": comment\n\n:\n\n\n\nid: 1\nevent: x\nretry: 5\n\n", "", false},
    {"event: x\nid: 1\ndata: a\n: b\n\n", "a|", false},
    {"\xef\xbb\xbf"
     "data: a\n\n",
     "a|", false},
    {"\xef\xbb"
     "data: a\n\ndata: b\n\n",
     "b|", false},
    {"\xef\n\n\xef\xbb\xbf"
     "data: a\n\n",
     "", false},
    {"dat: a\ndatab: b\nDATA: c\n data: d\ndata : e\n\n", "", false},
    {"data: a", "a", false},
    {"data: a\n", "a", false},
    {"data: {\"a\":1}\n\ndata: [DONE]\n\n", "{\"a\":1}|[DONE]|", true},
    {"data: [DONE]\r\n\r\n", "[DONE]|", true},
    {"data:[DONE] \r\r", "[DONE] |", true},
    {"data: [DONE]\n", "[DONE]", false},
    {"data:  [DONE]\n\n", " [DONE]|", false},
    {"data: x[DONE]\n\n", "x[DONE]|", false},
    {"data: [DO\ndata: NE]\n\n", "[DO\nNE]|", false},
    {"data: [DONE\n\n", "[DONE|", false},
    {": [DONE]\n\nevent: [DONE]\n\n", "", false},
    {"\n\r\r\n\n", "", false},
    {"", "", false},
};

static void
test_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct told told;

        feed_sliced(slice_str(rows[i].stream), 0, 0, &told);
        assert_int_equal(told.len, strlen(rows[i].data));
        assert_memory_equal(told.data, rows[i].data, told.len);
        assert_int_equal(told.done, rows[i].done);
    }
}

/* Every cut in two, and every even slicing: the same data, events and boundaries. */
static void
test_any_slicing_tells_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice stream = slice_str(rows[i].stream);
        struct told bytewise;
        struct told told;

        feed_sliced(stream, 1, 1, &bytewise);
        for (size_t cut = 1; cut <= stream.len; cut++) {
            for (size_t even = 0; even < 2; even++) {
                feed_sliced(stream, cut, even == 1 ? cut : 0, &told);
                assert_int_equal(told.len, bytewise.len);
                assert_memory_equal(told.data, bytewise.data, told.len);
                assert_int_equal(told.done, bytewise.done);
                assert_int_equal(told.boundary[cut - 1], bytewise.boundary[cut - 1]);
            }
        }
    }
}

/* Where a boundary stands is a matter of the bytes before it: '^' marks them. */
static void
test_boundaries(void **state)
{
    static const struct {
        const char *stream;
        const char *marks; /* under each byte: '^' where a boundary stands behind it */
    } cases[] = {
        {"data: a\n\ndata", "        ^    "},
        {"data: a\r\n\r\nda", "          ^  "},
        {"data: a\r\rdata", "        ^    "},
        {": c\n\n\n\nid: 1\n\n", "    ^^^      ^"},
        {"\xef\xbb\xbf"
         "data: a\n\n",
         "  ^        ^"},
        {"\n\r\n\r\r\n", "^^^  ^"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct slice stream = slice_str(cases[i].stream);
        struct told told;
        struct sse s;

        sse_init(&s);
        assert_true(sse_at_boundary(&s));
        feed_sliced(stream, 1, 1, &told);
        assert_int_equal(stream.len, strlen(cases[i].marks));
        for (size_t at = 0; at < stream.len; at++)
            assert_int_equal(told.boundary[at], cases[i].marks[at] == '^');
    }
}

/* An event of any length passes through a state that does not grow. */
static void
test_a_long_event(void **state)
{
    enum { PIECES = 1024, PIECE = 1024 };
    static uint8_t block[PIECE];
    struct slice piece = SLICE_NONE;
    struct sse s;
    uint64_t total = 0;
    size_t used = 0;

    (void)state;
    memset(block, 'x', sizeof(block));
    sse_init(&s);
    assert_int_equal(sse_next(&s, SLICE_LIT("data: "), &piece, &used), SSE_MORE);
    for (size_t i = 0; i < PIECES; i++) {
        assert_int_equal(sse_next(&s, slice_of(block, PIECE), &piece, &used), SSE_DATA);
        assert_int_equal(used, PIECE);
        assert_ptr_equal(piece.p, block);
        total += piece.len;
        assert_false(sse_at_boundary(&s));
    }
    assert_int_equal(total, PIECES * PIECE);
    assert_int_equal(sse_next(&s, SLICE_LIT("\n\n"), &piece, &used), SSE_EVENT);
    assert_true(sse_at_boundary(&s));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_any_slicing_tells_the_same),
        cmocka_unit_test(test_boundaries),
        cmocka_unit_test(test_a_long_event),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
