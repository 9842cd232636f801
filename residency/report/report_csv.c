/* records.csv and exceptions.csv (RFC 4180: CRLF, quotes doubled). */
#include "residency/report/report_priv.h"

#include "residency/country.h"

#include <inttypes.h>

#define LINE_SIZE 8192

static void
add_field(struct text *t, const char *text)
{
    if (t->used > 0)
        text_add_char(t, ',');
    if (strpbrk(text, ",\"\r\n") == NULL) {
        text_add_str(t, text);
        return;
    }
    text_add_char(t, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"')
            text_add_char(t, '"');
        text_add_char(t, *p);
    }
    text_add_char(t, '"');
}

/* What a client wrote: a spreadsheet must not take it for a formula. */
static void
add_foreign(struct text *t, const char *text)
{
    char safe[RECORD_FOREIGN_MAX + 8];

    if (text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL &&
        text_format(safe, sizeof(safe), "'%s", text))
        add_field(t, safe);
    else
        add_field(t, text);
}

static void
add_number(struct text *t, int64_t n, bool is_known)
{
    text_add_char(t, ',');
    if (is_known)
        text_add_i64(t, n);
}

static void
add_country(struct text *t, uint16_t country)
{
    char text[3] = "";

    if (country != COUNTRY_NONE)
        country_text(country, text);
    add_field(t, text);
}

static void
add_time(struct text *t, int64_t ms)
{
    text_add_time_ms(t, ms);
}

static const char records_head[] =
    "time,txn,attempt,node,region,tenant,subject,auth,role,class,endpoint,origin,origin_source,"
    "origin_quality,verdict,reason,place,target_region,target_node,backend,operator,owner,"
    "model_requested,model_version,model_evidence,outcome,outcome_status,end,status,"
    "prompt_tokens,completion_tokens,request_bytes,charter,shard,index\r\n";

static void
add_ids(struct text *t, const struct report *r, const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add_field(t, report_pool_text(r->pool, ids[i]));
}

static void
add_completion(struct text *t, const struct report *r, const struct report_row *row)
{
    const struct report_a2 *a2 = row->is_last ? row->a2 : NULL;

    add_field(t, report_pool_text(r->pool, row->outcome));
    add_number(t, row->outcome_status, row->outcome != 0);
    add_field(t, a2 == NULL ? "" : record_end_name(a2->end));
    add_number(t, a2 == NULL ? 0 : a2->status, a2 != NULL);
    add_number(t, a2 == NULL ? 0 : a2->prompt_tokens, a2 != NULL && a2->prompt_tokens >= 0);
    add_number(t, a2 == NULL ? 0 : a2->completion_tokens, a2 != NULL && a2->completion_tokens >= 0);
}

static void
compose(struct text *t, const struct report *r, const struct report_row *row)
{
    const uint32_t who[] = {row->node, row->region, row->tenant};
    const uint32_t how[] = {row->auth, row->role, row->class_name, row->endpoint};
    const uint32_t where[] = {row->target_region, row->target_node, row->backend};

    add_time(t, row->iat_s * 1000);
    add_field(t, row->txn);
    add_number(t, row->attempt, true);
    add_ids(t, r, who, 3);
    add_field(t, row->sub);
    add_ids(t, r, how, 4);
    add_country(t, row->origin);
    add_field(t, report_pool_text(r->pool, row->source));
    add_field(t, report_pool_text(r->pool, row->quality));
    add_field(t, row->permit ? "permit" : "deny");
    add_field(t, report_pool_text(r->pool, row->reason));
    add_country(t, row->country);
    add_ids(t, r, where, 3);
    add_country(t, row->operated);
    add_country(t, row->owner);
    add_foreign(t, report_pool_text(r->pool, row->requested));
    add_field(t, report_pool_text(r->pool, row->version));
    add_field(t, report_pool_text(r->pool, row->evidence));
    add_completion(t, r, row);
    add_number(t, (int64_t)row->request_bytes, true);
    add_number(t, (int64_t)row->charter_version, true);
    add_field(t, row->shard);
    add_number(t, (int64_t)row->index, true);
    text_add_str(t, "\r\n");
}

static enum err
write_records(const struct report *r)
{
    char line[LINE_SIZE];
    struct report_file f;
    struct text t;
    bool ok;
    enum err e = report_file_open(r->opts->out_dir, "records.csv", &f);

    if (e != ERR_OK)
        return e;
    text_init(&t, line, sizeof(line));
    text_add_str(&t, records_head);
    ok = report_file_add(&f, &t);
    for (size_t i = 0; ok && i < r->row_count; i++) {
        text_init(&t, line, sizeof(line));
        compose(&t, r, &r->rows[i]);
        ok = report_file_add(&f, &t);
    }
    return report_file_close(&f, ok);
}

static enum err
write_exceptions(const struct report *r)
{
    char line[LINE_SIZE];
    struct report_file f;
    struct text t;
    bool ok;
    enum err e = report_file_open(r->opts->out_dir, "exceptions.csv", &f);

    if (e != ERR_OK)
        return e;
    text_init(&t, line, sizeof(line));
    text_add_str(&t, "kind,where,what\r\n");
    ok = report_file_add(&f, &t);
    for (size_t i = 0; ok && i < r->exception_count; i++) {
        const uint32_t ids[] = {r->exceptions[i].kind, r->exceptions[i].where,
                                r->exceptions[i].what};

        text_init(&t, line, sizeof(line));
        add_ids(&t, r, ids, 3);
        text_add_str(&t, "\r\n");
        ok = report_file_add(&f, &t);
    }
    return report_file_close(&f, ok);
}

enum err
report_csv_write(const struct report *r)
{
    enum err e = write_records(r);

    return e == ERR_OK ? write_exceptions(r) : e;
}
