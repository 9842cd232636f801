/* portolan explain: the decision about one request, by the code that decides. */
#include "node/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/text.h"
#include "node/args.h"
#include "node/snapshot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ROLES_MAX 32
#define LINE_SIZE 2048

enum { CONFIG, TENANT, MODEL, COUNTRY, IP, CLASS, ROLE, JSON, OPTION_COUNT };

static bool
find_origin(const struct snapshot *s, const struct args_option *o, struct decide_origin *out)
{
    struct geo_address address;
    struct geo_answer answer;

    *out = (struct decide_origin){.source = ORIGIN_SOCKET};
    if (o[COUNTRY].count > 0) {
        if (country_parse(slice_str(o[COUNTRY].values[0]), &out->country) != ERR_OK) {
            (void)fprintf(stderr, "--country: no country code: %s\n", o[COUNTRY].values[0]);
            return false;
        }
        out->registered = out->country;
        out->quality = geo_quality_row(GEO_FOUND)->name;
        return true;
    }
    if (geo_address_parse(slice_str(o[IP].values[0]), &address) != ERR_OK) {
        (void)fprintf(stderr, "--ip: no address: %s\n", o[IP].values[0]);
        return false;
    }
    geo_locate(s->geo, &address, &answer);
    out->country = answer.country;
    out->registered = answer.registered;
    out->quality = geo_quality_row(answer.quality)->name;
    out->may_assume = geo_quality_row(answer.quality)->may_assume;
    return true;
}

static void
add_model(struct text *t, const struct snapshot *s, const struct decision *d, uint32_t backend)
{
    const struct charter_backend *b = &s->charter->backends[backend];
    uint32_t served = decide_served(s->charter, &s->charter->tenants[d->tenant], d->alias, backend);

    if (served == CHARTER_NONE)
        return;
    text_add_str(t, s->charter->models[b->served[served].model].id);
    text_addf(t, " as \"%s\"", b->served[served].name);
}

static void
print_backend(const struct snapshot *s, const struct decide_facts *facts, const struct decision *d,
              uint32_t i)
{
    const struct charter_backend *b = &s->charter->backends[i];
    const char *why = decide_why_not(s->policy, facts, d, i);
    char country[3];
    char operated[3];
    char line[LINE_SIZE];
    struct text t;

    country_text(b->country, country);
    country_text(b->operator_country, operated);
    text_init(&t, line, sizeof(line));
    text_addf(&t, "%-3s %-20s %-16s %s, operator %s: ", why == NULL ? "yes" : "no", b->name,
              s->charter->regions[b->region].name, country, operated);
    if (why != NULL)
        text_add_str(&t, why);
    else
        add_model(&t, s, d, i);
    (void)printf("%.*s\n", SLICE_ARG(text_slice(&t)));
}

static void
print_text(const struct snapshot *s, const struct decide_facts *facts, const struct decision *d)
{
    const struct decide_row *row = decide_row(d->reason);
    char country[3];
    char cut[RECORD_ID_SIZE];
    uint8_t digest[HASH_SIZE];

    country_text(d->origin.country, country);
    decide_legal_digest(s->charter, &d->legal, digest);
    record_cut(digest, cut);
    (void)printf("tenant   %s, policy %s, charter version %" PRIu64 "\n",
                 s->charter->tenants[d->tenant].name, s->policy_cuts[d->tenant],
                 s->charter->version);
    (void)printf("origin   %s (%s, %s)\n", country, origin_source_name(d->origin.source),
                 d->origin.quality);
    (void)printf("ingress  %s at %s\n", s->config->node,
                 s->charter->regions[facts->ingress_region].name);
    (void)printf("model    %.*s%s%s\n", SLICE_ARG(facts->alias),
                 d->role == NULL ? "" : ", by role ", d->role == NULL ? "" : d->role);
    (void)printf("verdict  %s (%s): %s\n", d->reason == DECIDE_PERMITTED ? "permit" : "deny",
                 row->reason, row->words);
    for (size_t i = 0; i < s->charter->tenants[d->tenant].path_count; i++)
        (void)printf("opens    %s\n", s->charter->tenants[d->tenant].paths[i]);
    if (s->charter->tenants[d->tenant].stream_usage)
        (void)printf("usage    streams are asked for it, whether the caller asked or not\n");
    (void)printf("legal    %u of %zu backends, digest %s\n\n", bits_count(&d->legal),
                 s->charter->backend_count, cut);
    for (uint32_t i = 0; i < s->charter->backend_count; i++)
        print_backend(s, facts, d, i);
}

static void
add_json_member(struct text *t, const char *name, const char *value)
{
    text_addf(t, ",\"%s\":", name);
    text_add_json(t, slice_str(value));
}

static void
add_json_country(struct text *t, const char *name, uint16_t country)
{
    char code[3];

    country_text(country, code);
    add_json_member(t, name, code);
}

static void
add_json_backend(struct text *t, const struct snapshot *s, const struct decide_facts *facts,
                 const struct decision *d, uint32_t i)
{
    const struct charter_backend *b = &s->charter->backends[i];
    const char *why = decide_why_not(s->policy, facts, d, i);
    uint32_t served = CHARTER_NONE;

    if (why == NULL)
        served = decide_served(s->charter, &s->charter->tenants[d->tenant], d->alias, i);
    text_add_str(t, i == 0 ? "{\"backend\":" : ",{\"backend\":");
    text_add_json(t, slice_str(b->name));
    add_json_country(t, "country", b->country);
    text_addf(t, ",\"legal\":%s", why == NULL ? "true" : "false");
    if (served != CHARTER_NONE)
        add_json_member(t, "model", s->charter->models[b->served[served].model].id);
    add_json_country(t, "operator", b->operator_country);
    add_json_member(t, "region", s->charter->regions[b->region].name);
    if (served != CHARTER_NONE)
        add_json_member(t, "served", b->served[served].name);
    if (why != NULL)
        add_json_member(t, "why", why);
    text_add_char(t, '}');
}

/* Left out when the policy opens none. */
static void
add_json_paths(struct text *t, const struct charter_tenant *tenant)
{
    if (tenant->path_count == 0)
        return;
    text_add_str(t, ",\"passthrough\":[");
    for (size_t i = 0; i < tenant->path_count; i++) {
        if (i > 0)
            text_add_char(t, ',');
        text_add_json(t, slice_str(tenant->paths[i]));
    }
    text_add_char(t, ']');
}

static void
add_json(struct text *t, const struct snapshot *s, const struct decide_facts *facts,
         const struct decision *d)
{
    const struct charter_tenant *tenant = &s->charter->tenants[d->tenant];
    char cut[RECORD_ID_SIZE], country[3];
    uint8_t digest[HASH_SIZE];

    country_text(d->origin.country, country);
    decide_legal_digest(s->charter, &d->legal, digest);
    record_cut(digest, cut);
    text_add_str(t, "{\"backends\":[");
    for (uint32_t i = 0; i < s->charter->backend_count; i++)
        add_json_backend(t, s, facts, d, i);
    text_addf(t, "],\"charter\":%" PRIu64 ",\"ingress\":{\"node\":", s->charter->version);
    text_add_json(t, slice_str(s->config->node));
    add_json_member(t, "region", s->charter->regions[facts->ingress_region].name);
    text_addf(t, "},\"legal\":{\"count\":%u,\"digest\":\"%s\"},\"model\":", bits_count(&d->legal),
              cut);
    text_add_json(t, facts->alias);
    text_add_str(t, ",\"origin\":{\"country\":");
    text_add_json(t, slice_str(country));
    add_json_member(t, "quality", d->origin.quality);
    add_json_member(t, "source", origin_source_name(d->origin.source));
    text_add_char(t, '}');
    add_json_paths(t, tenant);
    add_json_member(t, "policy", s->policy_cuts[d->tenant]);
    add_json_member(t, "reason", decide_row(d->reason)->reason);
    if (d->role != NULL)
        add_json_member(t, "role", d->role);
    if (tenant->stream_usage)
        text_add_str(t, ",\"stream_usage\":true");
    add_json_member(t, "tenant", tenant->name);
    add_json_member(t, "verdict", d->reason == DECIDE_PERMITTED ? "permit" : "deny");
    add_json_member(t, "words", decide_row(d->reason)->words);
    text_add_char(t, '}');
}

/* JCS, as everything else that programs read, and all that the text has. */
static bool
print_json(const struct snapshot *s, const struct decide_facts *facts, const struct decision *d)
{
    size_t size = 8192 + (size_t)CHARTER_PATHS_MAX * (CHARTER_PATH_MAX + 3) +
                  s->charter->backend_count * 1024;
    char *out = malloc(size);
    struct text t;
    bool ok;

    if (out == NULL)
        return false;
    text_init(&t, out, size);
    add_json(&t, s, facts, d);
    ok = text_ok(&t);
    if (ok)
        (void)printf("%.*s\n", SLICE_ARG(text_slice(&t)));
    free(out);
    return ok;
}

/* Exit code: whether the request is permitted. */
static int
explain(const struct snapshot *s, const struct args_option *o)
{
    struct slice roles[ROLES_MAX];
    struct decide_facts facts = {.class_name = slice_str(args_text(&o[CLASS], "")),
                                 .alias = slice_str(o[MODEL].values[0]),
                                 .roles = roles,
                                 .role_count = o[ROLE].count,
                                 .ingress_region = s->own_region,
                                 .own_region = s->own_region,
                                 .now_ms = clock_wall_ms()};
    struct decision *d;
    int code = EXIT_USAGE;

    facts.tenant = charter_find_tenant(s->charter, slice_str(o[TENANT].values[0]));
    if (facts.tenant == CHARTER_NONE) {
        (void)fprintf(stderr, "--tenant: no tenant of the charter: %s\n", o[TENANT].values[0]);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < o[ROLE].count; i++)
        roles[i] = slice_str(o[ROLE].values[i]);
    d = calloc(1, sizeof(*d));
    if (d == NULL || !find_origin(s, o, &facts.origin)) {
        free(d);
        return EXIT_USAGE;
    }
    decide(s->policy, &facts, d);
    if (o[JSON].count == 0)
        print_text(s, &facts, d);
    if (o[JSON].count == 0 || print_json(s, &facts, d))
        code = d->reason == DECIDE_PERMITTED ? EXIT_GOOD : EXIT_NO;
    free(d);
    return code;
}

int
command_explain(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [CONFIG] = {.name = "--config", .is_required = true},
        [TENANT] = {.name = "--tenant", .is_required = true},
        [MODEL] = {.name = "--model", .is_required = true},
        [COUNTRY] = {.name = "--country"},
        [IP] = {.name = "--ip"},
        [CLASS] = {.name = "--class"},
        [ROLE] = {.name = "--role", .max = ROLES_MAX},
        [JSON] = {.name = "--json", .is_flag = true},
    };
    struct args a = {.usage =
                         "portolan explain --config node.jsonc --tenant T --model M "
                         "(--country DE | --ip 5.9.0.1)\n         [--class phi] [--role r ...] "
                         "[--json]",
                     .options = options,
                     .option_count = OPTION_COUNT};
    struct issues *issues;
    struct snapshot *s = NULL;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    if (options[COUNTRY].count + options[IP].count != 1) {
        (void)fprintf(stderr, "either --country or --ip is needed\nusage: %s\n", a.usage);
        return EXIT_USAGE;
    }
    issues = issues_new();
    if (issues == NULL)
        return EXIT_USAGE;
    code = EXIT_USAGE;
    if (snapshot_load(options[CONFIG].values[0], clock_wall_ms(), issues, &s) == ERR_OK)
        code = explain(s, options);
    issues_print(issues, stderr);
    snapshot_unref(&s);
    issues_free(&issues);
    return code;
}
