#include "node/answer.h"

#include "base/check.h"
#include "base/clock.h"
#include "node/attest.h"
#include "node/dispatch.h"
#include "node/relay.h"

#define FAILURE_MAX 512
#define STALL_LOAD_MS 30000 /* how long a stalled stream counts against its backend's use */

static const char keepalive[] = ": keep-alive\n\n";

static bool
is_stream(const struct txn *t)
{
    return t->seen.format != STREAM_NONE;
}

/* Comments and errors of ours are the ingress's: what a peer hands on is the backend's own,
 * so that both nodes commit to the same bytes. */
static bool
may_speak(const struct txn *t)
{
    return is_stream(t) && t->exchange != NULL && !t->peer_request;
}

void
answer_reset(struct txn *t)
{
    t->answer_begun = false;
    t->answer_bytes = 0;
    t->sent_bytes = 0;
    t->failure_told = t->stall_noted = t->client_slow = false;
    buf_release(&t->held);
    usage_hide_free(&t->hide);
    answer_body_init(&t->seen, STREAM_NONE, t->endpoint);
    commitment_init(&t->answer_mac, t->key, "answer");
    if (t->pulse != NULL)
        timer_clear(t->pulse);
}

void
answer_begin(struct txn *t, struct slice content_type)
{
    struct mono now = loop_now(t->worker->loop);

    answer_body_init(&t->seen, answer_body_format(content_type), t->endpoint);
    t->head_at = t->heard_at = t->told_at = now;
    t->answer_begun = true;
    if (!may_speak(t))
        return;
    commitment_init(&t->sent_mac, t->key, "sent");
    if (t->asks_usage && t->seen.format == STREAM_SSE && t->status < 400)
        t->hide = usage_hide_new(t->worker->pool, t->worker->keys);
    /* What we add is in no length that the backend told. */
    if (t->answer_length > 0)
        t->answer_length = HTTP_LENGTH_UNKNOWN;
}

/* ---- commit ---------------------------------------------------------------------------- */

static bool
forward(struct txn *t, struct slice piece)
{
    if (!exchange_answer_body(t->exchange, piece))
        return false;
    t->told_at = loop_now(t->worker->loop);
    if (may_speak(t)) {
        hmac_add(&t->sent_mac, piece);
        t->sent_bytes += piece.len;
    }
    return true;
}

/* What came, to the client: all of it, or without what it did not ask for. */
static bool
hand_on(struct txn *t, struct slice piece)
{
    struct slice shown;

    if (t->hide == NULL)
        return forward(t, piece);
    while (usage_hide_next(t->hide, &piece, &shown))
        if (!forward(t, shown))
            return false;
    return true;
}

bool
answer_commit(struct txn *t)
{
    uint8_t storage[TXN_FIELDS_MAX];
    struct http_fields fields;
    bool sent;

    if (t->committed || t->exchange == NULL)
        return t->exchange != NULL;
    t->committed = true;
    t->client_status = t->status;
    t->first_byte_ms = clock_wall_ms();
    if (t->answer_bytes > 0)
        dispatch_trial_passed(t);
    http_fields_init(&fields, storage, sizeof(storage));
    http_fields_add(&fields, SLICE_LIT("Content-Type"), t->answer_type);
    if (is_stream(t))
        http_fields_add(&fields, SLICE_LIT("Cache-Control"), SLICE_LIT("no-cache"));
    attest_fields(t, &fields);
    sent = exchange_answer_head(t->exchange, t->status, &fields, t->answer_length) &&
           (buf_used(&t->held) == 0 || hand_on(t, buf_slice(&t->held)));
    buf_release(&t->held);
    t->told_at = loop_now(t->worker->loop);
    if (is_stream(t))
        txn_settle(t);
    return sent;
}

/* ---- body ------------------------------------------------------------------------------ */

static void
note_events(struct txn *t, uint64_t before)
{
    struct metrics *m = &t->worker->shared->metrics;
    struct mono now = loop_now(t->worker->loop);
    uint64_t events = answer_body_events(&t->seen);

    for (; before < events; before++) {
        if (before == 0)
            metrics_first_token(m, t->endpoint->operation, now.ns - t->received_at.ns);
        else
            metrics_next_token(m, t->endpoint->operation, now.ns - t->event_at.ns);
        t->event_at = now;
    }
}

static void
observe(struct txn *t, struct slice piece)
{
    uint64_t before = answer_body_events(&t->seen);

    hmac_add(&t->answer_mac, piece);
    t->answer_bytes += piece.len;
    answer_body_add(&t->seen, piece);
    if (is_stream(t) && t->status < 400)
        note_events(t, before);
}

bool
answer_add(struct txn *t, struct slice piece)
{
    observe(t, piece);
    /* What does not fit is no reason to fail: the answer is committed to earlier. */
    if (!t->committed && is_stream(t) && t->seen.events == 0 && piece.len <= buf_left(&t->held) &&
        buf_add(&t->held, piece) == ERR_OK)
        return true;
    return answer_commit(t) && hand_on(t, piece);
}

bool
answer_rest(struct txn *t)
{
    struct slice rest = t->hide != NULL ? usage_hide_rest(t->hide) : SLICE_NONE;

    return rest.len == 0 || forward(t, rest);
}

bool
answer_is_whole(const struct txn *t)
{
    return t->status >= 400 || answer_body_is_whole(&t->seen);
}

void
answer_tell_failure(struct txn *t, enum refusal why)
{
    static const char *const words[] = {
        [REFUSAL_UPSTREAM_FAILED] = "the backend's answer ended early",
        [REFUSAL_UPSTREAM_TIMEOUT] = "the backend stopped in the middle of its answer",
        [REFUSAL_OVERLOADED] = "this node is shutting down",
        [REFUSAL_RESIDENCY_DENIED] = "the charter now forbids the place that answered",
    };
    const struct refusal_row *row = refusal_row(why);
    bool is_sse = t->seen.format == STREAM_SSE;
    bool is_typed = t->seen.facts.end == END_RESPONSES || t->seen.facts.end == END_MESSAGES;
    uint8_t storage[FAILURE_MAX];
    struct text event;

    if (t->committed && t->exchange != NULL && !answer_rest(t))
        return;
    /* Behind its end nobody reads on. */
    if (!t->committed || !may_speak(t) || !answer_body_at_boundary(&t->seen) ||
        answer_body_done(&t->seen))
        return;
    ASSERT(why < ARRAY_COUNT(words) && words[why] != NULL);
    text_init(&event, storage, sizeof(storage));
    text_add_str(&event, is_typed ? "event: error\ndata: {\"type\":\"error\","
                         : is_sse ? "data: {"
                                  : "{");
    text_add_str(&event, "\"error\":{\"message\":");
    text_add_json(&event, slice_str(words[why]));
    text_add_str(&event, ",\"type\":");
    text_add_json(&event, slice_str(row->type));
    text_add_str(&event, ",\"param\":null,\"code\":");
    text_add_json(&event, slice_str(row->code));
    text_add_str(&event, is_sse ? "}}\n\n" : "}}\n");
    if (!NEVER(!text_ok(&event)))
        t->failure_told = forward(t, text_slice(&event));
}

/* ---- clock ----------------------------------------------------------------------------- */

static uint64_t
left(struct mono now, struct mono since, int64_t ms)
{
    uint64_t passed = mono_ms_since(now, since);

    return passed >= (uint64_t)ms ? 0 : (uint64_t)ms - passed;
}

static bool
keeps_alive(const struct txn *t)
{
    return t->committed && t->seen.format == STREAM_SSE && may_speak(t) &&
           !answer_body_done(&t->seen);
}

/* Milliseconds until the next thing is due; UINT64_MAX: nothing will be. */
static uint64_t
next_due(const struct txn *t, struct mono now)
{
    const struct config *config = t->current->config;
    uint64_t next = UINT64_MAX;
    uint64_t ms;

    if (!t->committed)
        next = left(now, t->head_at, config->commit_timeout_ms);
    else if (keeps_alive(t))
        next = left(now, t->told_at, config->sse_keepalive_ms);
    if (is_stream(t) && !t->stall_noted) {
        ms = left(now, t->heard_at, config->stream_stall_ms);
        next = ms < next ? ms : next;
    }
    return next;
}

/* A soft failure: its backend counts as loaded for a while and is ejected by nothing less
 * than the end of the stream. */
static void
note_stall(struct txn *t)
{
    t->stall_noted = true;
    metrics_add(&t->worker->shared->metrics.stalled);
    dispatch_note(t, BREAKER_LOAD, STALL_LOAD_MS);
}

static void
keep_alive(struct txn *t, struct mono now)
{
    /* In the middle of an event nothing of ours may stand; it is tried again later. */
    if (answer_body_at_boundary(&t->seen))
        (void)exchange_answer_body(t->exchange, SLICE_LIT(keepalive));
    t->told_at = now;
}

static void
on_pulse(void *context)
{
    struct txn *t = context;
    struct mono now = loop_now(t->worker->loop);
    const struct config *config;
    uint64_t next;

    if (t->state != TXN_RELAY || t->exchange == NULL || t->upstream == NULL)
        return;
    config = t->current->config;
    if (!t->committed && left(now, t->head_at, config->commit_timeout_ms) == 0 &&
        !answer_commit(t)) {
        relay_client_left(t);
        return;
    }
    if (keeps_alive(t) && left(now, t->told_at, config->sse_keepalive_ms) == 0)
        keep_alive(t, now);
    if (is_stream(t) && !t->stall_noted && left(now, t->heard_at, config->stream_stall_ms) == 0)
        note_stall(t);
    next = next_due(t, now);
    if (next != UINT64_MAX)
        timer_set(t->pulse, next == 0 ? 1 : next);
}

enum err
answer_wait(struct txn *t)
{
    struct mono now = loop_now(t->worker->loop);
    uint64_t next;

    t->client_slow = false;
    t->heard_at = now;
    next = next_due(t, now);
    if (next == UINT64_MAX) {
        if (t->pulse != NULL)
            timer_clear(t->pulse);
        return ERR_OK;
    }
    if (t->pulse == NULL) {
        enum err e = timer_new(t->worker->loop, on_pulse, t, &t->pulse);

        if (e != ERR_OK)
            return e;
    }
    timer_set(t->pulse, next == 0 ? 1 : next);
    return ERR_OK;
}

void
answer_wait_stop(struct txn *t)
{
    t->client_slow = true;
    if (t->pulse != NULL)
        timer_clear(t->pulse);
}
