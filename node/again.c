#include "node/again.h"

#include "node/attest.h"
#include "node/dispatch.h"
#include "node/journey.h"

/* What the client is told if there is no other attempt. */
static void
set_refusal(struct txn *t, const struct again_failure *f)
{
    t->refusal = REFUSAL_UPSTREAM_FAILED;
    t->refusal_words = "the backend failed before it answered";
    if (f->failure == RETRY_LATE) {
        t->refusal = REFUSAL_UPSTREAM_TIMEOUT;
    } else if (f->failure == RETRY_REFUSED) {
        t->refusal = REFUSAL_NO_LEGAL_CAPACITY;
        t->refusal_words = "the other region's node did not take the request";
        t->retry_after_s = 2;
    } else if (f->health == BREAKER_LOAD) {
        t->refusal = REFUSAL_NO_LEGAL_CAPACITY;
        t->refusal_words = "every lawful backend is busy";
        t->retry_after_s = f->retry_after_s;
    }
}

/* Of the legal set, how many lately said that they are busy. */
static uint32_t
count_busy(const struct txn *t)
{
    struct mono now = loop_now(t->worker->loop);
    uint32_t busy = 0;

    for (uint32_t i = bits_next(&t->decision.legal, 0); i < t->current->charter->backend_count;
         i = bits_next(&t->decision.legal, i + 1))
        busy += admission_loaded(t->worker->shared->admission, t->current->backend_ids[i], now) > 0;
    return busy;
}

static enum retry_verdict
judge(const struct txn *t, enum retry_failure failure)
{
    struct retry_facts facts = {.failure = failure,
                                .attempts = (uint32_t)t->attempt_count + t->connect_failures,
                                .is_whole = !upload_streams(t),
                                .is_replay_safe = t->endpoint->replay_safe,
                                .is_forwarded = t->peer_request,
                                .was_stale = t->must_be_new,
                                .legal = bits_count(&t->decision.legal)};
    enum retry_verdict v;

    if (failure == RETRY_BUSY)
        facts.busy = count_busy(t);
    v = retry_judge(&facts);
    if (v == RETRY_ELSEWHERE && !admission_retry_take(t->worker->shared->admission))
        return RETRY_NO;
    return v;
}

void
again_failed(struct txn *t, const struct again_failure *f)
{
    enum retry_verdict v;

    metrics_add(&t->worker->shared->metrics.attempts_failed);
    dispatch_release(t, f->health, f->retry_after_s);
    if (t->state == TXN_CHECKOUT)
        t->connect_failures++; /* nothing was disclosed: no record */
    else
        attest_outcome(t, f->outcome, f->status);
    set_refusal(t, f);
    if (t->exchange == NULL) {
        journey_finish(t, RECORD_CLIENT_ABORT);
        return;
    }
    v = judge(t, f->failure);
    if (v == RETRY_NO || t->attempt_count == TXN_ATTEMPTS_MAX) {
        journey_refuse(t, t->refusal, "upstream_failed", t->refusal_words, NULL);
        return;
    }
    if (v == RETRY_ANEW) {
        dispatch_untry(t);
        t->must_be_new = true;
    }
    txn_move(t, TXN_DECIDE);
    dispatch(t);
}

bool
again_superseded(struct txn *t)
{
    if (t->current == t->worker->snapshot && !dispatch_is_cut(t))
        return false;
    dispatch_release(t, BREAKER_ABORT, 0);
    attest_outcome(t, "not_sent", 0);
    if (dispatch_is_cut(t)) {
        journey_refuse_drained(t);
        return true;
    }
    dispatch_untry(t);
    if (t->attempt_count == TXN_ATTEMPTS_MAX) {
        journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "the charter changed meanwhile", NULL);
        return true;
    }
    txn_move(t, TXN_DECIDE);
    dispatch(t);
    return true;
}
