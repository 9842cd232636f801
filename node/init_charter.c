/* The charter of a local mesh: three tenants of a multinational and a clinic. */
#include "node/init.h"

#include "base/check.h"
#include "base/file.h"
#include "crypto/random.h"
#include "node/charter_source.h"

#include <stdio.h>
#include <stdlib.h>

#define SOURCE_SIZE (1u << 20)
#define ALIASES_MAX (INIT_BACKENDS_MAX * INIT_MODELS_MAX)

#define EU                                                                                     \
    "\"AT\", \"BE\", \"BG\", \"CY\", \"CZ\", \"DE\", \"DK\", \"EE\", \"ES\", \"FI\", \"FR\", " \
    "\"GR\", \"HR\", \"HU\",\n      \"IE\", \"IT\", \"LT\", \"LU\", \"LV\", \"MT\", \"NL\", "  \
    "\"PL\", \"PT\", \"RO\", \"SE\", \"SI\", \"SK\",\n      \"AX\", \"GF\", \"GP\", \"MF\", "  \
    "\"MQ\", \"RE\", \"YT\""

static const char groups[] =
    "  \"groups\": {\n"
    "    // The 27 member states, and EU territory with a code of its own.\n"
    "    \"@EU\": {\"countries\": [\n      " EU "],\n"
    "      \"as_of\": \"2026-01-01\", \"source\": \"Article 52 TEU, Article 355 TFEU\"},\n"
    "    \"@EEA\": {\"countries\": [\n      " EU ",\n      \"IS\", \"LI\", \"NO\"],\n"
    "      \"as_of\": \"2026-01-01\", \"source\": \"EEA Agreement, Article 126\"},\n"
    "    // Whole countries only: CA and US are adequate for some importers, which a rule that\n"
    "    // asks for countries can't tell apart.\n"
    "    \"@adequate\": {\"countries\": [\"AD\", \"AR\", \"CH\", \"FO\", \"GB\", \"GG\", \"IL\", "
    "\"IM\",\n      \"JE\", \"JP\", \"KR\", \"NZ\", \"UY\"],\n"
    "      \"as_of\": \"2026-01-01\", \"source\": \"Commission decisions under Article 45 GDPR\"}\n"
    "  },\n";

static void
add_head(struct text *t, const struct init *in)
{
    uint8_t seed[32];

    random_fill(seed, sizeof(seed));
    text_addf(t,
              "// The charter of a local mesh, written by `portolan init`. Edit it, raise the\n"
              "// version, and sign it again:\n"
              "//   portolan charter sign charter.jsonc --key charter-key.pem -o "
              "charter.dsse.json\n"
              "{\n  \"v\": 1,\n  \"mesh\": \"%s\",\n  \"version\": 1,\n  \"issued\": \"",
              in->mesh);
    text_add_time_ms(t, in->now_ms);
    text_add_str(t, "\",\n  \"renew_by\": \"");
    text_add_time_ms(t, in->now_ms + (in->until_ms - in->now_ms) / 2);
    text_add_str(t, "\", // past it, requests stay in the region of their node\n"
                    "  \"valid_until\": \"");
    text_add_time_ms(t, in->until_ms);
    text_add_str(t, "\", // past it, everything is refused\n  \"seed\": \"");
    text_add_b64url(t, slice_of(seed, sizeof(seed)));
    text_add_str(t, "\",\n\n");
    text_add_str(t, groups);
}

static void
add_node_key(struct text *t, const struct init *in, const char *use, const char *jwk)
{
    text_addf(t, "      {\"use\": \"%s\", \"not_before\": \"", use);
    text_add_time_ms(t, in->now_ms);
    text_add_str(t, "\", \"not_after\": \"");
    text_add_time_ms(t, in->until_ms);
    text_addf(t, "\",\n       \"jwk\": %s}", jwk);
}

static void
add_nodes(struct text *t, const struct init *in)
{
    text_add_str(t, "\n  \"regions\": {");
    for (size_t i = 0; i < in->region_count; i++)
        text_addf(t, "%s\n    \"%s\": {\"country\": \"%s\"}", i == 0 ? "" : ",",
                  in->regions[i].name, in->regions[i].country);
    text_add_str(t, "\n  },\n\n  \"nodes\": {");
    for (size_t i = 0; i < in->region_count; i++) {
        const struct init_region *r = &in->regions[i];

        text_addf(t,
                  "%s\n    \"%s\": {\"region\": \"%s\", \"spiffe\": "
                  "\"spiffe://%s.example/node/%s\",\n      \"address\": \"127.0.0.1:%u\", "
                  "\"keys\": [\n",
                  i == 0 ? "" : ",", r->node, r->name, in->mesh, r->node, r->port + 1u);
        add_node_key(t, in, "attest", r->attest_jwk);
        text_add_str(t, ",\n");
        add_node_key(t, in, "advert", r->advert_jwk);
        text_add_str(t, "\n    ]}");
    }
    text_add_str(t, "\n  },\n");
}

/* Every version once, in the order in which backends name them. */
static size_t
versions(const struct init *in, const struct init_model *out[ALIASES_MAX])
{
    size_t n = 0;

    for (size_t b = 0; b < in->backend_count; b++)
        for (size_t m = 0; m < in->backends[b].model_count; m++) {
            const struct init_model *model = &in->backends[b].models[m];
            size_t i = 0;

            while (i < n && strcmp(out[i]->version, model->version) != 0)
                i++;
            if (i == n)
                out[n++] = model;
            else if (out[i]->digest[0] == '\0')
                out[i] = model;
        }
    return n;
}

static void
add_models(struct text *t, const struct init *in)
{
    const struct init_model *list[ALIASES_MAX];
    size_t n = versions(in, list);

    text_add_str(t, "\n  \"models\": {");
    for (size_t i = 0; i < n; i++) {
        text_add_str(t, i == 0 ? "\n    " : ",\n    ");
        text_add_json(t, slice_str(list[i]->version));
        if (list[i]->digest[0] != '\0')
            text_addf(t, ": {\"digest\": \"sha256:%s\"}", list[i]->digest);
        else
            text_add_str(t, ": {}");
    }
    text_add_str(t, "\n  },\n");
}

static void
add_backend(struct text *t, const struct init_backend *b)
{
    struct slice access = slice_str(b->access);
    const char *gap = "";

    text_addf(t,
              "    \"%s\": {\n      \"region\": \"%s\", \"country\": \"%s\", \"storage_country\": "
              "\"%s\",\n      \"operator\": {\"name\": \"Operator %s\", \"country\": \"%s\"},\n"
              "      \"owner\": {\"name\": \"Owner %s\", \"country\": \"%s\"},\n"
              "      \"access_from\": [",
              b->name, b->region, b->country, b->country, b->operator_country, b->operator_country,
              b->owner_country, b->owner_country);
    for (; access.len > 0; gap = ", ") {
        struct slice country = slice_cut(&access, '+');

        text_addf(t, "%s\"%.*s\"", gap, SLICE_ARG(country));
    }
    if (b->spki[0] != '\0')
        text_addf(t, "],\n      \"assurance\": \"spki\", \"spki_sha256\": \"%s\",\n", b->spki);
    else
        text_add_str(t, "],\n      \"assurance\": \"network\", // plain HTTP, own region only\n");
    if (b->transfer[0] != '\0') {
        text_add_str(t, "      \"transfer\": ");
        text_add_json(t, slice_str(b->transfer));
        text_add_str(t, ",\n");
    }
    text_add_str(t, "      \"kind\": ");
    text_add_json(t, slice_str(b->kind));
    text_add_str(t, ", \"url\": ");
    text_add_json(t, slice_str(b->url));
    text_addf(t, ", \"slots\": %u,\n      \"models\": {", b->slots);
    for (size_t m = 0; m < b->model_count; m++) {
        text_add_str(t, m == 0 ? "" : ", ");
        text_add_json(t, slice_str(b->models[m].version));
        text_add_str(t, ": ");
        text_add_json(t, slice_str(b->models[m].served));
    }
    text_add_str(t, "}\n    }");
}

static void
add_callers(struct text *t, const struct init *in)
{
    text_addf(t,
              "\n  \"issuers\": {\n    \"https://idp.%s.example\": {\"audience\": \"%s\",\n"
              "      \"tenants\": [\"acme\", \"acme/de\", \"acme/fr\", \"clinic\"], "
              "\"max_lifetime_s\": 3600}\n  },\n",
              in->mesh, in->mesh);
    text_addf(t,
              "\n  \"client_cas\": {\n    \"clients\": {\"sha256\": \"%s\",\n"
              "      \"tenants\": [\"acme/de\", \"clinic\"],\n      \"identities\": [\n"
              "        {\"spiffe\": \"spiffe://%s.example/client/example\", \"tenant\": "
              "\"acme/de\", \"roles\": [\"analyst\"]},\n"
              "        {\"spiffe\": \"spiffe://%s.example/client/clinic\", \"tenant\": \"clinic\", "
              "\"roles\": []}\n      ]}\n  },\n",
              in->client_ca_sha256, in->mesh, in->mesh);
    text_add_str(t, "\n  \"api_keys\": {\n    \"" INIT_API_KEY_ID
                    "\": {\"tenant\": \"" INIT_API_KEY_TENANT
                    "\", \"subject\": \"docs-tool\", \"roles\": []}\n  },\n");
}

/* "mistral-7b@0.3" is asked for as "mistral". */
static struct slice
alias_of(const struct init_model *m)
{
    struct slice s = slice_str(m->version);
    size_t end = slice_find(s, '-') < slice_find(s, '@') ? slice_find(s, '-') : slice_find(s, '@');

    return slice_sub(s, 0, end == 0 ? s.len : end);
}

static void
add_aliases(struct text *t, const struct init *in, bool names_only)
{
    const struct init_model *list[ALIASES_MAX];
    size_t n = versions(in, list);
    size_t shown = 0;

    for (size_t i = 0; i < n; i++) {
        size_t k = 0;

        while (k < i && !slice_eq(alias_of(list[k]), alias_of(list[i])))
            k++;
        if (k < i)
            continue; /* stands with the first of its alias */
        text_add_str(t, shown++ == 0 ? "" : ", ");
        text_add_json(t, alias_of(list[i]));
        if (names_only)
            continue;
        text_add_str(t, ": [");
        for (k = i; k < n; k++) {
            if (!slice_eq(alias_of(list[k]), alias_of(list[i])))
                continue;
            text_add_str(t, k == i ? "" : ", ");
            text_add_json(t, slice_str(list[k]->version));
        }
        text_add_char(t, ']');
    }
}

static void
add_acme(struct text *t, const struct init *in)
{
    text_add_str(
        t, "\n  \"tenants\": {\n"
           "    // unknown_origin \"home\": callers on this host have no country of their own.\n"
           "    \"acme\": {\n"
           "      \"process_in\": [\"@EU\"], \"operators_from\": [\"@EU\"], \"owners_from\": "
           "[\"@EU\"],\n      \"origins\": [\"@EU\"],\n"
           "      \"home_country\": \"DE\", \"unknown_origin\": \"home\",\n      \"models\": {");
    add_aliases(t, in, false);
    text_add_str(t, "},\n      \"auth\": [\"jwt\", \"mtls\", \"mtls+jwt\", \"api_key\"], "
                    "\"regime\": \"gdpr\"\n    },\n"
                    "    \"acme/de\": {\n"
                    "      \"auth\": [\"jwt\", \"mtls\", \"mtls+jwt\"],\n"
                    "      \"roles\": {\"analyst\": [");
    add_aliases(t, in, true);
    text_add_str(t, "], \"user\": [");
    add_aliases(t, in, true);
    text_add_str(t, "]}\n    },\n"
                    "    \"acme/fr\": {\n"
                    "      \"home_country\": \"FR\", \"auth\": [\"jwt\", \"api_key\"]\n    },\n");
}

static void
add_clinic(struct text *t, const struct init *in)
{
    text_add_str(t,
                 "    // Patient data (class \"phi\") only where nobody from abroad has access.\n"
                 "    \"clinic\": {\n"
                 "      \"process_in\": [\"DE\"], \"operators_from\": [\"DE\"], "
                 "\"owners_from\": [\"DE\"],\n      \"origins\": [\"DE\"],\n"
                 "      \"home_country\": \"DE\", \"unknown_origin\": \"home\",\n"
                 "      \"models\": {");
    add_aliases(t, in, false);
    text_add_str(t, "},\n      \"classes\": {\"phi\": {\"process_in\": [\"DE\"], "
                    "\"access_from\": [\"DE\"]}},\n"
                    "      \"auth\": [\"jwt\", \"mtls\", \"mtls+jwt\"], \"regime\": \"gdpr\"\n"
                    "    }\n  }\n}\n");
}

static void
compose(struct text *t, const struct init *in)
{
    add_head(t, in);
    add_nodes(t, in);
    add_models(t, in);
    text_add_str(t, "\n  \"backends\": {\n");
    for (size_t i = 0; i < in->backend_count; i++) {
        text_add_str(t, i == 0 ? "" : ",\n");
        add_backend(t, &in->backends[i]);
    }
    text_add_str(t, "\n  },\n");
    add_callers(t, in);
    add_acme(t, in);
    add_clinic(t, in);
}

static bool
sign(const struct init *in, struct slice source)
{
    char path[INIT_PATH_MAX];
    struct issues *issues = issues_new();
    struct key *key = NULL;
    char *envelope = NULL;
    size_t len = 0;
    bool ok = false;

    if (issues != NULL && file_join(path, sizeof(path), in->dir, "charter/charter-key.pem"))
        key = charter_source_key(path);
    if (key != NULL && charter_source_sign(source, "charter.jsonc", (const struct key *const *)&key,
                                           1, issues, &envelope, &len) == ERR_OK)
        ok = init_write(in, "charter/charter.dsse.json", slice_of(envelope, len), 0644);
    if (issues != NULL)
        issues_print(issues, stderr);
    issues_free(&issues);
    key_free(&key);
    free(envelope);
    return ok;
}

bool
init_charter_write(struct init *in)
{
    char *source = malloc(SOURCE_SIZE);
    struct text t;
    bool ok;

    if (source == NULL)
        return false;
    text_init(&t, source, SOURCE_SIZE);
    compose(&t, in);
    ok = text_ok(&t) && init_write(in, "charter/charter.jsonc", text_slice(&t), 0644) &&
         sign(in, text_slice(&t));
    free(source);
    return ok;
}
