/* What a tenant's callers may use and on which terms: aliases, roles, evidence, auth,
 * limits and the rest of the members that are no places. */
#include "residency/charter_priv.h"

#include "base/check.h"

#include <stdlib.h>

#define LIMIT_MAX 1000000000
#define RETENTION_DAYS_MAX 36500

static const char *const evidence_words[] = {"declared", "name", "digest", NULL};
static const char *const capture_words[] = {"none", "commitment", NULL};
static const char *const regime_words[] = {"gdpr", "uk-gdpr", "ch-fadp", "hipaa", NULL};
static const char *const auth_words[] = {"mtls", "jwt", "mtls+jwt", "api_key", NULL};
static const char *const revoke_words[] = {"finish", "cut", NULL};

const char *
charter_evidence_name(enum charter_evidence e)
{
    ASSERT(e < EVIDENCE_COUNT);
    return evidence_words[e];
}

const char *
charter_capture_name(enum charter_capture c)
{
    ASSERT(c < CAPTURE_COUNT);
    return capture_words[c];
}

const char *
charter_regime_name(enum charter_regime r)
{
    ASSERT(r < REGIME_COUNT);
    return regime_words[r];
}

const char *
charter_auth_name(enum charter_auth bit)
{
    for (unsigned i = 0; auth_words[i] != NULL; i++)
        if ((unsigned)bit == 1u << i)
            return auth_words[i];
    return "";
}

/* ---- Aliases ---------------------------------------------------------------------- */

static bool
pins(const struct charter_alias *a, uint32_t model)
{
    for (size_t i = 0; i < a->pinned_count; i++)
        if (a->pinned[i] == model)
            return true;
    return false;
}

static void
read_alias(const struct charter *c, const struct json_reader *r, const struct charter_tenant *t,
           const struct charter_tenant *parent, struct charter_alias *out)
{
    uint32_t above = parent == NULL ? CHARTER_NONE : charter_find_alias(parent, slice_str(r->key));
    size_t n = charter_list_count(r, CHARTER_PINNED_MAX);
    const struct json *v = n == 0 ? NULL : json_first(r->v);

    out->name = r->key;
    if (parent != NULL && above == CHARTER_NONE) {
        json_reader_fault(r,
                          "tenant \"%s\" may only narrow: models has \"%s\", which its parent "
                          "\"%s\" does not",
                          t->name, r->key, parent->name);
        return;
    }
    if (n == 0)
        json_reader_fault(r, "must be a list of at least one model version");
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(r, v, i);
        struct slice s;
        uint32_t model;

        if (!json_reader_string(&item, &s))
            continue;
        model = charter_find_model(c, s);
        if (model == CHARTER_NONE)
            json_reader_fault(&item, "\"%.*s\" is no model of this charter", SLICE_ARG(s));
        else if (pins(out, model))
            json_reader_fault(&item, "\"%.*s\" stands here twice", SLICE_ARG(s));
        else if (parent != NULL && !pins(&parent->aliases[above], model))
            json_reader_fault(&item,
                              "tenant \"%s\" may only narrow: models.%s has \"%.*s\", which its "
                              "parent \"%s\" does not",
                              t->name, r->key, SLICE_ARG(s), parent->name);
        else
            out->pinned[out->pinned_count++] = model;
    }
}

static void
load_models(struct charter *c, const struct json_reader *root, struct charter_tenant *t,
            const struct charter_tenant *parent)
{
    struct json_reader r = json_reader_get(root, "models");
    struct charter_alias *aliases;
    struct charter_section s;

    if (r.v == NULL && parent == NULL)
        json_reader_fault(&r, "missing: a top-level tenant must state it");
    if (!charter_section_read(c, &r, false, CHARTER_NAME_TEXT, CHARTER_ALIASES_MAX, &s))
        return;
    aliases = charter_alloc(c, s.count, sizeof(*aliases));
    if (aliases == NULL)
        return;
    for (size_t i = 0; i < s.count; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);

        read_alias(c, &member, t, parent, &aliases[i]);
    }
    t->aliases = aliases;
    t->alias_count = s.count;
}

/* ---- Roles ------------------------------------------------------------------------ */

static int
index_cmp(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

static bool
opens(const struct charter_tenant *t, const struct charter_role *role, const char *alias)
{
    for (size_t i = 0; i < role->alias_count; i++)
        if (strcmp(t->aliases[role->aliases[i]].name, alias) == 0)
            return true;
    return false;
}

/* The parent's roles over the tenant's own, shorter list of aliases. */
static void
inherit_roles(struct charter *c, struct charter_tenant *t, const struct charter_tenant *parent)
{
    struct charter_role *roles;

    if (parent == NULL || !parent->has_roles || t->aliases == parent->aliases)
        return;
    roles = charter_alloc(c, parent->role_count, sizeof(*roles));
    for (size_t i = 0; i < parent->role_count && roles != NULL; i++) {
        roles[i].name = parent->roles[i].name;
        roles[i].aliases = charter_alloc(c, t->alias_count, sizeof(*roles[i].aliases));
        for (uint32_t a = 0; a < t->alias_count && roles[i].aliases != NULL; a++)
            if (opens(parent, &parent->roles[i], t->aliases[a].name))
                roles[i].aliases[roles[i].alias_count++] = a;
    }
    t->roles = roles;
    t->role_count = roles == NULL ? 0 : parent->role_count;
}

static void
read_role(struct charter *c, const struct json_reader *r, const struct charter_tenant *t,
          const struct charter_tenant *parent, struct charter_role *out)
{
    size_t n = charter_list_count(r, CHARTER_ALIASES_MAX);
    const struct json *v = n == 0 ? NULL : json_first(r->v);
    const struct charter_role *above = NULL;

    out->name = r->key;
    out->aliases = charter_alloc(c, n, sizeof(*out->aliases));
    if (out->aliases == NULL)
        return;
    if (parent != NULL && parent->has_roles) {
        uint32_t i = charter_find_role(parent, slice_str(r->key));

        above = i == CHARTER_NONE ? NULL : &parent->roles[i];
        if (above == NULL)
            json_reader_fault(r,
                              "tenant \"%s\" may only narrow: roles has \"%s\", which its "
                              "parent \"%s\" does not",
                              t->name, r->key, parent->name);
    }
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(r, v, i);
        struct slice s;
        uint32_t alias;

        if (!json_reader_string(&item, &s))
            continue;
        alias = charter_find_alias(t, s);
        if (alias == CHARTER_NONE)
            json_reader_fault(&item, "\"%.*s\" is no model of tenant \"%s\"", SLICE_ARG(s),
                              t->name);
        else if (above != NULL && !opens(parent, above, t->aliases[alias].name))
            json_reader_fault(&item,
                              "tenant \"%s\" may only narrow: roles.%s has \"%.*s\", which its "
                              "parent \"%s\" does not",
                              t->name, r->key, SLICE_ARG(s), parent->name);
        else
            out->aliases[out->alias_count++] = alias;
    }
    if (out->alias_count > 1)
        qsort(out->aliases, out->alias_count, sizeof(*out->aliases), index_cmp);
}

void
charter_load_aliases(struct charter *c, const struct json_reader *r, struct charter_tenant *t,
                     const struct charter_tenant *parent)
{
    struct json_reader roles = json_reader_get(r, "roles");
    struct charter_section s;

    load_models(c, r, t, parent);
    if (!charter_section_read(c, &roles, false, CHARTER_NAME_ROLE, CHARTER_ROLES_MAX, &s)) {
        inherit_roles(c, t, parent);
        return;
    }
    t->has_roles = true;
    t->roles = charter_alloc(c, s.count, sizeof(*t->roles));
    t->role_count = t->roles == NULL ? 0 : s.count;
    for (size_t i = 0; i < t->role_count; i++) {
        struct json_reader member = json_reader_member(&roles, s.values[i]);

        read_role(c, &member, t, parent, &t->roles[i]);
    }
}

/* ---- Terms ------------------------------------------------------------------------ */

static void
fault_wider(const struct json_reader *r, const struct charter_tenant *t,
            const struct charter_tenant *parent, const char *item)
{
    json_reader_fault(r, "tenant \"%s\" may only narrow: %s \"%s\" is wider than its parent \"%s\"",
                      t->name, r->key, item, parent->name);
}

/* A word of an ordered list, where a child may only go up. */
static void
load_rising(const struct json_reader *root, const char *key, const char *const *words,
            const struct charter_tenant *t, const struct charter_tenant *parent, unsigned *at)
{
    struct json_reader r = json_reader_get(root, key);
    unsigned word = *at;

    if (!charter_read_word(&r, words, &word))
        return;
    if (parent != NULL && word < *at)
        fault_wider(&r, t, parent, words[word]);
    *at = word;
}

static void
load_auth(const struct json_reader *root, struct charter_tenant *t,
          const struct charter_tenant *parent)
{
    struct json_reader r = json_reader_get(root, "auth");
    size_t n = charter_list_count(&r, 4);
    const struct json *v = n == 0 ? NULL : json_first(r.v);
    unsigned allowed = parent == NULL ? ~0u : parent->auth;
    unsigned stated = 0;

    if (r.v == NULL && parent != NULL)
        return;
    /* Both together prove at least what each of them alone does. */
    if ((allowed & (AUTH_MTLS | AUTH_JWT)) != 0)
        allowed |= AUTH_MTLS_JWT;
    if (n == 0)
        json_reader_fault(&r, "must be a list of at least one way to authenticate");
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(&r, v, i);
        unsigned word = 0;

        if (!charter_read_word(&item, auth_words, &word))
            continue;
        if (parent != NULL && (allowed & (1u << word)) == 0)
            json_reader_fault(&item,
                              "tenant \"%s\" may only narrow: auth has \"%s\", which its parent "
                              "\"%s\" does not",
                              t->name, auth_words[word], parent->name);
        stated |= 1u << word;
    }
    t->auth = stated;
}

static void
load_limit(const struct json_reader *limits, const char *key, const struct charter_tenant *t,
           const struct charter_tenant *parent, uint32_t *at)
{
    struct json_reader r = json_reader_get(limits, key);
    int64_t n = *at;

    if (r.v == NULL || !json_reader_int(&r, 1, LIMIT_MAX, &n))
        return;
    if (parent != NULL && *at != 0 && n > (int64_t)*at)
        json_reader_fault(&r,
                          "tenant \"%s\" may only narrow: limits.%s %lld is more than %u of its "
                          "parent \"%s\"",
                          t->name, key, (long long)n, *at, parent->name);
    *at = (uint32_t)n;
}

static bool
host_ok(struct slice s)
{
    if (s.len == 0 || s.len > 253)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] != '.' && s.p[i] != '-' && s.p[i] != ':' && !(s.p[i] >= '0' && s.p[i] <= '9') &&
            !(s.p[i] >= 'a' && s.p[i] <= 'z'))
            return false;
    return true;
}

void
charter_load_names(struct charter *c, const struct json_reader *root,
                   const struct charter_names_rule *rule, const char *tenant,
                   const struct charter_names *parent, struct charter_names *out)
{
    struct json_reader r = json_reader_get(root, rule->key);
    size_t n = charter_list_count(&r, rule->count_max);
    const struct json *v = n == 0 ? NULL : json_first(r.v);
    struct charter_names list = {.names = charter_alloc(c, n, sizeof(*list.names))};

    if (r.v == NULL || list.names == NULL)
        return;
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(&r, v, i);
        struct slice s;

        if (!json_reader_string(&item, &s))
            continue;
        if (!rule->ok(s)) {
            json_reader_fault(&item, "must be %s", rule->words);
            continue;
        }
        list.names[list.count] = charter_copy(c, s);
        if (list.names[list.count] == NULL)
            return;
        if (parent != NULL && !charter_has_name(parent, s))
            json_reader_fault(&item,
                              "tenant \"%s\" may only narrow: %s has \"%s\", which its "
                              "parent \"%s\" does not",
                              tenant, rule->key, list.names[list.count], parent->tenant);
        list.count++;
    }
    charter_sort(list.names, list.count, sizeof(*list.names));
    *out = list;
}

bool
charter_has_name(const struct charter_names *list, struct slice name)
{
    for (size_t i = 0; i < list->count; i++)
        if (slice_is(name, list->names[i]))
            return true;
    return false;
}

static void
load_hosts(struct charter *c, const struct json_reader *root, struct charter_tenant *t,
           const struct charter_tenant *parent)
{
    static const struct charter_names_rule rule = {
        .key = "remote_hosts",
        .count_max = CHARTER_REMOTE_HOSTS_MAX,
        .ok = host_ok,
        .words = "a host name in lower case, without port",
    };
    struct charter_names now = {t->remote_hosts, t->remote_host_count, t->name};
    struct charter_names above = {0};

    if (parent != NULL)
        above =
            (struct charter_names){parent->remote_hosts, parent->remote_host_count, parent->name};
    charter_load_names(c, root, &rule, t->name, parent == NULL ? NULL : &above, &now);
    t->remote_hosts = now.names;
    t->remote_host_count = now.count;
}

/* The transfer rule belongs to gdpr, so a child can't leave it. */
static void
load_regime(const struct json_reader *root, struct charter_tenant *t,
            const struct charter_tenant *parent)
{
    struct json_reader r = json_reader_get(root, "regime");
    unsigned word = (unsigned)t->regime;

    if (!charter_read_word(&r, regime_words, &word))
        return;
    if (parent != NULL && parent->regime == REGIME_GDPR && word != REGIME_GDPR)
        fault_wider(&r, t, parent, regime_words[word]);
    t->regime = (enum charter_regime)word;
}

static void
load_retention(const struct json_reader *root, struct charter_tenant *t,
               const struct charter_tenant *parent)
{
    struct json_reader r = json_reader_get(root, "retention_days");

    if (r.v == NULL || !json_reader_int(&r, 1, RETENTION_DAYS_MAX, &t->retention_days))
        return;
    if (parent != NULL && t->retention_days > parent->retention_days)
        json_reader_fault(&r,
                          "tenant \"%s\" may only narrow: retention_days %lld is more than %lld "
                          "of its parent \"%s\"",
                          t->name, (long long)t->retention_days, (long long)parent->retention_days,
                          parent->name);
}

/* What is counted is evidence: a child may count more, never less. */
static void
load_stream_usage(const struct json_reader *root, struct charter_tenant *t,
                  const struct charter_tenant *parent)
{
    struct json_reader r = json_reader_get(root, "stream_usage");

    if (!json_reader_opt_bool(&r, &t->stream_usage))
        return;
    if (parent != NULL && parent->stream_usage && !t->stream_usage)
        fault_wider(&r, t, parent, "false");
}

/* Commitments tie a body to its attestation: a peer checks them before it serves a forwarded
 * request. To leave them out is a promise that this version can't keep. */
static void
load_capture(const struct json_reader *root, struct charter_tenant *t,
             const struct charter_tenant *parent)
{
    struct json_reader r = json_reader_get(root, "capture");
    unsigned capture = (unsigned)t->capture;

    load_rising(root, "capture", capture_words, t, parent, &capture); /* less would prove less */
    t->capture = (enum charter_capture)capture;
    if (parent == NULL && t->capture == CAPTURE_NONE)
        json_reader_fault(&r, "capture \"none\" can't be had yet: requests are committed to");
}

void
charter_load_terms(struct charter *c, const struct json_reader *r, struct charter_tenant *t,
                   const struct charter_tenant *parent)
{
    static const char *const limit_keys[] = {"concurrent", "requests_per_minute", NULL};
    struct json_reader limits = json_reader_get(r, "limits");
    struct json_reader rewrite = json_reader_get(r, "rewrite_alias");
    unsigned evidence = (unsigned)t->evidence;
    unsigned revoke = t->cut_on_revoke ? 1 : 0;

    load_rising(r, "evidence", evidence_words, t, parent, &evidence);
    load_capture(r, t, parent);
    load_rising(r, "on_revoke", revoke_words, t, parent, &revoke);
    t->evidence = (enum charter_evidence)evidence;
    t->cut_on_revoke = revoke == 1;
    load_auth(r, t, parent);
    load_regime(r, t, parent);
    load_retention(r, t, parent);
    charter_load_paths(c, r, t, parent);
    load_hosts(c, r, t, parent);
    load_stream_usage(r, t, parent);
    (void)json_reader_opt_bool(&rewrite, &t->rewrite_alias);
    if (limits.v != NULL && json_reader_keys(&limits, limit_keys)) {
        load_limit(&limits, "concurrent", t, parent, &t->limit_concurrent);
        load_limit(&limits, "requests_per_minute", t, parent, &t->limit_per_minute);
    }
}
