/* Texts kept once, tallies, and files that appear whole. */
#include "residency/report/report_priv.h"

#include "base/check.h"
#include "base/file.h"
#include "base/map.h"

#include <stdlib.h>
#include <unistd.h>

struct report_pool {
    char **texts;
    size_t count, size;
    uint32_t *slots;   /* number + 1, or 0 */
    size_t slot_count; /* a power of two */
    bool failed;
};

enum err
report_pool_new(struct report_pool **out)
{
    struct report_pool *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return ERR_NOMEM;
    p->slot_count = 1024;
    p->size = p->slot_count / 2;
    p->slots = calloc(p->slot_count, sizeof(*p->slots));
    p->texts = calloc(p->size, sizeof(*p->texts));
    if (p->slots == NULL || p->texts == NULL) {
        report_pool_free(&p);
        return ERR_NOMEM;
    }
    (void)report_pool_add(p, ""); /* is number 0 */
    if (p->failed) {
        report_pool_free(&p);
        return ERR_NOMEM;
    }
    *out = p;
    return ERR_OK;
}

void
report_pool_free(struct report_pool **out)
{
    struct report_pool *p = *out;

    *out = NULL;
    if (p == NULL)
        return;
    for (size_t i = 0; p->texts != NULL && i < p->count; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->slots);
    free(p);
}

static size_t
slot_of(const struct report_pool *p, const char *text)
{
    size_t at = (size_t)map_hash(slice_str(text)) & (p->slot_count - 1);

    while (p->slots[at] != 0 && strcmp(p->texts[p->slots[at] - 1], text) != 0)
        at = (at + 1) & (p->slot_count - 1);
    return at;
}

static bool
grow(struct report_pool *p)
{
    char **texts = realloc(p->texts, 2 * p->size * sizeof(*texts));
    uint32_t *slots;

    if (texts == NULL)
        return false;
    p->texts = texts;
    slots = calloc(2 * p->slot_count, sizeof(*slots));
    if (slots == NULL)
        return false;
    free(p->slots);
    p->slots = slots;
    p->slot_count *= 2;
    p->size *= 2;
    for (size_t i = 0; i < p->count; i++)
        p->slots[slot_of(p, p->texts[i])] = (uint32_t)i + 1;
    return true;
}

uint32_t
report_pool_add(struct report_pool *p, const char *text)
{
    size_t at = slot_of(p, text);
    char *copy;

    if (p->slots[at] != 0)
        return p->slots[at] - 1;
    if (p->count == p->size) {
        if (p->size >= UINT32_MAX / 4 || !grow(p)) {
            p->failed = true;
            return 0;
        }
        at = slot_of(p, text);
    }
    copy = slice_dup(slice_str(text));
    if (copy == NULL) {
        p->failed = true;
        return 0;
    }
    p->texts[p->count++] = copy;
    p->slots[at] = (uint32_t)p->count;
    return (uint32_t)p->count - 1;
}

const char *
report_pool_text(const struct report_pool *p, uint32_t id)
{
    return id < p->count ? p->texts[id] : "";
}

bool
report_pool_ok(const struct report_pool *p)
{
    return !p->failed;
}

/* ---- Tallies ---------------------------------------------------------------------- */

static struct report_item *
tally_find(struct report_item *items, size_t size, const uint32_t key[4])
{
    size_t at = (size_t)map_hash(slice_of(key, 4 * sizeof(*key))) & (size - 1);

    while (items[at].is_used && memcmp(items[at].key, key, sizeof(items[at].key)) != 0)
        at = (at + 1) & (size - 1);
    return &items[at];
}

static bool
tally_grow(struct report_tally *t)
{
    size_t size = t->size == 0 ? 256 : 2 * t->size;
    struct report_item *items = calloc(size, sizeof(*items));

    if (items == NULL)
        return false;
    for (size_t i = 0; i < t->size; i++)
        if (t->items[i].is_used)
            *tally_find(items, size, t->items[i].key) = t->items[i];
    free(t->items);
    t->items = items;
    t->size = size;
    return true;
}

void
report_tally_add(struct report_tally *t, const uint32_t key[4], unsigned which, uint64_t n)
{
    struct report_item *item;

    ASSERT(which < REPORT_SUMS);
    if (2 * t->count >= t->size && !tally_grow(t))
        t->failed = true;
    if (t->failed)
        return;
    item = tally_find(t->items, t->size, key);
    if (!item->is_used) {
        item->is_used = true;
        memcpy(item->key, key, sizeof(item->key));
        t->count++;
    }
    item->sum[which] += n;
}

void
report_tally_close(struct report_tally *t, int (*cmp)(const void *a, const void *b))
{
    size_t n = 0;

    for (size_t i = 0; i < t->size; i++)
        if (t->items[i].is_used)
            t->items[n++] = t->items[i];
    ASSERT(n == t->count);
    if (n > 1)
        qsort(t->items, n, sizeof(*t->items), cmp);
}

void
report_tally_free(struct report_tally *t)
{
    free(t->items);
    *t = (struct report_tally){.items = NULL};
}

/* ---- Files ------------------------------------------------------------------------ */

enum err
report_file_open(const char *dir, const char *name, struct report_file *out)
{
    if (!file_join(out->path, sizeof(out->path), dir, name) ||
        !text_format(out->temporary, sizeof(out->temporary), "%s.tmp", out->path))
        return ERR_TOOBIG;
    out->f = fopen(out->temporary, "we");
    return out->f == NULL ? ERR_IO : ERR_OK;
}

bool
report_file_add(struct report_file *f, const struct text *t)
{
    return text_ok(t) && fwrite(t->p, 1, t->used, f->f) == t->used;
}

enum err
report_file_close(struct report_file *f, bool ok)
{
    ok = ok && fflush(f->f) == 0 && fsync(fileno(f->f)) == 0;
    ok = fclose(f->f) == 0 && ok;
    f->f = NULL;
    ok = ok && rename(f->temporary, f->path) == 0;
    if (!ok)
        (void)unlink(f->temporary);
    return ok ? ERR_OK : ERR_IO;
}
