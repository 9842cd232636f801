/* From credentials to a tenant: which one counts, and whether the tenant takes it. */
#include "residency/identity/identity_priv.h"

#include "base/check.h"

#define REASON_ROW(name, reason, words) {reason, words},
static const struct {
    const char *name;
    const char *words;
} reasons[IDENTITY_REASON_COUNT] = {IDENTITY_REASON_LIST(REASON_ROW)};
#undef REASON_ROW

const char *
identity_reason_name(enum identity_reason r)
{
    ASSERT(r < IDENTITY_REASON_COUNT);
    return reasons[r].name;
}

const char *
identity_reason_words(enum identity_reason r)
{
    ASSERT(r < IDENTITY_REASON_COUNT);
    return reasons[r].words;
}

void
identity_roles_copy(struct identity *out, const char *const *roles, size_t count)
{
    out->role_count = 0;
    for (size_t i = 0; i < count && out->role_count < IDENTITY_ROLES_MAX; i++)
        if (slice_copy_str(slice_str(roles[i]), out->roles[out->role_count], sizeof(out->roles[0])))
            out->role_count++;
}

/* "Bearer" SP token; the scheme's case does not matter (RFC 9110 section 11.1). */
static bool
bearer(struct slice field, struct slice *token)
{
    static const size_t scheme_len = sizeof("Bearer ") - 1;

    if (field.len <= scheme_len ||
        !slice_eq_nocase(slice_sub(field, 0, scheme_len), SLICE_LIT("Bearer ")))
        return false;
    *token = slice_trim(slice_sub(field, scheme_len, field.len));
    return token->len > 0;
}

static enum identity_reason
take_method(const struct charter *charter, struct identity *out, unsigned methods)
{
    unsigned allowed = charter->tenants[out->tenant].auth & methods;

    if (allowed == 0)
        return IDENTITY_METHOD;
    out->auth = (allowed & AUTH_MTLS_JWT) != 0 ? AUTH_MTLS_JWT : (enum charter_auth)allowed;
    return IDENTITY_OK;
}

/* Remembered or not, a bound token is held against this connection's certificate. */
static enum identity_reason
identify_token(const struct charter *charter, const struct identity_keys *keys,
               struct identity_cache *cache, const struct identity_facts *facts, struct slice token,
               struct identity *out)
{
    uint8_t digest[HASH_SIZE];
    const struct identity_proof *proof;
    unsigned methods = AUTH_JWT;

    hash_sha256(token, digest);
    proof = identity_cache_get(cache, digest, facts->now_ms);
    if (proof == NULL) {
        struct identity_proof fresh;
        struct identity_proof *kept;
        enum identity_reason r =
            identity_token_verify(charter, keys, cache, token, facts->now_ms, &fresh);

        if (r != IDENTITY_OK)
            return r;
        kept = identity_cache_put(cache, digest);
        *kept = fresh;
        proof = kept;
    }
    if (proof->is_bound) {
        if (facts->cert == NULL || !hash_equal(slice_of(proof->binding, HASH_SIZE),
                                               slice_of(facts->cert->sha256, HASH_SIZE)))
            return IDENTITY_BINDING;
        if (!identity_cert_in_time(facts))
            return IDENTITY_EXPIRED;
        methods |= AUTH_MTLS_JWT;
    }
    *out = proof->identity;
    return take_method(charter, out, methods);
}

/* Matching looks through the charter's identities, so its result is remembered too, under
 * a hash of the whole chain; no token hashes to it, since its text holds a line feed. */
static enum identity_reason
identify_cert(const struct charter *charter, struct identity_cache *cache,
              const struct identity_facts *facts, struct identity *out)
{
    uint8_t digest[HASH_SIZE];
    const struct identity_proof *proof;
    struct hash h;

    hash_init(&h);
    hash_add(&h, SLICE_LIT("certificate chain\n"));
    hash_add(&h, slice_of(facts->cert->sha256, HASH_SIZE));
    for (size_t i = 0; i < facts->chain_count; i++)
        hash_add(&h, slice_of(facts->chain[i], HASH_SIZE));
    hash_final(&h, digest);
    proof = identity_cache_get(cache, digest, facts->now_ms);
    if (proof == NULL) {
        struct identity_proof fresh = {.is_bound = false};
        struct identity_proof *kept;
        enum identity_reason r = identity_cert_match(charter, facts, &fresh.identity);

        if (r != IDENTITY_OK)
            return r;
        kept = identity_cache_put(cache, digest);
        *kept = fresh;
        proof = kept;
    }
    *out = proof->identity;
    return take_method(charter, out, AUTH_MTLS);
}

enum identity_reason
identify(const struct charter *charter, const struct identity_keys *keys,
         struct identity_cache *cache, const struct identity_facts *facts, struct identity *out)
{
    bool has_field = facts->authorization.p != NULL;
    struct slice token = facts->api_key;
    struct identity found;
    enum identity_reason r;

    /* Two credentials of one kind: which of them counts would be a guess. */
    if (facts->authorization_count > 1 || facts->api_key_count > 1 ||
        (has_field && facts->api_key.p != NULL))
        return IDENTITY_MALFORMED;
    if (has_field && !bearer(facts->authorization, &token))
        return IDENTITY_MALFORMED;
    if (!has_field && token.p == NULL && facts->cert == NULL)
        return IDENTITY_MISSING;
    if (facts->api_key.p != NULL || slice_starts(token, SLICE_LIT(IDENTITY_API_KEY_PREFIX))) {
        r = identity_api_key_verify(charter, keys, token, facts->now_ms, &found);
        if (r == IDENTITY_OK)
            r = take_method(charter, &found, AUTH_API_KEY);
    } else if (has_field) {
        r = identify_token(charter, keys, cache, facts, token, &found);
    } else {
        r = identify_cert(charter, cache, facts, &found);
    }
    if (r == IDENTITY_OK)
        *out = found;
    return r;
}
