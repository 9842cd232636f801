#ifndef NODE_NODE_PRIV_H
#define NODE_NODE_PRIV_H

#include "node/admin.h"
#include "node/reload.h"
#include "node/takeover.h"
#include "node/weather.h"
#include "node/worker.h"

/* The process: node.c starts and ends it, node_stop.c drains it, node_takeover.c hands it over
 * to a new one, or lets it take over from an old one. All on the main thread unless it says
 * otherwise. */

enum stop_state { STOP_NO, STOP_ANNOUNCED, STOP_DRAINING, STOP_CUTTING };

/* One at a time: what is handed over must not change meanwhile. */
enum node_busy { BUSY_NO, BUSY_RELOAD, BUSY_TAKEOVER };

struct node {
    const char *config_path;
    struct shared shared;
    struct loop *loop;
    struct buf_pool *pool;
    struct weather *weather;
    struct admin *admin;
    struct timer *tick;
    struct timer *drain_tick;
    struct overload_share load; /* what the main thread last told overload */
    int admin_fd;
    int64_t counted_ms;
    bool ledger_down; /* as the log was told */
    enum err result;  /* why the loop ended, where it wasn't asked to */
    enum stop_state stop;
    bool term_seen; /* SIGTERM came */
    struct mono stop_since;
    uint64_t stop_within_ms; /* after stop_since; of CUTTING its end */
    struct reload reload;
    bool reload_waits;  /* SIGHUP came during a takeover */
    _Atomic int busy;   /* enum node_busy */
    _Atomic bool given; /* the giver's word: the new process serves */
    bool given_seen;
    struct takeover_giver *giver;
    bool takes_over;
    struct takeover_taker taker;
    struct timer *take_tick;
    struct mono take_since;
};

/* ---- node_stop.c ---- */

void node_on_term(void *context);
/* Timer of the drain. */
void node_on_drain_tick(void *context);
/* Another process accepts now: finish what is here. */
void node_drain_given(struct node *n);
void node_close_sockets(struct node *n);

/* ---- node_takeover.c ---- */

/* The sockets of the process that serves now. */
MUST_USE enum err node_take_sockets(struct node *n);
/* Waits for readiness in the loop, then serves; or ends the loop with n->result. */
MUST_USE enum err node_take_start(struct node *n);
/* From now on a new process may take over from this one. */
MUST_USE enum err node_give_start(struct node *n);
/* Whenever the loop was woken. */
void node_give_look(struct node *n);

/* ---- node.c ---- */

void node_reload(struct node *n);

#endif
