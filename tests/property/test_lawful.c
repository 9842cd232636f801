/* Lawfulness as a property: whatever charter, caller and state of health is drawn, the
 * legal set is the one that a naive reading of the source gives, and the choice stays
 * inside it. PORTOLAN_SEED repeats a run, PORTOLAN_DRAWS sets its length. */
#include "lawful_oracle.h"

#include "crypto/random.h"
#include "residency/narrow.h"
#include "routing/choose.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define DRAWS 2400000
#define DRAWS_PER_CHARTER 600
#define PERMITS_MIN_PERCENT 20
#define COVER_MIN_PERMILLE 5

struct tally {
    uint64_t draws;
    uint64_t charters;
    uint64_t refused; /* charters that widened */
    uint64_t reasons[DECIDE_REASON_COUNT];
    uint64_t chosen;
    uint64_t outcomes[CHOOSE_REASON_COUNT];
};

struct world {
    struct model model;
    struct charter *c;
    struct policy *p;
    struct health_view *view;
    struct choose_own own[BACKENDS_MAX];
    struct bits tried;
    struct bits tried_nodes;
};

static uint64_t
setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t value;

    return text != NULL && slice_u64(slice_str(text), &value) ? value : otherwise;
}

/* Draws until the loader takes a charter: the only thing it may hold against one is that
 * a tenant widened. */
static void
world_draw(struct rng *r, struct world *w, const struct model *before, struct tally *tally)
{
    static char storage[1u << 16];
    struct issues *issues = issues_new();
    struct text t;

    assert_non_null(issues);
    for (;;) {
        model_draw(r, &w->model, before);
        text_init(&t, storage, sizeof(storage));
        model_print(&w->model, &t);
        assert_true(text_ok(&t));
        if (charter_load(text_slice(&t), "drawn", true, issues, &w->c) == ERR_OK)
            break;
        for (size_t i = 0; i < issues->count; i++) {
            if (strstr(issues->items[i].text, "may only narrow") != NULL)
                continue;
            issues_print(issues, stderr);
            fail_msg("a charter was refused for another reason:\n%.*s", SLICE_ARG(text_slice(&t)));
        }
        tally->refused++;
        *issues = (struct issues){.count = 0};
    }
    issues_free(&issues);
    assert_int_equal(policy_compile(w->c, &w->p), ERR_OK);
    w->view = health_view_new(w->c);
    assert_non_null(w->view);
    tally->charters++;
}

static void
world_drop(struct world *w)
{
    health_view_unref(&w->view);
    policy_free(&w->p);
    charter_unref(&w->c);
}

static void
draw_ask(struct rng *r, struct ask *ask)
{
    *ask = (struct ask){.tenant = rng_below(r, TENANTS),
                        .class_name = "",
                        .alias = model_aliases[rng_below(r, ALIASES)],
                        .origin = rng_chance(r, 50) ? "DE" : rng_country(r),
                        .may_assume = rng_chance(r, 70),
                        .ingress = model_regions[rng_below(r, REGIONS)],
                        .own = model_regions[rng_below(r, REGIONS)],
                        .points_elsewhere = rng_chance(r, 4),
                        .now_ms = ORACLE_RENEW_MS - (int64_t)rng_below(r, 1000)};
    if (rng_chance(r, 12))
        ask->class_name = model_classes[rng_below(r, CLASSES)];
    if (rng_chance(r, 1))
        ask->class_name = "other";
    if (rng_chance(r, 2))
        ask->alias = "delta";
    if (rng_chance(r, 6))
        ask->origin = "";
    if (rng_chance(r, 6)) /* at the edge and past it */
        ask->now_ms = ORACLE_RENEW_MS + (int64_t)rng_below(r, 3);
    if (rng_chance(r, 2))
        ask->now_ms = ORACLE_VALID_MS + (int64_t)rng_below(r, 3);
    ask->role_count = rng_below(r, 3);
    for (size_t i = 0; i < ask->role_count; i++)
        ask->roles[i] = rng_chance(r, 80) ? model_roles[rng_below(r, ROLES)] : "guest";
}

static void
facts_of(const struct charter *c, const struct ask *ask, struct slice roles[2],
         struct decide_facts *f)
{
    *f = (struct decide_facts){
        .tenant = charter_find_tenant(c, slice_str(model_tenants[ask->tenant])),
        .class_name = slice_str(ask->class_name),
        .alias = slice_str(ask->alias),
        .remote_host = ask->points_elsewhere ? SLICE_LIT("evil.example") : SLICE_NONE,
        .roles = roles,
        .role_count = ask->role_count,
        .origin = {.country = COUNTRY_NONE,
                   .registered = COUNTRY_NONE,
                   .quality = "drawn",
                   .may_assume = ask->may_assume},
        .ingress_region = charter_find_region(c, slice_str(ask->ingress)),
        .own_region = charter_find_region(c, slice_str(ask->own)),
        .now_ms = ask->now_ms};
    for (size_t i = 0; i < ask->role_count; i++)
        roles[i] = slice_str(ask->roles[i]);
    if (ask->origin[0] != '\0')
        assert_int_equal(country_parse(slice_str(ask->origin), &f->origin.country), ERR_OK);
}

/* ---- Health and choice ------------------------------------------------------------- */

/* Most of a draw's backends share one misfortune, so that each outcome is met often. */
enum fate { FATE_WELL, FATE_DOWN, FATE_WRONG, FATE_WEAK, FATE_FULL, FATE_TRIED, FATE_COUNT };

static void
draw_backend_health(struct rng *r, struct world *w, uint32_t i, enum fate fate)
{
    struct health_backend *h = &w->view->backends[i];

    *h = (struct health_backend){.state = HEALTH_UP,
                                 .age = (enum health_age)rng_below(r, 4),
                                 .slots = rng_chance(r, 50) ? 0 : 1 + (uint32_t)rng_below(r, 6),
                                 .in_flight = (uint32_t)rng_below(r, 3),
                                 .models_matched = ~UINT64_C(0)};
    w->own[i] = (struct choose_own){.in_flight = (uint32_t)rng_below(r, 2)};
    switch (fate) {
    case FATE_DOWN:
        h->state = rng_chance(r, 50) ? HEALTH_DOWN : HEALTH_UNKNOWN;
        w->own[i].ejected = rng_chance(r, 30);
        break;
    case FATE_WRONG:
        h->models_wrong = ~UINT64_C(0);
        h->state = rng_chance(r, 30) ? HEALTH_QUARANTINED : HEALTH_UP;
        break;
    case FATE_WEAK:
        h->models_matched = 0;
        break;
    case FATE_FULL:
        w->own[i] = (struct choose_own){.in_flight = 100, .slots = 4};
        h->in_flight = 100;
        break;
    case FATE_TRIED:
        bits_add(&w->tried, i);
        break;
    case FATE_WELL:
    case FATE_COUNT:
        break;
    }
}

static void
draw_health(struct rng *r, struct world *w)
{
    enum fate common = (enum fate)rng_below(r, FATE_COUNT);
    bool peers = rng_chance(r, 50);

    bits_clear(&w->tried);
    bits_clear(&w->tried_nodes);
    for (uint32_t i = 0; i < w->c->backend_count; i++)
        draw_backend_health(r, w, i,
                            rng_chance(r, 90) ? common : (enum fate)rng_below(r, FATE_COUNT));
    for (uint32_t i = 0; i < w->c->node_count; i++) {
        w->view->nodes[i] = (struct health_node){.alive = peers && rng_chance(r, 90),
                                                 .draining = rng_chance(r, 5),
                                                 .charter_ok = rng_chance(r, 95),
                                                 .rtt_us = (uint32_t)rng_below(r, 90000)};
        if (common == FATE_TRIED && rng_chance(r, 80))
            bits_add(&w->tried_nodes, i);
    }
}

/* Whatever the weather, the choice lies in the oracle's set. */
static void
check_choice(struct rng *r, struct world *w, const struct decide_facts *facts,
             const struct decision *d, const struct verdict *v, struct tally *tally)
{
    struct choose_facts cf = {.charter = w->c,
                              .decision = d,
                              .view = w->view,
                              .own = w->own,
                              .tried = &w->tried,
                              .tried_nodes = &w->tried_nodes,
                              .own_node = CHARTER_NONE,
                              .own_region = facts->own_region,
                              .own_region_only = rng_chance(r, 10)};
    struct choice choice;

    draw_health(r, w);
    for (uint32_t i = 0; i < w->c->node_count; i++)
        if (w->c->nodes[i].region == facts->own_region)
            cf.own_node = i;
    /* All drawn backends are of one kind: some endpoints none of them speaks. */
    cf.kinds = rng_chance(r, 8) ? 1u << KIND_OLLAMA : UINT32_MAX;
    cf.random = rng_next(r);
    choose(&cf, &choice);
    tally->chosen++;
    tally->outcomes[choice.reason]++;
    for (uint32_t i = 0; i < choice.waiting_count; i++)
        assert_true(v->legal[choice.waiting[i]]);
    if (choice.reason != CHOOSE_PICKED)
        return;
    if (!choice.is_node) {
        assert_true(choice.backend < w->c->backend_count);
        assert_true((cf.kinds >> w->c->backends[choice.backend].kind & 1) != 0);
        assert_true(v->legal[choice.backend]);
        assert_int_equal(w->c->backends[choice.backend].region, cf.own_region);
        return;
    }
    assert_true(choice.node < w->c->node_count);
    assert_false(cf.own_region_only || !d->cross_region_ok);
    for (uint32_t i = 0; i < w->c->backend_count; i++)
        if (v->legal[i] && w->c->backends[i].region == w->c->nodes[choice.node].region)
            return;
    fail_msg("a node was chosen whose region holds no lawful backend");
}

/* ---- The property ------------------------------------------------------------------ */

static void
report_difference(const struct world *w, const struct ask *ask, const struct decision *d,
                  const struct verdict *v)
{
    static char storage[1u << 16];
    struct text t;

    text_init(&t, storage, sizeof(storage));
    model_print(&w->model, &t);
    fprintf(stderr, "%.*s\ntenant %s class \"%s\" alias %s origin \"%s\" ingress %s own %s\n",
            SLICE_ARG(text_slice(&t)), model_tenants[ask->tenant], ask->class_name, ask->alias,
            ask->origin, ask->ingress, ask->own);
    fprintf(stderr, "decide %s, oracle %s\n", decide_row(d->reason)->reason, v->reason);
    for (uint32_t i = 0; i < w->c->backend_count; i++)
        fprintf(stderr, "  %s: decide %d, oracle %d\n", w->c->backends[i].name,
                bits_has(&d->legal, i), v->legal[i]);
}

static void
check_one(struct rng *r, struct world *w, struct tally *tally)
{
    struct slice roles[2];
    struct decide_facts facts;
    struct decision d;
    struct verdict v;
    struct ask ask;
    bool same;

    draw_ask(r, &ask);
    facts_of(w->c, &ask, roles, &facts);
    decide(w->p, &facts, &d);
    oracle(&w->model, &ask, &v);
    same = strcmp(decide_row(d.reason)->reason, v.reason) == 0;
    /* The names b00 ... b11 sort by number: both sides count alike. */
    for (uint32_t i = 0; i < BITS_COUNT_MAX && d.reason == DECIDE_PERMITTED; i++)
        same = same && bits_has(&d.legal, i) == (i < w->model.backend_count && v.legal[i]);
    same = same && (d.reason == DECIDE_PERMITTED) == !bits_empty(&d.legal);
    if (!same) {
        report_difference(w, &ask, &d, &v);
        fail_msg("decide and the oracle differ");
    }
    tally->draws++;
    tally->reasons[d.reason]++;
    if (d.reason == DECIDE_PERMITTED)
        check_choice(r, w, &facts, &d, &v, tally);
}

static void
check_coverage(const struct tally *t)
{
    bool covered = true;

    printf("lawful: %llu draws over %llu charters, %llu that widened were refused\n",
           (unsigned long long)t->draws, (unsigned long long)t->charters,
           (unsigned long long)t->refused);
    for (size_t i = 0; i < DECIDE_REASON_COUNT; i++) {
        printf("lawful: decide %-18s %8llu %6.2f %%\n", decide_row((enum decide_reason)i)->reason,
               (unsigned long long)t->reasons[i], 100.0 * (double)t->reasons[i] / (double)t->draws);
        covered = covered && t->reasons[i] * 1000 >= t->draws * COVER_MIN_PERMILLE;
    }
    for (size_t i = 0; i < CHOOSE_REASON_COUNT; i++) {
        printf("lawful: choose %-18s %8llu %6.2f %%\n", choose_row((enum choose_reason)i)->reason,
               (unsigned long long)t->outcomes[i],
               100.0 * (double)t->outcomes[i] / (double)t->chosen);
        covered = covered && t->outcomes[i] * 1000 >= t->chosen * COVER_MIN_PERMILLE;
    }
    assert_true(covered);
    assert_true(t->reasons[DECIDE_PERMITTED] * 100 >= t->draws * PERMITS_MIN_PERCENT);
}

static struct rng
seeded(void)
{
    struct rng r;

    random_fill(&r.state, sizeof(r.state));
    r.state = setting("PORTOLAN_SEED", r.state);
    printf("lawful: PORTOLAN_SEED=%llu\n", (unsigned long long)r.state);
    fflush(stdout);
    return r;
}

static void
test_every_draw_is_lawful(void **state)
{
    static struct world w;
    struct tally tally = {0};
    uint64_t draws = setting("PORTOLAN_DRAWS", DRAWS);
    struct rng r = seeded();

    (void)state;
    while (tally.draws < draws) {
        world_draw(&r, &w, NULL, &tally);
        for (size_t i = 0; i < DRAWS_PER_CHARTER; i++)
            check_one(&r, &w, &tally);
        world_drop(&w);
    }
    check_coverage(&tally);
}

/* ---- A charter that changes under a request ----------------------------------------- */

static bool
same_place(const struct model *a, const struct model *b, size_t i)
{
    const struct model_backend *x = &a->backends[i];
    const struct model_backend *y = &b->backends[i];

    if (strcmp(x->region, y->region) != 0 ||
        strcmp(country_of_region(a, x->region), country_of_region(b, y->region)) != 0 ||
        strcmp(x->country, y->country) != 0 || strcmp(x->storage, y->storage) != 0 ||
        strcmp(x->operated, y->operated) != 0 || strcmp(x->owned, y->owned) != 0 ||
        strcmp(x->transfer, y->transfer) != 0 || x->access.stated != y->access.stated)
        return false;
    for (size_t k = 0; k < x->access.count; k++)
        if (!in_list(&y->access, x->access.items[k]))
            return false;
    for (size_t k = 0; k < y->access.count; k++)
        if (!in_list(&x->access, y->access.items[k]))
            return false;
    return true;
}

struct change_tally {
    uint64_t draws;
    uint64_t permits;
    uint64_t narrowed; /* permits that lost a place */
    uint64_t emptied;  /* permitted by each, nowhere by both */
};

static void
check_change(struct rng *r, struct world *then, struct world *now, struct change_tally *tally)
{
    struct slice roles[2];
    struct decide_facts facts;
    struct decision pinned;
    struct decision d;
    struct verdict v_then;
    struct verdict v_now;
    struct ask ask;
    bool both;
    bool any = false;
    uint32_t before;

    draw_ask(r, &ask);
    facts_of(then->c, &ask, roles, &facts);
    decide(then->p, &facts, &pinned);
    facts_of(now->c, &ask, roles, &facts);
    decide(now->p, &facts, &d);
    before = bits_count(&d.legal);
    both = pinned.reason == DECIDE_PERMITTED && d.reason == DECIDE_PERMITTED;
    narrow_decision(now->c, &d, then->c, &pinned);
    oracle(&then->model, &ask, &v_then);
    oracle(&now->model, &ask, &v_now);
    for (size_t i = 0; i < now->model.backend_count; i++) {
        bool lawful = both && i < then->model.backend_count && v_then.legal[i] && v_now.legal[i] &&
                      same_place(&then->model, &now->model, i);

        assert_int_equal(bits_has(&d.legal, (uint32_t)i), lawful);
        any = any || lawful;
    }
    assert_int_equal(d.reason == DECIDE_PERMITTED, any);
    assert_int_equal(bits_empty(&d.legal), !any);
    tally->draws++;
    tally->permits += any;
    tally->narrowed += any && bits_count(&d.legal) < before;
    tally->emptied += both && !any;
}

static void
test_a_request_across_a_reload_is_lawful_under_both(void **state)
{
    static struct world then;
    static struct world now;
    struct tally charters = {0};
    struct change_tally t = {0};
    uint64_t draws = setting("PORTOLAN_DRAWS", DRAWS) / 8;
    struct rng r = seeded();

    (void)state;
    while (t.draws < draws) {
        world_draw(&r, &then, NULL, &charters);
        world_draw(&r, &now, &then.model, &charters);
        for (size_t i = 0; i < DRAWS_PER_CHARTER; i++)
            check_change(&r, &then, &now, &t);
        world_drop(&then);
        world_drop(&now);
    }
    printf("lawful: %llu draws across a reload, %llu permitted, %llu of them narrowed, %llu "
           "emptied\n",
           (unsigned long long)t.draws, (unsigned long long)t.permits,
           (unsigned long long)t.narrowed, (unsigned long long)t.emptied);
    assert_true(t.permits * 100 >= t.draws * 2);
    assert_true(t.narrowed * 100 >= t.permits * 5);
    assert_true(t.emptied * 1000 >= t.draws);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_draw_is_lawful),
        cmocka_unit_test(test_a_request_across_a_reload_is_lawful_under_both),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
