#include "residency/evidence/record.h"

#include "residency/evidence/record_priv.h"

#include <string.h>

/* Reading A2. */

#define ID_LEN (RECORD_ID_SIZE - 1)
#define HASH_LEN (RECORD_HASH_SIZE - 1)

/* JCS allows the record as a set of members; ours has them in one order, so each optional
 * one is looked for where it must stand. */

static void
skip_digest(struct record_cursor *c, const char *name, const char *why)
{
    char text[RECORD_HASH_SIZE];

    if (record_take(c, name))
        record_digest(c, text, HASH_LEN, why);
}

static void
read_status(struct record_cursor *c, int *out)
{
    uint64_t status = 0;

    record_number(c, &status, "status is no number");
    if (status > 999)
        record_fail(c, "status is no HTTP status");
    *out = (int)(status % 1000);
}

static void
read_answer(struct record_cursor *c, struct record_a2_view *v)
{
    static const char why[] = "answer is malformed";
    uint64_t sent = 0;

    record_expect(c, ",\"answer\":{\"bytes\":", why);
    record_number(c, &v->answer_bytes, why);
    if (record_take(c, ",\"commitment\":"))
        record_digest(c, v->answer_commitment, HASH_LEN, why);
    if (record_take(c, ",\"sent_bytes\":")) {
        record_number(c, &sent, why);
        record_expect(c, ",\"sent_commitment\":", why);
        skip_digest(c, "", why);
    }
    skip_digest(c, ",\"text_commitment\":", why);
    record_expect(c, "}", why);
}

static bool
outcome_ok(const char *word)
{
    static const char *const words[] = {"ok",         "connect_failed", "tls_failed",   "refused",
                                        "status_429", "status_503",     "status_5xx",   "malformed",
                                        "eof",        "timeout",        "client_abort", "lost",
                                        "revoked",    "not_sent",       "cut",          "drained"};
    struct slice s = slice_str(word);

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_is(s, words[i]))
            return true;
    }
    /* status_<class>: other classes come with later versions of the gateway */
    return slice_starts(s, SLICE_LIT("status_")) && s.len == 10;
}

static void
read_attempts(struct record_cursor *c, struct record_a2_view *v)
{
    static const char why[] = "attempts are malformed";

    record_expect(c, ",\"attempts\":[", why);
    while (c->why == NULL && !record_take(c, "]")) {
        size_t i = v->attempt_count;

        if (i == RECORD_ATTEMPTS_MAX) {
            record_fail(c, "more attempts than there can be");
            return;
        }
        record_expect(c, i == 0 ? "{\"index\":" : ",{\"index\":", why);
        record_number(c, &v->attempts[i].index, why);
        record_expect(c, ",\"outcome\":", why);
        record_string(c, v->attempts[i].outcome, sizeof(v->attempts[i].outcome), why);
        if (c->why == NULL && !outcome_ok(v->attempts[i].outcome))
            record_fail(c, "outcome is none of the words");
        if (record_take(c, ",\"peer\":"))
            record_digest(c, v->attempts[i].peer_hash, HASH_LEN, why);
        record_expect(c, ",\"status\":", why);
        read_status(c, &v->attempts[i].status);
        if (record_take(c, ",\"target\":"))
            record_string(c, v->attempts[i].target, sizeof(v->attempts[i].target), why);
        record_expect(c, "}", why);
        v->attempt_count++;
    }
}

static void
read_end(struct record_cursor *c, struct record_a2_view *v)
{
    char word[32];

    record_expect(c, ",\"end\":", "end is missing");
    record_string(c, word, sizeof(word), "end is malformed");
    if (c->why != NULL)
        return;
    for (unsigned i = 0; i < RECORD_END_COUNT; i++) {
        if (strcmp(word, record_end_name((enum record_end)i)) == 0) {
            v->end = (enum record_end)i;
            return;
        }
    }
    record_fail(c, "end is none of the words");
}

static void
read_model(struct record_cursor *c, struct record_a2_view *v)
{
    static const char why[] = "model is malformed";

    if (!record_take(c, ",\"model\":{"))
        return;
    if (record_take(c, "\"reported\":")) {
        record_string(c, v->model_reported, sizeof(v->model_reported), why);
        if (record_take(c, "}"))
            return;
        record_expect(c, ",", why);
    }
    record_expect(c, "\"response_id\":", why);
    record_string(c, v->response_id, sizeof(v->response_id), why);
    record_expect(c, "}", why);
}

static void
read_time(struct record_cursor *c, const char *name, int64_t *out, bool *has)
{
    struct record_cursor before = *c;
    uint64_t ms = 0;

    if ((*has && !record_take(c, ",")) || !record_take(c, name)) {
        *c = before;
        return;
    }
    *has = true;
    record_number(c, &ms, "times are malformed");
    *out = (int64_t)ms;
}

static void
read_times(struct record_cursor *c, struct record_a2_view *v)
{
    bool has = false;

    record_expect(c, ",\"times\":{", "times are missing");
    read_time(c, "\"dispatched\":", &v->dispatched_ms, &has);
    read_time(c, "\"end\":", &v->end_ms, &has);
    read_time(c, "\"first_byte\":", &v->first_byte_ms, &has);
    read_time(c, "\"received\":", &v->received_ms, &has);
    record_expect(c, "}", "times are malformed");
}

static void
read_tokens(struct record_cursor *c, struct record_a2_view *v)
{
    static const char why[] = "tokens are malformed";
    bool has = false;

    v->completion_tokens = v->prompt_tokens = -1;
    record_expect(c, ",\"tokens\":{", "tokens are missing");
    read_time(c, "\"completion\":", &v->completion_tokens, &has);
    read_time(c, "\"prompt\":", &v->prompt_tokens, &has);
    v->tokens_counted = has && record_take(c, ",\"source\":\"counted\"}");
    if (!v->tokens_counted)
        record_expect(c, has ? ",\"source\":\"answer\"}" : "\"source\":\"none\"}", why);
}

static void
read_request(struct record_cursor *c, struct record_a2_view *v)
{
    static const char why[] = "request is malformed";

    if (!record_take(c, ",\"request\":{"))
        return;
    if (record_take(c, "\"bytes\":")) {
        record_number(c, &v->request_bytes, why);
        record_expect(c, ",\"commitment\":", why);
        record_digest(c, v->request_commitment, HASH_LEN, why);
        if (record_take(c, "}"))
            return;
        record_expect(c, ",", why);
    }
    skip_digest(c, "\"upstream_commitment\":", why);
    record_expect(c, "}", why);
}

enum err
record_a2_parse(struct slice json, struct record_a2_view *out, const char **why)
{
    struct record_cursor c = {.rest = json};
    struct record_a2_view v = {0};

    *why = "longer than an A2 can be";
    if (json.len > RECORD_A2_MAX)
        return ERR_TOOBIG;
    record_expect(&c, "{\"a1\":{\"hash\":", "a1 is missing");
    record_digest(&c, v.a1_hash, HASH_LEN, "a1 is malformed");
    record_expect(&c, ",\"index\":", "a1 is malformed");
    record_number(&c, &v.a1_index, "a1 is malformed");
    record_expect(&c, "}", "a1 is malformed");
    read_answer(&c, &v);
    read_attempts(&c, &v);
    read_end(&c, &v);
    record_expect(&c, ",\"kind\":\"a2\"", "kind is not a2");
    read_model(&c, &v);
    if (record_take(&c, ",\"reason\":"))
        record_string(&c, v.reason, sizeof(v.reason), "reason is malformed");
    skip_digest(&c, ",\"reference\":", "reference is malformed");
    read_request(&c, &v);
    record_expect(&c, ",\"shard\":", "shard is missing");
    record_digest(&c, v.shard, ID_LEN, "shard is malformed");
    record_expect(&c, ",\"status\":", "status is missing");
    read_status(&c, &v.status);
    read_times(&c, &v);
    read_tokens(&c, &v);
    record_expect(&c, ",\"txn\":", "txn is missing");
    record_string(&c, v.txn, sizeof(v.txn), "txn is malformed");
    record_expect(&c, ",\"v\":1}", "a member out of its order, or one too many");
    if (c.why == NULL && (c.rest.len > 0 || !record_txn_ok(v.txn)))
        record_fail(&c, "txn is no UUIDv7, or bytes stand behind the record");
    *why = c.why;
    if (c.why != NULL)
        return ERR_BADMSG;
    *out = v;
    return ERR_OK;
}
