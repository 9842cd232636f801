/* Bearer tokens: a strict JWT of an issuer that the charter names, with a key that the
 * node config gives it (RFC 7519, RFC 8725, RFC 8705). */
#include "residency/identity/identity_priv.h"

#include "base/check.h"
#include "base/json.h"
#include "base/text.h"

struct claims {
    const struct json *root;
    const struct charter_issuer *issuer;
    int64_t now_ms;
};

/* No kind of JWT but an access token or an untyped one: an attestation of the mesh, a
 * logout token or an id-token-like thing with a type of its own is something else. */
static bool
typ_ok(struct slice typ)
{
    static const char *const kinds[] = {"JWT", "at+jwt", "application/at+jwt"};

    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++)
        if (slice_eq_nocase(typ, slice_str(kinds[i])))
            return true;
    return typ.len == 0;
}

static enum identity_reason
check_audience(const struct claims *c)
{
    const struct json *aud = json_get(c->root, "aud");
    struct slice s;
    bool found = false;

    if (json_string(aud, &s))
        return slice_is(s, c->issuer->audience) ? IDENTITY_OK : IDENTITY_AUDIENCE;
    if (aud == NULL || json_type_of(aud) != JSON_ARRAY)
        return IDENTITY_CLAIMS;
    for (const struct json *v = json_first(aud); v != NULL; v = json_next(v)) {
        if (!json_string(v, &s))
            return IDENTITY_CLAIMS;
        found = found || slice_is(s, c->issuer->audience);
    }
    return found ? IDENTITY_OK : IDENTITY_AUDIENCE;
}

static bool
seconds(const struct json *v, int64_t *out)
{
    return json_int(v, out) && *out >= 0;
}

static enum identity_reason
check_times(const struct claims *c, int64_t *expires_ms)
{
    const struct json *nbf = json_get(c->root, "nbf");
    int64_t exp;
    int64_t iat;
    int64_t from = 0;

    /* iat is needed to know the lifetime, which the charter limits. */
    if (!seconds(json_get(c->root, "exp"), &exp) || !seconds(json_get(c->root, "iat"), &iat) ||
        exp <= iat)
        return IDENTITY_CLAIMS;
    if (nbf != NULL && !seconds(nbf, &from))
        return IDENTITY_CLAIMS;
    if (exp - iat > c->issuer->max_lifetime_s)
        return IDENTITY_LIFETIME;
    /* At most 2^53 seconds: the milliseconds still fit. */
    if (c->now_ms > (exp + IDENTITY_SKEW_S) * 1000 || (iat - IDENTITY_SKEW_S) * 1000 > c->now_ms ||
        (from - IDENTITY_SKEW_S) * 1000 > c->now_ms)
        return IDENTITY_EXPIRED;
    *expires_ms = (exp + IDENTITY_SKEW_S) * 1000;
    return IDENTITY_OK;
}

static enum identity_reason
check_tenant(const struct charter *charter, const struct claims *c, uint32_t *tenant)
{
    struct slice s;

    if (!json_string(json_get(c->root, c->issuer->tenant_claim), &s) || s.len == 0)
        return IDENTITY_CLAIMS;
    *tenant = charter_find_tenant(charter, s);
    if (*tenant == CHARTER_NONE)
        return IDENTITY_TENANT;
    return charter_issuer_speaks_for(c->issuer, *tenant) ? IDENTITY_OK : IDENTITY_SPEAKS_NOT;
}

/* A list of strings. One that is too long to be a role of any charter counts for nothing. */
static enum identity_reason
read_roles(const struct claims *c, struct identity *out)
{
    const struct json *roles = json_get(c->root, c->issuer->roles_claim);

    out->role_count = 0;
    if (roles == NULL)
        return IDENTITY_OK;
    if (json_type_of(roles) != JSON_ARRAY)
        return IDENTITY_CLAIMS;
    for (const struct json *v = json_first(roles); v != NULL; v = json_next(v)) {
        struct slice s;

        if (!json_string(v, &s))
            return IDENTITY_CLAIMS;
        if (s.len == 0 || s.len > CHARTER_NAME_MAX)
            continue;
        if (out->role_count == IDENTITY_ROLES_MAX ||
            !slice_copy_str(s, out->roles[out->role_count], sizeof(out->roles[0])))
            return IDENTITY_CLAIMS;
        out->role_count++;
    }
    return IDENTITY_OK;
}

/* A token that is bound in a way we don't check must not count as an unbound one. */
static enum identity_reason
read_binding(const struct claims *c, struct identity_proof *out)
{
    const struct json *cnf = json_get(c->root, "cnf");
    size_t len = sizeof(out->binding);
    struct slice s;

    out->is_bound = false;
    if (cnf == NULL)
        return IDENTITY_OK;
    if (!json_string(json_get(cnf, "x5t#S256"), &s) || !text_unb64url(s, out->binding, &len) ||
        len != sizeof(out->binding))
        return IDENTITY_CLAIMS;
    out->is_bound = true;
    return IDENTITY_OK;
}

static enum identity_reason
read_subject(const struct claims *c, struct identity *out)
{
    struct text t;
    struct slice sub;

    if (!json_string(json_get(c->root, "sub"), &sub) || sub.len == 0)
        return IDENTITY_CLAIMS;
    text_init(&t, out->subject, sizeof(out->subject) - 1);
    text_add_str(&t, "jwt:");
    text_add_str(&t, c->issuer->id);
    text_add_char(&t, '|');
    text_add(&t, sub);
    if (!text_ok(&t))
        return IDENTITY_CLAIMS;
    out->subject[t.used] = '\0';
    return IDENTITY_OK;
}

static enum identity_reason
read_claims(const struct charter *charter, const struct claims *c, struct identity_proof *out)
{
    enum identity_reason r = check_audience(c);

    if (r == IDENTITY_OK)
        r = check_times(c, &out->identity.expires_ms);
    if (r == IDENTITY_OK)
        r = read_subject(c, &out->identity);
    if (r == IDENTITY_OK)
        r = check_tenant(charter, c, &out->identity.tenant);
    if (r == IDENTITY_OK)
        r = read_roles(c, &out->identity);
    if (r == IDENTITY_OK)
        r = read_binding(c, out);
    out->identity.auth = AUTH_JWT;
    return r;
}

/* The issuer named in the payload leads to the key; nothing else of the payload counts
 * before the signature has been verified. */
static enum identity_reason
check_signature(const struct charter *charter, const struct identity_keys *keys,
                const struct jws *jws, struct claims *c)
{
    const struct jwks *set;
    const struct key *key;
    struct slice iss;
    uint32_t index;

    if (!json_string(json_get(c->root, "iss"), &iss) || iss.len == 0)
        return IDENTITY_CLAIMS;
    index = charter_find_issuer(charter, iss);
    set = identity_keys_issuer(keys, iss);
    if (index == CHARTER_NONE || set == NULL)
        return IDENTITY_ISSUER;
    key = jwks_find(set, jws->kid);
    if (key == NULL)
        return IDENTITY_KEY;
    c->issuer = &charter->issuers[index];
    return jws_verify(jws, key) == ERR_OK ? IDENTITY_OK : IDENTITY_SIGNATURE;
}

enum identity_reason
identity_token_verify(const struct charter *charter, const struct identity_keys *keys,
                      struct identity_cache *cache, struct slice token, int64_t now_ms,
                      struct identity_proof *out)
{
    struct claims c = {.now_ms = now_ms};
    struct json_doc *doc = NULL;
    enum identity_reason r;
    struct jws jws;

    if (jws_parse(token, identity_cache_keys(cache), identity_cache_scratch(cache), JWS_SIZE_MAX,
                  &jws) != ERR_OK ||
        !typ_ok(jws.typ) || json_parse(jws.payload, &doc, NULL) != ERR_OK)
        return IDENTITY_MALFORMED;
    c.root = json_root(doc);
    r = json_type_of(c.root) == JSON_OBJECT ? check_signature(charter, keys, &jws, &c)
                                            : IDENTITY_MALFORMED;
    if (r == IDENTITY_OK)
        r = read_claims(charter, &c, out);
    json_free(&doc);
    return r;
}
