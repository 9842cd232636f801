#ifndef NODE_MACHINE_H
#define NODE_MACHINE_H

#include "base/slice.h"
#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

/* What the machine, or the control group around this process, allows, and what this process
 * uses of it. Nothing here is asked on the path of a request. */

/* Bytes of memory: the machine's, or the least of the limits of the control groups (v2)
 * that this process is in. 0 when neither could be learnt. */
uint64_t machine_memory_bytes(void);
/* Open descriptors of this process; 0 when that can't be learnt. */
uint64_t machine_descriptors_open(void);
/* The soft limit of descriptors. */
uint64_t machine_descriptors_max(void);

/* What this process uses, as Prometheus text: the process_* metrics that its client libraries
 * give (https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics), and the
 * bytes in use of the allocator's heap. What can't be learnt is left out. */
void machine_metrics(struct text *out);

/* Free memory of the heap goes back to the system. */
void machine_give_back(void);

/* The text of a memory.max: a number, or UINT64_MAX for "max" and for anything else. */
uint64_t machine_memory_max(struct slice text);

#endif
