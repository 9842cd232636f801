#include "node/relay.h"

#include "base/check.h"
#include "base/clock.h"
#include "node/answer.h"
#include "node/attest.h"
#include "node/dispatch.h"
#include "node/journey.h"

#define REQUEST_HEAD_MAX 8192
#define REQUEST_VALUES_MAX 256 /* of its fields that are composed: a form's type, a key */
#define PEER_VALUE_MAX (RECORD_A1_MAX + 64) /* a peer's attestation with its leaf index */
#define ANSWER_TYPE_MAX 256

/* ---- the request --------------------------------------------------------------------- */

static const struct charter_backend *
backend_of(const struct txn *t)
{
    return t->choice.is_node ? NULL : &t->current->charter->backends[t->choice.backend];
}

/* The body as it goes out: as it came, or with the alias replaced by the served name. */
struct outgoing {
    struct slice before;
    struct slice model; /* served name; p == NULL when the body goes as it came */
    struct slice after;
    struct slice quote; /* around the model: a form's field has none */
};

static struct outgoing
outgoing_body(const struct txn *t)
{
    struct slice body = buf_slice(&t->body);
    const struct charter_backend *b = backend_of(t);
    const struct charter_tenant *tenant = &t->current->charter->tenants[t->decision.tenant];
    struct slice served;

    if (upload_streams(t))
        return (struct outgoing){.before = SLICE_NONE};
    if (b == NULL || !tenant->rewrite_alias)
        return (struct outgoing){.before = body};
    served = slice_str(b->served[t->choice.served].name);
    if (slice_eq(served, t->facts.model))
        return (struct outgoing){.before = body};
    return (struct outgoing){
        .before = slice_sub(body, 0, t->facts.model_at),
        .model = served,
        .after = slice_sub(body, t->facts.model_at + t->facts.model_len, body.len),
        .quote = t->upload != NULL ? SLICE_LIT("") : SLICE_LIT("\""),
    };
}

static void
commit_outgoing(struct txn *t, const struct outgoing *o)
{
    struct hmac m;

    t->rewritten = o->model.p != NULL;
    if (!t->rewritten)
        return;
    commitment_init(&m, t->key, "upstream");
    hmac_add(&m, o->before);
    hmac_add(&m, o->quote);
    hmac_add(&m, o->model);
    hmac_add(&m, o->quote);
    hmac_add(&m, o->after);
    hmac_final(&m, t->upstream_commitment);
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
    http_fields_add(out, SLICE_LIT("X-Request-Id"), slice_str(t->id));
    http_fields_add(out, SLICE_LIT("Residency-Attestation"), t->a1);
    if (target->authorization != NULL)
        http_fields_add(out, SLICE_LIT("Authorization"), slice_str(target->authorization));
    if (t->choice.is_node) {
        text_add_b64url(&out->text, slice_of(t->key, sizeof(t->key)));
        http_fields_add_text(out, SLICE_LIT("Residency-Commitment-Key"));
    }
}

static void
write_head(const struct txn *t, const struct outgoing *o, struct text *out)
{
    const struct snapshot *s = t->current;
    const struct mesh_target *target =
        t->choice.is_node ? &s->nodes[t->choice.node] : &s->backends[t->choice.backend];
    const struct charter_backend *b = backend_of(t);
    int64_t length = upload_streams(t)
                         ? upload_length(t)
                         : (int64_t)(o->before.len + o->after.len +
                                     (o->model.p == NULL ? 0 : o->model.len + 2 * o->quote.len));
    uint8_t path_bytes[1024];
    uint8_t storage[REQUEST_VALUES_MAX];
    struct http_fields fields;
    struct text path;

    text_init(&path, path_bytes, sizeof(path_bytes));
    if (b != NULL)
        text_add_str(&path, b->path_prefix);
    text_add(&path, t->path.p != NULL ? t->path : slice_str(t->endpoint->path));
    http_fields_init(&fields, storage, sizeof(storage));
    add_fields(t, target, &fields);
    h1_write_request_line(out, t->endpoint->method, text_slice(&path));
    h1_write_host(out, target->host, address_port(&target->address));
    h1_write_fields(out, &fields);
    if (length < 0)
        h1_write_field(out, SLICE_LIT("Transfer-Encoding"), SLICE_LIT("chunked"));
    else
        h1_write_field_u64(out, SLICE_LIT("Content-Length"), (uint64_t)length);
    h1_write_end(out);
}

static void
on_total_timeout(void *context)
{
    struct txn *t = context;

    if (t->state == TXN_SEND || t->state == TXN_RELAY)
        relay_event(t, CONN_TIMED_OUT);
}

void
relay_send(struct txn *t)
{
    uint8_t storage[REQUEST_HEAD_MAX];
    struct conn *conn = upstream_conn(t->upstream);
    const struct config *config = t->current->config;
    struct outgoing o = outgoing_body(t);
    struct text head;
    enum err e;

    txn_move(t, TXN_SEND);
    t->dispatched_ms = clock_wall_ms();
    commit_outgoing(t, &o);
    text_init(&head, storage, sizeof(storage));
    write_head(t, &o, &head);
    timer_free(&t->timer); /* the queue's; from here on the total deadline runs */
    e = timer_new(t->worker->loop, on_total_timeout, t, &t->timer);
    if (e == ERR_OK && NEVER(!text_ok(&head)))
        e = ERR_TOOBIG;
    if (e == ERR_OK)
        e = conn_write(conn, text_slice(&head));
    if (e == ERR_OK)
        e = conn_write(conn, o.before);
    if (e == ERR_OK && o.model.p != NULL) {
        e = conn_write(conn, o.quote);
        e = e == ERR_OK ? conn_write(conn, o.model) : e;
        e = e == ERR_OK ? conn_write(conn, o.quote) : e;
        e = e == ERR_OK ? conn_write(conn, o.after) : e;
    }
    if (e != ERR_OK) {
        dispatch_failed(t, "eof", 0, BREAKER_ABORT, 0);
        return;
    }
    t->sent_any = true;
    t->status = 0;
    t->peer_a1 = t->peer_value = SLICE_NONE; /* an earlier attempt's */
    answer_reset(t);
    timer_set(t->timer, (uint64_t)config->total_timeout_ms);
    conn_deadline(conn, (uint64_t)config->first_byte_timeout_ms);
    h1_parser_init(&t->parser, H1_RESPONSE);
    if (upload_streams(t))
        upload_begin(t); /* may refuse: t is not touched any more */
}

/* ---- the answer's head --------------------------------------------------------------- */

static uint32_t
retry_after(const struct http_head *head)
{
    const struct http_field *f = http_field_find(head, SLICE_LIT("retry-after"));
    uint64_t seconds = 0;

    if (f == NULL || !slice_u64(f->value, &seconds))
        return 0;
    return seconds > 30 ? 30 : (uint32_t)seconds;
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
    t->peer_a1 = jws;
    t->peer_value = value;
    *denied = !view.permit;
    return true;
}

static void
fail_status(struct txn *t, int status, uint32_t after)
{
    bool load = status == 429 || status == 503 || after > 0;

    t->status = status;
    dispatch_failed(t,
                    status == 429   ? "status_429"
                    : status == 503 ? "status_503"
                                    : "status_5xx",
                    status, load ? BREAKER_LOAD : BREAKER_FAIL, after);
}

/* True: the answer is one to relay. */
static bool
judge_head(struct txn *t, const struct http_head *head)
{
    uint32_t after = retry_after(head);
    bool denied = false;

    if (t->choice.is_node) {
        if (!peer_answer_ok(t, head, &denied)) {
            dispatch_failed(t, "malformed", head->status, BREAKER_FAIL, 0);
            return false;
        }
        if (denied) {
            /* Its law or its capacity says no: no health outcome, the next target in L. */
            t->peer_value = t->peer_a1 = SLICE_NONE;
            dispatch_failed(t, "refused", head->status, BREAKER_ABORT, 0);
            return false;
        }
    }
    if (head->status >= 500 || head->status == 429) {
        fail_status(t, head->status, after);
        return false;
    }
    if (head->status < 200 || head->status >= 600 || (head->status >= 300 && head->status < 400)) {
        dispatch_failed(t, "malformed", head->status, BREAKER_FAIL, 0);
        return false;
    }
    return true;
}

static void
count_forged(struct txn *t, const struct http_head *head)
{
    for (size_t i = 0; !t->choice.is_node && i < head->field_count; i++)
        if (head->fields[i].name.len >= 10 &&
            slice_eq_nocase(slice_sub(head->fields[i].name, 0, 10), SLICE_LIT("residency-")))
            metrics_add(&t->worker->shared->metrics.headers_dropped);
}

/* OVER: the attempt ended in there, and t may be gone or busy with another one. */
enum step { STEP_GO, STEP_WAIT, STEP_OVER };

static enum step
read_head(struct txn *t)
{
    struct conn *conn = upstream_conn(t->upstream);
    const struct http_field *type;
    struct h1_head head;
    size_t len = 0;
    enum err e;

    for (;;) {
        e = h1_parse_head(&t->parser, buf_slice(conn_in(conn)), &head, &len);
        if (e == ERR_AGAIN)
            return STEP_WAIT;
        if (e != ERR_OK) {
            dispatch_failed(t, "malformed", 0, BREAKER_FAIL, 0);
            return STEP_OVER;
        }
        if (head.http.status >= 200)
            break;
        conn_consume(conn, len); /* 1xx: nothing of it is passed on */
        h1_parser_init(&t->parser, H1_RESPONSE);
    }
    count_forged(t, &head.http);
    if (!judge_head(t, &head.http))
        return STEP_OVER;
    t->status = head.http.status;
    t->upstream_keep_alive = head.keep_alive;
    type = http_field_find(&head.http, SLICE_LIT("content-type"));
    t->answer_type = type == NULL || type->value.len > ANSWER_TYPE_MAX
                         ? SLICE_LIT("application/octet-stream")
                         : arena_copy(&t->arena, type->value);
    if (t->answer_type.p == NULL)
        t->answer_type = SLICE_LIT("application/octet-stream");
    h1_body_init(&t->answer, head.framing, head.content_length);
    t->answer_length = head.http.body_length;
    answer_begin(t, type == NULL ? SLICE_NONE : type->value);
    conn_consume(conn, len);
    txn_move(t, TXN_RELAY);
    return STEP_GO;
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

    if (!answer_commit(t)) {
        relay_client_left(t);
        return;
    }
    attest_outcome(t, "ok", t->status);
    if (t->slot_held) {
        admission_breaker_note(t->worker->shared->admission, t->slot_id,
                               t->status < 400 ? BREAKER_OK : BREAKER_CLIENT, 0,
                               loop_now(t->worker->loop), 0);
        admission_slot_free(t->worker->shared->admission, t->slot_id);
        t->slot_held = false;
    }
    if (t->upstream_keep_alive && t->answer.framing != H1_BODY_TO_EOF && !upload_is_open(t))
        upstream_return(t->upstream);
    else
        upstream_abort(t->upstream);
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
    if (t->slot_held)
        admission_breaker_note(t->worker->shared->admission, t->slot_id, health, 0,
                               loop_now(t->worker->loop), random_stock_u64(&t->worker->random));
    if (end == RECORD_UPSTREAM_TRUNCATED)
        metrics_add(&t->worker->shared->metrics.truncated);
    answer_tell_failure(t,
                        end == RECORD_TIMEOUT ? REFUSAL_UPSTREAM_TIMEOUT : REFUSAL_UPSTREAM_FAILED);
    x = txn_part(t);
    journey_finish(t, end);
    if (x != NULL)
        exchange_answer_cut(x);
}

static void
fail(struct txn *t, const char *outcome, enum breaker_outcome health, enum record_end end)
{
    if (t->committed) {
        cut_answer(t, outcome, health, end);
        return;
    }
    answer_reset(t); /* nothing of it was handed on */
    dispatch_failed(t, outcome, t->status, health, 0);
}

/* The framing ended in an orderly way. */
static void
finish(struct txn *t)
{
    if (answer_is_whole(t))
        finish_ok(t);
    else
        fail(t, "eof", BREAKER_FAIL, RECORD_UPSTREAM_TRUNCATED);
}

/* True: the attempt goes on. */
static bool
read_body(struct txn *t)
{
    struct conn *conn = upstream_conn(t->upstream);

    for (;;) {
        struct slice in = buf_slice(conn_in(conn));
        struct slice piece = SLICE_NONE;
        size_t used = 0;
        enum err e;

        if (t->answer.done) {
            finish(t);
            return false;
        }
        e = h1_body_read(&t->answer, in, &piece, &used);
        if (e == ERR_BADMSG) {
            fail(t, "malformed", BREAKER_FAIL, RECORD_UPSTREAM_ERROR);
            return false;
        }
        if (piece.len > 0 && !answer_add(t, piece)) {
            relay_client_left(t);
            return false;
        }
        conn_consume(conn, used);
        if (e == ERR_AGAIN || (used == 0 && !t->answer.done))
            return true;
    }
}

/* True: the attempt goes on. Without memory for its clock it must not. */
static bool
wait_on(struct txn *t)
{
    if (answer_wait(t) == ERR_OK)
        return true;
    fail(t, "eof", BREAKER_ABORT, RECORD_UPSTREAM_ERROR);
    return false;
}

void
relay_resume(struct txn *t)
{
    struct conn *conn = upstream_conn(t->upstream);

    /* While it was paused the silence was not the backend's. */
    conn_deadline(conn, (uint64_t)t->current->config->stream_idle_timeout_ms);
    conn_resume(conn);
    (void)wait_on(t);
}

/* True: the attempt goes on. */
static bool
on_data(struct txn *t)
{
    struct conn *conn = upstream_conn(t->upstream);
    enum step step = STEP_GO;

    t->got_any = true;
    if (!t->answer_begun)
        step = read_head(t);
    if (step != STEP_GO)
        return step == STEP_WAIT;
    conn_deadline(conn, (uint64_t)t->current->config->stream_idle_timeout_ms);
    if (!read_body(t))
        return false;
    if (!exchange_backed_up(t->exchange))
        return wait_on(t);
    conn_pause(conn);
    answer_wait_stop(t);
    return true;
}

static void
on_end(struct txn *t)
{
    /* A reset is no end: only an orderly close completes an answer without a length. */
    if (t->answer_begun && conn_error(upstream_conn(t->upstream)) == ERR_OK &&
        h1_body_eof(&t->answer) == ERR_OK) {
        finish(t);
        return;
    }
    fail(t, "eof", t->got_any || !upstream_reused(t->upstream) ? BREAKER_FAIL : BREAKER_ABORT,
         RECORD_UPSTREAM_TRUNCATED);
}

void
relay_event(struct txn *t, unsigned events)
{
    if ((events & CONN_DATA) != 0 && !on_data(t))
        return;
    /* A client that takes nothing must not count against the backend. */
    if ((events & CONN_TIMED_OUT) != 0 && t->client_slow)
        relay_client_left(t);
    else if ((events & CONN_TIMED_OUT) != 0)
        fail(t, "timeout", BREAKER_FAIL, RECORD_TIMEOUT);
    else if ((events & (CONN_EOF | CONN_FAILED)) != 0)
        on_end(t);
}

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

    *out = (struct relay_facts){.answer_bytes = t->committed ? t->answer_bytes : 0,
                                .model = answer_text_slice(&facts->model),
                                .response_id = answer_text_slice(&facts->response_id),
                                .prompt_tokens = facts->prompt_tokens,
                                .completion_tokens = facts->completion_tokens};
    /* Nobody will say how many tokens an answer had that ended early. */
    if (facts->prompt_tokens < 0 && facts->completion_tokens < 0 && end != RECORD_COMPLETE &&
        answer_body_events(&t->seen) > 0) {
        out->tokens_counted = true;
        out->completion_tokens = (int64_t)answer_body_events(&t->seen);
    }
    if (out->answer_bytes > 0) {
        hmac_final(&t->answer_mac, out->commitment);
        out->has_commitment = true;
    }
    if (t->failure_told) {
        hmac_final(&t->sent_mac, out->sent_commitment);
        out->sent_bytes = t->sent_bytes;
        out->has_sent = true;
    }
    if (t->has_peer_hash) {
        memcpy(out->peer_hash, t->peer_hash, HASH_SIZE);
        out->has_peer = true;
    } else if (t->peer_a1.p != NULL) {
        hash_sha256(t->peer_a1, out->peer_hash);
        out->has_peer = true;
    }
}
