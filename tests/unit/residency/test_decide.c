#include "charter_fixture.h"

#include "base/clock.h"
#include "residency/decide.h"

/* One tenant with everything that a decision looks at. */
#define TENANTS                                                                                 \
    "\"t\":{\"process_in\":[\"@EU\",\"CH\",\"!HU\"],\"operators_from\":[\"@EU\",\"CH\"],"       \
    "\"owners_from\":[\"@EU\",\"CH\",\"US\"],\"origins\":[\"DE\",\"CH\",\"IE\"],\"by_origin\":" \
    "{\"CH\":{\"process_in\":[\"CH\"]}},\"ingress_in\":[\"central\",\"west\"],\"models\":"      \
    "{\"m\":[\"m@1\",\"m@2\"],\"big\":[\"big@1\"]},\"roles\":{\"all\":[\"m\",\"big\"],"         \
    "\"some\":[\"m\"]},\"classes\":{\"phi\":{\"process_in\":[\"region:central\"]},\"none\":"    \
    "{\"process_in\":[]}},\"home_country\":\"DE\",\"unknown_origin\":\"home\",\"auth\":"        \
    "[\"jwt\"],\"remote_hosts\":[\"files.example\"]},"                                          \
    "\"t/deny\":{\"unknown_origin\":\"deny\"},"                                                 \
    "\"us\":{\"process_in\":[\"CH\"],\"operators_from\":[\"CH\"],\"origins\":[\"DE\"],"         \
    "\"models\":{\"m\":[\"m@1\"]},\"auth\":[\"jwt\"],\"regime\":\"hipaa\"}"

#define NOW_MS (FIXTURE_ISSUED_MS + FIXTURE_DAY_MS)

struct ask {
    const char *tenant;
    const char *class_name;
    const char *alias;
    const char *role;
    const char *origin; /* "" for unknown */
    const char *ingress;
    const char *own;
    const char *host;
    int64_t now_ms;
    bool no_assume;
};

struct world {
    struct charter *c;
    struct policy *p;
    struct slice role;
};

static void
world_open(struct world *w, const char *tenants)
{
    *w = (struct world){.c = fixture_charter(tenants)};
    assert_int_equal(policy_compile(w->c, &w->p), ERR_OK);
}

static void
world_close(struct world *w)
{
    policy_free(&w->p);
    charter_unref(&w->c);
}

static struct slice
text_or(const char *s, const char *otherwise)
{
    return slice_str(s == NULL ? otherwise : s);
}

static struct decide_facts
facts_of(struct world *w, const struct ask *ask)
{
    struct decide_facts f = {
        .tenant = charter_find_tenant(w->c, text_or(ask->tenant, "t")),
        .class_name = text_or(ask->class_name, ""),
        .alias = text_or(ask->alias, "m"),
        .remote_host = slice_str(ask->host),
        .roles = &w->role,
        .role_count = 1,
        .origin = {.country = COUNTRY_NONE,
                   .registered = COUNTRY_NONE,
                   .source = ORIGIN_SOCKET,
                   .quality = "found",
                   .may_assume = !ask->no_assume},
        .ingress_region = charter_find_region(w->c, text_or(ask->ingress, "central")),
        .own_region = charter_find_region(w->c, text_or(ask->own, "central")),
        .now_ms = ask->now_ms == 0 ? NOW_MS : ask->now_ms,
    };

    w->role = text_or(ask->role, "some");
    if (ask->origin == NULL || ask->origin[0] != '\0')
        assert_int_equal(country_parse(text_or(ask->origin, "DE"), &f.origin.country), ERR_OK);
    return f;
}

/* "b-de b-ie": the names of a set. */
static void
assert_legal(const struct charter *c, const struct bits *legal, const char *expected)
{
    char names[256];
    struct text t;

    text_init(&t, names, sizeof(names) - 1);
    for (uint32_t i = bits_next(legal, 0); i < BITS_COUNT_MAX; i = bits_next(legal, i + 1)) {
        text_add_str(&t, t.used == 0 ? "" : " ");
        text_add_str(&t, c->backends[i].name);
    }
    names[t.used] = '\0';
    assert_string_equal(names, expected);
}

static void
test_reasons_and_sets(void **state)
{
    static const struct {
        struct ask ask;
        enum decide_reason reason;
        const char *legal;
    } cases[] = {
        {{0}, DECIDE_PERMITTED, "b-ch b-de b-ie"},
        {{.alias = "big", .role = "all"}, DECIDE_PERMITTED, "b-de"},
        {{.class_name = "phi"}, DECIDE_PERMITTED, "b-de"},
        {{.origin = "CH"}, DECIDE_PERMITTED, "b-ch"},
        {{.origin = ""}, DECIDE_PERMITTED, "b-ch b-de b-ie"},
        {{.tenant = "us", .role = "x"}, DECIDE_PERMITTED, "b-ch b-ch-bare"},
        {{.now_ms = FIXTURE_ISSUED_MS + 20 * FIXTURE_DAY_MS + 1}, DECIDE_CHARTER_EXPIRED, ""},
        {{.class_name = "pii"}, DECIDE_CLASS_UNKNOWN, ""},
        {{.ingress = "alps"}, DECIDE_INGRESS_FORBIDDEN, ""},
        {{.ingress = "nowhere"}, DECIDE_INGRESS_FORBIDDEN, ""},
        {{.origin = "", .no_assume = true}, DECIDE_ORIGIN_UNKNOWN, ""},
        {{.origin = "", .tenant = "t/deny"}, DECIDE_ORIGIN_UNKNOWN, ""},
        {{.origin = "FR"}, DECIDE_ORIGIN_FORBIDDEN, ""},
        {{.alias = "M"}, DECIDE_MODEL_NOT_FOUND, ""},
        {{.alias = "big"}, DECIDE_MODEL_FORBIDDEN, ""},
        {{.role = "nobody"}, DECIDE_MODEL_FORBIDDEN, ""},
        {{.host = "evil.example"}, DECIDE_REMOTE_REFERENCE, ""},
        {{.class_name = "none"}, DECIDE_NO_LEGAL_PLACE, ""},
        {{.class_name = "phi", .origin = "CH"}, DECIDE_NO_LEGAL_PLACE, ""},
        {{.origin = "CH", .alias = "big", .role = "all"}, DECIDE_NO_LEGAL_MODEL, ""},
    };
    struct world w;

    (void)state;
    world_open(&w, TENANTS);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct decide_facts facts = facts_of(&w, &cases[i].ask);
        struct decision d;

        decide(w.p, &facts, &d);
        assert_string_equal(decide_row(d.reason)->reason, decide_row(cases[i].reason)->reason);
        assert_legal(w.c, &d.legal, cases[i].legal);
    }
    world_close(&w);
}

static void
test_past_renewal_only_the_own_region_is_left(void **state)
{
    const int64_t renew_ms = FIXTURE_ISSUED_MS + 10 * FIXTURE_DAY_MS;
    struct ask last = {.now_ms = renew_ms};
    struct ask past = {.now_ms = renew_ms + 1};
    struct ask nowhere = {.now_ms = renew_ms + 1, .own = "nowhere"};
    struct decide_facts facts;
    struct decision d;
    struct world w;

    (void)state;
    world_open(&w, TENANTS);
    facts = facts_of(&w, &last);
    decide(w.p, &facts, &d);
    assert_true(d.cross_region_ok);
    assert_legal(w.c, &d.legal, "b-ch b-de b-ie");
    facts = facts_of(&w, &past);
    decide(w.p, &facts, &d);
    assert_false(d.cross_region_ok);
    assert_legal(w.c, &d.legal, "b-de");
    facts = facts_of(&w, &nowhere);
    decide(w.p, &facts, &d);
    assert_int_equal(d.reason, DECIDE_NO_LEGAL_PLACE);
    world_close(&w);
}

static void
test_an_assumed_origin_says_so(void **state)
{
    struct ask ask = {.origin = ""};
    struct decide_facts facts;
    struct decision d;
    struct world w;
    char code[3];

    (void)state;
    world_open(&w, TENANTS);
    facts = facts_of(&w, &ask);
    decide(w.p, &facts, &d);
    country_text(d.origin.country, code);
    assert_string_equal(code, "DE");
    assert_string_equal(origin_source_name(d.origin.source), "assumed");
    assert_string_equal(d.role, "some");
    world_close(&w);
}

static void
test_a_missing_fact_satisfies_no_rule(void **state)
{
#define REST "\"assurance\":\"network\",\"kind\":\"openai\",\"url\":\"http://h\",\"slots\":1,"
#define MODELS "\"models\":{\"m@1\":\"m\"}}"
#define REGION "{\"region\":\"central\","
#define PLACED REGION "\"country\":\"DE\",\"storage_country\":\"DE\","
    static const char backends[] =
        "\"backends\":{"
        "\"a\":" PLACED "\"operator\":{\"country\":\"DE\"},\"owner\":{\"country\":\"DE\"},"
        "\"access_from\":[]," REST MODELS ","
        "\"b\":" REGION "\"storage_country\":\"DE\",\"operator\":{\"country\":\"DE\"},"
        "\"owner\":{\"country\":\"DE\"},\"access_from\":[]," REST MODELS ","
        "\"c\":" REGION "\"country\":\"DE\",\"operator\":{\"country\":\"DE\"},"
        "\"owner\":{\"country\":\"DE\"},\"access_from\":[]," REST MODELS ","
        "\"d\":" PLACED "\"operator\":{\"name\":\"x\"},\"owner\":{\"country\":\"DE\"},"
        "\"access_from\":[]," REST MODELS ","
        "\"e\":" PLACED "\"operator\":{\"country\":\"DE\"},\"access_from\":[]," REST MODELS ","
        "\"f\":" PLACED
        "\"operator\":{\"country\":\"DE\"},\"owner\":{\"country\":\"DE\"}," REST MODELS "},";
    static const char *const why[] = {NULL,
                                      "process_in: the backend's country is missing",
                                      "process_in: the backend's storage_country is missing",
                                      "operators_from: the operator's country is missing",
                                      "owners_from: the owner's country is missing",
                                      "access_from: the backend does not say who has remote "
                                      "access"};
    struct fixture_parts parts = {.backends = backends, .tenants = TENANTS};
    struct issues *issues = issues_new();
    struct world w = {.c = fixture_load(&parts, issues)};
    struct ask ask = {0};
    struct decide_facts facts;
    struct decision d;

    (void)state;
    assert_non_null(w.c);
    assert_int_equal(policy_compile(w.c, &w.p), ERR_OK);
    facts = facts_of(&w, &ask);
    decide(w.p, &facts, &d);
    assert_legal(w.c, &d.legal, "a");
    for (uint32_t i = 0; i < ARRAY_COUNT(why); i++) {
        const char *said = decide_why_not(w.p, &facts, &d, i);

        assert_int_equal(said == NULL, why[i] == NULL);
        if (said != NULL)
            assert_string_equal(said, why[i]);
    }
    world_close(&w);
    issues_free(&issues);
}

static void
test_why_not_agrees_with_the_set(void **state)
{
    static const struct ask asks[] = {{0},
                                      {.class_name = "phi"},
                                      {.origin = "CH"},
                                      {.alias = "big", .role = "all"},
                                      {.class_name = "none"},
                                      {.tenant = "us", .role = "x"},
                                      {.origin = "FR"},
                                      {.now_ms = FIXTURE_ISSUED_MS + 15 * FIXTURE_DAY_MS}};
    struct world w;

    (void)state;
    world_open(&w, TENANTS);
    for (size_t i = 0; i < ARRAY_COUNT(asks); i++) {
        struct decide_facts facts = facts_of(&w, &asks[i]);
        struct decision d;

        decide(w.p, &facts, &d);
        for (uint32_t b = 0; b < w.c->backend_count; b++)
            assert_int_equal(decide_why_not(w.p, &facts, &d, b) == NULL, bits_has(&d.legal, b));
    }
    world_close(&w);
}

static void
test_an_excluded_region_stays_excluded(void **state)
{
    struct ask ask = {.tenant = "x/y", .alias = "m"};
    struct decide_facts facts;
    struct decision d;
    struct world w;

    (void)state;
    world_open(&w, "\"x\":{\"process_in\":[\"@EU\",\"CH\",\"!region:west\"],\"operators_from\":"
                   "[\"@EU\",\"CH\",\"US\"],\"origins\":[\"DE\"],\"models\":{\"m\":[\"m@1\"]},"
                   "\"auth\":[\"jwt\"]},\"x/y\":{\"process_in\":[\"DE\",\"IE\"]}");
    facts = facts_of(&w, &ask);
    decide(w.p, &facts, &d);
    assert_legal(w.c, &d.legal, "b-de");
    world_close(&w);
}

static void
test_without_the_eea_group_every_place_needs_a_transfer_tool(void **state)
{
    static const char mesh[] =
        "\"regions\":{\"central\":{\"country\":\"DE\"},\"west\":{\"country\":\"IE\"},\"alps\":"
        "{\"country\":\"CH\"}},\"nodes\":{},\"models\":{\"m@1\":{},\"m@2\":{},\"big@1\":{}},";
    struct fixture_parts parts = {
        .mesh = mesh,
        .tenants = "\"t\":{\"process_in\":[\"DE\",\"CH\"],\"operators_from\":[\"DE\",\"CH\"],"
                   "\"origins\":[\"DE\"],\"models\":{\"m\":[\"m@1\"]},\"auth\":[\"jwt\"]}"};
    struct issues *issues = issues_new();
    struct world w = {.c = fixture_load(&parts, issues)};
    struct ask ask = {0};
    struct decide_facts facts;
    struct decision d;

    (void)state;
    assert_non_null(w.c);
    assert_int_equal(policy_compile(w.c, &w.p), ERR_OK);
    facts = facts_of(&w, &ask);
    decide(w.p, &facts, &d);
    assert_legal(w.c, &d.legal, "b-ch");
    world_close(&w);
    issues_free(&issues);
}

static void
test_the_preferred_version_is_served(void **state)
{
    struct world w;
    uint32_t m;

    (void)state;
    world_open(&w, TENANTS);
    m = charter_find_alias(&w.c->tenants[0], SLICE_LIT("m"));
    assert_int_equal(decide_served(w.c, &w.c->tenants[0], m, 2), 1); /* b-de lists m@2 first */
    assert_int_equal(decide_served(w.c, &w.c->tenants[0], m, 3), 0);
    assert_int_equal(decide_served(w.c, &w.c->tenants[0],
                                   charter_find_alias(&w.c->tenants[0], SLICE_LIT("big")), 3),
                     CHARTER_NONE);
    world_close(&w);
}

static void
test_hosts_and_digest(void **state)
{
    struct bits legal;
    uint8_t digest[HASH_SIZE], expected[HASH_SIZE];
    struct world w;

    (void)state;
    world_open(&w, TENANTS);
    assert_true(decide_remote_host_ok(&w.c->tenants[0], SLICE_LIT("Files.example")));
    assert_false(decide_remote_host_ok(&w.c->tenants[0], SLICE_LIT("a.files.example")));
    bits_clear(&legal);
    bits_add(&legal, 3);
    bits_add(&legal, 0);
    decide_legal_digest(w.c, &legal, digest);
    hash_sha256(SLICE_LIT("b-ch\nb-ie\n"), expected);
    assert_memory_equal(digest, expected, HASH_SIZE);
    world_close(&w);
}

#define MANY_TENANTS 10000
#define MANY_BACKENDS 1000

/* A thousand backends; the names sort in the order of their numbers. */
static char *
many_backends(void)
{
    size_t size = MANY_BACKENDS * 320;
    char *text = malloc(size);
    struct text t;

    assert_non_null(text);
    text_init(&t, text, size - 1);
    text_add_str(&t, "\"backends\":{");
    for (int i = 0; i < MANY_BACKENDS; i++)
        text_addf(&t,
                  "%s\"b%04d\":{\"region\":\"west\",\"country\":\"IE\",\"storage_country\":\"IE\","
                  "\"operator\":{\"country\":\"IE\"},\"owner\":{\"country\":\"IE\"},"
                  "\"access_from\":[],\"assurance\":\"network\",\"kind\":\"vllm\",\"url\":"
                  "\"http://h\",\"slots\":1,\"models\":{\"m@%d\":\"m\"}}",
                  i == 0 ? "" : ",", i, i % 2 + 1);
    text_add_str(&t, "},");
    assert_true(text_ok(&t));
    text[t.used] = '\0';
    return text;
}

static void
test_ten_thousand_tenants_hold_a_handful_of_sets(void **state)
{
    char *backends = many_backends();
    size_t size = strlen(backends) + sizeof(fixture_mesh) + sizeof(TENANTS) + 1024;
    char *text = malloc(size);
    struct charter_tenant *many = calloc(MANY_TENANTS, sizeof(*many));
    struct issues *issues = issues_new();
    struct charter *c = NULL;
    struct policy *p = NULL;
    struct mono start;

    (void)state;
    assert_non_null(text);
    assert_non_null(many);
    assert_true(text_format(text, size, "{%s%s%s\"tenants\":{%s}}", fixture_head, fixture_mesh,
                            backends, TENANTS));
    assert_int_equal(charter_load(slice_str(text), "c", false, issues, &c), ERR_OK);
    /* Equal rules that share no memory: nothing but their content says that they are equal. */
    for (size_t i = 0; i < MANY_TENANTS; i++) {
        many[i] = c->tenants[i % c->tenant_count];
        many[i].parent = CHARTER_NONE;
        many[i].classes = malloc(many[i].class_count * sizeof(*many[i].classes));
        assert_non_null(many[i].classes);
        memcpy(many[i].classes, c->tenants[i % c->tenant_count].classes,
               many[i].class_count * sizeof(*many[i].classes));
    }
    c->tenants = many;
    c->tenant_count = MANY_TENANTS;
    start = clock_mono();
    assert_int_equal(policy_compile(c, &p), ERR_OK);
    assert_true(mono_ms_since(clock_mono(), start) < 2000);
    assert_true(policy_set_count(p) < 12);
    policy_free(&p);
    charter_unref(&c);
    for (size_t i = 0; i < MANY_TENANTS; i++)
        free(many[i].classes);
    free(many);
    free(text);
    free(backends);
    issues_free(&issues);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reasons_and_sets),
        cmocka_unit_test(test_past_renewal_only_the_own_region_is_left),
        cmocka_unit_test(test_an_assumed_origin_says_so),
        cmocka_unit_test(test_a_missing_fact_satisfies_no_rule),
        cmocka_unit_test(test_why_not_agrees_with_the_set),
        cmocka_unit_test(test_an_excluded_region_stays_excluded),
        cmocka_unit_test(test_without_the_eea_group_every_place_needs_a_transfer_tool),
        cmocka_unit_test(test_the_preferred_version_is_served),
        cmocka_unit_test(test_hosts_and_digest),
        cmocka_unit_test(test_ten_thousand_tenants_hold_a_handful_of_sets),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
