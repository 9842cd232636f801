#ifndef RESIDENCY_EVIDENCE_CONTROL_PRIV_H
#define RESIDENCY_EVIDENCE_CONTROL_PRIV_H

#include "base/slice.h"
#include "base/text.h"
#include "residency/evidence/record.h"

#include <stdbool.h>
#include <stdint.h>

/* The control records that the ledger itself writes, and the reading of all of them
 * (docs/formats.md section 5): each has one form, and no other is taken. */

#define CONTROL_RUN_HEX 33 /* 32 hex and a NUL */
#define CONTROL_TEXT_MAX 1024

struct control_run_start {
    const char *durability;
    const char *mesh;
    const char *node;
    const char *region;
    const char *run;
    const char *software;
    const char *previous_run; /* NULL for the first */
    bool previous_live;       /* its process goes on: it has no number of frames yet */
    uint64_t previous_frames;
};
void control_write_run_start(struct text *t, const struct control_run_start *start, int64_t t_ms);
void control_write_recovery(struct text *t, const char *run, uint64_t cut_bytes, uint64_t lost,
                            int64_t t_ms);
/* frames counts every frame of the run, this one too. */
void control_write_run_end(struct text *t, uint64_t frames, const char *reason, int64_t t_ms);

/* A run that was live when this one began came to that many frames, its run_end included. */
void control_write_previous_end(struct text *t, const char *run, uint64_t frames, int64_t t_ms);

struct control_shard {
    char id[RECORD_ID_SIZE];
    char tenant[CHARTER_TENANT_MAX + 1];
    char month[8];
    uint32_t slot;
};
void control_write_shard_open(struct text *t, const struct control_shard *shard, int64_t t_ms);

/* By its first members alone. */
enum control_kind {
    CONTROL_RUN_START,
    CONTROL_SHARD_OPEN,
    CONTROL_RUN_END,
    CONTROL_PREVIOUS_END,
    CONTROL_CHARTER,
    CONTROL_KEYS,
    CONTROL_GEOIP,
    CONTROL_REFUSALS,
    CONTROL_RECOVERY,
    CONTROL_OTHER
};
enum control_kind control_kind(struct slice json);
bool control_read_shard_open(struct slice json, struct control_shard *out);
bool control_read_run_end(struct slice json, uint64_t *frames);
/* The members that tie a run to its node and its predecessor; previous "" when absent. */
struct control_run {
    char mesh[CHARTER_NAME_MAX + 1];
    char node[CHARTER_NAME_MAX + 1];
    char run[CONTROL_RUN_HEX];
    char previous[CONTROL_RUN_HEX];
    bool previous_live;
    uint64_t previous_frames;
};
bool control_read_run_start(struct slice json, struct control_run *out);
bool control_read_previous_end(struct slice json, char run[CONTROL_RUN_HEX], uint64_t *frames);
struct control_charter {
    uint64_t version;
    char digest[RECORD_HASH_SIZE];
};
bool control_read_charter(struct slice json, struct control_charter *out);
bool control_read_recovery(struct slice json, char run[CONTROL_RUN_HEX]);
/* Those of which only the form matters. */
bool control_keys_ok(struct slice json);
bool control_geoip_ok(struct slice json);
bool control_refusals_ok(struct slice json);

#endif
