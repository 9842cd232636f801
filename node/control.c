#include "node/control.h"

#include "base/check.h"
#include "base/text.h"

#define CONTROL_MAX 1024 /* each is of a few texts of known length */

typedef void (*write_fn)(struct text *t, const struct snapshot *s, int64_t now_ms);

static void
write_charter(struct text *t, const struct snapshot *s, int64_t now_ms)
{
    text_add_str(t, "{\"digest\":\"");
    text_add_b64url(t, slice_of(s->charter->digest, HASH_SIZE));
    text_addf(t, "\",\"kind\":\"charter\",\"t\":%lld,\"v\":1,\"version\":%llu}", (long long)now_ms,
              (unsigned long long)s->charter->version);
}

static void
write_keys(struct text *t, const struct snapshot *s, int64_t now_ms)
{
    const uint8_t *api_keys = identity_keys_api_digest(s->identity_keys);
    uint8_t issuers[HASH_SIZE];

    identity_keys_issuers_digest(s->identity_keys, issuers);
    text_addf(t, "{\"advert\":\"%s\"", key_thumbprint(s->advert_key));
    if (api_keys != NULL) {
        text_add_str(t, ",\"api_keys\":\"");
        text_add_b64url(t, slice_of(api_keys, HASH_SIZE));
        text_add_char(t, '"');
    }
    text_addf(t, ",\"attest\":\"%s\",\"jwks\":\"", key_thumbprint(s->attest_key));
    text_add_b64url(t, slice_of(issuers, HASH_SIZE));
    text_addf(t, "\",\"kind\":\"keys\",\"t\":%lld,\"v\":1}", (long long)now_ms);
}

static void
write_geoip(struct text *t, const struct snapshot *s, int64_t now_ms)
{
    text_addf(t, "{\"built\":%llu,\"digest\":\"", (unsigned long long)geo_db_build_epoch(s->geo));
    text_add_b64url(t, slice_of(geo_db_digest(s->geo), HASH_SIZE));
    text_addf(t, "\",\"kind\":\"geoip\",\"t\":%lld,\"type\":", (long long)now_ms);
    text_add_json(t, slice_str(geo_db_type(s->geo)));
    text_add_str(t, ",\"v\":1}");
}

/* A charter on record without the keys and the database beside it would be a law that never was
 * in force: all or none. */
enum err
control_snapshot(struct ledger *l, const struct snapshot *s, int64_t now_ms)
{
    static const write_fn write[] = {write_charter, write_keys, write_geoip};
    char json[ARRAY_COUNT(write)][CONTROL_MAX];
    struct slice texts[ARRAY_COUNT(write)];

    for (size_t i = 0; i < ARRAY_COUNT(write); i++) {
        struct text t;

        text_init(&t, json[i], CONTROL_MAX);
        write[i](&t, s, now_ms);
        if (!text_ok(&t))
            return ERR_TOOBIG;
        texts[i] = text_slice(&t);
    }
    return ledger_control_together(l, texts, ARRAY_COUNT(write));
}

/* Rows in byte order of their code: JCS. */
static void
sorted_codes(enum refusal out[REFUSAL_COUNT])
{
    for (size_t i = 0; i < REFUSAL_COUNT; i++) {
        size_t at = i;

        for (; at > 0 && slice_cmp(slice_str(refusal_row(out[at - 1])->code),
                                   slice_str(refusal_row((enum refusal)i)->code)) > 0;
             at--)
            out[at] = out[at - 1];
        out[at] = (enum refusal)i;
    }
}

void
control_refusals(struct ledger *l, struct metrics *m, int64_t from_ms, int64_t now_ms)
{
    enum refusal order[REFUSAL_COUNT];
    uint64_t taken[REFUSAL_COUNT];
    char json[2048];
    bool any = false;
    struct text t;

    if (!ledger_healthy(l))
        return;
    sorted_codes(order);
    text_init(&t, json, sizeof(json));
    text_add_str(&t, "{\"counts\":{");
    for (size_t i = 0; i < REFUSAL_COUNT; i++) {
        taken[i] = atomic_exchange(&m->unrecorded[order[i]], 0);
        if (taken[i] == 0)
            continue;
        text_addf(&t, "%s\"%s\":%llu", any ? "," : "", refusal_row(order[i])->code,
                  (unsigned long long)taken[i]);
        any = true;
    }
    text_addf(&t, "},\"from\":%lld,\"kind\":\"refusals\",\"t\":%lld,\"to\":%lld,\"v\":1}",
              (long long)from_ms, (long long)now_ms, (long long)now_ms);
    if (!any || (text_ok(&t) && ledger_control(l, text_slice(&t), false) == ERR_OK))
        return;
    for (size_t i = 0; i < REFUSAL_COUNT; i++)
        (void)atomic_fetch_add(&m->unrecorded[order[i]], taken[i]);
}
