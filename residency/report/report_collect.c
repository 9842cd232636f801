/* Reading the ledgers: rows of the period, what closed them, and what is not as it should
 * be. */
#include "residency/report/report_priv.h"

#include "base/check.h"
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>

/* Room for one more item; false when there is none. */
static bool
room(struct report *r, void **items, size_t count, size_t *size, size_t item_size)
{
    size_t wanted = *size == 0 ? 64 : 2 * *size;
    void *more;

    if (count < *size)
        return true;
    more = count >= REPORT_ROWS_MAX ? NULL : realloc(*items, wanted * item_size);
    if (more == NULL) {
        r->out_of_memory = true;
        return false;
    }
    *items = more;
    *size = wanted;
    return true;
}

void
report_exception_add(struct report *r, const char *kind, const char *where, const char *what)
{
    void *items = r->exceptions;
    bool ok = room(r, &items, r->exception_count, &r->exception_size, sizeof(*r->exceptions));

    r->exceptions = items;
    if (ok)
        r->exceptions[r->exception_count++] = (struct report_exception){
            report_pool_add(r->pool, kind), report_pool_add(r->pool, where),
            report_pool_add(r->pool, what)};
}

static bool
in_tenant(const struct report *r, const char *tenant)
{
    struct slice top = slice_str(r->opts->tenant);

    if (r->opts->tenant == NULL)
        return true;
    return slice_starts(slice_str(tenant), top) &&
           (tenant[top.len] == '\0' || tenant[top.len] == '/');
}

static void
add_row(struct report *r, const struct audit_record *record)
{
    const struct record_a1_view *a1 = record->a1;
    struct report_pool *p = r->pool;
    void *rows = r->rows;
    bool ok;

    ok = room(r, &rows, r->row_count, &r->row_size, sizeof(*r->rows));
    r->rows = rows;
    if (!ok)
        return;
    r->rows[r->row_count] = (struct report_row){
        .iat_s = a1->iat_s,
        .index = record->frame.index,
        .charter_version = a1->charter_version,
        .request_bytes = a1->request_bytes,
        .attempt = a1->attempt,
        .ledger = r->ledger,
        .permit = a1->permit,
        .origin = a1->country,
        .country = a1->has_target ? a1->target_country : COUNTRY_NONE,
        .operated = a1->has_target ? a1->target_operator : COUNTRY_NONE,
        .owner = a1->has_target ? a1->target_owner : COUNTRY_NONE,
        .tenant = report_pool_add(p, a1->tenant),
        .auth = report_pool_add(p, a1->auth),
        .role = report_pool_add(p, a1->role),
        .class_name = report_pool_add(p, a1->class_name),
        .source = report_pool_add(p, a1->origin_source),
        .quality = report_pool_add(p, a1->origin_quality),
        .node = report_pool_add(p, a1->ingress_node),
        .region = report_pool_add(p, a1->ingress_region),
        .reason = report_pool_add(p, a1->reason),
        .target_region = report_pool_add(p, a1->has_target ? a1->target_region : ""),
        .target_node = report_pool_add(p, a1->has_target ? a1->target_node : ""),
        .backend = report_pool_add(p, a1->has_target ? a1->target_backend : ""),
        .endpoint = report_pool_add(p, a1->endpoint),
        .requested = report_pool_add(p, a1->model_requested),
        .version = report_pool_add(p, a1->model_version),
        .evidence = report_pool_add(p, a1->model_evidence),
    };
    memcpy(r->rows[r->row_count].txn, a1->txn, sizeof(a1->txn));
    memcpy(r->rows[r->row_count].sub, a1->sub, sizeof(a1->sub));
    memcpy(r->rows[r->row_count].shard, a1->shard, sizeof(a1->shard));
    r->row_count++;
}

static void
add_hop(struct report *r, const struct audit_record *record)
{
    const struct record_a1_view *a1 = record->a1;
    uint8_t digest[HASH_SIZE];
    struct report_hop *hop;
    void *hops = r->hops;
    struct text t;
    bool ok = room(r, &hops, r->hop_count, &r->hop_size, sizeof(*r->hops));

    r->hops = hops;
    if (!ok)
        return;
    hop = &r->hops[r->hop_count++];
    *hop = (struct report_hop){.backend = report_pool_add(r->pool, a1->target_backend),
                               .version = report_pool_add(r->pool, a1->model_version),
                               .evidence = report_pool_add(r->pool, a1->model_evidence),
                               .country = a1->target_country,
                               .operated = a1->target_operator,
                               .owner = a1->target_owner};
    hash_sha256(record->frame.payload, digest);
    text_init(&t, hop->hash, sizeof(hop->hash) - 1);
    text_add_b64url(&t, slice_of(digest, HASH_SIZE));
    hop->hash[t.used] = '\0';
}

static void
add_a2(struct report *r, const struct record_a2_view *a2)
{
    struct report_a2 *to;
    void *a2s = r->a2s;
    bool ok = room(r, &a2s, r->a2_count, &r->a2_size, sizeof(*r->a2s));

    r->a2s = a2s;
    if (!ok)
        return;
    to = &r->a2s[r->a2_count++];
    *to = (struct report_a2){.ledger = r->ledger,
                             .end = a2->end,
                             .status = a2->status,
                             .prompt_tokens = a2->prompt_tokens,
                             .completion_tokens = a2->completion_tokens,
                             .request_bytes = a2->request_bytes,
                             .attempt_count = a2->attempt_count};
    memcpy(to->txn, a2->txn, sizeof(to->txn));
    for (size_t i = 0; i < a2->attempt_count && i < RECORD_ATTEMPTS_MAX; i++) {
        to->attempts[i].index = a2->attempts[i].index;
        to->attempts[i].outcome = report_pool_add(r->pool, a2->attempts[i].outcome);
        to->attempts[i].status = a2->attempts[i].status;
        memcpy(to->attempts[i].peer_hash, a2->attempts[i].peer_hash,
               sizeof(to->attempts[i].peer_hash));
    }
}

/* ---- Control records --------------------------------------------------------------- */

static const char *
member(struct report *r, const struct json *v, const char *name)
{
    char text[256];
    struct slice s;

    if (!json_string(json_get(v, name), &s) || !slice_copy_str(s, text, sizeof(text)))
        return "";
    return report_pool_text(r->pool, report_pool_add(r->pool, text));
}

/* False: it was there. */
static bool
enter_node(struct report *r, const char *name)
{
    uint32_t id = report_pool_add(r->pool, name);
    void *nodes = r->nodes;
    bool ok;

    for (size_t i = 0; i < r->node_count; i++)
        if (r->nodes[i] == id)
            return false;
    ok = room(r, &nodes, r->node_count, &r->node_size, sizeof(*r->nodes));
    r->nodes = nodes;
    if (ok)
        r->nodes[r->node_count++] = id;
    return true;
}

static void
on_run_start(struct report *r, const struct json *v)
{
    const char *name = member(r, v, "node");

    if (strcmp(member(r, v, "mesh"), r->opts->charters[0]->mesh) != 0) {
        r->result.faults++;
        report_exception_add(r, "foreign_mesh", name, "the ledger belongs to another mesh");
    } else {
        (void)enter_node(r, name);
    }
    if (strcmp(member(r, v, "durability"), "disk") != 0)
        report_exception_add(r, "durability", name,
                             "a run did not wait for the disk: a machine's crash may have cost "
                             "records");
}

static void
on_recovery(struct report *r, const struct json *v)
{
    char what[96];
    int64_t lost = 0;
    int64_t cut = 0;

    (void)json_int(json_get(v, "lost"), &lost);
    (void)json_int(json_get(v, "cut_bytes"), &cut);
    (void)text_format(what, sizeof(what), "%" PRId64 " requests lost, %" PRId64 " bytes cut", lost,
                      cut);
    report_exception_add(r, "recovery", member(r, v, "run"), what);
}

/* Nobody knows whose these were, so that they count only in a report over all tenants. */
static void
on_refusals(struct report *r, const struct json *v)
{
    int64_t from = 0;

    if (r->opts->tenant != NULL || !json_int(json_get(v, "from"), &from) ||
        from < r->opts->from_ms || from >= r->opts->to_ms)
        return;
    for (const struct json *n = json_first(json_get(v, "counts")); n != NULL; n = json_next(n)) {
        void *items = r->refusals;
        int64_t count = 0;
        bool ok = room(r, &items, r->refusal_count, &r->refusal_size, 2 * sizeof(*r->refusals));

        r->refusals = items;
        if (!ok || !json_int(n, &count) || count < 0 || count > UINT32_MAX)
            continue;
        r->refusals[2 * r->refusal_count] = report_pool_add(r->pool, json_key(n));
        r->refusals[2 * r->refusal_count + 1] = (uint32_t)count;
        r->refusal_count++;
    }
}

static void
on_control(struct report *r, struct slice json)
{
    struct json_doc *doc = NULL;
    const struct json *v;
    struct slice kind;

    if (json_parse(json, &doc, NULL) != ERR_OK)
        return; /* the audit has told it */
    v = json_root(doc);
    if (json_string(json_get(v, "kind"), &kind)) {
        if (slice_is(kind, "run_start"))
            on_run_start(r, v);
        else if (slice_is(kind, "recovery"))
            on_recovery(r, v);
        else if (slice_is(kind, "refusals"))
            on_refusals(r, v);
    }
    json_free(&doc);
}

/* A run that is given twice (a copy of a ledger) must not count twice. */
static void
enter_run(struct report *r, const char *run)
{
    uint32_t id = report_pool_add(r->pool, run);
    void *runs = r->runs;

    if (r->run == id)
        return;
    r->run = id;
    r->skip_run = false;
    for (size_t i = 0; i < r->run_count; i++)
        r->skip_run = r->skip_run || r->runs[i] == id;
    if (r->skip_run) {
        r->result.faults++;
        report_exception_add(r, "duplicate_run", run, "the run is in two of the ledgers given");
        return;
    }
    if (room(r, &runs, r->run_count, &r->run_size, sizeof(*r->runs)))
        ((uint32_t *)runs)[r->run_count++] = id;
    r->runs = runs;
}

/* A charter of the period: its nodes served in it, also those that are gone since. */
static void
note_charter(struct report *r, const struct record_a1_view *a1)
{
    const struct charter *c = record_a1_charter(a1, r->opts->charters, r->opts->charter_count);

    for (size_t i = 0; i < r->opts->charter_count; i++)
        r->charter_named[i] = r->charter_named[i] || r->opts->charters[i] == c;
}

static void
visit(void *context, const struct audit_record *record)
{
    struct report *r = context;
    int64_t ms;
    bool is_in;

    enter_run(r, record->run);
    if (r->skip_run)
        return;
    if (record->a1 == NULL && record->a2 == NULL) {
        if (record->frame.type == WAL_CONTROL)
            on_control(r, record->frame.payload);
        return;
    }
    ms = record->a1 != NULL ? record->a1->iat_s * 1000 : record->a2->end_ms;
    r->newest_ms = ms > r->newest_ms ? ms : r->newest_ms;
    is_in = ms >= r->opts->from_ms && ms < r->opts->to_ms;
    if (record->a1 != NULL && is_in)
        note_charter(r, record->a1);
    if (record->a1 != NULL && in_tenant(r, record->a1->tenant)) {
        if (record->a1->hop != 0)
            add_hop(r, record);
        else if (is_in)
            add_row(r, record);
    } else if (record->a2 != NULL && in_tenant(r, record->tenant)) {
        add_a2(r, record->a2);
    }
}

static void
on_fault(void *context, const char *where, const char *what)
{
    struct report *r = context;

    r->result.faults++;
    report_exception_add(r, "fault", where, what);
}

static void
on_gap(void *context, const char *where, const char *what)
{
    report_exception_add(context, "charter_not_given", where, what);
}

/* ---- Pairing ----------------------------------------------------------------------- */

static int
row_cmp(const void *a, const void *b)
{
    const struct report_row *x = a;
    const struct report_row *y = b;
    int order = strcmp(x->txn, y->txn);

    if (x->iat_s != y->iat_s)
        return x->iat_s < y->iat_s ? -1 : 1;
    if (order != 0)
        return order;
    if (x->attempt != y->attempt)
        return x->attempt < y->attempt ? -1 : 1;
    order = strcmp(x->shard, y->shard);
    if (order != 0)
        return order;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int
a2_cmp(const void *a, const void *b)
{
    const struct report_a2 *x = a;
    const struct report_a2 *y = b;
    int order = strcmp(x->txn, y->txn);

    return order != 0 ? order : x->ledger < y->ledger ? -1 : x->ledger > y->ledger;
}

static int
hop_cmp(const void *a, const void *b)
{
    const struct report_hop *x = a;
    const struct report_hop *y = b;

    return strcmp(x->hash, y->hash);
}

/* A forwarded request: the peer's own attestation names the backend. */
static void
pair_peer(struct report *r, struct report_row *row)
{
    struct report_hop wanted;
    const struct report_hop *hop;

    if (row->peer_hash == NULL || row->peer_hash[0] == '\0' || row->target_node == 0)
        return;
    memcpy(wanted.hash, row->peer_hash, sizeof(wanted.hash));
    hop = r->hop_count == 0 ? NULL
                            : bsearch(&wanted, r->hops, r->hop_count, sizeof(*r->hops), hop_cmp);
    if (hop == NULL) {
        report_exception_add(r, "peer_record_missing", row->txn,
                             "the peer's attestation is in none of the ledgers given");
        /* While ledgers grow, the ingress's may have been read later than the peer's. */
        r->result.faults += r->result.live_run ? 0 : 1;
        return;
    }
    if (hop->backend == 0) /* it refused */
        return;
    row->backend = hop->backend;
    row->version = hop->version;
    row->evidence = hop->evidence;
    row->country = hop->country;
    row->operated = hop->operated;
    row->owner = hop->owner;
}

static void
pair_row(struct report *r, struct report_row *row)
{
    struct report_a2 wanted = {.ledger = row->ledger};

    memcpy(wanted.txn, row->txn, sizeof(wanted.txn));
    row->a2 =
        r->a2_count == 0 ? NULL : bsearch(&wanted, r->a2s, r->a2_count, sizeof(*r->a2s), a2_cmp);
    if (row->a2 == NULL) {
        if (row->permit)
            report_exception_add(r, "open_request", row->txn, "has no completion yet");
        return;
    }
    /* Of a streamed body the A1 knows at most what was announced. */
    if (row->a2->request_bytes > 0)
        row->request_bytes = row->a2->request_bytes;
    for (size_t i = 0; i < row->a2->attempt_count; i++)
        if (row->a2->attempts[i].index == row->index) {
            row->outcome = row->a2->attempts[i].outcome;
            row->outcome_status = row->a2->attempts[i].status;
            row->peer_hash = row->a2->attempts[i].peer_hash;
        }
    if (row->a2->end == RECORD_LOST && row->is_last)
        report_exception_add(r, "lost_request", row->txn, "the node ended while it was open");
}

static int
last_cmp(const void *a, const void *b)
{
    const struct report_row *const *x = a;
    const struct report_row *const *y = b;
    int order = strcmp((*x)->txn, (*y)->txn);

    if (order != 0)
        return order;
    return (*x)->attempt < (*y)->attempt ? -1 : (*x)->attempt > (*y)->attempt;
}

/* The highest attempt of each transaction carries what counts once. */
static void
mark_last(struct report *r)
{
    struct report_row **order = calloc(r->row_count + 1, sizeof(struct report_row *));

    if (order == NULL) {
        r->out_of_memory = true;
        return;
    }
    for (size_t i = 0; i < r->row_count; i++)
        order[i] = &r->rows[i];
    if (r->row_count > 1)
        qsort(order, r->row_count, sizeof(struct report_row *), last_cmp);
    for (size_t i = 0; i < r->row_count; i++) {
        order[i]->is_last = i + 1 == r->row_count || strcmp(order[i]->txn, order[i + 1]->txn) != 0;
        r->result.requests += order[i]->is_last ? 1 : 0;
    }
    free(order);
}

static void
pair(struct report *r)
{
    if (r->row_count > 1)
        qsort(r->rows, r->row_count, sizeof(*r->rows), row_cmp);
    if (r->a2_count > 1)
        qsort(r->a2s, r->a2_count, sizeof(*r->a2s), a2_cmp);
    if (r->hop_count > 1)
        qsort(r->hops, r->hop_count, sizeof(*r->hops), hop_cmp);
    mark_last(r);
    for (size_t i = 0; i < r->row_count; i++) {
        pair_row(r, &r->rows[i]);
        pair_peer(r, &r->rows[i]);
    }
}

static void
read_ledger(struct report *r, uint32_t i)
{
    struct audit_result result;
    struct audit_opts opts = {.dir = r->opts->ledgers[i],
                              .charters = r->opts->charters,
                              .charter_count = r->opts->charter_count,
                              .verify_signatures = true,
                              .visit = visit,
                              .fault = on_fault,
                              .gap = on_gap,
                              .context = r};
    enum err e;

    r->ledger = i;
    r->run = UINT32_MAX;
    r->newest_ms = 0;
    e = audit_ledger(&opts, &result);
    if (e != ERR_OK) {
        r->result.faults++;
        report_exception_add(r, "unreadable", opts.dir, err_text(e));
        return;
    }
    r->result.unchecked += result.unchecked;
    /* A run that has come past the period adds nothing to it. */
    if (result.live_run && r->newest_ms < r->opts->to_ms) {
        r->result.live_run = true;
        report_exception_add(r, "live_run", report_pool_text(r->pool, r->run),
                             "a run goes on: later records are not in this report");
    }
}

/* Every node of every charter of the period, and of the one in force, has a ledger here. */
static void
check_nodes(struct report *r)
{
    for (size_t i = 0; i < r->opts->charter_count; i++) {
        const struct charter *c = r->opts->charters[i];

        for (size_t n = 0; (i == 0 || r->charter_named[i]) && n < c->node_count; n++)
            if (enter_node(r, c->nodes[n].name)) {
                r->result.missing++;
                report_exception_add(r, "missing_node", c->nodes[n].name,
                                     "no ledger of this node was given");
            }
    }
}

enum err
report_collect(struct report *r)
{
    for (uint32_t i = 0; i < r->opts->ledger_count; i++)
        read_ledger(r, i);
    check_nodes(r);
    pair(r);
    r->result.rows = r->row_count;
    r->result.exceptions = r->exception_count;
    return r->out_of_memory || !report_pool_ok(r->pool) ? ERR_NOMEM : ERR_OK;
}
