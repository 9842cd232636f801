#include "health/probe.h"

#include "base/check.h"
#include "base/json.h"
#include "health/metrics.h"

#include <string.h>

typedef bool (*answer_fn)(struct probe *p, struct slice body);

struct question {
    const char *path;
    bool required; /* else what it would tell stays unknown */
    answer_fn read;
};

static struct slice
served_name(const struct probe *p, uint32_t i)
{
    return slice_str(p->charter->backends[p->backend].served[i].name);
}

static uint32_t
served_count(const struct probe *p)
{
    size_t count = p->charter->backends[p->backend].served_count;

    return (uint32_t)(count < CHARTER_SERVED_MAX ? count : CHARTER_SERVED_MAX);
}

static bool
read_anything(struct probe *p, struct slice body)
{
    (void)p;
    (void)body;
    return true;
}

static bool
read_json(struct probe *p, struct slice body)
{
    struct json_doc *doc = NULL;
    enum err e = json_parse(body, &doc, NULL);

    (void)p;
    json_free(&doc);
    return e == ERR_OK;
}

/* {"data":[{"id":"..."}]} */
static bool
read_models(struct probe *p, struct slice body)
{
    struct json_doc *doc = NULL;
    const struct json *data;

    if (json_parse(body, &doc, NULL) != ERR_OK)
        return false;
    data = json_get(json_root(doc), "data");
    for (const struct json *v = json_first(data); v != NULL; v = json_next(v)) {
        struct slice id;

        for (uint32_t i = 0; json_string(json_get(v, "id"), &id) && i < served_count(p); i++)
            if (slice_eq(id, served_name(p, i)))
                p->facts.models_matched |= UINT64_C(1) << i;
    }
    json_free(&doc);
    return data != NULL;
}

/* Ollama's names carry a tag, and "latest" goes without saying. */
static bool
is_tagged(struct slice shown, struct slice name)
{
    return slice_eq(shown, name) || (slice_starts(shown, name) &&
                                     slice_is(slice_sub(shown, name.len, shown.len), ":latest"));
}

static void
match_tag(struct probe *p, uint32_t i, const struct json *v)
{
    const struct charter_backend *b = &p->charter->backends[p->backend];
    const char *wanted = p->charter->models[b->served[i].model].digest;
    uint64_t bit = UINT64_C(1) << i;
    struct slice digest = SLICE_NONE;

    if (wanted[0] == '\0') {
        p->facts.models_matched |= bit;
        return;
    }
    if (!json_string(json_get(v, "digest"), &digest))
        return;
    if (slice_starts(digest, SLICE_LIT("sha256:")))
        digest = slice_sub(digest, 7, digest.len);
    if (slice_is(digest, wanted)) {
        p->facts.models_matched |= bit;
        p->facts.models_digest |= bit;
    } else {
        p->facts.models_wrong |= bit;
    }
}

/* {"models":[{"name":"mistral:7b","digest":"<hex>"}]} */
static bool
read_tags(struct probe *p, struct slice body)
{
    struct json_doc *doc = NULL;
    const struct json *models;

    if (json_parse(body, &doc, NULL) != ERR_OK)
        return false;
    models = json_get(json_root(doc), "models");
    for (const struct json *v = json_first(models); v != NULL; v = json_next(v)) {
        struct slice name;

        for (uint32_t i = 0; json_string(json_get(v, "name"), &name) && i < served_count(p); i++)
            if (is_tagged(name, served_name(p, i)))
                match_tag(p, i, v);
    }
    json_free(&doc);
    return models != NULL;
}

static uint32_t
whole(uint64_t milli)
{
    return (uint32_t)(milli / 1000 < UINT32_MAX ? milli / 1000 : UINT32_MAX);
}

static bool
read_vllm_metrics(struct probe *p, struct slice body)
{
    struct metrics_gauge g;

    if (metrics_find(body, SLICE_LIT("vllm:num_requests_running"), &g)) {
        p->facts.in_flight = whole(g.sum_milli);
        p->measured = true;
    }
    if (metrics_find(body, SLICE_LIT("vllm:num_requests_waiting"), &g))
        p->facts.queued = whole(g.sum_milli);
    /* The newer name first: some versions show both. */
    if (metrics_find(body, SLICE_LIT("vllm:kv_cache_usage_perc"), &g) ||
        metrics_find(body, SLICE_LIT("vllm:gpu_cache_usage_perc"), &g))
        p->facts.pressure_permille = (uint32_t)(g.max_milli < 1000 ? g.max_milli : 1000);
    return true;
}

static bool
read_llamacpp_metrics(struct probe *p, struct slice body)
{
    struct metrics_gauge g;

    if (metrics_find(body, SLICE_LIT("llamacpp:requests_processing"), &g)) {
        p->facts.in_flight = whole(g.sum_milli);
        p->measured = true;
    }
    if (metrics_find(body, SLICE_LIT("llamacpp:requests_deferred"), &g))
        p->facts.queued = whole(g.sum_milli);
    if (metrics_find(body, SLICE_LIT("llamacpp:kv_cache_usage_ratio"), &g))
        p->facts.pressure_permille = (uint32_t)(g.max_milli < 1000 ? g.max_milli : 1000);
    return true;
}

/* How many slots the server says it has; beyond what the charter grants means nothing. */
static void
take_slots(struct probe *p, int64_t slots)
{
    uint32_t granted = p->charter->backends[p->backend].slots;

    if (slots > 0)
        p->facts.slots = slots < (int64_t)granted ? (uint32_t)slots : granted;
}

/* [{"id":0,"is_processing":false},...] */
static bool
read_slots(struct probe *p, struct slice body)
{
    struct json_doc *doc = NULL;
    const struct json *root;
    uint32_t busy = 0;
    bool is_list;

    if (json_parse(body, &doc, NULL) != ERR_OK)
        return false;
    root = json_root(doc);
    is_list = json_type_of(root) == JSON_ARRAY;
    for (const struct json *v = is_list ? json_first(root) : NULL; v != NULL; v = json_next(v)) {
        bool processing = false;

        if (json_bool(json_get(v, "is_processing"), &processing) && processing)
            busy++;
    }
    if (is_list && json_count(root) > 0) {
        take_slots(p, (int64_t)json_count(root));
        p->facts.in_flight = busy;
        p->measured = true;
    }
    json_free(&doc);
    return is_list;
}

/* {"total_slots":4,...}; only needed where /slots is switched off. */
static bool
read_props(struct probe *p, struct slice body)
{
    struct json_doc *doc = NULL;
    int64_t slots;
    bool ok = json_parse(body, &doc, NULL) == ERR_OK;

    if (ok && p->facts.slots == 0 && json_int(json_get(json_root(doc), "total_slots"), &slots))
        take_slots(p, slots);
    json_free(&doc);
    return ok;
}

#define QUESTIONS_MAX 5
static const struct question questions[KIND_COUNT][QUESTIONS_MAX + 1] = {
    [KIND_OPENAI] = {{"/v1/models", true, read_models}},
    [KIND_VLLM] = {{"/health", true, read_anything},
                   {"/metrics", false, read_vllm_metrics},
                   {"/v1/models", true, read_models},
                   {"/version", false, read_json}},
    [KIND_OLLAMA] = {{"/api/version", true, read_json},
                     {"/api/tags", true, read_tags},
                     {"/api/ps", false, read_json}},
    [KIND_LLAMACPP] = {{"/health", true, read_anything},
                       {"/slots", false, read_slots},
                       {"/props", false, read_props},
                       {"/metrics", false, read_llamacpp_metrics},
                       {"/v1/models", true, read_models}},
};

static const struct question *
question_of(const struct probe *p)
{
    return &questions[p->charter->backends[p->backend].kind][p->step];
}

void
probe_begin(struct probe *p, const struct charter *charter, uint32_t backend)
{
    memset(p, 0, sizeof(*p));
    ASSERT(backend < charter->backend_count);
    ASSERT(charter->backends[backend].kind < KIND_COUNT);
    p->charter = charter;
    p->backend = backend;
}

const char *
probe_path(const struct probe *p)
{
    return p->failed ? NULL : question_of(p)->path;
}

void
probe_answer(struct probe *p, enum err e, int status, struct slice body)
{
    const struct question *q = question_of(p);

    ASSERT(!p->failed && q->path != NULL);
    p->step++;
    if (e == ERR_OK && status >= 200 && status < 300 && q->read(p, body))
        return;
    /* An answer that is not there or makes no sense is only a loss where it is required;
     * without any answer there is no use in asking on. */
    p->failed = q->required || e != ERR_OK;
    p->refused = e == ERR_IO;
    p->wrong_identity = e == ERR_AUTH;
}

void
probe_settle(struct probe_pulse *pulse, const struct probe *p)
{
    if (!p->failed) {
        pulse->state = HEALTH_UP;
        pulse->fails = 0;
        return;
    }
    if (pulse->fails < PROBE_FAILS_DOWN)
        pulse->fails++;
    if (p->wrong_identity)
        pulse->state = HEALTH_QUARANTINED;
    else if (p->refused || pulse->fails >= PROBE_FAILS_DOWN)
        pulse->state = HEALTH_DOWN;
}
