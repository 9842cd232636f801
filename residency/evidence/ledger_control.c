#include "base/check.h"
#include "residency/evidence/ledger_priv.h"

#include <stdlib.h>
#include <string.h>

/* Control records on their way to the commit thread: one, or several that are on record
 * together or not at all. Room for all of them is promised before the first is handed over. */

_Static_assert(LEDGER_TOGETHER_MAX *(WAL_PAYLOAD_MAX + WAL_FRAME_HEADER) <= LEDGER_BATCH_MAX,
               "records that belong together fit a batch");

enum err
ledger_control_new(struct ledger *l, struct slice json, struct ledger_control_item **out)
{
    struct ledger_control_item *item;

    if (json.len > WAL_PAYLOAD_MAX)
        return ERR_TOOBIG;
    if (!ledger_promise(l, ledger_control_cost(json.len)))
        return ERR_FULL;
    item = malloc(sizeof(*item) + json.len);
    if (item == NULL) {
        atomic_fetch_sub(&l->promised, ledger_control_cost(json.len));
        return ERR_NOMEM;
    }
    memset(item, 0, sizeof(*item));
    item->entry.type = WAL_CONTROL;
    item->entry.len = json.len;
    item->opens_slot = WAL_SLOT_NONE;
    item->len = json.len;
    if (json.len > 0)
        memcpy(item->bytes, json.p, json.len);
    *out = item;
    return ERR_OK;
}

/* What a control record takes of the room; one without text is no frame (ledger_drain). */
uint64_t
ledger_control_cost(size_t len)
{
    return len == 0 ? 0 : len + WAL_FRAME_HEADER;
}

static enum err
wait_for(struct ledger *l, struct ledger_control_item *item)
{
    enum err e;

    (void)pthread_mutex_lock(&l->control_lock);
    while (!item->done)
        (void)pthread_cond_wait(&l->control_done, &l->control_lock);
    e = item->result;
    (void)pthread_mutex_unlock(&l->control_lock);
    free(item);
    return e;
}

enum err
ledger_drain(struct ledger *l)
{
    return ledger_control(l, SLICE_NONE, true);
}

enum err
ledger_control(struct ledger *l, struct slice json, bool wait)
{
    struct ledger_control_item *item;
    enum err e;

    /* Who stops the node has to wait for what is under way; a new record need not join it. */
    if (atomic_load(&l->sick) || (json.len > 0 && ledger_stalled(l)))
        return ERR_IO;
    e = ledger_control_new(l, json, &item);
    if (e != ERR_OK)
        return e;
    item->waited = wait;
    ledger_push(l, &item->entry, &item->entry, true);
    return wait ? wait_for(l, item) : ERR_OK; /* else it is the commit thread's now */
}

static void
drop(struct ledger *l, struct ledger_control_item *item)
{
    atomic_fetch_sub(&l->promised, ledger_control_cost(item->len));
    free(item);
}

enum err
ledger_control_together(struct ledger *l, const struct slice *json, size_t count)
{
    struct ledger_control_item *items[LEDGER_TOGETHER_MAX];
    size_t bytes = 0;
    size_t made = 0;
    enum err e = ERR_OK;

    ASSERT(count > 0 && count <= LEDGER_TOGETHER_MAX);
    if (atomic_load(&l->sick) || ledger_stalled(l))
        return ERR_IO;
    while (made < count && (e = ledger_control_new(l, json[made], &items[made])) == ERR_OK) {
        items[made]->waited = true;
        items[made]->entry.next = made > 0 ? &items[made - 1]->entry : NULL;
        bytes += (size_t)ledger_control_cost(items[made]->len);
        made++;
    }
    if (e != ERR_OK) {
        while (made > 0)
            drop(l, items[--made]);
        return e;
    }
    items[0]->together_bytes = bytes;
    ledger_push(l, &items[count - 1]->entry, &items[0]->entry, true);
    for (size_t i = 0; i < count; i++) {
        enum err one = wait_for(l, items[i]);

        e = e == ERR_OK ? one : e;
    }
    return e;
}
