#include "charter_fixture.h"

#include "residency/narrow.h"

#define NOW_MS (FIXTURE_ISSUED_MS + FIXTURE_DAY_MS)

#define TENANT(process_in)                                                         \
    "\"t\":{\"process_in\":[" process_in                                           \
    "],\"operators_from\":[\"DE\",\"IE\"],\"owners_from\":[\"DE\",\"IE\",\"US\"]," \
    "\"origins\":[\"DE\"],\"models\":{\"m\":[\"m@1\"]},\"auth\":[\"jwt\"]}"

static const char both[] = TENANT("\"DE\",\"IE\"");
static const char only_de[] = TENANT("\"DE\"");
static const char only_ie[] = TENANT("\"IE\"");

/* The same names, but b-ie has moved, and a backend stands before all others. */
/* clang-format off */
static const char moved_backends[] =
    "\"backends\":{"
    FIXTURE_BACKEND("a-de", "central", "DE", "DE", "DE", "DE", "\"DE\"", "", "\"m@1\":\"m\"") ","
    FIXTURE_BACKEND("b-de", "central", "DE", "DE", "DE", "DE", "\"DE\"", "",
                    "\"m@2\":\"m\",\"m@1\":\"n\",\"big@1\":\"b\"") ","
    FIXTURE_BACKEND("b-ie", "west", "IE", "IE", "IE", "IE", "", "", "\"m@1\":\"m\"")
    "},";
/* clang-format on */

struct side {
    struct charter *c;
    struct policy *p;
    struct decision d;
};

static void
side_open(struct side *s, const char *tenants, const char *backends)
{
    struct fixture_parts parts = {.tenants = tenants, .backends = backends};
    struct issues *issues = issues_new();
    struct decide_facts f = {.class_name = SLICE_LIT(""),
                             .alias = SLICE_LIT("m"),
                             .origin = {.country = COUNTRY_NONE, .quality = "found"},
                             .now_ms = NOW_MS};

    *s = (struct side){.c = NULL};
    assert_non_null(issues);
    s->c = fixture_load(&parts, issues);
    issues_print(issues, stderr);
    assert_non_null(s->c);
    issues_free(&issues);
    assert_int_equal(policy_compile(s->c, &s->p), ERR_OK);
    assert_int_equal(country_parse(SLICE_LIT("DE"), &f.origin.country), ERR_OK);
    f.own_region = f.ingress_region = charter_find_region(s->c, SLICE_LIT("central"));
    decide(s->p, &f, &s->d);
}

static void
side_close(struct side *s)
{
    policy_free(&s->p);
    charter_unref(&s->c);
}

static bool
allows(const struct side *s, const char *backend)
{
    uint32_t i = charter_find_backend(s->c, slice_str(backend));

    return i != CHARTER_NONE && bits_has(&s->d.legal, i);
}

static void
test_what_the_earlier_charter_forbade_stays_forbidden(void **state)
{
    struct side then, now;

    (void)state;
    side_open(&then, only_de, NULL);
    side_open(&now, both, NULL);
    assert_true(allows(&now, "b-ie"));
    narrow_decision(now.c, &now.d, then.c, &then.d);
    assert_int_equal(now.d.reason, DECIDE_PERMITTED);
    assert_false(allows(&now, "b-ie"));
    assert_true(allows(&now, "b-de"));
    side_close(&then);
    side_close(&now);
}

static void
test_nothing_in_common_is_a_refusal(void **state)
{
    struct side then, now;

    (void)state;
    side_open(&then, only_de, NULL);
    side_open(&now, only_ie, NULL);
    narrow_decision(now.c, &now.d, then.c, &then.d);
    assert_int_equal(now.d.reason, DECIDE_NO_LEGAL_PLACE);
    assert_true(bits_empty(&now.d.legal));
    side_close(&then);
    side_close(&now);
}

static void
test_a_refusal_of_either_side_stands(void **state)
{
    struct side then, now;

    (void)state;
    side_open(&then, both, NULL);
    side_open(&now, both, NULL);
    then.d = (struct decision){.reason = DECIDE_ORIGIN_FORBIDDEN};
    narrow_decision(now.c, &now.d, then.c, &then.d);
    assert_int_equal(now.d.reason, DECIDE_ORIGIN_FORBIDDEN);
    assert_true(bits_empty(&now.d.legal));
    then.d.reason = DECIDE_PERMITTED;
    now.d = (struct decision){.reason = DECIDE_MODEL_FORBIDDEN};
    narrow_decision(now.c, &now.d, then.c, &then.d);
    assert_int_equal(now.d.reason, DECIDE_MODEL_FORBIDDEN);
    side_close(&then);
    side_close(&now);
}

static void
test_a_name_that_means_another_place_now_is_out(void **state)
{
    struct side then, now;

    (void)state;
    side_open(&then, both, NULL);
    side_open(&now, both, moved_backends);
    assert_true(allows(&now, "a-de"));
    assert_true(allows(&now, "b-ie"));
    narrow_decision(now.c, &now.d, then.c, &then.d);
    assert_false(allows(&now, "a-de")); /* unknown to the earlier charter */
    assert_true(allows(&now, "b-de"));
    assert_false(allows(&now, "b-ie")); /* another owner */
    side_close(&then);
    side_close(&now);
}

static void
test_crossing_regions_needs_both(void **state)
{
    struct side then, now;

    (void)state;
    side_open(&then, both, NULL);
    side_open(&now, both, NULL);
    then.d.cross_region_ok = false;
    narrow_decision(now.c, &now.d, then.c, &then.d);
    assert_false(now.d.cross_region_ok);
    side_close(&then);
    side_close(&now);
}

static void
test_what_was_tried_keeps_its_names(void **state)
{
    struct side then, now;
    struct bits tried = {{0}};
    struct bits moved;

    (void)state;
    side_open(&then, both, NULL);
    side_open(&now, both, moved_backends);
    bits_add(&tried, charter_find_backend(then.c, SLICE_LIT("b-ch")));
    bits_add(&tried, charter_find_backend(then.c, SLICE_LIT("b-de")));
    narrow_backends(then.c, &tried, now.c, &moved);
    assert_int_equal(bits_count(&moved), 1);
    assert_true(bits_has(&moved, charter_find_backend(now.c, SLICE_LIT("b-de"))));
    bits_clear(&tried);
    bits_add(&tried, charter_find_node(then.c, SLICE_LIT("n3")));
    narrow_nodes(then.c, &tried, now.c, &tried); /* in place */
    assert_int_equal(bits_count(&tried), 1);
    side_close(&then);
    side_close(&now);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_earlier_charter_forbade_stays_forbidden),
        cmocka_unit_test(test_nothing_in_common_is_a_refusal),
        cmocka_unit_test(test_a_refusal_of_either_side_stands),
        cmocka_unit_test(test_a_name_that_means_another_place_now_is_out),
        cmocka_unit_test(test_crossing_regions_needs_both),
        cmocka_unit_test(test_what_was_tried_keeps_its_names),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
