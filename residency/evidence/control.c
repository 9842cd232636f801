#include "residency/evidence/control_priv.h"

#include "residency/evidence/record_priv.h"

static void
write_time(struct record_object *o, int64_t t_ms)
{
    record_member_i64(o, SLICE_LIT("t"), t_ms);
}

void
control_write_run_start(struct text *t, const struct control_run_start *start, int64_t t_ms)
{
    struct record_object o = record_object_begin(t);

    record_member_str(&o, SLICE_LIT("durability"), start->durability);
    record_member_str(&o, SLICE_LIT("kind"), "run_start");
    record_member_str(&o, SLICE_LIT("mesh"), start->mesh);
    record_member_str(&o, SLICE_LIT("node"), start->node);
    if (start->previous_run != NULL) {
        struct record_object previous = record_member_object(&o, SLICE_LIT("previous"));

        if (start->previous_live) {
            record_member(&previous, SLICE_LIT("live"));
            text_add_str(t, "true");
        } else {
            record_member_u64(&previous, SLICE_LIT("frames"), start->previous_frames);
        }
        record_member_str(&previous, SLICE_LIT("run"), start->previous_run);
        record_object_end(&previous);
    }
    record_member_str(&o, SLICE_LIT("region"), start->region);
    record_member_str(&o, SLICE_LIT("run"), start->run);
    record_member_str(&o, SLICE_LIT("software"), start->software);
    write_time(&o, t_ms);
    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_object_end(&o);
}

void
control_write_recovery(struct text *t, const char *run, uint64_t cut_bytes, uint64_t lost,
                       int64_t t_ms)
{
    struct record_object o = record_object_begin(t);

    record_member_u64(&o, SLICE_LIT("cut_bytes"), cut_bytes);
    record_member_str(&o, SLICE_LIT("kind"), "recovery");
    record_member_u64(&o, SLICE_LIT("lost"), lost);
    record_member_str(&o, SLICE_LIT("run"), run);
    write_time(&o, t_ms);
    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_object_end(&o);
}

void
control_write_run_end(struct text *t, uint64_t frames, const char *reason, int64_t t_ms)
{
    struct record_object o = record_object_begin(t);

    record_member_u64(&o, SLICE_LIT("frames"), frames);
    record_member_str(&o, SLICE_LIT("kind"), "run_end");
    record_member_str(&o, SLICE_LIT("reason"), reason);
    write_time(&o, t_ms);
    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_object_end(&o);
}

void
control_write_previous_end(struct text *t, const char *run, uint64_t frames, int64_t t_ms)
{
    struct record_object o = record_object_begin(t);

    record_member_u64(&o, SLICE_LIT("frames"), frames);
    record_member_str(&o, SLICE_LIT("kind"), "previous_end");
    record_member_str(&o, SLICE_LIT("run"), run);
    write_time(&o, t_ms);
    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_object_end(&o);
}

void
control_write_shard_open(struct text *t, const struct control_shard *shard, int64_t t_ms)
{
    struct record_object o = record_object_begin(t);

    record_member_str(&o, SLICE_LIT("kind"), "shard_open");
    record_member_str(&o, SLICE_LIT("month"), shard->month);
    record_member_str(&o, SLICE_LIT("shard"), shard->id);
    record_member_u64(&o, SLICE_LIT("slot"), shard->slot);
    write_time(&o, t_ms);
    record_member_str(&o, SLICE_LIT("tenant"), shard->tenant);
    record_member_u64(&o, SLICE_LIT("v"), 1);
    record_object_end(&o);
}

enum control_kind
control_kind(struct slice json)
{
    struct record_cursor c = {.rest = json};
    char word[16];
    uint64_t frames = 0;

    if (record_take(&c, "{\"kind\":\"shard_open\""))
        return CONTROL_SHARD_OPEN;
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
    record_string(&c, word, sizeof(word), "mesh");
    record_expect(&c, ",\"node\":", "node");
    record_string(&c, word, sizeof(word), "node");
    if (record_take(&c, ",\"previous\":{")) {
        out->previous_live = record_take(&c, "\"live\":true");
        if (!out->previous_live) {
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
