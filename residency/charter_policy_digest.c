/* The digest of one tenant's effective policy: SHA-256 over its RFC 8785 form
 * (docs/formats.md section 2). What does not apply (home_country, roles, a limit) is left
 * out; a region excluded by name stands in `regions` with its "!". */
#include "residency/charter_priv.h"

#include "base/check.h"
#include "base/text.h"

#define FLUSH_AT 2048 /* no single item is longer than what stays free */

struct out {
    struct hash hash;
    struct text text;
    uint8_t bytes[4096];
    bool first; /* no comma before the next member or item */
};

static void
flush(struct out *o)
{
    ASSERT(text_ok(&o->text));
    hash_add(&o->hash, text_slice(&o->text));
    text_init(&o->text, o->bytes, sizeof(o->bytes));
}

static void
separate(struct out *o)
{
    if (o->text.used > FLUSH_AT)
        flush(o);
    if (!o->first)
        text_add_char(&o->text, ',');
    o->first = false;
}

static void
put_open(struct out *o, char bracket)
{
    text_add_char(&o->text, bracket);
    o->first = true;
}

static void
put_close(struct out *o, char bracket)
{
    text_add_char(&o->text, bracket);
    o->first = false;
}

static void
put_key(struct out *o, const char *key)
{
    separate(o);
    text_add_json(&o->text, slice_str(key));
    text_add_char(&o->text, ':');
}

static void
put_item(struct out *o, const char *value)
{
    separate(o);
    text_add_json(&o->text, slice_str(value));
}

static void
put_word(struct out *o, const char *key, const char *value)
{
    put_key(o, key);
    text_add_json(&o->text, slice_str(value));
}

static void
put_countries(struct out *o, const char *key, const struct country_set *set)
{
    put_key(o, key);
    put_open(o, '[');
    for (uint16_t i = country_set_next(set, 0); i != COUNTRY_NONE;
         i = country_set_next(set, i + 1u)) {
        char code[3];

        country_text(i, code);
        put_item(o, code);
    }
    put_close(o, ']');
}

static void
put_regions(struct out *o, const struct charter *c, const uint64_t *words, const char *prefix)
{
    char name[CHARTER_NAME_MAX + 2];

    for (uint32_t i = 0; i < c->region_count; i++) {
        if (!charter_region_bit(words, i))
            continue;
        (void)text_format(name, sizeof(name), "%s%s", prefix, c->regions[i].name);
        put_item(o, name);
    }
}

static void
put_places(struct out *o, const struct charter *c, const struct charter_places *p)
{
    put_key(o, "process_in");
    put_open(o, '{');
    put_countries(o, "countries", &p->countries);
    put_key(o, "regions");
    put_open(o, '[');
    put_regions(o, c, p->not_regions, "!"); /* "!" sorts before every name */
    put_regions(o, c, p->regions, "");
    put_close(o, ']');
    put_close(o, '}');
}

static void
put_by_origin(struct out *o, const struct charter *c, const struct charter_tenant *t)
{
    put_key(o, "by_origin");
    put_open(o, '{');
    for (size_t i = 0; i < t->by_origin_count; i++) {
        char code[3];

        country_text(t->by_origin[i].country, code);
        put_key(o, code);
        put_open(o, '{');
        put_places(o, c, &t->by_origin[i].process_in);
        put_close(o, '}');
    }
    put_close(o, '}');
}

static void
put_classes(struct out *o, const struct charter *c, const struct charter_tenant *t)
{
    put_key(o, "classes");
    put_open(o, '{');
    for (size_t i = 1; i < t->class_count; i++) {
        put_key(o, t->classes[i].name);
        put_open(o, '{');
        put_countries(o, "access_from", &t->classes[i].access_from);
        put_countries(o, "operators_from", &t->classes[i].operators_from);
        put_countries(o, "owners_from", &t->classes[i].owners_from);
        put_places(o, c, &t->classes[i].process_in);
        put_close(o, '}');
    }
    put_close(o, '}');
}

static void
put_auth(struct out *o, const struct charter_tenant *t)
{
    static const enum charter_auth sorted[] = {AUTH_API_KEY, AUTH_JWT, AUTH_MTLS, AUTH_MTLS_JWT};

    put_key(o, "auth");
    put_open(o, '[');
    for (size_t i = 0; i < ARRAY_COUNT(sorted); i++)
        if ((t->auth & (unsigned)sorted[i]) != 0)
            put_item(o, charter_auth_name(sorted[i]));
    put_close(o, ']');
}

static void
put_limits(struct out *o, const struct charter_tenant *t)
{
    put_key(o, "limits");
    put_open(o, '{');
    if (t->limit_concurrent != 0) {
        put_key(o, "concurrent");
        text_add_u64(&o->text, t->limit_concurrent);
    }
    if (t->limit_per_minute != 0) {
        put_key(o, "requests_per_minute");
        text_add_u64(&o->text, t->limit_per_minute);
    }
    put_close(o, '}');
}

static void
put_models(struct out *o, const struct charter *c, const struct charter_tenant *t)
{
    put_key(o, "models");
    put_open(o, '{');
    for (size_t i = 0; i < t->alias_count; i++) {
        const struct charter_alias *a = &t->aliases[i];

        put_key(o, a->name);
        put_open(o, '[');
        for (size_t k = 0; k < a->pinned_count; k++)
            put_item(o, c->models[a->pinned[k]].id);
        put_close(o, ']');
    }
    put_close(o, '}');
}

static void
put_roles(struct out *o, const struct charter_tenant *t)
{
    if (!t->has_roles)
        return;
    put_key(o, "roles");
    put_open(o, '{');
    for (size_t i = 0; i < t->role_count; i++) {
        put_key(o, t->roles[i].name);
        put_open(o, '[');
        for (size_t k = 0; k < t->roles[i].alias_count; k++)
            put_item(o, t->aliases[t->roles[i].aliases[k]].name);
        put_close(o, ']');
    }
    put_close(o, '}');
}

static void
put_hosts(struct out *o, const struct charter_tenant *t)
{
    put_key(o, "remote_hosts");
    put_open(o, '[');
    for (size_t i = 0; i < t->remote_host_count; i++)
        put_item(o, t->remote_hosts[i]);
    put_close(o, ']');
}

/* Left out when empty: the digest of a policy without it is as it was before it existed. */
static void
put_paths(struct out *o, const struct charter_tenant *t)
{
    if (t->path_count == 0)
        return;
    put_key(o, "passthrough");
    put_open(o, '[');
    for (size_t i = 0; i < t->path_count; i++)
        put_item(o, t->paths[i]);
    put_close(o, ']');
}

/* Left out when false, for the same reason. */
static void
put_stream_usage(struct out *o, const struct charter_tenant *t)
{
    if (!t->stream_usage)
        return;
    put_key(o, "stream_usage");
    text_add_str(&o->text, "true");
}

static void
put_ingress(struct out *o, const struct charter *c, const struct charter_tenant *t)
{
    put_key(o, "ingress_in");
    put_open(o, '[');
    put_regions(o, c, t->ingress_in, "");
    put_close(o, ']');
}

void
charter_policy_digest(const struct charter *c, struct charter_tenant *t)
{
    const struct charter_class *base = &t->classes[0];
    struct out o = {.first = true};
    char home[3];

    hash_init(&o.hash);
    text_init(&o.text, o.bytes, sizeof(o.bytes));
    put_open(&o, '{');
    put_countries(&o, "access_from", &base->access_from);
    put_auth(&o, t);
    put_by_origin(&o, c, t);
    put_word(&o, "capture", charter_capture_name(t->capture));
    put_classes(&o, c, t);
    put_word(&o, "evidence", charter_evidence_name(t->evidence));
    country_text(t->home_country, home);
    if (t->home_country != COUNTRY_NONE)
        put_word(&o, "home_country", home);
    put_ingress(&o, c, t);
    put_limits(&o, t);
    put_models(&o, c, t);
    put_word(&o, "on_revoke", t->cut_on_revoke ? "cut" : "finish");
    put_countries(&o, "operators_from", &base->operators_from);
    put_countries(&o, "origins", &t->origins);
    put_countries(&o, "owners_from", &base->owners_from);
    put_paths(&o, t);
    put_places(&o, c, &base->process_in);
    put_word(&o, "regime", charter_regime_name(t->regime));
    put_hosts(&o, t);
    put_key(&o, "retention_days");
    text_add_i64(&o.text, t->retention_days);
    put_key(&o, "rewrite_alias");
    text_add_str(&o.text, t->rewrite_alias ? "true" : "false");
    put_roles(&o, t);
    put_stream_usage(&o, t);
    put_word(&o, "tenant", t->name);
    put_word(&o, "unknown_origin", t->unknown_is_home ? "home" : "deny");
    put_close(&o, '}');
    flush(&o);
    hash_final(&o.hash, t->digest);
}
