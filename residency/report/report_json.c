/* report.json: every total, recomputed from the rows. RFC 8785: members in byte order. */
#include "residency/report/report_priv.h"

#include "base/check.h"
#include "residency/country.h"

#include <inttypes.h>
#include <stdlib.h>

#define PIECE_SIZE 4096

/* One tally a section; keys are numbers of the pool, or countries. */
enum section { BY_END, BY_MODEL, BY_PLACE, BY_REASON, BY_TENANT, TRANSFERS, REFUSALS, SECTIONS };
/* Sums of a tenant or model. */
enum { PERMITTED, DENIED, PROMPT, COMPLETION };

struct totals {
    const struct report *r;
    struct report_tally tallies[SECTIONS];
    struct report_file file;
    struct text piece;
    char storage[PIECE_SIZE];
    uint64_t sums[REPORT_SUMS];
    bool ok;
};

static void
add(struct totals *t, enum section s, uint32_t a, unsigned which, uint64_t n)
{
    const uint32_t key[4] = {a, 0, 0, 0};

    report_tally_add(&t->tallies[s], key, which, n);
}

/* Out of the tenant's home, or out of the EEA as this charter lists it. */
static void
count_transfer(struct totals *t, const struct report_row *row)
{
    const struct charter *c = t->r->opts->charters[0];
    const char *tenant = report_pool_text(t->r->pool, row->tenant);
    uint32_t i = charter_find_tenant(c, slice_str(tenant));
    uint16_t home = i == CHARTER_NONE ? COUNTRY_NONE : c->tenants[i].home_country;
    bool outside = true;
    bool has_eea = false;

    for (size_t g = 0; g < c->group_count; g++)
        if (strcmp(c->groups[g].name, "@EEA") == 0) {
            has_eea = true;
            outside = !country_set_has(&c->groups[g].countries, row->country);
        }
    outside = outside && has_eea;
    if (row->country != home || outside) {
        const uint32_t key[4] = {row->tenant, home, row->country,
                                 (uint32_t)row->operated << 1 | (outside ? 1 : 0)};

        report_tally_add(&t->tallies[TRANSFERS], key, PERMITTED, 1);
    }
}

static void
count_tokens(struct totals *t, const struct report_row *row, unsigned which, int64_t n)
{
    if (n <= 0)
        return;
    t->sums[which] += (uint64_t)n;
    add(t, BY_TENANT, row->tenant, which, (uint64_t)n);
    add(t, BY_MODEL, row->version, which, (uint64_t)n);
}

static void
count_row(struct totals *t, const struct report_row *row)
{
    unsigned verdict = row->permit ? PERMITTED : DENIED;

    t->sums[verdict]++;
    add(t, BY_REASON, row->reason, PERMITTED, 1);
    add(t, BY_TENANT, row->tenant, verdict, 1);
    if (row->permit) {
        const uint32_t key[4] = {row->origin, row->country, 0, 0};

        add(t, BY_MODEL, row->version, PERMITTED, 1);
        report_tally_add(&t->tallies[BY_PLACE], key, PERMITTED, 1);
        count_transfer(t, row);
    }
    if (!row->is_last || row->a2 == NULL)
        return;
    add(t, BY_END, row->a2->end, PERMITTED, 1);
    count_tokens(t, row, PROMPT, row->a2->prompt_tokens);
    count_tokens(t, row, COMPLETION, row->a2->completion_tokens);
}

/* ---- Order: of texts, so that the pool's numbers do not show -------------------------- */

struct named {
    const char *name;
    const struct report_item *item;
};

static int
named_cmp(const void *a, const void *b)
{
    const struct named *x = a;
    const struct named *y = b;

    return strcmp(x->name, y->name);
}

static int
key_cmp(const void *a, const void *b)
{
    const struct report_item *x = a;
    const struct report_item *y = b;

    for (size_t i = 0; i < 4; i++)
        if (x->key[i] != y->key[i])
            return x->key[i] < y->key[i] ? -1 : 1;
    return 0;
}

/* ---- Writing -------------------------------------------------------------------------- */

static void
flush(struct totals *t)
{
    t->ok = t->ok && report_file_add(&t->file, &t->piece);
    text_init(&t->piece, t->storage, sizeof(t->storage));
}

static void
add_country(struct text *t, uint32_t country)
{
    char text[3];

    country_text((uint16_t)country, text);
    text_add_json(t, slice_str(text));
}

static void
add_sums(struct text *t, const struct report_item *item)
{
    text_addf(t,
              "{\"completion_tokens\":%" PRIu64 ",\"denied\":%" PRIu64 ",\"permitted\":%" PRIu64
              ",\"prompt_tokens\":%" PRIu64 "}",
              item->sum[COMPLETION], item->sum[DENIED], item->sum[PERMITTED], item->sum[PROMPT]);
}

/* {"name":n,...} or {"name":{sums},...} */
static void
write_named(struct totals *t, const char *member, enum section s, bool with_sums)
{
    const struct report_tally *tally = &t->tallies[s];
    struct named *list = calloc(tally->count + 1, sizeof(*list));

    if (list == NULL) {
        t->ok = false;
        return;
    }
    for (size_t i = 0; i < tally->count; i++) {
        list[i].item = &tally->items[i];
        list[i].name = s == BY_END ? record_end_name((enum record_end)tally->items[i].key[0])
                                   : report_pool_text(t->r->pool, tally->items[i].key[0]);
    }
    if (tally->count > 1)
        qsort(list, tally->count, sizeof(*list), named_cmp);
    text_addf(&t->piece, "\"%s\":{", member);
    for (size_t i = 0; i < tally->count; i++) {
        text_add_str(&t->piece, i == 0 ? "" : ",");
        text_add_json(&t->piece, slice_str(list[i].name));
        text_add_char(&t->piece, ':');
        if (with_sums)
            add_sums(&t->piece, list[i].item);
        else
            text_add_u64(&t->piece, list[i].item->sum[PERMITTED]);
        flush(t);
    }
    text_add_str(&t->piece, "},");
    free(list);
}

static void
write_places(struct totals *t)
{
    const struct report_tally *tally = &t->tallies[BY_PLACE];

    text_add_str(&t->piece, "\"by_origin_and_place\":[");
    for (size_t i = 0; i < tally->count; i++) {
        text_addf(&t->piece, "%s{\"attempts\":%" PRIu64 ",\"origin\":", i == 0 ? "" : ",",
                  tally->items[i].sum[PERMITTED]);
        add_country(&t->piece, tally->items[i].key[0]);
        text_add_str(&t->piece, ",\"place\":");
        add_country(&t->piece, tally->items[i].key[1]);
        text_add_char(&t->piece, '}');
        flush(t);
    }
    text_add_str(&t->piece, "],");
}

static int
transfer_cmp(const void *a, const void *b)
{
    const struct named *x = a;
    const struct named *y = b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : key_cmp(x->item, y->item);
}

static void
write_transfers(struct totals *t)
{
    const struct report_tally *tally = &t->tallies[TRANSFERS];
    struct named *list = calloc(tally->count + 1, sizeof(*list));

    if (list == NULL) {
        t->ok = false;
        return;
    }
    for (size_t i = 0; i < tally->count; i++)
        list[i] =
            (struct named){report_pool_text(t->r->pool, tally->items[i].key[0]), &tally->items[i]};
    if (tally->count > 1)
        qsort(list, tally->count, sizeof(*list), transfer_cmp);
    text_add_str(&t->piece, "\"transfers\":[");
    for (size_t i = 0; i < tally->count; i++) {
        const uint32_t *key = list[i].item->key;

        text_addf(&t->piece, "%s{\"attempts\":%" PRIu64 ",\"home\":", i == 0 ? "" : ",",
                  list[i].item->sum[PERMITTED]);
        add_country(&t->piece, key[1]);
        text_add_str(&t->piece, ",\"operator\":");
        add_country(&t->piece, key[3] >> 1);
        text_addf(&t->piece,
                  ",\"outside_eea\":%s,\"place\":", (key[3] & 1) != 0 ? "true" : "false");
        add_country(&t->piece, key[2]);
        text_add_str(&t->piece, ",\"tenant\":");
        text_add_json(&t->piece, slice_str(list[i].name));
        text_add_char(&t->piece, '}');
        flush(t);
    }
    text_add_str(&t->piece, "],");
    free(list);
}

static int
charter_cmp(const void *a, const void *b)
{
    const struct charter *const *x = a;
    const struct charter *const *y = b;

    if ((*x)->version != (*y)->version)
        return (*x)->version < (*y)->version ? -1 : 1;
    return memcmp((*x)->digest, (*y)->digest, HASH_SIZE);
}

static void
write_charters(struct totals *t)
{
    const struct report_opts *o = t->r->opts;
    const struct charter **list = calloc(o->charter_count, sizeof(struct charter *));

    if (list == NULL) {
        t->ok = false;
        return;
    }
    for (size_t i = 0; i < o->charter_count; i++)
        list[i] = o->charters[i];
    qsort(list, o->charter_count, sizeof(struct charter *), charter_cmp);
    text_add_str(&t->piece, "\"charters\":[");
    for (size_t i = 0; i < o->charter_count; i++) {
        text_add_str(&t->piece, i == 0 ? "{\"digest\":\"" : ",{\"digest\":\"");
        text_add_hex(&t->piece, slice_of(list[i]->digest, HASH_SIZE));
        text_addf(&t->piece, "\",\"version\":%" PRIu64 "}", list[i]->version);
        flush(t);
    }
    text_add_str(&t->piece, "],");
    free(list);
}

static void
write_all(struct totals *t)
{
    const struct report_opts *o = t->r->opts;
    const struct report_result *res = &t->r->result;

    text_addf(&t->piece, "{\"attempts\":{\"denied\":%" PRIu64 ",\"permitted\":%" PRIu64 "},",
              t->sums[DENIED], t->sums[PERMITTED]);
    write_named(t, "by_end", BY_END, false);
    write_named(t, "by_model", BY_MODEL, true);
    write_places(t);
    write_named(t, "by_reason", BY_REASON, false);
    write_named(t, "by_tenant", BY_TENANT, true);
    write_charters(t);
    text_addf(&t->piece,
              "\"complete\":%s,\"exceptions\":%" PRIu64 ",\"faults\":%" PRIu64 ",\"from\":\"",
              report_complete(res) ? "true" : "false", res->exceptions, res->faults);
    text_add_time_ms(&t->piece, o->from_ms);
    text_add_str(&t->piece, "\",\"mesh\":");
    text_add_json(&t->piece, slice_str(o->charters[0]->mesh));
    text_addf(&t->piece, ",\"missing_nodes\":%" PRIu64 ",", res->missing);
    write_named(t, "refusals", REFUSALS, false);
    text_addf(&t->piece, "\"requests\":%" PRIu64 ",", res->requests);
    if (o->tenant != NULL) {
        text_add_str(&t->piece, "\"tenant\":");
        text_add_json(&t->piece, slice_str(o->tenant));
        text_add_char(&t->piece, ',');
    }
    text_add_str(&t->piece, "\"to\":\"");
    text_add_time_ms(&t->piece, o->to_ms);
    text_addf(&t->piece, "\",\"tokens\":{\"completion\":%" PRIu64 ",\"prompt\":%" PRIu64 "},",
              t->sums[COMPLETION], t->sums[PROMPT]);
    write_transfers(t);
    text_add_str(&t->piece, "\"v\":1}\n");
    flush(t);
}

enum err
report_json_write(const struct report *r)
{
    struct totals *t = calloc(1, sizeof(*t));
    enum err e = ERR_NOMEM;

    if (t == NULL)
        return e;
    t->r = r;
    t->ok = true;
    for (size_t i = 0; i < r->row_count; i++)
        count_row(t, &r->rows[i]);
    for (size_t i = 0; i < r->refusal_count; i++)
        add(t, REFUSALS, r->refusals[2 * i], PERMITTED, r->refusals[2 * i + 1]);
    for (size_t i = 0; i < SECTIONS; i++) {
        t->ok = t->ok && !t->tallies[i].failed;
        report_tally_close(&t->tallies[i], key_cmp);
    }
    if (t->ok)
        e = report_file_open(r->opts->out_dir, "report.json", &t->file);
    if (t->ok && e == ERR_OK) {
        text_init(&t->piece, t->storage, sizeof(t->storage));
        write_all(t);
        e = report_file_close(&t->file, t->ok);
    }
    for (size_t i = 0; i < SECTIONS; i++)
        report_tally_free(&t->tallies[i]);
    free(t);
    return e;
}
