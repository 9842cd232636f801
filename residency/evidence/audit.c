#include "residency/evidence/audit.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"
#include "residency/evidence/audit_priv.h"
#include "residency/evidence/ledger_priv.h"
#include "residency/evidence/requests_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The reading side: nothing is believed. A fault is told and the walk goes on, so that one
 * damaged record does not hide the others. */

void
audit_fault(struct audit *a, uint64_t seq, const char *what)
{
    char where[96];

    a->out->faults++;
    (void)text_format(where, sizeof(where), "run %s frame %" PRIu64, a->run, seq);
    if (a->opts->fault != NULL)
        a->opts->fault(a->opts->context, where, what);
}

static void
show(struct audit *a, const struct wal_frame *frame, const struct record_a1_view *a1,
     const struct record_a2_view *a2)
{
    struct audit_record record = {.run = a->run, .frame = *frame, .a1 = a1, .a2 = a2};

    if (a->opts->visit == NULL)
        return;
    record.tenant = frame->slot < a->shard_count ? a->shards[frame->slot].tenant : "";
    a->opts->visit(a->opts->context, &record);
}

/* False when the frame's shard is not known. */
static bool
check_leaf(struct audit *a, const struct wal_frame *frame, const char *claimed)
{
    if (frame->slot >= a->shard_count) {
        audit_fault(a, frame->seq, "a leaf before its shard_open");
        return false;
    }
    if (frame->index != a->next_index[frame->slot])
        audit_fault(a, frame->seq, "a gap or repetition in the shard's leaf indices");
    a->next_index[frame->slot] = frame->index + 1;
    if (claimed != NULL && strcmp(claimed, a->shards[frame->slot].id) != 0)
        audit_fault(a, frame->seq, "the record claims another shard than the frame's");
    return true;
}

/* By the keys of the charter that it names; of one that is not given, by any that has them. */
static void
check_signature(struct audit *a, const struct wal_frame *frame, const struct charter *own)
{
    struct record_a1_view verified;
    const char *why = "no charter to verify with";

    if (!a->opts->verify_signatures)
        return;
    for (size_t i = 0; i < a->opts->charter_count; i++) {
        const struct charter *c = own != NULL ? own : a->opts->charters[i];

        if (record_a1_verify(frame->payload, c, &verified, &why) == ERR_OK)
            return;
        if (own != NULL)
            break;
    }
    audit_fault(a, frame->seq, why);
}

/* Once for a charter and run: each record under it would say the same. */
static void
tell_gap(struct audit *a, struct audit_law *law)
{
    char where[96];
    char what[96];

    if (law->is_told)
        return;
    law->is_told = true;
    (void)text_format(where, sizeof(where), "run %s", a->run);
    (void)text_format(what, sizeof(what), "charter version %" PRIu64 " (%s) is not given here",
                      law->version, law->cut);
    if (a->opts->gap != NULL)
        a->opts->gap(a->opts->context, where, what);
}

/* A request keeps the charter that it began under, whatever comes into force meanwhile, and a
 * node writes the control record of a charter before any request can see it: so it is one of
 * those that came so far, not always the last. */
static void
check_law(struct audit *a, const struct wal_frame *frame, const struct charter *own)
{
    struct audit_law *law = audit_control_law(a, a->a1.charter_version, a->a1.charter_digest);

    if (law == NULL)
        audit_fault(a, frame->seq,
                    "the record names a charter that no control record before it has");
    if (own == NULL)
        a->out->unchecked++;
    else if (!record_a1_is_under(&a->a1, own))
        audit_fault(a, frame->seq,
                    "the record names another charter than the one of that version "
                    "that is given");
    if (own == NULL && law != NULL)
        tell_gap(a, law);
}

static enum err
note_permit(struct audit *a, const struct wal_frame *frame, const uint8_t id[16])
{
    struct requests_open *open = NULL;
    enum err e;
    size_t i;

    switch (requests_find(a->requests, id, &open)) {
    case REQUESTS_CLOSED:
        audit_fault(a, frame->seq, "an A1 behind the A2 of its request");
        return ERR_OK;
    case REQUESTS_OPEN:
        break;
    case REQUESTS_UNSEEN:
    case REQUESTS_REFUSED:
        e = requests_add_open(a->requests, id, &open);
        if (e != ERR_OK)
            return e;
        memcpy(open->txn, a->a1.txn, sizeof(open->txn));
        open->slot = frame->slot;
        break;
    }
    if (open->count == RECORD_ATTEMPTS_MAX) {
        audit_fault(a, frame->seq, "more A1s of one request than there can be");
        return ERR_OK;
    }
    if (open->slot != frame->slot)
        audit_fault(a, frame->seq, "the records of one request stand in two shards");
    i = open->count++;
    open->a1[i].index = frame->index;
    open->a1[i].permit = a->a1.permit;
    open->a1[i].to_peer = a->a1.target_node[0] != '\0';
    hash_sha256(frame->payload, open->a1[i].hash);
    memcpy(open->a1[i].target,
           a->a1.target_backend[0] != '\0' ? a->a1.target_backend : a->a1.target_node,
           sizeof(open->a1[i].target));
    return ERR_OK;
}

static enum err
note_denial(struct audit *a, const struct wal_frame *frame, const uint8_t id[16])
{
    struct requests_open *open = NULL;

    switch (requests_find(a->requests, id, &open)) {
    case REQUESTS_UNSEEN:
        return requests_add_refused(a->requests, id);
    case REQUESTS_OPEN: /* refused after an earlier attempt: no attempt itself */
        return note_permit(a, frame, id);
    case REQUESTS_REFUSED:
        audit_fault(a, frame->seq, "a second refusal of one request");
        return ERR_OK;
    case REQUESTS_CLOSED:
        audit_fault(a, frame->seq, "an A1 behind the A2 of its request");
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err
check_a1(struct audit *a, const struct wal_frame *frame)
{
    const struct charter *own;
    const char *why = NULL;
    uint8_t id[16];
    enum err e;

    a->out->a1++;
    if (record_a1_parse(frame->payload, &a->a1, &why) != ERR_OK || !requests_id(a->a1.txn, id)) {
        audit_fault(a, frame->seq, why != NULL ? why : "txn is malformed");
        (void)check_leaf(a, frame, NULL);
        return ERR_OK;
    }
    if (check_leaf(a, frame, a->a1.shard) &&
        strcmp(a->a1.tenant, a->shards[frame->slot].tenant) != 0)
        audit_fault(a, frame->seq, "the record names another tenant than its shard's");
    /* The signature ties iss to jti's node; run_start is not signed. */
    if (a->node[0] != '\0' && strcmp(a->a1.node, a->node) != 0)
        audit_fault(a, frame->seq, "the record was made by another node than run_start names");
    own = record_a1_charter(&a->a1, a->opts->charters, a->opts->charter_count);
    check_signature(a, frame, own);
    check_law(a, frame, own);
    if (a->a1.permit)
        a->out->permits++;
    else
        a->out->denies++;
    e = a->a1.permit ? note_permit(a, frame, id) : note_denial(a, frame, id);
    if (e == ERR_OK)
        show(a, frame, &a->a1, NULL);
    return e;
}

/* Who was asked says so itself: nobody else's attestation is handed on, and no answer without. */
static bool
is_peer_due(const struct requests_open *open, size_t i, const struct record_a2_view *a2,
            size_t attempt)
{
    bool has = a2->attempts[attempt].peer_hash[0] != '\0';

    if (!open->a1[i].to_peer)
        return !has;
    return has || strcmp(a2->attempts[attempt].outcome, "ok") != 0;
}

/* An A2 is not signed: what it says of the attempts counts as far as the signed A1s say it. */
static void
check_attempts(struct audit *a, const struct wal_frame *frame, const struct requests_open *open)
{
    const struct record_a2_view *a2 = &a->a2;
    uint8_t hash[HASH_SIZE];
    size_t len = sizeof(hash), count = 0, last = 0;
    bool same = true, named = true;

    for (size_t i = 0; i < open->count; i++) {
        if (!open->a1[i].permit)
            continue;
        same = same && count < a2->attempt_count &&
               a2->attempts[count].index == open->a1[i].index &&
               strcmp(a2->attempts[count].target, open->a1[i].target) == 0;
        named = named && same && is_peer_due(open, i, a2, count);
        count++;
        last = i;
    }
    if (!same || count != a2->attempt_count)
        audit_fault(a, frame->seq, "attempts are not the permits of that request, in their order");
    else if (!named)
        audit_fault(a, frame->seq, "peer does not stand where a peer answered");
    if (!text_unb64url(slice_str(a2->a1_hash), hash, &len) || len != sizeof(hash) ||
        a2->a1_index != open->a1[last].index ||
        memcmp(hash, open->a1[last].hash, sizeof(hash)) != 0)
        audit_fault(a, frame->seq, "hash and index of a1 are not the last attempt's");
}

static void
close_request(struct audit *a, const struct wal_frame *frame, const uint8_t id[16])
{
    struct requests_open *open = NULL;
    enum requests_state state = requests_find(a->requests, id, &open);

    if (state != REQUESTS_OPEN) {
        audit_fault(a, frame->seq,
                    state == REQUESTS_CLOSED ? "a second A2 of one request"
                                             : "an A2 without a permit");
        return;
    }
    check_attempts(a, frame, open);
    if (open->slot != frame->slot)
        audit_fault(a, frame->seq, "the records of one request stand in two shards");
    requests_close(a->requests, open);
}

static void
check_a2(struct audit *a, const struct wal_frame *frame)
{
    const char *why = NULL;
    uint8_t id[16];

    a->out->a2++;
    if (record_a2_parse(frame->payload, &a->a2, &why) != ERR_OK || !requests_id(a->a2.txn, id)) {
        audit_fault(a, frame->seq, why != NULL ? why : "txn is malformed");
        (void)check_leaf(a, frame, NULL);
        return;
    }
    (void)check_leaf(a, frame, a->a2.shard);
    if (a->a2.end == RECORD_LOST)
        a->out->lost++;
    close_request(a, frame, id);
    show(a, frame, NULL, &a->a2);
}

static enum err
check_frame(struct audit *a, const struct wal_frame *frame)
{
    a->out->frames++;
    if (a->ended)
        audit_fault(a, frame->seq, "a frame behind the end of the run");
    if (frame->seq == 0 &&
        (frame->type != WAL_CONTROL || control_kind(frame->payload) != CONTROL_RUN_START))
        audit_fault(a, 0, "a run does not begin with run_start");
    if (frame->type == WAL_CONTROL) {
        enum err e = audit_control(a, frame);

        if (e == ERR_OK)
            show(a, frame, NULL, NULL);
        return e;
    }
    if (frame->type == WAL_A1)
        return check_a1(a, frame);
    check_a2(a, frame);
    return ERR_OK;
}

static void
check_open(struct audit *a, bool is_live)
{
    struct requests_open *open;
    size_t place = 0;

    while ((open = requests_next_open(a->requests, &place)) != NULL) {
        a->out->open++;
        if (!is_live)
            audit_fault(a, open->a1[0].index,
                        "a request of a closed run has no A2 (the number is its leaf)");
        requests_close(a->requests, open); /* only its own run can hold its A2 */
    }
}

static void
check_end(struct audit *a, struct wal_reader *reader, enum err end, bool is_newest)
{
    struct wal_position at = wal_reader_position(reader);
    bool may_go_on = is_newest || a->next_saw_it_live;
    bool is_live = may_go_on && !a->ended && end == ERR_EOF;

    a->out->live_run = a->out->live_run || is_live;
    if (end == ERR_CONFLICT)
        audit_fault(a, at.seq, wal_reader_where(reader));
    else if (!a->started)
        audit_fault(a, 0, "the run has no run_start");
    else if (!a->ended && !may_go_on)
        audit_fault(a, at.seq, "the run did not end, but another one followed");
    else if (a->ended && at.torn_bytes > 0)
        audit_fault(a, at.seq, "bytes behind the end of the run");
    check_open(a, is_live);
    a->runs[a->run_count].frames = at.seq;
}

static enum err
audit_run(struct audit *a, const char *runs_dir, const char *name, bool is_newest)
{
    struct wal_reader *reader = NULL;
    char path[LEDGER_PATH_MAX];
    struct wal_frame frame;
    enum err e;

    if (!file_join(path, sizeof(path), runs_dir, name))
        return ERR_TOOBIG;
    e = wal_reader_open(path, &reader);
    if (e != ERR_OK)
        return e;
    a->run = name + LEDGER_RUN_AT;
    a->runs[a->run_count].name = name;
    a->started = a->ended = false;
    a->node[0] = '\0';
    a->law_count = 0;
    a->shard_count = 0;
    a->out->runs++;
    while ((e = wal_reader_next(reader, &frame)) == ERR_OK) {
        e = check_frame(a, &frame);
        if (e != ERR_OK)
            break;
    }
    if (e == ERR_EOF || e == ERR_CONFLICT) {
        check_end(a, reader, e, is_newest);
        e = ERR_OK;
    }
    wal_reader_close(&reader);
    a->run_count++;
    return e;
}

/* Whether the run of that name began while the one before it went on. */
static bool
began_during(const char *runs_dir, const char *name)
{
    struct wal_reader *reader = NULL;
    struct control_run run = {0};
    char path[LEDGER_PATH_MAX];
    struct wal_frame frame;
    bool live = false;

    if (file_join(path, sizeof(path), runs_dir, name) && wal_reader_open(path, &reader) == ERR_OK)
        live = wal_reader_next(reader, &frame) == ERR_OK && frame.type == WAL_CONTROL &&
               control_kind(frame.payload) == CONTROL_RUN_START &&
               control_read_run_start(frame.payload, &run) && run.previous_live;
    wal_reader_close(&reader);
    return live;
}

static uint64_t
count_frames(const char *runs_dir, const char *name)
{
    struct wal_reader *reader = NULL;
    char path[LEDGER_PATH_MAX];
    struct wal_frame frame;
    uint64_t frames = 0;

    if (!file_join(path, sizeof(path), runs_dir, name) || wal_reader_open(path, &reader) != ERR_OK)
        return 0;
    while (wal_reader_next(reader, &frame) == ERR_OK)
        ;
    frames = wal_reader_position(reader).seq;
    wal_reader_close(&reader);
    return frames;
}

/* On a live ledger the earlier run may have ended after it was read here: it is looked at
 * again before a difference counts. */
static void
check_claims(struct audit *a, const char *runs_dir)
{
    for (size_t i = 0; i < a->claim_count; i++) {
        const struct audit_claim *claim = &a->claims[i];
        size_t n = 0;

        a->run = a->runs[claim->by].name + LEDGER_RUN_AT;
        while (n < claim->by && strcmp(a->runs[n].name + LEDGER_RUN_AT, claim->run) != 0)
            n++;
        if (n == claim->by)
            audit_fault(a, claim->seq, "previous_end names no earlier run");
        else if (a->runs[n].frames != claim->frames &&
                 count_frames(runs_dir, a->runs[n].name) != claim->frames)
            audit_fault(a, claim->seq, "an earlier run has other frames than when it ended");
    }
}

enum err
audit_ledger(const struct audit_opts *opts, struct audit_result *out)
{
    struct audit *a = calloc(1, sizeof(*a));
    struct audit_result result = {0};
    struct ledger_runs runs = {0};
    char runs_dir[LEDGER_PATH_MAX];
    enum err e;

    if (a == NULL)
        return ERR_NOMEM;
    a->opts = opts;
    a->out = &result;
    e = file_join(runs_dir, sizeof(runs_dir), opts->dir, "runs") ? ERR_OK : ERR_TOOBIG;
    if (e == ERR_OK)
        e = ledger_runs_list(runs_dir, &runs);
    if (e == ERR_OK && runs.count == 0)
        e = ERR_NOENT; /* nothing is no evidence */
    if (e == ERR_OK)
        e = requests_new(&a->requests);
    if (e == ERR_OK && runs.count > 0) {
        a->runs = calloc(runs.count, sizeof(*a->runs));
        e = a->runs == NULL ? ERR_NOMEM : ERR_OK;
    }
    for (size_t i = 0; i < runs.count && e == ERR_OK; i++) {
        bool is_newest = i + 1 == runs.count;

        a->next_saw_it_live = !is_newest && began_during(runs_dir, runs.names[i + 1]);
        e = audit_run(a, runs_dir, runs.names[i], is_newest);
    }
    if (e == ERR_OK)
        check_claims(a, runs_dir);
    if (e == ERR_OK)
        *out = result;
    requests_free(&a->requests);
    ledger_runs_free(&runs);
    free(a->shards);
    free(a->next_index);
    free(a->laws);
    free(a->runs);
    free(a->claims);
    free(a);
    return e;
}
