#include "node/body.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct jscan_keys *keys;

static int
set_up(void **state)
{
    (void)state;
    return jscan_keys_new(&keys) == ERR_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    jscan_keys_free(&keys);
    return 0;
}

static enum err
scan(const char *body, struct body_facts *f)
{
    static const char *hosts[] = {"files.acme.example"};
    static const struct charter_tenant tenant = {.remote_hosts = hosts, .remote_host_count = 1};

    return body_scan(slice_str(body), keys, endpoint_at(0), &tenant, f);
}

static void
test_facts(void **state)
{
    struct body_facts f;
    static const char body[] = " {\"messages\":[{\"model\":\"x\"}], \"model\" : \"gpt\","
                               "\"stream\":true}";

    (void)state;
    assert_int_equal(scan(body, &f), ERR_OK);
    assert_true(slice_is(f.model, "gpt"));
    assert_true(f.stream);
    assert_false(f.points_outside);
    /* What is replaced for an alias is the value with both quotes. */
    assert_true(slice_is(slice_sub(slice_str(body), f.model_at, f.model_len), "\"gpt\""));
}

static void
test_refused(void **state)
{
    static const struct {
        const char *body;
        const char *param; /* NULL: none named */
    } rows[] = {
        {"", NULL},
        {"{\"model\":\"m\",\"seed\":1,\"seed\":2}", "seed"},
        {"{\"model\":\"m\",\"x\":[{\"a b\":1,\"a b\":2}]}", NULL},
        {"[]", NULL},
        {"\"model\"", NULL},
        {"{\"model\":\"m\"", NULL},
        {"{\"model\":\"m\"} x", NULL},
        {"{}", "model"},
        {"{\"model\":\"\"}", "model"},
        {"{\"model\":7}", "model"},
        {"{\"model\":[\"m\"]}", "model"},
        {"{\"a\":{\"model\":\"m\"}}", "model"},
        {"{\"Model\":\"m\"}", "model"},
        {"{\"model\":\"m\",\"model\":\"n\"}", "model"},
        {"{\"model\":\"m\",\"mod\\u0065l\":\"n\"}", NULL},
        {"{\"model\":\"m\",\"a\":{\"u\\u0072l\":\"http://evil.example/\"}}", NULL},
        {"{\"model\":\"m\",\"stream\":1}", "stream"},
        {"{\"model\":\"m\",\"stream\":\"true\"}", "stream"},
        {"{\"model\":\"m\",\"store\":true}", "store"},
        /* r2: readers in Go take names that differ in case for the same */
        {"{\"model\":\"m\",\"Model\":\"n\"}", "model"},
        {"{\"model\":\"m\",\"STREAM\":true}", "stream"},
        {"{\"model\":\"m\",\"Messages\":[]}", "messages"},
        {"{\"model\":\"m\",\"previous_response_id\":\"r\"}", "previous_response_id"},
        {"{\"model\":\"m\",\"previous_response_id\":false}", "previous_response_id"},
        {"{\"model\":\"m\",\"background\":true}", "background"},
        {"{\"model\":\"m\",\"conversation\":{\"id\":\"c\"}}", "conversation"},
        {"{\"model\":\"m\",\"container\":\"c\"}", "container"},
        {"{\"model\":\"m\",\"prompt\":{\"id\":\"pmpt\"}}", "prompt"},
        {"{\"model\":\"m\",\"messages\":[{\"content\":[{\"file\":{\"file_id\":\"f\"}}]}]}",
         "file_id"},
        {"{\"model\":\"m\",\"tools\":[{\"vector_store_ids\":[\"v\"]}]}", "file_id"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct body_facts f;

        assert_int_equal(scan(rows[i].body, &f), ERR_BADMSG);
        assert_non_null(f.why);
        assert_int_equal(f.param == NULL, rows[i].param == NULL);
        if (rows[i].param != NULL)
            assert_string_equal(f.param, rows[i].param);
    }
}

/* Every rest stands behind {"model":"m", */
struct reference {
    const char *rest;
    bool outside;
    const char *host;
};

static void
check_references(const struct reference *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct body_facts f;
        char body[512];

        assert_true(text_format(body, sizeof(body), "{\"model\":\"m\",%s", rows[i].rest));
        if (scan(body, &f) != ERR_OK || f.points_outside != rows[i].outside)
            fail_msg("row %zu: %s", i, body);
        assert_true(slice_is(f.remote_host, rows[i].host));
    }
}

static void
test_references(void **state)
{
    static const struct reference rows[] = {
        {"\"a\":1}", false, ""},
        {"\"store\":false,\"previous_response_id\":null,\"stream\":null}", false, ""},
        {"\"messages\":[{\"content\":\"see http://evil.example/\"}]}", false, ""},
        {"\"image_url\":{\"url\":\"data:image/png;base64,AA==\"}}", false, ""},
        {"\"image_url\":{\"url\":\"DATA:image/png;base64,AA==\"}}", false, ""},
        {"\"image_url\":{\"url\":\"https://files.acme.example/a\"}}", false, ""},
        {"\"image_url\":{\"url\":\"https://FILES.acme.example:8443/a\"}}", false, ""},
        {"\"image_url\":{\"url\":\"https://evil.example/a\"}}", true, "evil.example"},
        {"\"image_url\":\"https://evil.example?x\"}", true, "evil.example"},
        {"\"file_URL\":\"https://evil.example#x\"}", true, "evil.example"},
        {"\"a\":[{\"b\":{\"server_url\":\"https://evil.example\"}}]}", true, "evil.example"},
        {"\"uri\":\"gs://bucket/x\"}", true, ""},
        {"\"urls\":[\"https://files.acme.example/\",[\"https://evil.example/\"]]}", true,
         "evil.example"},
        {"\"urls\":[],\"text\":\"https://evil.example/\"}", false, ""},
        {"\"url\":\"https://files.acme.example@evil.example/\"}", true, ""},
        {"\"url\":\"https://files.acme.example\\\\@evil.example/\"}", true, ""},
        {"\"url\":\"https:\\u002f/files.acme.example/\"}", true, ""},
        {"\"url\":\"//files.acme.example/\"}", true, ""},
        {"\"url\":\" data:x\"}", true, ""},
        {"\"url\":\"file-123\"}", true, ""},
        {"\"url\":\"https://files.acme.example.evil.example/\"}", true,
         "files.acme.example.evil.example"},
        {"\"url\":\"\"}", false, ""},
        {"\"metadata\":{\"url\":\"https://evil.example/\"}}", false, ""},
        {"\"metadata\":{\"a\":{}},\"url\":\"https://evil.example/\"}", true, "evil.example"},
        {"\"a\":{\"metadata\":{\"url\":\"https://evil.example/\"}}}", true, "evil.example"},
        {"\"tools\":[{\"type\":\"function\"}]}", false, ""},
        {"\"tools\":[{\"type\":\"mcp\"}]}", true, ""},
        {"\"tools\":[{\"type\":\"m\\u0063p\"}]}", true, ""},
        {"\"tools\":[{\"type\":\"web_search_preview\"}]}", true, ""},
        {"\"tools\":[{\"type\":\"file_search\"}]}", true, ""},
        {"\"web_search_options\":{}}", true, ""},
        /* r2: a named host is named for the web, not for the server's own files */
        {"\"url\":\"file://files.acme.example/etc/passwd\"}", true, ""},
        {"\"url\":\"HTTPS://files.acme.example/\"}", false, ""},
        /* r2: members by which servers are told of another server */
        {"\"kv_transfer_params\":{\"remote_host\":\"10.0.0.1\"}}", true, ""},
        {"\"kv_transfer_params\":null}", false, ""},
        {"\"bootstrap_host\":\"10.0.0.1\"}", true, ""},
        {"\"api_base\":\"https://files.acme.example\"}", true, ""},
        {"\"input\":[{\"image\":\"https://evil.example/a.png\"}]}", true, "evil.example"},
        {"\"input\":[{\"image\":\"iVBORw0KGgo=\"}]}", false, ""},
    };

    (void)state;
    check_references(rows, ARRAY_COUNT(rows));
}

/* The same in the words of other protocols. */
static void
test_references_of_protocols(void **state)
{
    static const struct reference rows[] = {
        {"\"mcp_servers\":[]}", true, ""},
        {"\"prompt\":\"see http://evil.example/\",\"background\":false}", false, ""},
        /* Anthropic: content by address, tools of the server and of the caller. */
        {"\"messages\":[{\"content\":[{\"source\":{\"type\":\"url\",\"url\":"
         "\"https://evil.example/a\"}}]}]}",
         true, "evil.example"},
        {"\"messages\":[{\"content\":[{\"source\":{\"type\":\"base64\",\"data\":\"AA==\"}}]}]}",
         false, ""},
        {"\"messages\":[{\"content\":[{\"type\":\"tool_use\",\"input\":{\"url\":"
         "\"https://evil.example/\"}},{\"type\":\"text\"}]}]}",
         false, ""},
        {"\"messages\":[{\"content\":[{\"input\":{\"a\":{}}},{\"url\":\"https://evil.example/"
         "\"}]}]}",
         true, "evil.example"},
        {"\"input\":{\"url\":\"https://evil.example/\"}}", true, "evil.example"},
        {"\"tools\":[{\"name\":\"f\",\"input_schema\":{\"type\":\"object\",\"properties\":{\"url\":"
         "{\"type\":\"string\"},\"file_id\":{\"type\":\"string\"}}}}]}",
         false, ""},
        {"\"tools\":[{\"type\":\"custom\"},{\"type\":\"bash_20250124\"}]}", false, ""},
        {"\"tools\":[{\"type\":\"web_fetch_20250910\"}]}", true, ""},
        {"\"tools\":[{\"type\":\"code_interpreter\"}]}", true, ""},
        {"\"tools\":[{\"type\":\"of tomorrow\"}]}", true, ""},
        {"\"input\":[{\"type\":\"item_reference\",\"id\":\"m\"}]}", true, ""},
        /* Ollama: images in base64, not by address. */
        {"\"messages\":[{\"images\":[\"iVBORw0KGgo/+=\"]}]}", false, ""},
        {"\"images\":[\"AAAA\",\"https://evil.example/a\"]}", true, "evil.example"},
        {"\"image\":\"file:///etc/passwd\"}", true, ""},
        {"\"image\":\"file\\u003a///etc/passwd\"}", true, ""},
        {"\"images\":[],\"text\":\"https://evil.example/\"}", false, ""},
    };

    (void)state;
    check_references(rows, ARRAY_COUNT(rows));
}

/* Without a tenant's policy every host is outside. */
static void
test_no_tenant_names_nothing(void **state)
{
    struct body_facts f;

    (void)state;
    assert_int_equal(
        body_scan(slice_str("{\"model\":\"m\",\"url\":\"https://files.acme.example/\"}"), keys,
                  endpoint_at(0), NULL, &f),
        ERR_OK);
    assert_true(f.points_outside);
}

/* What an absent `stream` means is the endpoint's: Ollama streams unless told not to. */
static void
test_default_of_stream(void **state)
{
    static const struct {
        const char *path;
        const char *body;
        bool stream;
    } rows[] = {
        {"/v1/chat/completions", "{\"model\":\"m\"}", false},
        {"/api/chat", "{\"model\":\"m\"}", true},
        {"/api/chat", "{\"model\":\"m\",\"stream\":null}", true},
        {"/api/generate", "{\"model\":\"m\",\"stream\":false}", false},
        {"/api/embed", "{\"model\":\"m\"}", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        uint32_t methods;
        const struct endpoint *e =
            endpoint_find(HTTP_POST, slice_str(rows[i].path), false, &methods);
        struct body_facts f;

        assert_int_equal(body_scan(slice_str(rows[i].body), keys, e, NULL, &f), ERR_OK);
        assert_int_equal(f.stream, rows[i].stream);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_references_of_protocols),
        cmocka_unit_test(test_no_tenant_names_nothing),
        cmocka_unit_test(test_default_of_stream),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
