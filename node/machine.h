#ifndef NODE_MACHINE_H
#define NODE_MACHINE_H

#include "base/slice.h"

#include <stddef.h>
#include <stdint.h>

/* What the machine, or the control group around this process, allows. Read once at the
 * start; nothing here is asked on the path of a request. */

/* Bytes of memory: the machine's, or the least of the limits of the control groups (v2)
 * that this process is in. 0 when neither could be learnt. */
uint64_t machine_memory_bytes(void);
/* Open descriptors of this process; 0 when that can't be learnt. */
uint64_t machine_descriptors_open(void);
/* The soft limit of descriptors. */
uint64_t machine_descriptors_max(void);

/* The text of a memory.max: a number, or UINT64_MAX for "max" and for anything else. */
uint64_t machine_memory_max(struct slice text);

#endif
