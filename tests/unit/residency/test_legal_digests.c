#include "charter_fixture.h"

#include "residency/decide.h"
#include "residency/legal_digests.h"

static const char tenants[] = "" FIXTURE_ROOT;
static const char other_head[] =
    "\"v\":1,\"mesh\":\"test\",\"version\":4,\"issued\":\"2026-01-01T00:00:00Z\","
    "\"renew_by\":\"2026-01-11T00:00:00Z\",\"valid_until\":\"2026-01-21T00:00:00Z\","
    "\"seed\":\"3ubheWvWf_2rl4nJxzUqmkV3X1GHdUPZZz20fq4c3sY\",";
/* clang-format off */
static const char other_backends[] =
    "\"backends\":{"
    FIXTURE_BACKEND("x-de", "central", "DE", "DE", "DE", "DE", "\"DE\"", "", "\"m@1\":\"m\"") ","
    FIXTURE_BACKEND("y-de", "central", "DE", "DE", "DE", "DE", "\"DE\"", "", "\"m@1\":\"m\"")
    "},";
/* clang-format on */

static void
assert_same(struct legal_digests *d, const struct charter *c, const struct bits *legal)
{
    uint8_t expected[HASH_SIZE];

    decide_legal_digest(c, legal, expected);
    assert_memory_equal(legal_digests_of(d, c, legal), expected, HASH_SIZE);
}

static void
test_every_set_has_its_own_digest_however_often_asked(void **state)
{
    struct charter *c = fixture_charter(tenants);
    struct legal_digests *d = NULL;

    (void)state;
    assert_int_equal(legal_digests_new(&d), ERR_OK);
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t set = 0; set < 1u << c->backend_count; set++) {
            struct bits legal = {{set}};

            assert_same(d, c, &legal);
        }
    }
    legal_digests_free(&d);
    charter_unref(&c);
}

static void
test_the_same_numbers_under_another_charter_are_other_names(void **state)
{
    struct fixture_parts parts = {
        .head = other_head, .backends = other_backends, .tenants = tenants};
    struct issues *issues = issues_new();
    struct charter *a = fixture_charter(tenants);
    struct charter *b = fixture_load(&parts, issues);
    struct bits legal = {{3}};
    struct legal_digests *d = NULL;

    (void)state;
    assert_non_null(b);
    assert_int_equal(legal_digests_new(&d), ERR_OK);
    for (unsigned round = 0; round < 3; round++) {
        assert_same(d, a, &legal);
        assert_same(d, b, &legal);
    }
    legal_digests_free(&d);
    issues_free(&issues);
    charter_unref(&a);
    charter_unref(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_set_has_its_own_digest_however_often_asked),
        cmocka_unit_test(test_the_same_numbers_under_another_charter_are_other_names),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
