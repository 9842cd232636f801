#include "node/outgoing.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define OUT_MAX 512

static struct jscan_keys *keys;

static int
set_up(void **state)
{
    (void)state;
    return jscan_keys_new(&keys) == ERR_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    jscan_keys_free(&keys);
    return 0;
}

static struct body_facts
facts_of(const char *body)
{
    struct body_facts f;

    assert_int_equal(body_scan(slice_str(body), keys, endpoint_at(0), NULL, &f), ERR_OK);
    return f;
}

/* The pieces in a row, NUL-terminated. */
static void
join(const struct outgoing *o, char out[OUT_MAX])
{
    struct text t;

    text_init(&t, out, OUT_MAX - 1);
    for (size_t i = 0; i < o->count; i++) {
        assert_true(o->pieces[i].len > 0);
        text_add(&t, o->pieces[i]);
    }
    assert_true(text_ok(&t));
    assert_int_equal(t.used, o->len);
    out[t.used] = '\0';
}

/* What is asked for in each form of stream_options; NULL: the body stays as it is. */
static const struct {
    const char *body;
    const char *asking;
} rows[] = {
    {"{\"model\":\"m\",\"stream\":true}",
     "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
    {" { \"model\" : \"m\" } \n",
     " { \"model\" : \"m\" ,\"stream_options\":{\"include_usage\":true}} \n"},
    {"{\"stream_options\":{},\"model\":\"m\"}",
     "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\"}"},
    {"{\"model\":\"m\",\"stream_options\":{ }}",
     "{\"model\":\"m\",\"stream_options\":{ \"include_usage\":true}}"},
    {"{\"stream_options\":{\"continuous_usage_stats\":true},\"model\":\"m\"}",
     "{\"stream_options\":{\"continuous_usage_stats\":true,\"include_usage\":true},"
     "\"model\":\"m\"}"},
    {"{\"model\":\"m\",\"stream_options\":{\"a\":{\"include_usage\":true},\"b\":[1,{}]}}",
     "{\"model\":\"m\",\"stream_options\":{\"a\":{\"include_usage\":true},\"b\":[1,{}],"
     "\"include_usage\":true}}"},
    {"{\"model\":\"m\",\"stream_options\":{\"include_usage\":false,\"x\":1}}",
     "{\"model\":\"m\",\"stream_options\":{\"include_usage\":true,\"x\":1}}"},
    {"{\"stream_options\":{\"x\":1,\"include_usage\": null },\"model\":\"m\"}",
     "{\"stream_options\":{\"x\":1,\"include_usage\": true },\"model\":\"m\"}"},
    {"{\"stream_options\":null,\"model\":\"m\"}",
     "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\"}"},
    /* Another member's, or the content's, is none. */
    {"{\"model\":\"m\",\"metadata\":{\"stream_options\":{\"include_usage\":true}}}",
     "{\"model\":\"m\",\"metadata\":{\"stream_options\":{\"include_usage\":true}},"
     "\"stream_options\":{\"include_usage\":true}}"},
    {"{\"model\":\"m\",\"prompt\":\"\\\"stream_options\\\":{\\\"include_usage\\\":true}\"}",
     "{\"model\":\"m\",\"prompt\":\"\\\"stream_options\\\":{\\\"include_usage\\\":true}\","
     "\"stream_options\":{\"include_usage\":true}}"},
    /* Asked for by the caller. */
    {"{\"model\":\"m\",\"stream_options\":{\"include_usage\":true}}", NULL},
    {"{\"stream_options\":{\"x\":{},\"include_usage\":true,\"y\":[]},\"model\":\"m\"}", NULL},
    /* Malformed: what the server makes of it is its own matter. */
    {"{\"model\":\"m\",\"stream_options\":true}", NULL},
    {"{\"model\":\"m\",\"stream_options\":\"include_usage\"}", NULL},
    {"{\"model\":\"m\",\"stream_options\":[]}", NULL},
    {"{\"model\":\"m\",\"stream_options\":[{\"include_usage\":false}]}", NULL},
    {"{\"model\":\"m\",\"stream_options\":{\"include_usage\":0}}", NULL},
    {"{\"model\":\"m\",\"stream_options\":{\"include_usage\":\"false\",\"x\":1}}", NULL},
    {"{\"model\":\"m\",\"stream_options\":{\"include_usage\":{},\"x\":null}}", NULL},
};

static void
test_asking(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct body_facts f = facts_of(rows[i].body);
        struct outgoing_change change = {.asks_usage = f.ask.text != NULL};
        struct outgoing o;
        char out[OUT_MAX];

        assert_int_equal(f.ask.text == NULL, rows[i].asking == NULL);
        outgoing_make(slice_str(rows[i].body), &f, &change, &o);
        join(&o, out);
        assert_int_equal(o.rewritten, rows[i].asking != NULL);
        assert_string_equal(out, rows[i].asking == NULL ? rows[i].body : rows[i].asking);
        /* What went out asks, and would be left alone. */
        if (rows[i].asking != NULL)
            assert_null(facts_of(out).ask.text);
    }
}

/* Both edits, in either order, each alone and neither. */
static void
test_with_the_model(void **state)
{
    static const struct {
        const char *body;
        bool renames, asks;
        const char *out;
    } both[] = {
        {"{\"model\":\"m\",\"stream_options\":null}", true, true,
         "{\"model\":\"served\",\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream_options\":null,\"model\":\"m\"}", true, true,
         "{\"stream_options\":{\"include_usage\":true},\"model\":\"served\"}"},
        {"{\"model\":\"m\"}", true, true,
         "{\"model\":\"served\",\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream_options\":null,\"model\":\"m\"}", true, false,
         "{\"stream_options\":null,\"model\":\"served\"}"},
        {"{\"stream_options\":null,\"model\":\"m\"}", false, true,
         "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\"}"},
        {"{\"stream_options\":null,\"model\":\"m\"}", false, false,
         "{\"stream_options\":null,\"model\":\"m\"}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(both); i++) {
        struct body_facts f = facts_of(both[i].body);
        struct outgoing_change change = {.served =
                                             both[i].renames ? SLICE_LIT("served") : SLICE_NONE,
                                         .quote = SLICE_LIT("\""),
                                         .asks_usage = both[i].asks};
        struct outgoing o;
        char out[OUT_MAX];

        outgoing_make(slice_str(both[i].body), &f, &change, &o);
        join(&o, out);
        assert_string_equal(out, both[i].out);
        assert_int_equal(o.rewritten, both[i].renames || both[i].asks);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asking),
        cmocka_unit_test(test_with_the_model),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
