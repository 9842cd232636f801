#ifndef ROUTING_ADMISSION_H
#define ROUTING_ADMISSION_H

#include "base/clock.h"
#include "base/err.h"
#include "health/breaker.h"
#include "residency/bits.h"

#include <stdbool.h>
#include <stdint.h>

/* What must be counted for the node as a whole: slots of backends, a tenant's requests,
 * the retry budget, breakers. One object for all workers: relaxed atomics, and a short
 * mutex around the queue that is touched only when no slot is free. Sized for the largest
 * charter; a name keeps its number, and so its counts, across reloads. */

#define ADMISSION_QUEUE_MAX 512
#define ADMISSION_QUEUE_MS 10000

struct admission;

struct admission_shape { /* one charter's names and limits, borrowed for the call */
    const char *const *backend_names;
    const uint32_t *backend_slots;
    uint32_t backend_count;
    const char *const *tenant_names;
    const uint32_t *tenant_concurrent; /* 0: none */
    const uint32_t *tenant_per_minute; /* 0: none */
    uint32_t tenant_count;
};
MUST_USE enum err admission_new(struct admission **out);
void admission_free(struct admission **a);
/* Fills backend_ids and tenant_ids (counts of the shape) with the stable numbers under
 * which admission counts each name; names seen before keep theirs. Changes no limit: a
 * reload that is dropped afterwards leaves nothing but unused numbers. */
MUST_USE enum err admission_bind(struct admission *a, const struct admission_shape *shape,
                                 uint32_t *backend_ids, uint32_t *tenant_ids);
/* Puts the shape's limits in force under the numbers that admission_bind() gave. Can't
 * fail: it is the commit of a reload. */
void admission_apply(struct admission *a, const struct admission_shape *shape,
                     const uint32_t *backend_ids, const uint32_t *tenant_ids);

/* X(enum, reason, code, status, words) */
#define ADMISSION_REASON_LIST(X)                                              \
    X(ADMISSION_OK, "admitted", "", 200, "admitted")                          \
    X(ADMISSION_TENANT_CONCURRENT, "tenant_concurrent", "rate_limited", 429,  \
      "the tenant has as many requests under way as its limit allows")        \
    X(ADMISSION_TENANT_RATE, "tenant_rate", "rate_limited", 429,              \
      "the tenant has sent as many requests this minute as its limit allows") \
    X(ADMISSION_QUEUE_FULL, "queue_full", "no_legal_capacity", 503,           \
      "every lawful backend is busy and the queue is full")                   \
    X(ADMISSION_QUEUE_TIMEOUT, "queue_timeout", "no_legal_capacity", 503,     \
      "every lawful backend stayed busy")
#define ADMISSION_ENUM_ROW(name, reason, code, status, words) name,
enum admission_reason { ADMISSION_REASON_LIST(ADMISSION_ENUM_ROW) ADMISSION_REASON_COUNT };
#undef ADMISSION_ENUM_ROW
struct admission_row {
    const char *reason, *code;
    int status;
    const char *words;
};
const struct admission_row *admission_row(enum admission_reason r);

/* One request of a tenant: concurrency and rate (token bucket of one minute). */
enum admission_reason admission_tenant_enter(struct admission *a, uint32_t tenant_id,
                                             struct mono now);
void admission_tenant_leave(struct admission *a, uint32_t tenant_id);

/* A slot of a backend: false when all are taken (also when others queue for it). */
bool admission_slot_take(struct admission *a, uint32_t backend_id);
/* Frees it, or hands it to the first waiter whose set holds the backend: its granted() is
 * called on the freeing thread. */
void admission_slot_free(struct admission *a, uint32_t backend_id);
uint32_t admission_in_flight(const struct admission *a, uint32_t backend_id);
uint32_t admission_slots(const struct admission *a, uint32_t backend_id);
uint32_t admission_tenant_in_flight(const struct admission *a, uint32_t tenant_id);
uint32_t admission_queued(const struct admission *a);

/* Waiting for any slot of a set; embedded in the waiter. */
struct admission_waiter {
    struct admission_waiter *next, *prev;
    bool queued;
    uint32_t backend_ids[64]; /* candidates */
    uint32_t backend_count;
    uint32_t granted_id;
    /* Called under the queue's mutex, on the thread that freed the slot: must only post a
     * message to the waiter's own thread and call nothing of admission. The slot is already
     * counted as taken. */
    void (*granted)(struct admission_waiter *w);
};
/* ADMISSION_OK: queued; or ADMISSION_QUEUE_FULL. Re-checks for a free slot under the mutex
 * and may call granted() within the call. */
enum admission_reason admission_wait(struct admission *a, struct admission_waiter *w);
/* True: it was still queued and is not any more. False: granted() was called and has
 * returned; the caller must free that slot. */
bool admission_unwait(struct admission *a, struct admission_waiter *w);

/* Retry budget: 10 % of requests plus 3 (ENGINEERING section 6). */
bool admission_retry_take(struct admission *a);

/* Breakers, under one short mutex each: see breaker.h. */
bool admission_breaker_take(struct admission *a, uint32_t backend_id, struct mono now,
                            uint32_t *trial);
bool admission_breaker_open_for(const struct admission *a, uint32_t backend_id, struct mono now);
bool admission_loaded(const struct admission *a, uint32_t backend_id, struct mono now);
void admission_breaker_note(struct admission *a, uint32_t backend_id, enum breaker_outcome outcome,
                            uint32_t retry_after_ms, struct mono now, uint64_t random);
void admission_breaker_trial_end(struct admission *a, uint32_t backend_id, uint32_t trial,
                                 enum breaker_outcome outcome, struct mono now, uint64_t random);
/* A probe saw it come back. */
void admission_breaker_recover(struct admission *a, uint32_t backend_id, struct mono now);

#endif
