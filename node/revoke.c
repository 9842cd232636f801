#include "node/revoke.h"

#include "node/dispatch.h"
#include "node/relay.h"

/* The law in force says it, where it still knows the tenant. */
static bool
cuts(const struct txn *t)
{
    const struct charter *then = t->pinned->charter;
    const struct charter *now = t->worker->snapshot->charter;
    const struct charter_tenant *tenant = &then->tenants[t->identity.tenant];
    uint32_t found = charter_find_tenant(now, slice_str(tenant->name));

    return found == CHARTER_NONE ? tenant->cut_on_revoke : now->tenants[found].cut_on_revoke;
}

/* Before that no place was chosen for good: the next dispatch decides anew. */
static bool
has_place(const struct txn *t)
{
    return t->current != NULL &&
           (t->state == TXN_ATTEST || t->state == TXN_SEND || t->state == TXN_RELAY);
}

void
revoke_all(struct worker *w)
{
    for (struct txn *t = w->txns, *next; t != NULL; t = next) {
        next = t->next; /* t may be gone behind relay_revoke(); no other one is */
        if (t->exchange == NULL || !has_place(t) || t->current->charter == w->snapshot->charter ||
            !cuts(t) || dispatch_is_lawful(t))
            continue;
        metrics_add(&w->shared->metrics.revoked);
        if (t->recording)
            t->revoked = true; /* nothing was sent; its record comes first */
        else
            relay_revoke(t);
    }
}
