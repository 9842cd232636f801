#include "charter_fixture.h"

#include "residency/permit.h"

struct world {
    _Alignas(16) uint8_t storage[256];
    struct arena arena;
    struct charter *c;
    struct policy *p;
    struct decision decision;
};

/* A decision of a tenant that may use b-de (region central) and nothing else. */
static int
setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct decide_facts facts = {.alias = SLICE_LIT("m"), .now_ms = FIXTURE_ISSUED_MS};

    if (w == NULL)
        return -1;
    w->c = fixture_charter("\"t\":{\"process_in\":[\"DE\"],\"operators_from\":[\"DE\"],"
                           "\"origins\":[\"DE\"],\"models\":{\"m\":[\"m@1\"]},\"auth\":"
                           "[\"jwt\"]}");
    assert_int_equal(policy_compile(w->c, &w->p), ERR_OK);
    assert_int_equal(country_parse(SLICE_LIT("DE"), &facts.origin.country), ERR_OK);
    facts.ingress_region = charter_find_region(w->c, SLICE_LIT("west"));
    facts.own_region = facts.ingress_region;
    decide(w->p, &facts, &w->decision);
    arena_init(&w->arena, w->storage, sizeof(w->storage));
    *state = w;
    return 0;
}

static int
teardown(void **state)
{
    struct world *w = *state;

    policy_free(&w->p);
    charter_unref(&w->c);
    free(w);
    return 0;
}

static void
test_only_members_of_the_legal_set_are_reached(void **state)
{
    struct world *w = *state;

    assert_int_equal(w->decision.reason, DECIDE_PERMITTED);
    for (uint32_t i = 0; i <= w->c->backend_count; i++) {
        struct permit *permit = NULL;
        bool legal = i < w->c->backend_count && strcmp(w->c->backends[i].name, "b-de") == 0;

        assert_int_equal(permit_mint_backend(&w->arena, w->p, &w->decision, i, 7, &permit),
                         legal ? ERR_OK : ERR_FORBIDDEN);
        assert_int_equal(permit != NULL, legal);
        if (permit == NULL)
            continue;
        assert_int_equal(permit_use(permit), PERMIT_REQUEST);
        assert_int_equal(permit_target(permit), i);
        assert_int_equal(permit_serial(permit), 7);
        assert_false(permit_is_node(permit));
    }
}

static void
test_a_refusal_opens_nothing(void **state)
{
    struct world *w = *state;
    struct permit *permit = NULL;

    w->decision.reason = DECIDE_MODEL_FORBIDDEN; /* the set is left as it was */
    for (uint32_t i = 0; i < w->c->backend_count; i++)
        assert_int_equal(permit_mint_backend(&w->arena, w->p, &w->decision, i, 1, &permit),
                         ERR_FORBIDDEN);
    for (uint32_t i = 0; i < w->c->node_count; i++)
        assert_int_equal(permit_mint_node(&w->arena, w->p, &w->decision, i, 1, &permit),
                         ERR_FORBIDDEN);
}

static void
test_a_node_is_reached_for_its_regions_legal_backends(void **state)
{
    struct world *w = *state;

    for (uint32_t i = 0; i <= w->c->node_count; i++) {
        struct permit *permit = NULL;
        bool legal = i < w->c->node_count && strcmp(w->c->nodes[i].name, "n1") == 0;

        assert_int_equal(permit_mint_node(&w->arena, w->p, &w->decision, i, 1, &permit),
                         legal ? ERR_OK : ERR_FORBIDDEN);
        if (permit != NULL) {
            assert_true(permit_is_node(permit));
            assert_int_equal(permit_use(permit), PERMIT_FORWARD);
        }
    }
}

static void
test_past_renewal_no_region_is_crossed(void **state)
{
    struct world *w = *state;
    struct permit *permit = NULL;

    w->decision.cross_region_ok = false;
    assert_int_equal(permit_mint_node(&w->arena, w->p, &w->decision, 0, 1, &permit), ERR_FORBIDDEN);
}

static void
test_probes_stay_in_the_own_region_or_go_to_peers(void **state)
{
    struct world *w = *state;
    uint32_t west = charter_find_region(w->c, SLICE_LIT("west"));
    uint32_t ie = charter_find_backend(w->c, SLICE_LIT("b-ie"));
    uint32_t de = charter_find_backend(w->c, SLICE_LIT("b-de"));
    struct permit *permit = NULL;

    assert_int_equal(permit_mint_probe(&w->arena, w->c, west, false, de, &permit), ERR_FORBIDDEN);
    assert_int_equal(permit_mint_probe(&w->arena, w->c, west, true, 3, &permit), ERR_FORBIDDEN);
    assert_int_equal(permit_mint_probe(&w->arena, w->c, CHARTER_NONE, false, ie, &permit),
                     ERR_FORBIDDEN);
    assert_int_equal(permit_mint_probe(&w->arena, w->c, west, false, ie, &permit), ERR_OK);
    assert_int_equal(permit_use(permit), PERMIT_PROBE);
    assert_int_equal(permit_mint_probe(&w->arena, w->c, west, true, 2, &permit), ERR_OK);
    assert_true(permit_is_node(permit));
}

static void
test_it_is_spent_once(void **state)
{
    struct world *w = *state;
    uint32_t de = charter_find_backend(w->c, SLICE_LIT("b-de"));
    struct permit *permit = NULL;

    assert_int_equal(permit_mint_backend(&w->arena, w->p, &w->decision, de, 1, &permit), ERR_OK);
    assert_true(permit_spend(permit));
    assert_false(permit_spend(permit));
}

static void
test_a_full_arena_gives_no_permit(void **state)
{
    struct world *w = *state;
    uint32_t de = charter_find_backend(w->c, SLICE_LIT("b-de"));
    struct permit *permit = NULL;

    while (arena_alloc(&w->arena, 16) != NULL)
        ;
    assert_int_equal(permit_mint_backend(&w->arena, w->p, &w->decision, de, 1, &permit), ERR_NOMEM);
    assert_null(permit);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_only_members_of_the_legal_set_are_reached),
        CASE(test_a_refusal_opens_nothing),
        CASE(test_a_node_is_reached_for_its_regions_legal_backends),
        CASE(test_past_renewal_no_region_is_crossed),
        CASE(test_probes_stay_in_the_own_region_or_go_to_peers),
        CASE(test_it_is_spent_once),
        CASE(test_a_full_arena_gives_no_permit),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
