#ifndef NODE_HISTOGRAM_H
#define NODE_HISTOGRAM_H

#include "base/text.h"

#include <stdatomic.h>
#include <stdint.h>

/* Durations counted by size: relaxed atomics, written by any thread, no allocation. Two reads
 * of a histogram that is being written may differ by what was added between them. */

#define HISTOGRAM_BOUNDS_MAX 16

struct histogram_bounds {
    uint32_t count;
    uint32_t us[HISTOGRAM_BOUNDS_MAX]; /* upper bounds in microseconds, rising */
};

struct histogram {
    _Atomic uint64_t counts[HISTOGRAM_BOUNDS_MAX + 1]; /* the last one is above all bounds */
    _Atomic uint64_t sum_us;
};

void histogram_add(struct histogram *h, const struct histogram_bounds *bounds, uint64_t ns);
/* The lines of one series in the Prometheus text format, in seconds. label: name="value". */
void histogram_write(const struct histogram *h, const struct histogram_bounds *bounds,
                     const char *name, const char *label, struct text *out);

#endif
