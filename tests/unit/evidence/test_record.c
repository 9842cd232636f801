#include "fixture.h"

#include <time.h>

#include "base/check.h"

#define TXN "01931b2e-7a3c-7def-8a12-0123456789ab"
#define SHARD "EEEEEEEEEEEEEEEEEEEEEA"

static struct slice
write_a1(const struct fixture *f, const struct record_a1 *a1, uint8_t storage[RECORD_A1_MAX])
{
    struct text text;
    uint8_t hash[HASH_SIZE], again[HASH_SIZE];

    text_init(&text, storage, RECORD_A1_MAX);
    assert_int_equal(record_a1_write(f->signer, NULL, 0, a1, &text, hash), ERR_OK);
    hash_sha256(text_slice(&text), again);
    assert_memory_equal(hash, again, HASH_SIZE);
    return text_slice(&text);
}

static void
a1_round_trip(void **state)
{
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct record_a1_view view;
    const char *why = NULL;
    struct slice jws = write_a1(f, &a1, storage);

    (void)state;
    assert_int_equal(record_a1_verify(jws, &f->charter, &view, &why), ERR_OK);
    assert_null(why);
    assert_string_equal(view.txn, TXN);
    assert_string_equal(view.node, "eu-west-1");
    assert_string_equal(view.tenant, "acme/de");
    assert_string_equal(view.target_backend, "de-1");
    assert_string_equal(view.model_version, "mistral-7b@0.3");
    assert_string_equal(view.shard, SHARD);
    assert_int_equal(view.exp_s - view.iat_s, RECORD_TTL_S);
    assert_int_equal(view.country, a1.country);
    assert_int_equal(view.registered, COUNTRY_NONE);
    assert_int_equal(view.legal_count, 3);
    assert_true(view.permit);
    assert_string_equal(view.kid, key_thumbprint(f->key));
    fixture_free(f);
}

/* A body that streams through has no commitment yet, and no size unless it was announced. */
static void
a1_of_a_streamed_body(void **state)
{
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct record_a1_view view;
    const char *why = NULL;

    (void)state;
    a1.request_streamed = true;
    for (uint64_t bytes = 0; bytes < 2; bytes++) {
        a1.request_bytes = bytes;
        assert_int_equal(record_a1_verify(write_a1(f, &a1, storage), &f->charter, &view, &why),
                         ERR_OK);
        assert_true(view.request_streamed);
        assert_string_equal(view.request_commitment, "");
        assert_int_equal(view.request_bytes, bytes);
    }
    fixture_free(f);
}

static void
a1_golden_payload(void **state)
{
    static const char expected[] =
        "{\"v\":1,\"iss\":\"" FIXTURE_ISSUER "\",\"aud\":\"backend:de-1\","
        "\"verdict\":\"permit\",\"reason\":\"permitted\",\"tenant\":\"acme/de\","
        "\"auth\":\"jwt\",\"role\":\"analyst\","
        "\"ingress\":{\"region\":\"eu-west\",\"node\":\"eu-west-1\"},"
        "\"charter\":{\"version\":7,\"digest\":\"CCCCCCCCCCCCCCCCCCCCCA\"},"
        "\"policy\":\"DDDDDDDDDDDDDDDDDDDDDA\","
        "\"legal\":{\"count\":3,\"digest\":\"AQIDAAAAAAAAAAAAAAAAAA\"},"
        "\"target\":{\"backend\":\"de-1\",\"region\":\"eu-west\",\"country\":\"DE\","
        "\"operator\":\"DE\",\"owner\":\"FR\",\"assurance\":\"spki\","
        "\"key\":\"AQIDAAAAAAAAAAAAAAAAAA\"},"
        "\"model\":{\"requested\":\"mistral\",\"served\":\"mistral-7b-instruct\","
        "\"version\":\"mistral-7b@0.3\",\"evidence\":\"name\"},"
        "\"txn\":\"" TXN "\",\"jti\":\"" TXN ".eu-west-1.0\",\"iat\":1795464000,"
        "\"exp\":1795464120,\"hop\":0,\"sub\":\"AAAAAAAAAAAAAAAAAAAAAA\","
        "\"origin\":{\"country\":\"DE\",\"source\":\"socket\",\"quality\":\"found\","
        "\"db\":\"BBBBBBBBBBBBBBBBBBBBBA\"},"
        "\"request\":{\"endpoint\":\"chat.completions\",\"bytes\":1234,"
        "\"commitment\":\"AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},"
        "\"shard\":\"" SHARD "\"}";
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX], payload[RECORD_A1_MAX];
    size_t len = sizeof(payload);
    struct slice rest = write_a1(f, &a1, storage);

    (void)state;
    (void)slice_cut(&rest, '.');
    assert_true(text_unb64url(slice_cut(&rest, '.'), payload, &len));
    assert_int_equal(len, sizeof(expected) - 1);
    assert_memory_equal(payload, expected, len);
    fixture_free(f);
}

/* Header and payload; signatures of ES256 differ each time. */
static struct slice
signed_part(struct slice jws)
{
    size_t end = jws.len;

    while (end > 0 && jws.p[end - 1] != '.')
        end--;
    return slice_sub(jws, 0, end);
}

static void
same_with_kept(const struct fixture *f, struct record_beginnings *kept, uint64_t scope,
               const struct record_a1 *a1)
{
    uint8_t storage[RECORD_A1_MAX], plain[RECORD_A1_MAX], hash[HASH_SIZE], again[HASH_SIZE];
    struct record_a1_view view;
    const char *why = NULL;
    struct text text;

    text_init(&text, storage, sizeof(storage));
    assert_int_equal(record_a1_write(f->signer, kept, scope, a1, &text, hash), ERR_OK);
    hash_sha256(text_slice(&text), again);
    assert_memory_equal(hash, again, HASH_SIZE);
    assert_true(slice_eq(signed_part(text_slice(&text)), signed_part(write_a1(f, a1, plain))));
    assert_int_equal(record_a1_verify(text_slice(&text), &f->charter, &view, &why), ERR_OK);
}

/* Whatever differs between two requests, the second one's A1 says its own. */
static void
a1_kept_beginnings_are_never_anothers(void **state)
{
    struct fixture *f = fixture_new();
    struct record_beginnings *kept = NULL;
    struct record_a1 base = fixture_a1(TXN, SHARD), a1;
    static const uint8_t digest[HASH_SIZE] = {9, 9};
    char names[] = "x1\0x2\0x3";
    uint64_t scope = 1;

    (void)state;
    assert_int_equal(record_beginnings_new(&kept), ERR_OK);
#define DIFFERS(member, value)             \
    same_with_kept(f, kept, scope, &base); \
    a1 = base;                             \
    a1.member = (value);                   \
    same_with_kept(f, kept, scope, &a1);   \
    same_with_kept(f, kept, scope, &base)
    DIFFERS(txn, "01931b2e-7a3c-7def-8a12-0123456789ff");
    DIFFERS(attempt, 2);
    DIFFERS(iat_s, base.iat_s + 5);
    DIFFERS(reason, names);
    DIFFERS(tenant, names);
    DIFFERS(sub, NULL);
    DIFFERS(auth, "mtls");
    DIFFERS(role, NULL);
    DIFFERS(class_name, names);
    DIFFERS(country, COUNTRY_NONE);
    DIFFERS(origin_source, "forwarded");
    DIFFERS(ingress_region, names);
    DIFFERS(ingress_node, names);
    DIFFERS(charter_version, 8);
    DIFFERS(legal_count, 2);
    DIFFERS(legal_digest, digest);
    DIFFERS(target_region, names);
    DIFFERS(target_country, COUNTRY_NONE);
    DIFFERS(target_operator, COUNTRY_NONE);
    DIFFERS(target_owner, COUNTRY_NONE);
    DIFFERS(target_assurance, "network");
    DIFFERS(target_key, NULL);
    DIFFERS(model_requested, SLICE_LIT("mistra"));
    DIFFERS(model_requested, SLICE_LIT("mistraL"));
    DIFFERS(model_requested, SLICE_LIT("mistrall"));
    DIFFERS(model_served, names);
    DIFFERS(model_version, names);
    DIFFERS(model_evidence, "digest");
    DIFFERS(request_bytes, 7);
    DIFFERS(request_streamed, true);
    DIFFERS(shard, "FEEEEEEEEEEEEEEEEEEEEA");
#undef DIFFERS
    /* A denial has neither audience nor target. */
    a1 = base;
    a1.permit = false;
    a1.audience = a1.target_backend = NULL;
    same_with_kept(f, kept, scope, &a1);
    same_with_kept(f, kept, scope, &base);
    /* In another scope the same place may hold another text. */
    a1 = base;
    a1.tenant = names;
    same_with_kept(f, kept, scope, &a1);
    names[0] = 'y';
    same_with_kept(f, kept, ++scope, &a1);
    record_beginnings_free(&kept);
    fixture_free(f);
}

static void
a1_longest_names(void **state)
{
    struct fixture *f = fixture_new();
    char name[33], tenant[65], model[97], iss[129], quotes[200];
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct text text;
    uint8_t hash[HASH_SIZE];

    (void)state;
    memset(name, 'n', 32);
    memset(tenant, 't', 64);
    memset(model, 'm', 96);
    memset(iss, 'i', 128);
    memset(quotes, '"', sizeof(quotes));
    name[32] = tenant[64] = model[96] = iss[128] = '\0';
    a1.node = a1.ingress_node = a1.ingress_region = a1.role = a1.class_name = name;
    a1.target_backend = a1.target_region = name;
    a1.tenant = tenant;
    a1.registered = a1.country;
    text_init(&text, storage, sizeof(storage));
    assert_int_equal(record_a1_write(f->signer, NULL, 0, &a1, &text, hash), ERR_OK);
    assert_true(text.used <= RECORD_A1_MAX);
    /* With every text at its maximum it is refused, and nothing is left behind. */
    a1.model_served = a1.model_version = model;
    a1.issuer = iss;
    a1.model_requested = slice_of(quotes, sizeof(quotes));
    text.used = 0;
    assert_int_equal(record_a1_write(f->signer, NULL, 0, &a1, &text, hash), ERR_TOOBIG);
    assert_int_equal(text.used, 0);
    fixture_free(f);
}

static void
a1_denial_has_no_target(void **state)
{
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct record_a1_view view;
    const char *why;

    (void)state;
    a1.permit = false;
    a1.audience = NULL;
    a1.reason = "no_legal_place";
    a1.target_backend = NULL;
    a1.model_served = a1.model_version = a1.model_evidence = NULL;
    a1.legal_digest = NULL;
    assert_int_equal(record_a1_parse(write_a1(f, &a1, storage), &view, &why), ERR_OK);
    assert_false(view.permit);
    assert_false(view.has_target);
    assert_string_equal(view.reason, "no_legal_place");
    assert_string_equal(view.aud, "");
    fixture_free(f);
}

static void
a1_foreign_text_is_cut_at_a_character(void **state)
{
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX], requested[200];
    struct record_a1_view view;
    const char *why;

    (void)state;
    for (size_t i = 0; i + 3 <= sizeof(requested); i += 3)
        memcpy(requested + i, "\xe2\x82\xac", 3);
    a1.model_requested = slice_of(requested, 198);
    assert_int_equal(record_a1_parse(write_a1(f, &a1, storage), &view, &why), ERR_OK);
    assert_int_equal(strlen(view.model_requested), 126); /* 42 characters of 3 bytes */
    a1.model_requested = SLICE_LIT("tab\tquote\"\x01\x1f");
    assert_int_equal(record_a1_parse(write_a1(f, &a1, storage), &view, &why), ERR_OK);
    assert_string_equal(view.model_requested, "tab\tquote\"\x01\x1f");
    fixture_free(f);
}

static void
a1_any_changed_byte_is_refused(void **state)
{
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct record_a1_view view;
    const char *why;
    struct slice jws = write_a1(f, &a1, storage);

    (void)state;
    for (size_t i = 0; i < jws.len; i += 7) {
        uint8_t kept = storage[i];

        storage[i] = kept == 'A' ? 'B' : 'A';
        assert_int_not_equal(record_a1_verify(jws, &f->charter, &view, &why), ERR_OK);
        assert_non_null(why);
        storage[i] = kept;
    }
    assert_int_equal(record_a1_verify(jws, &f->charter, &view, &why), ERR_OK);
    for (size_t len = 0; len < jws.len; len++)
        assert_int_not_equal(record_a1_parse(slice_of(jws.p, len), &view, &why), ERR_OK);
    fixture_free(f);
}

static void
a1_of_another_node_is_refused(void **state)
{
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct record_a1_view view;
    const char *why;
    struct slice jws = write_a1(f, &a1, storage);

    (void)state;
    f->charter_key.not_after_ms = FIXTURE_NOW_MS - 1;
    assert_int_equal(record_a1_verify(jws, &f->charter, &view, &why), ERR_AUTH);
    f->charter_key.not_after_ms = INT64_MAX;
    f->charter_key.use = KEY_USE_LOG;
    assert_int_equal(record_a1_verify(jws, &f->charter, &view, &why), ERR_AUTH);
    f->charter_key.use = KEY_USE_ATTEST;
    f->node.spiffe = "spiffe://mesh.example/node/other";
    assert_int_equal(record_a1_verify(jws, &f->charter, &view, &why), ERR_AUTH);
    f->node.spiffe = FIXTURE_ISSUER;
    f->node.name = "other";
    assert_int_equal(record_a1_verify(jws, &f->charter, &view, &why), ERR_AUTH);
    fixture_free(f);
}

static const char a2_golden[] =
    "{\"a1\":{\"hash\":\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"index\":41},"
    "\"answer\":{\"bytes\":10,\"commitment\":\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
    "\"sent_bytes\":9,\"sent_commitment\":\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},"
    "\"attempts\":[{\"index\":40,\"outcome\":\"status_503\",\"status\":503,\"target\":\"de-2\"},"
    "{\"index\":41,\"outcome\":\"ok\",\"peer\":"
    "\"CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"status\":200,\"target\":\"de-1\"}],"
    "\"end\":\"complete\",\"kind\":\"a2\","
    "\"model\":{\"reported\":\"m\\\"\\u0001\\n\",\"response_id\":\"r-1\"},"
    "\"request\":{\"upstream_commitment\":\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},"
    "\"shard\":\"" SHARD "\",\"status\":200,"
    "\"times\":{\"dispatched\":2,\"end\":4,\"first_byte\":3,\"received\":1},"
    "\"tokens\":{\"completion\":0,\"prompt\":5,\"source\":\"answer\"},\"txn\":\"" TXN "\",\"v\":1}";

static void
a2_golden_text(void **state)
{
    static const uint8_t hash[32] = {7};
    static const struct record_attempt attempts[] = {
        {.index = 40, .outcome = "status_503", .status = 503, .target = "de-2"},
        {.index = 41,
         .outcome = "ok",
         .status = 200,
         .target = "de-1",
         .has_peer = true,
         .peer_hash = {8}},
    };
    struct record_a2 a2 = fixture_a2(TXN, SHARD, hash, 41, attempts);
    uint8_t storage[RECORD_A2_MAX];
    struct record_a2_view view;
    struct text text;
    const char *why;

    (void)state;
    a2.attempt_count = 2;
    a2.answer_commitment = a2.sent_commitment = a2.upstream_commitment = hash;
    a2.sent_bytes = 9;
    a2.model_reported = SLICE_LIT("m\"\x01\n");
    a2.response_id = SLICE_LIT("r-1");
    a2.received_ms = 1;
    a2.dispatched_ms = 2;
    a2.first_byte_ms = 3;
    a2.end_ms = 4;
    a2.prompt_tokens = 5;
    text_init(&text, storage, sizeof(storage));
    assert_int_equal(record_a2_write(&a2, &text), ERR_OK);
    assert_int_equal(text.used, sizeof(a2_golden) - 1);
    assert_memory_equal(storage, a2_golden, text.used);
    assert_int_equal(record_a2_parse(text_slice(&text), &view, &why), ERR_OK);
    assert_string_equal(view.model_reported, "m\"\x01\n");
    assert_int_equal(view.attempt_count, 2);
    assert_int_equal(view.attempts[0].status, 503);
    assert_string_equal(view.attempts[0].peer_hash, "");
    assert_string_equal(view.attempts[1].peer_hash, "CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_int_equal(view.completion_tokens, 0);
    assert_int_equal(view.first_byte_ms, 3);
    assert_int_equal(view.end, RECORD_COMPLETE);
}

/* What a later version will write is read by this one. */
static void
a2_takes_members_that_are_set_aside(void **state)
{
    static const char *const more[][2] = {
        {"\"},\"attempts\"",
         "\",\"text_commitment\":\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},"
         "\"attempts\""},
        {"\"request\":{",
         "\"reference\":\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"request\":{"},
    };
    char golden[RECORD_A2_MAX];
    struct record_a2_view view;
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(more); i++) {
        const char *at = strstr(a2_golden, more[i][0]);
        struct text t;

        assert_non_null(at);
        text_init(&t, golden, sizeof(golden));
        text_add(&t, slice_of(a2_golden, (size_t)(at - a2_golden)));
        text_add_str(&t, more[i][1]);
        text_add_str(&t, at + strlen(more[i][0]));
        assert_int_equal(record_a2_parse(text_slice(&t), &view, &why), ERR_OK);
    }
}

/* The commitment that the A1 of a streamed body could not have, and why it was cut. */
static void
a2_of_a_streamed_body(void **state)
{
    static const uint8_t hash[32] = {7};
    static const struct record_attempt attempts[] = {
        {.index = 41, .outcome = "cut", .target = "de-1"}};
    static const char expected[] =
        "\"kind\":\"a2\",\"reason\":\"second_model\",\"request\":{\"bytes\":9,\"commitment\":"
        "\"BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"";
    struct record_a2 a2 = fixture_a2(TXN, SHARD, hash, 41, attempts);
    uint8_t storage[RECORD_A2_MAX];
    struct record_a2_view view;
    struct text text;
    const char *why;

    (void)state;
    a2.attempt_count = 1;
    a2.model_reported = a2.response_id = SLICE_NONE;
    a2.reason = "second_model";
    a2.request_commitment = hash;
    a2.request_bytes = 9;
    for (int rewritten = 0; rewritten < 2; rewritten++) {
        a2.upstream_commitment = rewritten == 1 ? hash : NULL;
        text_init(&text, storage, sizeof(storage));
        assert_int_equal(record_a2_write(&a2, &text), ERR_OK);
        assert_non_null(memmem(storage, text.used, expected, sizeof(expected) - 1));
        assert_int_equal(record_a2_parse(text_slice(&text), &view, &why), ERR_OK);
        assert_string_equal(view.reason, "second_model");
        assert_int_equal(view.request_bytes, 9);
        assert_int_equal(strlen(view.request_commitment), 43);
        assert_string_equal(view.attempts[0].outcome, "cut");
    }
}

static void
a2_says_who_counted_the_tokens(void **state)
{
    static const struct {
        int64_t completion;
        bool counted;
        const char *text;
    } cases[] = {
        {3, false, "\"tokens\":{\"completion\":3,\"source\":\"answer\"}"},
        {3, true, "\"tokens\":{\"completion\":3,\"source\":\"counted\"}"},
        {-1, true, "\"tokens\":{\"source\":\"none\"}"},
    };
    static const uint8_t hash[32] = {7};
    static const struct record_attempt attempts[] = {{.index = 41, .outcome = "eof"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct record_a2 a2 = fixture_a2(TXN, SHARD, hash, 41, attempts);
        uint8_t storage[RECORD_A2_MAX];
        struct record_a2_view view;
        struct text text;
        const char *why;

        a2.prompt_tokens = -1;
        a2.completion_tokens = cases[i].completion;
        a2.tokens_counted = cases[i].counted;
        text_init(&text, storage, sizeof(storage));
        assert_int_equal(record_a2_write(&a2, &text), ERR_OK);
        assert_non_null(memmem(storage, text.used, cases[i].text, strlen(cases[i].text)));
        assert_int_equal(record_a2_parse(text_slice(&text), &view, &why), ERR_OK);
        assert_int_equal(view.completion_tokens, cases[i].completion);
        assert_int_equal(view.tokens_counted, cases[i].counted && cases[i].completion >= 0);
    }
}

static void
a2_other_forms_are_refused(void **state)
{
    static const struct {
        const char *from;
        const char *to;
    } cases[] = {
        {"\"kind\":\"a2\"", "\"kind\":\"a3\""},
        {"\"index\":41}", "\"index\":041}"},
        {"\"end\":\"complete\"", "\"end\":\"finished\""},
        {"\"status\":200,\"times\"", "\"status\":1000,\"times\""},
        {"{\"a1\"", "{ \"a1\""},
        {"\\n\"", "\\u000a\""},
        {"\"v\":1}", "\"v\":1,\"w\":1}"},
        {"\"v\":1}", "\"v\":1}\n"},
        {"\"outcome\":\"ok\"", "\"outcome\":\"fine\""},
        {"-7def-", "-4def-"},
        {"\"source\":\"answer\"", "\"source\":\"none\""},
        {"\"source\":\"answer\"", "\"source\":\"guessed\""},
    };
    struct record_a2_view view;
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const char *at = strstr(a2_golden, cases[i].from);
        char text[2048];

        assert_non_null(at);
        assert_true(text_format(text, sizeof(text), "%.*s%s%s", (int)(at - a2_golden), a2_golden,
                                cases[i].to, at + strlen(cases[i].from)));
        assert_int_equal(record_a2_parse(slice_str(text), &view, &why), ERR_BADMSG);
        assert_non_null(why);
    }
    for (size_t len = 0; len + 1 < sizeof(a2_golden); len++)
        assert_int_equal(record_a2_parse(slice_of(a2_golden, len), &view, &why), ERR_BADMSG);
}

static void
a1_cost(void **state)
{
    enum { ROUNDS = 2000 };
    struct fixture *f = fixture_new();
    struct record_a1 a1 = fixture_a1(TXN, SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct timespec from, to;
    size_t len = 0;

    (void)state;
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned i = 0; i < ROUNDS; i++)
        len = write_a1(f, &a1, storage).len;
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    print_message("record_a1_write: %.1f us, %zu bytes\n",
                  ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
                      ROUNDS / 1000,
                  len);
    fixture_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a1_round_trip),
        cmocka_unit_test(a1_of_a_streamed_body),
        cmocka_unit_test(a1_golden_payload),
        cmocka_unit_test(a1_kept_beginnings_are_never_anothers),
        cmocka_unit_test(a1_longest_names),
        cmocka_unit_test(a1_denial_has_no_target),
        cmocka_unit_test(a1_foreign_text_is_cut_at_a_character),
        cmocka_unit_test(a1_any_changed_byte_is_refused),
        cmocka_unit_test(a1_of_another_node_is_refused),
        cmocka_unit_test(a2_golden_text),
        cmocka_unit_test(a2_takes_members_that_are_set_aside),
        cmocka_unit_test(a2_says_who_counted_the_tokens),
        cmocka_unit_test(a2_of_a_streamed_body),
        cmocka_unit_test(a2_other_forms_are_refused),
        cmocka_unit_test(a1_cost),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
