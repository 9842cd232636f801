#ifndef RESIDENCY_EVIDENCE_LEDGER_PRIV_H
#define RESIDENCY_EVIDENCE_LEDGER_PRIV_H

#include "base/err.h"
#include "residency/evidence/control_priv.h"
#include "residency/evidence/ledger.h"
#include "residency/evidence/wal_priv.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LEDGER_MAGIC UINT32_C(0x4c454447)
#define LEDGER_BATCH_MAX ((size_t)1 << 20)
#define LEDGER_SEGMENTS_READY 2u
#define LEDGER_LAZY_MS 50 /* how long a record that nobody waits for may stay in memory */
#define LEDGER_SHARDS_MAX (UINT32_C(1) << 20)
#define LEDGER_PATH_MAX 4096
/* What an open request holds back: its end. */
#define LEDGER_RESERVED_BYTES ((uint64_t)RECORD_A2_MAX + WAL_FRAME_HEADER)
/* What a new request needs: that, and its first permit. */
#define LEDGER_REQUEST_BYTES (LEDGER_RESERVED_BYTES + RECORD_A1_MAX + WAL_FRAME_HEADER)
/* Kept for run_end. */
#define LEDGER_MARGIN_BYTES ((uint64_t)CONTROL_TEXT_MAX + WAL_FRAME_HEADER)

/* ---- Segments: pre-written files of one run --------------------------------------- */

struct ledger_segments {
    int dir_fd; /* of the run's folder */
    uint64_t segment_bytes;
    bool direct; /* write past the page cache, where the file system can */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int ready[LEDGER_SEGMENTS_READY]; /* fds, oldest first */
    uint32_t ready_count;
    uint32_t next_number; /* of the next one to prepare */
    atomic_bool stop;
    bool running;
    pthread_t thread;
    atomic_uint_fast64_t *room; /* gets each ready segment's usable bytes */
};
MUST_USE enum err ledger_segments_init(struct ledger_segments *s, int dir_fd,
                                       uint64_t segment_bytes, bool direct,
                                       atomic_uint_fast64_t *room);
MUST_USE enum err ledger_segments_start(struct ledger_segments *s);
/* Joins the publisher thread; may be called again. */
void ledger_segments_stop(struct ledger_segments *s);
/* remove_ready: the run ended, so its unused segments go. */
void ledger_segments_fini(struct ledger_segments *s, bool remove_ready);
/* As wal_writer.next; never waits. */
MUST_USE enum err ledger_segments_take(void *segments, uint32_t number, int *fd, uint64_t *size);
/* Writes a segment of zeros and syncs it and its folder. direct: *fd is open for direct I/O,
 * where the file system has that (tmpfs has not). stop may be NULL. */
MUST_USE enum err ledger_segment_prepare(int dir_fd, uint32_t number, uint64_t size, bool direct,
                                         const atomic_bool *stop, int *fd);
/* How many bytes of a segment in use surely find room. */
uint64_t ledger_segment_usable(uint64_t size, uint64_t used);

/* ---- Control records on their way -------------------------------------------------- */

struct ledger_control_item {
    struct ledger_entry entry; /* first; type WAL_CONTROL */
    uint32_t opens_slot;       /* WAL_SLOT_NONE for other kinds */
    size_t together_bytes;     /* of all that go into one batch, on the first; else 0 */
    bool waited;
    bool done;
    enum err result;
    size_t len;
    uint8_t bytes[];
};

/* Names of runs, oldest first. */
#define LEDGER_RUN_AT 14 /* where the run's id begins in its name */
struct ledger_runs {
    char (*names)[48];
    size_t count;
};

/* ---- The ledger --------------------------------------------------------------------- */

struct ledger_shard_row {
    char tenant[CHARTER_TENANT_MAX + 1];
    struct ledger_shard shard;
};

struct ledger_worker {
    _Atomic(struct ledger_entry *) completed; /* newest first */
    bool touched;                             /* commit thread's, within a batch */
};

struct ledger {
    uint32_t magic;
    struct ledger_opts opts; /* texts are not kept */
    int lock_fd;             /* of the folder; -1 once handed over */
    int run_lock_fd;         /* of this run */
    char run[CONTROL_RUN_HEX];
    struct ledger_segments segments;
    struct wal_writer writer; /* commit thread's */
    uint64_t current_left;    /* how much of room stands in the current segment; likewise */
    uint64_t *next_index;     /* of each slot; likewise */
    size_t next_index_size;
    _Atomic(struct ledger_entry *) submitted; /* newest first */
    atomic_bool wanted;                       /* somebody waits for what was submitted */
    atomic_bool asleep; /* the commit thread waits: whoever clears it writes the event */
    atomic_bool stop;
    atomic_bool sick; /* a write or sync failed: for good */
    /* When the batch under way began, in monotonic ns; 0: none is. */
    atomic_uint_fast64_t batch_since_ns;
    int event_fd;
    bool running;
    pthread_t thread;
    struct ledger_worker *workers;
    atomic_uint_fast64_t room;     /* usable bytes in the current and the ready segments */
    atomic_uint_fast64_t promised; /* of these: to reservations and queued control records */
    atomic_uint_fast64_t open;     /* reservations */
    atomic_uint_fast64_t frames, batches, bytes, syncs;
    pthread_mutex_t shard_lock;
    struct ledger_shard_row *shards; /* by slot */
    size_t shards_size;
    uint32_t shard_count;
    uint32_t *shard_index; /* open addressing by tenant and month: slot + 1, 0 free */
    size_t shard_index_size;
    pthread_mutex_t control_lock;
    pthread_cond_t control_done;
    char *runs_dir;          /* while others are live */
    struct ledger_runs live; /* the watching thread's once it runs */
    atomic_bool alone;       /* no other run is live */
    bool watching;
    bool watch_stop; /* under watch_lock */
    pthread_mutex_t watch_lock;
    pthread_cond_t watch_changed;
    pthread_t watch_thread;
};

/* Pushes without looking at anything: from any thread. Without `wake` it waits for the next
 * batch that somebody needs, at most LEDGER_LAZY_MS. */
void ledger_push(struct ledger *l, struct ledger_entry *newest, struct ledger_entry *oldest,
                 bool wake);
/* Takes room out of what is neither used nor promised. */
MUST_USE bool ledger_promise(struct ledger *l, uint64_t bytes);
uint64_t ledger_control_cost(size_t len);
/* A promised item, or ERR_FULL, ERR_NOMEM, ERR_TOOBIG. Gives. */
MUST_USE enum err ledger_control_new(struct ledger *l, struct slice json,
                                     struct ledger_control_item **out);
void ledger_shards_fini(struct ledger *l);

MUST_USE enum err ledger_commit_start(struct ledger *l);
/* Lets the queue run empty and joins. */
void ledger_commit_stop(struct ledger *l);

/* ---- Runs ----------------------------------------------------------------------------- */

struct ledger_previous {
    char run[CONTROL_RUN_HEX]; /* "" when there is none */
    bool live;                 /* its process goes on: how many frames it will have is open */
    uint64_t frames;
    int64_t started_ms; /* from its name */
};
/* Closes every run that did not end and that no process holds; *live gets the names of those
 * that one does. runs_dir is <ledger>/runs. */
MUST_USE enum err ledger_recover(const char *runs_dir, int64_t now_ms, struct ledger_previous *out,
                                 struct ledger_runs *live, char *why, size_t why_size);
/* The same for one run. ERR_EXIST: a process holds it. */
struct ledger_closed {
    uint64_t frames, lost;
    bool was_open; /* its process had not ended it */
};
MUST_USE enum err ledger_recover_run(const char *runs_dir, const char *name, int64_t now_ms,
                                     struct ledger_closed *out, char *why, size_t why_size);
/* Gives. */
MUST_USE enum err ledger_runs_list(const char *runs_dir, struct ledger_runs *out);
void ledger_runs_free(struct ledger_runs *runs);

/* A run's lock file is held from before its first frame until its process is gone. */
MUST_USE enum err ledger_run_lock(int dir_fd, int *lock_fd);
/* ERR_OK: nobody held it, *lock_fd does now. ERR_EXIST: its process lives. ERR_NOENT: there
 * is none any more, or never was. */
MUST_USE enum err ledger_run_probe(const char *runs_dir, const char *name, int *lock_fd);
/* ended: the file goes too. */
void ledger_run_unlock(int dir_fd, int *lock_fd, bool ended);

/* ---- Runs of others ------------------------------------------------------------------- */

/* A thread that waits for the end of runs that were live when this one began: it closes those
 * whose process died, and writes down how many frames each came to. */
MUST_USE enum err ledger_watch_start(struct ledger *l);
void ledger_watch_stop(struct ledger *l);

#endif
