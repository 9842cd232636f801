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
