#include "residency/evidence/record.h"

#include "base/check.h"
#include "crypto/jws.h"
#include "residency/evidence/record_priv.h"

#include <stdlib.h>
#include <string.h>

/* A1: written once an attempt, on the path of the request: straight into the caller's
 * text, signed once. Its beginning is the same for many requests and kept, encoded and hashed. */

#define CUT 16 /* bytes that a secondary digest keeps */

struct record_signer {
    const struct key *key;
    size_t header_len;
    uint8_t header[512];
};

enum err
record_signer_new(const struct key *key, struct record_signer **out)
{
    struct record_signer *s = calloc(1, sizeof(*s));
    struct text header;
    enum err e;

    if (s == NULL)
        return ERR_NOMEM;
    s->key = key;
    text_init(&header, s->header, sizeof(s->header));
    e = jws_header(key, "residency+jwt", &header);
    if (e != ERR_OK) {
        free(s);
        return e;
    }
    s->header_len = header.used;
    *out = s;
    return ERR_OK;
}

void
record_signer_free(struct record_signer **s)
{
    free(*s);
    *s = NULL;
}

static void
write_jti(struct record_object *o, const struct record_a1 *a1)
{
    record_member(o, SLICE_LIT("jti"));
    text_add_char(o->text, '"');
    text_add_str(o->text, a1->txn);
    text_add_char(o->text, '.');
    text_add_str(o->text, a1->node);
    text_add_char(o->text, '.');
    text_add_u64(o->text, a1->attempt);
    text_add_char(o->text, '"');
}

static void
write_origin(struct record_object *o, const struct record_a1 *a1)
{
    struct record_object origin = record_member_object(o, SLICE_LIT("origin"));

    record_member_country(&origin, SLICE_LIT("country"), a1->country);
    record_member_country(&origin, SLICE_LIT("registered"), a1->registered);
    record_member_str(&origin, SLICE_LIT("source"), a1->origin_source);
    record_member_str(&origin, SLICE_LIT("quality"), a1->origin_quality);
    record_member_str(&origin, SLICE_LIT("db"), a1->geo_db);
    record_object_end(&origin);
}

static void
write_policy(struct record_object *o, const struct record_a1 *a1)
{
    struct record_object member = record_member_object(o, SLICE_LIT("ingress"));

    record_member_str(&member, SLICE_LIT("region"), a1->ingress_region);
    record_member_str(&member, SLICE_LIT("node"), a1->ingress_node);
    record_object_end(&member);
    member = record_member_object(o, SLICE_LIT("charter"));
    record_member_u64(&member, SLICE_LIT("version"), a1->charter_version);
    record_member_str(&member, SLICE_LIT("digest"), a1->charter_digest);
    record_object_end(&member);
    record_member_str(o, SLICE_LIT("policy"), a1->policy_digest);
    if (a1->legal_digest == NULL)
        return;
    member = record_member_object(o, SLICE_LIT("legal"));
    record_member_u64(&member, SLICE_LIT("count"), a1->legal_count);
    record_member_bytes(&member, SLICE_LIT("digest"), a1->legal_digest, CUT);
    record_object_end(&member);
}

static void
write_target(struct record_object *o, const struct record_a1 *a1)
{
    struct record_object target;

    if (a1->target_backend == NULL && a1->target_node == NULL)
        return;
    target = record_member_object(o, SLICE_LIT("target"));
    record_member_str(&target, SLICE_LIT("backend"), a1->target_backend);
    record_member_str(&target, SLICE_LIT("node"), a1->target_node);
    record_member_str(&target, SLICE_LIT("region"), a1->target_region);
    record_member_country(&target, SLICE_LIT("country"), a1->target_country);
    if (a1->target_node == NULL) {
        record_member_country(&target, SLICE_LIT("operator"), a1->target_operator);
        record_member_country(&target, SLICE_LIT("owner"), a1->target_owner);
    }
    record_member_str(&target, SLICE_LIT("assurance"), a1->target_assurance);
    record_member_bytes(&target, SLICE_LIT("key"), a1->target_key, CUT);
    record_object_end(&target);
}

static void
write_model(struct record_object *o, const struct record_a1 *a1)
{
    struct slice digest = slice_sub(slice_str(a1->model_digest), 0, 32);
    struct record_object model = record_member_object(o, SLICE_LIT("model"));

    record_member_slice(&model, SLICE_LIT("requested"), record_foreign(a1->model_requested));
    record_member_str(&model, SLICE_LIT("served"), a1->model_served);
    record_member_str(&model, SLICE_LIT("version"), a1->model_version);
    record_member_slice(&model, SLICE_LIT("digest"), digest);
    record_member_str(&model, SLICE_LIT("evidence"), a1->model_evidence);
    record_object_end(&model);
}

static void
write_request(struct record_object *o, const struct record_a1 *a1)
{
    struct record_object request = record_member_object(o, SLICE_LIT("request"));

    record_member_str(&request, SLICE_LIT("endpoint"), a1->endpoint);
    if (!a1->request_streamed || a1->request_bytes > 0)
        record_member_u64(&request, SLICE_LIT("bytes"), a1->request_bytes);
    if (a1->request_streamed) {
        record_member(&request, SLICE_LIT("streamed"));
        text_add_str(request.text, "true");
    } else {
        record_member_bytes(&request, SLICE_LIT("commitment"), a1->request_commitment, HASH_SIZE);
    }
    record_object_end(&request);
}

/* What is the same for many requests: the opening brace, and the members up to `model`. */
static void
write_beginning(struct text *t, const struct record_a1 *a1)
{
    struct record_object o = record_object_begin(t);

    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_member_str(&o, SLICE_LIT("iss"), a1->issuer);
    record_member_str(&o, SLICE_LIT("aud"), a1->audience);
    record_member_str(&o, SLICE_LIT("verdict"), a1->permit ? "permit" : "deny");
    record_member_str(&o, SLICE_LIT("reason"), a1->reason);
    record_member_str(&o, SLICE_LIT("tenant"), a1->tenant);
    record_member_str(&o, SLICE_LIT("auth"), a1->auth);
    record_member_str(&o, SLICE_LIT("role"), a1->role);
    record_member_str(&o, SLICE_LIT("class"), a1->class_name);
    write_policy(&o, a1);
    write_target(&o, a1);
    write_model(&o, a1);
}

static void
write_rest(struct text *t, const struct record_a1 *a1)
{
    struct record_object o = {.text = t, .has_member = true};

    record_member_str(&o, SLICE_LIT("txn"), a1->txn);
    write_jti(&o, a1);
    record_member_i64(&o, SLICE_LIT("iat"), a1->iat_s);
    record_member_i64(&o, SLICE_LIT("exp"), a1->iat_s + RECORD_TTL_S);
    record_member_u64(&o, SLICE_LIT("hop"), a1->hop);
    record_member_bytes(&o, SLICE_LIT("prev"), a1->prev, HASH_SIZE);
    record_member_str(&o, SLICE_LIT("sub"), a1->sub);
    write_origin(&o, a1);
    write_request(&o, a1);
    record_member_str(&o, SLICE_LIT("shard"), a1->shard);
    record_object_end(&o);
}

/* ---- beginnings ------------------------------------------------------------------------ */

#define PLACES 256 /* of beginnings that a thread keeps; one whose place is taken drives it out */

/* All that a beginning is made of. Pointers stand for their texts within one scope. */
struct key {
    uint64_t scope;
    const void *signer, *issuer, *audience, *reason, *tenant, *auth, *role, *class_name;
    const void *ingress_region, *ingress_node, *charter_digest, *policy_digest;
    const void *target_backend, *target_node, *target_region, *target_assurance, *target_key;
    const void *model_served, *model_version, *model_digest, *model_evidence;
    uint64_t charter_version;
    uint32_t legal_count;
    uint16_t target_country, target_operator, target_owner;
    bool permit;
    uint8_t legal_digest[HASH_SIZE];
    size_t requested_len;
    uint8_t requested[RECORD_FOREIGN_MAX];
};

/* Encoded header, dot and payload as far as it fills whole groups of three bytes; the bytes
 * behind them; and the hash of what is encoded. */
struct beginning {
    struct key key;
    struct hash hash;
    uint16_t encoded_len;
    uint8_t over_len;
    uint8_t over[2];
    uint8_t encoded[RECORD_A1_MAX];
};

struct record_beginnings {
    struct beginning places[PLACES];
};

enum err
record_beginnings_new(struct record_beginnings **out)
{
    /* Places that nobody uses are never touched, so they cost no memory. */
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? ERR_NOMEM : ERR_OK;
}

void
record_beginnings_free(struct record_beginnings **b)
{
    free(*b);
    *b = NULL;
}

static void
key_of(const struct record_signer *s, uint64_t scope, const struct record_a1 *a1, struct key *k)
{
    struct slice requested = record_foreign(a1->model_requested);

    memset(k, 0, sizeof(*k)); /* it is compared with its padding */
    k->scope = scope;
    k->signer = s;
    k->issuer = a1->issuer;
    k->reason = a1->reason;
    k->tenant = a1->tenant;
    k->auth = a1->auth;
    k->role = a1->role;
    k->class_name = a1->class_name;
    k->ingress_region = a1->ingress_region;
    k->ingress_node = a1->ingress_node;
    k->charter_digest = a1->charter_digest;
    k->policy_digest = a1->policy_digest;
    k->target_backend = a1->target_backend;
    k->target_node = a1->target_node;
    k->target_region = a1->target_region;
    k->target_assurance = a1->target_assurance;
    k->target_key = a1->target_key;
    k->model_served = a1->model_served;
    k->model_version = a1->model_version;
    k->model_digest = a1->model_digest;
    k->model_evidence = a1->model_evidence;
    k->charter_version = a1->charter_version;
    k->legal_count = a1->legal_count;
    k->target_country = a1->target_country;
    k->target_operator = a1->target_operator;
    k->target_owner = a1->target_owner;
    k->permit = a1->permit;
    if (a1->legal_digest != NULL)
        memcpy(k->legal_digest, a1->legal_digest, HASH_SIZE);
    k->requested_len = requested.len;
    if (requested.len > 0)
        memcpy(k->requested, requested.p, requested.len);
}

static size_t
place_of(const struct key *k)
{
    uint64_t h = (uint64_t)(uintptr_t)k->tenant * 31 + (uint64_t)(uintptr_t)k->target_backend * 17 +
                 (uint64_t)(uintptr_t)k->model_version + k->requested_len;

    return (size_t)((h * UINT64_C(0x9e3779b97f4a7c15)) >> 32) % PLACES;
}

static enum err
begin(const struct record_signer *s, const struct record_a1 *a1, struct beginning *b)
{
    uint8_t storage[RECORD_A1_MAX];
    struct text payload, encoded;
    size_t whole;

    text_init(&payload, storage, sizeof(storage));
    write_beginning(&payload, a1);
    whole = payload.used - payload.used % 3;
    text_init(&encoded, b->encoded, sizeof(b->encoded));
    text_add(&encoded, slice_of(s->header, s->header_len));
    text_add_char(&encoded, '.');
    text_add_b64url(&encoded, slice_of(payload.p, whole));
    if (!text_ok(&payload) || !text_ok(&encoded))
        return ERR_TOOBIG;
    b->encoded_len = (uint16_t)encoded.used;
    b->over_len = (uint8_t)(payload.used - whole);
    memcpy(b->over, payload.p + whole, b->over_len);
    hash_init(&b->hash);
    hash_add(&b->hash, text_slice(&encoded));
    return ERR_OK;
}

/* The beginning of this A1: kept, or made in *fresh. An audience of a backend is made of its
 * name, so that it is in the key by that. */
static enum err
beginning_of(const struct record_signer *s, struct record_beginnings *all, uint64_t scope,
             const struct record_a1 *a1, struct beginning *fresh, const struct beginning **out)
{
    struct beginning *place;
    struct key key;
    enum err e;

    *out = fresh;
    if (all == NULL || a1->hop != 0)
        return begin(s, a1, fresh);
    key_of(s, scope, a1, &key);
    place = &all->places[place_of(&key)];
    *out = place;
    if (memcmp(&place->key, &key, sizeof(key)) == 0)
        return ERR_OK;
    e = begin(s, a1, place);
    if (e == ERR_OK)
        place->key = key;
    else
        memset(&place->key, 0, sizeof(place->key)); /* a signer is never NULL: matches none */
    return e;
}

enum err
record_a1_write(const struct record_signer *s, struct record_beginnings *all, uint64_t scope,
                const struct record_a1 *a1, struct text *out, uint8_t hash[HASH_SIZE])
{
    uint8_t storage[RECORD_A1_MAX];
    const struct beginning *b = NULL;
    struct beginning fresh;
    size_t from = out->used;
    struct text rest;
    struct hash hashed;
    struct slice input;
    enum err e;

    ASSERT(a1->permit == (a1->audience != NULL));
    e = beginning_of(s, all, scope, a1, &fresh, &b);
    if (e != ERR_OK)
        return e;
    text_init(&rest, storage, sizeof(storage));
    text_add(&rest, slice_of(b->over, b->over_len));
    write_rest(&rest, a1);
    /* Told before the signature is paid for: base64url, a dot and 64 signed bytes. */
    if (!text_ok(&rest) ||
        b->encoded_len + (rest.used * 4 + 2) / 3 + 1 + (KEY_SIGN_SIZE * 4 + 2) / 3 > RECORD_A1_MAX)
        return ERR_TOOBIG;
    text_add(out, slice_of(b->encoded, b->encoded_len));
    text_add_b64url(out, text_slice(&rest));
    if (!text_ok(out)) {
        out->used = from;
        return ERR_TOOBIG;
    }
    input = slice_of(out->p + from, out->used - from);
    hashed = b->hash;
    hash_add(&hashed, slice_sub(input, b->encoded_len, input.len));
    e = jws_finish(s->key, input, &hashed, out, hash);
    if (e != ERR_OK)
        out->used = from;
    return e;
}
