#include "residency/evidence/record.h"

#include "base/check.h"
#include "crypto/jws.h"
#include "residency/evidence/record_priv.h"

#include <stdlib.h>
#include <string.h>

/* A1: written once an attempt, on the path of the request: straight into the caller's
 * text, signed once. */

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

static void
write_payload(struct text *t, const struct record_a1 *a1)
{
    struct record_object o = record_object_begin(t);

    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_member_str(&o, SLICE_LIT("iss"), a1->issuer);
    record_member_str(&o, SLICE_LIT("aud"), a1->audience);
    record_member_str(&o, SLICE_LIT("txn"), a1->txn);
    write_jti(&o, a1);
    record_member_i64(&o, SLICE_LIT("iat"), a1->iat_s);
    record_member_i64(&o, SLICE_LIT("exp"), a1->iat_s + RECORD_TTL_S);
    record_member_u64(&o, SLICE_LIT("hop"), a1->hop);
    record_member_bytes(&o, SLICE_LIT("prev"), a1->prev, HASH_SIZE);
    record_member_str(&o, SLICE_LIT("verdict"), a1->permit ? "permit" : "deny");
    record_member_str(&o, SLICE_LIT("reason"), a1->reason);
    record_member_str(&o, SLICE_LIT("tenant"), a1->tenant);
    record_member_str(&o, SLICE_LIT("sub"), a1->sub);
    record_member_str(&o, SLICE_LIT("auth"), a1->auth);
    record_member_str(&o, SLICE_LIT("role"), a1->role);
    record_member_str(&o, SLICE_LIT("class"), a1->class_name);
    write_origin(&o, a1);
    write_policy(&o, a1);
    write_target(&o, a1);
    write_model(&o, a1);
    write_request(&o, a1);
    record_member_str(&o, SLICE_LIT("shard"), a1->shard);
    record_object_end(&o);
}

enum err
record_a1_write(const struct record_signer *s, const struct record_a1 *a1, struct text *out,
                uint8_t hash[HASH_SIZE])
{
    uint8_t storage[RECORD_A1_MAX];
    struct text payload;
    size_t from = out->used;
    enum err e;

    ASSERT(a1->permit == (a1->audience != NULL));
    text_init(&payload, storage, sizeof(storage));
    write_payload(&payload, a1);
    if (!text_ok(&payload))
        return ERR_TOOBIG;
    /* Told before the signature is paid for: base64url, two dots and 64 signed bytes. */
    if (s->header_len + 1 + (payload.used * 4 + 2) / 3 + 1 + (KEY_SIGN_SIZE * 4 + 2) / 3 >
        RECORD_A1_MAX)
        return ERR_TOOBIG;
    e = jws_sign_hashed(s->key, slice_of(s->header, s->header_len), text_slice(&payload), out,
                        hash);
    if (e != ERR_OK)
        out->used = from;
    return e;
}
