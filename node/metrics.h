#ifndef NODE_METRICS_H
#define NODE_METRICS_H

#include "base/text.h"
#include "node/endpoint.h"
#include "node/histogram.h"
#include "net/tls.h"

#include <stdatomic.h>
#include <stdint.h>

/* Counters of the node: one row each, relaxed atomics, written by any thread and read by
 * the admin listener. X(field, name, help). */
#define METRICS_LIST(X)                                                                          \
    X(connections, "portolan_connections_total", "Client connections accepted.")                 \
    X(handshakes, "portolan_tls_handshakes_total", "TLS handshakes completed.")                  \
    X(handshakes_resumed, "portolan_tls_handshakes_resumed_total",                               \
      "Those of them that resumed a session.")                                                   \
    X(handshakes_refused, "portolan_tls_handshakes_refused_total",                               \
      "Connections closed before TLS because too many handshakes were under way.")               \
    X(requests, "portolan_requests_total", "Requests whose head was read.")                      \
    X(permitted, "portolan_requests_permitted_total", "Requests answered by a backend or peer.") \
    X(forwarded, "portolan_requests_forwarded_total", "Attempts sent to another region's node.") \
    X(attempts, "portolan_attempts_total", "Attempts of requests on backends and peers.")        \
    X(attempts_failed, "portolan_attempts_failed_total", "Attempts that got no usable answer.")  \
    X(aborted, "portolan_requests_aborted_total", "Requests whose client left first.")           \
    X(stalled, "portolan_streams_stalled_total", "Streams that fell silent for too long.")       \
    X(truncated, "portolan_answers_truncated_total", "Answers that ended before their end.")     \
    X(revoked, "portolan_requests_revoked_total",                                                \
      "Requests cut because a reload forbade their place (on_revoke).")                          \
    X(upstream_desync, "portolan_upstream_desync_total",                                         \
      "Connections to backends and peers closed because bytes came that answered nothing.")      \
    X(headers_dropped, "portolan_forged_headers_dropped_total",                                  \
      "Residency-* fields from clients and backends that were dropped.")                         \
    X(reloads, "portolan_reloads_total", "Reloads that took effect.")                            \
    X(reloads_failed, "portolan_reloads_failed_total", "Reloads that changed nothing.")

/* Refusals by the stable code of the answer. X(enum, code, status, type). */
#define REFUSAL_LIST(X)                                                               \
    X(REFUSAL_BAD_REQUEST, "bad_request", 400, "invalid_request_error")               \
    X(REFUSAL_UNAUTHENTICATED, "unauthenticated", 401, "authentication_error")        \
    X(REFUSAL_RESIDENCY_DENIED, "residency_denied", 403, "permission_error")          \
    X(REFUSAL_ORIGIN_UNKNOWN, "origin_unknown", 403, "permission_error")              \
    X(REFUSAL_MODEL_FORBIDDEN, "model_forbidden", 403, "permission_error")            \
    X(REFUSAL_REMOTE_REFERENCE, "remote_reference", 403, "permission_error")          \
    X(REFUSAL_MODEL_NOT_FOUND, "model_not_found", 404, "invalid_request_error")       \
    X(REFUSAL_NOT_FOUND, "not_found", 404, "invalid_request_error")                   \
    X(REFUSAL_METHOD_NOT_ALLOWED, "method_not_allowed", 405, "invalid_request_error") \
    X(REFUSAL_REQUEST_TIMEOUT, "request_timeout", 408, "invalid_request_error")       \
    X(REFUSAL_POLICY_DIVERGENCE, "policy_divergence", 409, "server_error")            \
    X(REFUSAL_REQUEST_TOO_LARGE, "request_too_large", 413, "invalid_request_error")   \
    X(REFUSAL_URI_TOO_LONG, "uri_too_long", 414, "invalid_request_error")             \
    X(REFUSAL_EXPECTATION_FAILED, "expectation_failed", 417, "invalid_request_error") \
    X(REFUSAL_MISDIRECTED, "misdirected", 421, "invalid_request_error")               \
    X(REFUSAL_RATE_LIMITED, "rate_limited", 429, "rate_limit_error")                  \
    X(REFUSAL_HEADERS_TOO_LARGE, "headers_too_large", 431, "invalid_request_error")   \
    X(REFUSAL_UPSTREAM_FAILED, "upstream_failed", 502, "server_error")                \
    X(REFUSAL_NO_LEGAL_CAPACITY, "no_legal_capacity", 503, "server_error")            \
    X(REFUSAL_OVERLOADED, "overloaded", 503, "server_error")                          \
    X(REFUSAL_LEDGER_UNAVAILABLE, "ledger_unavailable", 503, "server_error")          \
    X(REFUSAL_UPSTREAM_TIMEOUT, "upstream_timeout", 504, "server_error")
#define REFUSAL_ENUM_ROW(name, code, status, type) name,
enum refusal { REFUSAL_LIST(REFUSAL_ENUM_ROW) REFUSAL_COUNT };
#undef REFUSAL_ENUM_ROW
struct refusal_row {
    const char *code;
    int status;
    const char *type;
};
const struct refusal_row *refusal_row(enum refusal r);
/* The row of a stable code; REFUSAL_BAD_REQUEST for none of ours. */
enum refusal refusal_find(const char *code);

struct metrics {
#define METRICS_FIELD(field, name, help) _Atomic uint64_t field;
    METRICS_LIST(METRICS_FIELD)
#undef METRICS_FIELD
    _Atomic uint64_t refusals[REFUSAL_COUNT];
    /* Refusals of callers without a known tenant, and all during a ledger failure: taken
     * once a second into a control record. */
    _Atomic uint64_t unrecorded[REFUSAL_COUNT];
    /* Of streams, by operation. */
    struct histogram first_token[OPERATION_COUNT];
    struct histogram next_token[OPERATION_COUNT];
    _Atomic uint64_t handshakes_failed[TLS_FAULT_COUNT];
    _Atomic int64_t handshakes_open[2]; /* public, mesh */
    _Atomic int64_t clients_open;
    _Atomic int64_t client_sockets; /* those that only send their rest or linger counted */
    _Atomic int64_t requests_open;
    _Atomic int64_t body_bytes;
};

static inline void
metrics_add(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}
/* A stream's first event came that long after its request; a later one after the one before. */
void metrics_first_token(struct metrics *m, enum endpoint_operation operation, uint64_t ns);
void metrics_next_token(struct metrics *m, enum endpoint_operation operation, uint64_t ns);
/* Prometheus text exposition format. */
void metrics_write(const struct metrics *m, struct text *out);

#endif
