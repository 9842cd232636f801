#ifndef RESIDENCY_EVIDENCE_AUDIT_PRIV_H
#define RESIDENCY_EVIDENCE_AUDIT_PRIV_H

#include "base/err.h"
#include "residency/evidence/audit.h"
#include "residency/evidence/control_priv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Between the walk and the leaves of requests (audit.c) and control records
 * (audit_control.c). */

struct audit_run {
    const char *name;
    uint64_t frames;
};

/* What a later run says an earlier one came to. */
struct audit_claim {
    size_t by; /* the run that says it */
    uint64_t seq;
    char run[CONTROL_RUN_HEX];
    uint64_t frames;
};

/* A charter that the run says came into force. */
struct audit_law {
    uint64_t version;
    char cut[RECORD_ID_SIZE]; /* of its digest, as A1s name it */
    bool is_told;             /* that it is not among those given */
};

struct audit {
    const struct audit_opts *opts;
    struct audit_result *out;
    struct requests *requests;
    const char *run; /* 32 hex */
    bool started, ended;
    char node[CHARTER_NAME_MAX + 1]; /* that run_start names; "" where it can't be read */
    struct control_shard *shards;    /* of this run, by slot */
    uint64_t *next_index;
    size_t shard_count, shard_size;
    struct audit_law *laws; /* of this run */
    size_t law_count, law_size;
    struct audit_run *runs; /* those read so far, oldest first */
    size_t run_count;
    bool next_saw_it_live; /* the run behind this one began while it went on */
    struct audit_claim *claims;
    size_t claim_count, claim_size;
    struct record_a1_view a1; /* big, so not on the stack */
    struct record_a2_view a2;
};

/* Counts it and tells it; the number is the frame's, or a leaf's where the words say so. */
void audit_fault(struct audit *a, uint64_t seq, const char *what);
MUST_USE enum err audit_control(struct audit *a, const struct wal_frame *frame);
/* Of those that came so far, or NULL. */
struct audit_law *audit_control_law(const struct audit *a, uint64_t version, const char *cut);

#endif
