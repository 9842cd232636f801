#ifndef NODE_WORKER_H
#define NODE_WORKER_H

#include "base/buf.h"
#include "base/jscan.h"
#include "base/spare.h"
#include "crypto/random.h"
#include "health/view.h"
#include "net/listener.h"
#include "net/loop.h"
#include "node/metrics.h"
#include "node/overload.h"
#include "node/snapshot.h"
#include "residency/evidence/ledger.h"
#include "residency/evidence/subject.h"
#include "residency/evidence/subject_memo.h"
#include "residency/legal_digests.h"
#include "routing/admission.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One thread with its own loop, connections and upstream pool. Workers share nothing but
 * the ledger's hand-over, the admission object, what overload counts, and immutable
 * snapshots. */

struct upstream_pool;
struct client;
struct txn;
struct worker;

/* What all workers of a node have in common; owned by node.c, filled before they start. */
struct shared {
    struct admission *admission;
    struct ledger *ledger;
    struct subject_store *subjects;
    struct metrics metrics;
    struct overload *overload;
    pthread_mutex_t lock; /* of current and view: taken to swap and to fetch */
    struct snapshot *current;
    struct health_view *view;
    _Atomic uint64_t generation; /* of current */
    _Atomic uint64_t view_serial;
    _Atomic uint64_t serials; /* of transactions */
    _Atomic bool held;        /* until a takeover is done, nothing is accepted */
    _Atomic bool silent;      /* no adverts: another process of this node writes them */
    _Atomic bool announced;   /* adverts and readiness say so; keep-alive ends with each answer */
    _Atomic bool draining;    /* nothing more is accepted */
    _Atomic int64_t drain_grace_ms; /* what an idle connection has left then */
    _Atomic unsigned closed_count;  /* workers that let go of the listening sockets */
    _Atomic bool cutting;           /* what is under way is refused, or cut; nothing is sent */
    _Atomic bool stopping;          /* every connection is closed, the loops end */
    struct worker *workers;
    unsigned worker_count;
    int public_fd;
    int mesh_fd; /* -1: none */
};

struct worker {
    unsigned index;
    struct shared *shared;
    pthread_t thread;
    struct loop *loop;
    struct buf_pool *pool;
    struct snapshot *snapshot; /* current as this worker sees it */
    struct health_view *view;
    struct identity_cache *identities;
    struct jscan_keys *keys;
    struct upstream_pool *upstreams;
    struct listener *public_listener;
    struct listener *mesh_listener;
    struct choose_own *own; /* scratch for choose, BITS_COUNT_MAX */
    struct legal_digests *legal_digests;
    struct record_beginnings *beginnings;
    struct subject_memo *subjects;
    struct random_stock random;    /* request ids and ties: nothing secret */
    struct client *clients;        /* list of open ones */
    struct txn *txns;              /* list of open ones */
    struct spare entries;          /* records for the ledger, none of them in use */
    struct ledger_entry *gathered; /* records of this turn, newest first */
    struct txn *unclosed;          /* ended, without memory for their A2 */
    struct txn *free_txns;
    struct spare blocks; /* arenas of transactions */
    struct timer *trim;
    bool trimming; /* its timer is set: something is kept */
    size_t txn_count;
    pthread_mutex_t grant_lock; /* of grants */
    struct txn *grants;         /* queued requests that got a slot */
    struct overload_share load; /* what this worker last told overload */
    int64_t records;            /* ledger entries handed out */
    struct mono shed_at;        /* when connections were last shed */
    struct mono fault_logged;   /* handshake.c: since when these two count */
    unsigned fault_lines;
    uint64_t fault_held;
    bool accepting;
    bool held;
    bool told_cut;
    bool told_stop;
};

MUST_USE enum err worker_start(struct worker *w, struct shared *shared, unsigned index);
/* After shared->stopping: waits for the thread's end. */
void worker_join(struct worker *w);
/* After the thread's end, by hand what its loop did: takes the ledger's answers and the slots
 * that came, and hands over what they led to. True: something did, so that it takes another
 * round. */
bool worker_settle(struct worker *w);
/* Once nothing is on its way: frees what the worker held. */
void worker_free(struct worker *w);
/* From any thread: look at shared and the message lists again. */
void worker_wake(struct worker *w);

/* A transaction's arena, TXN_ARENA_BYTES; NULL without memory. */
uint8_t *worker_block(struct worker *w);
void worker_block_return(struct worker *w, uint8_t *block);
/* A record on its way to the ledger, from this worker's own list; NULL without memory. */
struct ledger_entry *worker_entry(struct worker *w);
/* For the end of a request: NULL only while all that are kept for these are on their way to the
 * ledger, from where they come back. */
struct ledger_entry *worker_last_entry(struct worker *w);
void worker_entry_return(struct worker *w, struct ledger_entry *entry);
/* The transaction ended and there is no memory for its A2: it is written as soon as there is. */
void worker_owe(struct worker *w, struct txn *t);
/* Takes a record for the ledger; handed over at the end of the turn with all others of it,
 * so that they share one write and one sync. */
void worker_submit(struct worker *w, struct ledger_entry *entry);
/* The hand-over; outside of turns (when the node stops) called by hand. */
void worker_hand_over(struct worker *w);
/* From any thread: the transaction got its slot. */
void worker_grant(struct worker *w, struct txn *t);

#endif
