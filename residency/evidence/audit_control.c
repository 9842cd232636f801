/* Control records: what a run is, its shards, and what later runs say of it. */
#include "residency/evidence/audit_priv.h"

#include "residency/evidence/ledger_priv.h"

#include <stdlib.h>
#include <string.h>

static enum err
add_shard(struct audit *a, const struct control_shard *shard)
{
    if (a->shard_count == a->shard_size) {
        size_t size = a->shard_size == 0 ? 64 : a->shard_size * 2;
        struct control_shard *shards = realloc(a->shards, size * sizeof(*shards));
        uint64_t *next_index;

        if (shards == NULL)
            return ERR_NOMEM;
        a->shards = shards;
        next_index = realloc(a->next_index, size * sizeof(*next_index));
        if (next_index == NULL)
            return ERR_NOMEM;
        a->next_index = next_index;
        a->shard_size = size;
    }
    a->next_index[a->shard_count] = 0;
    a->shards[a->shard_count++] = *shard;
    a->out->shards++;
    return ERR_OK;
}

static bool
is_mesh_given(const struct audit *a, const char *mesh)
{
    for (size_t i = 0; i < a->opts->charter_count; i++) {
        if (strcmp(a->opts->charters[i]->mesh, mesh) == 0)
            return true;
    }
    return a->opts->charter_count == 0;
}

static void
check_start(struct audit *a, const struct wal_frame *frame)
{
    const struct audit_run *before = a->run_count == 0 ? NULL : &a->runs[a->run_count - 1];
    struct control_run run;

    if (frame->seq != 0) {
        audit_fault(a, frame->seq, "a second run_start");
        return;
    }
    a->started = true;
    if (!control_read_run_start(frame->payload, &run)) {
        audit_fault(a, 0, "run_start is malformed");
        return;
    }
    memcpy(a->node, run.node, sizeof(a->node));
    if (!is_mesh_given(a, run.mesh))
        audit_fault(a, 0, "run_start names another mesh than the charter's");
    if (strcmp(run.run, a->run) != 0)
        audit_fault(a, 0, "run_start names another run than the folder");
    else if (before == NULL && run.previous[0] != '\0')
        audit_fault(a, 0, "run_start names a run before it that is not here");
    else if (before != NULL && (strcmp(run.previous, before->name + LEDGER_RUN_AT) != 0 ||
                                (!run.previous_live && run.previous_frames != before->frames)))
        audit_fault(a, 0, "run_start does not name the run before and its frames");
}

static enum err
add_claim(struct audit *a, const struct wal_frame *frame)
{
    struct audit_claim *claim;

    if (a->claim_count == a->claim_size) {
        size_t size = a->claim_size == 0 ? 16 : a->claim_size * 2;
        struct audit_claim *claims = realloc(a->claims, size * sizeof(*claims));

        if (claims == NULL)
            return ERR_NOMEM;
        a->claims = claims;
        a->claim_size = size;
    }
    claim = &a->claims[a->claim_count];
    *claim = (struct audit_claim){.by = a->run_count, .seq = frame->seq};
    if (!control_read_previous_end(frame->payload, claim->run, &claim->frames))
        audit_fault(a, frame->seq, "previous_end is malformed");
    else
        a->claim_count++;
    return ERR_OK;
}

struct audit_law *
audit_control_law(const struct audit *a, uint64_t version, const char *cut)
{
    for (size_t i = a->law_count; i-- > 0;) { /* most name the newest */
        if (a->laws[i].version == version && strcmp(a->laws[i].cut, cut) == 0)
            return &a->laws[i];
    }
    return NULL;
}

static enum err
add_law(struct audit *a, const struct wal_frame *frame)
{
    struct control_charter charter;
    struct audit_law law = {0};
    uint8_t digest[HASH_SIZE];
    size_t len = sizeof(digest);

    if (!control_read_charter(frame->payload, &charter) ||
        !text_unb64url(slice_str(charter.digest), digest, &len)) {
        audit_fault(a, frame->seq, "charter is malformed");
        return ERR_OK;
    }
    record_cut(digest, law.cut);
    law.version = charter.version;
    if (audit_control_law(a, law.version, law.cut) != NULL)
        return ERR_OK;
    if (a->law_count == a->law_size) {
        size_t size = a->law_size == 0 ? 16 : a->law_size * 2;
        struct audit_law *laws = realloc(a->laws, size * sizeof(*laws));

        if (laws == NULL)
            return ERR_NOMEM;
        a->laws = laws;
        a->law_size = size;
    }
    a->laws[a->law_count++] = law;
    return ERR_OK;
}

/* What the node says of itself. */
static void
check_state(struct audit *a, const struct wal_frame *frame, enum control_kind kind)
{
    char run[CONTROL_RUN_HEX];

    if (kind == CONTROL_KEYS && !control_keys_ok(frame->payload))
        audit_fault(a, frame->seq, "keys is malformed");
    if (kind == CONTROL_GEOIP && !control_geoip_ok(frame->payload))
        audit_fault(a, frame->seq, "geoip is malformed");
    if (kind == CONTROL_REFUSALS && !control_refusals_ok(frame->payload))
        audit_fault(a, frame->seq, "refusals is malformed");
    if (kind == CONTROL_RECOVERY &&
        (!control_read_recovery(frame->payload, run) || strcmp(run, a->run) != 0))
        audit_fault(a, frame->seq, "recovery is malformed or names another run");
}

enum err
audit_control(struct audit *a, const struct wal_frame *frame)
{
    struct control_shard shard;
    enum control_kind kind = control_kind(frame->payload);
    uint64_t frames = 0;
    enum err e = ERR_OK;

    a->out->controls++;
    if (frame->slot != WAL_SLOT_NONE || frame->index != 0)
        audit_fault(a, frame->seq, "a control frame with a slot or an index");
    switch (kind) {
    case CONTROL_RUN_START:
        check_start(a, frame);
        break;
    case CONTROL_SHARD_OPEN:
        if (!control_read_shard_open(frame->payload, &shard) || shard.slot != a->shard_count)
            audit_fault(a, frame->seq, "a shard_open that is malformed or out of its order");
        else
            e = add_shard(a, &shard);
        break;
    case CONTROL_RUN_END:
        a->ended = true;
        if (!control_read_run_end(frame->payload, &frames) || frames != frame->seq + 1)
            audit_fault(a, frame->seq, "run_end is malformed or counts other frames");
        break;
    case CONTROL_PREVIOUS_END:
        e = add_claim(a, frame);
        break;
    case CONTROL_CHARTER:
        e = add_law(a, frame);
        break;
    case CONTROL_KEYS:
    case CONTROL_GEOIP:
    case CONTROL_REFUSALS:
    case CONTROL_RECOVERY:
        check_state(a, frame, kind);
        break;
    case CONTROL_OTHER: /* what can't be read could say anything */
        audit_fault(a, frame->seq, "a control record of no known kind, or not in its form");
        break;
    }
    return e;
}
