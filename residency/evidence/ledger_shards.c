#include "base/map.h"
#include "crypto/random.h"
#include "residency/evidence/ledger_priv.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The shards of this run: one for each tenant and month. */

static bool
month_of(int64_t wall_ms, uint32_t *out)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (wall_ms < 0 || gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 8099)
        return false;
    *out = (uint32_t)(tm.tm_year + 1900) * 12 + (uint32_t)tm.tm_mon;
    return true;
}

static size_t
place_of(const struct ledger *l, struct slice tenant, uint32_t month)
{
    size_t i = (size_t)(map_hash(tenant) + month) & (l->shard_index_size - 1);

    while (l->shard_index[i] != 0) {
        const struct ledger_shard_row *row = &l->shards[l->shard_index[i] - 1];

        if (row->shard.month == month && slice_is(tenant, row->tenant))
            break;
        i = (i + 1) & (l->shard_index_size - 1);
    }
    return i;
}

static enum err
index_grow(struct ledger *l)
{
    size_t size = l->shard_index_size == 0 ? 256 : l->shard_index_size * 2;
    uint32_t *index = calloc(size, sizeof(*index));

    if (index == NULL)
        return ERR_NOMEM;
    free(l->shard_index);
    l->shard_index = index;
    l->shard_index_size = size;
    for (uint32_t slot = 0; slot < l->shard_count; slot++) {
        const struct ledger_shard_row *row = &l->shards[slot];

        index[place_of(l, slice_str(row->tenant), row->shard.month)] = slot + 1;
    }
    return ERR_OK;
}

static enum err
make_room(struct ledger *l)
{
    if (l->shard_count == LEDGER_SHARDS_MAX)
        return ERR_FULL;
    if (l->shard_count == l->shards_size) {
        size_t size = l->shards_size == 0 ? 64 : l->shards_size * 2;
        struct ledger_shard_row *bigger = realloc(l->shards, size * sizeof(*bigger));

        if (bigger == NULL)
            return ERR_NOMEM;
        l->shards = bigger;
        l->shards_size = size;
    }
    return l->shard_count < l->shard_index_size / 2 ? ERR_OK : index_grow(l);
}

static enum err
open_shard(struct ledger *l, struct slice tenant, int64_t wall_ms, uint32_t month)
{
    struct ledger_control_item *item;
    struct ledger_shard_row row = {.shard = {.slot = l->shard_count, .month = month}};
    struct control_shard record = {.slot = l->shard_count};
    uint8_t id[16], storage[CONTROL_TEXT_MAX];
    struct text text;
    enum err e;

    if (!slice_copy_str(tenant, row.tenant, sizeof(row.tenant)) ||
        !text_format(record.month, sizeof(record.month), "%04u-%02u", month / 12 % 10000,
                     month % 12 + 1))
        return ERR_TOOBIG;
    random_fill(id, sizeof(id));
    text_init(&text, row.shard.id, RECORD_ID_SIZE - 1);
    text_add_b64url(&text, slice_of(id, sizeof(id)));
    memcpy(record.id, row.shard.id, sizeof(record.id));
    memcpy(record.tenant, row.tenant, sizeof(record.tenant));
    text_init(&text, storage, sizeof(storage));
    control_write_shard_open(&text, &record, wall_ms);
    e = ledger_control_new(l, text_slice(&text), &item);
    if (e != ERR_OK)
        return e;
    item->opens_slot = row.shard.slot;
    l->shards[l->shard_count] = row;
    l->shard_index[place_of(l, tenant, month)] = l->shard_count + 1;
    l->shard_count++;
    /* Under the mutex, so no leaf of the shard can be pushed before. */
    ledger_push(l, &item->entry, &item->entry, true);
    return ERR_OK;
}

enum err
ledger_shard(struct ledger *l, struct slice tenant, int64_t wall_ms, struct ledger_shard *out)
{
    uint32_t month = 0;
    uint32_t found;
    enum err e = ERR_OK;

    if (!month_of(wall_ms, &month) || tenant.len == 0)
        return ERR_BADMSG;
    if (atomic_load(&l->sick))
        return ERR_IO;
    (void)pthread_mutex_lock(&l->shard_lock);
    found = l->shard_index_size == 0 ? 0 : l->shard_index[place_of(l, tenant, month)];
    if (found == 0) {
        e = make_room(l);
        if (e == ERR_OK)
            e = open_shard(l, tenant, wall_ms, month);
        found = l->shard_count;
    }
    if (e == ERR_OK)
        *out = l->shards[found - 1].shard;
    (void)pthread_mutex_unlock(&l->shard_lock);
    return e;
}

void
ledger_shards_fini(struct ledger *l)
{
    free(l->shards);
    free(l->shard_index);
    l->shards = NULL;
    l->shard_index = NULL;
}
