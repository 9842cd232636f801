#ifndef TESTS_UNIT_EVIDENCE_FIXTURE_H
#define TESTS_UNIT_EVIDENCE_FIXTURE_H

#include "base/file.h"
#include "base/text.h"
#include "crypto/key.h"
#include "crypto/random.h"
#include "residency/charter.h"
#include "residency/country.h"
#include "residency/evidence/audit.h"
#include "residency/evidence/ledger.h"
#include "residency/evidence/record.h"

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* A folder, a node with an attest key and a charter that knows it, and records of it. */

#define FIXTURE_NOW_MS INT64_C(1795464000000) /* 2026-11-23 */
/* What the node writes of its charter before its first request. */
#define FIXTURE_CHARTER                                                                 \
    "{\"digest\":\"CCCCCCCCCCCCCCCCCCCCCAAAAAAAAAAAAAAAAAAAAAA\",\"kind\":\"charter\"," \
    "\"t\":1,\"v\":1,\"version\":7}"
#define FIXTURE_ISSUER "spiffe://mesh.example/node/eu-west-1"

struct fixture {
    char dir[64];
    struct key *key;
    struct record_signer *signer;
    struct charter_key charter_key;
    struct charter_node node;
    struct charter charter;
};

static inline int
fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline struct fixture *
fixture_new(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    size_t len = HASH_SIZE;

    assert_non_null(f);
    memcpy(f->dir, "/tmp/portolan-evidence-XXXXXX", 30);
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(key_generate(KEY_ES256, &f->key), ERR_OK);
    assert_int_equal(record_signer_new(f->key, &f->signer), ERR_OK);
    f->charter_key = (struct charter_key){KEY_USE_ATTEST, f->key, 0, INT64_MAX};
    f->node = (struct charter_node){
        .name = "eu-west-1", .spiffe = FIXTURE_ISSUER, .keys = &f->charter_key, .key_count = 1};
    f->charter.mesh = "mesh";
    f->charter.version = 7;
    assert_true(text_unb64url(SLICE_LIT("CCCCCCCCCCCCCCCCCCCCCA"), f->charter.digest, &len));
    f->charter.nodes = &f->node;
    f->charter.node_count = 1;
    return f;
}

static inline void
fixture_free(struct fixture *f)
{
    record_signer_free(&f->signer);
    key_free(&f->key);
    (void)nftw(f->dir, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
}

static inline struct record_a1
fixture_a1(const char *txn, const char *shard)
{
    static const uint8_t digest[32] = {1, 2, 3};

    return (struct record_a1){
        .issuer = FIXTURE_ISSUER,
        .audience = "backend:de-1",
        .txn = txn,
        .node = "eu-west-1",
        .iat_s = FIXTURE_NOW_MS / 1000,
        .permit = true,
        .reason = "permitted",
        .tenant = "acme/de",
        .sub = "AAAAAAAAAAAAAAAAAAAAAA",
        .auth = "jwt",
        .role = "analyst",
        .country = ('D' - 'A') * 26 + ('E' - 'A'),
        .registered = COUNTRY_NONE,
        .origin_source = "socket",
        .origin_quality = "found",
        .geo_db = "BBBBBBBBBBBBBBBBBBBBBA",
        .ingress_region = "eu-west",
        .ingress_node = "eu-west-1",
        .charter_version = 7,
        .charter_digest = "CCCCCCCCCCCCCCCCCCCCCA",
        .policy_digest = "DDDDDDDDDDDDDDDDDDDDDA",
        .legal_count = 3,
        .legal_digest = digest,
        .target_backend = "de-1",
        .target_region = "eu-west",
        .target_country = ('D' - 'A') * 26 + ('E' - 'A'),
        .target_operator = ('D' - 'A') * 26 + ('E' - 'A'),
        .target_owner = ('F' - 'A') * 26 + ('R' - 'A'),
        .target_assurance = "spki",
        .target_key = digest,
        .model_requested = SLICE_LIT("mistral"),
        .model_served = "mistral-7b-instruct",
        .model_version = "mistral-7b@0.3",
        .model_evidence = "name",
        .endpoint = "chat.completions",
        .request_bytes = 1234,
        .request_commitment = digest,
        .shard = shard,
    };
}

static inline struct record_a2
fixture_a2(const char *txn, const char *shard, const uint8_t hash[32], uint64_t index,
           const struct record_attempt *attempt)
{
    return (struct record_a2){
        .txn = txn,
        .shard = shard,
        .a1_hash = hash,
        .a1_index = index,
        .end = RECORD_COMPLETE,
        .status = 200,
        .answer_bytes = 10,
        .received_ms = FIXTURE_NOW_MS,
        .end_ms = FIXTURE_NOW_MS + 5,
        .prompt_tokens = 3,
        .completion_tokens = 0,
        .attempts = attempt,
        .attempt_count = 1,
    };
}

/* ---- A worker that waits for its entries -------------------------------------------- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    unsigned wakes;
};

static inline void
waiter_init(struct waiter *w)
{
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->woken, NULL);
    w->wakes = 0;
}

/* ledger_opts.wake: context is an array of waiters, one a worker. */
static inline void
waiter_wake(void *context, unsigned worker)
{
    struct waiter *w = (struct waiter *)context + worker;

    (void)pthread_mutex_lock(&w->lock);
    w->wakes++;
    (void)pthread_cond_signal(&w->woken);
    (void)pthread_mutex_unlock(&w->lock);
}

static inline void
waiter_wait(struct waiter *w)
{
    struct timespec until;

    (void)pthread_mutex_lock(&w->lock);
    /* A2s wake nobody: the caller looks again after a while. */
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 10000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    if (w->wakes == 0)
        (void)pthread_cond_timedwait(&w->woken, &w->lock, &until);
    w->wakes = 0;
    (void)pthread_mutex_unlock(&w->lock);
}

static inline void
entry_done(struct ledger_entry *entry)
{
    *(bool *)entry->owner = true;
}

/* Waits for a completion, or, when nothing is under way, a moment for the publisher. */
static inline void
waiter_wait_or_pause(struct waiter *w, bool in_flight)
{
    struct timespec moment = {.tv_nsec = 1000000};

    if (in_flight)
        waiter_wait(w);
    else
        (void)nanosleep(&moment, NULL);
}

/* Submits and waits: what came of it. */
static inline enum err
submit_wait(struct ledger *l, struct waiter *waiters, struct ledger_entry *entry)
{
    bool done = false;

    entry->done = entry_done;
    entry->owner = &done;
    ledger_submit(l, entry);
    while (!done) {
        waiter_wait(&waiters[entry->worker]);
        ledger_collect(l, entry->worker);
    }
    return entry->result;
}

static inline struct ledger_opts
fixture_opts(const struct fixture *f, struct waiter *waiters, unsigned workers)
{
    for (unsigned i = 0; i < workers; i++)
        waiter_init(&waiters[i]);
    return (struct ledger_opts){
        .dir = f->dir,
        .mesh = "mesh",
        .node = "eu-west-1",
        .region = "eu-west",
        .software = "portolan 0.1.0",
        .durability = LEDGER_DISK,
        .segment_bytes = 1 << 20,
        .worker_count = workers,
        .charter = &f->charter,
        .now_ms = FIXTURE_NOW_MS,
        .wake = waiter_wake,
        .wake_context = waiters,
    };
}

static inline void
fixture_print_fault(void *context, const char *where, const char *what)
{
    (void)context;
    print_message("fault: %s: %s\n", where, what);
}

static inline struct audit_result
fixture_audit(const struct fixture *f)
{
    const struct charter *charters[] = {&f->charter};
    struct audit_opts opts = {.dir = f->dir,
                              .charters = charters,
                              .charter_count = 1,
                              .verify_signatures = true,
                              .fault = fixture_print_fault};
    struct audit_result result = {0};

    assert_int_equal(audit_ledger(&opts, &result), ERR_OK);
    return result;
}

/* The n-th run's folder, oldest first. */
static inline void
fixture_run_dir(const struct fixture *f, unsigned n, char *out, size_t size)
{
    struct dirent **names = NULL;
    char runs[96];
    int count;

    assert_true(text_format(runs, sizeof(runs), "%s/runs", f->dir));
    count = scandir(runs, &names, NULL, alphasort);
    assert_true(count >= (int)n + 3);
    assert_true(text_format(out, size, "%s/%s", runs, names[n + 2]->d_name)); /* . and .. */
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

#endif
