/* What the caller of `portolan init` asks for. */
#include "node/init.h"

#include "base/check.h"
#include "residency/country.h"

#include <stdio.h>

static bool
fail(const char *what, struct slice text)
{
    (void)fprintf(stderr, "%s: \"%.*s\"\n", what, SLICE_ARG(text));
    return false;
}

/* The grammar of docs/formats.md section 1; it also keeps a name inside its folder. */
bool
init_name_ok(struct slice name, size_t max)
{
    if (name.len == 0 || name.len > max || name.p[0] == '-')
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!((name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9') ||
              name.p[i] == '-'))
            return false;
    return true;
}

static bool
copy_country(struct slice text, char out[3])
{
    uint16_t country;

    if (country_parse(text, &country) != ERR_OK)
        return fail("no country code", text);
    country_text(country, out);
    return true;
}

bool
init_regions_parse(struct init *in, struct slice text)
{
    struct slice rest = text;

    while (rest.len > 0) {
        struct slice country = slice_cut(&rest, ',');
        struct slice name = slice_cut(&country, '=');
        struct init_region *r = &in->regions[in->region_count];

        if (in->region_count == INIT_REGIONS_MAX)
            return fail("too many regions", text);
        if (!init_name_ok(name, sizeof(r->name) - 1) ||
            !slice_copy_str(name, r->name, sizeof(r->name)))
            return fail("no region name (a-z, 0-9 and -)", name);
        if (!copy_country(country, r->country) ||
            !text_format(r->node, sizeof(r->node), "%s-1", r->name))
            return false;
        for (size_t i = 0; i < in->region_count; i++)
            if (strcmp(in->regions[i].name, r->name) == 0)
                return fail("region given twice", name);
        r->port = (uint16_t)(in->base_port + 10 * in->region_count);
        in->region_count++;
    }
    return in->region_count > 0 || fail("no regions", text);
}

static const struct init_region *
find_region(const struct init *in, const char *name)
{
    for (size_t i = 0; i < in->region_count; i++)
        if (strcmp(in->regions[i].name, name) == 0)
            return &in->regions[i];
    return NULL;
}

/* version:served[:digest]; a served name may hold colons itself (ollama's tags). */
static bool
parse_model(struct init_backend *b, struct slice text)
{
    struct slice served = text;
    struct slice version = slice_cut(&served, ':');
    struct init_model *m = &b->models[b->model_count];
    uint8_t raw[HASH_SIZE];
    size_t raw_len = sizeof(raw);

    if (b->model_count == INIT_MODELS_MAX)
        return fail("too many models", text);
    if (served.len > 64 && served.p[served.len - 65] == ':' &&
        text_unhex(slice_sub(served, served.len - 64, 64), raw, &raw_len)) {
        (void)slice_copy_str(slice_sub(served, served.len - 64, 64), m->digest, sizeof(m->digest));
        served = slice_sub(served, 0, served.len - 65);
    }
    if (version.len == 0 || served.len == 0 ||
        !slice_copy_str(version, m->version, sizeof(m->version)) ||
        !slice_copy_str(served, m->served, sizeof(m->served)))
        return fail("a model is version:served[:digest]", text);
    b->model_count++;
    return true;
}

static bool
parse_access(struct init_backend *b, struct slice text)
{
    struct slice rest = text;
    char ignored[3];

    while (rest.len > 0)
        if (!copy_country(slice_cut(&rest, '+'), ignored))
            return false;
    return slice_copy_str(text, b->access, sizeof(b->access)) || fail("too long", text);
}

static bool
parse_member(struct init_backend *b, struct slice key, struct slice value)
{
    const struct {
        const char *key;
        char *to;
        size_t size;
    } texts[] = {{"name", b->name, sizeof(b->name)},
                 {"region", b->region, sizeof(b->region)},
                 {"kind", b->kind, sizeof(b->kind)},
                 {"url", b->url, sizeof(b->url)},
                 {"transfer", b->transfer, sizeof(b->transfer)}};
    uint64_t slots = 0;

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        if (slice_is(key, texts[i].key))
            return slice_copy_str(value, texts[i].to, texts[i].size) || fail("too long", value);
    if (slice_is(key, "operator"))
        return copy_country(value, b->operator_country);
    if (slice_is(key, "owner"))
        return copy_country(value, b->owner_country);
    if (slice_is(key, "country"))
        return copy_country(value, b->country);
    if (slice_is(key, "access"))
        return parse_access(b, value);
    if (slice_is(key, "model"))
        return parse_model(b, value);
    if (!slice_is(key, "slots"))
        return fail("a backend has no such member", key);
    if (!slice_u64(value, &slots) || slots == 0 || slots > 65536)
        return fail("slots must be 1 to 65536", value);
    b->slots = (uint32_t)slots;
    return true;
}

/* What was left out follows from what was said. */
static bool
complete(const struct init *in, struct init_backend *b, struct slice spec)
{
    const struct init_region *r = find_region(in, b->region);

    if (!init_name_ok(slice_str(b->name), CHARTER_NAME_MAX))
        return fail("a backend needs a name (a-z, 0-9 and -)", spec);
    for (const struct init_backend *o = in->backends; o < b; o++)
        if (strcmp(o->name, b->name) == 0)
            return fail("backend given twice", slice_str(b->name));
    if (strcmp(b->name, "ca") == 0)
        return fail("the file names of \"ca\" are taken: choose another name", spec);
    if (r == NULL)
        return fail("a backend needs one of the regions", spec);
    if (b->url[0] == '\0' || b->model_count == 0)
        return fail("a backend needs url= and model=", spec);
    if (b->country[0] == '\0')
        memcpy(b->country, r->country, sizeof(b->country));
    if (b->operator_country[0] == '\0')
        memcpy(b->operator_country, b->country, sizeof(b->operator_country));
    if (b->owner_country[0] == '\0')
        memcpy(b->owner_country, b->operator_country, sizeof(b->owner_country));
    if (b->access[0] == '\0')
        memcpy(b->access, b->operator_country, sizeof(b->operator_country));
    if (b->kind[0] == '\0')
        memcpy(b->kind, "openai", sizeof("openai"));
    if (b->slots == 0)
        b->slots = 4;
    return true;
}

bool
init_backend_parse(struct init *in, struct slice spec)
{
    struct init_backend *b = &in->backends[in->backend_count];
    struct slice rest = spec;

    if (in->backend_count == INIT_BACKENDS_MAX)
        return fail("too many backends", spec);
    while (rest.len > 0) {
        struct slice value = slice_cut(&rest, ',');
        struct slice key = slice_cut(&value, '=');

        if (!parse_member(b, key, value))
            return false;
    }
    if (!complete(in, b, spec))
        return false;
    in->backend_count++;
    return true;
}

static bool
add_example(struct init *in, const char *name, const struct init_region *r, const char *more)
{
    char spec[512];

    return text_format(spec, sizeof(spec),
                       "name=%s,region=%s,kind=vllm,url=https://127.0.0.1:%u,slots=4,"
                       "model=mistral-7b@0.3:mistral%s",
                       name, r->name, (unsigned)(in->base_port + 1000u + in->backend_count),
                       more) &&
           init_backend_parse(in, slice_str(spec));
}

/* One a region, named by its country, and two that show what policy asks for: a backend in
 * the EU that a company from outside runs, and one that only a clinic's people reach. */
bool
init_backends_example(struct init *in)
{
    const struct init_region *west = find_region(in, "eu-west");
    const struct init_region *central = find_region(in, "eu-central");

    for (size_t i = 0; i < in->region_count; i++) {
        const struct init_region *r = &in->regions[i];
        char name[CHARTER_NAME_MAX + 1];
        unsigned n = 1;

        for (size_t k = 0; k < i; k++)
            n += strcmp(in->regions[k].country, r->country) == 0 ? 1 : 0;
        if (!text_format(name, sizeof(name), "%c%c-%u", r->country[0] | 0x20, r->country[1] | 0x20,
                         n) ||
            !add_example(in, name, r, strcmp(r->country, "DE") == 0 ? ",access=DE+IE" : ""))
            return false;
    }
    if (west != NULL && !add_example(in, "ie-us-1", west, ",operator=US"))
        return false;
    return central == NULL || add_example(in, "de-clinic", central, ",operator=DE");
}
