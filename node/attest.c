#include "node/attest.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/again.h"
#include "node/dispatch.h"
#include "node/journey.h"
#include "node/relay.h"

/* ---- who ---------------------------------------------------------------------------- */

static void
commit_request(struct txn *t)
{
    struct hmac m;

    commitment_init(&m, t->key, "request");
    hmac_add(&m, buf_slice(&t->body));
    hmac_final(&m, t->request_commitment);
    t->request_committed = true;
}

static enum err
make_subject(struct txn *t)
{
    const struct charter_tenant *tenant = &t->pinned->charter->tenants[t->tenant];
    const struct subject_known *known;
    enum err e;

    e = subject_memo_of(t->worker->subjects, t->worker->shared->subjects, slice_str(tenant->name),
                        slice_str(t->road->identity.subject), t->received_ms, &known);
    if (e != ERR_OK)
        return e;
    t->sub = txn_keep_str(t, slice_str(known->sub));
    e = commitment_key(known->key, t->id, t->key);
    t->key_known = e == ERR_OK;
    return t->sub == NULL ? ERR_NOMEM : e;
}

bool
attest_subject(struct txn *t)
{
    if (make_subject(t) != ERR_OK) {
        journey_refuse(t, REFUSAL_LEDGER_UNAVAILABLE, "ledger_unavailable",
                       "the evidence can't be written now", NULL);
        return false;
    }
    if (upload_streams(t))
        upload_commit_begin(t);
    else
        commit_request(t);
    return true;
}

/* ---- A1 ----------------------------------------------------------------------------- */

#define AUDIENCE_MAX (sizeof("backend:") + CHARTER_NAME_MAX)

static void
fill_target(const struct txn *t, struct record_a1 *a1, char audience[AUDIENCE_MAX])
{
    const struct charter *c = t->current->charter;

    if (t->choice.is_node) {
        const struct charter_node *n = &c->nodes[t->choice.node];

        a1->audience = n->spiffe;
        a1->target_node = n->name;
        a1->target_region = c->regions[n->region].name;
        a1->target_country = c->regions[n->region].country;
        a1->target_operator = a1->target_owner = COUNTRY_NONE;
        a1->target_assurance = "ca";
    } else {
        const struct charter_backend *b = &c->backends[t->choice.backend];
        const struct charter_served *served = &b->served[t->choice.served];

        (void)text_format(audience, AUDIENCE_MAX, "backend:%s", b->name);
        a1->audience = audience;
        a1->target_backend = b->name;
        a1->target_region = c->regions[b->region].name;
        a1->target_country = b->country;
        a1->target_operator = b->operator_country;
        a1->target_owner = b->owner_country;
        a1->target_assurance = charter_assurance_name(b->assurance);
        a1->target_key = b->assurance == ASSURANCE_SPKI ? b->spki_sha256 : NULL;
        a1->model_served = served->name;
        a1->model_version = c->models[served->model].id;
        a1->model_digest = c->models[served->model].digest;
        a1->model_evidence = charter_evidence_name(t->choice.evidence);
    }
}

static void
fill_common(const struct txn *t, const struct snapshot *s, struct record_a1 *a1)
{
    const struct charter *c = s->charter;
    const struct charter_node *node = &c->nodes[s->own_node];

    a1->issuer = node->spiffe;
    a1->txn = t->id;
    a1->node = node->name;
    a1->attempt = t->attempt;
    a1->iat_s = clock_wall_ms() / 1000;
    a1->hop = t->peer_request ? 1 : 0;
    a1->prev = t->peer_request ? t->prev_hash : NULL;
    a1->tenant = t->pinned->charter->tenants[t->tenant].name;
    a1->sub = t->sub;
    a1->charter_version = c->version;
    a1->charter_digest = s->charter_cut;
    a1->policy_digest = t->pinned->policy_cuts[t->tenant];
    if (t->current != NULL && t->current != t->pinned)
        a1->policy_digest = s->policy_cuts[t->decision.tenant];
    a1->geo_db = s->geo_cut;
    a1->endpoint = t->path_name != NULL ? t->path_name : t->endpoint->name;
    a1->request_streamed = upload_streams(t);
    a1->request_bytes = a1->request_streamed ? upload_announced(t) : buf_used(&t->body);
    a1->request_commitment = t->request_committed ? t->request_commitment : NULL;
    a1->model_requested = t->facts.model;
    a1->shard = t->shard.id;
}

static void
fill_caller(const struct txn *t, const struct snapshot *s, struct record_a1 *a1)
{
    const struct record_a1_view *h = t->hop0;

    if (h != NULL) { /* law 5: copied unchanged */
        a1->auth = h->auth;
        a1->role = h->role;
        a1->class_name = h->class_name;
        a1->country = h->country;
        a1->registered = h->registered;
        a1->origin_source = h->origin_source;
        a1->origin_quality = h->origin_quality;
        a1->geo_db = h->geo_db;
        a1->ingress_region = h->ingress_region;
        a1->ingress_node = h->ingress_node;
        return;
    }
    {
        bool decided = t->decision.origin.quality != NULL;
        const struct decide_origin *o = decided ? &t->decision.origin : &t->origin;

        a1->auth = charter_auth_name(t->auth);
        a1->role = t->decision.role;
        if (decided && t->decision.class_index != CHARTER_NONE)
            a1->class_name =
                s->charter->tenants[t->decision.tenant].classes[t->decision.class_index].name;
        a1->country = o->country;
        a1->registered = o->registered;
        a1->origin_source = origin_source_name(o->source);
        a1->origin_quality = o->quality;
        a1->ingress_region = s->charter->regions[s->own_region].name;
        a1->ingress_node = s->charter->nodes[s->own_node].name;
    }
}

static void on_recorded(struct ledger_entry *entry);

/* A shard and an entry, and for a permit all that its end will need: nothing that was disclosed
 * may stay open for want of room. */
static enum err
reserve(struct txn *t, bool permit)
{
    struct worker *w = t->worker;
    const char *tenant = t->pinned->charter->tenants[t->tenant].name;
    enum err e;

    if (permit && !t->reserved) {
        e = ledger_reserve(w->shared->ledger);
        if (e != ERR_OK)
            return e;
        t->reserved = true;
    }
    if (t->shard.id[0] == '\0') {
        e = ledger_shard(w->shared->ledger, slice_str(tenant), t->received_ms, &t->shard);
        if (e != ERR_OK)
            return e;
    }
    if (permit && t->closing == NULL)
        t->closing = worker_entry(w);
    if (t->entry == NULL)
        t->entry = worker_entry(w);
    return (permit && t->closing == NULL) || t->entry == NULL ? ERR_NOMEM : ERR_OK;
}

static enum err
record(struct txn *t, struct record_a1 *a1)
{
    struct snapshot *s = t->current != NULL ? t->current : t->pinned;
    struct slice copy;
    struct text out;
    enum err e = reserve(t, a1->permit);

    if (e != ERR_OK)
        return e;
    fill_common(t, s, a1);
    fill_caller(t, s, a1);
    a1->legal_count = bits_count(&t->decision.legal);
    a1->legal_digest = legal_digests_of(t->worker->legal_digests, s->charter, &t->decision.legal);
    text_init(&out, t->entry->bytes, sizeof(t->entry->bytes));
    /* Texts of two snapshots have no scope in common. */
    e = record_a1_write(s->signer, s == t->pinned ? t->worker->beginnings : NULL, s->generation, a1,
                        &out, t->recording_hash);
    if (e != ERR_OK)
        return e;
    copy = arena_copy(&t->arena, text_slice(&out));
    if (copy.p == NULL)
        return ERR_NOMEM;
    t->entry->len = out.used;
    e = ledger_reserve_entry(t->worker->shared->ledger, t->entry);
    if (e != ERR_OK)
        return e; /* the answer still names the attempt before */
    t->a1 = copy;
    t->entry->type = WAL_A1;
    t->entry->slot = t->shard.slot;
    t->entry->worker = t->worker->index;
    t->entry->owner = t;
    t->entry->done = on_recorded;
    t->recording = true;
    worker_submit(t->worker, t->entry);
    return ERR_OK;
}

void
attest_attempt(struct txn *t)
{
    struct record_a1 a1 = {.permit = true, .reason = "permitted"};
    char audience[AUDIENCE_MAX];
    enum err e;

    txn_move(t, TXN_ATTEST);
    t->deny_recorded = false;
    t->upstream_lost = false;
    fill_target(t, &a1, audience);
    e = record(t, &a1);
    if (e == ERR_OK)
        return;
    journey_refuse(t, REFUSAL_LEDGER_UNAVAILABLE, "ledger_unavailable",
                   "the evidence can't be written now", NULL);
}

bool
attest_denial(struct txn *t)
{
    struct record_a1 a1 = {.reason = t->refusal_reason};
    enum err e = ERR_OK;

    t->deny_recorded = true;
    /* A request refused before its body was whole still has a subject. */
    if (t->sub == NULL && t->hop0 == NULL)
        e = make_subject(t);
    if (e == ERR_OK)
        e = record(t, &a1);
    if (e == ERR_OK)
        return true;
    metrics_add(&t->worker->shared->metrics.unrecorded[t->refusal]);
    t->refusal = REFUSAL_LEDGER_UNAVAILABLE;
    t->refusal_words = "the evidence can't be written now";
    t->refusal_param = NULL;
    t->retry_after_s = 5;
    t->a1 = SLICE_NONE;
    return false;
}

/* The A1 is durable (or will never be): on the worker's thread. */
static void
on_recorded(struct ledger_entry *entry)
{
    struct txn *t = entry->owner;
    enum err result = entry->result;

    t->a1_index = entry->index;
    t->recording = false;
    t->entry = NULL;
    worker_entry_return(t->worker, entry);
    if (result != ERR_OK) {
        t->a1 = SLICE_NONE;
        metrics_add(&t->worker->shared->metrics.unrecorded[REFUSAL_LEDGER_UNAVAILABLE]);
        if (t->exchange == NULL) {
            journey_finish(t, RECORD_CLIENT_ABORT);
            return;
        }
        t->retry_after_s = 5;
        t->refusal = REFUSAL_LEDGER_UNAVAILABLE;
        t->refusal_words = "the evidence can't be written now";
        dispatch_release(t, BREAKER_ABORT, 0);
        if (t->state != TXN_REFUSE)
            txn_move(t, TXN_REFUSE);
        attest_refused(t);
        return;
    }
    if (t->deny_recorded) {
        attest_refused(t);
        return;
    }
    memcpy(t->a1_hash, t->recording_hash, sizeof(t->a1_hash));
    t->attempt++;
    t->attempts[t->attempt_count] = (struct record_attempt){.index = t->a1_index};
    (void)slice_copy_str(slice_str(t->choice.is_node
                                       ? t->current->charter->nodes[t->choice.node].name
                                       : t->current->charter->backends[t->choice.backend].name),
                         t->attempts[t->attempt_count].target, sizeof(t->attempts[0].target));
    t->attempts[t->attempt_count++].outcome = "lost";
    metrics_add(&t->worker->shared->metrics.attempts);
    if (t->choice.is_node)
        metrics_add(&t->worker->shared->metrics.forwarded);
    if (t->exchange == NULL) {
        attest_outcome(t, t->drained ? "not_sent" : "client_abort", 0);
        journey_finish(t, RECORD_CLIENT_ABORT);
    } else if (t->revoked) {
        relay_revoke(t);
    } else if (t->upstream_lost) {
        again_failed(t, &(struct again_failure){
                            .failure = RETRY_NOT_SENT, .outcome = "eof", .health = BREAKER_ABORT});
    } else if (!again_superseded(t)) {
        relay_send(t);
    }
}

void
attest_outcome(struct txn *t, const char *outcome, int status)
{
    if (NEVER(t->attempt_count == 0))
        return;
    t->attempts[t->attempt_count - 1].outcome = outcome;
    t->attempts[t->attempt_count - 1].status = status;
}

/* ---- answers of ours ----------------------------------------------------------------- */

void
attest_fields(const struct txn *t, struct http_fields *out)
{
    const struct snapshot *s = t->current != NULL ? t->current : t->pinned;

    http_fields_add(out, SLICE_LIT("X-Request-Id"), slice_str(t->id));
    if (t->a1.p == NULL)
        return;
    text_add(&out->text, t->a1);
    text_add_str(&out->text, ";idx=");
    text_add_u64(&out->text, t->a1_index);
    if (t->peer_value.p != NULL) {
        text_add_str(&out->text, ", ");
        text_add(&out->text, t->peer_value);
    }
    http_fields_add_text(out, SLICE_LIT("Residency-Attestation"));
    text_add_str(&out->text, "</.well-known/residency/receipts/");
    text_add_str(&out->text, s->charter->nodes[s->own_node].name);
    text_add_char(&out->text, '/');
    text_add_str(&out->text, t->shard.id);
    text_add_char(&out->text, '/');
    text_add_u64(&out->text, t->a1_index);
    text_add_str(&out->text, ">; rel=\"residency-receipt\"");
    http_fields_add_text(out, SLICE_LIT("Link"));
}

static enum record_end
refusal_end(enum refusal refusal)
{
    return refusal == REFUSAL_UPSTREAM_TIMEOUT  ? RECORD_TIMEOUT
           : refusal == REFUSAL_UPSTREAM_FAILED ? RECORD_UPSTREAM_ERROR
                                                : RECORD_DENIED;
}

void
attest_refused(struct txn *t)
{
    uint8_t storage[TXN_FIELDS_MAX];
    struct exchange *x = txn_part(t);
    struct exchange_refusal refusal = {.code = t->refusal,
                                       .words = t->refusal_words,
                                       .param = t->refusal_param,
                                       .retry_after_s = t->retry_after_s};
    struct http_fields fields;

    t->client_status = refusal_row(t->refusal)->status;
    if (x == NULL) {
        journey_finish(t, RECORD_CLIENT_ABORT);
        return;
    }
    http_fields_init(&fields, storage, sizeof(storage));
    attest_fields(t, &fields);
    exchange_refuse(x, &refusal, &fields);
    journey_finish(t, t->drained ? RECORD_DRAINED : refusal_end(refusal.code));
}

/* ---- A2 ------------------------------------------------------------------------------ */

/* A2 entries belong to the worker alone: the transaction is gone when they come back. */
static void
on_completed(struct ledger_entry *entry)
{
    if (entry->result != ERR_OK)
        log_event(LOG_ERROR, "ledger.completion_lost", "shard_slot=%u", entry->slot);
    worker_entry_return(entry->owner, entry);
}

bool
attest_complete(struct txn *t, enum record_end end)
{
    struct ledger_entry *entry = t->closing != NULL ? t->closing : worker_last_entry(t->worker);
    struct upload_facts upload;
    struct relay_facts facts;
    struct text out;
    struct record_a2 a2 = {.txn = t->id,
                           .shard = t->shard.id,
                           .a1_hash = t->a1_hash,
                           .a1_index = t->attempts[t->attempt_count - 1].index,
                           .end = end,
                           .status = t->client_status,
                           .received_ms = t->received_ms,
                           .dispatched_ms = t->dispatched_ms,
                           .first_byte_ms = t->first_byte_ms,
                           .end_ms = clock_wall_ms(),
                           .prompt_tokens = -1,
                           .completion_tokens = -1,
                           .attempts = t->attempts,
                           .attempt_count = t->attempt_count};

    if (entry == NULL) {
        t->end = end;
        worker_owe(t->worker, t);
        return false;
    }
    relay_finish(t, end, &facts);
    a2.answer_bytes = facts.answer_bytes;
    a2.answer_commitment = facts.has_commitment ? facts.commitment : NULL;
    a2.model_reported = facts.model;
    a2.response_id = facts.response_id;
    a2.prompt_tokens = facts.prompt_tokens;
    a2.completion_tokens = facts.completion_tokens;
    a2.tokens_counted = facts.tokens_counted;
    a2.sent_bytes = facts.sent_bytes;
    a2.sent_commitment = facts.has_sent ? facts.sent_commitment : NULL;
    a2.upstream_commitment = t->rewritten ? t->upstream_commitment : NULL;
    a2.reason = t->cut_reason;
    if (upload_streams(t)) {
        upload_finish(t, &upload);
        a2.request_commitment = upload.request;
        a2.request_bytes = upload.received;
        a2.upstream_commitment = upload.rewritten ? upload.upstream : NULL;
    }
    text_init(&out, entry->bytes, sizeof(entry->bytes));
    if (NEVER(record_a2_write(&a2, &out) != ERR_OK)) {
        worker_entry_return(t->worker, entry);
        t->closing = NULL;
        return true;
    }
    entry->len = out.used;
    entry->type = WAL_A2;
    entry->slot = t->shard.slot;
    entry->worker = t->worker->index;
    entry->owner = t->worker;
    entry->done = on_completed;
    t->closing = NULL;
    t->reserved = false; /* the A2's arrival gives the room back */
    worker_submit(t->worker, entry);
    return true;
}
