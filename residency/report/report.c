#include "residency/report/report_priv.h"

#include "base/check.h"

#include <stdlib.h>

/* An exception with its texts, so that the order needs no pool. */
struct sorted {
    const char *texts[3];
    struct report_exception exception;
};

static int
sorted_cmp(const void *a, const void *b)
{
    const struct sorted *x = a;
    const struct sorted *y = b;
    int order = 0;

    for (size_t i = 0; i < 3 && order == 0; i++)
        order = strcmp(x->texts[i], y->texts[i]);
    return order;
}

/* They were met in the order of the ledgers, which must not show. */
static enum err
sort_exceptions(struct report *r)
{
    struct sorted *list = calloc(r->exception_count + 1, sizeof(*list));

    if (list == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < r->exception_count; i++) {
        const struct report_exception *x = &r->exceptions[i];

        list[i] = (struct sorted){{report_pool_text(r->pool, x->kind),
                                   report_pool_text(r->pool, x->where),
                                   report_pool_text(r->pool, x->what)},
                                  *x};
    }
    if (r->exception_count > 1)
        qsort(list, r->exception_count, sizeof(*list), sorted_cmp);
    for (size_t i = 0; i < r->exception_count; i++)
        r->exceptions[i] = list[i].exception;
    free(list);
    return ERR_OK;
}

bool
report_complete(const struct report_result *r)
{
    return r->faults == 0 && r->missing == 0 && r->unchecked == 0 && !r->live_run;
}

enum err
report_write(const struct report_opts *opts, struct report_result *out)
{
    struct report r = {.opts = opts};
    enum err e = report_pool_new(&r.pool);

    ASSERT(opts->charter_count > 0);
    if (e != ERR_OK)
        return e;
    e = ERR_NOMEM;
    r.charter_named = calloc(opts->charter_count, sizeof(*r.charter_named));
    if (r.charter_named != NULL)
        e = report_collect(&r);
    if (e == ERR_OK)
        e = sort_exceptions(&r);
    if (e == ERR_OK)
        e = report_csv_write(&r);
    if (e == ERR_OK)
        e = report_json_write(&r);
    if (e == ERR_OK)
        *out = r.result;
    free(r.rows);
    free(r.a2s);
    free(r.hops);
    free(r.exceptions);
    free(r.runs);
    free(r.refusals);
    free(r.nodes);
    free(r.charter_named);
    report_pool_free(&r.pool);
    return e;
}
