#include "net/ndjson.h"

void
ndjson_init(struct ndjson *s)
{
    *s = (struct ndjson){0};
}

bool
ndjson_at_boundary(const struct ndjson *s)
{
    return !s->is_open;
}

static bool
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

enum ndjson_what
ndjson_next(struct ndjson *s, struct slice in, struct slice *piece, size_t *used)
{
    size_t at = 0;

    while (at < in.len) {
        size_t end = at + slice_find(slice_sub(in, at, in.len - at), '\n');
        size_t from = at;

        if (end == at) {
            bool is_line = s->has_data;

            s->is_open = s->has_data = false;
            at++;
            if (!is_line)
                continue;
            *used = at;
            return NDJSON_LINE;
        }
        s->is_open = true;
        while (!s->has_data && from < end && is_blank(in.p[from]))
            from++;
        at = end;
        if (from == end)
            continue;
        s->has_data = true;
        *piece = slice_sub(in, from, end - from);
        *used = at;
        return NDJSON_DATA;
    }
    *used = at;
    return NDJSON_MORE;
}
