/* Client certificates: the connection's verified chain holds a CA of the charter, and the
 * leaf is one of the identities that this CA may vouch for. */
#include "residency/identity/identity_priv.h"

#include "base/check.h"
#include "base/text.h"

static bool
chain_has(const struct identity_facts *facts, const uint8_t sha256[HASH_SIZE])
{
    /* The leaf itself vouches for nobody. */
    for (size_t i = 1; i < facts->chain_count; i++)
        if (memcmp(facts->chain[i], sha256, HASH_SIZE) == 0)
            return true;
    return false;
}

static bool
matches(const struct charter_identity *id, const struct cert_facts *cert, const char *hex)
{
    switch (id->match) {
    case MATCH_SHA256:
        return strcmp(id->value, hex) == 0;
    case MATCH_SPIFFE:
        return cert->spiffe[0] != '\0' && strcmp(id->value, cert->spiffe) == 0;
    case MATCH_DNS:
        for (size_t i = 0; i < cert->dns_count; i++)
            if (slice_eq_nocase(slice_str(id->value), slice_str(cert->dns[i])))
                return true;
        return false;
    }
    return false;
}

/* The most specific match counts, whatever the order in the charter. */
static const struct charter_identity *
find(const struct charter *charter, const struct identity_facts *facts)
{
    static const enum charter_match order[] = {MATCH_SHA256, MATCH_SPIFFE, MATCH_DNS};
    char hex[2 * HASH_SIZE + 1];
    struct text t;

    text_init(&t, hex, sizeof(hex) - 1);
    text_add_hex(&t, slice_of(facts->cert->sha256, HASH_SIZE));
    hex[t.used] = '\0';
    for (size_t k = 0; k < ARRAY_COUNT(order); k++)
        for (size_t i = 0; i < charter->identity_count; i++) {
            const struct charter_identity *id = &charter->identities[i];

            if (id->match == order[k] && matches(id, facts->cert, hex) &&
                chain_has(facts, charter->cas[id->ca].sha256))
                return id;
        }
    return NULL;
}

bool
identity_cert_in_time(const struct identity_facts *facts)
{
    return facts->now_ms >= facts->cert->not_before_ms &&
           facts->now_ms <= facts->cert->not_after_ms;
}

enum identity_reason
identity_cert_match(const struct charter *charter, const struct identity_facts *facts,
                    struct identity *out)
{
    const struct cert_facts *cert = facts->cert;
    const struct charter_identity *id;

    if (!identity_cert_in_time(facts))
        return IDENTITY_EXPIRED;
    id = find(charter, facts);
    if (id == NULL)
        return IDENTITY_CERT;
    if (!text_format(out->subject, sizeof(out->subject), "mtls:%s", id->value))
        return IDENTITY_CERT;
    out->tenant = id->tenant;
    out->auth = AUTH_MTLS;
    out->expires_ms = cert->not_after_ms;
    identity_roles_copy(out, id->roles, id->role_count);
    return IDENTITY_OK;
}
