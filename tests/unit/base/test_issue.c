#include "base/issue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static void
expect_print(const struct issues *list, const char *want)
{
    char *printed = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&printed, &len);

    assert_non_null(out);
    issues_print(list, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(printed, want);
    free(printed);
}

static void
test_prints_only_the_parts_that_apply(void **state)
{
    struct issues *list = issues_new();

    (void)state;
    assert_non_null(list);
    assert_false(issues_any(list));
    expect_print(list, "");
    issues_add(list, "node.json", 7, "listen[0].port", "must be between %d and %d", 1, 65535);
    issues_add(list, "node.json", 0, NULL, "does not exist");
    issues_add(list, "node.json", 3, "", "unknown escape");
    assert_true(issues_any(list));
    expect_print(list, "node.json:7: listen[0].port: must be between 1 and 65535\n"
                       "node.json: does not exist\n"
                       "node.json:3: unknown escape\n");
    issues_free(&list);
    assert_null(list);
}

static void
test_counts_what_it_cannot_keep(void **state)
{
    struct issues *list = issues_new();

    (void)state;
    assert_non_null(list);
    for (int i = 0; i < ISSUE_COUNT_MAX; i++)
        issues_add(list, "f", 0, NULL, "%d", i);
    assert_int_equal(list->count, ISSUE_COUNT_MAX);
    assert_int_equal(list->dropped, 0);
    issues_add(list, "f", 0, NULL, "more");
    issues_add(list, "f", 0, NULL, "more");
    assert_int_equal(list->count, ISSUE_COUNT_MAX);
    assert_int_equal(list->dropped, 2);
    assert_string_equal(list->items[ISSUE_COUNT_MAX - 1].text, "63");
    issues_free(&list);
}

static void
test_cuts_what_is_too_long(void **state)
{
    static char name[1000];
    struct issues *list = issues_new();

    (void)state;
    assert_non_null(list);
    memset(name, 'x', sizeof(name) - 1);
    issues_add(list, name, 1, name, "%s", name);
    assert_int_equal(strlen(list->items[0].file), sizeof(list->items[0].file) - 1);
    assert_int_equal(strlen(list->items[0].path), sizeof(list->items[0].path) - 1);
    assert_int_equal(strlen(list->items[0].text), ISSUE_TEXT_MAX - 1);
    issues_free(&list);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prints_only_the_parts_that_apply),
        cmocka_unit_test(test_counts_what_it_cannot_keep),
        cmocka_unit_test(test_cuts_what_is_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
