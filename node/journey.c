#include "node/journey.h"

#include "base/check.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "node/attest.h"
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

static void
answer_json(struct client *c, struct slice body)
{
    client_answer(c, 200, SLICE_LIT("Content-Type: application/json\r\n"), body);
}

#define MODELS_BODY_MAX 65536

static bool
role_opens(const struct charter_tenant *tenant, const struct identity *who, uint32_t alias)
{
    if (!tenant->has_roles)
        return true;
    for (size_t i = 0; i < who->role_count; i++) {
        uint32_t r = charter_find_role(tenant, slice_str(who->roles[i]));

        for (size_t k = 0; r != CHARTER_NONE && k < tenant->roles[r].alias_count; k++)
            if (tenant->roles[r].aliases[k] == alias)
                return true;
    }
    return false;
}

/* GET /v1/models: the aliases that the caller's roles open, nothing else. */
static void
answer_models(struct txn *t)
{
    const struct charter *charter = t->pinned->charter;
    const struct charter_tenant *tenant = &charter->tenants[t->identity.tenant];
    struct client *c = t->client;
    struct buf body;
    struct text out;
    size_t room = 0;
    bool first = true;

    buf_init(&body, t->worker->pool, MODELS_BODY_MAX);
    text_init(&out, buf_room(&body, MODELS_BODY_MAX, &room), MODELS_BODY_MAX);
    if (room < MODELS_BODY_MAX)
        out.size = room;
    text_add_str(&out, "{\"object\":\"list\",\"data\":[");
    for (uint32_t i = 0; i < tenant->alias_count; i++) {
        if (!role_opens(tenant, &t->identity, i))
            continue;
        text_add_str(&out, first ? "{\"id\":" : ",{\"id\":");
        text_add_json(&out, slice_str(tenant->aliases[i].name));
        text_addf(&out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":",
                  (long long)(charter->issued_ms / 1000));
        text_add_json(&out, slice_str(tenant->name));
        text_add_char(&out, '}');
        first = false;
    }
    text_add_str(&out, "]}\n");
    c->txn = NULL;
    if (!text_ok(&out))
        refuse_unknown(c, REFUSAL_OVERLOADED, "the list of models is too long", SLICE_NONE);
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
                                   .cert = c->has_cert ? &c->cert : NULL,
                                   .chain = (const uint8_t(*)[HASH_SIZE])c->chain,
                                   .chain_count = c->chain_count,
                                   .now_ms = t->received_ms};
    enum identity_reason r = identify(t->pinned->charter, t->pinned->identity_keys,
                                      t->worker->identities, &facts, &t->identity);

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

/* True: go on with the body. */
static bool
begin_known(struct client *c, const struct h1_head *head, const struct endpoint *endpoint)
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
    random_uuid7(t->received_ms, t->id);
    if (t->peer_request)
        return peer_identify(t);
    if (!identify_caller(t))
        return false;
    if (endpoint->kind == ENDPOINT_MODELS) {
        answer_models(t);
        return false;
    }
    locate(t);
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
    return begin_known(c, head, endpoint);
}

/* ---- body -------------------------------------------------------------------------- */

bool
journey_body(struct txn *t, struct slice piece)
{
    struct metrics *m = &t->worker->shared->metrics;
    int64_t budget = t->pinned->config->body_budget_mib * 1024 * 1024;
    int64_t held;
    enum err e;

    /* Refused already; the answer waits for its record, and nothing more is taken. */
    if (t->state != TXN_READ_BODY)
        return false;
    held = atomic_fetch_add_explicit(&m->body_bytes, (int64_t)piece.len, memory_order_relaxed);
    t->body_counted += (int64_t)piece.len;
    e = held + (int64_t)piece.len > budget ? ERR_NOMEM : buf_add(&t->body, piece);
    if (e == ERR_OK)
        return true;
    if (e == ERR_TOOBIG)
        journey_refuse(t, REFUSAL_REQUEST_TOO_LARGE, "request_too_large",
                       "the body is larger than this node takes", NULL);
    else
        journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "no memory for the body now", NULL);
    return false;
}

void
journey_run(struct txn *t)
{
    const struct charter_tenant *tenant = &t->pinned->charter->tenants[t->identity.tenant];
    struct admission *admission = t->worker->shared->admission;
    enum admission_reason admitted;

    txn_move(t, TXN_DECIDE);
    if (body_scan(buf_slice(&t->body), t->worker->keys, tenant, &t->facts) != ERR_OK) {
        journey_refuse(t, REFUSAL_BAD_REQUEST, "bad_request", t->facts.why, t->facts.param);
        return;
    }
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
    journey_dispatch(t);
}

/* ---- decide ------------------------------------------------------------------------ */

static void
decide_under(struct txn *t, struct snapshot *s, uint32_t tenant, struct decision *out)
{
    struct slice roles[IDENTITY_ROLES_MAX];
    struct decide_facts facts = {.tenant = tenant,
                                 .class_name = t->class_name,
                                 .alias = t->facts.model,
                                 .remote_host = SLICE_NONE,
                                 .roles = roles,
                                 .role_count = t->identity.role_count,
                                 .origin = t->origin,
                                 .ingress_region = s->own_region,
                                 .own_region = s->own_region,
                                 .now_ms = clock_wall_ms()};

    for (size_t i = 0; i < t->identity.role_count; i++)
        roles[i] = slice_str(t->identity.roles[i]);
    if (t->facts.points_outside)
        facts.remote_host = t->facts.remote_host;
    if (t->hop0 != NULL)
        facts.ingress_region = charter_find_region(s->charter, slice_str(t->hop0->ingress_region));
    decide(s->policy, &facts, out);
}

/* What the charter that the request started under did not allow stays out (law 2). */
static void
cut_to_pinned(struct txn *t)
{
    struct decision pinned;
    const struct charter *now = t->current->charter;
    const struct charter *then = t->pinned->charter;

    decide_under(t, t->pinned, t->identity.tenant, &pinned);
    if (pinned.reason != DECIDE_PERMITTED) {
        /* The indices in a decision are those of its own charter. */
        t->decision = pinned;
        snapshot_unref(&t->current);
        t->current = snapshot_ref(t->pinned);
        return;
    }
    for (uint32_t i = bits_next(&t->decision.legal, 0); i < now->backend_count;
         i = bits_next(&t->decision.legal, i + 1)) {
        uint32_t old = charter_find_backend(then, slice_str(now->backends[i].name));

        if (old == CHARTER_NONE || !bits_has(&pinned.legal, old))
            bits_remove(&t->decision.legal, i);
    }
    t->decision.cross_region_ok = t->decision.cross_region_ok && pinned.cross_region_ok;
    if (bits_empty(&t->decision.legal))
        t->decision.reason = DECIDE_NO_LEGAL_PLACE;
}

static void
decide_now(struct txn *t)
{
    uint32_t tenant = t->identity.tenant;

    snapshot_unref(&t->current);
    t->current = snapshot_ref(t->worker->snapshot);
    if (t->current != t->pinned)
        tenant = charter_find_tenant(
            t->current->charter, slice_str(t->pinned->charter->tenants[t->identity.tenant].name));
    if (tenant == CHARTER_NONE) {
        t->decision = (struct decision){.reason = DECIDE_NO_LEGAL_PLACE};
        snapshot_unref(&t->current);
        t->current = snapshot_ref(t->pinned);
        return;
    }
    decide_under(t, t->current, tenant, &t->decision);
    if (t->current != t->pinned && t->decision.reason == DECIDE_PERMITTED)
        cut_to_pinned(t);
}

/* ---- choose ------------------------------------------------------------------------ */

static void
choose_now(struct txn *t)
{
    struct worker *w = t->worker;
    struct admission *a = w->shared->admission;
    struct snapshot *s = t->current;
    struct mono now = loop_now(w->loop);
    struct choose_facts facts = {.charter = s->charter,
                                 .decision = &t->decision,
                                 .view = w->view,
                                 .own = w->own,
                                 .tried = &t->tried,
                                 .tried_nodes = &t->tried_nodes,
                                 .own_node = s->own_node,
                                 .own_region = s->own_region,
                                 .own_region_only = t->peer_request || !t->decision.cross_region_ok,
                                 .random = random_below(UINT64_MAX)};

    for (uint32_t i = bits_next(&t->decision.legal, 0); i < s->charter->backend_count;
         i = bits_next(&t->decision.legal, i + 1)) {
        uint32_t id = s->backend_ids[i];

        if (s->charter->backends[i].region != s->own_region)
            continue;
        /* The slot that a grant brought is counted there, and free for this request. */
        w->own[i] = (struct choose_own){.in_flight = admission_in_flight(a, id) -
                                                     (t->slot_held && t->slot_id == id),
                                        .slots = admission_slots(a, id),
                                        .ejected = !admission_breaker_open_for(a, id, now),
                                        .loaded = admission_loaded(a, id, now)};
    }
    choose(&facts, &t->choice);
}

static void
on_granted(struct admission_waiter *waiter)
{
    struct txn *t = (struct txn *)(void *)((char *)waiter - offsetof(struct txn, waiter));

    worker_grant(t->worker, t);
}

static void
on_timer(void *context)
{
    struct txn *t = context;
    const struct admission_row *row = admission_row(ADMISSION_QUEUE_TIMEOUT);

    if (t->state != TXN_QUEUE)
        return;
    /* Granted meanwhile: the grant is on its way to this thread. */
    if (!admission_unwait(t->worker->shared->admission, &t->waiter))
        return;
    t->waiting = false;
    t->retry_after_s = 5;
    journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
}

/* Every healthy lawful backend here is busy: wait for the first slot among them. */
static void
queue_up(struct txn *t)
{
    struct admission *a = t->worker->shared->admission;
    const struct admission_row *row = admission_row(ADMISSION_QUEUE_FULL);

    t->waiter = (struct admission_waiter){.granted = on_granted};
    t->waiter.backend_count = t->choice.waiting_count;
    for (uint32_t i = 0; i < t->choice.waiting_count; i++)
        t->waiter.backend_ids[i] = t->current->backend_ids[t->choice.waiting[i]];
    if (t->slot_held) {
        admission_slot_free(a, t->slot_id);
        t->slot_held = false;
    }
    timer_free(&t->timer); /* after an attempt it is the total deadline's */
    if (timer_new(t->worker->loop, on_timer, t, &t->timer) != ERR_OK) {
        journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "no memory to queue", NULL);
        return;
    }
    txn_move(t, TXN_QUEUE);
    t->waiting = true;
    timer_set(t->timer, ADMISSION_QUEUE_MS);
    if (admission_wait(a, &t->waiter) == ADMISSION_OK)
        return;
    t->waiting = false;
    t->retry_after_s = 5;
    journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
}

void
journey_granted(struct txn *t)
{
    t->waiting = false;
    t->slot_id = t->waiter.granted_id;
    t->slot_held = true;
    timer_clear(t->timer);
    if (t->state != TXN_QUEUE || t->client == NULL) {
        journey_release_target(t, BREAKER_ABORT, 0);
        if (t->state != TXN_DONE)
            journey_finish(t, RECORD_CLIENT_ABORT);
        else
            txn_free(t);
        return;
    }
    txn_move(t, TXN_DECIDE);
    journey_dispatch(t);
}

/* ---- slot, permit, connection ------------------------------------------------------ */

/* The slot of the chosen backend: the one that a grant brought, or a free one. */
static bool
take_slot(struct txn *t, uint32_t id)
{
    struct admission *a = t->worker->shared->admission;

    if (t->slot_held && t->slot_id == id)
        return true;
    if (t->slot_held) {
        admission_slot_free(a, t->slot_id);
        t->slot_held = false;
    }
    if (!admission_slot_take(a, id))
        return false;
    t->slot_id = id;
    t->slot_held = true;
    return true;
}

static enum err
mint(struct txn *t, struct permit **out)
{
    if (t->choice.is_node)
        return permit_mint_node(&t->arena, t->current->policy, &t->decision, t->choice.node,
                                t->serial, out);
    return permit_mint_backend(&t->arena, t->current->policy, &t->decision, t->choice.backend,
                               t->serial, out);
}

static void
on_upstream(void *owner, struct upstream *u, unsigned events)
{
    struct txn *t = owner;

    if (t->state == TXN_CHECKOUT) {
        if ((events & CONN_OPENED) != 0 && conn_is_open(upstream_conn(u))) {
            attest_attempt(t);
        } else {
            enum err why = conn_error(upstream_conn(t->upstream));

            journey_attempt_failed(t, why == ERR_AUTH ? "tls_failed" : "connect_failed", 0,
                                   BREAKER_FAIL, 0);
        }
    } else if (t->state == TXN_ATTEST) {
        /* Nothing was sent: the record on its way will be closed by another attempt. */
        t->upstream_lost = true;
        upstream_abort(t->upstream);
        t->upstream = NULL;
    } else {
        relay_event(t, events);
    }
}

/* True: a connection was checked out or is being made, or the request was refused. */
static bool
check_out(struct txn *t)
{
    struct permit *permit = NULL;
    struct snapshot *s = t->current;
    const struct charter_tenant *tenant = &s->charter->tenants[t->decision.tenant];
    enum err e = mint(t, &permit);

    if (e == ERR_OK)
        e = upstream_checkout(t->worker->upstreams, s, permit, s->tenant_ids[tenant->top],
                              buf_used(&t->body), on_upstream, t, &t->upstream);
    if (e == ERR_OK) {
        txn_move(t, TXN_CHECKOUT);
        if (upstream_ready(t->upstream))
            attest_attempt(t);
        return true;
    }
    t->connect_failures++;
    /* Without memory or permit it says nothing about the backend. */
    journey_release_target(t, e == ERR_IO ? BREAKER_FAIL : BREAKER_ABORT, 0);
    return false;
}

static void
refuse_choice(struct txn *t)
{
    const struct choose_row *row = choose_row(t->choice.reason);

    t->retry_after_s = 2;
    if (t->attempt_count > 0 || t->connect_failures > 0) {
        /* Tried and failed: the answer says what happened to the attempts. */
        journey_refuse(t, t->refusal != 0 ? t->refusal : REFUSAL_NO_LEGAL_CAPACITY, row->reason,
                       t->refusal != 0 ? t->refusal_words : row->words, NULL);
        return;
    }
    journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
}

/* Marks the chosen target as used and takes what must be counted for it. */
static bool
take_target(struct txn *t)
{
    struct admission *a = t->worker->shared->admission;
    uint32_t id;

    if (t->choice.is_node) {
        bits_add(&t->tried_nodes, t->choice.node);
        return true;
    }
    id = t->current->backend_ids[t->choice.backend];
    if (!take_slot(t, id)) {
        t->choice.waiting[0] = t->choice.backend;
        t->choice.waiting_count = 1;
        t->choice.reason = CHOOSE_SATURATED;
        return false;
    }
    bits_add(&t->tried, t->choice.backend);
    if (admission_breaker_take(a, id, loop_now(t->worker->loop)))
        return true;
    admission_slot_free(a, id);
    t->slot_held = false;
    return false;
}

void
journey_dispatch(struct txn *t)
{
    decide_now(t);
    if (t->decision.reason != DECIDE_PERMITTED) {
        const struct decide_row *row = decide_row(t->decision.reason);

        journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
        return;
    }
    /* Each round marks a target as tried, so the rounds are bounded by the legal set. */
    for (;;) {
        choose_now(t);
        if (t->choice.reason == CHOOSE_PICKED && take_target(t)) {
            if (check_out(t))
                return;
            continue;
        }
        if (t->choice.reason == CHOOSE_PICKED)
            continue; /* its breaker closed in between */
        if (t->choice.reason == CHOOSE_SATURATED && t->choice.waiting_count > 0)
            queue_up(t);
        else
            refuse_choice(t);
        return;
    }
}

/* ---- endings ----------------------------------------------------------------------- */

void
journey_release_target(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_s)
{
    struct admission *a = t->worker->shared->admission;

    if (t->upstream != NULL) {
        upstream_abort(t->upstream);
        t->upstream = NULL;
    }
    if (!t->slot_held)
        return;
    admission_breaker_note(a, t->slot_id, outcome, retry_after_s * 1000, loop_now(t->worker->loop),
                           random_below(UINT64_MAX));
    admission_slot_free(a, t->slot_id);
    t->slot_held = false;
}

void
journey_attempt_failed(struct txn *t, const char *outcome, int status, enum breaker_outcome health,
                       uint32_t retry_after_s)
{
    bool connected = t->state != TXN_CHECKOUT;
    bool may_retry;

    metrics_add(&t->worker->shared->metrics.attempts_failed);
    journey_release_target(t, health, retry_after_s);
    if (connected)
        attest_outcome(t, outcome, status);
    else
        t->connect_failures++;
    t->refusal = health == BREAKER_LOAD ? REFUSAL_NO_LEGAL_CAPACITY : REFUSAL_UPSTREAM_FAILED;
    t->refusal_words = health == BREAKER_LOAD ? "every lawful backend is busy"
                                              : "the backend failed before it answered";
    if (strcmp(outcome, "timeout") == 0)
        t->refusal = REFUSAL_UPSTREAM_TIMEOUT;
    if (t->client == NULL) {
        journey_finish(t, RECORD_CLIENT_ABORT);
        return;
    }
    may_retry = connected ? t->attempt_count < 2 && t->endpoint->replay_safe &&
                                t->refusal != REFUSAL_UPSTREAM_TIMEOUT &&
                                admission_retry_take(t->worker->shared->admission)
                          : t->connect_failures < TXN_ATTEMPTS_MAX;
    if (may_retry && t->attempt_count < TXN_ATTEMPTS_MAX) {
        txn_move(t, TXN_DECIDE);
        journey_dispatch(t);
        return;
    }
    journey_refuse(t, t->refusal, "upstream_failed", t->refusal_words, NULL);
}

void
journey_refuse(struct txn *t, enum refusal refusal, const char *reason, const char *words,
               const char *param)
{
    t->refusal = refusal;
    t->refusal_reason = reason;
    t->refusal_words = words;
    t->refusal_param = param;
    journey_release_target(t, BREAKER_ABORT, 0);
    txn_move(t, TXN_REFUSE);
    if (t->attempt_count == 0 && attest_denial(t))
        return; /* answered once the record is durable */
    attest_refused(t);
}

void
journey_finish(struct txn *t, enum record_end end)
{
    journey_release_target(t, BREAKER_ABORT, 0);
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
        journey_release_target(t, BREAKER_ABORT, 0);
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
    struct conn *conn;

    if (t->upstream == NULL || t->state != TXN_RELAY)
        return;
    conn = upstream_conn(t->upstream);
    /* While it was paused the silence was not the backend's. */
    conn_deadline(conn, (uint64_t)t->current->config->stream_idle_timeout_ms);
    conn_resume(conn);
}

void
journey_cut(struct txn *t)
{
    struct client *c = t->client;

    if (t->recording || t->waiting || (t->state != TXN_SEND && t->state != TXN_RELAY))
        return;
    attest_outcome(t, "timeout", t->status);
    journey_finish(t, RECORD_DRAINED);
    if (c != NULL)
        client_answer_cut(c);
}
