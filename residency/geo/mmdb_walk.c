#include "residency/geo/mmdb_walk_priv.h"

/* What a field of each type may carry: its payload in bytes at most (exactly, where
 * exact), or how many values follow for each unit of its size. */
static const struct {
    bool known;
    bool exact;
    uint8_t bytes_max; /* 0: as long as its size says */
    uint8_t values;
} field_rows[16] = {
    [MMDB_FIELD_POINTER] = {.known = true},
    [MMDB_FIELD_UTF8] = {.known = true},
    [MMDB_FIELD_DOUBLE] = {.known = true, .exact = true, .bytes_max = 8},
    [MMDB_FIELD_BYTES] = {.known = true},
    [MMDB_FIELD_UINT16] = {.known = true, .bytes_max = 2},
    [MMDB_FIELD_UINT32] = {.known = true, .bytes_max = 4},
    [MMDB_FIELD_MAP] = {.known = true, .values = 2},
    [MMDB_FIELD_INT32] = {.known = true, .bytes_max = 4},
    [MMDB_FIELD_UINT64] = {.known = true, .bytes_max = 8},
    [MMDB_FIELD_UINT128] = {.known = true, .bytes_max = 16},
    [MMDB_FIELD_ARRAY] = {.known = true, .values = 1},
    [MMDB_FIELD_BOOL] = {.known = true},
    [MMDB_FIELD_FLOAT] = {.known = true, .exact = true, .bytes_max = 4},
};

void
mmdb_walk_init(struct mmdb_walk *w, struct slice bytes)
{
    *w = (struct mmdb_walk){.rest = bytes, .owed = {1}};
}

/* Takes len bytes off the front of *rest. */
static bool
take(struct slice *rest, size_t len, struct slice *out)
{
    if (len > rest->len)
        return false;
    *out = slice_of(rest->p, len);
    *rest = slice_of(rest->p + len, rest->len - len);
    return true;
}

static bool
take_number(struct slice *rest, size_t len, uint32_t *out)
{
    struct slice bytes;
    uint32_t v = 0;

    if (!take(rest, len, &bytes))
        return false;
    for (size_t i = 0; i < len; i++)
        v = v << 8 | bytes.p[i];
    *out = v;
    return true;
}

/* The size behind a control byte: 0..28 as it is, 29..31 with one to three bytes more. */
static bool
take_size(struct slice *rest, unsigned low, uint32_t *out)
{
    static const uint32_t base[3] = {29, 285, 65821};
    uint32_t more;

    if (low < 29) {
        *out = low;
        return true;
    }
    if (!take_number(rest, low - 28, &more))
        return false;
    *out = more + base[low - 29];
    return true;
}

/* A pointer's control byte is 001SSVVV: one to four bytes more, the first three kinds of
 * them below the bits VVV. */
static bool
take_pointer(struct slice *rest, unsigned low, uint32_t *out)
{
    static const uint32_t base[4] = {0, 2048, 526336, 0};
    unsigned kind = low >> 3;
    uint32_t v;

    if (!take_number(rest, kind + 1, &v))
        return false;
    *out = kind == 3 ? v : (((low & 7u) << (8 * (kind + 1))) | v) + base[kind];
    return true;
}

static bool
take_payload(struct slice *rest, struct mmdb_field *f)
{
    uint32_t bytes_max = field_rows[f->type].bytes_max;

    if (bytes_max > 0 && f->size > bytes_max)
        return false;
    if (field_rows[f->type].exact && f->size != bytes_max)
        return false;
    return take(rest, f->size, &f->payload);
}

static bool
take_field(struct slice *rest, struct mmdb_field *f)
{
    uint32_t control, extended;
    unsigned type, low;

    if (!take_number(rest, 1, &control))
        return false;
    type = control >> 5;
    low = control & 31u;
    if (type == 0) {
        if (!take_number(rest, 1, &extended) || extended > 8)
            return false;
        type = extended + 7;
    }
    if (!field_rows[type].known)
        return false;
    *f = (struct mmdb_field){.type = (enum mmdb_field_type)type};
    if (f->type == MMDB_FIELD_POINTER)
        return take_pointer(rest, low, &f->target);
    if (!take_size(rest, low, &f->size))
        return false;
    if (f->type == MMDB_FIELD_BOOL)
        return f->size <= 1;
    return field_rows[type].values > 0 || take_payload(rest, f);
}

enum mmdb_step
mmdb_walk_next(struct mmdb_walk *w, struct mmdb_field *out)
{
    uint64_t inside;

    while (w->owed[w->depth] == 0) {
        if (w->depth == 0)
            return MMDB_STEP_END;
        w->depth--;
    }
    w->owed[w->depth]--;
    if (!take_field(&w->rest, out))
        return MMDB_STEP_DAMAGED;
    inside = (uint64_t)out->size * field_rows[out->type].values;
    if (inside == 0)
        return MMDB_STEP_FIELD;
    /* Every value takes a byte at least. */
    if (inside > w->rest.len || w->depth + 1 == MMDB_DEPTH_MAX)
        return MMDB_STEP_DAMAGED;
    w->owed[++w->depth] = inside;
    return MMDB_STEP_FIELD;
}
