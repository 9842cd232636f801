#ifndef ROUTING_CHOOSE_H
#define ROUTING_CHOOSE_H

#include "base/clock.h"
#include "health/view.h"
#include "residency/decide.h"
#include "routing/admission.h"

#include <stdbool.h>
#include <stdint.h>

/* Which of the legal targets: own region first, then other legal regions by round trip,
 * by estimated use (ENGINEERING section 4). Pure: facts in, pick or reason out. No function
 * here takes "all backends": candidates are decision->legal and what it loses. */

/* X(enum, reason, code, status, words) */
#define CHOOSE_REASON_LIST(X)                                                                    \
    X(CHOOSE_PICKED, "picked", "", 200, "picked")                                                \
    X(CHOOSE_UNSUPPORTED, "endpoint_unsupported", "not_found", 404,                              \
      "no lawful backend is of a kind that serves this path")                                    \
    X(CHOOSE_MODEL_MISMATCH, "model_mismatch", "no_legal_capacity", 503,                         \
      "every lawful backend that answers serves another version of the model")                   \
    X(CHOOSE_EVIDENCE_LOW, "model_evidence_low", "no_legal_capacity", 503,                       \
      "no lawful backend proves its model as strongly as the policy asks")                       \
    X(CHOOSE_UNHEALTHY, "no_healthy_backend", "no_legal_capacity", 503,                          \
      "no lawful backend is healthy")                                                            \
    X(CHOOSE_NO_PEER, "no_live_peer", "no_legal_capacity", 503,                                  \
      "the lawful backends stand in regions whose nodes do not answer")                          \
    X(CHOOSE_EXHAUSTED, "all_tried", "no_legal_capacity", 503, "every lawful backend was tried") \
    X(CHOOSE_SATURATED, "saturated", "no_legal_capacity", 503, "every lawful backend is busy")
#define CHOOSE_ENUM_ROW(name, reason, code, status, words) name,
enum choose_reason { CHOOSE_REASON_LIST(CHOOSE_ENUM_ROW) CHOOSE_REASON_COUNT };
#undef CHOOSE_ENUM_ROW
struct choose_row {
    const char *reason, *code;
    int status;
    const char *words;
};
const struct choose_row *choose_row(enum choose_reason r);

/* What this node itself knows of a backend right now (from admission): filled by the caller
 * through a function, so that choose stays pure and testable. */
struct choose_own {
    uint32_t in_flight;      /* of this node, now */
    uint32_t in_flight_then; /* own part inside the snapshot's number, if known; else 0 */
    uint32_t slots;          /* 0: as in the charter */
    bool ejected;            /* breaker open */
    bool loaded;             /* a LOAD outcome lately */
};

struct choose_facts {
    const struct charter *charter;
    const struct decision *decision;
    const struct health_view *view;
    const struct choose_own *own;   /* charter->backend_count */
    const struct bits *tried;       /* backends already used by this request */
    const struct bits *tried_nodes; /* peers already used */
    uint32_t own_node;
    uint32_t own_region;
    uint32_t kinds;       /* bit k: backends of that enum charter_kind will do; 0: all */
    bool own_region_only; /* hop 1, or past renew_by */
    uint64_t random;      /* ties, two-choices */
};

struct choice {
    enum choose_reason reason;
    bool is_node;
    uint32_t backend; /* !is_node */
    uint32_t node;    /* is_node: the peer that forwards inside its region */
    uint32_t served;  /* !is_node: index into charter_backend.served */
    enum charter_evidence evidence;
    /* SATURATED: own-region candidates that are healthy but full, to queue for. */
    uint32_t waiting[64];
    uint32_t waiting_count;
};
void choose(const struct choose_facts *facts, struct choice *out);

#endif
