/* Reading control records back: nothing but the written form passes. */
#include "residency/evidence/control_priv.h"

#include "base/check.h"
#include "residency/evidence/record_priv.h"

#define HASH_LEN (RECORD_HASH_SIZE - 1)

enum control_kind
control_kind(struct slice json)
{
    static const struct {
        const char *first;
        enum control_kind kind;
    } firsts[] = {
        {"{\"kind\":\"shard_open\"", CONTROL_SHARD_OPEN},
        {"{\"digest\":", CONTROL_CHARTER},
        {"{\"advert\":", CONTROL_KEYS},
        {"{\"built\":", CONTROL_GEOIP},
        {"{\"counts\":", CONTROL_REFUSALS},
        {"{\"cut_bytes\":", CONTROL_RECOVERY},
    };
    struct record_cursor c = {.rest = json};
    char word[16];
    uint64_t frames = 0;

    for (size_t i = 0; i < ARRAY_COUNT(firsts); i++) {
        if (record_take(&c, firsts[i].first))
            return firsts[i].kind;
    }
    if (record_take(&c, "{\"durability\":")) {
        record_string(&c, word, sizeof(word), "");
        if (record_take(&c, ",\"kind\":\"run_start\""))
            return CONTROL_RUN_START;
    } else if (record_take(&c, "{\"frames\":")) {
        record_number(&c, &frames, "");
        if (record_take(&c, ",\"kind\":\"run_end\""))
            return CONTROL_RUN_END;
        if (record_take(&c, ",\"kind\":\"previous_end\""))
            return CONTROL_PREVIOUS_END;
    }
    return CONTROL_OTHER;
}

static void
read_tail(struct record_cursor *c)
{
    record_expect(c, ",\"v\":1}", "v");
    if (c->rest.len > 0)
        record_fail(c, "more than the record");
}

static void
read_kind(struct record_cursor *c, const char *kind)
{
    uint64_t t = 0;

    record_expect(c, ",\"kind\":\"", "kind");
    record_expect(c, kind, "kind");
    record_expect(c, "\",\"t\":", "t");
    record_number(c, &t, "t");
}

/* Whether one more member of an object with names of its own comes; takes the comma before
 * it, or the brace behind the last. */
static bool
more_members(struct record_cursor *c, bool *any)
{
    if (c->why != NULL || record_take(c, "}"))
        return false;
    if (*any)
        record_expect(c, ",", "a comma is missing");
    *any = true;
    return c->why == NULL;
}

bool
control_read_shard_open(struct slice json, struct control_shard *out)
{
    struct record_cursor c = {.rest = json};
    uint64_t slot = 0, t = 0;

    record_expect(&c, "{\"kind\":\"shard_open\",\"month\":", "kind");
    record_string(&c, out->month, sizeof(out->month), "month");
    record_expect(&c, ",\"shard\":", "shard");
    record_digest(&c, out->id, RECORD_ID_SIZE - 1, "shard");
    record_expect(&c, ",\"slot\":", "slot");
    record_number(&c, &slot, "slot");
    record_expect(&c, ",\"t\":", "t");
    record_number(&c, &t, "t");
    record_expect(&c, ",\"tenant\":", "tenant");
    record_string(&c, out->tenant, sizeof(out->tenant), "tenant");
    read_tail(&c);
    if (slot >= UINT32_MAX)
        return false;
    out->slot = (uint32_t)slot;
    return c.why == NULL;
}

bool
control_read_run_end(struct slice json, uint64_t *frames)
{
    struct record_cursor c = {.rest = json};
    uint64_t t = 0;

    record_expect(&c, "{\"frames\":", "frames");
    record_number(&c, frames, "frames");
    record_expect(&c, ",\"kind\":\"run_end\",\"reason\":", "kind");
    if (!record_take(&c, "\"stop\""))
        record_expect(&c, "\"recovered\"", "reason");
    record_expect(&c, ",\"t\":", "t");
    record_number(&c, &t, "t");
    read_tail(&c);
    return c.why == NULL;
}

/* Set aside: what the earlier run's control log came to. */
static void
take_checkpoint(struct record_cursor *c)
{
    char root[RECORD_HASH_SIZE];
    uint64_t size = 0;

    if (!record_take(c, "\"checkpoint\":{\"root\":"))
        return;
    record_digest(c, root, HASH_LEN, "checkpoint");
    record_expect(c, ",\"size\":", "checkpoint");
    record_number(c, &size, "checkpoint");
    record_expect(c, "},", "checkpoint");
}

bool
control_read_run_start(struct slice json, struct control_run *out)
{
    struct record_cursor c = {.rest = json};
    char word[128];
    uint64_t t = 0;

    *out = (struct control_run){0};
    record_expect(&c, "{\"durability\":", "durability");
    if (!record_take(&c, "\"disk\""))
        record_expect(&c, "\"process\"", "durability");
    record_expect(&c, ",\"kind\":\"run_start\",\"mesh\":", "kind");
    record_string(&c, out->mesh, sizeof(out->mesh), "mesh");
    record_expect(&c, ",\"node\":", "node");
    record_string(&c, out->node, sizeof(out->node), "node");
    if (record_take(&c, ",\"previous\":{")) {
        out->previous_live = record_take(&c, "\"live\":true");
        if (!out->previous_live) {
            take_checkpoint(&c);
            record_expect(&c, "\"frames\":", "previous");
            record_number(&c, &out->previous_frames, "previous");
        }
        record_expect(&c, ",\"run\":", "previous");
        record_string(&c, out->previous, sizeof(out->previous), "previous");
        record_expect(&c, "}", "previous");
    }
    record_expect(&c, ",\"region\":", "region");
    record_string(&c, word, sizeof(word), "region");
    record_expect(&c, ",\"run\":", "run");
    record_string(&c, out->run, sizeof(out->run), "run");
    record_expect(&c, ",\"software\":", "software");
    record_string(&c, word, sizeof(word), "software");
    record_expect(&c, ",\"t\":", "t");
    record_number(&c, &t, "t");
    read_tail(&c);
    return c.why == NULL;
}

bool
control_read_previous_end(struct slice json, char run[CONTROL_RUN_HEX], uint64_t *frames)
{
    struct record_cursor c = {.rest = json};
    uint64_t t = 0;

    record_expect(&c, "{\"frames\":", "frames");
    record_number(&c, frames, "frames");
    record_expect(&c, ",\"kind\":\"previous_end\",\"run\":", "kind");
    record_string(&c, run, CONTROL_RUN_HEX, "run");
    record_expect(&c, ",\"t\":", "t");
    record_number(&c, &t, "t");
    read_tail(&c);
    return c.why == NULL;
}

bool
control_read_charter(struct slice json, struct control_charter *out)
{
    struct record_cursor c = {.rest = json};

    record_expect(&c, "{\"digest\":", "digest");
    record_digest(&c, out->digest, HASH_LEN, "digest");
    read_kind(&c, "charter");
    record_expect(&c, ",\"v\":1,\"version\":", "version");
    record_number(&c, &out->version, "version");
    record_expect(&c, "}", "version");
    return c.why == NULL && c.rest.len == 0;
}

bool
control_read_recovery(struct slice json, char run[CONTROL_RUN_HEX])
{
    struct record_cursor c = {.rest = json};
    uint64_t count = 0;

    record_expect(&c, "{\"cut_bytes\":", "cut_bytes");
    record_number(&c, &count, "cut_bytes");
    record_expect(&c, ",\"kind\":\"recovery\",\"lost\":", "kind");
    record_number(&c, &count, "lost");
    record_expect(&c, ",\"run\":", "run");
    record_string(&c, run, CONTROL_RUN_HEX, "run");
    record_expect(&c, ",\"t\":", "t");
    record_number(&c, &count, "t");
    read_tail(&c);
    return c.why == NULL;
}

bool
control_keys_ok(struct slice json)
{
    struct record_cursor c = {.rest = json};
    char digest[RECORD_HASH_SIZE];

    record_expect(&c, "{\"advert\":", "advert");
    record_digest(&c, digest, HASH_LEN, "advert");
    if (record_take(&c, ",\"api_keys\":"))
        record_digest(&c, digest, HASH_LEN, "api_keys");
    record_expect(&c, ",\"attest\":", "attest");
    record_digest(&c, digest, HASH_LEN, "attest");
    record_expect(&c, ",\"jwks\":", "jwks");
    record_digest(&c, digest, HASH_LEN, "jwks");
    read_kind(&c, "keys");
    read_tail(&c);
    return c.why == NULL;
}

bool
control_geoip_ok(struct slice json)
{
    struct record_cursor c = {.rest = json};
    char digest[RECORD_HASH_SIZE];
    char type[256];
    uint64_t built = 0;

    record_expect(&c, "{\"built\":", "built");
    record_number(&c, &built, "built");
    record_expect(&c, ",\"digest\":", "digest");
    record_digest(&c, digest, HASH_LEN, "digest");
    read_kind(&c, "geoip");
    record_expect(&c, ",\"type\":", "type");
    record_string(&c, type, sizeof(type), "type");
    read_tail(&c);
    return c.why == NULL;
}

bool
control_refusals_ok(struct slice json)
{
    struct record_cursor c = {.rest = json};
    char code[64];
    uint64_t count = 0;
    bool any = false;

    record_expect(&c, "{\"counts\":{", "counts");
    while (more_members(&c, &any)) {
        record_string(&c, code, sizeof(code), "counts");
        record_expect(&c, ":", "counts");
        record_number(&c, &count, "counts");
    }
    record_expect(&c, ",\"from\":", "from");
    record_number(&c, &count, "from");
    read_kind(&c, "refusals");
    record_expect(&c, ",\"to\":", "to");
    record_number(&c, &count, "to");
    read_tail(&c);
    return c.why == NULL;
}
