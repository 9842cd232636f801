#include "node/peer.h"

#include "base/check.h"
#include "base/clock.h"
#include "node/journey.h"

static bool
refuse(struct txn *t, enum refusal r, const char *words)
{
    struct exchange *x = txn_part(t);
    struct exchange_refusal refusal = {
        .code = r,
        .words = words,
        .retry_after_s = overload_retry_after(t->worker->shared->overload),
    };

    metrics_add(&t->worker->shared->metrics.unrecorded[r]);
    txn_move(t, TXN_DONE);
    txn_free(t);
    exchange_refuse(x, &refusal, NULL);
    return false;
}

/* Why the sender's attestation is not one for us, now; NULL when it is. */
static const char *
a1_fault(const struct txn *t, const struct record_a1_view *a1)
{
    const struct snapshot *s = t->pinned;
    const struct charter_node *own = &s->charter->nodes[s->own_node];
    int64_t now_s = t->received_ms / 1000;

    if (strcmp(a1->iss, t->exchange->caller->cert->facts.spiffe) != 0)
        return "the attestation is another node's";
    if (strcmp(a1->aud, own->spiffe) != 0 || strcmp(a1->target_node, own->name) != 0)
        return "the attestation is meant for another node";
    if (!a1->permit || a1->hop != 0)
        return "the attestation permits no forwarding";
    if (a1->exp_s < now_s || a1->iat_s > now_s + IDENTITY_SKEW_S)
        return "the attestation is outside its time";
    if (!slice_is(t->path.p != NULL ? t->path : slice_str(t->endpoint->name), a1->endpoint))
        return "the attestation is for another endpoint";
    return NULL;
}

/* The caller is the one of hop 0, unchanged (law 5). */
static void
take_caller(struct txn *t, const struct record_a1_view *a1)
{
    memcpy(t->id, a1->txn, sizeof(t->id));
    t->sub = a1->sub[0] == '\0' ? NULL : a1->sub;
    t->identified = true;
    t->class_name = slice_str(a1->class_name);
    if (a1->role[0] != '\0') {
        (void)slice_copy_str(slice_str(a1->role), t->identity.roles[0],
                             sizeof(t->identity.roles[0]));
        t->identity.role_count = 1;
    }
    t->origin = (struct decide_origin){.country = a1->country,
                                       .registered = a1->registered,
                                       .source = ORIGIN_FORWARDED,
                                       .quality = a1->origin_quality};
}

bool
peer_identify(struct txn *t)
{
    struct snapshot *s = t->pinned;
    const struct caller_cert *cert = t->exchange->caller->cert;
    struct record_a1_view *a1 = arena_alloc(&t->arena, sizeof(*a1));
    const char *why = "";
    size_t key_len = sizeof(t->key);

    if (a1 == NULL)
        return refuse(t, REFUSAL_OVERLOADED, "no memory for the attestation");
    if (cert == NULL || cert->facts.spiffe[0] == '\0' ||
        charter_find_node_spiffe(s->charter, slice_str(cert->facts.spiffe)) == CHARTER_NONE)
        return refuse(t, REFUSAL_UNAUTHENTICATED, "the certificate names no node of the mesh");
    if (t->attestation.len == 0 || record_a1_verify(t->attestation, s->charter, a1, &why) != ERR_OK)
        return refuse(t, REFUSAL_UNAUTHENTICATED, "the attestation does not verify");
    why = a1_fault(t, a1);
    if (why != NULL)
        return refuse(t, REFUSAL_UNAUTHENTICATED, why);
    t->identity.tenant = charter_find_tenant(s->charter, slice_str(a1->tenant));
    if (t->identity.tenant == CHARTER_NONE)
        return refuse(t, REFUSAL_POLICY_DIVERGENCE, "the tenant is not in this node's charter");
    if (!text_unb64url(t->commitment_key, t->key, &key_len) || key_len != sizeof(t->key))
        return refuse(t, REFUSAL_BAD_REQUEST, "the commitment key is missing or malformed");
    t->key_known = true;
    t->hop0 = a1;
    hash_sha256(t->attestation, t->prev_hash);
    take_caller(t, a1);
    return true;
}

/* The body must be the one that was attested: by its commitment, or, of a form that streams
 * through, by being one. */
static bool
body_is_attested(struct txn *t)
{
    char encoded[RECORD_HASH_SIZE];
    struct text out;
    struct hmac m;

    if (upload_streams(t)) {
        upload_commit_begin(t);
        return t->hop0->request_streamed;
    }
    commitment_init(&m, t->key, "request");
    hmac_add(&m, buf_slice(&t->body));
    hmac_final(&m, t->request_commitment);
    t->request_committed = true;
    text_init(&out, encoded, sizeof(encoded));
    text_add_b64url(&out, slice_of(t->request_commitment, sizeof(t->request_commitment)));
    return slice_eq(text_slice(&out), slice_str(t->hop0->request_commitment));
}

bool
peer_check_body(struct txn *t)
{
    if (!body_is_attested(t)) {
        journey_refuse(t, REFUSAL_BAD_REQUEST, "commitment_mismatch",
                       "the body is not the one that was attested", NULL);
        return false;
    }
    if (strcmp(t->pinned->policy_cuts[t->identity.tenant], t->hop0->policy_digest) != 0) {
        journey_refuse(t, REFUSAL_POLICY_DIVERGENCE, "policy_divergence",
                       "the tenant's policy differs between the nodes", NULL);
        return false;
    }
    return true;
}
