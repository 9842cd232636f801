#include "node/histogram.h"

#include "base/check.h"

void
histogram_add(struct histogram *h, const struct histogram_bounds *bounds, uint64_t ns)
{
    uint64_t us = ns / 1000;
    uint32_t i = 0;

    ASSERT(bounds->count <= HISTOGRAM_BOUNDS_MAX);
    while (i < bounds->count && us > bounds->us[i])
        i++;
    atomic_fetch_add_explicit(&h->counts[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

static void
add_seconds(struct text *out, uint64_t us)
{
    text_addf(out, "%llu.%06llu", (unsigned long long)(us / 1000000),
              (unsigned long long)(us % 1000000));
}

void
histogram_write(const struct histogram *h, const struct histogram_bounds *bounds, const char *name,
                const char *label, struct text *out)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i <= bounds->count; i++) {
        total += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        text_addf(out, "%s_bucket{%s,le=\"", name, label);
        if (i < bounds->count)
            add_seconds(out, bounds->us[i]);
        else
            text_add_str(out, "+Inf");
        text_addf(out, "\"} %llu\n", (unsigned long long)total);
    }
    text_addf(out, "%s_sum{%s} ", name, label);
    add_seconds(out, atomic_load_explicit(&h->sum_us, memory_order_relaxed));
    text_addf(out, "\n%s_count{%s} %llu\n", name, label, (unsigned long long)total);
}
