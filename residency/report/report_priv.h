#ifndef RESIDENCY_REPORT_REPORT_PRIV_H
#define RESIDENCY_REPORT_REPORT_PRIV_H

#include "base/text.h"
#include "residency/evidence/audit.h"
#include "residency/report/report.h"

#include <stdio.h>

/* Between collecting (report_collect.c), counting (report_count.c) and writing
 * (report_json.c, report_csv.c). Texts are kept once, as numbers of a pool. */

struct report_pool;
MUST_USE enum err report_pool_new(struct report_pool **out);
void report_pool_free(struct report_pool **pool);
/* The number of a text; out of memory is remembered by the pool, and then 0 ("") comes. */
uint32_t report_pool_add(struct report_pool *pool, const char *text);
const char *report_pool_text(const struct report_pool *pool, uint32_t id);
bool report_pool_ok(const struct report_pool *pool);

struct report_a2 {
    char txn[UUID_TEXT_SIZE];
    uint32_t ledger;
    enum record_end end;
    int status;
    int64_t prompt_tokens;
    int64_t completion_tokens;
    uint64_t request_bytes; /* of a streamed body, else 0 */
    size_t attempt_count;
    struct {
        uint64_t index;
        uint32_t outcome;
        int status;
        char peer_hash[RECORD_HASH_SIZE];
    } attempts[RECORD_ATTEMPTS_MAX];
};

struct report_hop { /* an attestation of a peer */
    char hash[RECORD_HASH_SIZE];
    uint32_t backend, version, evidence;
    uint16_t country;
    uint16_t operated;
    uint16_t owner;
};

struct report_row { /* an attestation of an ingress */
    int64_t iat_s;
    char txn[UUID_TEXT_SIZE];
    char sub[RECORD_ID_SIZE];
    char shard[RECORD_ID_SIZE];
    uint64_t index;
    uint64_t charter_version;
    uint64_t request_bytes;
    uint32_t attempt;
    uint32_t ledger;
    bool permit;
    bool is_last; /* of its transaction: carries what counts once */
    uint16_t origin;
    uint16_t country;
    uint16_t operated;
    uint16_t owner;
    uint32_t tenant, auth, role, class_name, source, quality, node, region, reason;
    uint32_t target_region, target_node, backend, endpoint;
    uint32_t requested, version, evidence;
    const struct report_a2 *a2; /* or NULL */
    uint32_t outcome;           /* of this attempt, by the A2 */
    int outcome_status;
    const char *peer_hash; /* likewise, of the peer's attestation; "" or NULL without one */
};

struct report_exception {
    uint32_t kind, where, what;
};

struct report {
    const struct report_opts *opts;
    struct report_result result;
    struct report_pool *pool;
    struct report_row *rows;
    size_t row_count, row_size;
    struct report_a2 *a2s;
    size_t a2_count, a2_size;
    struct report_hop *hops;
    size_t hop_count, hop_size;
    struct report_exception *exceptions;
    size_t exception_count, exception_size;
    uint32_t *runs; /* every run met, in order */
    size_t run_count, run_size;
    uint32_t *refusals; /* pairs of code and count */
    size_t refusal_count, refusal_size;
    uint32_t *nodes; /* whose ledgers are here */
    size_t node_count, node_size;
    bool *charter_named; /* by a record of the period */
    uint32_t ledger;     /* that is being read */
    uint32_t run;        /* that is being read */
    int64_t newest_ms;   /* of that ledger's records so far */
    bool skip_run;       /* it was read before */
    bool out_of_memory;
};

void report_exception_add(struct report *r, const char *kind, const char *where, const char *what);
/* Reads every ledger, pairs the records, names what is missing. */
MUST_USE enum err report_collect(struct report *r);

/* Sums by up to four numbers. */
#define REPORT_SUMS 4
struct report_item {
    uint32_t key[4];
    uint64_t sum[REPORT_SUMS];
    bool is_used;
};
struct report_tally {
    struct report_item *items; /* after report_tally_close: count of them, in order */
    size_t count, size;
    bool failed;
};
/* Adds to one sum of one key; out of memory is remembered. */
void report_tally_add(struct report_tally *t, const uint32_t key[4], unsigned which, uint64_t n);
/* Packs the items and sorts them by `cmp`. */
void report_tally_close(struct report_tally *t, int (*cmp)(const void *a, const void *b));
void report_tally_free(struct report_tally *t);

/* A file that appears whole or not at all. */
struct report_file {
    char path[1024];
    char temporary[1032];
    FILE *f;
};
MUST_USE enum err report_file_open(const char *dir, const char *name, struct report_file *out);
/* Keeps it when ok, else removes it. */
MUST_USE enum err report_file_close(struct report_file *f, bool ok);
bool report_file_add(struct report_file *f, const struct text *t);

MUST_USE enum err report_csv_write(const struct report *r);
MUST_USE enum err report_json_write(const struct report *r);

#endif
