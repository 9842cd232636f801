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
    struct record_object answer = record_member_object(o, SLICE_LIT("answer"));

    record_member_u64(&answer, SLICE_LIT("bytes"), a2->answer_bytes);
    record_member_bytes(&answer, SLICE_LIT("commitment"), a2->answer_commitment, HASH_SIZE);
    if (a2->sent_commitment != NULL) {
        record_member_u64(&answer, SLICE_LIT("sent_bytes"), a2->sent_bytes);
        record_member_bytes(&answer, SLICE_LIT("sent_commitment"), a2->sent_commitment, HASH_SIZE);
    }
    record_object_end(&answer);
}

static void
write_attempts(struct record_object *o, const struct record_a2 *a2)
{
    record_member(o, SLICE_LIT("attempts"));
    text_add_char(o->text, '[');
    for (size_t i = 0; i < a2->attempt_count; i++) {
        struct record_object attempt;

        if (i > 0)
            text_add_char(o->text, ',');
        attempt = record_object_begin(o->text);
        record_member_u64(&attempt, SLICE_LIT("index"), a2->attempts[i].index);
        record_member_str(&attempt, SLICE_LIT("outcome"), a2->attempts[i].outcome);
        if (a2->attempts[i].has_peer)
            record_member_bytes(&attempt, SLICE_LIT("peer"), a2->attempts[i].peer_hash, HASH_SIZE);
        record_member_i64(&attempt, SLICE_LIT("status"), a2->attempts[i].status);
        record_member_str(&attempt, SLICE_LIT("target"), a2->attempts[i].target);
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
    model = record_member_object(o, SLICE_LIT("model"));
    record_member_slice(&model, SLICE_LIT("reported"), reported);
    record_member_slice(&model, SLICE_LIT("response_id"), id);
    record_object_end(&model);
}

static void
write_time(struct record_object *o, struct slice name, int64_t ms)
{
    if (ms != 0)
        record_member_i64(o, name, ms);
}

static void
write_times(struct record_object *o, const struct record_a2 *a2)
{
    struct record_object times = record_member_object(o, SLICE_LIT("times"));

    write_time(&times, SLICE_LIT("dispatched"), a2->dispatched_ms);
    write_time(&times, SLICE_LIT("end"), a2->end_ms);
    write_time(&times, SLICE_LIT("first_byte"), a2->first_byte_ms);
    write_time(&times, SLICE_LIT("received"), a2->received_ms);
    record_object_end(&times);
}

static void
write_tokens(struct record_object *o, const struct record_a2 *a2)
{
    struct record_object tokens = record_member_object(o, SLICE_LIT("tokens"));
    bool seen = a2->completion_tokens >= 0 || a2->prompt_tokens >= 0;

    if (a2->completion_tokens >= 0)
        record_member_i64(&tokens, SLICE_LIT("completion"), a2->completion_tokens);
    if (a2->prompt_tokens >= 0)
        record_member_i64(&tokens, SLICE_LIT("prompt"), a2->prompt_tokens);
    record_member_str(&tokens, SLICE_LIT("source"),
                      !seen                ? "none"
                      : a2->tokens_counted ? "counted"
                                           : "answer");
    record_object_end(&tokens);
}

static void
write_request(struct record_object *o, const struct record_a2 *a2)
{
    struct record_object request;

    if (a2->request_commitment == NULL && a2->upstream_commitment == NULL)
        return;
    request = record_member_object(o, SLICE_LIT("request"));
    if (a2->request_commitment != NULL) {
        record_member_u64(&request, SLICE_LIT("bytes"), a2->request_bytes);
        record_member_bytes(&request, SLICE_LIT("commitment"), a2->request_commitment, HASH_SIZE);
    }
    record_member_bytes(&request, SLICE_LIT("upstream_commitment"), a2->upstream_commitment,
                        HASH_SIZE);
    record_object_end(&request);
}

enum err
record_a2_write(const struct record_a2 *a2, struct text *out)
{
    size_t from = out->used;
    struct record_object o, part;

    ASSERT(a2->attempt_count <= RECORD_ATTEMPTS_MAX);
    o = record_object_begin(out);
    part = record_member_object(&o, SLICE_LIT("a1"));
    record_member_bytes(&part, SLICE_LIT("hash"), a2->a1_hash, HASH_SIZE);
    record_member_u64(&part, SLICE_LIT("index"), a2->a1_index);
    record_object_end(&part);
    write_answer(&o, a2);
    write_attempts(&o, a2);
    record_member_str(&o, SLICE_LIT("end"), record_end_name(a2->end));
    record_member_str(&o, SLICE_LIT("kind"), "a2");
    write_model(&o, a2);
    record_member_str(&o, SLICE_LIT("reason"), a2->reason);
    write_request(&o, a2);
    record_member_str(&o, SLICE_LIT("shard"), a2->shard);
    record_member_i64(&o, SLICE_LIT("status"), a2->status);
    write_times(&o, a2);
    write_tokens(&o, a2);
    record_member_str(&o, SLICE_LIT("txn"), a2->txn);
    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_object_end(&o);
    if (!text_ok(out) || out->used - from > RECORD_A2_MAX) {
        out->used = from;
        return ERR_TOOBIG;
    }
    return ERR_OK;
}
