#include "charter_fixture.h"

#include "base/file.h"
#include "crypto/dsse.h"

static bool
has_issue(const struct issues *issues, const char *part)
{
    for (size_t i = 0; i < issues->count; i++)
        if (strstr(issues->items[i].text, part) != NULL ||
            strstr(issues->items[i].path, part) != NULL)
            return true;
    return false;
}

/* Loads and expects one fault per part. */
static void
assert_faults(const struct fixture_parts *parts, const char *const *expected)
{
    struct issues *issues = issues_new();
    struct charter *c = fixture_load(parts, issues);

    assert_null(c);
    for (; *expected != NULL; expected++) {
        if (has_issue(issues, *expected))
            continue;
        issues_print(issues, stderr);
        fail_msg("no fault says: %s", *expected);
    }
    issues_free(&issues);
}

static void
test_example_loads(void **state)
{
    struct issues *issues = issues_new();
    struct charter *c = NULL;
    char *text = NULL;
    size_t len = 0;

    (void)state;
    assert_int_equal(
        file_read(PORTOLAN_SOURCE "/configs/charter.example.jsonc", 1u << 20, &text, &len), ERR_OK);
    assert_int_equal(charter_load(slice_of(text, len), "charter.example.jsonc", true, issues, &c),
                     ERR_OK);
    assert_string_equal(c->mesh, "acme-mesh");
    assert_int_equal(c->version, 7);
    assert_int_equal(c->tenant_count, 4);
    assert_int_equal(c->backend_count, 4);
    assert_int_equal(c->nodes[charter_find_node(c, SLICE_LIT("eu-central-1"))].key_count, 3);
    assert_string_equal(c->nodes[charter_find_node(c, SLICE_LIT("clinic-1"))].host, "fd00:c11::4");
    assert_string_equal(c->backends[charter_find_backend(c, SLICE_LIT("ie-1"))].path_prefix,
                        "/openai");
    assert_int_equal(c->backends[charter_find_backend(c, SLICE_LIT("ie-1"))].port, 443);
    assert_int_equal(c->identity_count, 2);
    charter_unref(&c);
    free(text);
    issues_free(&issues);
}

static void
test_names_are_found_in_byte_order(void **state)
{
    struct charter *c = fixture_charter(FIXTURE_ROOT ",\"acme/de\":{},\"acme-x\":{"
                                                     "\"process_in\":[],\"operators_from\":[],"
                                                     "\"origins\":[],\"models\":{},"
                                                     "\"auth\":[\"jwt\"]}");

    (void)state;
    assert_int_equal(charter_find_tenant(c, SLICE_LIT("acme")), 0);
    assert_int_equal(charter_find_tenant(c, SLICE_LIT("acme-x")), 1);
    assert_int_equal(charter_find_tenant(c, SLICE_LIT("acme/de")), 2);
    assert_int_equal(charter_find_tenant(c, SLICE_LIT("acme/")), CHARTER_NONE);
    assert_int_equal(c->tenants[2].parent, 0);
    assert_int_equal(c->tenants[2].top, 0);
    assert_int_equal(c->tenants[1].top, 1);
    assert_string_equal(c->regions[0].name, "alps");
    assert_int_equal(charter_find_backend(c, SLICE_LIT("b-de")), 2);
    assert_int_equal(charter_find_node_spiffe(c, SLICE_LIT("spiffe://t/n2")), 1);
    assert_int_equal(charter_find_node_spiffe(c, SLICE_LIT("spiffe://t/n")), CHARTER_NONE);
    charter_unref(&c);
}

static void
test_faults_in_the_mesh_are_named(void **state)
{
    static const struct {
        struct fixture_parts parts;
        const char *expected[3];
    } cases[] = {
        {{.tenants = FIXTURE_ROOT, .rest = "\"tenant\":1,"}, {"did you mean \"tenants\""}},
        {{.tenants = FIXTURE_ROOT, .head = "\"v\":2,"}, {"v", "mesh", "seed"}},
        {{.tenants = FIXTURE_ROOT, .backends = "\"backends\":{\"b\":{\"region\":\"east\"}},"},
         {"\"east\" is no region", "assurance", "url"}},
        {{.tenants = FIXTURE_ROOT,
          .backends = "\"backends\":{" FIXTURE_BACKEND("b", "west", "EU", "IE", "IE", "IE", "", "",
                                                       "\"m@9\":\"m\"") "},"},
         {"\"EU\" is not an assigned country code", "\"m@9\" is no model"}},
        {{.tenants = FIXTURE_ROOT,
          .backends = "\"backends\":{" FIXTURE_BACKEND("b", "west", "IE", "IE", "IE", "IE", "",
                                                       "\"transfer\":\"maybe\",", "") "},"},
         {"must be none, adequacy:<decision> or scc:<reference>"}},
        {{.tenants = FIXTURE_ROOT,
          .rest = "\"client_cas\":{\"ca\":{\"sha256\":\"00\",\"tenants\":[\"acme\"],"
                  "\"identities\":[{\"dns\":\"a\",\"tenant\":\"acme\"},"
                  "{\"dns\":\"a\",\"tenant\":\"acme\"},{\"tenant\":\"x\"}]}},"},
         {"SHA-256", "listed twice", "exactly one of"}},
        {{.tenants = FIXTURE_ROOT,
          .rest = "\"api_keys\":{\"k\":{\"tenant\":\"acne\",\"subject\":\"s\"}},"},
         {"\"acne\" is no tenant"}},
        {{.tenants = FIXTURE_ROOT,
          .rest = "\"api_keys\":{\"docs-tool\":{\"tenant\":\"acme\",\"subject\":\"s\"}},"},
         {"docs-tool"}},
        {{.tenants = FIXTURE_ROOT, .rest = "\"Bad\":1,\"issuers\":[],"},
         {"unknown key \"Bad\"", "must be an object"}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *expected[4] = {cases[i].expected[0], cases[i].expected[1], cases[i].expected[2],
                                   NULL};

        assert_faults(&cases[i].parts, expected);
    }
}

static void
test_a_top_level_tenant_states_what_is_required(void **state)
{
    struct fixture_parts parts = {.tenants = "\"acme\":{}"};
    static const char *const expected[] = {"tenants.acme.process_in", "tenants.acme.operators_from",
                                           "tenants.acme.origins",    "tenants.acme.models",
                                           "tenants.acme.auth",       NULL};

    (void)state;
    assert_faults(&parts, expected);
}

static void
test_a_promise_that_cannot_be_kept_is_refused(void **state)
{
    struct fixture_parts parts = {.tenants = "\"acme\":{\"capture\":\"none\"}"};
    static const char *const expected[] = {"capture \"none\" can't be had yet", NULL};

    (void)state;
    assert_faults(&parts, expected);
}

static void
test_widening_names_tenant_member_and_item(void **state)
{
    static const struct {
        const char *child;
        const char *expected;
    } cases[] = {
        {"\"process_in\":[\"DE\",\"@EU\"]", "item \"@EU\" of process_in admits HU"},
        {"\"process_in\":[\"US\"]", "item \"US\" of process_in admits US"},
        {"\"operators_from\":[\"US\"]", "item \"US\" of operators_from"},
        {"\"access_from\":[\"US\"]", "item \"US\" of access_from"},
        {"\"origins\":[\"IS\"]", "item \"IS\" of origins"},
        {"\"classes\":{\"phi\":{\"process_in\":[\"HU\"]}}",
         "item \"HU\" of classes.phi.process_in"},
        {"\"by_origin\":{\"CH\":{\"process_in\":[\"HU\"]}}",
         "item \"HU\" of by_origin.CH.process_in"},
        {"\"models\":{\"other\":[\"m@1\"]}", "models has \"other\""},
        {"\"models\":{\"big\":[\"m@1\"]}", "models.big has \"m@1\""},
        {"\"auth\":[\"mtls\"]", "auth has \"mtls\""},
        {"\"evidence\":\"declared\"", "evidence \"declared\" is wider"},
        {"\"capture\":\"none\"", "capture \"none\" is wider"},
        {"\"regime\":\"hipaa\"", "regime \"hipaa\" is wider"},
        {"\"retention_days\":366", "retention_days 366 is more than 365"},
        {"\"remote_hosts\":[\"a.example\"]", "remote_hosts has \"a.example\""},
        {"\"passthrough\":[\"/v1/own\"]", "passthrough has \"/v1/own\""},
        {"\"unknown_origin\":\"home\",\"home_country\":\"DE\"", "unknown_origin \"home\" widens"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *expected[] = {cases[i].expected, "tenant \"acme/de\"", NULL};
        char tenants[2048];
        struct fixture_parts parts = {.tenants = tenants};

        assert_true(text_format(tenants, sizeof(tenants), "%s,\"acme/de\":{%s}", FIXTURE_ROOT,
                                cases[i].child));
        assert_faults(&parts, expected);
    }
}

static void
test_grandchildren_are_held_to_every_ancestor(void **state)
{
    static const struct {
        const char *child;
        const char *grandchild;
        const char *expected;
    } cases[] = {
        {"\"process_in\":[\"DE\"]", "\"process_in\":[\"DE\",\"FR\"]", "admits FR"},
        {"\"process_in\":[\"DE\",\"!region:west\"]", "\"process_in\":[\"region:west\"]",
         "admits region:west"},
        {"\"roles\":{\"a\":[\"m\"]}", "\"roles\":{\"b\":[\"m\"]}", "roles has \"b\""},
        {"\"roles\":{\"a\":[\"m\"]}", "\"roles\":{\"a\":[\"m\",\"big\"]}", "roles.a has \"big\""},
        {"\"on_revoke\":\"cut\"", "\"on_revoke\":\"finish\"", "on_revoke \"finish\" is wider"},
        {"\"stream_usage\":true", "\"stream_usage\":false", "stream_usage \"false\" is wider"},
        {"\"limits\":{\"concurrent\":5}", "\"limits\":{\"concurrent\":6}", "limits.concurrent 6"},
        {"\"ingress_in\":[\"west\"]", "\"ingress_in\":[\"alps\"]", "ingress_in has \"alps\""},
        {"\"classes\":{\"phi\":{\"process_in\":[\"DE\"]}}",
         "\"classes\":{\"phi\":{\"process_in\":[\"FR\"]}}", "classes.phi.process_in admits FR"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *expected[] = {cases[i].expected, "tenant \"acme/de/x\"", NULL};
        char tenants[2048];
        struct fixture_parts parts = {.tenants = tenants};

        assert_true(text_format(tenants, sizeof(tenants), "%s,\"acme/de\":{%s},\"acme/de/x\":{%s}",
                                FIXTURE_ROOT, cases[i].child, cases[i].grandchild));
        assert_faults(&parts, expected);
    }
}

static void
test_a_parent_must_exist(void **state)
{
    struct fixture_parts parts = {.tenants = FIXTURE_ROOT ",\"beta/de\":{}"};
    static const char *const expected[] = {"its parent \"beta\" is no tenant", NULL};

    (void)state;
    assert_faults(&parts, expected);
}

static uint16_t
country(const char *code)
{
    uint16_t out = COUNTRY_NONE;

    assert_int_equal(country_parse(slice_str(code), &out), ERR_OK);
    return out;
}

static void
test_a_child_inherits_and_narrows(void **state)
{
    struct charter *c = fixture_charter(
        FIXTURE_ROOT ",\"acme/de\":{\"process_in\":[\"region:central\",\"FR\"],\"models\":"
                     "{\"m\":[\"m@2\"]},\"auth\":[\"mtls+jwt\"],\"classes\":{\"phi\":"
                     "{\"process_in\":[\"FR\"]}}},\"acme/de/x\":{\"process_in\":"
                     "[\"region:central\"]},\"acme/fr\":{}");
    const struct charter_tenant *de = &c->tenants[1];
    const struct charter_tenant *x = &c->tenants[2];
    const struct charter_tenant *fr = &c->tenants[3];

    (void)state;
    assert_true(country_set_has(&c->tenants[0].classes[0].process_in.countries, country("DE")));
    assert_false(country_set_has(&c->tenants[0].classes[0].process_in.countries, country("HU")));
    assert_false(country_set_has(&de->classes[0].process_in.countries, country("DE")));
    assert_int_equal(de->alias_count, 1);
    assert_int_equal(de->auth, AUTH_MTLS_JWT);
    assert_true(country_set_has(&de->classes[1].process_in.countries, country("FR")));
    /* The class that the grandchild inherits is held to its own, stricter places. */
    assert_int_equal(x->class_count, 2);
    assert_true(country_set_empty(&x->classes[1].process_in.countries));
    /* What is not stated is shared. */
    assert_ptr_equal(fr->classes, c->tenants[0].classes);
    assert_ptr_equal(fr->aliases, c->tenants[0].aliases);
    charter_unref(&c);
}

static void
test_roles_follow_a_shorter_list_of_models(void **state)
{
    struct charter *c =
        fixture_charter(FIXTURE_ROOT ",\"acme/de\":{\"roles\":{\"a\":[\"m\",\"big\"],\"b\":"
                                     "[\"big\"]}},\"acme/de/x\":{\"models\":{\"m\":[\"m@1\"]}}");
    const struct charter_tenant *x = &c->tenants[2];

    (void)state;
    assert_true(x->has_roles);
    assert_int_equal(x->role_count, 2);
    assert_int_equal(x->roles[0].alias_count, 1);
    assert_string_equal(x->aliases[x->roles[0].aliases[0]].name, "m");
    assert_int_equal(x->roles[1].alias_count, 0);
    charter_unref(&c);
}

static void
test_policy_digest_is_over_jcs(void **state)
{
    static const char expected[] =
        "{\"access_from\":[\"DE\"],\"auth\":[\"api_key\",\"jwt\"],\"by_origin\":{\"CH\":"
        "{\"process_in\":{\"countries\":[],\"regions\":[\"!west\"]}}},\"capture\":\"commitment\","
        "\"classes\":{\"phi\":{\"access_from\":[],\"operators_from\":[\"DE\"],\"owners_from\":"
        "[\"DE\"],\"process_in\":{\"countries\":[],\"regions\":[\"!west\",\"central\"]}}},"
        "\"evidence\":\"name\",\"home_country\":\"DE\",\"ingress_in\":[\"alps\",\"central\","
        "\"west\"],\"limits\":{\"concurrent\":5},\"models\":{\"m\":[\"m@2\",\"m@1\"]},"
        "\"on_revoke\":\"finish\",\"operators_from\":[\"DE\"],\"origins\":[\"CH\",\"DE\"],"
        "\"owners_from\":[\"DE\"],\"process_in\":{\"countries\":[\"DE\"],\"regions\":"
        "[\"!west\",\"central\"]},\"regime\":\"hipaa\",\"remote_hosts\":[\"a.example\"],"
        "\"retention_days\":365,\"rewrite_alias\":true,\"roles\":{\"a\":[\"m\"]},\"tenant\":"
        "\"t\",\"unknown_origin\":\"deny\"}";
    struct charter *c = fixture_charter(
        "\"t\":{\"process_in\":[\"DE\",\"region:central\",\"!region:west\"],\"operators_from\":"
        "[\"DE\"],\"origins\":[\"DE\",\"CH\"],\"by_origin\":{\"CH\":{\"process_in\":[]}},"
        "\"models\":{\"m\":[\"m@2\",\"m@1\"]},\"auth\":[\"jwt\",\"api_key\"],\"classes\":"
        "{\"phi\":{\"process_in\":[\"region:central\"],\"access_from\":[]}},\"home_country\":"
        "\"DE\",\"limits\":{\"concurrent\":5},\"regime\":\"hipaa\",\"remote_hosts\":"
        "[\"a.example\"],\"roles\":{\"a\":[\"m\"]}}");
    uint8_t digest[HASH_SIZE];

    (void)state;
    /* The rule for CH keeps the exclusion that bounds it. */
    hash_sha256(SLICE_LIT(expected), digest);
    assert_memory_equal(digest, c->tenants[0].digest, HASH_SIZE);
    charter_unref(&c);
}

static void
test_passthrough(void **state)
{
    static const char top[] =
        "\"t\":{\"process_in\":[\"DE\"],\"operators_from\":[\"DE\"],\"origins\":[\"DE\"],"
        "\"models\":{\"m\":[\"m@1\"]},\"auth\":[\"jwt\"]%s},\"t/a\":{},"
        "\"t/b\":{\"passthrough\":[]}";
    char tenants[1024];
    struct charter *with;
    struct charter *without;

    (void)state;
    assert_true(text_format(tenants, sizeof(tenants), top,
                            ",\"passthrough\":[\"/v1/own\",\"/a.b-c_1/D\"]"));
    with = fixture_charter(tenants);
    assert_true(text_format(tenants, sizeof(tenants), top, ""));
    without = fixture_charter(tenants);
    assert_true(with->has_paths && !without->has_paths);
    assert_true(charter_passes(&with->tenants[0], SLICE_LIT("/v1/own")));
    assert_true(charter_passes(&with->tenants[1], SLICE_LIT("/a.b-c_1/D"))); /* inherited */
    assert_false(charter_passes(&with->tenants[1], SLICE_LIT("/v1/own/")));
    assert_false(charter_passes(&with->tenants[2], SLICE_LIT("/v1/own"))); /* narrowed */
    assert_false(charter_passes(&without->tenants[0], SLICE_LIT("/v1/own")));
    /* It is part of the policy; a policy without it is as before it existed. */
    assert_memory_not_equal(with->tenants[0].digest, without->tenants[0].digest, HASH_SIZE);
    assert_memory_equal(with->tenants[2].digest, without->tenants[2].digest, HASH_SIZE);
    charter_unref(&with);
    charter_unref(&without);
}

static void
test_stream_usage(void **state)
{
    static const char top[] =
        "\"t\":{\"process_in\":[\"DE\"],\"operators_from\":[\"DE\"],\"origins\":[\"DE\"],"
        "\"models\":{\"m\":[\"m@1\"]},\"auth\":[\"jwt\"]%s},\"t/a\":{},"
        "\"t/b\":{\"stream_usage\":true}";
    static const char *const expected[] = {"stream_usage", NULL};
    char tenants[1024];
    struct fixture_parts parts = {.tenants = tenants};
    struct charter *with;
    struct charter *without;
    struct charter *stated;

    (void)state;
    assert_true(text_format(tenants, sizeof(tenants), top, ",\"stream_usage\":true"));
    with = fixture_charter(tenants);
    assert_true(text_format(tenants, sizeof(tenants), top, ",\"stream_usage\":false"));
    stated = fixture_charter(tenants);
    assert_true(text_format(tenants, sizeof(tenants), top, ""));
    without = fixture_charter(tenants);
    assert_true(with->tenants[0].stream_usage && with->tenants[1].stream_usage);
    assert_false(without->tenants[0].stream_usage || without->tenants[1].stream_usage);
    assert_true(without->tenants[2].stream_usage);
    /* It is part of the policy; a policy without it is as before it existed. */
    assert_memory_not_equal(with->tenants[0].digest, without->tenants[0].digest, HASH_SIZE);
    assert_memory_equal(stated->tenants[0].digest, without->tenants[0].digest, HASH_SIZE);
    charter_unref(&with);
    charter_unref(&stated);
    charter_unref(&without);
    assert_true(text_format(tenants, sizeof(tenants), top, ",\"stream_usage\":\"yes\""));
    assert_faults(&parts, expected);
}

static void
test_references_keep_it_alive(void **state)
{
    struct charter *c = fixture_charter(FIXTURE_ROOT);
    struct charter *second = charter_ref(c);

    (void)state;
    charter_unref(&c);
    assert_null(c);
    assert_string_equal(second->mesh, "test");
    charter_unref(&second);
}

static void
test_an_envelope_needs_enough_trusted_keys(void **state)
{
    struct fixture_parts parts = {.tenants = FIXTURE_ROOT};
    char *payload = fixture_text(&parts);
    struct issues *issues = issues_new();
    struct charter_trust trust = {.key_count = 2};
    struct charter *c = NULL;
    char *storage = malloc(1u << 18);
    uint8_t digest[HASH_SIZE];
    struct text envelope;

    (void)state;
    assert_int_equal(key_generate(KEY_EDDSA, &trust.keys[0]), ERR_OK);
    assert_int_equal(key_generate(KEY_ES256, &trust.keys[1]), ERR_OK);
    for (size_t signers = 1; signers <= 2; signers++) {
        text_init(&envelope, storage, 1u << 18);
        assert_int_equal(dsse_sign(SLICE_LIT(CHARTER_PAYLOAD_TYPE), slice_str(payload),
                                   (const struct key *const *)trust.keys, signers, &envelope),
                         ERR_OK);
        for (trust.threshold = 0; trust.threshold <= 2; trust.threshold++) {
            bool enough = trust.threshold > 0 && signers >= trust.threshold;

            assert_int_equal(charter_open(text_slice(&envelope), "c", &trust, issues, &c),
                             enough ? ERR_OK : ERR_AUTH);
            assert_int_equal(enough, c != NULL);
            if (c == NULL)
                continue;
            hash_sha256(slice_str(payload), digest);
            assert_memory_equal(digest, c->digest, HASH_SIZE);
            charter_unref(&c);
        }
    }
    text_init(&envelope, storage, 1u << 18);
    trust.threshold = 1;
    assert_int_equal(dsse_sign(SLICE_LIT("text/plain"), slice_str(payload),
                               (const struct key *const *)trust.keys, 2, &envelope),
                     ERR_OK);
    assert_int_equal(charter_open(text_slice(&envelope), "c", &trust, issues, &c), ERR_BADMSG);
    key_free(&trust.keys[0]);
    key_free(&trust.keys[1]);
    issues_free(&issues);
    free(storage);
    free(payload);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_loads),
        cmocka_unit_test(test_names_are_found_in_byte_order),
        cmocka_unit_test(test_faults_in_the_mesh_are_named),
        cmocka_unit_test(test_a_top_level_tenant_states_what_is_required),
        cmocka_unit_test(test_a_promise_that_cannot_be_kept_is_refused),
        cmocka_unit_test(test_widening_names_tenant_member_and_item),
        cmocka_unit_test(test_grandchildren_are_held_to_every_ancestor),
        cmocka_unit_test(test_a_parent_must_exist),
        cmocka_unit_test(test_a_child_inherits_and_narrows),
        cmocka_unit_test(test_roles_follow_a_shorter_list_of_models),
        cmocka_unit_test(test_policy_digest_is_over_jcs),
        cmocka_unit_test(test_passthrough),
        cmocka_unit_test(test_stream_usage),
        cmocka_unit_test(test_references_keep_it_alive),
        cmocka_unit_test(test_an_envelope_needs_enough_trusted_keys),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
