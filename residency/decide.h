#ifndef RESIDENCY_DECIDE_H
#define RESIDENCY_DECIDE_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"
#include "residency/bits.h"
#include "residency/charter.h"

#include <stdbool.h>
#include <stdint.h>

/* What is lawful: facts in, verdict and legal set out. Pure: time is an argument.
 * The legal set is computed over the configured backends, before health, load or
 * cost is looked at; everything later may only shrink it. */

/* One row feeds the attestation, the answer to the client, the log and the metric:
 * X(enum, reason in A1, client code, HTTP status, words). */
#define DECIDE_REASON_LIST(X)                                                 \
    X(DECIDE_PERMITTED, "permitted", "", 200, "permitted")                    \
    X(DECIDE_CHARTER_EXPIRED, "charter_expired", "residency_denied", 403,     \
      "the charter is past its valid_until")                                  \
    X(DECIDE_CLASS_UNKNOWN, "class_unknown", "residency_denied", 403,         \
      "the tenant's policy has no such data class")                           \
    X(DECIDE_ORIGIN_UNKNOWN, "origin_unknown", "origin_unknown", 403,         \
      "the caller's country is not known")                                    \
    X(DECIDE_ORIGIN_FORBIDDEN, "origin_forbidden", "residency_denied", 403,   \
      "the tenant's policy admits no callers from this country")              \
    X(DECIDE_INGRESS_FORBIDDEN, "ingress_forbidden", "residency_denied", 403, \
      "the tenant's policy does not admit requests in this region")           \
    X(DECIDE_MODEL_NOT_FOUND, "model_not_found", "model_not_found", 404,      \
      "the tenant's policy has no such model")                                \
    X(DECIDE_MODEL_FORBIDDEN, "model_forbidden", "model_forbidden", 403,      \
      "none of the caller's roles may use this model")                        \
    X(DECIDE_REMOTE_REFERENCE, "remote_reference", "remote_reference", 403,   \
      "the request points to a host outside the policy")                      \
    X(DECIDE_NO_LEGAL_PLACE, "no_legal_place", "residency_denied", 403,       \
      "no configured backend is a place where this request may be processed") \
    X(DECIDE_NO_LEGAL_MODEL, "no_legal_model", "residency_denied", 403,       \
      "no backend where this request may be processed has the model")

#define DECIDE_ENUM_ROW(name, reason, code, status, words) name,
enum decide_reason { DECIDE_REASON_LIST(DECIDE_ENUM_ROW) DECIDE_REASON_COUNT };
#undef DECIDE_ENUM_ROW

struct decide_row {
    const char *reason;
    const char *code;
    int status;
    const char *words;
};
const struct decide_row *decide_row(enum decide_reason reason);

enum origin_source { ORIGIN_SOCKET, ORIGIN_FORWARDED, ORIGIN_ASSUMED, ORIGIN_SOURCE_COUNT };
const char *origin_source_name(enum origin_source s);

/* What locating the caller came to. */
struct decide_origin {
    uint16_t country;    /* COUNTRY_NONE: unknown */
    uint16_t registered; /* recorded, never used */
    enum origin_source source;
    const char *quality; /* static word of the geo row table, e.g. "found", "private" */
    bool may_assume;     /* unknown in a way that `unknown_origin: home` covers: private,
                            CGNAT, loopback address or database miss */
};

struct decide_facts {
    uint32_t tenant;          /* index in the charter */
    struct slice class_name;  /* empty for none */
    struct slice alias;       /* the model as requested */
    struct slice remote_host; /* first host that the body points to and the caller of decide
                                 found outside the policy; p == NULL for none */
    const struct slice *roles;
    size_t role_count;
    struct decide_origin origin;
    uint32_t ingress_region;
    uint32_t own_region; /* of the deciding node: past renew_by only it is served */
    int64_t now_ms;
};

struct decision {
    enum decide_reason reason;
    uint32_t tenant;
    uint32_t class_index;
    uint32_t alias;              /* index in the tenant, CHARTER_NONE when not found */
    const char *role;            /* that opened the model, or NULL */
    struct decide_origin origin; /* as used: country assumed where the policy says how */
    bool cross_region_ok;        /* false past renew_by */
    struct bits legal;           /* empty unless permitted */
};

struct policy; /* the charter compiled to interned sets */
MUST_USE enum err policy_compile(struct charter *charter, struct policy **out); /* refs charter */
void policy_free(struct policy **p);
const struct charter *policy_charter(const struct policy *p);
/* Number of interned sets: for tests and the status page. */
size_t policy_set_count(const struct policy *p);

/* Always fills *out; out->reason says how it went. */
void decide(const struct policy *p, const struct decide_facts *facts, struct decision *out);

/* Whether a body of this tenant may point to that host (exact, ASCII case folded). */
bool decide_remote_host_ok(const struct charter_tenant *t, struct slice host);

/* Why one backend is in or out of the legal set of these facts: the rows of explain.
 * NULL: it is in; else a static text naming the rule and the fact. */
const char *decide_why_not(const struct policy *p, const struct decide_facts *facts,
                           const struct decision *decision, uint32_t backend);

/* legal.digest of A1: over the names of the set in byte order, each followed by LF. */
void decide_legal_digest(const struct charter *c, const struct bits *legal, uint8_t out[HASH_SIZE]);

/* The pinned model of an alias that this backend serves, preferred first: index into
 * charter_backend.served, or CHARTER_NONE. */
uint32_t decide_served(const struct charter *c, const struct charter_tenant *t, uint32_t alias,
                       uint32_t backend);

#endif
