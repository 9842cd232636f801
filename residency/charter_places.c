/* Lists of countries, groups and regions: read, met with each other, and compared, so that
 * a fault can name the one item through which an inner list leaves the outer one. */
#include "residency/charter_priv.h"

#include "base/check.h"

#define PLACES_ITEMS_MAX 512

/* What one item stands for. */
struct item {
    bool excludes;
    struct country_set countries;
    uint32_t region; /* CHARTER_NONE unless it is one */
};

static const struct country_set *
find_group(const struct charter *c, struct slice name)
{
    uint32_t i = charter_index(c->groups, c->group_count, sizeof(*c->groups), name);

    return i == CHARTER_NONE ? NULL : &c->groups[i].countries;
}

/* NULL, or why the item can't be read. */
static const char *
item_parse(const struct charter *c, struct slice s, bool with_regions, struct item *out)
{
    const struct slice prefix = SLICE_LIT("region:");
    const struct country_set *group;
    uint16_t country;

    *out = (struct item){.region = CHARTER_NONE};
    if (s.len > 0 && s.p[0] == '!') {
        out->excludes = true;
        s = slice_sub(s, 1, s.len);
    }
    if (s.len > 0 && s.p[0] == '@') {
        group = find_group(c, s);
        if (group == NULL)
            return "is no group of this charter";
        out->countries = *group;
        return NULL;
    }
    if (slice_starts(s, prefix)) {
        if (!with_regions)
            return "names a region where only countries and groups belong";
        out->region = charter_find_region(c, slice_sub(s, prefix.len, s.len));
        return out->region == CHARTER_NONE ? "is no region of this charter" : NULL;
    }
    if (country_parse(s, &country) != ERR_OK)
        return "is neither an assigned country code, a group nor a region";
    country_set_add(&out->countries, country);
    return NULL;
}

void
charter_places_read(const struct charter *c, const struct json_reader *r, bool with_regions,
                    struct charter_places *out)
{
    size_t n = charter_list_count(r, PLACES_ITEMS_MAX);
    const struct json *v = n == 0 ? NULL : json_first(r->v);
    struct country_set excluded = {{0}};

    *out = (struct charter_places){.countries = {{0}}};
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader at = json_reader_item(r, v, i);
        struct slice text;
        struct item item;
        const char *why;

        if (!json_reader_string(&at, &text))
            continue;
        why = item_parse(c, text, with_regions, &item);
        if (why != NULL)
            json_reader_fault(&at, "\"%.*s\" %s", SLICE_ARG(text), why);
        else if (item.region != CHARTER_NONE)
            charter_region_add(item.excludes ? out->not_regions : out->regions, item.region);
        else
            country_set_or(item.excludes ? &excluded : &out->countries, &item.countries);
    }
    country_set_minus(&out->countries, &excluded);
    for (uint32_t i = 0; i < c->region_count; i++)
        if (country_set_has(&excluded, c->regions[i].country))
            out->regions[i / 64] &= ~(UINT64_C(1) << (i % 64));
    for (size_t i = 0; i < CHARTER_REGION_WORDS; i++)
        out->regions[i] &= ~out->not_regions[i];
}

/* Whether p admits what `region:<i>` stands for. */
static bool
admits_region(const struct charter *c, const struct charter_places *p, uint32_t i)
{
    if (charter_region_bit(p->not_regions, i))
        return false;
    return charter_region_bit(p->regions, i) ||
           country_set_has(&p->countries, c->regions[i].country);
}

void
charter_places_and(const struct charter *c, struct charter_places *a,
                   const struct charter_places *b)
{
    struct charter_places both = {.countries = a->countries};

    country_set_and(&both.countries, &b->countries);
    for (uint32_t i = 0; i < c->region_count; i++) {
        bool named = charter_region_bit(a->regions, i) || charter_region_bit(b->regions, i);

        if (named && admits_region(c, a, i) && admits_region(c, b, i))
            charter_region_add(both.regions, i);
    }
    for (size_t i = 0; i < CHARTER_REGION_WORDS; i++)
        both.not_regions[i] = a->not_regions[i] | b->not_regions[i];
    *a = both;
}

/* Reports the first item of the list that brings in the country or region. */
static void
fault_item(const struct charter *c, const struct json_reader *r, const struct charter_bound *bound,
           uint16_t country, uint32_t region)
{
    const struct json *v = r->v == NULL ? NULL : json_first(r->v);
    char code[3];

    country_text(country, code);
    for (size_t i = 0; v != NULL; i++, v = json_next(v)) {
        struct json_reader at = json_reader_item(r, v, i);
        struct item item;
        struct slice text;

        if (!json_string(v, &text) || item_parse(c, text, true, &item) != NULL || item.excludes)
            continue;
        if (region == CHARTER_NONE ? !country_set_has(&item.countries, country)
                                   : item.region != region)
            continue;
        json_reader_fault(&at,
                          "tenant \"%s\" may only narrow: item \"%.*s\" of %s admits %s%s, "
                          "which %s does not",
                          bound->tenant, SLICE_ARG(text), bound->member,
                          region == CHARTER_NONE ? code : "region:",
                          region == CHARTER_NONE ? "" : c->regions[region].name, bound->outer);
        return;
    }
    json_reader_fault(r, "tenant \"%s\" may only narrow: %s admits %s, which %s does not",
                      bound->tenant, bound->member,
                      region == CHARTER_NONE ? code : c->regions[region].name, bound->outer);
}

bool
charter_places_within(const struct charter *c, const struct json_reader *r,
                      const struct charter_bound *bound, const struct charter_places *inner,
                      const struct charter_places *outer)
{
    struct country_set beyond = inner->countries;
    uint16_t country;

    country_set_minus(&beyond, &outer->countries);
    country = country_set_next(&beyond, 0);
    if (country != COUNTRY_NONE) {
        fault_item(c, r, bound, country, CHARTER_NONE);
        return false;
    }
    for (uint32_t i = 0; i < c->region_count; i++) {
        if (charter_region_bit(inner->regions, i) && !admits_region(c, outer, i)) {
            fault_item(c, r, bound, COUNTRY_NONE, i);
            return false;
        }
    }
    return true;
}
