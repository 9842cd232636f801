#include "node/answer_facts.h"

static size_t
find(struct slice s, const char *what)
{
    const void *at = s.len == 0 ? NULL : memmem(s.p, s.len, what, strlen(what));

    return at == NULL ? s.len : (size_t)((const uint8_t *)at - s.p) + strlen(what);
}

/* Behind a member's name: the colon and white space are skipped. */
static struct slice
value_of(struct slice s, const char *quoted_name)
{
    size_t at = find(s, quoted_name);

    while (at < s.len && (s.p[at] == ' ' || s.p[at] == ':'))
        at++;
    return slice_sub(s, at, s.len);
}

static struct slice
string_of(struct slice s, const char *quoted_name)
{
    struct slice v = value_of(s, quoted_name);
    size_t end;

    if (v.len < 2 || v.p[0] != '"')
        return SLICE_NONE;
    v = slice_sub(v, 1, v.len);
    end = slice_find(v, '"');
    /* Cut off by the window, spelled with escapes, or no text at all: not reported rather
     * than guessed. */
    if (end == v.len || slice_find(slice_sub(v, 0, end), '\\') != end ||
        !text_is_utf8(slice_sub(v, 0, end)))
        return SLICE_NONE;
    return slice_sub(v, 0, end);
}

static int64_t
number_of(struct slice s, const char *quoted_name)
{
    struct slice v = value_of(s, quoted_name);
    uint64_t number = 0;
    size_t n = 0;

    while (n < v.len && v.p[n] >= '0' && v.p[n] <= '9')
        n++;
    if (n == 0 || n == v.len || !slice_u64(slice_sub(v, 0, n), &number) || number > INT32_MAX)
        return -1;
    return (int64_t)number;
}

void
answer_facts_read(struct slice head, const uint8_t *tail, size_t size, size_t total,
                  struct relay_facts *out)
{
    uint8_t flat[TXN_TAIL_WINDOW];
    size_t n = total < size ? total : size;
    struct slice usage;

    if (size > sizeof(flat))
        return;
    for (size_t i = 0; i < n; i++)
        flat[i] = tail[(total - n + i) % size];
    out->model = string_of(head, "\"model\"");
    out->response_id = string_of(head, "\"id\"");
    usage = value_of(slice_of(flat, n), "\"usage\"");
    if (usage.len == 0)
        return;
    out->prompt_tokens = number_of(usage, "\"prompt_tokens\"");
    out->completion_tokens = number_of(usage, "\"completion_tokens\"");
}
