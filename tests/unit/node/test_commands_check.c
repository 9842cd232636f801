#include "command_scene.h"

/* What `portolan check` says of files that load and yet can't work together, or endanger. */

/* node.jsonc of eu-central-1 with the first `from` in it replaced, as another file beside it. */
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        MESH(test_check_says_nothing_of_what_init_wrote),
        MESH(test_check_refuses_what_cant_work_together),
        MESH(test_check_warns_of_what_endangers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
