#ifndef RESIDENCY_REPORT_REPORT_H
#define RESIDENCY_REPORT_REPORT_H

#include "base/err.h"
#include "residency/charter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where everything was processed in a period, recomputed from the records of the ledgers
 * (docs/formats.md section 11). The same ledgers give the same files, to the byte, in
 * whatever order they are named. */

#define REPORT_LEDGERS_MAX 64
#define REPORT_ROWS_MAX (1u << 26)

struct report_opts {
    /* charters[0] is the one in force, the others are older ones. The nodes of that one, and of
     * those that a record of the period names, must all be there. */
    const struct charter *const *charters;
    size_t charter_count;
    const char *const *ledgers;
    size_t ledger_count;
    int64_t from_ms; /* of an attestation's iat: from <= iat < to */
    int64_t to_ms;
    const char *tenant;  /* with all below it; NULL for every tenant */
    const char *out_dir; /* exists */
};

struct report_result {
    uint64_t rows;       /* hop-0 attestations in the period */
    uint64_t requests;   /* different transactions of them */
    uint64_t exceptions; /* rows of exceptions.csv */
    uint64_t faults;     /* damage, missing records, ledgers that can't be read */
    uint64_t missing;    /* nodes of these charters without a ledger */
    uint64_t unchecked;  /* records whose charter is not given */
    bool live_run;       /* some ledger still grows, and has not come past the period */
};
/* Whether it is the whole story: nothing damaged, missing, unchecked or still growing. */
bool report_complete(const struct report_result *r);

/* Writes report.json, records.csv and exceptions.csv. ERR_OK also for an incomplete report:
 * see report_complete(). */
MUST_USE enum err report_write(const struct report_opts *opts, struct report_result *out);

#endif
