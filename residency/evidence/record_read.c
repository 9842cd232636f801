#include "residency/evidence/record.h"

#include "base/check.h"
#include "residency/country.h"
#include "residency/evidence/record_priv.h"

#include <string.h>

/* Reading A1: taken apart by the cursor, then checked as a whole. */

#define CUT_LEN (RECORD_ID_SIZE - 1)
#define HASH_LEN (RECORD_HASH_SIZE - 1)
#define HEADER_MAX 256

void
record_cut(const uint8_t digest[HASH_SIZE], char out[RECORD_ID_SIZE])
{
    struct text t;

    text_init(&t, out, RECORD_ID_SIZE - 1);
    text_add_b64url(&t, slice_of(digest, 16));
    out[t.used] = '\0';
}

bool
record_a1_is_under(const struct record_a1_view *a1, const struct charter *charter)
{
    char cut[RECORD_ID_SIZE];

    if (a1->charter_version != charter->version)
        return false;
    record_cut(charter->digest, cut);
    return strcmp(a1->charter_digest, cut) == 0;
}

const struct charter *
record_a1_charter(const struct record_a1_view *a1, const struct charter *const *charters,
                  size_t count)
{
    const struct charter *same_version = NULL;

    for (size_t i = 0; i < count; i++) {
        if (record_a1_is_under(a1, charters[i]))
            return charters[i];
        if (charters[i]->version == a1->charter_version)
            same_version = charters[i];
    }
    return same_version;
}

struct compact {
    struct slice header; /* encoded */
    struct slice payload;
    struct slice signature;
    struct slice signing_input;
};

static bool
split(struct slice jws, struct compact *out)
{
    struct slice rest = jws;

    out->header = slice_cut(&rest, '.');
    out->payload = slice_cut(&rest, '.');
    out->signature = rest;
    out->signing_input = slice_of(jws.p, out->header.len + 1 + out->payload.len);
    return out->header.len > 0 && out->payload.len > 0 && rest.len > 0;
}

static void
read_header(struct record_cursor *c, enum key_alg *alg, char *kid)
{
    static const char why[] = "the header is not of the one form";

    record_expect(c, "{\"alg\":\"", why);
    if (record_take(c, "ES256"))
        *alg = KEY_ES256;
    else if (record_take(c, "EdDSA"))
        *alg = KEY_EDDSA;
    else
        record_fail(c, "the header's alg is none of ours");
    record_expect(c, "\",\"kid\":", why);
    record_digest(c, kid, KEY_THUMBPRINT_SIZE, "kid is no thumbprint");
    record_expect(c, ",\"typ\":\"residency+jwt\"}", why);
    if (c->rest.len > 0)
        record_fail(c, why);
}

static void
opt_string(struct record_cursor *c, const char *name, char *out, size_t size, const char *why)
{
    out[0] = '\0';
    if (record_take(c, name))
        record_string(c, out, size, why);
}

static void
opt_digest(struct record_cursor *c, const char *name, char *out, size_t len, const char *why)
{
    out[0] = '\0';
    if (record_take(c, name))
        record_digest(c, out, len, why);
}

static void
opt_country(struct record_cursor *c, const char *name, uint16_t *out)
{
    *out = COUNTRY_NONE;
    if (record_take(c, name))
        record_country(c, out, "a country is no assigned code");
}

/* The comma before a member that may be the first of its object. */
static bool
take_member(struct record_cursor *c, const char *name, bool *has_member)
{
    struct record_cursor before = *c;

    if ((*has_member && !record_take(c, ",")) || !record_take(c, name)) {
        *c = before;
        return false;
    }
    *has_member = true;
    return true;
}

static void
read_time(struct record_cursor *c, const char *name, int64_t *out)
{
    uint64_t value = 0;

    record_expect(c, name, "iat or exp is missing");
    record_number(c, &value, "iat or exp is no number");
    *out = (int64_t)value;
}

static void
read_who(struct record_cursor *c, struct record_a1_view *v)
{
    record_expect(c, "{\"v\":1,\"iss\":", "v or iss is missing");
    record_string(c, v->iss, sizeof(v->iss), "iss is malformed");
    opt_string(c, ",\"aud\":", v->aud, sizeof(v->aud), "aud is malformed");
    if (record_take(c, ",\"verdict\":\"permit\""))
        v->permit = true;
    else
        record_expect(c, ",\"verdict\":\"deny\"", "verdict is neither permit nor deny");
    opt_string(c, ",\"reason\":", v->reason, sizeof(v->reason), "reason is malformed");
    opt_string(c, ",\"tenant\":", v->tenant, sizeof(v->tenant), "tenant is malformed");
    opt_string(c, ",\"auth\":", v->auth, sizeof(v->auth), "auth is malformed");
    opt_string(c, ",\"role\":", v->role, sizeof(v->role), "role is malformed");
    opt_string(c, ",\"class\":", v->class_name, sizeof(v->class_name), "class is malformed");
}

static void
read_which(struct record_cursor *c, struct record_a1_view *v, char *jti, size_t jti_size)
{
    uint64_t hop = 0;

    record_expect(c, ",\"txn\":", "txn is missing");
    record_string(c, v->txn, sizeof(v->txn), "txn is malformed");
    record_expect(c, ",\"jti\":", "jti is missing");
    record_string(c, jti, jti_size, "jti is malformed");
    read_time(c, ",\"iat\":", &v->iat_s);
    read_time(c, ",\"exp\":", &v->exp_s);
    record_expect(c, ",\"hop\":", "hop is missing");
    record_number(c, &hop, "hop is no number");
    if (hop > 1)
        record_fail(c, "hop is neither 0 nor 1");
    v->hop = (uint32_t)hop;
    opt_digest(c, ",\"prev\":", v->prev, HASH_LEN, "prev is malformed");
    opt_digest(c, ",\"sub\":", v->sub, CUT_LEN, "sub is malformed");
}

static void
read_origin(struct record_cursor *c, struct record_a1_view *v)
{
    static const char why[] = "origin is malformed";
    bool has = false;

    v->country = v->registered = COUNTRY_NONE;
    record_expect(c, ",\"origin\":{", why);
    if (take_member(c, "\"country\":", &has))
        record_country(c, &v->country, why);
    if (take_member(c, "\"registered\":", &has))
        record_country(c, &v->registered, why);
    if (take_member(c, "\"source\":", &has))
        record_string(c, v->origin_source, sizeof(v->origin_source), why);
    if (take_member(c, "\"quality\":", &has))
        record_string(c, v->origin_quality, sizeof(v->origin_quality), why);
    if (take_member(c, "\"db\":", &has))
        record_digest(c, v->geo_db, CUT_LEN, why);
    record_expect(c, "}", why);
}

static void
read_policy(struct record_cursor *c, struct record_a1_view *v)
{
    uint64_t count = 0;
    bool has = false;

    record_expect(c, ",\"ingress\":{", "ingress is missing");
    if (take_member(c, "\"region\":", &has))
        record_string(c, v->ingress_region, sizeof(v->ingress_region), "ingress is malformed");
    if (take_member(c, "\"node\":", &has))
        record_string(c, v->ingress_node, sizeof(v->ingress_node), "ingress is malformed");
    record_expect(c, "},\"charter\":{\"version\":", "charter is missing");
    record_number(c, &v->charter_version, "charter is malformed");
    opt_digest(c, ",\"digest\":", v->charter_digest, CUT_LEN, "charter is malformed");
    record_expect(c, "}", "charter is malformed");
    opt_digest(c, ",\"policy\":", v->policy_digest, CUT_LEN, "policy is malformed");
    if (!record_take(c, ",\"legal\":{\"count\":"))
        return;
    record_number(c, &count, "legal is malformed");
    if (count > CHARTER_BACKENDS_MAX)
        record_fail(c, "legal counts more backends than there can be");
    v->legal_count = (uint32_t)count;
    record_expect(c, ",\"digest\":", "legal is malformed");
    record_digest(c, v->legal_digest, CUT_LEN, "legal is malformed");
    record_expect(c, "}", "legal is malformed");
}

static void
read_target(struct record_cursor *c, struct record_a1_view *v)
{
    static const char why[] = "target is malformed";
    bool has = false;

    v->target_country = v->target_operator = v->target_owner = COUNTRY_NONE;
    if (!record_take(c, ",\"target\":{"))
        return;
    v->has_target = true;
    if (take_member(c, "\"backend\":", &has))
        record_string(c, v->target_backend, sizeof(v->target_backend), why);
    if (take_member(c, "\"node\":", &has))
        record_string(c, v->target_node, sizeof(v->target_node), why);
    if (!has || (v->target_backend[0] != '\0' && v->target_node[0] != '\0'))
        record_fail(c, "target names neither or both of backend and node");
    opt_string(c, ",\"region\":", v->target_region, sizeof(v->target_region), why);
    opt_country(c, ",\"country\":", &v->target_country);
    if (v->target_node[0] == '\0') {
        opt_country(c, ",\"operator\":", &v->target_operator);
        opt_country(c, ",\"owner\":", &v->target_owner);
    }
    opt_string(c, ",\"assurance\":", v->target_assurance, sizeof(v->target_assurance), why);
    opt_digest(c, ",\"key\":", v->target_key, CUT_LEN, why);
    record_expect(c, "}", why);
}

static void
read_model(struct record_cursor *c, struct record_a1_view *v)
{
    static const char why[] = "model is malformed";
    bool has = false;

    record_expect(c, ",\"model\":{", why);
    if (take_member(c, "\"requested\":", &has))
        record_string(c, v->model_requested, sizeof(v->model_requested), why);
    if (take_member(c, "\"served\":", &has))
        record_string(c, v->model_served, sizeof(v->model_served), why);
    if (take_member(c, "\"version\":", &has))
        record_string(c, v->model_version, sizeof(v->model_version), why);
    if (take_member(c, "\"digest\":", &has))
        record_string(c, v->model_digest, sizeof(v->model_digest), why);
    if (take_member(c, "\"evidence\":", &has))
        record_string(c, v->model_evidence, sizeof(v->model_evidence), why);
    record_expect(c, "}", why);
}

static void
read_request(struct record_cursor *c, struct record_a1_view *v)
{
    static const char why[] = "request is malformed";
    bool has = false;
    bool sized;

    record_expect(c, ",\"request\":{", why);
    if (take_member(c, "\"endpoint\":", &has))
        record_string(c, v->endpoint, sizeof(v->endpoint), why);
    sized = take_member(c, "\"bytes\":", &has);
    if (sized)
        record_number(c, &v->request_bytes, why);
    if (take_member(c, "\"streamed\":true", &has))
        v->request_streamed = true;
    else if (!sized)
        record_fail(c, why);
    else
        opt_digest(c, ",\"commitment\":", v->request_commitment, HASH_LEN, why);
    record_expect(c, "}", why);
    opt_digest(c, ",\"shard\":", v->shard, CUT_LEN, "shard is malformed");
    record_expect(c, "}", "a member out of its order, or one too many");
    if (c->rest.len > 0)
        record_fail(c, "bytes behind the payload");
}

/* txn.node.attempt; the node's name holds no dot. */
static void
read_jti(struct record_cursor *c, struct record_a1_view *v, const char *jti)
{
    struct slice rest = slice_str(jti), txn = slice_cut(&rest, '.');
    struct slice node = slice_cut(&rest, '.');
    uint64_t attempt = 0;

    if (!slice_is(txn, v->txn) || node.len == 0 ||
        !slice_copy_str(node, v->node, sizeof(v->node)) || !slice_u64(rest, &attempt) ||
        attempt > UINT16_MAX || (rest.len > 1 && rest.p[0] == '0'))
        record_fail(c, "jti is not txn, node and attempt");
    v->attempt = (uint32_t)attempt;
}

static void
check_whole(struct record_cursor *c, const struct record_a1_view *v)
{
    if (c->why != NULL)
        return;
    if (!record_txn_ok(v->txn))
        record_fail(c, "txn is no UUIDv7");
    if (v->exp_s <= v->iat_s || v->exp_s - v->iat_s > RECORD_TTL_S)
        record_fail(c, "exp is not within 120 s behind iat");
    if ((v->hop == 1) != (v->prev[0] != '\0'))
        record_fail(c, "prev belongs to hop 1 and to it alone");
    if (v->permit != v->has_target || v->permit != (v->aud[0] != '\0'))
        record_fail(c, "a permit has aud and target, a denial neither");
}

static enum err
parse(const struct compact *parts, struct record_a1_view *v, enum key_alg *alg, const char **why)
{
    uint8_t header[HEADER_MAX], payload[RECORD_A1_MAX];
    size_t header_len = sizeof(header), payload_len = sizeof(payload);
    char jti[UUID_TEXT_SIZE + CHARTER_NAME_MAX + 8];
    struct record_cursor c = {0};

    memset(v, 0, sizeof(*v));
    if (!text_unb64url(parts->header, header, &header_len) ||
        !text_unb64url(parts->payload, payload, &payload_len)) {
        *why = "not base64url in its one form";
        return ERR_BADMSG;
    }
    c.rest = slice_of(header, header_len);
    read_header(&c, alg, v->kid);
    c.rest = slice_of(payload, payload_len);
    read_who(&c, v);
    read_policy(&c, v);
    read_target(&c, v);
    read_model(&c, v);
    read_which(&c, v, jti, sizeof(jti));
    read_origin(&c, v);
    read_request(&c, v);
    if (c.why == NULL)
        read_jti(&c, v, jti);
    check_whole(&c, v);
    *why = c.why;
    return c.why == NULL ? ERR_OK : ERR_BADMSG;
}

static enum err
parse_token(struct slice jws, struct compact *parts, struct record_a1_view *view, enum key_alg *alg,
            const char **why)
{
    if (jws.len > RECORD_A1_MAX) {
        *why = "longer than an A1 can be";
        return ERR_TOOBIG;
    }
    if (!split(jws, parts)) {
        *why = "not three parts with dots between";
        return ERR_BADMSG;
    }
    return parse(parts, view, alg, why);
}

enum err
record_a1_parse(struct slice jws, struct record_a1_view *out, const char **why)
{
    struct compact parts;
    struct record_a1_view view;
    enum key_alg alg = KEY_ES256;
    uint8_t signature[KEY_SIGN_SIZE];
    size_t len = sizeof(signature);
    enum err e = parse_token(jws, &parts, &view, &alg, why);

    if (e != ERR_OK)
        return e;
    if (!text_unb64url(parts.signature, signature, &len) || len != sizeof(signature)) {
        *why = "the signature has not its one length and form";
        return ERR_BADMSG;
    }
    *out = view;
    return ERR_OK;
}

enum err
record_a1_verify(struct slice jws, const struct charter *charter, struct record_a1_view *out,
                 const char **why)
{
    struct compact parts;
    struct record_a1_view view;
    enum key_alg alg = KEY_ES256;
    uint8_t signature[KEY_SIGN_SIZE];
    size_t len = sizeof(signature);
    const struct key *key;
    uint32_t node;
    enum err e = parse_token(jws, &parts, &view, &alg, why);

    if (e != ERR_OK)
        return e;
    *why = "iss is no node of the charter";
    node = charter_find_node_spiffe(charter, slice_str(view.iss));
    if (node == CHARTER_NONE)
        return ERR_AUTH;
    *why = "jti names another node than iss";
    if (!slice_is(slice_str(charter->nodes[node].name), view.node))
        return ERR_AUTH;
    *why = "kid is no attest key of that node at iat";
    key = charter_node_key(&charter->nodes[node], KEY_USE_ATTEST, slice_str(view.kid),
                           view.iat_s * 1000);
    if (key == NULL || key_algorithm(key) != alg)
        return ERR_AUTH;
    *why = "the signature does not verify";
    if (!text_unb64url(parts.signature, signature, &len) ||
        key_verify(key, parts.signing_input, slice_of(signature, len)) != ERR_OK)
        return ERR_AUTH;
    *why = NULL;
    *out = view;
    return ERR_OK;
}
