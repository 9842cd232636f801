#include "base/json.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

struct fixture {
    struct issues *issues;
    struct json_doc *doc;
};

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->issues = issues_new();
    assert_non_null(f->issues);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    json_free(&f->doc);
    assert_null(f->doc);
    issues_free(&f->issues);
    free(f);
    return 0;
}

static struct json_reader
read_text(struct fixture *f, const char *text)
{
    assert_int_equal(json_parse_commented(slice_str(text), "node.json", f->issues, &f->doc),
                     ERR_OK);
    assert_false(issues_any(f->issues));
    return json_reader_root(f->doc, "node.json", f->issues);
}

static void
expect_issue(const struct fixture *f, size_t index, unsigned line, const char *path,
             const char *text)
{
    assert_true(f->issues->count > index);
    assert_string_equal(f->issues->items[index].file, "node.json");
    assert_string_equal(f->issues->items[index].path, path);
    assert_string_equal(f->issues->items[index].text, text);
    assert_int_equal(f->issues->items[index].line, line);
}

/* ---- The tree ---- */

static void
test_walks_in_order(void **state)
{
    struct fixture *f = *state;
    const struct json *v;
    struct slice s;
    int64_t n;
    bool b;

    assert_int_equal(json_parse(SLICE_LIT("{\"b\":[1,\"two\",true,null],\"a\":{}}"), &f->doc, NULL),
                     ERR_OK);
    v = json_root(f->doc);
    assert_int_equal(json_type_of(v), JSON_OBJECT);
    assert_int_equal(json_count(v), 2);
    v = json_first(v);
    assert_string_equal(json_key(v), "b");
    assert_string_equal(json_key(json_next(v)), "a");
    assert_int_equal(json_type_of(json_next(v)), JSON_OBJECT);
    assert_null(json_next(json_next(v)));
    assert_int_equal(json_count(v), 4);
    v = json_first(v);
    assert_string_equal(json_key(v), "");
    assert_true(json_int(v, &n));
    assert_int_equal(n, 1);
    v = json_next(v);
    assert_true(json_string(v, &s));
    assert_true(slice_is(s, "two"));
    v = json_next(v);
    assert_true(json_bool(v, &b));
    assert_true(b);
    v = json_next(v);
    assert_int_equal(json_type_of(v), JSON_NULL);
    assert_null(json_next(v));
}

static void
test_get_is_case_sensitive(void **state)
{
    struct fixture *f = *state;
    const struct json *root;

    assert_int_equal(json_parse(SLICE_LIT("{\"Model\":1,\"model\":2}"), &f->doc, NULL), ERR_OK);
    root = json_root(f->doc);
    assert_string_equal(json_key(json_get(root, "model")), "model");
    assert_string_equal(json_key(json_get(root, "Model")), "Model");
    assert_null(json_get(root, "MODEL"));
    assert_null(json_get(root, ""));
    assert_null(json_get(json_get(root, "model"), "x"));
    assert_null(json_get(NULL, "x"));
}

static void
test_typed_reads_refuse_other_types_and_absence(void **state)
{
    struct fixture *f = *state;
    struct slice s;
    int64_t n = 7;
    bool b;

    assert_int_equal(json_parse(SLICE_LIT("[\"1\",1,true]"), &f->doc, NULL), ERR_OK);
    for (const struct json *v = json_first(json_root(f->doc)); v != NULL; v = json_next(v)) {
        assert_int_equal(json_string(v, &s), json_type_of(v) == JSON_STRING);
        assert_int_equal(json_int(v, &n), json_type_of(v) == JSON_NUMBER);
        assert_int_equal(json_bool(v, &b), json_type_of(v) == JSON_BOOL);
    }
    assert_false(json_string(NULL, &s));
    assert_false(json_int(NULL, &n));
    assert_false(json_bool(NULL, &b));
    assert_null(json_first(NULL));
    assert_null(json_next(NULL));
    assert_int_equal(json_count(NULL), 0);
}

static void
test_integers_are_exact_or_refused(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        int64_t want;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"-5", true, -5},
        {"2147483648", true, INT64_C(2147483648)},
        {"9007199254740992", true, INT64_C(9007199254740992)},
        {"-9007199254740992", true, -INT64_C(9007199254740992)},
        {"9007199254740993", false, 0}, /* its double is 2^53 */
        {"1.0", false, 0},
        {"1.5", false, 0},
        {"1e3", false, 0},
        {"1e999", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct json_doc *doc = NULL;
        int64_t n = 77;

        assert_int_equal(json_parse(slice_str(rows[i].text), &doc, NULL), ERR_OK);
        assert_int_equal(json_int(json_root(doc), &n), rows[i].ok);
        assert_true(n == (rows[i].ok ? rows[i].want : 77));
        json_free(&doc);
    }
}

/* What cJSON alone takes, or reads otherwise than others do. */
static void
test_refuses_what_cjson_would_take(void **state)
{
    static const struct slice rows[] = {
        {(const uint8_t *)"{\"a\":1,\"a\":2}", 13},
        {(const uint8_t *)"\"a\\u0000b\"", 10},
        {(const uint8_t *)"\xef\xbb\xbf{}", 5},
        {(const uint8_t *)"{} trailing", 11},
        {(const uint8_t *)"[01]", 4},
        {(const uint8_t *)"[1.]", 4},
        {(const uint8_t *)"[-]", 3},
        {(const uint8_t *)"\"\n\"", 3},
        {(const uint8_t *)"\"\xff\"", 3},
        {(const uint8_t *)"\x01[]", 3},
        {(const uint8_t *)"[]\0", 3},
        {(const uint8_t *)"", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct json_doc *doc = NULL;
        const char *why = NULL;

        assert_int_equal(json_parse(rows[i], &doc, &why), ERR_BADMSG);
        assert_null(doc);
        assert_non_null(why);
        assert_int_equal(json_parse(rows[i], &doc, NULL), ERR_BADMSG);
    }
}

static void
test_text_limit_is_exact(void **state)
{
    char *text = malloc(JSON_TEXT_MAX + 1);
    struct json_doc *doc = NULL;
    const char *why = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', JSON_TEXT_MAX + 1);
    text[JSON_TEXT_MAX - 1] = '7'; /* the last place whose offset must fit its tag */
    assert_int_equal(json_parse(slice_of(text, JSON_TEXT_MAX), &doc, NULL), ERR_OK);
    json_free(&doc);
    assert_int_equal(json_parse(slice_of(text, JSON_TEXT_MAX + 1), &doc, &why), ERR_TOOBIG);
    assert_string_equal(why, err_text(ERR_TOOBIG));
    free(text);
}

static void
test_text_is_copied(void **state)
{
    struct fixture *f = *state;
    char text[] = "[\"abc\"]";
    struct slice s;

    assert_int_equal(json_parse(slice_str(text), &f->doc, NULL), ERR_OK);
    memset(text, 'x', sizeof(text));
    assert_true(json_string(json_first(json_root(f->doc)), &s));
    assert_true(slice_is(s, "abc"));
}

static void
test_deepest_tree(void **state)
{
    struct fixture *f = *state;
    char text[2 * 64 + 1];

    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_int_equal(json_parse(slice_of(text, 128), &f->doc, NULL), ERR_OK);
}

/* ---- Files ---- */

static void
test_file_faults_name_the_line(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *want;
    } rows[] = {
        {"{\n  \"a\": 1,\n  \"a\": 2\n}", 3, "duplicate key \"a\""},
        {"{\n\n  \"a\": tru\n}", 3, "a value must begin here"},
        {"[1,\n2", 2, "the text ends inside an array"},
        {"// no comments here\n1", 1, "a value must begin here"},
        {"[1,\n]", 2, "a value must begin here"},
        {"", 1, "the text ends where a value must begin"},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture *f = *state;

        assert_int_equal(json_parse_file(slice_str(rows[i].text), "node.json", f->issues, &f->doc),
                         ERR_BADMSG);
        assert_null(f->doc);
        assert_int_equal(f->issues->count, i + 1);
        expect_issue(f, i, rows[i].line, "", rows[i].want);
    }
}

static void
test_comments_are_spaces(void **state)
{
    static const struct {
        const char *commented;
        const char *want; /* the one string in it */
    } rows[] = {
        {"// c\n\"a\"", "a"},          {"/* c */\"a\"// end", "a"}, {"/**/\"a\"/***/", "a"},
        {"/* \" */ \"a\" // \"", "a"}, {"// a\r\"a\"", "a"},        {"/* // */\"a\"", "a"},
        {"// /*\n\"a\"", "a"},         {"\"// no\"", "// no"},      {"\"/* no */\"", "/* no */"},
        {"\"\\\"// no\"", "\"// no"},  {"\"\\\\\"// yes", "\\"},    {"/* \xff */\"a\"", "a"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture f = {issues_new(), NULL};
        struct slice s;

        assert_non_null(f.issues);
        (void)read_text(&f, rows[i].commented);
        assert_true(json_string(json_root(f.doc), &s));
        assert_true(slice_is(s, rows[i].want));
        json_free(&f.doc);
        issues_free(&f.issues);
    }
}

static void
test_trailing_commas(void **state)
{
    static const char *const rows[] = {
        "[1,2,]",         "[1,2 , ]",           "[1,2, // c\n]",      "[1,2,/* ] */\n]",
        "[\"]\",\",\",]", "[{\"a\":1,},[1,],]", "{\"a\":1,\"b\":2,}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture f = {issues_new(), NULL};

        assert_non_null(f.issues);
        (void)read_text(&f, rows[i]);
        assert_int_equal(json_count(json_root(f.doc)), 2);
        json_free(&f.doc);
        issues_free(&f.issues);
    }
}

static void
test_commented_is_strict_elsewhere(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *want;
    } rows[] = {
        {"[\n,]", 2, "a value must begin here"},
        {"{,}", 1, "a key in quotes must stand here"},
        {"[1,,]", 1, "a value must begin here"},
        {"{\"a\":,}", 1, "a value must begin here"},
        {"[1,/**/,]", 1, "a value must begin here"},
        {"1,", 1, "only one value may stand here"},
        {"1 /*\n*/ 2", 2, "only one value may stand here"},
        {"1/**/2", 1, "only one value may stand here"},
        {"/* a\nb */\n[1,\n// c\nx]", 5, "a value must begin here"},
        {"[\n\n/* open\n]", 3, "the comment is never closed"},
        {"/*/", 1, "the comment is never closed"},
        {"/", 1, "a value must begin here"},
        {"1 /", 1, "only one value may stand here"},
        {"[1] # c", 1, "only one value may stand here"},
        {"\"abc", 1, "the text ends inside a string"},
        {"\"abc\\", 1, "the text ends inside an escape"},
        {"{\"a\":1,\n//\"a\":2,\n\"a\":3}", 3, "duplicate key \"a\""},
    };

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture *f = *state;

        assert_int_equal(
            json_parse_commented(slice_str(rows[i].text), "node.json", f->issues, &f->doc),
            ERR_BADMSG);
        assert_null(f->doc);
        assert_int_equal(f->issues->count, i + 1);
        expect_issue(f, i, rows[i].line, "", rows[i].want);
    }
}

/* ---- The reader ---- */

static void
test_paths_and_lines(void **state)
{
    struct fixture *f = *state;
    struct json_reader root = read_text(f, "{\n"
                                           "  // tenants\n"
                                           "  \"tenants\": {\n"
                                           "    \"acme/de\": {\n"
                                           "      \"origins\": [\n"
                                           "        \"DE\",\n"
                                           "        7\n"
                                           "      ]\n"
                                           "    }\n"
                                           "  }\n"
                                           "}\n");
    struct json_reader tenants = json_reader_get(&root, "tenants");
    struct json_reader tenant = json_reader_member(&tenants, json_first(tenants.v));
    struct json_reader origins = json_reader_get(&tenant, "origins");
    struct json_reader item = json_reader_item(&origins, json_next(json_first(origins.v)), 1);
    struct json_reader absent = json_reader_get(&tenant, "home_country");
    struct slice s;

    assert_false(json_reader_string(&item, &s));
    assert_false(json_reader_string(&absent, &s));
    json_reader_fault(&tenant, "stands %s", "here");
    json_reader_fault(&root, "at the top");
    expect_issue(f, 0, 7, "tenants.\"acme/de\".origins[1]", "must be a string, is a number");
    expect_issue(f, 1, 4, "tenants.\"acme/de\".home_country", "missing");
    expect_issue(f, 2, 4, "tenants.\"acme/de\"", "stands here");
    expect_issue(f, 3, 1, "", "at the top");
}

static void
test_a_member_stands_where_its_key_does(void **state)
{
    struct fixture *f = *state;
    struct json_reader root = read_text(f, "[\n{\"a\":\n\n[1]}]");
    struct json_reader item = json_reader_item(&root, json_first(root.v), 0);
    struct json_reader a = json_reader_get(&item, "a");
    struct json_reader one = json_reader_item(&a, json_first(a.v), 0);

    json_reader_fault(&a, "x");
    json_reader_fault(&one, "x");
    expect_issue(f, 0, 2, "[0].a", "x");
    expect_issue(f, 1, 4, "[0].a[0]", "x");
}

static void
test_absent_of_absent(void **state)
{
    struct fixture *f = *state;
    struct json_reader root = read_text(f, "\n{}");
    struct json_reader a = json_reader_get(&root, "a");
    struct json_reader b = json_reader_get(&a, "b");
    int64_t n;

    assert_false(json_reader_int(&b, 0, 1, &n));
    expect_issue(f, 0, 2, "a.b", "missing");
}

static void
test_foreign_names_are_escaped_and_cut(void **state)
{
    static const char *const known[] = {"a", NULL};
    struct fixture *f = *state;
    const char *tail = "\xc3\xa9yyy\":1,\"x\\n\\u0007=\":2}";
    char text[200] = "{\"";
    struct json_reader root;

    memset(text + 2, 'x', 95); /* the cut would fall inside the next character */
    memcpy(text + 97, tail, strlen(tail) + 1);
    root = read_text(f, text);
    assert_true(json_reader_keys(&root, known));
    assert_int_equal(f->issues->count, 2);
    assert_null(strstr(f->issues->items[0].text, "\xc3"));
    assert_non_null(strstr(f->issues->items[0].text, "xxx\"..."));
    expect_issue(f, 1, 1, "\"x\\n\\u0007=\"", "unknown key \"x\\n\\u0007=\"");
}

static void
test_long_paths_are_cut(void **state)
{
    struct fixture *f = *state;
    struct json_reader readers[200];

    readers[0] = read_text(f, "{}");
    for (size_t i = 1; i < ARRAY_COUNT(readers); i++)
        readers[i] = json_reader_get(&readers[i - 1], "long_name");
    json_reader_fault(&readers[ARRAY_COUNT(readers) - 1], "missing");
    assert_int_equal(f->issues->count, 1);
    assert_memory_equal(f->issues->items[0].path, "long_name.long_name.", 20);
}

static void
test_unknown_keys_name_the_nearest(void **state)
{
    static const char *const known[] = {"region", "country", "port", NULL};
    struct fixture *f = *state;
    struct json_reader root = read_text(f, "{\"region\":1,\n"
                                           "\"regoin\":1,\n"
                                           "\"Country\":1,\n"
                                           "\"colour\":1,\n"
                                           "\"\":1}");

    assert_true(json_reader_keys(&root, known));
    assert_int_equal(f->issues->count, 4);
    expect_issue(f, 0, 2, "regoin", "unknown key \"regoin\" (did you mean \"region\"?)");
    expect_issue(f, 1, 3, "Country", "unknown key \"Country\" (did you mean \"country\"?)");
    expect_issue(f, 2, 4, "colour", "unknown key \"colour\"");
    expect_issue(f, 3, 5, "\"\"", "unknown key \"\"");
}

static void
test_keys_of_no_object(void **state)
{
    static const char *const known[] = {"a", NULL};
    struct fixture *f = *state;
    struct json_reader root = read_text(f, "[[]]");
    struct json_reader item = json_reader_item(&root, json_first(root.v), 0);
    struct json_reader absent = json_reader_get(&root, "a");

    assert_false(json_reader_keys(&item, known));
    assert_false(json_reader_keys(&absent, known));
    expect_issue(f, 0, 1, "[0]", "must be an object, is an array");
    expect_issue(f, 1, 1, "a", "missing");
}

static void
test_nearest(void **state)
{
    static const char *const known[] = {"region", "country", "tls", "listen", "id", NULL};
    static const struct {
        const char *name;
        const char *want;
    } rows[] = {
        {"regio", "region"},
        {"regions", "region"},
        {"egion", "region"},
        {"reigon", "region"},
        {"region_x", "region"},
        {"region_xy", NULL},
        {"countyr", "country"},
        {"tsl", "tls"},
        {"tlx", "tls"},
        {"xyz", NULL},
        {"lisetn", "listen"},
        {"lsiten", "listen"},
        {"i", NULL},
        {"ix", NULL},
        {"", NULL},
        {"di", NULL},
        {"id", "id"},
        {"region", "region"},
    };
    char longest[80];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *nearest = json_nearest(rows[i].name, known);

        if (rows[i].want == NULL) {
            assert_null(nearest);
        } else {
            assert_non_null(nearest);
            assert_string_equal(nearest, rows[i].want);
        }
    }
    for (size_t len = 60; len < sizeof(longest); len++) {
        const char *const one[] = {longest, NULL};

        memset(longest, 'x', len);
        longest[len] = '\0';
        for (size_t other = len - 3; other <= len + 3 && other < sizeof(longest); other++) {
            char name[sizeof(longest)];

            memset(name, 'x', other);
            name[other] = '\0';
            assert_int_equal(json_nearest(name, one) != NULL,
                             other <= 64 && other + 2 >= len && len + 2 >= other);
        }
    }
}

static void
test_int_reads(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        const char *want;
    } rows[] = {
        {"1", true, ""},
        {"60000", true, ""},
        {"0", false, "must be between 1 and 60000, is 0"},
        {"60001", false, "must be between 1 and 60000, is 60001"},
        {"-5", false, "must be between 1 and 60000, is -5"},
        {"1.5", false, "must be between 1 and 60000, a whole number without fraction or exponent"},
        {"1e3", false, "must be between 1 and 60000, a whole number without fraction or exponent"},
        {"\"1\"", false, "must be a number, is a string"},
        {"null", false, "must be a number, is null"},
        {"true", false, "must be a number, is a boolean"},
    };

    for (size_t i = 0, faults = 0; i < ARRAY_COUNT(rows); i++) {
        struct fixture *f = *state;
        struct json_reader root;
        int64_t n = 77;

        assert_int_equal(json_parse(slice_str(rows[i].text), &f->doc, NULL), ERR_OK);
        root = json_reader_root(f->doc, "node.json", f->issues);
        assert_int_equal(json_reader_int(&root, 1, 60000, &n), rows[i].ok);
        assert_int_equal(n == 77, !rows[i].ok);
        n = 77;
        if (!rows[i].ok)
            expect_issue(f, faults++, 1, "", rows[i].want);
        assert_int_equal(f->issues->count, faults);
        assert_int_equal(json_reader_opt_int(&root, 1, 60000, &n), rows[i].ok);
        if (!rows[i].ok)
            faults++;
        json_free(&f->doc);
    }
}

static void
test_optional_reads_leave_defaults(void **state)
{
    struct fixture *f = *state;
    struct json_reader root = read_text(f, "{\"s\":\"x\",\"b\":false,\"wrong\":{}}");
    struct json_reader absent = json_reader_get(&root, "none");
    struct json_reader wrong = json_reader_get(&root, "wrong");
    struct json_reader member = json_reader_get(&root, "s");
    struct slice s = SLICE_LIT("default");
    int64_t n = 5;
    bool b = true;

    assert_true(json_reader_opt_string(&absent, &s));
    assert_true(json_reader_opt_int(&absent, 1, 9, &n));
    assert_true(json_reader_opt_bool(&absent, &b));
    assert_true(slice_is(s, "default"));
    assert_int_equal(n, 5);
    assert_true(b);
    assert_false(issues_any(f->issues));
    assert_true(json_reader_opt_string(&member, &s));
    assert_true(slice_is(s, "x"));
    member = json_reader_get(&root, "b");
    assert_true(json_reader_opt_bool(&member, &b));
    assert_false(b);
    assert_false(json_reader_opt_string(&wrong, &s));
    assert_false(json_reader_opt_bool(&wrong, &b));
    expect_issue(f, 0, 1, "wrong", "must be a string, is an object");
    expect_issue(f, 1, 1, "wrong", "must be a boolean, is an object");
}

static void
test_time_reads(void **state)
{
    struct fixture *f = *state;
    struct json_reader root =
        read_text(f, "{\"a\":\"2026-11-23T19:22:47Z\",\"b\":\"tomorrow\",\"c\":1}");
    struct json_reader a = json_reader_get(&root, "a");
    struct json_reader b = json_reader_get(&root, "b");
    struct json_reader c = json_reader_get(&root, "c");
    int64_t ms = 0;

    assert_true(json_reader_time(&a, &ms));
    assert_true(ms == INT64_C(1795461767000));
    assert_false(json_reader_time(&b, &ms));
    assert_false(json_reader_time(&c, &ms));
    expect_issue(f, 0, 1, "b", "must be a time in UTC such as 2026-11-23T19:22:47Z");
    expect_issue(f, 1, 1, "c", "must be a string, is a number");
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(test_walks_in_order),
        WITH_FIXTURE(test_get_is_case_sensitive),
        WITH_FIXTURE(test_typed_reads_refuse_other_types_and_absence),
        WITH_FIXTURE(test_integers_are_exact_or_refused),
        WITH_FIXTURE(test_refuses_what_cjson_would_take),
        WITH_FIXTURE(test_text_limit_is_exact),
        WITH_FIXTURE(test_text_is_copied),
        WITH_FIXTURE(test_deepest_tree),
        WITH_FIXTURE(test_file_faults_name_the_line),
        WITH_FIXTURE(test_comments_are_spaces),
        WITH_FIXTURE(test_trailing_commas),
        WITH_FIXTURE(test_commented_is_strict_elsewhere),
        WITH_FIXTURE(test_paths_and_lines),
        WITH_FIXTURE(test_a_member_stands_where_its_key_does),
        WITH_FIXTURE(test_absent_of_absent),
        WITH_FIXTURE(test_foreign_names_are_escaped_and_cut),
        WITH_FIXTURE(test_long_paths_are_cut),
        WITH_FIXTURE(test_unknown_keys_name_the_nearest),
        WITH_FIXTURE(test_keys_of_no_object),
        WITH_FIXTURE(test_nearest),
        WITH_FIXTURE(test_int_reads),
        WITH_FIXTURE(test_optional_reads_leave_defaults),
        WITH_FIXTURE(test_time_reads),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
