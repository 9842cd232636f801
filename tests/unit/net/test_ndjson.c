#include "net/ndjson.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define STREAM_MAX 256

struct told {
    char data[STREAM_MAX]; /* lines, each ended by '|' */
    size_t len;
    bool at_boundary;
};

static void
feed(struct ndjson *s, struct slice in, struct told *out)
{
    struct slice piece = SLICE_NONE;
    enum ndjson_what what;
    size_t used = 0;

    do {
        what = ndjson_next(s, in, &piece, &used);
        assert_true(used <= in.len);
        in = slice_sub(in, used, in.len);
        if (what == NDJSON_DATA) {
            assert_true(piece.len > 0 && out->len + piece.len < STREAM_MAX);
            memcpy(out->data + out->len, piece.p, piece.len);
            out->len += piece.len;
        } else if (what == NDJSON_LINE) {
            out->data[out->len++] = '|';
        }
    } while (what != NDJSON_MORE);
    out->at_boundary = ndjson_at_boundary(s);
}

static const struct {
    const char *stream;
    const char *data;
    bool at_boundary;
} rows[] = {
    {"{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}|{\"b\":2}|", true},
    {"{}\r\n{}\r\n", "{}\r|{}\r|", true},
    {"\n\n \t\r\n{}\n\n", "{}|", true},
    {"  {}\n", "{}|", true},
    {"{}", "{}", false},
    {" ", "", false},
    {"{} {}\n", "{} {}|", true},
    {"", "", true},
};

static void
test_every_cut_tells_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct slice stream = slice_str(rows[i].stream);

        for (size_t cut = 0; cut <= stream.len; cut++) {
            struct told told = {.len = 0};
            struct ndjson s;

            ndjson_init(&s);
            feed(&s, slice_sub(stream, 0, cut), &told);
            feed(&s, slice_sub(stream, cut, stream.len), &told);
            assert_int_equal(told.len, strlen(rows[i].data));
            assert_memory_equal(told.data, rows[i].data, told.len);
            assert_int_equal(told.at_boundary, rows[i].at_boundary);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut_tells_the_same),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
