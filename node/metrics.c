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
