/* Ending many connections: for want of room, for a drain, for the end. */
#include "base/check.h"
#include "node/client.h"
#include "node/journey.h"
#include "node/overload.h"

#define CLIENT_FRESH_MS 2000 /* for the first request, once the node drains */
#define CLIENT_SHED_EVERY_MS 100
#define CLIENT_SHED_MAX 64         /* connections at a time */
#define CLIENT_SHED_WAITED_MS 1000 /* a client that has just come gets its chance */

/* Those that never brought a request go first. */
void
client_shed(struct worker *w)
{
    struct mono now = loop_now(w->loop);
    unsigned left = CLIENT_SHED_MAX;

    if (mono_ms_since(now, w->shed_at) < CLIENT_SHED_EVERY_MS)
        return;
    w->shed_at = now;
    /* What closes here is flushed and destroyed in the turn after this one. */
    loop_wake(w->loop);
    /* Kept connections to backends go before any client's: nobody waits on them. */
    for (unsigned n = upstream_pool_shed(w->upstreams, left); n > 0; n--, left--)
        overload_count(w->shared->overload, OVERLOAD_SHED_KEPT);
    for (int round = 0; round < 2; round++)
        for (struct client *c = w->clients, *next; c != NULL && left > 0; c = next) {
            next = c->next;
            if (c->state != CLIENT_HEAD || (round == 0 && c->requests > 0) ||
                mono_ms_since(now, c->waiting_since) < CLIENT_SHED_WAITED_MS)
                continue;
            overload_count(w->shared->overload, OVERLOAD_SHED_WAITING);
            client_end(c, CLIENT_LINGER_MS);
            left--;
        }
}

/* A request may be on its way on a connection that looks idle: closing it cuts that one. So
 * it gets a while in which the next answer ends it; where the drain was announced, it had it. */
static void
drain_idle(struct client *c)
{
    uint64_t wait = (uint64_t)atomic_load(&c->worker->shared->drain_grace_ms);

    if (c->requests == 0 && wait < CLIENT_FRESH_MS)
        wait = CLIENT_FRESH_MS; /* it came a moment ago */
    if (wait == 0)
        client_end(c, CLIENT_LINGER_MS);
    else
        conn_deadline(c->conn, wait);
}

void
client_drain_all(struct worker *w)
{
    for (struct client *c = w->clients, *next; c != NULL; c = next) {
        next = c->next;
        c->keep_alive = false;
        if (c->state == CLIENT_HEAD && buf_used(conn_in(c->conn)) == 0)
            drain_idle(c);
    }
}

/* Nothing more of a body is read: its refusal goes out before it is whole. */
static void
cut(struct client *c)
{
    if (c->exchange.txn == NULL)
        return;
    if (c->state == CLIENT_BODY) {
        c->state = CLIENT_BUSY;
        conn_deadline(c->conn, 0);
    }
    c->keep_alive = false;
    journey_cut(c->exchange.txn);
}

void
client_cut_all(struct worker *w)
{
    for (struct client *c = w->clients, *next; c != NULL; c = next) {
        next = c->next;
        if (c->state == CLIENT_HEAD)
            client_end(c, CLIENT_LINGER_MS);
        else
            cut(c);
    }
}

void
client_close_all(struct worker *w)
{
    while (w->clients != NULL) {
        struct client *c = w->clients;

        cut(c);
        if (w->clients == c)
            client_end(c, 0);
    }
}
