#include "residency/evidence/record.h"

#include "base/check.h"
#include "residency/evidence/record_priv.h"

/* A2: RFC 8785 JSON, so the calls below stand in the order of their names. */

static const char *const end_names[] = {
    [RECORD_COMPLETE] = "complete",
    [RECORD_CLIENT_ABORT] = "client_abort",
    [RECORD_UPSTREAM_ERROR] = "upstream_error",
    [RECORD_UPSTREAM_TRUNCATED] = "upstream_truncated",
    [RECORD_TIMEOUT] = "timeout",
    [RECORD_DRAINED] = "drained",
    [RECORD_DENIED] = "denied",
    [RECORD_LOST] = "lost",
};
_Static_assert(ARRAY_COUNT(end_names) == RECORD_END_COUNT, "every end has its word");

const char *
record_end_name(enum record_end end)
{
    ASSERT(end < RECORD_END_COUNT);
    return end_names[end];
}

static void
write_answer(struct record_object *o, const struct record_a2 *a2)
{
    struct record_object answer = record_member_object(o, "answer");

    record_member_u64(&answer, "bytes", a2->answer_bytes);
    record_member_bytes(&answer, "commitment", a2->answer_commitment, HASH_SIZE);
    if (a2->sent_commitment != NULL) {
        record_member_u64(&answer, "sent_bytes", a2->sent_bytes);
        record_member_bytes(&answer, "sent_commitment", a2->sent_commitment, HASH_SIZE);
    }
    record_object_end(&answer);
}

static void
write_attempts(struct record_object *o, const struct record_a2 *a2)
{
    record_member(o, "attempts");
    text_add_char(o->text, '[');
    for (size_t i = 0; i < a2->attempt_count; i++) {
        struct record_object attempt;

        if (i > 0)
            text_add_char(o->text, ',');
        attempt = record_object_begin(o->text);
        record_member_u64(&attempt, "index", a2->attempts[i].index);
        record_member_str(&attempt, "outcome", a2->attempts[i].outcome);
        record_member_i64(&attempt, "status", a2->attempts[i].status);
        record_member_str(&attempt, "target", a2->attempts[i].target);
        record_object_end(&attempt);
    }
    text_add_char(o->text, ']');
}

static void
write_model(struct record_object *o, const struct record_a2 *a2)
{
    struct slice reported = record_foreign(a2->model_reported);
    struct slice id = record_foreign(a2->response_id);
    struct record_object model;

    if (reported.len == 0 && id.len == 0)
        return;
    model = record_member_object(o, "model");
    record_member_slice(&model, "reported", reported);
    record_member_slice(&model, "response_id", id);
    record_object_end(&model);
}

static void
write_time(struct record_object *o, const char *name, int64_t ms)
{
    if (ms != 0)
        record_member_i64(o, name, ms);
}

static void
write_times(struct record_object *o, const struct record_a2 *a2)
{
    struct record_object times = record_member_object(o, "times");

    write_time(&times, "dispatched", a2->dispatched_ms);
    write_time(&times, "end", a2->end_ms);
    write_time(&times, "first_byte", a2->first_byte_ms);
    write_time(&times, "received", a2->received_ms);
    record_object_end(&times);
}

static void
write_tokens(struct record_object *o, const struct record_a2 *a2)
{
    struct record_object tokens = record_member_object(o, "tokens");
    bool seen = a2->completion_tokens >= 0 || a2->prompt_tokens >= 0;

    if (a2->completion_tokens >= 0)
        record_member_i64(&tokens, "completion", a2->completion_tokens);
    if (a2->prompt_tokens >= 0)
        record_member_i64(&tokens, "prompt", a2->prompt_tokens);
    record_member_str(&tokens, "source", seen ? "answer" : "none");
    record_object_end(&tokens);
}

enum err
record_a2_write(const struct record_a2 *a2, struct text *out)
{
    size_t from = out->used;
    struct record_object o, part;

    ASSERT(a2->attempt_count <= RECORD_ATTEMPTS_MAX);
    o = record_object_begin(out);
    part = record_member_object(&o, "a1");
    record_member_bytes(&part, "hash", a2->a1_hash, HASH_SIZE);
    record_member_u64(&part, "index", a2->a1_index);
    record_object_end(&part);
    write_answer(&o, a2);
    write_attempts(&o, a2);
    record_member_str(&o, "end", record_end_name(a2->end));
    record_member_str(&o, "kind", "a2");
    write_model(&o, a2);
    record_member_bytes(&o, "peer", a2->peer_hash, HASH_SIZE);
    if (a2->upstream_commitment != NULL) {
        part = record_member_object(&o, "request");
        record_member_bytes(&part, "upstream_commitment", a2->upstream_commitment, HASH_SIZE);
        record_object_end(&part);
    }
    record_member_str(&o, "shard", a2->shard);
    record_member_i64(&o, "status", a2->status);
    write_times(&o, a2);
    write_tokens(&o, a2);
    record_member_str(&o, "txn", a2->txn);
    record_member_u64(&o, "v", 1);
    record_object_end(&o);
    if (!text_ok(out) || out->used - from > RECORD_A2_MAX) {
        out->used = from;
        return ERR_TOOBIG;
    }
    return ERR_OK;
}
