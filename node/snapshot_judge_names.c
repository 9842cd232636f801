/* What config and charter call each other by: issuers, API keys, client CAs. */
#include "node/snapshot_judge_priv.h"

#include "base/file.h"
#include "base/text.h"
#include "crypto/hash.h"

#include <stdlib.h>

#define PEM_FILE_MAX (1u << 20)
#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END "-----END CERTIFICATE-----"

static void
judge_issuers(const struct judge *j)
{
    const struct charter *c = j->s->charter;

    for (size_t i = 0; i < j->config->issuers.count; i++) {
        const char *name = j->config->issuers.items[i].name;

        if (charter_find_issuer(c, slice_str(name)) == CHARTER_NONE)
            judge_say(j, j->faults, "issuers", name, "is no issuer of the charter");
    }
    for (size_t i = 0; i < c->issuer_count; i++)
        if (!identity_keys_has_issuer(j->s->identity_keys, slice_str(c->issuers[i].id)))
            judge_say(j, j->faults, "issuers", NULL,
                      "has no \"%s\", which is an issuer of the charter", c->issuers[i].id);
}

static void
judge_api_keys(const struct judge *j)
{
    const struct charter *c = j->s->charter;
    const struct identity_keys *keys = j->s->identity_keys;
    const char *id;

    if (j->config->api_keys[0] == '\0') {
        if (c->api_key_count > 0)
            judge_say(j, j->faults, "api_keys", NULL, "missing: the charter has %zu API keys",
                      c->api_key_count);
        return;
    }
    for (size_t i = 0; (id = identity_keys_api_id(keys, i)) != NULL; i++)
        if (charter_find_api_key(c, slice_str(id)) == CHARTER_NONE)
            judge_say(j, j->faults, "api_keys", NULL,
                      "\"%s\" has the key \"%s\", which is none of the charter",
                      j->config->api_keys, id);
    for (size_t i = 0; i < c->api_key_count; i++)
        if (!identity_keys_has_api_key(keys, slice_str(c->api_keys[i].id)))
            judge_say(j, j->faults, "api_keys", NULL,
                      "\"%s\" has no key \"%s\", which is one of the charter", j->config->api_keys,
                      c->api_keys[i].id);
}

/* The next certificate of a bundle, as its SHA-256. False at the end. */
static bool
next_certificate(const char **rest, uint8_t *der, size_t der_size, uint8_t out[HASH_SIZE])
{
    const char *at = strstr(*rest, PEM_BEGIN);
    const char *end = at == NULL ? NULL : strstr(at, PEM_END);
    size_t der_len = der_size;
    size_t len = 0;
    char *packed;
    bool ok;

    if (end == NULL)
        return false;
    *rest = end;
    at += sizeof(PEM_BEGIN) - 1;
    packed = malloc((size_t)(end - at) + 1);
    if (packed == NULL)
        return false;
    for (; at < end; at++)
        if (*at > ' ')
            packed[len++] = *at;
    ok = text_unb64(slice_of(packed, len), der, &der_len);
    free(packed);
    if (ok)
        hash_sha256(slice_of(der, der_len), out);
    return ok;
}

struct bundle {
    size_t known, unknown;
    bool *seen; /* of the charter's CAs */
};

static void
read_bundle(const struct charter *c, const char *pem, uint8_t *der, size_t der_size,
            struct bundle *b)
{
    uint8_t sha256[HASH_SIZE];

    while (next_certificate(&pem, der, der_size, sha256)) {
        bool known = false;

        for (size_t i = 0; i < c->ca_count; i++)
            if (memcmp(c->cas[i].sha256, sha256, HASH_SIZE) == 0)
                known = b->seen[i] = true;
        b->known += known ? 1 : 0;
        b->unknown += known ? 0 : 1;
    }
}

/* A certificate that the charter does not name may be the root of one that it does and that
 * callers bring along: only where there is none is a missing one surely a fault. */
static void
say_bundle(const struct judge *j, const struct bundle *b)
{
    const struct charter *c = j->s->charter;

    for (size_t i = 0; i < c->ca_count; i++)
        if (!b->seen[i])
            judge_say(j, b->unknown == 0 ? j->faults : j->warnings, "listeners.public.client_ca",
                      NULL, "\"%s\" has no \"%s\", which is a client CA of the charter",
                      j->config->public_client_ca, c->cas[i].name);
    if (b->unknown > 0)
        judge_say(j, c->ca_count == 0 ? j->faults : j->warnings, "listeners.public.client_ca", NULL,
                  "\"%s\" has %zu certificates that are no client CA of the charter",
                  j->config->public_client_ca, b->unknown);
}

static void
judge_client_cas(const struct judge *j)
{
    const struct charter *c = j->s->charter;
    struct bundle b = {.seen = NULL};
    char *pem = NULL;
    uint8_t *der = NULL;
    size_t len = 0;

    if (strcmp(j->config->public_client_auth, "none") == 0) {
        if (c->ca_count > 0)
            judge_say(j, j->warnings, "listeners.public.client_auth", NULL,
                      "is \"none\", and the charter has %zu client CAs", c->ca_count);
        return;
    }
    b.seen = calloc(c->ca_count + 1, sizeof(*b.seen));
    if (b.seen != NULL &&
        file_read(j->config->public_client_ca, PEM_FILE_MAX, &pem, &len) == ERR_OK &&
        (der = malloc(len + 1)) != NULL) {
        read_bundle(c, pem, der, len, &b);
        say_bundle(j, &b);
    }
    free(b.seen);
    free(der);
    free(pem);
}

void
judge_names(const struct judge *j)
{
    judge_issuers(j);
    judge_api_keys(j);
    judge_client_cas(j);
}
