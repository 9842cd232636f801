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

/* One of the configured names, and the one that TLS was asked for. */
static bool
host_ok(struct client *c, struct slice authority)
{
    const struct config *config = c->worker->snapshot->config;
    struct slice name = host_name(authority);
    const char *sni = conn_sni(c->conn);

    if (c->mesh)
        return true;
    if (sni != NULL && !slice_eq_nocase(slice_str(sni), name))
        return false;
    for (size_t i = 0; i < config->name_count; i++)
        if (slice_eq_nocase(slice_str(config->names[i]), name))
            return true;
    return false;
}

/* A refusal of a caller whose tenant is not known: counted, not recorded one by one. */
static void
refuse_unknown(struct client *c, enum refusal r, const char *words, struct slice fields)
{
    metrics_add(&c->worker->shared->metrics.unrecorded[r]);
    client_refuse(c, r, words, NULL, fields);
}

/* The same for want of memory or descriptors: it says when to come again. */
static void
refuse_overloaded(struct client *c, const char *words)
{
    char storage[32];
    struct text fields;

    text_init(&fields, storage, sizeof(storage));
    h1_write_field_u64(&fields, SLICE_LIT("Retry-After"),
                       overload_retry_after(c->worker->shared->overload));
    refuse_unknown(c, REFUSAL_OVERLOADED, words, text_slice(&fields));
}

static void
answer_json(struct client *c, struct slice body)
{
    client_answer(c, 200, SLICE_LIT("Content-Type: application/json\r\n"), body);
}

#define MODELS_BODY_MAX 65536

static void
answer_models(struct txn *t)
{
    struct client *c = t->client;
    struct buf body;
    struct text out;
    size_t room = 0;

    buf_init(&body, t->worker->pool, MODELS_BODY_MAX);
    text_init(&out, buf_room(&body, MODELS_BODY_MAX, &room), MODELS_BODY_MAX);
    if (room < MODELS_BODY_MAX)
        out.size = room;
    if (t->endpoint->kind == ENDPOINT_TAGS)
        models_write_tags(t->pinned->charter, &t->identity, &out);
    else
        models_write(t->pinned->charter, &t->identity, &out);
    c->txn = NULL;
    if (!text_ok(&out))
        refuse_overloaded(c, "the list of models is too long");
    else
        answer_json(c, text_slice(&out));
    buf_release(&body);
    txn_move(t, TXN_DONE);
    txn_free(t);
}

/* ---- identify ---------------------------------------------------------------------- */

static bool
identify_caller(struct txn *t)
{
    struct client *c = t->client;
    struct identity_facts facts = {.authorization = t->authorization,
                                   .api_key = t->api_key,
                                   .authorization_count = t->authorization_count,
                                   .api_key_count = t->api_key_count,
                                   .cert = c->cert == NULL ? NULL : &c->cert->facts,
                                   .now_ms = t->received_ms};
    enum identity_reason r;

    if (c->cert != NULL) {
        facts.chain = (const uint8_t(*)[HASH_SIZE])c->cert->chain;
        facts.chain_count = c->cert->chain_count;
    }
    r = identify(t->pinned->charter, t->pinned->identity_keys, t->worker->identities, &facts,
                 &t->identity);

    if (r == IDENTITY_OK) {
        t->identified = true;
        return true;
    }
    c->txn = NULL;
    txn_move(t, TXN_DONE);
    txn_free(t);
    refuse_unknown(c, REFUSAL_UNAUTHENTICATED, identity_reason_words(r),
                   SLICE_LIT("WWW-Authenticate: Bearer\r\n"));
    return false;
}

/* ---- locate ------------------------------------------------------------------------ */

static void
locate(struct txn *t)
{
    struct forwarded_facts facts = {.peer = t->remote,
                                    .trusted = t->pinned->proxies,
                                    .trusted_count = t->pinned->proxy_count,
                                    .values = t->forwarded,
                                    .value_count = t->forwarded_count};
    struct forwarded_client who = {.quality = GEO_MALFORMED};
    struct geo_answer answer = {COUNTRY_NONE, COUNTRY_NONE, GEO_MALFORMED};

    if (t->remote.family != 0 && !t->forwarded_overflow)
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
    const struct charter_tenant *tenant = &t->pinned->charter->tenants[t->identity.tenant];

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

/* True: go on with the body. path: of a passthrough, else empty. */
static bool
begin_known(struct client *c, const struct h1_head *head, const struct endpoint *endpoint,
            struct slice path)
{
    struct txn *t = txn_new(c, head);

    if (t == NULL) {
        refuse_unknown(c, REFUSAL_HEADERS_TOO_LARGE,
                       "the head needs more memory than a request has", SLICE_NONE);
        return false;
    }
    c->txn = t;
    t->endpoint = endpoint;
    txn_move(t, TXN_READ_BODY);
    if (path.len > 0)
        t->path = arena_copy(&t->arena, path);
    if (endpoint->body == ENDPOINT_FORM)
        t->upload = upload_new(head);
    if ((path.len > 0 && t->path.p == NULL) ||
        (endpoint->body == ENDPOINT_FORM && t->upload == NULL)) {
        c->txn = NULL;
        txn_move(t, TXN_DONE);
        txn_free(t);
        refuse_unknown(c, REFUSAL_OVERLOADED, "no memory for the request now", SLICE_NONE);
        return false;
    }
    random_uuid7(&t->worker->random, t->received_ms, t->id);
    if (t->peer_request) {
        if (!peer_identify(t))
            return false;
        open_path(t);
        txn_forget_head(t);
        return true;
    }
    if (!identify_caller(t))
        return false;
    open_path(t);
    if (endpoint->kind == ENDPOINT_MODELS || endpoint->kind == ENDPOINT_TAGS) {
        answer_models(t);
        return false;
    }
    locate(t);
    txn_forget_head(t);
    return true;
}

bool
journey_begin(struct client *c, const struct h1_head *head)
{
    uint8_t storage[H1_LINE_MAX];
    const struct endpoint *endpoint;
    struct snapshot *s = c->worker->snapshot;
    bool other_method = false;
    struct text path;

    text_init(&path, storage, sizeof(storage));
    if (h1_canonical_path(head->path, &path) != ERR_OK || !text_ok(&path)) {
        refuse_unknown(c, REFUSAL_BAD_REQUEST, "malformed path", SLICE_NONE);
        return false;
    }
    if (!host_ok(c, head->authority)) {
        refuse_unknown(c, REFUSAL_MISDIRECTED, "this host is not served here", SLICE_NONE);
        return false;
    }
    endpoint = endpoint_find(head->method, text_slice(&path), c->mesh, &other_method);
    if (endpoint == NULL && other_method) {
        refuse_unknown(c, REFUSAL_METHOD_NOT_ALLOWED, "the path takes another method", SLICE_NONE);
        return false;
    }
    if (endpoint == NULL && head->method == H1_POST && s->charter->has_paths)
        return begin_known(c, head, endpoint_passthrough(), text_slice(&path));
    if (endpoint == NULL) {
        refuse_unknown(c, REFUSAL_NOT_FOUND, "no such path", SLICE_NONE);
        return false;
    }
    if (endpoint->kind == ENDPOINT_JWKS) {
        answer_json(c, slice_of(s->jwks, s->jwks_len));
        return false;
    }
    if (endpoint->kind == ENDPOINT_HEALTH) {
        answer_json(c, SLICE_LIT("{\"status\":\"ok\"}\n"));
        return false;
    }
    /* Before identity and body: a refusal must cost less than what it saves. */
    if (overload_stage(c->worker->shared->overload) >= PRESSURE_REFUSE) {
        overload_count(c->worker->shared->overload, OVERLOAD_SHED_REQUEST);
        refuse_overloaded(c, "this node has no memory or descriptors to spare now");
        return false;
    }
    return begin_known(c, head, endpoint, SLICE_NONE);
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

/* The caller's evidence and the tenant's limits; then the way out. */
static void
admit(struct txn *t)
{
    struct admission *admission = t->worker->shared->admission;
    enum admission_reason admitted;

    if (!(t->peer_request ? peer_check_body(t) : attest_subject(t)))
        return;
    /* The ingress counts a tenant's requests; a forwarded one was counted there. */
    if (!t->peer_request) {
        t->tenant_id = t->pinned->tenant_ids[t->identity.tenant];
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
    const struct charter_tenant *tenant = &t->pinned->charter->tenants[t->identity.tenant];

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
    if (t->client != NULL) {
        t->client->txn = NULL;
        t->client = NULL;
    }
    if (t->attempt_count > 0)
        attest_complete(t, end);
    txn_move(t, TXN_DONE);
    if (!t->recording && !t->waiting)
        txn_free(t);
}

void
journey_client_gone(struct txn *t)
{
    t->client = NULL;
    metrics_add(&t->worker->shared->metrics.aborted);
    if (t->waiting && admission_unwait(t->worker->shared->admission, &t->waiter))
        t->waiting = false;
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
    struct client *c = t->client;

    t->drained = true;
    if (t->waiting && admission_unwait(t->worker->shared->admission, &t->waiter))
        t->waiting = false;
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
    if (c != NULL)
        client_answer_cut(c);
}
