/* The backends of a charter: where each stands and who can compel whom. */
#include "residency/charter_priv.h"

#include "base/check.h"
#include "base/text.h"

#define SLOTS_MAX 65536
#define PATH_PREFIX_MAX 128

static const char *const assurance_words[] = {"network", "ca", "spki", NULL};
static const char *const kind_words[] = {"openai", "vllm", "ollama", "llamacpp", NULL};

const char *
charter_assurance_name(enum charter_assurance a)
{
    ASSERT(a < ASSURANCE_COUNT);
    return assurance_words[a];
}

const char *
charter_kind_name(enum charter_kind k)
{
    ASSERT(k < KIND_COUNT);
    return kind_words[k];
}

/* {"name","country"}; either may be missing, and then satisfies no rule. */
static void
read_party(struct charter *c, const struct json_reader *r, const char **name, uint16_t *country)
{
    static const char *const keys[] = {"name", "country", NULL};
    struct json_reader at_country = json_reader_get(r, "country");
    struct json_reader at_name = json_reader_get(r, "name");
    struct slice s = SLICE_NONE;

    if (r->v == NULL || !json_reader_keys(r, keys))
        return;
    (void)charter_read_country(&at_country, country);
    if (!json_reader_opt_string(&at_name, &s))
        return;
    if (s.len > CHARTER_MODEL_MAX)
        json_reader_fault(&at_name, "is longer than %d bytes", CHARTER_MODEL_MAX);
    else if (s.len > 0)
        *name = charter_copy(c, s);
}

static void
read_facts(struct charter *c, const struct json_reader *r, struct charter_backend *b)
{
    struct json_reader country = json_reader_get(r, "country");
    struct json_reader storage = json_reader_get(r, "storage_country");
    struct json_reader operated_by = json_reader_get(r, "operator");
    struct json_reader owner = json_reader_get(r, "owner");
    struct json_reader access = json_reader_get(r, "access_from");
    struct json_reader region = json_reader_get(r, "region");

    b->region = charter_read_region(c, &region);
    (void)charter_read_country(&country, &b->country);
    (void)charter_read_country(&storage, &b->storage_country);
    read_party(c, &operated_by, &b->operator_name, &b->operator_country);
    read_party(c, &owner, &b->owner_name, &b->owner_country);
    if (access.v == NULL)
        return;
    b->has_access_from = true;
    charter_read_countries(&access, &b->access_from);
}

static void
read_assurance(struct charter *c, const struct json_reader *r, struct charter_backend *b)
{
    struct json_reader at = json_reader_get(r, "assurance");
    struct json_reader spki = json_reader_get(r, "spki_sha256");
    struct json_reader ca = json_reader_get(r, "ca");
    unsigned word = ASSURANCE_NETWORK;

    if (at.v == NULL)
        json_reader_fault(&at, "missing");
    if (!charter_read_word(&at, assurance_words, &word))
        return;
    b->assurance = (enum charter_assurance)word;
    if (b->assurance == ASSURANCE_SPKI)
        (void)charter_read_hex(&spki, b->spki_sha256);
    else if (spki.v != NULL)
        json_reader_fault(&spki, "belongs to assurance \"spki\" only");
    if (b->assurance == ASSURANCE_CA)
        b->ca = charter_read_text(c, r, "ca", CHARTER_NAME_PLAIN, NULL);
    else if (ca.v != NULL)
        json_reader_fault(&ca, "belongs to assurance \"ca\" only");
}

static bool
path_ok(struct slice path)
{
    if (path.len == 0)
        return true;
    if (path.len > PATH_PREFIX_MAX || path.p[0] != '/' || path.p[path.len - 1] == '/')
        return false;
    for (size_t i = 0; i < path.len; i++)
        if (path.p[i] < 0x21 || path.p[i] > 0x7e || strchr("?#%\\\"", path.p[i]) != NULL)
            return false;
    return true;
}

/* http(s)://host[:port][/prefix] */
static bool
parse_url(struct slice url, bool *tls, struct slice *host, uint16_t *port, struct slice *path)
{
    const struct slice https = SLICE_LIT("https://");
    const struct slice http = SLICE_LIT("http://");
    char address[320];
    struct slice authority;
    struct text t;
    size_t slash;
    bool v6, has_port;

    *tls = slice_starts(url, https);
    if (!*tls && !slice_starts(url, http))
        return false;
    url = slice_sub(url, *tls ? https.len : http.len, url.len);
    slash = slice_find(url, '/');
    authority = slice_sub(url, 0, slash);
    *path = slice_sub(url, slash, url.len);
    v6 = authority.len > 0 && authority.p[0] == '[';
    has_port =
        v6 ? authority.p[authority.len - 1] != ']' : slice_find(authority, ':') < authority.len;
    text_init(&t, address, sizeof(address));
    text_add(&t, authority);
    if (!has_port)
        text_add_str(&t, *tls ? ":443" : ":80");
    if (!text_ok(&t) || !charter_parse_address(text_slice(&t), host, port))
        return false;
    *host = slice_sub(authority, v6 ? 1 : 0, host->len); /* not into the buffer here */
    return path_ok(*path);
}

static void
read_url(struct charter *c, const struct json_reader *r, struct charter_backend *b)
{
    struct json_reader at = json_reader_get(r, "url");
    struct slice url, host, path;

    if (!json_reader_string(&at, &url))
        return;
    if (!parse_url(url, &b->tls, &host, &b->port, &path)) {
        json_reader_fault(&at, "must be http(s)://host[:port] with at most a path prefix");
        return;
    }
    b->host = charter_copy(c, host);
    b->path_prefix = charter_copy(c, path);
    if (b->tls && b->assurance == ASSURANCE_NETWORK)
        json_reader_fault(&at, "assurance \"network\" means plain HTTP: say spki or ca");
    if (!b->tls && b->assurance != ASSURANCE_NETWORK)
        json_reader_fault(&at, "assurance \"%s\" needs https", assurance_words[b->assurance]);
}

static void
read_transfer(struct charter *c, const struct json_reader *r, struct charter_backend *b)
{
    struct json_reader at = json_reader_get(r, "transfer");
    struct slice s = SLICE_NONE;

    if (!json_reader_opt_string(&at, &s) || at.v == NULL)
        return;
    if (slice_is(s, "none") ||
        (slice_starts(s, SLICE_LIT("adequacy:")) && s.len > 9 && s.len <= CHARTER_MODEL_MAX) ||
        (slice_starts(s, SLICE_LIT("scc:")) && s.len > 4 && s.len <= CHARTER_MODEL_MAX))
        b->transfer = charter_copy(c, s);
    else
        json_reader_fault(&at, "must be none, adequacy:<decision> or scc:<reference>");
}

static void
read_served(struct charter *c, const struct json_reader *r, struct charter_backend *b)
{
    struct json_reader models = json_reader_get(r, "models");
    size_t n;
    const struct json *v;

    if (models.v == NULL || json_type_of(models.v) != JSON_OBJECT) {
        json_reader_fault(&models, "must be an object of model versions and served names");
        return;
    }
    n = json_count(models.v);
    if (n > CHARTER_SERVED_MAX) {
        json_reader_fault(&models, "holds %zu models, at most %d are allowed", n,
                          CHARTER_SERVED_MAX);
        return;
    }
    b->served = charter_alloc(c, n, sizeof(*b->served));
    if (b->served == NULL)
        return;
    v = json_first(models.v);
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader member = json_reader_member(&models, v);

        b->served[i].model = charter_find_model(c, slice_str(json_key(v)));
        if (b->served[i].model == CHARTER_NONE)
            json_reader_fault(&member, "\"%s\" is no model of this charter", json_key(v));
        b->served[i].name = charter_read_text(c, &models, json_key(v), CHARTER_NAME_TEXT, NULL);
    }
    b->served_count = n;
}

static void
read_backend(struct charter *c, const struct json_reader *r, struct charter_backend *b)
{
    static const char *const keys[] = {
        "region",      "country",   "storage_country", "operator", "owner",
        "access_from", "assurance", "spki_sha256",     "ca",       "transfer",
        "kind",        "url",       "slots",           "models",   "credential",
        NULL};
    struct json_reader kind = json_reader_get(r, "kind");
    struct json_reader slots = json_reader_get(r, "slots");
    unsigned word = KIND_OPENAI;
    int64_t n = 0;

    if (!json_reader_keys(r, keys))
        return;
    read_facts(c, r, b);
    read_assurance(c, r, b);
    read_url(c, r, b);
    read_transfer(c, r, b);
    if (kind.v == NULL)
        json_reader_fault(&kind, "missing");
    if (charter_read_word(&kind, kind_words, &word))
        b->kind = (enum charter_kind)word;
    if (json_reader_int(&slots, 1, SLOTS_MAX, &n))
        b->slots = (uint32_t)n;
    b->credential = charter_read_text(c, r, "credential", CHARTER_NAME_PLAIN, "");
    read_served(c, r, b);
}

void
charter_load_backends(struct charter *c, const struct json_reader *root)
{
    struct json_reader r = json_reader_get(root, "backends");
    struct charter_section s;

    if (!charter_section_read(c, &r, true, CHARTER_NAME_PLAIN, CHARTER_BACKENDS_MAX, &s))
        return;
    c->backends = charter_alloc(c, s.count, sizeof(*c->backends));
    for (size_t i = 0; i < s.count && c->backends != NULL; i++) {
        struct json_reader member = json_reader_member(&r, s.values[i]);

        c->backends[i] = (struct charter_backend){.name = json_key(s.values[i]),
                                                  .region = CHARTER_NONE,
                                                  .country = COUNTRY_NONE,
                                                  .storage_country = COUNTRY_NONE,
                                                  .operator_country = COUNTRY_NONE,
                                                  .owner_country = COUNTRY_NONE,
                                                  .operator_name = "",
                                                  .owner_name = "",
                                                  .ca = "",
                                                  .transfer = "",
                                                  .path_prefix = "",
                                                  .credential = ""};
        c->backend_count = i + 1;
        read_backend(c, &member, &c->backends[i]);
    }
}
