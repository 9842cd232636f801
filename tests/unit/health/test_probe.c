#include "health/probe.h"

#include "base/check.h"

#include "unit/health/sample.h"

#include <stddef.h>
#include <stdint.h>

struct answer {
    const char *path;
    enum err e;
    int status;
    const char *body;
};

#define ANSWERS_MAX 6

struct row {
    uint32_t backend;
    struct answer answers[ANSWERS_MAX];
    bool failed;
    uint64_t matched, digest, wrong;
    bool measured;
    uint32_t slots, in_flight, queued, pressure;
};

#define LIST "{\"object\":\"list\",\"data\":[{\"id\":\"plain\"},{\"id\":\"other\"}]}"
#define VERSION "{\"version\":\"0.5\"}"
#define DIGEST_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define TAG(name, digest) "{\"name\":\"" name "\",\"digest\":\"" digest "\"}"

static const struct row rows[] = {
    {SAMPLE_W_OPENAI, {{"/v1/models", ERR_OK, 200, LIST}}, .matched = SAMPLE_PLAIN},
    {SAMPLE_W_OPENAI,
     {{"/v1/models", ERR_OK, 200, "{\"data\":[{\"id\":\"pinned\"},{\"id\":\"plain\"}]}"}},
     .matched = SAMPLE_PLAIN | SAMPLE_PINNED},
    {SAMPLE_W_OPENAI, {{"/v1/models", ERR_OK, 200, "{\"data\":[]}"}}, .matched = 0},
    {SAMPLE_W_OPENAI, {{"/v1/models", ERR_OK, 200, "{\"data\":[{\"id\":1},2]}"}}, .matched = 0},
    {SAMPLE_W_OPENAI, {{"/v1/models", ERR_OK, 401, LIST}}, .failed = true},
    {SAMPLE_W_OPENAI, {{"/v1/models", ERR_OK, 200, "<html>"}}, .failed = true},
    {SAMPLE_W_OPENAI, {{"/v1/models", ERR_OK, 200, "{}"}}, .failed = true},
    {SAMPLE_W_OPENAI, {{"/v1/models", ERR_TIMEOUT, 0, ""}}, .failed = true},
    {SAMPLE_W_VLLM,
     {{"/health", ERR_OK, 200, ""},
      {"/metrics", ERR_OK, 200,
       "vllm:num_requests_running{engine=\"0\"} 3.0\nvllm:num_requests_running{engine=\"1\"} 2.0\n"
       "vllm:num_requests_waiting{engine=\"0\"} 4.0\nvllm:kv_cache_usage_perc 0.5\n"
       "vllm:gpu_cache_usage_perc 0.9\n"},
      {"/v1/models", ERR_OK, 200, LIST},
      {"/version", ERR_OK, 200, VERSION}},
     .matched = SAMPLE_PLAIN,
     .measured = true,
     .in_flight = 5,
     .queued = 4,
     .pressure = 500},
    {SAMPLE_W_VLLM,
     {{"/health", ERR_OK, 200, ""},
      {"/metrics", ERR_OK, 200, "vllm:gpu_cache_usage_perc 0.9\n"},
      {"/v1/models", ERR_OK, 200, LIST},
      {"/version", ERR_OK, 404, ""}},
     .matched = SAMPLE_PLAIN,
     .pressure = 900},
    {SAMPLE_W_VLLM,
     {{"/health", ERR_OK, 200, ""},
      {"/metrics", ERR_OK, 404, ""},
      {"/v1/models", ERR_OK, 200, LIST},
      {"/version", ERR_OK, 200, VERSION}},
     .matched = SAMPLE_PLAIN},
    {SAMPLE_W_VLLM, {{"/health", ERR_OK, 503, ""}}, .failed = true},
    {SAMPLE_W_VLLM,
     {{"/health", ERR_OK, 200, ""}, {"/metrics", ERR_TIMEOUT, 0, ""}},
     .failed = true},
    {SAMPLE_W_OLLAMA,
     {{"/api/version", ERR_OK, 200, VERSION},
      {"/api/tags", ERR_OK, 200,
       "{\"models\":[" TAG("pinned:latest", SAMPLE_DIGEST) "," TAG("plain", DIGEST_B) "]}"},
      {"/api/ps", ERR_OK, 200, "{\"models\":[]}"}},
     .matched = SAMPLE_PLAIN | SAMPLE_PINNED,
     .digest = SAMPLE_PINNED},
    {SAMPLE_W_OLLAMA,
     {{"/api/version", ERR_OK, 200, VERSION},
      {"/api/tags", ERR_OK, 200, "{\"models\":[" TAG("pinned", "sha256:" SAMPLE_DIGEST) "]}"},
      {"/api/ps", ERR_OK, 500, ""}},
     .matched = SAMPLE_PINNED,
     .digest = SAMPLE_PINNED},
    {SAMPLE_W_OLLAMA,
     {{"/api/version", ERR_OK, 200, VERSION},
      {"/api/tags", ERR_OK, 200, "{\"models\":[" TAG("pinned", DIGEST_B) "]}"},
      {"/api/ps", ERR_OK, 200, "{}"}},
     .wrong = SAMPLE_PINNED},
    {SAMPLE_W_OLLAMA,
     {{"/api/version", ERR_OK, 200, VERSION},
      {"/api/tags", ERR_OK, 200,
       "{\"models\":[" TAG("pinned:7b", SAMPLE_DIGEST) ",{\"name\":\"pinned\"}]}"},
      {"/api/ps", ERR_OK, 200, "{}"}},
     .matched = 0},
    {SAMPLE_W_LLAMA,
     {{"/health", ERR_OK, 200, "{\"status\":\"ok\"}"},
      {"/slots", ERR_OK, 200, "[{\"is_processing\":true},{\"is_processing\":false}]"},
      {"/props", ERR_OK, 200, "{\"total_slots\":2}"},
      {"/metrics", ERR_OK, 200, "llamacpp:requests_deferred 1\n"},
      {"/v1/models", ERR_OK, 200, LIST}},
     .matched = SAMPLE_PLAIN,
     .measured = true,
     .slots = 2,
     .in_flight = 1,
     .queued = 1},
    {SAMPLE_W_LLAMA,
     {{"/health", ERR_OK, 200, ""},
      {"/slots", ERR_OK, 501, ""},
      {"/props", ERR_OK, 200, "{\"total_slots\":64}"},
      {"/metrics", ERR_OK, 200,
       "llamacpp:requests_processing 3\nllamacpp:kv_cache_usage_ratio 0.25\n"},
      {"/v1/models", ERR_OK, 200, LIST}},
     .matched = SAMPLE_PLAIN,
     .measured = true,
     .slots = 4, /* the charter's: more is not granted */
     .in_flight = 3,
     .pressure = 250},
    {SAMPLE_W_LLAMA, {{"/health", ERR_OK, 503, "loading"}}, .failed = true},
};

static void
play(struct probe *p, const struct sample *s, const struct row *row)
{
    const struct answer *a = row->answers;

    probe_begin(p, s->charter, row->backend);
    for (; probe_path(p) != NULL; a++) {
        assert_non_null(a->path);
        assert_string_equal(probe_path(p), a->path);
        probe_answer(p, a->e, a->status, slice_str(a->body));
    }
    assert_null(a->path); /* everything was asked */
}

static void
test_rounds(void **state)
{
    struct sample s;

    (void)state;
    sample_open(&s);
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct probe p;

        play(&p, &s, &rows[i]);
        assert_int_equal(p.failed, rows[i].failed);
        if (p.failed)
            continue;
        assert_int_equal(p.facts.models_matched, rows[i].matched);
        assert_int_equal(p.facts.models_digest, rows[i].digest);
        assert_int_equal(p.facts.models_wrong, rows[i].wrong);
        assert_int_equal(p.measured, rows[i].measured);
        assert_int_equal(p.facts.slots, rows[i].slots);
        assert_int_equal(p.facts.in_flight, rows[i].in_flight);
        assert_int_equal(p.facts.queued, rows[i].queued);
        assert_int_equal(p.facts.pressure_permille, rows[i].pressure);
    }
    sample_close(&s);
}

static void
test_what_rounds_come_to(void **state)
{
    static const struct {
        enum err round[4];
        enum health_state after[4];
    } sequences[] = {
        {{ERR_OK, ERR_TIMEOUT, ERR_TIMEOUT, ERR_OK},
         {HEALTH_UP, HEALTH_UP, HEALTH_DOWN, HEALTH_UP}},
        {{ERR_TIMEOUT, ERR_OK, ERR_TIMEOUT, ERR_OK},
         {HEALTH_UNKNOWN, HEALTH_UP, HEALTH_UP, HEALTH_UP}},
        {{ERR_OK, ERR_IO, ERR_TIMEOUT, ERR_OK}, {HEALTH_UP, HEALTH_DOWN, HEALTH_DOWN, HEALTH_UP}},
        {{ERR_OK, ERR_EOF, ERR_BADMSG, ERR_TIMEOUT},
         {HEALTH_UP, HEALTH_UP, HEALTH_DOWN, HEALTH_DOWN}},
        {{ERR_OK, ERR_AUTH, ERR_AUTH, ERR_OK},
         {HEALTH_UP, HEALTH_QUARANTINED, HEALTH_QUARANTINED, HEALTH_UP}},
    };
    struct sample s;

    (void)state;
    sample_open(&s);
    for (size_t i = 0; i < ARRAY_COUNT(sequences); i++) {
        struct probe_pulse pulse = {HEALTH_UNKNOWN, 0};

        for (size_t r = 0; r < 4; r++) {
            struct probe p;

            probe_begin(&p, s.charter, SAMPLE_W_OPENAI);
            probe_answer(&p, sequences[i].round[r], 200, SLICE_LIT(LIST));
            probe_settle(&pulse, &p);
            assert_int_equal(pulse.state, sequences[i].after[r]);
        }
    }
    sample_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_what_rounds_come_to),
    };

    return cmocka_run_group_tests_name("health/probe", tests, NULL, NULL);
}
