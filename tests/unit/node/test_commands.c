#include "command_scene.h"

#include "base/clock.h"
#include "node/args.h"
#include "node/charter_source.h"
#include "residency/identity/identity.h"

/* ---- The call --------------------------------------------------------------------- */

static void
test_a_wrong_call_is_a_usage_error(void **state)
{
    static const char *const calls[][5] = {
        {"frob"},
        {"init"},
        {"init", "a", "b"},
        {"init", "a", "--frob", "x"},
        {"init", "a", "--mesh"},
        {"init", "a", "--mesh", "UPPER"},
        {"token"},
        {"token", "--dir", "/nonexistent"},
        {"charter"},
        {"charter", "frob"},
        {"charter", "sign", "x"},
        {"charter", "show"},
        {"charter", "show", "/nonexistent"},
        {"charter", "verify", "x"},
        {"keys"},
        {"keys", "new", "abc"},
        {"keys", "list"},
        {"keys", "list", "--file", "/nonexistent"},
        {"check"},
        {"check", "--reference", "--config", "x"},
        {"check", "--reference=1"},
        {"explain"},
        {"verify"},
        {"verify", "x"},
        {"report"},
    };
    struct scene *s = *state;

    for (size_t i = 0; i < ARRAY_COUNT(calls); i++) {
        int code = run(s, calls[i][0], calls[i][1], calls[i][2], calls[i][3], calls[i][4], NULL);

        if (code != EXIT_USAGE)
            fail_msg("%s %s: %d", calls[i][0], calls[i][1] == NULL ? "" : calls[i][1], code);
    }
}

static void
test_help_is_good_and_on_standard_output(void **state)
{
    static const char *const commands[] = {"init", "token", "check", "explain", "verify", "report"};
    struct scene *s = *state;

    assert_int_equal(run(s, "--version", NULL), EXIT_GOOD);
    assert_non_null(strstr(s->text, "portolan/"));
    assert_int_equal(run(s, "--help", NULL), EXIT_GOOD);
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++) {
        assert_non_null(strstr(s->text, "usage:"));
        assert_int_equal(run(s, commands[i], "--help", NULL), EXIT_GOOD);
    }
}

static void
test_values_may_be_joined_and_a_double_dash_ends_options(void **state)
{
    struct args_option options[] = {{.name = "--a", .max = 2}, {.name = "-o"}};
    struct args a = {.usage = "x", .options = options, .option_count = 2, .operands_max = 2};
    char *argv[] = {"x", "--a=1", "-o", "2", "--a", "3=4", "--", "--a"};
    int code;

    (void)state;
    assert_true(args_parse(&a, (int)ARRAY_COUNT(argv), argv, &code));
    assert_int_equal(options[0].count, 2);
    assert_string_equal(options[0].values[0], "1");
    assert_string_equal(options[0].values[1], "3=4");
    assert_string_equal(options[1].values[0], "2");
    assert_int_equal(a.operand_count, 1);
    assert_string_equal(a.operands[0], "--a");
}

/* ---- init -------------------------------------------------------------------------- */

static void
test_init_writes_a_mesh_whose_keys_only_the_owner_reads(void **state)
{
    static const char *const secrets[] = {
        "ca/ca.key",
        "clients/ca.key",
        "clients/example.key",
        "backends/ca.key",
        "backends/de-1.key",
        "issuer/issuer.key",
        "api-keys.json",
        "charter/charter-key.pem",
        "nodes/eu-west-1/public.key",
        "nodes/eu-west-1/mesh.key",
        "nodes/eu-west-1/attest.key",
        "nodes/eu-central-1/advert.key",
    };
    static const char *const others[] = {
        "ca/ca.pem",
        "clients/example.pem",
        "backends/ie-us-1.pem",
        "backends/de-clinic.pem",
        "issuer/jwks.json",
        "charter/charter.jsonc",
        "charter/charter.dsse.json",
        "nodes/eu-central-1/node.jsonc",
    };
    struct scene *s = *state;
    struct stat st;

    for (size_t i = 0; i < ARRAY_COUNT(secrets); i++) {
        if (stat(in_mesh(s, secrets[i]), &st) != 0 || (st.st_mode & 0777) != 0600)
            fail_msg("%s", secrets[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        if (stat(in_mesh(s, others[i]), &st) != 0)
            fail_msg("%s", others[i]);
    assert_non_null(strstr(s->text, "ptk_docsfr_"));
}

static void
test_init_never_writes_over_a_mesh(void **state)
{
    struct scene *s = *state;
    char *before = NULL;
    char *after = NULL;
    size_t len = 0;

    assert_int_equal(file_read(in_mesh(s, "ca/ca.key"), 4096, &before, &len), ERR_OK);
    assert_int_equal(run(s, "init", s->mesh, NULL), EXIT_USAGE);
    assert_int_equal(file_read(in_mesh(s, "ca/ca.key"), 4096, &after, &len), ERR_OK);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void
test_init_takes_regions_and_backends(void **state)
{
    struct scene *s = *state;
    char *text = NULL;
    size_t len = 0;

    assert_int_equal(
        run(s, "init", s->mesh, "--regions", "north=SE", "--mesh", "two", "--redis",
            "127.0.0.1:6379", "--backend",
            "name=se-1,region=north,kind=ollama,url=http://127.0.0.1:11434,operator=DE,owner=US,"
            "slots=9,model=mistral-7b@0.3:mistral:7b:"
            "bbb520ec36886cce8e930de5917b195de162bb2e8fccaed154c9f63d4ae3ca91",
            "--backend", "name=se-2,region=north,url=https://[::1]:9000,model=llama-3@1:l", NULL),
        EXIT_GOOD);
    assert_int_equal(run(s, "charter", "show", CHARTER_FILE(s), NULL), EXIT_GOOD);
    assert_non_null(strstr(s->text, "\"mesh\":\"two\""));
    assert_non_null(strstr(s->text, "\"assurance\":\"network\""));
    assert_non_null(strstr(s->text, "\"mistral-7b@0.3\":\"mistral:7b\""));
    assert_non_null(strstr(s->text, "\"sha256:bbb520ec"));
    assert_non_null(strstr(s->text, "\"owner\":{\"name\":\"Owner US\",\"country\":\"US\"}"));
    assert_non_null(strstr(s->text, "\"models\":{\"mistral\":[\"mistral-7b@0.3\"],\"llama\":"));
    assert_int_equal(file_read(in_mesh(s, "nodes/north-1/node.jsonc"), 65536, &text, &len), ERR_OK);
    assert_non_null(strstr(text, "\"address\": \"127.0.0.1:6379\""));
    free(text);
}

static void
test_init_refuses_what_it_can_not_make(void **state)
{
    static const char *const specs[] = {
        "",
        "name=x",
        "name=../x,region=eu-west,url=https://h,model=a@1:b",
        "name=ca,region=eu-west,url=https://h,model=a@1:b",
        "name=x,region=mars,url=https://h,model=a@1:b",
        "name=x,region=eu-west,model=a@1:b",
        "name=x,region=eu-west,url=https://h,model=a",
        "name=x,region=eu-west,url=https://h,model=a@1:b,slots=0",
        "name=x,region=eu-west,url=https://h,model=a@1:b,operator=XX",
        "name=x,region=eu-west,url=https://h,model=a@1:b,frob=1",
        "name=x,region=eu-west,url=ftp://h,model=a@1:b", /* the charter says so, when all is there
                                                          */
    };
    static const char *const parts[] = {"api-keys.json", "backends", "ca",   "charter",
                                        "clients",       "issuer",   "nodes"};
    struct scene *s = *state;

    for (size_t i = 0; i < ARRAY_COUNT(specs); i++)
        if (run(s, "init", s->mesh, "--backend", specs[i], NULL) != EXIT_USAGE)
            fail_msg("%s", specs[i]);
    assert_int_equal(run(s, "init", s->mesh, "--regions", "eu-west=XX", NULL), EXIT_USAGE);
    assert_int_equal(run(s, "init", s->mesh, "--regions", "a=DE,a=IE", NULL), EXIT_USAGE);
    assert_int_equal(run(s, "init", s->mesh, "--redis", "nowhere", NULL), EXIT_USAGE);
    assert_int_equal(run(s, "init", s->mesh, "--geoip", "/nonexistent", NULL), EXIT_USAGE);
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        if (access(in_mesh(s, parts[i]), F_OK) == 0)
            fail_msg("%s is left", parts[i]);
    /* Nor does it touch what somebody else put there. */
    assert_int_equal(file_mkdirs(in_mesh(s, "issuer"), 0700), ERR_OK);
    assert_int_equal(run(s, "init", s->mesh, NULL), EXIT_USAGE);
    assert_int_equal(access(in_mesh(s, "issuer"), F_OK), 0);
    assert_int_equal(access(in_mesh(s, "charter"), F_OK), -1);
}

/* ---- charter ------------------------------------------------------------------------ */

static void
test_a_charter_verifies_against_its_key_alone(void **state)
{
    struct scene *s = *state;

    assert_int_equal(run(s, "charter", "verify", CHARTER_FILE(s), "--trust", TRUST_FILE(s), NULL),
                     EXIT_GOOD);
    assert_non_null(strstr(s->text, "good: mesh acme, version 1"));
    assert_int_equal(run(s, "charter", "verify", CHARTER_FILE(s), "--trust", TRUST_FILE(s),
                         "--threshold", "2", NULL),
                     EXIT_USAGE);
    assert_true(text_format(s->mesh, sizeof(s->mesh), "%s/other", s->dir));
    assert_int_equal(run(s, "init", s->mesh, NULL), EXIT_GOOD);
    {
        char foreign[256];

        assert_true(slice_copy_str(slice_str(TRUST_FILE(s)), foreign, sizeof(foreign)));
        assert_true(text_format(s->mesh, sizeof(s->mesh), "%s/mesh", s->dir));
        assert_int_equal(run(s, "charter", "verify", CHARTER_FILE(s), "--trust", foreign, NULL),
                         EXIT_NO);
    }
}

static void
test_signing_refuses_a_source_with_a_fault(void **state)
{
    struct scene *s = *state;
    const char *bad = in_mesh(s, "bad.jsonc");

    assert_int_equal(file_write(bad, SLICE_LIT("{\"v\":1,\"frob\":2}"), 0600), ERR_OK);
    assert_int_equal(run(s, "charter", "sign", bad, "--key", in_mesh(s, "charter/charter-key.pem"),
                         "-o", in_mesh(s, "bad.dsse.json"), NULL),
                     EXIT_NO);
    assert_int_equal(access(in_mesh(s, "bad.dsse.json"), F_OK), -1);
    assert_int_equal(run(s, "check", "--charter", bad, NULL), EXIT_NO);
    assert_int_equal(run(s, "check", "--charter", in_mesh(s, "charter/charter.jsonc"), NULL),
                     EXIT_GOOD);
}

static void
test_strip_leaves_strings_alone(void **state)
{
    static const struct {
        const char *from;
        const char *to;
    } cases[] = {
        {"{ \"a\" : 1 , }", "{\"a\":1}"},
        {"[1, 2, // x\n]", "[1,2]"},
        {"[1/* , */,2,/*]*/]", "[1,2]"},
        {"{\"a // b\": \"/* \\\" */, ]\"}", "{\"a // b\":\"/* \\\" */, ]\"}"},
        {"[\"\\\\\", 1]", "[\"\\\\\",1]"},
        {"// x", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char *out = NULL;
        size_t len = 0;

        assert_int_equal(charter_source_strip(slice_str(cases[i].from), &out, &len), ERR_OK);
        assert_string_equal(out, cases[i].to);
        assert_int_equal(len, strlen(cases[i].to));
        free(out);
    }
}

/* ---- keys and tokens ----------------------------------------------------------------- */

static void
test_a_new_key_is_added_once(void **state)
{
    struct scene *s = *state;
    const char *file = in_mesh(s, "api-keys.json");

    assert_int_equal(run(s, "keys", "new", "robot", "--file", file, NULL), EXIT_GOOD);
    assert_int_equal(strncmp(s->text, "ptk_robot_", 10), 0);
    assert_int_equal(strlen(s->text), 10 + 43 + 1);
    assert_int_equal(run(s, "keys", "new", "robot", "--file", file, NULL), EXIT_USAGE);
    assert_int_equal(run(s, "keys", "new", "No", "--file", file, NULL), EXIT_USAGE);
    assert_int_equal(run(s, "keys", "list", "--file", file, NULL), EXIT_GOOD);
    assert_non_null(strstr(s->text, "docsfr "));
    assert_non_null(strstr(s->text, "robot "));
    assert_null(strstr(s->text, "ptk_"));
}

static void
test_a_first_key_makes_the_file(void **state)
{
    struct scene *s = *state;
    const char *file = in_mesh(s, "new-keys.json");

    assert_int_equal(run(s, "keys", "new", "a", "--file", file, NULL), EXIT_GOOD);
    assert_int_equal(run(s, "keys", "new", "b", "--file", file, NULL), EXIT_GOOD);
    assert_int_equal(run(s, "keys", "list", "--file", file, NULL), EXIT_GOOD);
    assert_non_null(strstr(s->text, "\nb "));
}

/* Whom the folder's own key set takes a printed token for. */
static enum identity_reason
identify_printed(const struct scene *s, struct identity *out)
{
    static const char *const issuers[] = {"https://idp.acme.example"};
    static const char *const files[] = {"jwks.json"};
    struct issues *issues = issues_new();
    struct identity_keys *keys = NULL;
    struct identity_cache *cache = NULL;
    struct charter_trust trust;
    const char *trusted = TRUST_FILE(s);
    struct charter *c;
    char field[8192];
    char *jwks = NULL;
    size_t len = 0;
    struct slice text;
    enum identity_reason r;
    struct identity_facts facts = {.authorization_count = 1, .now_ms = clock_wall_ms()};

    assert_int_equal(file_read(in_mesh(s, "issuer/jwks.json"), 65536, &jwks, &len), ERR_OK);
    text = slice_of(jwks, len);
    assert_int_equal(identity_keys_load(&(struct identity_keys_opts){.issuers = issuers,
                                                                     .jwks_files = files,
                                                                     .jwks_texts = &text,
                                                                     .issuer_count = 1},
                                        issues, &keys),
                     ERR_OK);
    assert_int_equal(identity_cache_new(16, &cache), ERR_OK);
    assert_true(charter_source_trust(&trusted, 1, 1, &trust));
    c = charter_source_open(CHARTER_FILE(s), &trust);
    assert_non_null(c);
    assert_true(
        text_format(field, sizeof(field), "Bearer %.*s", (int)strcspn(s->text, "\n"), s->text));
    facts.authorization = slice_str(field);
    r = identify(c, keys, cache, &facts, out);
    charter_unref(&c);
    charter_source_trust_free(&trust);
    identity_cache_free(&cache);
    identity_keys_free(&keys);
    issues_free(&issues);
    free(jwks);
    return r;
}

static void
test_a_token_is_taken_by_its_own_mesh(void **state)
{
    struct scene *s = *state;
    struct identity id;

    assert_int_equal(run(s, "token", "--dir", s->mesh, "--tenant", "acme/de", "--subject", "bob",
                         "--roles", "analyst,user", NULL),
                     EXIT_GOOD);
    assert_int_equal(identify_printed(s, &id), IDENTITY_OK);
    assert_string_equal(id.subject, "jwt:https://idp.acme.example|bob");
    assert_int_equal(id.role_count, 2);
    assert_int_equal(run(s, "token", "--dir", s->mesh, "--tenant", "acme/de", "--bind",
                         in_mesh(s, "clients/example.pem"), NULL),
                     EXIT_GOOD);
    assert_int_equal(identify_printed(s, &id), IDENTITY_BINDING);
}

static void
test_a_token_needs_a_tenant_and_a_short_life(void **state)
{
    struct scene *s = *state;

    assert_int_equal(run(s, "token", "--dir", s->mesh, "--tenant", "nobody", NULL), EXIT_USAGE);
    assert_int_equal(run(s, "token", "--dir", s->mesh, "--tenant", "acme", "--subject", "", NULL),
                     EXIT_USAGE);
    assert_int_equal(run(s, "token", "--dir", s->mesh, "--tenant", "acme", "--minutes", "61", NULL),
                     EXIT_USAGE);
    assert_int_equal(run(s, "token", "--dir", s->mesh, "--tenant", "acme", "--bind",
                         in_mesh(s, "issuer/jwks.json"), NULL),
                     EXIT_USAGE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BARE(test_a_wrong_call_is_a_usage_error),
        BARE(test_help_is_good_and_on_standard_output),
        BARE(test_values_may_be_joined_and_a_double_dash_ends_options),
        MESH(test_init_writes_a_mesh_whose_keys_only_the_owner_reads),
        MESH(test_init_never_writes_over_a_mesh),
        BARE(test_init_takes_regions_and_backends),
        BARE(test_init_refuses_what_it_can_not_make),
        MESH(test_a_charter_verifies_against_its_key_alone),
        MESH(test_signing_refuses_a_source_with_a_fault),
        BARE(test_strip_leaves_strings_alone),
        MESH(test_a_new_key_is_added_once),
        MESH(test_a_first_key_makes_the_file),
        MESH(test_a_token_is_taken_by_its_own_mesh),
        MESH(test_a_token_needs_a_tenant_and_a_short_life),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
