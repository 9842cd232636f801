#ifndef HEALTH_METRICS_H
#define HEALTH_METRICS_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Gauges out of a Prometheus text page (exposition format 0.0.4). Pure. */

/* Sum and maximum of a gauge over its label sets, in thousandths; negative values and NaN
 * count as 0, large ones are cut to METRICS_MAX. False when the page has no such gauge. */
#define METRICS_MAX UINT64_C(1000000000000)
struct metrics_gauge {
    uint64_t sum_milli;
    uint64_t max_milli;
};
bool metrics_find(struct slice page, struct slice name, struct metrics_gauge *out);

#endif
