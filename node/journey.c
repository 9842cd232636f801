#include "node/journey.h"

#include "base/check.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "node/answer.h"
#include "node/attest.h"
#include "node/dispatch.h"
#include "node/models.h"
#include "node/peer.h"
#include "node/relay.h"
#include "residency/geo/forwarded.h"

#define DEADLINE_AGAIN_MS 100

/* ---- head -------------------------------------------------------------------------- */

/* Host without its port. */
static struct slice
host_name(struct slice authority)
{
    size_t end = authority.len;

    if (authority.len > 0 && authority.p[0] == '[') {
        size_t close = slice_find(authority, ']');

        return slice_sub(authority, 1, close == authority.len ? 0 : close - 1);
    }
    end = slice_find(authority, ':');
    return slice_sub(authority, 0, end);
}

/* One of the configured names (on the mesh listener: the one that the charter gives this
 * node), and the one that TLS was asked for. */
static bool
host_ok(const struct exchange *x, struct slice authority)
{
    const struct snapshot *s = x->worker->snapshot;
    const struct config *config = s->config;
    struct slice name = host_name(authority);
    const char *sni = x->caller->sni;

    if (sni != NULL && !slice_eq_nocase(slice_str(sni), name))
        return false;
    if (x->caller->mesh)
        return slice_eq_nocase(slice_str(s->charter->nodes[s->own_node].host), name);
    for (size_t i = 0; i < config->name_count; i++)
        if (slice_eq_nocase(slice_str(config->names[i]), name))
            return true;
    return false;
}

/* A refusal of a caller whose tenant is not known: counted, not recorded one by one. */
static void
refuse_unknown(struct exchange *x, enum refusal code, const char *words)
{
    struct exchange_refusal refusal = {
        .code = code,
        .words = words,
        .retry_after_s = overload_retry_after(x->worker->shared->overload),
    };

    metrics_add(&x->worker->shared->metrics.unrecorded[code]);
    exchange_refuse(x, &refusal, NULL);
}

static void
answer_json(struct exchange *x, struct slice body)
{
    struct http_fields fields;

    http_fields_init(&fields, NULL, 0);
    http_fields_add(&fields, SLICE_LIT("Content-Type"), SLICE_LIT("application/json"));
    exchange_answer(x, 200, &fields, body);
}

/* Nothing of it is on record: the refusal or answer that follows is on the exchange alone. */
static struct exchange *
forget(struct txn *t)
{
    struct exchange *x = txn_part(t);

    txn_move(t, TXN_DONE);
    txn_free(t);
    return x;
}

#define MODELS_BODY_MAX 65536

static void
answer_models(struct txn *t)
{
    struct exchange *x = t->exchange;
    struct buf body;
    struct text out;
    size_t room = 0;

    buf_init(&body, t->worker->pool, MODELS_BODY_MAX);
    text_init(&out, buf_room(&body, MODELS_BODY_MAX, &room), MODELS_BODY_MAX);
    if (room < MODELS_BODY_MAX)
        out.size = room;
    if (t->endpoint->kind == ENDPOINT_TAGS)
        models_write_tags(t->pinned->charter, &t->road->identity, &out);
    else
        models_write(t->pinned->charter, &t->road->identity, &out);
    (void)forget(t);
    if (!text_ok(&out))
        refuse_unknown(x, REFUSAL_OVERLOADED, "the list of models is too long");
    else
        answer_json(x, text_slice(&out));
    buf_release(&body);
}

/* ---- identify ---------------------------------------------------------------------- */

static bool
identify_caller(struct txn *t)
{
    const struct caller_cert *cert = t->exchange->caller->cert;
    struct exchange_refusal refusal = {.code = REFUSAL_UNAUTHENTICATED};
    struct http_fields fields;
    struct identity_facts facts = {.authorization = t->authorization,
                                   .api_key = t->api_key,
                                   .authorization_count = t->authorization_count,
                                   .api_key_count = t->api_key_count,
                                   .cert = cert == NULL ? NULL : &cert->facts,
                                   .now_ms = t->received_ms};
    enum identity_reason r;

    if (cert != NULL) {
        facts.chain = cert->chain;
        facts.chain_count = cert->chain_count;
    }
    r = identify(t->pinned->charter, t->pinned->identity_keys, t->worker->identities, &facts,
                 &t->road->identity);

    if (r == IDENTITY_OK) {
        t->identified = true;
        t->tenant = t->road->identity.tenant;
        t->auth = t->road->identity.auth;
        return true;
    }
    refusal.words = identity_reason_words(r);
    metrics_add(&t->worker->shared->metrics.unrecorded[refusal.code]);
    http_fields_init(&fields, NULL, 0);
    http_fields_add(&fields, SLICE_LIT("WWW-Authenticate"), SLICE_LIT("Bearer"));
    exchange_refuse(forget(t), &refusal, &fields);
    return false;
}

/* ---- locate ------------------------------------------------------------------------ */

static void
locate(struct txn *t)
{
    struct geo_address remote = t->exchange->caller->remote;
    struct forwarded_facts facts = {.peer = remote,
                                    .trusted = t->pinned->proxies,
                                    .trusted_count = t->pinned->proxy_count,
                                    .values = t->road->forwarded,
                                    .value_count = t->forwarded_count};
    struct forwarded_client who = {.quality = GEO_MALFORMED};
    struct geo_answer answer = {COUNTRY_NONE, COUNTRY_NONE, GEO_MALFORMED};

    if (remote.family != 0 && !t->forwarded_overflow)
        forwarded_client(&facts, &who);
    if (who.quality == GEO_FOUND)
        geo_locate(t->pinned->geo, &who.address, &answer);
    t->origin = (struct decide_origin){
        .country = answer.quality == GEO_FOUND ? answer.country : COUNTRY_NONE,
        .registered = answer.registered,
        .source = who.is_forwarded ? ORIGIN_FORWARDED : ORIGIN_SOCKET,
        .quality = geo_quality_row(answer.quality)->name,
        .may_assume = geo_quality_row(answer.quality)->may_assume,
    };
}

/* Whether the tenant's policy opens the path; if not, the refusal follows with the body. */
static void
open_path(struct txn *t)
{
    const struct charter_tenant *tenant = &t->pinned->charter->tenants[t->tenant];

    if (t->path.p != NULL && charter_passes(tenant, t->path))
        t->path_name = txn_keep_str(t, t->path);
}

static bool
path_is_open(struct txn *t)
{
    if (t->path.p == NULL || t->path_name != NULL)
        return true;
    journey_refuse(t, REFUSAL_NOT_FOUND, "not_found", "no such path", NULL);
    return false;
}

/* What stands in the head was taken, who and where are known. */
static bool
begin_body(struct txn *t, const struct http_head *head)
{
    open_path(t);
    if (t->endpoint->kind == ENDPOINT_MODELS || t->endpoint->kind == ENDPOINT_TAGS) {
        answer_models(t);
        return false;
    }
    if (!t->peer_request)
        locate(t);
    txn_forget_head(t);
    if (head->body_length <= (int64_t)upload_bytes_max(t))
        return true;
    journey_refuse(t, REFUSAL_REQUEST_TOO_LARGE, "request_too_large",
                   "the body is larger than this node takes", NULL);
    return false;
}

/* True: go on with the body. path: of a passthrough, else empty. */
static bool
begin_known(struct exchange *x, const struct http_head *head, const struct endpoint *endpoint,
            struct slice path)
{
    struct txn *t = NULL;
    enum err e = txn_new(x, head, &t);

    if (e == ERR_TOOBIG) {
        refuse_unknown(x, REFUSAL_HEADERS_TOO_LARGE,
                       "the head needs more memory than a request has");
        return false;
    }
    if (e != ERR_OK) {
        refuse_unknown(x, REFUSAL_OVERLOADED, "no memory for the request now");
        return false;
    }
    t->endpoint = endpoint;
    t->deadlines = config_deadlines_of(t->pinned->config, endpoint->name);
    txn_move(t, TXN_READ_BODY);
    if (path.len > 0)
        t->path = arena_copy(&t->arena, path);
    if (path.len > 0 && t->path.p == NULL) {
        refuse_unknown(forget(t), REFUSAL_HEADERS_TOO_LARGE,
                       "the head needs more memory than a request has");
        return false;
    }
    if (endpoint->body == ENDPOINT_FORM)
        t->upload = upload_new(head);
    if (endpoint->body == ENDPOINT_FORM && t->upload == NULL) {
        refuse_unknown(forget(t), REFUSAL_OVERLOADED, "no memory for the request now");
        return false;
    }
    random_uuid7(&t->worker->random, t->received_ms, t->id);
    return (t->peer_request ? peer_identify(t) : identify_caller(t)) && begin_body(t, head);
}

/* What the path takes instead (RFC 9110 section 15.5.6). */
static void
refuse_method(struct exchange *x, uint32_t methods)
{
    struct exchange_refusal refusal = {.code = REFUSAL_METHOD_NOT_ALLOWED,
                                       .words = "the path takes another method"};
    struct http_fields fields;
    uint8_t storage[64];

    http_fields_init(&fields, storage, sizeof(storage));
    for (enum http_method m = HTTP_GET; m < HTTP_METHOD_COUNT; m++) {
        if ((methods & (1u << m)) == 0)
            continue;
        text_add_str(&fields.text, fields.text.used == 0 ? "" : ", ");
        text_add_str(&fields.text, http_method_name(m));
    }
    http_fields_add_text(&fields, SLICE_LIT("Allow"));
    metrics_add(&x->worker->shared->metrics.unrecorded[refusal.code]);
    exchange_refuse(x, &refusal, &fields);
}

bool
journey_begin(struct exchange *x, const struct http_head *head)
{
    uint8_t storage[HTTP_PATH_MAX];
    const struct endpoint *endpoint;
    struct snapshot *s = x->worker->snapshot;
    struct overload *overload = x->worker->shared->overload;
    uint32_t methods = 0;
    struct text path;

    text_init(&path, storage, sizeof(storage));
    /* Who sends these may see other messages on the connection than we do. */
    if (http_canonical_path(head->path, &path) != ERR_OK || !text_ok(&path)) {
        x->is_last = true;
        refuse_unknown(x, REFUSAL_BAD_REQUEST, "malformed path");
        return false;
    }
    if (!host_ok(x, head->authority)) {
        x->is_last = true;
        refuse_unknown(x, REFUSAL_MISDIRECTED, "this host is not served here");
        return false;
    }
    endpoint = endpoint_find(head->method, text_slice(&path), x->caller->mesh, &methods);
    if (endpoint == NULL && methods != 0) {
        refuse_method(x, methods);
        return false;
    }
    if (endpoint == NULL && (head->method != HTTP_POST || !s->charter->has_paths)) {
        refuse_unknown(x, REFUSAL_NOT_FOUND, "no such path");
        return false;
    }
    if (endpoint != NULL && endpoint->kind == ENDPOINT_JWKS) {
        answer_json(x, slice_of(s->jwks, s->jwks_len));
        return false;
    }
    if (endpoint != NULL && endpoint->kind == ENDPOINT_HEALTH) {
        answer_json(x, SLICE_LIT("{\"status\":\"ok\"}\n"));
        return false;
    }
    /* Before identity and body: a refusal must cost less than what it saves. */
    if (overload_stage(overload) >= PRESSURE_REFUSE) {
        overload_count(overload, OVERLOAD_SHED_REQUEST);
        refuse_unknown(x, REFUSAL_OVERLOADED,
                       "this node has no memory or descriptors to spare now");
        return false;
    }
    if (endpoint == NULL) /* one that a charter may open */
        return begin_known(x, head, endpoint_passthrough(), text_slice(&path));
    return begin_known(x, head, endpoint, SLICE_NONE);
}

/* ---- body -------------------------------------------------------------------------- */

bool
journey_body(struct txn *t, struct slice piece)
{
    struct metrics *m = &t->worker->shared->metrics;
    struct overload *overload = t->worker->shared->overload;
    int64_t budget = t->pinned->config->body_budget_mib * 1024 * 1024;
    int64_t held;
    enum err e;

    /* Refused already; the answer waits for its record, and nothing more is taken. */
    if (upload_is_open(t) && (t->state == TXN_SEND || t->state == TXN_RELAY))
        return upload_piece(t, piece);
    if (t->state != TXN_READ_BODY || !path_is_open(t))
        return false;
    held = atomic_fetch_add_explicit(&m->body_bytes, (int64_t)piece.len, memory_order_relaxed);
    t->body_counted += (int64_t)piece.len;
    e = held + (int64_t)piece.len > budget || overload_memory_full(overload)
            ? ERR_NOMEM
            : buf_add(&t->body, piece);
    if (e == ERR_OK)
        return t->upload == NULL || upload_look(t, piece);
    if (e == ERR_TOOBIG) {
        journey_refuse(t, REFUSAL_REQUEST_TOO_LARGE, "request_too_large",
                       "the body is larger than this node takes", NULL);
        return false;
    }
    overload_count(overload, OVERLOAD_SHED_BODY);
    t->retry_after_s = overload_retry_after(overload);
    journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "no memory for the body now", NULL);
    return false;
}

static bool
class_is_clear(struct txn *t)
{
    if (t->class_count <= 1)
        return true;
    journey_refuse(t, REFUSAL_BAD_REQUEST, "bad_request",
                   "X-Portolan-Class may be given once: which one counts would be a guess", NULL);
    return false;
}

/* The time that the whole request has is over. What waits for the disk or for a grant that is
 * on its way goes on for a moment: it ends with what it waits for. */
static void
on_deadline(void *context)
{
    struct txn *t = context;

    if (t->exchange == NULL || t->state == TXN_REFUSE || t->state == TXN_DONE)
        return;
    if (t->recording || !dispatch_leave_queue(t))
        timer_set(t->deadline, DEADLINE_AGAIN_MS);
    else if (t->state == TXN_SEND || t->state == TXN_RELAY)
        relay_out_of_time(t);
    else
        journey_refuse(t, REFUSAL_UPSTREAM_TIMEOUT, "upstream_timeout",
                       "the request took longer than this node allows", NULL);
}

static enum err
set_deadline(struct txn *t)
{
    enum err e = ERR_OK;

    if (t->deadline == NULL)
        e = timer_new(t->worker->loop, on_deadline, t, &t->deadline);
    if (e == ERR_OK)
        timer_set(t->deadline, (uint64_t)t->deadlines->total_ms);
    return e;
}

/* The caller's evidence and the tenant's limits; then the way out. */
static void
admit(struct txn *t)
{
    struct admission *admission = t->worker->shared->admission;
    enum admission_reason admitted;

    if (set_deadline(t) != ERR_OK) {
        journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "no memory for the request now", NULL);
        return;
    }

    if (!(t->peer_request ? peer_check_body(t) : attest_subject(t)))
        return;
    /* The ingress counts a tenant's requests; a forwarded one was counted there. */
    if (!t->peer_request) {
        t->tenant_id = t->pinned->tenant_ids[t->tenant];
        admitted = admission_tenant_enter(admission, t->tenant_id, loop_now(t->worker->loop));
        if (admitted != ADMISSION_OK) {
            const struct admission_row *row = admission_row(admitted);

            t->retry_after_s = admitted == ADMISSION_TENANT_RATE ? 10 : 1;
            journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
            return;
        }
        t->tenant_entered = true;
    }
    dispatch(t);
}

void
journey_run(struct txn *t)
{
    const struct charter_tenant *tenant = &t->pinned->charter->tenants[t->tenant];

    if (upload_streams(t)) {
        upload_end(t);
        return;
    }
    if (!path_is_open(t))
        return;
    txn_move(t, TXN_DECIDE);
    if (!class_is_clear(t))
        return;
    if (upload_scan(t, tenant, &t->facts) != ERR_OK) {
        journey_refuse(t, REFUSAL_BAD_REQUEST, "bad_request", t->facts.why, t->facts.param);
        return;
    }
    admit(t);
}

void
journey_stream(struct txn *t)
{
    txn_move(t, TXN_DECIDE);
    if (class_is_clear(t))
        admit(t);
}

void
journey_refuse_body(struct txn *t, enum refusal refusal, const char *reason, const char *words)
{
    if (upload_streams(t))
        upload_refuse(t, refusal, reason, words, NULL);
    else
        journey_refuse(t, refusal, reason, words, NULL);
}

/* ---- endings ----------------------------------------------------------------------- */

void
journey_refuse(struct txn *t, enum refusal refusal, const char *reason, const char *words,
               const char *param)
{
    t->refusal = refusal;
    t->refusal_reason = reason;
    t->refusal_words = words;
    t->refusal_param = param;
    dispatch_release(t, BREAKER_ABORT, 0);
    txn_move(t, TXN_REFUSE);
    if (t->attempt_count == 0 && attest_denial(t))
        return; /* answered once the record is durable */
    attest_refused(t);
}

void
journey_refuse_drained(struct txn *t)
{
    t->drained = true;
    journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "this node is shutting down", NULL);
}

void
journey_finish(struct txn *t, enum record_end end)
{
    if (t->drained && end == RECORD_CLIENT_ABORT)
        end = RECORD_DRAINED; /* it was cut off, and did not leave */
    dispatch_release(t, BREAKER_ABORT, 0);
    (void)txn_part(t);
    txn_move(t, TXN_DONE);
    if (t->attempt_count > 0 && !attest_complete(t, end))
        return;
    if (!t->recording && !t->waiting)
        txn_free(t);
}

bool
journey_close_late(struct txn *t)
{
    if (!attest_complete(t, t->end))
        return false;
    if (!t->recording && !t->waiting)
        txn_free(t);
    return true;
}

void
journey_client_gone(struct txn *t)
{
    t->exchange = NULL;
    metrics_add(&t->worker->shared->metrics.aborted);
    (void)dispatch_leave_queue(t);
    if (t->recording || t->waiting) {
        /* The record's or the grant's arrival ends it; the backend hears it now. */
        dispatch_release(t, BREAKER_ABORT, 0);
        return;
    }
    if (t->attempt_count > 0 && (t->state == TXN_SEND || t->state == TXN_RELAY))
        attest_outcome(t, "client_abort", t->status);
    if (t->attempt_count == 0 && t->identified) {
        /* Law 4: aborted requests of known tenants are on record too. */
        journey_refuse(t, REFUSAL_REQUEST_TIMEOUT, "client_abort", "the client left", NULL);
        return;
    }
    journey_finish(t, RECORD_CLIENT_ABORT);
}

void
journey_client_drained(struct txn *t)
{
    if (t->upstream != NULL && t->state == TXN_RELAY)
        relay_resume(t);
}

void
journey_cut(struct txn *t)
{
    struct exchange *x = t->exchange;

    t->drained = true;
    (void)dispatch_leave_queue(t);
    if (t->recording || t->waiting || t->state == TXN_REFUSE)
        return; /* ends when its record or its slot comes: see dispatch() */
    if (t->state == TXN_SEND || t->state == TXN_RELAY) {
        attest_outcome(t, "drained", t->status);
        if (upload_streams(t))
            t->cut_reason = "overloaded";
        if (!t->committed)
            answer_reset(t); /* nothing of it was handed on */
    }
    if (!t->committed) {
        journey_refuse_drained(t);
        return;
    }
    answer_tell_failure(t, REFUSAL_OVERLOADED);
    journey_finish(t, RECORD_DRAINED);
    if (x != NULL)
        exchange_answer_cut(x);
}
