#ifndef TESTS_UNIT_RESIDENCY_CHARTER_FIXTURE_H
#define TESTS_UNIT_RESIDENCY_CHARTER_FIXTURE_H

/* A small charter around the tenants of a test. */

#include "base/check.h"
#include "base/text.h"
#include "residency/charter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define FIXTURE_DAY_MS INT64_C(86400000)
#define FIXTURE_ISSUED_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */

static const char fixture_head[] =
    "\"v\":1,\"mesh\":\"test\",\"version\":3,\"issued\":\"2026-01-01T00:00:00Z\","
    "\"renew_by\":\"2026-01-11T00:00:00Z\",\"valid_until\":\"2026-01-21T00:00:00Z\","
    "\"seed\":\"3ubheWvWf_2rl4nJxzUqmkV3X1GHdUPZZz20fq4c3sY\",";
static const char fixture_mesh[] =
    "\"groups\":{\"@EU\":{\"countries\":[\"DE\",\"FR\",\"HU\",\"IE\"],\"as_of\":\"x\","
    "\"source\":\"x\"},\"@EEA\":{\"countries\":[\"DE\",\"FR\",\"HU\",\"IE\",\"IS\"],"
    "\"as_of\":\"x\",\"source\":\"x\"}},"
    "\"regions\":{\"central\":{\"country\":\"DE\"},\"west\":{\"country\":\"IE\"},"
    "\"alps\":{\"country\":\"CH\"}},"
    "\"nodes\":{\"n1\":{\"region\":\"central\",\"spiffe\":\"spiffe://t/n1\","
    "\"address\":\"127.0.0.1:8444\"},\"n2\":{\"region\":\"west\",\"spiffe\":"
    "\"spiffe://t/n2\",\"address\":\"[::1]:8445\"},\"n3\":{\"region\":\"alps\",\"spiffe\":"
    "\"spiffe://t/n3\",\"address\":\"alps.example:8446\"}},"
    "\"models\":{\"m@1\":{},\"m@2\":{},\"big@1\":{}},";

#define FIXTURE_BACKEND(name, region, country, storage, operated, owned, access, more, models) \
    "\"" name "\":{\"region\":\"" region "\",\"country\":\"" country                           \
    "\",\"storage_country\":\"" storage "\",\"operator\":{\"country\":\"" operated             \
    "\"},\"owner\":{\"country\":\"" owned "\"},\"access_from\":[" access                       \
    "],\"assurance\":\"network\",\"kind\":\"openai\",\"url\":\"http://h\",\"slots\":1," more   \
    "\"models\":{" models "}}"

/* clang-format off */
static const char fixture_backends[] =
    "\"backends\":{"
    FIXTURE_BACKEND("b-ch", "alps", "CH", "CH", "CH", "CH", "\"CH\"",
                    "\"transfer\":\"adequacy:x\",", "\"m@1\":\"m\"") ","
    FIXTURE_BACKEND("b-ch-bare", "alps", "CH", "CH", "CH", "CH", "\"CH\"", "",
                    "\"m@1\":\"m\"") ","
    FIXTURE_BACKEND("b-de", "central", "DE", "DE", "DE", "DE", "\"DE\"", "",
                    "\"m@2\":\"m\",\"m@1\":\"n\",\"big@1\":\"b\"") ","
    FIXTURE_BACKEND("b-ie", "west", "IE", "IE", "IE", "US", "", "", "\"m@1\":\"m\"")
    "},";
/* clang-format on */

/* Parts that are NULL are the fixture's own. */
struct fixture_parts {
    const char *head;
    const char *mesh;
    const char *backends;
    const char *rest;    /* members before "tenants" */
    const char *tenants; /* the inside of the object */
};

static inline char *
fixture_text(const struct fixture_parts *parts)
{
    size_t size = 1u << 16;
    char *text = malloc(size);

    assert_non_null(text);
    assert_true(text_format(text, size, "{%s%s%s%s\"tenants\":{%s}}",
                            parts->head == NULL ? fixture_head : parts->head,
                            parts->mesh == NULL ? fixture_mesh : parts->mesh,
                            parts->backends == NULL ? fixture_backends : parts->backends,
                            parts->rest == NULL ? "" : parts->rest, parts->tenants));
    return text;
}

/* The charter, or NULL with the faults in issues. */
static inline struct charter *
fixture_load(const struct fixture_parts *parts, struct issues *issues)
{
    char *text = fixture_text(parts);
    struct charter *c = NULL;
    enum err e = charter_load(slice_str(text), "charter.json", false, issues, &c);

    assert_int_equal(e == ERR_OK, c != NULL);
    assert_int_equal(e == ERR_OK, !issues_any(issues));
    free(text);
    return c;
}

static inline struct charter *
fixture_charter(const char *tenants)
{
    struct fixture_parts parts = {.tenants = tenants};
    struct issues *issues = issues_new();
    struct charter *c;

    assert_non_null(issues);
    c = fixture_load(&parts, issues);
    issues_print(issues, stderr);
    assert_non_null(c);
    issues_free(&issues);
    return c;
}

#define FIXTURE_ROOT                                                                          \
    "\"acme\":{\"process_in\":[\"@EU\",\"CH\",\"!HU\"],\"operators_from\":[\"@EU\",\"CH\"],"  \
    "\"owners_from\":[\"@EU\",\"CH\",\"US\"],\"origins\":[\"@EU\",\"CH\"],\"models\":{\"m\":" \
    "[\"m@1\",\"m@2\"],\"big\":[\"big@1\"]},\"auth\":[\"jwt\",\"api_key\"]}"

#endif
