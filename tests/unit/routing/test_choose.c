#include "routing/choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A charter of three regions: 0 is ours with node 0, 1 has nodes 1 and 2, 2 has node 3.
 * Model 0 is preferred, model 1 is the alternative, model 2 belongs to another alias. */
enum { BACKENDS = 200, NODES = 4, OWN = 0 };

struct world {
    struct charter charter;
    struct charter_backend backends[BACKENDS];
    struct charter_served served[BACKENDS][2];
    struct charter_node nodes[NODES];
    struct charter_region regions[3];
    struct charter_tenant tenant;
    struct charter_alias alias;
    struct decision decision;
    struct health_view view;
    struct health_backend health[BACKENDS];
    struct health_node node_health[NODES];
    struct choose_own own[BACKENDS];
    struct bits tried;
    struct bits tried_nodes;
    struct choose_facts facts;
};

static struct world *
fresh_world(void)
{
    static struct world w;
    static const uint32_t node_regions[NODES] = {0, 1, 1, 2};
    static const uint32_t rtts[NODES] = {0, 20000, 21000, 9000};

    memset(&w, 0, sizeof(w));
    w.alias.pinned[0] = 0;
    w.alias.pinned[1] = 1;
    w.alias.pinned_count = 2;
    w.tenant.aliases = &w.alias;
    w.tenant.alias_count = 1;
    w.tenant.evidence = EVIDENCE_NAME;
    w.charter.tenants = &w.tenant;
    w.charter.tenant_count = 1;
    w.charter.backends = w.backends;
    w.charter.nodes = w.nodes;
    w.charter.node_count = NODES;
    w.charter.regions = w.regions;
    w.charter.region_count = 3;
    for (uint32_t n = 0; n < NODES; n++) {
        w.nodes[n].region = node_regions[n];
        w.node_health[n] =
            (struct health_node){.alive = true, .charter_ok = true, .rtt_us = rtts[n]};
    }
    w.view.live_peers = 1;
    w.view.charter = &w.charter;
    w.view.backends = w.health;
    w.view.nodes = w.node_health;
    w.decision.reason = DECIDE_PERMITTED;
    w.decision.cross_region_ok = true;
    w.facts = (struct choose_facts){
        .charter = &w.charter,
        .decision = &w.decision,
        .view = &w.view,
        .own = w.own,
        .tried = &w.tried,
        .tried_nodes = &w.tried_nodes,
        .own_node = 0,
        .own_region = OWN,
        .random = 42,
    };
    return &w;
}

/* A lawful backend that is up and serves the preferred model. */
static uint32_t
add_backend(struct world *w, uint32_t region, uint32_t slots)
{
    uint32_t b = (uint32_t)w->charter.backend_count++;

    w->backends[b].region = region;
    w->backends[b].slots = slots;
    w->backends[b].served = w->served[b];
    w->backends[b].served_count = 2;
    w->served[b][0].model = 2;
    w->served[b][1].model = 0;
    w->health[b].state = HEALTH_UP;
    w->health[b].age = HEALTH_FRESH;
    w->health[b].models_matched = 3;
    bits_add(&w->decision.legal, b);
    return b;
}

static struct choice
chosen(struct world *w)
{
    struct choice c;

    memset(&c, 0xa5, sizeof(c));
    choose(&w->facts, &c);
    return c;
}

static void
test_what_is_not_legal_does_not_exist(void **state)
{
    struct world *w = fresh_world();
    uint32_t a = add_backend(w, OWN, 8);
    uint32_t b = add_backend(w, OWN, 8);

    (void)state;
    bits_remove(&w->decision.legal, a);
    w->own[b].in_flight = 7;
    for (uint64_t r = 0; r < 100; r++) {
        w->facts.random = r;
        assert_int_equal(chosen(w).backend, b);
    }
    bits_remove(&w->decision.legal, b);
    assert_int_equal(chosen(w).reason, CHOOSE_UNHEALTHY);
    assert_int_equal(chosen(w).backend, CHARTER_NONE);
}

/* A backend that does not speak the request's protocol is none, here and beyond a peer. */
static void
test_only_the_kinds_asked_for(void **state)
{
    struct world *w = fresh_world();
    uint32_t a = add_backend(w, OWN, 8);
    uint32_t b = add_backend(w, 1, 8);
    struct choice c;

    (void)state;
    w->backends[a].kind = KIND_VLLM;
    w->backends[b].kind = KIND_OLLAMA;
    w->facts.kinds = 1u << KIND_VLLM;
    assert_int_equal(chosen(w).backend, a);
    w->own[a].in_flight = 8;
    assert_int_equal(chosen(w).reason, CHOOSE_SATURATED);
    w->facts.kinds = 1u << KIND_OLLAMA;
    c = chosen(w);
    assert_true(c.reason == CHOOSE_PICKED && c.is_node);
    assert_int_equal(w->nodes[c.node].region, 1);
    w->facts.kinds = 1u << KIND_LLAMACPP;
    assert_int_equal(chosen(w).reason, CHOOSE_UNSUPPORTED);
    assert_string_equal(choose_row(CHOOSE_UNSUPPORTED)->code, "not_found");
}

static void
test_the_least_used(void **state)
{
    struct world *w = fresh_world();
    uint32_t a = add_backend(w, OWN, 10);
    uint32_t b = add_backend(w, OWN, 10);
    struct choice c;

    (void)state;
    w->health[a].in_flight = 5;
    w->health[b].in_flight = 4;
    c = chosen(w);
    assert_int_equal(c.reason, CHOOSE_PICKED);
    assert_false(c.is_node);
    assert_int_equal(c.backend, b);
    assert_int_equal(c.served, 1);
    assert_int_equal(c.evidence, EVIDENCE_NAME);
    /* Two of our own since the snapshot count with it. */
    w->own[b].in_flight = 2;
    assert_int_equal(chosen(w).backend, a);
}

static void
test_peers_multiply_own_dispatches(void **state)
{
    struct world *w = fresh_world();
    uint32_t a = add_backend(w, OWN, 100);
    uint32_t b = add_backend(w, OWN, 100);

    (void)state;
    w->health[a].in_flight = 30;
    w->health[b].in_flight = 20;
    w->own[b].in_flight = 5;
    assert_int_equal(chosen(w).backend, b); /* 20 + 5 */
    w->view.live_peers = 3;
    assert_int_equal(chosen(w).backend, a); /* 20 + 3 x 5 */
    w->own[b].in_flight_then = 20;
    w->own[b].in_flight = 25;
    assert_int_equal(chosen(w).backend, b); /* all of its load was ours: 20 + 5 */
}

static void
test_penalties(void **state)
{
    static const struct {
        struct health_backend add;
        bool loaded;
    } rows[] = {
        {{.queued = 1}, false},     {{.pressure_permille = 900}, false},
        {{.ttft_ms = 5000}, false}, {{.slots = 5}, false},
        {{.slots = 0}, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *w = fresh_world();
        uint32_t a = add_backend(w, OWN, 10);
        uint32_t b = add_backend(w, OWN, 10);

        w->health[a].in_flight = 3;
        w->health[b].in_flight = 3;
        w->health[a].queued = rows[i].add.queued;
        w->health[a].pressure_permille = rows[i].add.pressure_permille;
        w->health[a].ttft_ms = rows[i].add.ttft_ms;
        w->health[a].slots = rows[i].add.slots;
        w->own[a].loaded = rows[i].loaded;
        for (uint64_t r = 0; r < 50; r++) {
            w->facts.random = r;
            assert_int_equal(chosen(w).backend, b);
        }
    }
}

static void
test_ties_are_drawn(void **state)
{
    struct world *w = fresh_world();
    uint32_t hits[3] = {0};

    (void)state;
    for (int i = 0; i < 3; i++)
        (void)add_backend(w, OWN, 100);
    w->health[1].in_flight = 1; /* within 2 % */
    w->health[2].in_flight = 3; /* not */
    for (uint64_t r = 0; r < 1000; r++) {
        w->facts.random = r;
        hits[chosen(w).backend]++;
    }
    assert_true(hits[0] > 350);
    assert_true(hits[1] > 350);
    assert_int_equal(hits[2], 0);
}

static void
test_above_64_two_choices_by_slots(void **state)
{
    struct world *w = fresh_world();
    uint32_t big = 0;
    uint32_t full = 0;

    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        (void)add_backend(w, OWN, i < 10 ? 100 : 1);
    w->own[99].in_flight = 1; /* full */
    for (uint64_t r = 0; r < 2000; r++) {
        uint32_t b;

        w->facts.random = r;
        b = chosen(w).backend;
        assert_true(b < 100);
        big += b < 10;
        full += b == 99;
    }
    assert_true(big > 1700); /* 1000 of 1089 slots */
    assert_true(big < 2000);
    assert_int_equal(full, 0);
}

static void
test_above_64_the_less_used_of_two(void **state)
{
    struct world *w = fresh_world();
    uint32_t idle = 0;

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        (void)add_backend(w, OWN, 10);
        w->health[i].in_flight = i % 2 == 0 ? 8 : 0;
    }
    for (uint64_t r = 0; r < 2000; r++) {
        w->facts.random = r;
        idle += chosen(w).backend % 2;
    }
    assert_true(idle > 1350); /* three of four, not one of two */
    assert_true(idle < 1650);
}

static void
test_preferred_version_and_evidence(void **state)
{
    static const struct {
        enum charter_evidence wanted;
        uint64_t matched, digest, wrong;
        enum choose_reason reason;
        uint32_t served;
        enum charter_evidence evidence;
    } rows[] = {
        /* served[0] is model 1 (the alternative), served[1] model 0 (preferred) */
        {EVIDENCE_DECLARED, 0, 0, 0, CHOOSE_PICKED, 1, EVIDENCE_DECLARED},
        {EVIDENCE_DECLARED, 0, 0, 2, CHOOSE_PICKED, 0, EVIDENCE_DECLARED},
        {EVIDENCE_DECLARED, 3, 0, 3, CHOOSE_MODEL_MISMATCH, 0, 0},
        {EVIDENCE_NAME, 3, 0, 0, CHOOSE_PICKED, 1, EVIDENCE_NAME},
        {EVIDENCE_NAME, 1, 0, 0, CHOOSE_PICKED, 0, EVIDENCE_NAME},
        {EVIDENCE_NAME, 0, 0, 0, CHOOSE_EVIDENCE_LOW, 0, 0},
        {EVIDENCE_NAME, 3, 2, 0, CHOOSE_PICKED, 1, EVIDENCE_DIGEST},
        {EVIDENCE_DIGEST, 3, 0, 0, CHOOSE_EVIDENCE_LOW, 0, 0},
        {EVIDENCE_DIGEST, 3, 1, 0, CHOOSE_PICKED, 0, EVIDENCE_DIGEST},
        {EVIDENCE_DIGEST, 3, 1, 1, CHOOSE_EVIDENCE_LOW, 0, 0},
        {EVIDENCE_DIGEST, 3, 3, 3, CHOOSE_MODEL_MISMATCH, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *w = fresh_world();
        uint32_t b = add_backend(w, OWN, 4);
        struct choice c;

        w->served[b][0].model = 1;
        w->tenant.evidence = rows[i].wanted;
        w->health[b].models_matched = rows[i].matched;
        w->health[b].models_digest = rows[i].digest;
        w->health[b].models_wrong = rows[i].wrong;
        c = chosen(w);
        assert_int_equal(c.reason, rows[i].reason);
        if (c.reason != CHOOSE_PICKED)
            continue;
        assert_int_equal(c.served, rows[i].served);
        assert_int_equal(c.evidence, rows[i].evidence);
    }
}

static void
test_states_of_the_own_region(void **state)
{
    static const struct {
        enum health_state health;
        bool ejected, tried;
        enum choose_reason reason;
    } rows[] = {
        {HEALTH_UP, false, false, CHOOSE_PICKED},
        {HEALTH_UNKNOWN, false, false, CHOOSE_UNHEALTHY},
        {HEALTH_DOWN, false, false, CHOOSE_UNHEALTHY},
        {HEALTH_QUARANTINED, false, false, CHOOSE_MODEL_MISMATCH},
        {HEALTH_UP, true, false, CHOOSE_UNHEALTHY},
        {HEALTH_UP, false, true, CHOOSE_EXHAUSTED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *w = fresh_world();
        uint32_t b = add_backend(w, OWN, 4);

        w->health[b].state = rows[i].health;
        w->own[b].ejected = rows[i].ejected;
        if (rows[i].tried)
            bits_add(&w->tried, b);
        assert_int_equal(chosen(w).reason, rows[i].reason);
    }
}

static void
test_full_backends_are_waited_for(void **state)
{
    struct world *w = fresh_world();
    uint32_t down = add_backend(w, OWN, 4);
    uint32_t full = add_backend(w, OWN, 4);
    uint32_t fewer = add_backend(w, OWN, 4);
    struct choice c;

    (void)state;
    w->health[down].state = HEALTH_DOWN;
    w->own[full].in_flight = 4;
    w->own[fewer].in_flight = 2;
    w->own[fewer].slots = 2;
    c = chosen(w);
    assert_int_equal(c.reason, CHOOSE_SATURATED);
    assert_int_equal(c.waiting_count, 2);
    assert_int_equal(c.waiting[0], full);
    assert_int_equal(c.waiting[1], fewer);
    w->own[full].in_flight = 3;
    c = chosen(w);
    assert_int_equal(c.backend, full);
    assert_int_equal(c.waiting_count, 0);
}

static void
test_the_waiting_list_is_bounded(void **state)
{
    struct world *w = fresh_world();

    (void)state;
    for (uint32_t i = 0; i < 65; i++)
        w->own[add_backend(w, OWN, 1)].in_flight = 1;
    assert_int_equal(chosen(w).reason, CHOOSE_SATURATED);
    assert_int_equal(chosen(w).waiting_count, 64);
}

static void
test_a_full_region_overflows_to_a_free_one(void **state)
{
    static const struct {
        struct health_backend there;
        bool overflows;
    } rows[] = {
        {{.state = HEALTH_UP, .age = HEALTH_FRESH, .in_flight = 3, .models_matched = 2}, true},
        {{.state = HEALTH_UP, .age = HEALTH_STALE, .in_flight = 3, .models_matched = 2}, true},
        {{.state = HEALTH_UP, .age = HEALTH_FRESH, .in_flight = 4, .models_matched = 2}, false},
        {{.state = HEALTH_UP, .age = HEALTH_STATIC, .models_matched = 2}, false},
        {{.state = HEALTH_UP, .age = HEALTH_GONE, .models_matched = 2}, false},
        {{.state = HEALTH_DOWN, .age = HEALTH_FRESH, .models_matched = 2}, false},
        {{.state = HEALTH_UP, .age = HEALTH_FRESH, .models_matched = 1}, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *w = fresh_world();
        uint32_t here = add_backend(w, OWN, 4);
        uint32_t there = add_backend(w, 2, 4);
        struct choice c;

        w->own[here].in_flight = 4;
        w->health[there] = rows[i].there;
        c = chosen(w);
        assert_int_equal(c.reason, rows[i].overflows ? CHOOSE_PICKED : CHOOSE_SATURATED);
        assert_int_equal(c.is_node, rows[i].overflows);
        assert_int_equal(c.node, rows[i].overflows ? 3 : CHARTER_NONE);
        assert_int_equal(c.waiting_count, rows[i].overflows ? 0 : 1);
    }
}

static void
test_the_nearest_region_with_a_usable_node(void **state)
{
    struct world *w = fresh_world();
    uint32_t near = add_backend(w, 2, 4);
    struct choice c;

    (void)state;
    (void)add_backend(w, 1, 4);
    c = chosen(w);
    assert_true(c.is_node);
    assert_int_equal(c.node, 3);
    assert_int_equal(c.backend, CHARTER_NONE);
    w->health[near].in_flight = 9; /* full: the other one first */
    assert_int_not_equal(chosen(w).node, 3);
    w->health[near].in_flight = 0;
    w->health[near].state = HEALTH_DOWN;
    assert_int_not_equal(chosen(w).node, 3);
    w->health[near].state = HEALTH_UP;
    bits_add(&w->tried, near);
    assert_int_not_equal(chosen(w).node, 3);
}

static void
test_which_nodes_are_usable(void **state)
{
    static const struct {
        struct health_node node;
        bool tried;
        enum choose_reason reason;
    } rows[] = {
        {{.alive = true, .charter_ok = true}, false, CHOOSE_PICKED},
        {{.alive = false, .charter_ok = true}, false, CHOOSE_NO_PEER},
        {{.alive = true, .charter_ok = true, .draining = true}, false, CHOOSE_NO_PEER},
        {{.alive = true, .charter_ok = false}, false, CHOOSE_NO_PEER},
        {{.alive = true, .charter_ok = true}, true, CHOOSE_EXHAUSTED},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world *w = fresh_world();

        (void)add_backend(w, 2, 4);
        w->node_health[3] = rows[i].node;
        if (rows[i].tried)
            bits_add(&w->tried_nodes, 3);
        assert_int_equal(chosen(w).reason, rows[i].reason);
    }
}

static void
test_a_live_node_decides_about_what_is_unknown(void **state)
{
    struct world *w = fresh_world();
    uint32_t b = add_backend(w, 2, 4);

    (void)state;
    w->health[b] = (struct health_backend){.state = HEALTH_UNKNOWN, .age = HEALTH_GONE};
    assert_int_equal(chosen(w).node, 3);
    w->health[b] = (struct health_backend){.state = HEALTH_DOWN, .age = HEALTH_GONE};
    assert_int_equal(chosen(w).node, 3);
    w->health[b] = (struct health_backend){.state = HEALTH_DOWN, .age = HEALTH_STALE};
    assert_int_equal(chosen(w).reason, CHOOSE_UNHEALTHY);
}

static void
test_nodes_of_a_region_share_its_work(void **state)
{
    struct world *w = fresh_world();
    uint32_t hits[NODES] = {0};

    (void)state;
    (void)add_backend(w, 1, 4);
    for (uint64_t r = 0; r < 1000; r++) {
        w->facts.random = r;
        hits[chosen(w).node]++;
    }
    assert_true(hits[1] > 400);
    assert_true(hits[2] > 400);
    bits_add(&w->tried_nodes, 1);
    assert_int_equal(chosen(w).node, 2);
}

static void
test_no_region_is_crossed_where_that_is_not_allowed(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world *w = fresh_world();
        uint32_t here = add_backend(w, OWN, 1);

        (void)add_backend(w, 2, 4);
        w->facts.own_region_only = i == 0;
        w->decision.cross_region_ok = i == 0;
        w->own[here].in_flight = 1;
        assert_int_equal(chosen(w).reason, CHOOSE_SATURATED);
        w->health[here].state = HEALTH_DOWN;
        assert_int_equal(chosen(w).reason, CHOOSE_UNHEALTHY);
        bits_add(&w->tried, here);
        assert_int_equal(chosen(w).reason, CHOOSE_NO_PEER);
    }
}

static void
test_no_node_of_a_region_without_legal_backends(void **state)
{
    struct world *w = fresh_world();
    uint32_t illegal = add_backend(w, 2, 4);

    (void)state;
    bits_remove(&w->decision.legal, illegal);
    (void)add_backend(w, 1, 4);
    for (uint64_t r = 0; r < 100; r++) {
        w->facts.random = r;
        assert_int_not_equal(chosen(w).node, 3);
    }
    w->node_health[1].alive = false;
    w->node_health[2].alive = false;
    assert_int_equal(chosen(w).reason, CHOOSE_NO_PEER);
}

static void
test_reasons_in_order(void **state)
{
    struct world *w = fresh_world();
    uint32_t a = add_backend(w, OWN, 4);
    uint32_t b = add_backend(w, OWN, 4);
    uint32_t c = add_backend(w, OWN, 4);

    (void)state;
    w->health[a].state = HEALTH_DOWN;
    w->health[b].models_matched = 0;
    w->health[c].models_wrong = 2;
    assert_int_equal(chosen(w).reason, CHOOSE_MODEL_MISMATCH);
    bits_add(&w->tried, c);
    assert_int_equal(chosen(w).reason, CHOOSE_EVIDENCE_LOW);
    bits_add(&w->tried, b);
    assert_int_equal(chosen(w).reason, CHOOSE_UNHEALTHY);
    bits_add(&w->tried, a);
    assert_int_equal(chosen(w).reason, CHOOSE_EXHAUSTED);
}

static void
test_same_facts_same_answer(void **state)
{
    struct world *w = fresh_world();
    struct choice first;
    struct choice second;

    (void)state;
    for (int i = 0; i < 100; i++)
        (void)add_backend(w, (uint32_t)i % 3, 3);
    first = chosen(w);
    second = chosen(w);
    assert_memory_equal(&first, &second, sizeof(first));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_legal_does_not_exist),
        cmocka_unit_test(test_only_the_kinds_asked_for),
        cmocka_unit_test(test_the_least_used),
        cmocka_unit_test(test_peers_multiply_own_dispatches),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_ties_are_drawn),
        cmocka_unit_test(test_above_64_two_choices_by_slots),
        cmocka_unit_test(test_above_64_the_less_used_of_two),
        cmocka_unit_test(test_preferred_version_and_evidence),
        cmocka_unit_test(test_states_of_the_own_region),
        cmocka_unit_test(test_full_backends_are_waited_for),
        cmocka_unit_test(test_the_waiting_list_is_bounded),
        cmocka_unit_test(test_a_full_region_overflows_to_a_free_one),
        cmocka_unit_test(test_the_nearest_region_with_a_usable_node),
        cmocka_unit_test(test_which_nodes_are_usable),
        cmocka_unit_test(test_a_live_node_decides_about_what_is_unknown),
        cmocka_unit_test(test_nodes_of_a_region_share_its_work),
        cmocka_unit_test(test_no_region_is_crossed_where_that_is_not_allowed),
        cmocka_unit_test(test_no_node_of_a_region_without_legal_backends),
        cmocka_unit_test(test_reasons_in_order),
        cmocka_unit_test(test_same_facts_same_answer),
    };

    return cmocka_run_group_tests_name("routing/choose", tests, NULL, NULL);
}
