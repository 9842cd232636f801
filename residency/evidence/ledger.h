#ifndef RESIDENCY_EVIDENCE_LEDGER_H
#define RESIDENCY_EVIDENCE_LEDGER_H

#include "base/err.h"
#include "base/slice.h"
#include "residency/evidence/record.h"
#include "residency/evidence/subject.h"
#include "residency/evidence/wal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The writing side: records go in from any worker, the commit thread gives each its leaf
 * index, writes what has gathered in one write and one fdatasync, and hands the answers
 * back. A publisher thread keeps the next segments pre-written.
 *
 *   worker: entry from its own pool -> ledger_submit() -> (commit thread) -> completion
 *   list of that worker + wake() -> worker: ledger_collect() -> entry->done(entry)
 */

struct ledger;
struct ledger_run_over;

/* How long one write and sync may take before no new request is admitted: those that wait for
 * it can't be helped, others would only join them. */
#define LEDGER_STALL_MS 5000

enum ledger_durability { LEDGER_DISK, LEDGER_PROCESS };

struct ledger_opts {
    const char *dir; /* <ledger>, exists or can be created */
    const char *mesh;
    const char *node;
    const char *region;
    const char *software; /* version for run_start */
    enum ledger_durability durability;
    size_t segment_bytes;           /* 1 MiB .. 1 GiB */
    unsigned worker_count;          /* completion lists */
    struct subject_store *subjects; /* flushed before each batch; borrowed */
    const struct charter *charter;  /* for recovery only */
    uint32_t stall_ms;              /* 0: LEDGER_STALL_MS */
    bool has_lock;                  /* lock_fd is <ledger>/lock, locked by the process before */
    int lock_fd;                    /* taken, also on failure */
    int64_t now_ms;
    /* Wakes worker i's loop after completions were listed; called by the commit thread. */
    void (*wake)(void *context, unsigned worker);
    void *wake_context;
    /* May be NULL. A run that another process wrote when this one began has ended: by itself,
     * or its process died and its open requests were closed here as lost; or, result not
     * ERR_OK, it could not be. why: words, "" when it could. Called by a thread of its own. */
    void (*run_over)(void *context, const struct ledger_run_over *over);
};

struct ledger_run_over {
    const char *run; /* 32 hex */
    enum err result;
    bool died;
    uint64_t lost;
    const char *why;
    bool alone; /* it was the last of them */
};

/* Takes the lock, recovers runs that did not end and that no process holds (lost records,
 * torn tails), starts a new run and both threads. ERR_EXIST: another process holds the lock;
 * ERR_CONFLICT: a damaged log; *why gets words (why_size bytes). A run that is still being
 * written by the process that this one takes over from is watched: see run_over. */
MUST_USE enum err ledger_open(const struct ledger_opts *opts, struct ledger **out, char *why,
                              size_t why_size);
/* Joins the threads after all submitted entries are written, calls done() of those not yet
 * collected, and writes run_end. Without run_end when a reservation is open or the ledger
 * failed: the next start then closes what is open as lost. No other thread may use it. */
void ledger_close(struct ledger **l);

/* One record on its way. Lives in the submitter's pool until done() is called on the
 * submitting worker's thread. */
struct ledger_entry {
    struct ledger_entry *next; /* ledger's while submitted */
    void (*done)(struct ledger_entry *entry);
    void *owner; /* the submitter's */
    enum wal_type type;
    unsigned worker;
    uint32_t slot; /* of the shard */
    size_t len;
    size_t promised;              /* of the room, for an A1: ledger_reserve_entry */
    uint64_t index;               /* out: the leaf */
    enum err result;              /* out: ERR_OK once durable */
    uint8_t bytes[RECORD_A2_MAX]; /* the payload */
};

/* Room for the A2 of a request: taken before its first permit, given back by the A2, or by
 * ledger_release when none will come, and then only after done() of the last entry: room that
 * is given back while an entry is under way could be promised twice.
 * ERR_FULL when the pre-written segments can't hold it, ERR_IO after a failed write or sync,
 * and while one hangs: refuse with ledger_unavailable. */
MUST_USE enum err ledger_reserve(struct ledger *l);
void ledger_release(struct ledger *l);
/* Room for an A1 whose bytes are there: needed before it is submitted, given back when it is
 * written.
 * Errors as above. */
MUST_USE enum err ledger_reserve_entry(struct ledger *l, struct ledger_entry *entry);
/* Whether new requests may be admitted at all (for /ready). A failed write or sync is for good,
 * one that hangs (LEDGER_STALL_MS) until it is over. */
bool ledger_healthy(const struct ledger *l);
/* One hangs: whoever waited for a record now would wait with it. */
bool ledger_stalled(const struct ledger *l);

/* The shard of a tenant in the month of wall_ms; opened (control frame) when new. Thread-
 * safe, short mutex; callers cache it by tenant and month. */
struct ledger_shard {
    char id[RECORD_ID_SIZE];
    uint32_t slot;
    uint32_t month; /* year * 12 + month - 1 */
};
MUST_USE enum err ledger_shard(struct ledger *l, struct slice tenant, int64_t wall_ms,
                               struct ledger_shard *out);

/* Hands an entry over; never blocks, never fails: its result comes with done(). Nobody waits
 * for an A2: it rides in the next batch that has an A1, or in one of its own some 50 ms
 * later, and its done() comes with the worker's next collection. */
void ledger_submit(struct ledger *l, struct ledger_entry *entry);
/* The same for a list linked through next, newest first: what one turn of a worker brought is
 * one hand-over and wakes the commit thread once. */
void ledger_submit_list(struct ledger *l, struct ledger_entry *newest);
/* Calls done() of each completed entry of this worker, on the caller's thread. */
void ledger_collect(struct ledger *l, unsigned worker);
/* Appends a control record (JCS text, at most WAL_PAYLOAD_MAX), from any thread; waits
 * for it to be durable when wait is set (not on a worker). */
MUST_USE enum err ledger_control(struct ledger *l, struct slice json, bool wait);
/* Several, one after the other in one batch: when this returns either all of them are durable or,
 * on an error, none is in a log that goes on (after a failed write or sync none does). Not on
 * a worker. */
#define LEDGER_TOGETHER_MAX 8
MUST_USE enum err ledger_control_together(struct ledger *l, const struct slice *json, size_t count);
/* Waits until everything submitted before is durable or has failed; its done() calls are
 * then due (ledger_collect). Not on a worker. ERR_IO after a failed write or sync. */
MUST_USE enum err ledger_drain(struct ledger *l);

const char *ledger_run_id(const struct ledger *l); /* 32 hex */
/* The folder's lock, for the process that takes over: it shares it, so that no third one can
 * have it in between. ledger_unlock() leaves it to that one; this run goes on. */
int ledger_lock_fd(const struct ledger *l);
void ledger_unlock(struct ledger *l);
/* No other process writes a run in this folder. */
bool ledger_alone(const struct ledger *l);
struct ledger_stats {
    uint64_t frames, batches, bytes, syncs, open_requests, segments_ready;
};
void ledger_stats(const struct ledger *l, struct ledger_stats *out);

#endif
