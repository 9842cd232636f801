#include "node/dispatch.h"

#include "base/check.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "node/again.h"
#include "node/attest.h"
#include "node/journey.h"
#include "node/relay.h"
#include "residency/narrow.h"

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
                                 .role_count = txn_roles(t, roles),
                                 .origin = t->origin,
                                 .ingress_region = s->own_region,
                                 .own_region = s->own_region,
                                 .now_ms = clock_wall_ms()};

    if (t->facts.points_outside)
        facts.remote_host = t->facts.remote_host;
    if (t->hop0 != NULL)
        facts.ingress_region = charter_find_region(s->charter, slice_str(t->hop0->ingress_region));
    decide(s->policy, &facts, out);
}

/* The body was read by the rules of the charter that the request came under; a host that
 * the one now in force does not name is refused by that one. Reading can't fail a second
 * time: what is malformed does not depend on a charter. */
static void
judge_references(struct txn *t, const struct charter_tenant *tenant, struct decision *decision)
{
    struct body_facts facts;

    if (decision->reason == DECIDE_PERMITTED && t->path.p != NULL &&
        !charter_passes(tenant, t->path)) {
        decision->reason = DECIDE_NO_LEGAL_PLACE; /* the path was closed meanwhile */
        bits_clear(&decision->legal);
    }
    if (decision->reason == DECIDE_PERMITTED &&
        (upload_scan(t, tenant, &facts) != ERR_OK || facts.points_outside)) {
        decision->reason = DECIDE_REMOTE_REFERENCE;
        bits_clear(&decision->legal);
    }
}

/* The policy's digest covers no fact about backends, and what the sender decided may be cut
 * down by the charter that the request came under there. Its set is known here by its digest
 * alone: only an equal one is sure to hold no place that it does not. */
static bool
agrees_with_sender(const struct txn *t)
{
    char cut[RECORD_ID_SIZE];

    if (t->hop0 == NULL)
        return true;
    record_cut(legal_digests_of(t->worker->legal_digests, t->current->charter, &t->decision.legal),
               cut);
    return strcmp(cut, t->hop0->legal_digest) == 0;
}

/* The charter that is in force now, the same for what was tried already. */
static void
take_current(struct txn *t)
{
    struct snapshot *before = t->current != NULL ? t->current : t->pinned;
    struct snapshot *now = t->worker->snapshot;

    if (before != now) {
        narrow_backends(before->charter, &t->road->tried, now->charter, &t->road->tried);
        narrow_nodes(before->charter, &t->road->tried_nodes, now->charter, &t->road->tried_nodes);
    }
    now = snapshot_ref(now);
    snapshot_unref(&t->current);
    t->current = now;
}

static void
decide_now(struct txn *t)
{
    const struct charter *then = t->pinned->charter;
    const struct charter *now;
    uint32_t tenant = t->tenant;
    struct decision pinned;

    take_current(t);
    if (t->current == t->pinned) {
        decide_under(t, t->current, tenant, &t->decision);
        return;
    }
    now = t->current->charter;
    tenant = charter_find_tenant(now, slice_str(then->tenants[tenant].name));
    if (tenant == CHARTER_NONE) {
        /* There is no policy of today's that a record could name: it names the earlier one. */
        narrow_backends(now, &t->road->tried, then, &t->road->tried);
        narrow_nodes(now, &t->road->tried_nodes, then, &t->road->tried_nodes);
        snapshot_unref(&t->current);
        t->current = snapshot_ref(t->pinned);
        decide_under(t, t->pinned, t->tenant, &t->decision);
        t->decision.reason = DECIDE_NO_LEGAL_PLACE;
        bits_clear(&t->decision.legal);
        return;
    }
    decide_under(t, t->current, tenant, &t->decision);
    judge_references(t, &now->tenants[tenant], &t->decision);
    decide_under(t, t->pinned, t->tenant, &pinned);
    narrow_decision(now, &t->decision, then, &pinned);
}

/* The place that answers: under the charter of its dispatch, and under that of now. */
static bool
place_is_legal(const struct txn *t, const struct decision *decision)
{
    const struct charter *was = t->current->charter;
    const struct charter *now = t->worker->snapshot->charter;
    uint32_t place;

    if (!t->choice.is_node) {
        const struct charter_backend *b = &was->backends[t->choice.backend];

        place = charter_find_backend(now, slice_str(b->name));
        return place != CHARTER_NONE && bits_has(&decision->legal, place) &&
               narrow_same_backend(was, b, now, &now->backends[place]);
    }
    place = charter_find_node(now, slice_str(was->nodes[t->choice.node].name));
    if (place == CHARTER_NONE || !decision->cross_region_ok)
        return false;
    for (uint32_t i = bits_next(&decision->legal, 0); i < now->backend_count;
         i = bits_next(&decision->legal, i + 1))
        if (now->backends[i].region == now->nodes[place].region)
            return true;
    return false;
}

bool
dispatch_is_lawful(struct txn *t)
{
    struct snapshot *s = t->worker->snapshot;
    const struct charter *then = t->pinned->charter;
    const char *name = then->tenants[t->tenant].name;
    uint32_t tenant = charter_find_tenant(s->charter, slice_str(name));
    struct decision decision;
    struct decision pinned;

    if (tenant == CHARTER_NONE)
        return false;
    decide_under(t, s, tenant, &decision);
    decide_under(t, t->pinned, t->tenant, &pinned);
    narrow_decision(s->charter, &decision, then, &pinned);
    return decision.reason == DECIDE_PERMITTED && place_is_legal(t, &decision);
}

/* ---- choose ------------------------------------------------------------------------ */

static void
choose_among(struct txn *t, const struct decision *decision, uint64_t random)
{
    struct worker *w = t->worker;
    struct admission *a = w->shared->admission;
    struct snapshot *s = t->current;
    struct mono now = loop_now(w->loop);
    struct choose_facts facts = {.charter = s->charter,
                                 .decision = decision,
                                 .view = w->view,
                                 .own = w->own,
                                 .tried = &t->road->tried,
                                 .tried_nodes = &t->road->tried_nodes,
                                 .own_node = s->own_node,
                                 .own_region = s->own_region,
                                 .kinds = t->endpoint->kinds,
                                 .own_region_only = t->peer_request || !decision->cross_region_ok,
                                 .random = random};

    for (uint32_t i = bits_next(&decision->legal, 0); i < s->charter->backend_count;
         i = bits_next(&decision->legal, i + 1)) {
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
choose_now(struct txn *t)
{
    uint64_t random = random_stock_u64(&t->worker->random);
    struct decision few = t->decision;

    if (draw(&t->current->pool, t->current->charter, &t->decision.legal, random, &few.legal)) {
        choose_among(t, &few, random);
        if (t->choice.reason == CHOOSE_PICKED)
            return;
    }
    choose_among(t, &t->decision, random);
}

static void
on_granted(struct admission_waiter *waiter)
{
    struct txn_road *road =
        (struct txn_road *)(void *)((char *)waiter - offsetof(struct txn_road, waiter));

    worker_grant(road->txn->worker, road->txn);
}

static void
on_timer(void *context)
{
    struct txn *t = context;
    const struct admission_row *row = admission_row(ADMISSION_QUEUE_TIMEOUT);

    if (t->state != TXN_QUEUE)
        return;
    if (!dispatch_leave_queue(t))
        return;
    t->retry_after_s = 5;
    journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
}

/* Every healthy lawful backend here is busy: wait for the first slot among them. */
static void
queue_up(struct txn *t)
{
    struct admission *a = t->worker->shared->admission;
    const struct admission_row *row = admission_row(ADMISSION_QUEUE_FULL);
    struct overload *overload = t->worker->shared->overload;

    if (overload_stage(overload) >= PRESSURE_SHED) {
        overload_count(overload, OVERLOAD_SHED_QUEUE);
        t->retry_after_s = overload_retry_after(overload);
        journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "this node lets nothing queue now",
                       NULL);
        return;
    }
    t->road->waiter = (struct admission_waiter){.granted = on_granted};
    t->road->waiter.backend_count = t->choice.waiting_count;
    for (uint32_t i = 0; i < t->choice.waiting_count; i++)
        t->road->waiter.backend_ids[i] = t->current->backend_ids[t->choice.waiting[i]];
    if (t->slot_held) {
        admission_slot_free(a, t->slot_id);
        t->slot_held = false;
    }
    if (t->timer == NULL && timer_new(t->worker->loop, on_timer, t, &t->timer) != ERR_OK) {
        journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "no memory to queue", NULL);
        return;
    }
    txn_move(t, TXN_QUEUE);
    t->waiting = true;
    timer_set(t->timer, ADMISSION_QUEUE_MS);
    if (admission_wait(a, &t->road->waiter) == ADMISSION_OK)
        return;
    t->waiting = false;
    t->retry_after_s = 5;
    journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
}

bool
dispatch_leave_queue(struct txn *t)
{
    if (!t->waiting || !admission_unwait(t->worker->shared->admission, &t->road->waiter))
        return !t->waiting;
    t->waiting = false;
    return true;
}

void
dispatch_granted(struct txn *t)
{
    t->waiting = false;
    t->slot_id = t->road->waiter.granted_id;
    t->slot_held = true;
    timer_clear(t->timer);
    if (t->state != TXN_QUEUE || t->exchange == NULL) {
        dispatch_release(t, BREAKER_ABORT, 0);
        if (t->state == TXN_QUEUE && t->attempt_count == 0 && t->drained)
            journey_refuse_drained(t);
        else if (t->state == TXN_QUEUE && t->attempt_count == 0)
            journey_refuse(t, REFUSAL_REQUEST_TIMEOUT, "client_abort", "the client left", NULL);
        else if (t->state != TXN_DONE)
            journey_finish(t, RECORD_CLIENT_ABORT);
        else if (!t->unclosed)
            txn_free(t);
        return;
    }
    txn_move(t, TXN_DECIDE);
    dispatch(t);
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

/* Making the connection took its time: if the law changed meanwhile, the choice is made
 * anew under what is in force now. Nothing was sent and nothing is on record yet. */
static void
connected(struct txn *t)
{
    if (t->current == t->worker->snapshot) {
        attest_attempt(t);
        return;
    }
    dispatch_release(t, BREAKER_ABORT, 0);
    dispatch_untry(t);
    txn_move(t, TXN_DECIDE);
    dispatch(t);
}

static void
on_upstream(void *owner, struct upstream *u, unsigned events)
{
    struct txn *t = owner;

    if (t->state == TXN_CHECKOUT) {
        if ((events & UPSTREAM_OPENED) != 0)
            connected(t);
        else
            again_failed(t, &(struct again_failure){.failure = RETRY_NOT_SENT,
                                                    .outcome = upstream_error(u) == ERR_AUTH
                                                                   ? "tls_failed"
                                                                   : "connect_failed",
                                                    .health = BREAKER_FAIL});
    } else if (t->state == TXN_ATTEST) {
        /* Nothing was sent: the record on its way will be closed by another attempt. */
        t->upstream_lost = true;
        upstream_abort(t->upstream);
        t->upstream = NULL;
    } else {
        if ((events & UPSTREAM_DRAINED) != 0)
            upload_drained(t);
        if ((events & UPSTREAM_TIMED_OUT) != 0 && upload_timed_out(t))
            return;
        relay_event(t, events);
    }
}

/* What may wait unsent of a request. */
static size_t
request_room(const struct txn *t)
{
    return upload_streams(t) ? UPLOAD_OUT_MAX : buf_used(&t->body);
}

/* True: a connection was checked out or is being made, or the request was refused. */
static bool
check_out(struct txn *t)
{
    struct permit *permit = NULL;
    struct snapshot *s = t->current;
    const struct charter_tenant *tenant = &s->charter->tenants[t->decision.tenant];
    struct upstream_use use = {.fn = on_upstream,
                               .owner = t,
                               .top_tenant_id = s->tenant_ids[tenant->top],
                               .request_bytes = request_room(t),
                               .connect_ms = (uint64_t)t->deadlines->connect_ms,
                               .must_be_new = t->must_be_new};
    enum err e = mint(t, &permit);

    if (e == ERR_OK)
        e = upstream_checkout(t->worker->upstreams, s, permit, &use, &t->upstream);
    if (e == ERR_OK) {
        txn_move(t, TXN_CHECKOUT);
        if (upstream_ready(t->upstream))
            attest_attempt(t);
        return true;
    }
    t->connect_failures++;
    /* Without memory or permit it says nothing about the backend. */
    dispatch_release(t, e == ERR_IO ? BREAKER_FAIL : BREAKER_ABORT, 0);
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
        /* The slot that a grant brought is of a backend that this request does not use. */
        dispatch_release(t, BREAKER_ABORT, 0);
        bits_add(&t->road->tried_nodes, t->choice.node);
        return true;
    }
    id = t->current->backend_ids[t->choice.backend];
    if (!take_slot(t, id)) {
        t->choice.waiting[0] = t->choice.backend;
        t->choice.waiting_count = 1;
        t->choice.reason = CHOOSE_SATURATED;
        return false;
    }
    bits_add(&t->road->tried, t->choice.backend);
    if (admission_breaker_take(a, id, loop_now(t->worker->loop), &t->trial))
        return true;
    admission_slot_free(a, id);
    t->slot_held = false;
    return false;
}

bool
dispatch_is_cut(const struct txn *t)
{
    return atomic_load_explicit(&t->worker->shared->cutting, memory_order_relaxed);
}

void
dispatch(struct txn *t)
{
    if (dispatch_is_cut(t)) {
        journey_refuse_drained(t);
        return;
    }
    decide_now(t);
    if (t->decision.reason != DECIDE_PERMITTED) {
        const struct decide_row *row = decide_row(t->decision.reason);

        journey_refuse(t, refusal_find(row->code), row->reason, row->words, NULL);
        return;
    }
    if (!agrees_with_sender(t)) {
        journey_refuse(t, REFUSAL_POLICY_DIVERGENCE, "policy_divergence",
                       "the lawful places differ between the nodes", NULL);
        return;
    }
    /* Each round marks a target as tried, so the rounds are bounded by the legal set. */
    for (;;) {
        choose_now(t);
        if (t->choice.reason == CHOOSE_PICKED && take_target(t)) {
            if (check_out(t))
                return;
            if (t->connect_failures + t->attempt_count < RETRY_ATTEMPTS_MAX)
                continue;
            journey_refuse(t, REFUSAL_UPSTREAM_FAILED, "upstream_failed",
                           "no connection to a lawful backend could be made", NULL);
            return;
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

void
dispatch_untry(struct txn *t)
{
    if (t->choice.is_node)
        bits_remove(&t->road->tried_nodes, t->choice.node);
    else
        bits_remove(&t->road->tried, t->choice.backend);
}

/* ---- back again -------------------------------------------------------------------- */

static void
end_trial(struct txn *t, enum breaker_outcome outcome)
{
    if (t->trial == 0)
        return;
    admission_breaker_trial_end(t->worker->shared->admission, t->slot_id, t->trial, outcome,
                                loop_now(t->worker->loop), random_stock_u64(&t->worker->random));
    t->trial = 0;
}

void
dispatch_trial_passed(struct txn *t)
{
    end_trial(t, BREAKER_OK);
}

void
dispatch_note(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_ms)
{
    if (!t->slot_held)
        return;
    admission_breaker_note(t->worker->shared->admission, t->slot_id, outcome, retry_after_ms,
                           loop_now(t->worker->loop), random_stock_u64(&t->worker->random));
    end_trial(t, outcome);
}

void
dispatch_release(struct txn *t, enum breaker_outcome outcome, uint32_t retry_after_s)
{
    if (t->upstream != NULL) {
        upstream_abort(t->upstream);
        t->upstream = NULL;
    }
    if (!t->slot_held)
        return;
    dispatch_note(t, outcome, retry_after_s * 1000);
    admission_slot_free(t->worker->shared->admission, t->slot_id);
    t->slot_held = false;
}
