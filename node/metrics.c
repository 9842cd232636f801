#include "node/metrics.h"

#include "base/check.h"

#include <string.h>

#define REFUSAL_ROW(name, code, status, type) [name] = {code, status, type},
static const struct refusal_row refusal_rows[REFUSAL_COUNT] = {REFUSAL_LIST(REFUSAL_ROW)};
#undef REFUSAL_ROW

const struct refusal_row *
refusal_row(enum refusal r)
{
    ASSERT(r < REFUSAL_COUNT);
    return &refusal_rows[r];
}

enum refusal
refusal_find(const char *code)
{
    for (size_t i = 0; i < REFUSAL_COUNT; i++)
        if (strcmp(refusal_rows[i].code, code) == 0)
            return (enum refusal)i;
    return REFUSAL_BAD_REQUEST;
}

/* The bounds that OpenTelemetry advises for the metrics of these names. */
static const struct histogram_bounds first_token_bounds = {
    16,
    {1000, 5000, 10000, 20000, 40000, 60000, 80000, 100000, 250000, 500000, 750000, 1000000,
     2500000, 5000000, 7500000, 10000000}};
static const struct histogram_bounds next_token_bounds = {13,
                                                          {10000, 25000, 50000, 75000, 100000,
                                                           150000, 200000, 300000, 400000, 500000,
                                                           750000, 1000000, 2500000}};

static const char *const operations[OPERATION_COUNT] = {
    [OPERATION_CHAT] = "chat",
    [OPERATION_TEXT_COMPLETION] = "text_completion",
    [OPERATION_EMBEDDINGS] = "embeddings",
};

void
metrics_first_token(struct metrics *m, enum endpoint_operation operation, uint64_t ns)
{
    ASSERT(operation < OPERATION_COUNT);
    histogram_add(&m->first_token[operation], &first_token_bounds, ns);
}

void
metrics_next_token(struct metrics *m, enum endpoint_operation operation, uint64_t ns)
{
    ASSERT(operation < OPERATION_COUNT);
    histogram_add(&m->next_token[operation], &next_token_bounds, ns);
}

static int64_t
unrecorded(const struct metrics *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < REFUSAL_COUNT; i++)
        sum += atomic_load_explicit(&m->unrecorded[i], memory_order_relaxed);
    return (int64_t)sum;
}

static void
write_histograms(const struct histogram *all, const struct histogram_bounds *bounds,
                 const char *name, const char *help, struct text *out)
{
    char label[64];

    text_addf(out, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (size_t i = OPERATION_NONE + 1; i < OPERATION_COUNT; i++) {
        (void)text_format(label, sizeof(label), "gen_ai_operation_name=\"%s\"", operations[i]);
        histogram_write(&all[i], bounds, name, label, out);
    }
}

static void
write_one(struct text *out, const char *name, const char *help, const char *kind, int64_t value)
{
    text_addf(out, "# HELP %s %s\n# TYPE %s %s\n%s %lld\n", name, help, name, kind, name,
              (long long)value);
}

void
metrics_write(const struct metrics *m, struct text *out)
{
#define METRICS_WRITE(field, name, help)  \
    write_one(out, name, help, "counter", \
              (int64_t)atomic_load_explicit(&m->field, memory_order_relaxed));
    METRICS_LIST(METRICS_WRITE)
#undef METRICS_WRITE
    write_one(out, "portolan_tls_handshakes", "TLS handshakes under way.", "gauge",
              atomic_load_explicit(&m->handshakes_open[0], memory_order_relaxed) +
                  atomic_load_explicit(&m->handshakes_open[1], memory_order_relaxed));
    write_one(out, "portolan_clients", "Client connections open.", "gauge",
              atomic_load_explicit(&m->clients_open, memory_order_relaxed));
    write_one(out, "portolan_requests", "Requests under way.", "gauge",
              atomic_load_explicit(&m->requests_open, memory_order_relaxed));
    write_one(out, "portolan_body_bytes", "Bytes of request bodies held.", "gauge",
              atomic_load_explicit(&m->body_bytes, memory_order_relaxed));
    write_one(out, "portolan_refusals_unrecorded",
              "Refusals that wait for the ledger's next count of them.", "gauge", unrecorded(m));
    write_histograms(m->first_token, &first_token_bounds,
                     "gen_ai_server_time_to_first_token_seconds",
                     "From a streamed request's head to its answer's first event.", out);
    write_histograms(m->next_token, &next_token_bounds,
                     "gen_ai_server_time_per_output_token_seconds",
                     "Between the events of streamed answers.", out);
    text_add_str(out, "# HELP portolan_tls_handshakes_failed_total TLS handshakes by fault.\n"
                      "# TYPE portolan_tls_handshakes_failed_total counter\n");
    for (size_t i = TLS_FAULT_NONE + 1; i < TLS_FAULT_COUNT; i++)
        text_addf(out, "portolan_tls_handshakes_failed_total{reason=\"%s\"} %llu\n",
                  tls_fault_text((enum tls_fault)i),
                  (unsigned long long)atomic_load_explicit(&m->handshakes_failed[i],
                                                           memory_order_relaxed));
    text_add_str(out, "# HELP portolan_refusals_total Refusals by code.\n"
                      "# TYPE portolan_refusals_total counter\n");
    for (size_t i = 0; i < REFUSAL_COUNT; i++)
        text_addf(out, "portolan_refusals_total{code=\"%s\"} %llu\n", refusal_rows[i].code,
                  (unsigned long long)atomic_load_explicit(&m->refusals[i], memory_order_relaxed));
}
