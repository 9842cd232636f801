#include "node/endpoint.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void
test_rows(void **state)
{
    static const struct {
        enum h1_method method;
        const char *path;
        bool mesh;
        const char *name; /* NULL: none */
        bool other_method;
    } rows[] = {
        {H1_POST, "/v1/chat/completions", false, "chat_completions", false},
        {H1_POST, "/v1/chat/completions", true, "chat_completions", false},
        {H1_POST, "/v1/completions", false, "completions", false},
        {H1_POST, "/v1/embeddings", true, "embeddings", false},
        {H1_GET, "/v1/models", false, "models", false},
        {H1_GET, "/v1/models", true, NULL, false},
        {H1_GET, "/.well-known/jwks.json", false, "jwks", false},
        {H1_GET, "/.well-known/jwks.json", true, NULL, false},
        {H1_GET, "/health", true, "health", false},
        {H1_GET, "/health", false, NULL, false},
        {H1_GET, "/v1/chat/completions", false, NULL, true},
        {H1_HEAD, "/v1/models", false, NULL, true},
        {H1_DELETE, "/v1/models", false, NULL, true},
        {H1_POST, "/health", false, NULL, false},
        {H1_POST, "/v1/chat/completions/", false, NULL, false},
        {H1_POST, "/V1/chat/completions", false, NULL, false},
        {H1_POST, "/v1/chat", false, NULL, false},
        {H1_GET, "", false, NULL, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        bool other = !rows[i].other_method;
        const struct endpoint *e =
            endpoint_find(rows[i].method, slice_str(rows[i].path), rows[i].mesh, &other);

        if (rows[i].name == NULL) {
            assert_null(e);
        } else {
            assert_non_null(e);
            assert_string_equal(e->name, rows[i].name);
        }
        assert_int_equal(other, rows[i].other_method);
    }
}

/* What takes a model goes through the journey: nothing else may reach a backend. */
static void
test_only_posts_are_inference(void **state)
{
    static const char *const paths[] = {"/v1/models", "/.well-known/jwks.json", "/health"};
    bool other;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        for (int mesh = 0; mesh < 2; mesh++) {
            const struct endpoint *e =
                endpoint_find(H1_GET, slice_str(paths[i]), mesh == 1, &other);

            assert_true(e == NULL || e->kind != ENDPOINT_INFERENCE);
        }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_only_posts_are_inference),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
