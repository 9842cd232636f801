#ifndef RESIDENCY_EVIDENCE_AUDIT_H
#define RESIDENCY_EVIDENCE_AUDIT_H

#include "base/err.h"
#include "base/slice.h"
#include "residency/evidence/record.h"
#include "residency/evidence/wal.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The reading side: walks every run of a ledger folder, checks what docs/formats.md
 * promises, and shows each record to a visitor. Needs no lock: also on a live ledger. */

struct audit_record {
    const char *run; /* 32 hex */
    const char *tenant;
    struct wal_frame frame;
    const struct record_a1_view *a1; /* for A1 */
    const struct record_a2_view *a2; /* for A2 */
};

struct audit_result {
    uint64_t runs, frames, a1, a2, controls, shards;
    uint64_t permits, denies, open; /* open: permits without an A2 (a live or crashed run) */
    uint64_t lost;
    uint64_t faults;    /* each was also passed to fault() */
    uint64_t unchecked; /* A1s whose charter is not given; each charter was passed to gap() */
    bool live_run; /* a run has no run_end yet: the newest, or one that the next began beside */
};

struct audit_opts {
    const char *dir;
    const struct charter *const *charters; /* at least one */
    size_t charter_count;
    bool verify_signatures;
    /* May be NULL. */
    void (*visit)(void *context, const struct audit_record *record);
    void (*fault)(void *context, const char *where, const char *what);
    void (*gap)(void *context, const char *where, const char *what);
    void *context;
};
/* ERR_OK also with faults (see result->faults); an error only if the folder can't be read
 * at all. Checks: frames and CRCs, seq and batch order, run_start first, shard_open before
 * first use, contiguous leaf indices in each shard, every signature, each A1's node and charter
 * are those that run_start and an earlier charter record name, that charter is the one given of
 * its version, shard claim equals the frame's shard, A2 hash and index are those of the txn's
 * last attempt, its attempts are the txn's permits, at most one A2 a txn, closed runs have no
 * open request. An A1 whose charter is not given is no fault but a gap (result->unchecked): it is
 * verified with the keys of the others. */
MUST_USE enum err audit_ledger(const struct audit_opts *opts, struct audit_result *out);

#endif
