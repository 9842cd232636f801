#include "node/config.h"

#include "base/check.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define TRUST                                                                    \
    "\"trust\":{\"threshold\":1,\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"
#define LISTENERS                                                                           \
    "\"listeners\":{\"public\":{\"address\":\"127.0.0.1:0\",\"cert\":\"c.pem\",\"key\":\"/" \
    "k.pem\","                                                                              \
    "\"names\":[\"gw.example\"]},\"admin\":{\"address\":\"127.0.0.1:0\"}}"
#define REST "\"keys\":{\"attest\":\"a.pem\",\"advert\":\"b.pem\"},\"geoip\":{\"path\":\"g.mmdb\"}"
#define NAMES "\"v\":1,\"mesh\":\"m\",\"node\":\"n\",\"charter\":\"charter.json\""
#define BASE NAMES "," TRUST "," LISTENERS "," REST

struct loaded {
    char dir[64];
    char path[96];
    struct issues *issues;
    struct config *config;
    enum err e;
};

static void
load(struct loaded *l, const char *text)
{
    FILE *f;

    memset(l, 0, sizeof(*l));
    (void)slice_copy_str(slice_str("/tmp/portolan-config-XXXXXX"), l->dir, sizeof(l->dir));
    assert_non_null(mkdtemp(l->dir));
    assert_true(text_format(l->path, sizeof(l->path), "%s/node.json", l->dir));
    f = fopen(l->path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    l->issues = issues_new();
    assert_non_null(l->issues);
    l->e = config_load(l->path, l->issues, &l->config);
}

static void
unload(struct loaded *l)
{
    config_free(&l->config);
    issues_free(&l->issues);
    assert_int_equal(unlink(l->path), 0);
    assert_int_equal(rmdir(l->dir), 0);
}

static void
test_smallest_file_and_defaults(void **state)
{
    struct loaded l;
    char want[128];

    (void)state;
    load(&l, "{ // the smallest\n" BASE "}");
    issues_print(l.issues, stderr);
    assert_int_equal(l.e, ERR_OK);
    assert_string_equal(l.config->mesh, "m");
    assert_int_equal(l.config->trust.threshold, 1);
    assert_int_equal(l.config->trust.key_count, 1);
    assert_int_equal(l.config->workers, 0); /* "v" must not end there */
    assert_int_equal(l.config->body_bytes_max, 8388608);
    assert_int_equal(l.config->head_timeout_ms, 10000);
    assert_int_equal(l.config->idle_timeout_ms, 60000);
    assert_int_equal(l.config->requests_per_connection, 1000);
    assert_int_equal(l.config->connections_per_address, 1024);
    assert_true(l.config->memory_mib >= CONFIG_MEMORY_MIB_MIN); /* from the machine */
    assert_int_equal(l.config->redis_count, 0);
    assert_string_equal(l.config->ledger_durability, "disk");
    assert_string_equal(l.config->public_client_auth, "none");
    assert_string_equal(l.config->names[0], "gw.example");
    assert_string_equal(l.config->public_key, "/k.pem");
    assert_string_equal(l.config->mesh_cert, "");
    assert_true(text_format(want, sizeof(want), "%s/c.pem", l.dir));
    assert_string_equal(l.config->public_cert, want);
    assert_true(text_format(want, sizeof(want), "%s/ledger", l.dir));
    assert_string_equal(l.config->ledger_dir, want);
    unload(&l);
}

static void
test_values(void **state)
{
    struct loaded l;

    (void)state;
    load(&l, "{" BASE ",\"workers\":3,\"limits\":{\"body_bytes\":1024,\"memory_mib\":64,"
             "\"requests_per_connection\":0},"
             "\"credentials\":{\"a\":\"/a\",\"b\":\"/b\"},"
             "\"store\":{\"kind\":\"redis\",\"servers\":[{\"address\":\"127.0.0.1:6379\","
             "\"user\":\"u\"},{\"address\":\"[::1]:6380\",\"tls\":true,\"ca\":\"/ca\"}]}}");
    issues_print(l.issues, stderr);
    assert_int_equal(l.e, ERR_OK);
    assert_int_equal(l.config->workers, 3);
    assert_int_equal(l.config->body_bytes_max, 1024);
    assert_int_equal(l.config->memory_mib, 64);
    assert_int_equal(l.config->requests_per_connection, 0);
    assert_int_equal(l.config->credentials.count, 2);
    assert_string_equal(l.config->credentials.items[1].path, "/b");
    assert_int_equal(l.config->redis_count, 2);
    assert_string_equal(l.config->redis[0].user, "u");
    assert_false(l.config->redis[0].tls);
    assert_true(l.config->redis[1].tls);
    unload(&l);
}

static void
test_faults_name_their_place(void **state)
{
    static const struct {
        const char *text;
        const char *path; /* part of the path of some issue */
    } rows[] = {
        {"{" BASE ",\"wrokers\":2}", "wrokers"},
        {"{" BASE ",\"limits\":{\"body_byte\":2048}}", "body_byte"},
        {"{" BASE ",\"limits\":{\"body_bytes\":1}}", "limits.body_bytes"},
        {"{" BASE ",\"limits\":{\"body_bytes\":67108865}}", "limits.body_bytes"},
        {"{" BASE ",\"limits\":{\"memory_mib\":63}}", "limits.memory_mib"},
        {"{" BASE ",\"limits\":{\"connections_per_address\":-1}}",
         "limits.connections_per_address"},
        {"{" BASE ",\"workers\":\"2\"}", "workers"},
        {"{" BASE ",\"workers\":1.5}", "workers"},
        {"{" BASE ",\"ledger\":{\"durability\":\"none\"}}", "ledger.durability"},
        {"{" BASE ",\"store\":{\"kind\":\"etcd\"}}", "store.kind"},
        {"{" BASE ",\"store\":{\"kind\":\"redis\"}}", "store.servers"},
        {"{" BASE
         ",\"store\":{\"kind\":\"redis\",\"servers\":[{\"address\":\"x:1\",\"tls\":true}]}}",
         "ca"},
        {"{" BASE ",\"cas\":[\"a\"]}", "cas"},
        {"{" BASE ",\"geoip\":{}}", ""}, /* a key twice: no place can be trusted */
        {"{" NAMES "," LISTENERS "," REST "}", "trust"},
        {"{" TRUST "," LISTENERS "," REST "}", "mesh"},
        {"{" NAMES "," TRUST "," REST "}", "listeners.public.address"},
        {"{" NAMES "," LISTENERS "," REST ",\"trust\":{\"threshold\":2,\"keys\":[]}}",
         "trust.keys"},
        {"{" NAMES "," LISTENERS "," REST ",\"trust\":{\"threshold\":1,\"keys\":[{}]}}",
         "trust.keys"},
        {"[]", ""},
        {"{", ""},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct loaded l;
        bool found = false;

        load(&l, rows[i].text);
        assert_int_not_equal(l.e, ERR_OK);
        assert_null(l.config);
        for (size_t k = 0; k < l.issues->count; k++)
            found = found || strstr(l.issues->items[k].path, rows[i].path) != NULL;
        if (!found) {
            issues_print(l.issues, stderr);
            fail_msg("row %zu names no \"%s\"", i, rows[i].path);
        }
        unload(&l);
    }
}

static void
test_client_auth_needs_a_ca(void **state)
{
    static const char text[] =
        "{" NAMES "," TRUST "," REST ",\"listeners\":{\"public\":{\"address\":\"127.0.0.1:0\","
        "\"cert\":\"c\",\"key\":\"k\",\"names\":[\"a\"],\"client_auth\":\"required\"},"
        "\"admin\":{\"address\":\"127.0.0.1:0\"}}}";
    struct loaded l;

    (void)state;
    load(&l, text);
    assert_int_equal(l.e, ERR_BADMSG);
    assert_int_equal(l.issues->count, 1);
    assert_non_null(strstr(l.issues->items[0].path, "client_ca"));
    unload(&l);
}

static void
test_missing_file(void **state)
{
    struct issues *issues = issues_new();
    struct config *c = NULL;

    (void)state;
    assert_non_null(issues);
    assert_int_equal(config_load("/nonexistent/node.json", issues, &c), ERR_NOENT);
    assert_null(c);
    assert_true(issues_any(issues));
    issues_free(&issues);
}

#define PUBLIC(more)                                                                    \
    "{" NAMES "," TRUST ",\"listeners\":{\"public\":{\"address\":\"127.0.0.1:0\"," more \
    "\"names\":[\"gw.example\"]},\"admin\":{\"address\":\"127.0.0.1:0\"}}," REST "}"

static void
test_certs_stand_beside_cert_and_key_or_alone(void **state)
{
    struct loaded l;
    char want[128];

    (void)state;
    load(&l, PUBLIC("\"certs\":[{\"cert\":\"1.pem\",\"key\":\"/1.key\"},"
                    "{\"cert\":\"2.pem\",\"key\":\"/2.key\",\"names\":[\"a.b\",\"*.b\"]}],"));
    assert_int_equal(l.e, ERR_OK);
    assert_string_equal(l.config->public_cert, "");
    assert_int_equal(l.config->cert_count, 2);
    assert_true(text_format(want, sizeof(want), "%s/1.pem", l.dir));
    assert_string_equal(l.config->certs[0].cert, want);
    assert_string_equal(l.config->certs[0].key, "/1.key");
    assert_int_equal(l.config->certs[0].name_count, 0);
    assert_int_equal(l.config->certs[1].name_count, 2);
    assert_string_equal(l.config->certs[1].names[1], "*.b");
    assert_int_equal(l.config->handshakes_max, 1024);
    unload(&l);
    load(&l, PUBLIC("\"cert\":\"c\",\"key\":\"k\",\"certs\":[{\"cert\":\"1\",\"key\":\"2\"}],"));
    assert_int_equal(l.e, ERR_OK);
    assert_int_equal(l.config->cert_count, 1);
    unload(&l);
}

static void
test_faults_of_certs(void **state)
{
    static const char *const bad[] = {
        PUBLIC(""),
        PUBLIC("\"cert\":\"c\","),
        PUBLIC("\"key\":\"k\",\"certs\":[{\"cert\":\"1\",\"key\":\"2\"}],"),
        PUBLIC("\"certs\":[],"),
        PUBLIC("\"certs\":{},"),
        PUBLIC("\"certs\":[1],"),
        PUBLIC("\"certs\":[{\"cert\":\"1\"}],"),
        PUBLIC("\"certs\":[{\"cert\":\"\",\"key\":\"2\"}],"),
        PUBLIC("\"certs\":[{\"cert\":\"1\",\"key\":2}],"),
        PUBLIC("\"certs\":[{\"cert\":\"1\",\"key\":\"2\",\"other\":1}],"),
        PUBLIC("\"certs\":[{\"cert\":\"1\",\"key\":\"2\",\"names\":[]}],"),
        PUBLIC("\"certs\":[{\"cert\":\"1\",\"key\":\"2\",\"names\":[7]}],"),
        PUBLIC("\"certs\":[{\"cert\":\"1\",\"key\":\"2\",\"names\":\"a\"}],"),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct loaded l;

        load(&l, bad[i]);
        if (l.e != ERR_BADMSG || !issues_any(l.issues))
            fail_msg("taken: %s", bad[i]);
        unload(&l);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_certs_stand_beside_cert_and_key_or_alone),
        cmocka_unit_test(test_faults_of_certs),
        cmocka_unit_test(test_smallest_file_and_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_faults_name_their_place),
        cmocka_unit_test(test_client_auth_needs_a_ca),
        cmocka_unit_test(test_missing_file),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
