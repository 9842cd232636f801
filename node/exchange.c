#include "node/exchange.h"

#include "base/check.h"
#include "node/worker.h"

#define REFUSAL_BODY_MAX 2048

void
exchange_answer(struct exchange *x, int status, const struct http_fields *fields, struct slice body)
{
    if (exchange_answer_head(x, status, fields, (int64_t)body.len) && exchange_answer_body(x, body))
        exchange_answer_end(x);
    else
        exchange_answer_cut(x);
}

static void
write_error(const struct exchange_refusal *r, const struct refusal_row *row, struct text *out)
{
    text_add_str(out, "{\"error\":{\"message\":");
    text_add_json(out, slice_str(r->words));
    text_add_str(out, ",\"type\":");
    text_add_json(out, slice_str(row->type));
    text_add_str(out, ",\"param\":");
    if (r->param == NULL)
        text_add_str(out, "null");
    else
        text_add_json(out, slice_str(r->param));
    text_add_str(out, ",\"code\":");
    text_add_json(out, slice_str(row->code));
    text_add_str(out, "}}\n");
}

void
exchange_refuse(struct exchange *x, const struct exchange_refusal *r,
                const struct http_fields *more)
{
    const struct refusal_row *row = refusal_row(r->code);
    uint8_t storage[REFUSAL_BODY_MAX];
    uint8_t digits[20];
    struct http_fields fields;
    struct text body;

    metrics_add(&x->worker->shared->metrics.refusals[r->code]);
    text_init(&body, storage, sizeof(storage));
    write_error(r, row, &body);
    http_fields_init(&fields, digits, sizeof(digits));
    http_fields_add(&fields, SLICE_LIT("Content-Type"), SLICE_LIT("application/json"));
    if (row->status == 429 || row->status == 503)
        http_fields_add_u64(&fields, SLICE_LIT("Retry-After"),
                            r->retry_after_s == 0 ? 1 : r->retry_after_s);
    for (size_t i = 0; more != NULL && http_fields_ok(more) && i < more->count; i++)
        http_fields_add(&fields, more->list[i].name, more->list[i].value);
    if (NEVER(!text_ok(&body) || !http_fields_ok(&fields)))
        exchange_answer_cut(x);
    else
        exchange_answer(x, row->status, &fields, text_slice(&body));
}
