#include "health/advert.h"

#include "base/check.h"
#include "crypto/dsse.h"

#include "unit/health/sample.h"

#include <stddef.h>
#include <stdint.h>

#define NOW INT64_C(1795000000000)
#define BOOT "AAAAAAAAAAAAAAAAAAAAAA"

static struct advert *
west_advert(const struct charter *c)
{
    struct advert *a = advert_new(c);

    assert_non_null(a);
    a->node = SAMPLE_W1;
    memcpy(a->boot, BOOT, ADVERT_BOOT_SIZE);
    a->seq = 7;
    a->t_ms = NOW;
    a->backend_count = 2;
    a->backends[0].backend = SAMPLE_W_OLLAMA;
    a->backends[0].rejects = 3;
    a->backends[0].facts = (struct health_backend){.state = HEALTH_UP,
                                                   .slots = 8,
                                                   .in_flight = 2,
                                                   .queued = 1,
                                                   .pressure_permille = 250,
                                                   .ttft_ms = 90,
                                                   .models_matched = 3};
    a->backends[1].backend = SAMPLE_W_VLLM;
    a->backends[1].facts = (struct health_backend){.state = HEALTH_DOWN};
    return a;
}

static void
test_what_is_written_is_read(void **state)
{
    static uint8_t storage[ADVERT_MAX];
    struct sample s;
    struct advert *a;
    struct advert *b;
    struct text t;
    const char *why = NULL;

    (void)state;
    sample_open(&s);
    a = west_advert(s.charter);
    b = advert_new(s.charter);
    a->draining = true;
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(advert_write(a, s.charter, s.keys[SAMPLE_W1], &t), ERR_OK);
    assert_int_equal(advert_read(text_slice(&t), s.charter, NOW, b, &why), ERR_OK);
    assert_int_equal(b->node, SAMPLE_W1);
    assert_string_equal(b->boot, BOOT);
    assert_int_equal(b->seq, 7);
    assert_int_equal(b->t_ms, NOW);
    assert_int_equal(b->charter_version, 1);
    assert_true(b->draining);
    assert_int_equal(b->backend_count, 2);
    assert_int_equal(b->backends[0].backend, SAMPLE_W_OLLAMA);
    assert_int_equal(b->backends[0].rejects, 3);
    assert_int_equal(b->backends[0].facts.state, HEALTH_UP);
    assert_int_equal(b->backends[0].facts.slots, 8);
    assert_int_equal(b->backends[0].facts.in_flight, 2);
    assert_int_equal(b->backends[0].facts.queued, 1);
    assert_int_equal(b->backends[0].facts.pressure_permille, 250);
    assert_int_equal(b->backends[0].facts.ttft_ms, 90);
    assert_int_equal(b->backends[0].facts.models_matched, 3);
    assert_int_equal(b->backends[1].facts.state, HEALTH_DOWN);
    free(a);
    free(b);
    sample_close(&s);
}

static void
test_only_the_nodes_own_advert_key(void **state)
{
    static uint8_t storage[ADVERT_MAX];
    struct sample s;
    struct advert *a;
    struct advert *b;
    struct text t;
    const char *why = NULL;

    (void)state;
    sample_open(&s);
    a = west_advert(s.charter);
    b = advert_new(s.charter);
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(advert_write(a, s.charter, s.keys[SAMPLE_W2], &t), ERR_OK);
    assert_int_equal(advert_read(text_slice(&t), s.charter, NOW, b, &why), ERR_AUTH);
    assert_non_null(why);
    /* The right key outside of its time. */
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(advert_write(a, s.charter, s.keys[SAMPLE_W1], &t), ERR_OK);
    assert_int_equal(advert_read(text_slice(&t), s.charter, 0, b, &why), ERR_AUTH);
    assert_int_equal(advert_read(text_slice(&t), s.charter, INT64_C(4102444800000), b, &why),
                     ERR_AUTH);
    free(a);
    free(b);
    sample_close(&s);
}

static void
test_any_changed_byte_is_noticed(void **state)
{
    static uint8_t storage[ADVERT_MAX];
    struct sample s;
    struct advert *a;
    struct advert *b;
    struct text t;
    const char *why = NULL;

    (void)state;
    sample_open(&s);
    a = west_advert(s.charter);
    b = advert_new(s.charter);
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(advert_write(a, s.charter, s.keys[SAMPLE_W1], &t), ERR_OK);
    for (size_t i = 0; i < t.used; i++) {
        storage[i] ^= 1;
        assert_int_not_equal(advert_read(text_slice(&t), s.charter, NOW, b, &why), ERR_OK);
        storage[i] ^= 1;
        if (i % 16 == 0)
            assert_int_not_equal(advert_read(slice_of(storage, i), s.charter, NOW, b, &why),
                                 ERR_OK);
    }
    free(a);
    free(b);
    sample_close(&s);
}

/* %s: the digest of the charter. */
#define HEAD                                                                                     \
    "{\"v\":1,\"mesh\":\"sample\",\"node\":\"w1\",\"region\":\"eu-west\",\"boot\":\"" BOOT "\"," \
    "\"seq\":1,\"t\":5,\"charter\":{\"version\":1,\"digest\":\"%s\"},\"state\":\"ready\","
#define ROWS(rows) HEAD "\"backends\":[" rows "]}"

static enum err
read_signed(const struct sample *s, const char *type, const char *format, struct advert *out,
            const char **why)
{
    static uint8_t storage[2 * ADVERT_MAX];
    static char payload[2 * ADVERT_MAX];
    const struct key *key = s->keys[SAMPLE_W1];
    uint8_t digest[32];
    struct text d;
    struct text t;
    const char *at = strstr(format, "%s");
    size_t before = at == NULL ? strlen(format) : (size_t)(at - format);

    text_init(&d, digest, sizeof(digest));
    text_add_b64url(&d, slice_of(s->charter->digest, 16));
    text_init(&t, payload, sizeof(payload));
    text_add(&t, slice_of(format, before));
    if (at != NULL) {
        text_add(&t, text_slice(&d));
        text_add_str(&t, at + 2);
    }
    assert_true(text_ok(&t));
    d = t;
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(dsse_sign(slice_str(type), text_slice(&d), &key, 1, &t), ERR_OK);
    return advert_read(text_slice(&t), s->charter, NOW, out, why);
}

static void
test_payloads(void **state)
{
    static const struct {
        const char *payload;
        enum err e;
    } rows[] = {
        {ROWS(""), ERR_OK},
        {ROWS("[2,1,8,0,0,0,0,0,3]"), ERR_OK},
        {ROWS("[2,1,9,0,0,0,0,0,3]"), ERR_BADMSG}, /* > 2 x slots */
        {ROWS("[0,1,4,0,0,0,0,0,3]"), ERR_BADMSG}, /* another region's */
        {ROWS("[6,1,4,0,0,0,0,0,3]"), ERR_BADMSG}, /* none */
        {ROWS("[2,4,4,0,0,0,0,0,3]"), ERR_BADMSG}, /* no such state */
        {ROWS("[2,1,4,-1,0,0,0,0,3]"), ERR_BADMSG},
        {ROWS("[2,1,4,0.5,0,0,0,0,3]"), ERR_BADMSG},
        {ROWS("[2,1,4,0,0,0,0,0]"), ERR_BADMSG},
        {ROWS("[2,1,4,0,0,0,0,0,3,0]"), ERR_BADMSG},
        {ROWS("[2,1,4,0,0,0,0,0,\"3\"]"), ERR_BADMSG},
        {ROWS("{}"), ERR_BADMSG},
        {ROWS("[3,1,4,0,0,0,0,0,3],[2,1,4,0,0,0,0,0,3]"), ERR_BADMSG},
        {ROWS("[2,1,4,0,0,0,0,0,3],[2,1,4,0,0,0,0,0,3]"), ERR_BADMSG},
        {HEAD "\"backends\":{}}", ERR_BADMSG},
        {HEAD "\"more\":1,\"backends\":[]}", ERR_BADMSG}, /* an unknown member */
        {HEAD "\"backend\":[]}", ERR_BADMSG},             /* one is missing */
        {HEAD "\"seq\":2,\"backends\":[]}", ERR_BADMSG},  /* twice */
        {"[]", ERR_BADMSG},
        {"", ERR_BADMSG},
    };
    struct sample s;
    struct advert *out;

    (void)state;
    sample_open(&s);
    out = advert_new(s.charter);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *why = NULL;

        assert_int_equal(
            read_signed(&s, "application/vnd.portolan.advert+json", rows[i].payload, out, &why),
            rows[i].e);
        assert_int_equal(
            read_signed(&s, "application/vnd.portolan.charter+json", rows[i].payload, out, &why),
            ERR_BADMSG);
    }
    free(out);
    sample_close(&s);
}

static void
test_members_of_the_head(void **state)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"\"v\":1", "\"v\":2"},
        {"\"mesh\":\"sample\"", "\"mesh\":\"other\""},
        {"\"node\":\"w1\"", "\"node\":\"w9\""},
        {"\"region\":\"eu-west\"", "\"region\":\"eu-central\""},
        {BOOT, "AAAA"},
        {BOOT, "AAAAAAAAAAAAAAAAAAAAA+"},
        {"\"seq\":1", "\"seq\":-1"},
        {"\"seq\":1", "\"seq\":9007199254740993"},
        {"\"t\":5", "\"t\":\"5\""},
        {"\"version\":1,", "\"version\":1,\"x\":1,"},
        {"\"state\":\"ready\"", "\"state\":\"fine\""},
    };
    struct sample s;
    struct advert *out;

    (void)state;
    sample_open(&s);
    out = advert_new(s.charter);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char changed[1024];
        const char *whole = ROWS("");
        const char *at = strstr(whole, rows[i].from);
        const char *why = NULL;

        assert_non_null(at);
        assert_true(text_format(changed, sizeof(changed), "%.*s%s%s", (int)(at - whole), whole,
                                rows[i].to, at + strlen(rows[i].from)));
        assert_int_equal(
            read_signed(&s, "application/vnd.portolan.advert+json", changed, out, &why),
            ERR_BADMSG);
        assert_non_null(why);
    }
    free(out);
    sample_close(&s);
}

static void
test_values_are_clamped(void **state)
{
    struct sample s;
    struct advert *out;
    const char *why = NULL;

    (void)state;
    sample_open(&s);
    out = advert_new(s.charter);
    assert_int_equal(
        read_signed(&s, "application/vnd.portolan.advert+json",
                    ROWS("[2,1,4,9000000000,9000000000,5000,9000000000,9000000000,255]"), out,
                    &why),
        ERR_OK);
    assert_int_equal(out->backends[0].facts.in_flight, 1000000);
    assert_int_equal(out->backends[0].facts.queued, 1000000);
    assert_int_equal(out->backends[0].facts.pressure_permille, 1000);
    assert_int_equal(out->backends[0].facts.ttft_ms, 600000);
    assert_int_equal(out->backends[0].rejects, UINT32_MAX);
    assert_int_equal(out->backends[0].facts.models_matched, 3); /* it has two models */
    free(out);
    sample_close(&s);
}

static void
test_rows_of_another_charter_are_not_read(void **state)
{
    static uint8_t storage[ADVERT_MAX];
    struct sample s;
    struct charter *other;
    struct advert *a;
    struct advert *b;
    struct text t;
    const char *why = NULL;

    (void)state;
    sample_open(&s);
    s.version = 2;
    other = sample_charter(&s);
    a = west_advert(other);
    b = advert_new(s.charter);
    text_init(&t, storage, sizeof(storage));
    assert_int_equal(advert_write(a, other, s.keys[SAMPLE_W1], &t), ERR_OK);
    assert_int_equal(advert_read(text_slice(&t), s.charter, NOW, b, &why), ERR_OK);
    assert_int_equal(b->charter_version, 2);
    assert_int_equal(b->backend_count, 0);
    free(a);
    free(b);
    charter_unref(&other);
    sample_close(&s);
}

static void
test_too_long(void **state)
{
    static uint8_t storage[ADVERT_MAX + 1];
    struct sample s;
    struct advert *b;
    const char *why = NULL;

    (void)state;
    sample_open(&s);
    b = advert_new(s.charter);
    memset(storage, ' ', sizeof(storage));
    assert_int_equal(advert_read(slice_of(storage, sizeof(storage)), s.charter, NOW, b, &why),
                     ERR_BADMSG);
    assert_string_equal(why, "too long");
    free(b);
    sample_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_only_the_nodes_own_advert_key),
        cmocka_unit_test(test_any_changed_byte_is_noticed),
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_members_of_the_head),
        cmocka_unit_test(test_values_are_clamped),
        cmocka_unit_test(test_rows_of_another_charter_are_not_read),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests_name("health/advert", tests, NULL, NULL);
}
