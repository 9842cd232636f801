#include "node/relay.h"

#include "base/check.h"
#include "base/clock.h"
#include "node/answer.h"
#include "node/attest.h"
#include "node/again.h"
#include "node/dispatch.h"
#include "node/journey.h"
#include "node/outgoing.h"

#define REQUEST_PATH_MAX 1024
#define REQUEST_VALUES_MAX 256 /* of its fields that are composed: a form's type, a key */
#define PEER_VALUE_MAX (RECORD_A1_MAX + 64) /* a peer's attestation with its leaf index */
#define ANSWER_TYPE_MAX 256
#define RETRY_AFTER_MAX_S 30 /* how long a backend may say that it is busy */

/* ---- the request --------------------------------------------------------------------- */

static const struct charter_backend *
backend_of(const struct txn *t)
{
    return t->choice.is_node ? NULL : &t->current->charter->backends[t->choice.backend];
}

/* The fields of the rebuilt request: an allow-list, nothing of the client's passes by itself. */
static void
add_fields(const struct txn *t, const struct mesh_target *target, struct http_fields *out)
{
    if (t->upload != NULL)
        upload_add_type(t, out);
    else
        http_fields_add(out, SLICE_LIT("Content-Type"), SLICE_LIT("application/json"));
    if (t->api_version.p != NULL)
        http_fields_add(out, SLICE_LIT("Anthropic-Version"), t->api_version);
    http_fields_add(out, SLICE_LIT("Accept-Encoding"), SLICE_LIT("identity"));
    http_fields_add(out, SLICE_LIT("X-Request-Id"), slice_str(t->id));
    http_fields_add(out, SLICE_LIT("Residency-Attestation"), t->a1);
    if (target->authorization != NULL)
        http_fields_add(out, SLICE_LIT("Authorization"), slice_str(target->authorization));
    if (t->choice.is_node) {
        text_add_b64url(&out->text, slice_of(t->key, sizeof(t->key)));
        http_fields_add_text(out, SLICE_LIT("Residency-Commitment-Key"));
    }
}

static enum err
send_head(const struct txn *t, const struct outgoing *o)
{
    const struct snapshot *s = t->current;
    const struct mesh_target *target =
        t->choice.is_node ? &s->nodes[t->choice.node] : &s->backends[t->choice.backend];
    const struct charter_backend *b = backend_of(t);
    uint8_t path_bytes[REQUEST_PATH_MAX];
    uint8_t storage[REQUEST_VALUES_MAX];
    struct http_fields fields;
    struct text path;
    struct upstream_request request = {
        .method = t->endpoint->method,
        .host = target->host,
        .port = address_port(&target->address),
        .fields = &fields,
        .body_length = upload_streams(t) ? upload_length(t) : (int64_t)o->len,
    };

    text_init(&path, path_bytes, sizeof(path_bytes));
    if (b != NULL)
        text_add_str(&path, b->path_prefix);
    text_add(&path, t->path.p != NULL ? t->path : slice_str(t->endpoint->path));
    request.path = text_ok(&path) ? text_slice(&path) : SLICE_NONE; /* no codec writes that */
    http_fields_init(&fields, storage, sizeof(storage));
    add_fields(t, target, &fields);
    return upstream_send_head(t->upstream, &request);
}

void
relay_send(struct txn *t)
{
    struct outgoing o;
    enum err e;

    txn_move(t, TXN_SEND);
    t->dispatched_ms = clock_wall_ms();
    t->asks_usage = outgoing_asks_usage(t);
    outgoing_body(t, &o);
    outgoing_commit(t, &o);
    e = send_head(t, &o);
    if (e == ERR_OK && !upload_streams(t))
        e = outgoing_send(t->upstream, &o);
    if (e != ERR_OK) {
        again_failed(t, &(struct again_failure){
                            .failure = RETRY_NOT_SENT, .outcome = "eof", .health = BREAKER_ABORT});
        return;
    }
    t->status = 0;
    t->peer_value = SLICE_NONE; /* an earlier attempt's */
    answer_reset(t);
    upstream_deadline(t->upstream, (uint64_t)t->deadlines->first_byte_ms);
    if (upload_streams(t))
        upload_begin(t); /* may refuse: t is not touched any more */
}

/* ---- the answer's head --------------------------------------------------------------- */

/* True: the head has one; *out are its seconds, of a date (RFC 9110 section 10.2.3) one. */
static bool
retry_after(const struct http_head *head, uint32_t *out)
{
    const struct http_field *f = http_field_find(head, SLICE_LIT("retry-after"));
    uint64_t seconds = 1;

    *out = 0;
    if (f == NULL)
        return false;
    (void)slice_u64(f->value, &seconds);
    *out = seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : (uint32_t)seconds;
    return true;
}

/* The peer's A1 must be there, be its own, and continue ours (law 7). */
static bool
peer_answer_ok(struct txn *t, const struct http_head *head, bool *denied)
{
    const struct charter_node *n = &t->current->charter->nodes[t->choice.node];
    const struct http_field *f = http_field_find(head, SLICE_LIT("residency-attestation"));
    char own_hash[RECORD_HASH_SIZE];
    struct record_a1_view view;
    struct slice value;
    struct slice jws;
    struct text hash;
    const char *why = "";

    if (f == NULL || f->value.len > PEER_VALUE_MAX ||
        http_field_count(head, SLICE_LIT("residency-attestation")) != 1)
        return false;
    value = arena_copy(&t->arena, f->value);
    if (value.p == NULL)
        return false;
    jws = slice_sub(value, 0, slice_find(value, ';'));
    if (record_a1_verify(jws, t->current->charter, &view, &why) != ERR_OK)
        return false;
    text_init(&hash, own_hash, sizeof(own_hash));
    text_add_b64url(&hash, slice_of(t->a1_hash, sizeof(t->a1_hash)));
    if (strcmp(view.iss, n->spiffe) != 0 || strcmp(view.txn, t->id) != 0 || view.hop != 1 ||
        !slice_eq(slice_str(view.prev), text_slice(&hash)))
        return false;
    hash_sha256(jws, t->attempts[t->attempt_count - 1].peer_hash);
    t->attempts[t->attempt_count - 1].has_peer = true;
    t->peer_value = value;
    *denied = !view.permit;
    return true;
}

static void
fail_status(struct txn *t, const struct http_head *head)
{
    int status = head->status;
    bool busy = status == 429 || status == 503;
    struct again_failure f = {.failure = busy ? RETRY_BUSY : RETRY_DEAD, .status = status};

    f.health = retry_after(head, &f.retry_after_s) || busy ? BREAKER_LOAD : BREAKER_FAIL;
    f.outcome = status == 429 ? "status_429" : status == 503 ? "status_503" : "status_5xx";
    t->status = status;
    again_failed(t, &f);
}

/* What a node says before it made a record of the request: it took nothing. */
static bool
is_unheard(const struct http_head *head)
{
    return (head->status == 409 || head->status == 503) &&
           http_field_find(head, SLICE_LIT("residency-attestation")) == NULL;
}

static void
count_forged(struct txn *t, const struct http_head *head)
{
    for (size_t i = 0; !t->choice.is_node && i < head->field_count; i++)
        if (head->fields[i].name.len >= 10 &&
            slice_eq_nocase(slice_sub(head->fields[i].name, 0, 10), SLICE_LIT("residency-")))
            metrics_add(&t->worker->shared->metrics.headers_dropped);
}

/* Of the backend's fields only the type is told on. So a body must mean the same without the
 * others, and have one type: readers of two don't agree on which counts. */
static bool
is_plain(const struct http_head *head)
{
    const struct slice encoding = SLICE_LIT("content-encoding");

    for (size_t i = 0; i < head->field_count; i++)
        if (slice_eq_nocase(head->fields[i].name, encoding) &&
            !slice_eq_nocase(head->fields[i].value, SLICE_LIT("identity")))
            return false;
    return http_field_count(head, SLICE_LIT("content-type")) <= 1;
}

static void
fail_malformed(struct txn *t, int status)
{
    again_failed(t, &(struct again_failure){.failure = RETRY_DEAD,
                                            .outcome = "malformed",
                                            .status = status,
                                            .health = BREAKER_FAIL});
}

/* Its law or its capacity says no: no health outcome, the next target in L. */
static void
refused_by_peer(struct txn *t, int status)
{
    again_failed(t, &(struct again_failure){.failure = RETRY_REFUSED,
                                            .outcome = "refused",
                                            .status = status,
                                            .health = BREAKER_ABORT});
}

/* True: the answer is one to relay. */
static bool
judge_head(struct txn *t, const struct http_head *head)
{
    bool denied = false;

    count_forged(t, head);
    if (t->choice.is_node && is_unheard(head)) {
        refused_by_peer(t, head->status);
        return false;
    }
    if (t->choice.is_node && !peer_answer_ok(t, head, &denied)) {
        fail_malformed(t, head->status);
        return false;
    }
    if (denied) {
        t->peer_value = SLICE_NONE;
        refused_by_peer(t, head->status);
        return false;
    }
    if (head->status >= 500 || head->status == 429) {
        fail_status(t, head);
        return false;
    }
    if (head->status < 200 || (head->status >= 300 && head->status < 400) || !is_plain(head)) {
        fail_malformed(t, head->status);
        return false;
    }
    return true;
}

/* What of the head is needed until the answer's end. */
static void
take_head(struct txn *t, const struct http_head *head)
{
    const struct http_field *type = http_field_find(head, SLICE_LIT("content-type"));

    t->status = head->status;
    t->answer_type = type == NULL || type->value.len > ANSWER_TYPE_MAX
                         ? SLICE_LIT("application/octet-stream")
                         : arena_copy(&t->arena, type->value);
    if (t->answer_type.p == NULL)
        t->answer_type = SLICE_LIT("application/octet-stream");
    t->answer_length = head->body_length;
    answer_begin(t, type == NULL ? SLICE_NONE : type->value);
    txn_move(t, TXN_RELAY);
}

/* ---- the answer's body --------------------------------------------------------------- */

/* The client is gone, or takes nothing any more: the backend's work is cancelled. */
void
relay_client_left(struct txn *t)
{
    struct exchange *x = t->exchange;

    attest_outcome(t, "client_abort", t->status);
    journey_finish(t, RECORD_CLIENT_ABORT);
    if (x != NULL)
        exchange_answer_cut(x);
}

static void
finish_ok(struct txn *t)
{
    struct exchange *x;

    if (!answer_commit(t) || !answer_rest(t)) {
        relay_client_left(t);
        return;
    }
    attest_outcome(t, "ok", t->status);
    if (t->slot_held) {
        dispatch_note(t, t->status < 400 ? BREAKER_OK : BREAKER_CLIENT, 0);
        admission_slot_free(t->worker->shared->admission, t->slot_id);
        t->slot_held = false;
    }
    upstream_return(t->upstream);
    t->upstream = NULL;
    metrics_add(&t->worker->shared->metrics.permitted);
    x = txn_part(t);
    journey_finish(t, RECORD_COMPLETE);
    if (x != NULL)
        exchange_answer_end(x);
}

/* After the first forwarded byte there is no other target. */
static void
cut_answer(struct txn *t, const char *outcome, enum breaker_outcome health, enum record_end end)
{
    struct exchange *x;

    attest_outcome(t, outcome, t->status);
    dispatch_note(t, health, 0);
    if (end == RECORD_UPSTREAM_TRUNCATED)
        metrics_add(&t->worker->shared->metrics.truncated);
    answer_tell_failure(t,
                        end == RECORD_TIMEOUT ? REFUSAL_UPSTREAM_TIMEOUT : REFUSAL_UPSTREAM_FAILED);
    x = txn_part(t);
    journey_finish(t, end);
    if (x != NULL)
        exchange_answer_cut(x);
}

/* How an answer failed, by what the A2 says of it. */
struct ending {
    enum retry_failure failure;
    const char *outcome;
    enum breaker_outcome health;
    enum record_end end;
};

static void
fail(struct txn *t, const struct ending *e)
{
    if (t->committed) {
        cut_answer(t, e->outcome, e->health, e->end);
        return;
    }
    answer_reset(t); /* nothing of it was handed on */
    again_failed(t, &(struct again_failure){.failure = e->failure,
                                            .outcome = e->outcome,
                                            .status = t->status,
                                            .health = e->health});
}

static const struct ending ended_early = {RETRY_DEAD, "eof", BREAKER_FAIL,
                                          RECORD_UPSTREAM_TRUNCATED};
static const struct ending was_stale = {RETRY_STALE, "eof", BREAKER_ABORT,
                                        RECORD_UPSTREAM_TRUNCATED};
static const struct ending was_malformed = {RETRY_DEAD, "malformed", BREAKER_FAIL,
                                            RECORD_UPSTREAM_ERROR};
static const struct ending no_memory = {RETRY_DEAD, "eof", BREAKER_ABORT, RECORD_UPSTREAM_ERROR};
static const struct ending fell_silent = {RETRY_LATE, "timeout", BREAKER_FAIL, RECORD_TIMEOUT};
/* The request's own time is over: the backend may be as well as it was. */
static const struct ending out_of_time = {RETRY_LATE, "timeout", BREAKER_ABORT, RECORD_TIMEOUT};

/* The framing ended in an orderly way. */
static void
finish(struct txn *t)
{
    if (answer_is_whole(t))
        finish_ok(t);
    else
        fail(t, &ended_early);
}

/* True: the attempt goes on. Without memory for its clock it must not. */
static bool
wait_on(struct txn *t)
{
    if (answer_wait(t) == ERR_OK)
        return true;
    fail(t, &no_memory);
    return false;
}

void
relay_resume(struct txn *t)
{
    /* While it was paused the silence was not the backend's. */
    upstream_deadline(t->upstream, (uint64_t)t->deadlines->idle_ms);
    upstream_resume(t->upstream);
    (void)wait_on(t);
}

/* ---- reading --------------------------------------------------------------------------- */

/* OVER: the attempt ended in there, and t may be gone or busy with another one. */
enum step { STEP_GO, STEP_WAIT, STEP_OVER };

static enum step
malformed(struct txn *t)
{
    fail(t, &was_malformed);
    return STEP_OVER;
}

/* That a kept connection closes before it answered says nothing about the backend. */
static enum step
truncated(struct txn *t)
{
    bool counts = upstream_heard(t->upstream) || !upstream_reused(t->upstream);

    fail(t, counts ? &ended_early : &was_stale);
    return STEP_OVER;
}

static enum step
read_head(struct txn *t)
{
    const struct http_head *head;

    switch (upstream_read_head(t->upstream, &head)) {
    case UPSTREAM_READ_WAIT:
        return STEP_WAIT;
    case UPSTREAM_READ_MALFORMED:
        return malformed(t);
    case UPSTREAM_READ_TRUNCATED:
        return truncated(t);
    case UPSTREAM_READ_OK:
    case UPSTREAM_READ_DONE:
        break;
    }
    if (!judge_head(t, head))
        return STEP_OVER;
    take_head(t, head);
    return STEP_GO;
}

static enum step
read_body(struct txn *t)
{
    for (;;) {
        struct slice piece;

        switch (upstream_read_body(t->upstream, &piece)) {
        case UPSTREAM_READ_WAIT:
            return STEP_WAIT;
        case UPSTREAM_READ_MALFORMED:
            return malformed(t);
        case UPSTREAM_READ_TRUNCATED:
            return truncated(t);
        case UPSTREAM_READ_DONE:
            finish(t);
            return STEP_OVER;
        case UPSTREAM_READ_OK:
            break;
        }
        if (!answer_add(t, piece)) {
            relay_client_left(t);
            return STEP_OVER;
        }
    }
}

/* True: the attempt goes on. */
static bool
read_on(struct txn *t)
{
    if (!t->answer_begun) {
        enum step step = read_head(t);

        if (step != STEP_GO)
            return step == STEP_WAIT;
    }
    upstream_deadline(t->upstream, (uint64_t)t->deadlines->idle_ms);
    if (read_body(t) == STEP_OVER)
        return false;
    if (!exchange_backed_up(t->exchange))
        return wait_on(t);
    upstream_pause(t->upstream);
    answer_wait_stop(t);
    return true;
}

void
relay_event(struct txn *t, unsigned events)
{
    /* After the end of the connection reading tells how the answer ended. */
    if ((events & (UPSTREAM_DATA | UPSTREAM_ENDED)) != 0 && !read_on(t))
        return;
    if ((events & UPSTREAM_TIMED_OUT) == 0)
        return;
    /* A client that takes nothing must not count against the backend. */
    if (t->client_slow)
        relay_client_left(t);
    else
        fail(t, &fell_silent);
}

void
relay_out_of_time(struct txn *t)
{
    fail(t, &out_of_time);
}

/* ---- endings --------------------------------------------------------------------------- */

void
relay_revoke(struct txn *t)
{
    struct exchange *x;

    attest_outcome(t, "revoked", t->status);
    if (!t->committed) {
        answer_reset(t); /* nothing of it was handed on */
        journey_refuse(t, REFUSAL_RESIDENCY_DENIED, "no_legal_place",
                       "the charter now forbids the place that was to answer", NULL);
        return;
    }
    answer_tell_failure(t, REFUSAL_RESIDENCY_DENIED);
    x = txn_part(t);
    journey_finish(t, RECORD_DENIED);
    if (x != NULL)
        exchange_answer_cut(x);
}

void
relay_finish(struct txn *t, enum record_end end, struct relay_facts *out)
{
    const struct answer_facts *facts = &t->seen.facts;
    /* Ollama's completions have it in every event before the one that says how many there were. */
    bool is_placeholder = facts->prompt_tokens == 0 && facts->completion_tokens == 0;

    *out = (struct relay_facts){.answer_bytes = t->committed ? t->answer_bytes : 0,
                                .model = answer_text_slice(&facts->model),
                                .response_id = answer_text_slice(&facts->response_id),
                                .prompt_tokens = facts->prompt_tokens,
                                .completion_tokens = facts->completion_tokens};
    /* Nobody will say how many tokens an answer had that ended early. */
    if ((facts->completion_tokens < 0 || is_placeholder) && end != RECORD_COMPLETE &&
        answer_body_events(&t->seen) > 0) {
        out->tokens_counted = true;
        out->prompt_tokens = is_placeholder ? -1 : facts->prompt_tokens;
        out->completion_tokens = (int64_t)answer_body_events(&t->seen);
    }
    if (out->answer_bytes > 0) {
        hmac_final(&t->answer_mac, out->commitment);
        out->has_commitment = true;
    }
    if (t->committed &&
        (t->failure_told || (t->hide != NULL && t->sent_bytes != t->answer_bytes))) {
        hmac_final(&t->sent_mac, out->sent_commitment);
        out->sent_bytes = t->sent_bytes;
        out->has_sent = true;
    }
}
