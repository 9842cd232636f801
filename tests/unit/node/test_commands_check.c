#include "command_scene.h"

/* What `portolan check` says of files that load and yet can't work together, or endanger. */

/* A file of the mesh with the first `from` in it replaced, as another one. */
static const char *
changed(const struct scene *s, const char *name, const char *from, const char *to)
{
    const char *out = in_mesh(s, "nodes/eu-central-1/changed.jsonc");
    char *text = NULL;
    size_t len = 0;
    char *at;
    char *all;

    assert_int_equal(file_read(in_mesh(s, name), 1u << 20, &text, &len), ERR_OK);
    at = strstr(text, from);
    if (at == NULL)
        fail_msg("%s has no %s", name, from);
    all = malloc(len + strlen(to) + 1);
    assert_non_null(all);
    *at = '\0';
    assert_true(text_format(all, len + strlen(to) + 1, "%s%s%s", text, to, at + strlen(from)));
    assert_int_equal(file_write(out, slice_str(all), 0600), ERR_OK);
    free(text);
    free(all);
    return out;
}

#define CENTRAL "nodes/eu-central-1/node.jsonc"

static void
test_check_says_nothing_of_what_init_wrote(void **state)
{
    struct scene *s = *state;

    need_geo();
    assert_int_equal(run(s, "check", "--config", in_mesh(s, CENTRAL), NULL), EXIT_GOOD);
    assert_string_equal(s->errors, "");
}

static void
test_check_refuses_what_cant_work_together(void **state)
{
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\"cert\": \"mesh.pem\", \"key\": \"mesh.key\"",
         "\"cert\": \"../eu-west-1/mesh.pem\", \"key\": \"../eu-west-1/mesh.key\"",
         "mesh.pem: is of \"spiffe://"},
        {":8451\",", ":8459\",",
         "listeners.mesh.address: is on port 8459, the charter says 8451 for this node"},
        {"127.0.0.1:8451", "127.0.0.9:8451",
         "listeners.mesh.address: is not at 127.0.0.1, where the charter says"},
        {"127.0.0.1:8451", "127.0.0.1:8450",
         "listeners.mesh.address: is that of listeners.public.address too"},
        {"127.0.0.1:8450", "0.0.0.0:8451",
         "listeners.mesh.address: is that of listeners.public.address too"},
        {"\"https://idp.", "\"https://other.", ": is no issuer of the charter"},
        {"\"https://idp.", "\"https://other.", "issuers: has no \"https://idp."},
        {"\"api_keys\": \"../../api-keys.json\",", "",
         "api_keys: missing: the charter has 1 API keys"},
        {"clients/ca.pem", "ca/ca.pem", "certificates that are no client CA of the charter"},
        {"\"geoip\":", "\"ledger\": {\"dir\": \"mesh.pem\"}, \"geoip\":", "ledger.dir: \""},
        {"\"geoip\":", "\"state_dir\": \"mesh.pem/state\", \"geoip\":", "state_dir: \""},
    };
    struct scene *s = *state;

    need_geo();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int code =
            run(s, "check", "--config", changed(s, CENTRAL, cases[i].from, cases[i].to), NULL);

        /* A bundle without a known CA may still hold the root of one: see the warnings. */
        if (code != (strstr(cases[i].from, "clients/") != NULL ? EXIT_GOOD : EXIT_NO) ||
            strstr(s->errors, cases[i].words) == NULL)
            fail_msg("%s: %d, %s", cases[i].to, code, s->errors);
        if (strstr(s->errors, "changed.jsonc: ") != NULL)
            fail_msg("no line: %s", s->errors);
    }
}

static void
test_check_warns_of_what_endangers(void **state)
{
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"127.0.0.1:8452", "0.0.0.0:8452", "listeners.admin.address: is not on loopback"},
        {"\"client_auth\"", "\"trusted_proxies\": [\"10.0.0.0/8\", \"0.0.0.0/0\"], \"client_auth\"",
         "\"0.0.0.0/0\" trusts everybody"},
        {"\"client_auth\"", "\"trusted_proxies\": [\"::/0\"], \"client_auth\"",
         "\"::/0\" trusts everybody"},
        {"\"optional\"", "\"none\"", "listeners.public.client_auth: is \"none\""},
    };
    struct scene *s = *state;

    need_geo();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int code =
            run(s, "check", "--config", changed(s, CENTRAL, cases[i].from, cases[i].to), NULL);

        if (code != EXIT_GOOD || strncmp(s->errors, "warning: ", 9) != 0 ||
            strstr(s->errors, cases[i].words) == NULL)
            fail_msg("%s: %d, %s", cases[i].to, code, s->errors);
    }
    assert_int_equal(chmod(in_mesh(s, "nodes/eu-central-1/attest.key"), 0640), 0);
    assert_int_equal(run(s, "check", "--config", in_mesh(s, CENTRAL), NULL), EXIT_GOOD);
    assert_non_null(strstr(s->errors, "keys.attest: \""));
    assert_non_null(strstr(s->errors, "can be read by others (mode 640)"));
}

#define SOURCE "charter/charter.jsonc"
#define SIGNER(s) in_mesh(s, "charter/charter-key.pem")

static void
copy_between(const char *text, const char *from, const char *to, char *out, size_t size)
{
    const char *at = strstr(text, from);
    const char *end = at == NULL ? NULL : strstr(at, to);

    assert_non_null(end);
    assert_true(slice_copy_str(slice_of(at, (size_t)(end - at)), out, size));
}

/* check, sign and verify say that an envelope which was made before is not fit. */
static void
test_an_expired_charter_is_not_good(void **state)
{
    struct scene *s = *state;
    char until[256];
    char *text = NULL;
    size_t len = 0;
    const char *source;

    assert_int_equal(file_read(in_mesh(s, SOURCE), 1u << 20, &text, &len), ERR_OK);
    copy_between(text, "\"issued\"", "\"seed\"", until, sizeof(until));
    free(text);
    source = changed(s, SOURCE, until,
                     "\"issued\": \"2020-01-01T00:00:00Z\", \"renew_by\": "
                     "\"2020-02-01T00:00:00Z\",\n\"valid_until\": \"2020-03-01T00:00:00Z\",\n");
    assert_int_equal(run(s, "check", "--charter", source, NULL), EXIT_NO);
    assert_non_null(strstr(s->errors, "changed.jsonc:9: valid_until: has passed"));
    assert_int_equal(
        run(s, "charter", "sign", source, "--key", SIGNER(s), "-o", in_mesh(s, "old.dsse"), NULL),
        EXIT_GOOD);
    assert_int_equal(strncmp(s->errors, "warning: ", 9), 0);
    assert_non_null(strstr(s->errors, ":9: valid_until: has passed"));
    assert_int_equal(
        run(s, "charter", "verify", in_mesh(s, "old.dsse"), "--trust", TRUST_FILE(s), NULL),
        EXIT_NO);
    assert_non_null(strstr(s->errors, "old.dsse:1: valid_until: has passed"));
    assert_string_equal(s->text, "");
}

static void
test_a_charter_past_renew_by_is_warned_of(void **state)
{
    struct scene *s = *state;
    char until[256];
    char *text = NULL;
    size_t len = 0;
    const char *source;

    need_geo();
    assert_int_equal(file_read(in_mesh(s, SOURCE), 1u << 20, &text, &len), ERR_OK);
    copy_between(text, "\"issued\"", "\"valid_until\"", until, sizeof(until));
    free(text);
    source = changed(s, SOURCE, until,
                     "\"issued\": \"2020-01-01T00:00:00Z\", \"renew_by\": "
                     "\"2020-02-01T00:00:00Z\",\n");
    assert_int_equal(run(s, "check", "--charter", source, NULL), EXIT_GOOD);
    assert_int_equal(strncmp(s->errors, "warning: ", 9), 0);
    assert_int_equal(
        run(s, "charter", "sign", source, "--key", SIGNER(s), "-o", CHARTER_FILE(s), NULL),
        EXIT_GOOD);
    assert_int_equal(run(s, "check", "--config", in_mesh(s, CENTRAL), NULL), EXIT_GOOD);
    assert_non_null(strstr(s->errors, "renew_by: has passed"));
}

static void
test_nodes_have_keys_and_addresses_of_their_own(void **state)
{
    struct scene *s = *state;
    char west[1024], central[1024], jwk[512], own[512];
    char *text = NULL;
    size_t len = 0;
    const char *source;

    assert_int_equal(file_read(in_mesh(s, SOURCE), 1u << 20, &text, &len), ERR_OK);
    copy_between(strstr(text, "\"nodes\""), "\"eu-west-1\"", "]}", west, sizeof(west));
    copy_between(strstr(text, "\"nodes\""), "\"eu-central-1\"", "]}", central, sizeof(central));
    free(text);
    copy_between(west, "\"jwk\": {", "}", jwk, sizeof(jwk));
    copy_between(central, "\"jwk\": {", "}", own, sizeof(own));
    source = changed(s, SOURCE, own, jwk);
    assert_int_equal(run(s, "check", "--charter", source, NULL), EXIT_NO);
    assert_non_null(strstr(s->errors, "keys[0]: this attest key is one of node \"eu-"));
    assert_int_equal(
        run(s, "charter", "sign", source, "--key", SIGNER(s), "-o", in_mesh(s, "x.dsse"), NULL),
        EXIT_NO);
    assert_null(strstr(s->errors, "changed.jsonc: "));
    source = changed(s, SOURCE, "127.0.0.1:8451", "127.0.0.1:8441");
    assert_int_equal(run(s, "check", "--charter", source, NULL), EXIT_NO);
    assert_non_null(strstr(s->errors, ".address: is that of node \"eu-"));
    source = changed(s, SOURCE, "\"use\": \"attest\"", "\"use\": \"advert\"");
    assert_int_equal(run(s, "check", "--charter", source, NULL), EXIT_NO);
    assert_non_null(strstr(s->errors, "keys: no key is for \"attest\""));
}

static void
test_a_place_that_takes_no_envelope_is_named(void **state)
{
    struct scene *s = *state;

    assert_int_equal(run(s, "charter", "sign", in_mesh(s, SOURCE), "--key", SIGNER(s), "-o",
                         "/nonexist/x", NULL),
                     EXIT_USAGE);
    assert_int_equal(strncmp(s->errors, "/nonexist/x: can't be written: ", 31), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        MESH(test_check_says_nothing_of_what_init_wrote),
        MESH(test_check_refuses_what_cant_work_together),
        MESH(test_check_warns_of_what_endangers),
        MESH(test_an_expired_charter_is_not_good),
        MESH(test_a_charter_past_renew_by_is_warned_of),
        MESH(test_nodes_have_keys_and_addresses_of_their_own),
        MESH(test_a_place_that_takes_no_envelope_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
