#ifndef NODE_NODE_PRIV_H
#define NODE_NODE_PRIV_H

#include "node/admin.h"
#include "node/reload.h"
#include "node/takeover.h"
#include "node/weather.h"
#include "node/worker.h"

/* The process: node.c starts and ends it, node_stop.c drains it, node_takeover.c hands it over
 * to a new one, or lets it take over from an old one, node_reload.c says when it reloads. All on
 * the main thread unless it says otherwise. */

enum stop_state { STOP_NO, STOP_ANNOUNCED, STOP_DRAINING, STOP_CUTTING };

/* One at a time: what is handed over must not change meanwhile. */
enum node_busy { BUSY_NO, BUSY_RELOAD, BUSY_TAKEOVER };

/* What the giver's thread leaves for the main one, under mail_lock. */
struct node_mail {
    bool asked;
    uint64_t serial;
    char path[CONFIG_PATH_MAX]; /* of the config; "": this process's own */
    bool wanted;
    bool followed;
    enum err result;
    char words[TAKEOVER_WORDS_MAX];
};

/* One reload at a time, and what is to follow it. */
struct node_reloads {
    bool waits;      /* asked for during a takeover, or while one was under way */
    bool ask_new;    /* somebody waits for the outcome of the next one */
    bool ask_now;    /* and of the one under way */
    uint64_t serial; /* of whoever asked last, as ask_serial of the one under way */
    uint64_t ask_serial;
    bool passing; /* done here; the process before this one is at it */
    struct mono passed_at;
    char path[CONFIG_PATH_MAX]; /* of the config: at first config_path */
    char next_path[CONFIG_PATH_MAX];
    struct reload_outcome outcome;
};

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
    unsigned idle_ticks; /* in a row without a request */
    int64_t counted_ms;
    bool ledger_down; /* as the log was told */
    enum err result;  /* why the loop ended, where it wasn't asked to */
    enum stop_state stop;
    bool term_seen; /* SIGTERM came */
    struct mono stop_since;
    uint64_t stop_within_ms; /* after stop_since; of CUTTING its end */
    struct reload reload;
    struct node_reloads reloads;
    pthread_mutex_t mail_lock;
    struct node_mail mail;
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
/* A process that has handed over ends what it has now. */
void node_cut(struct node *n);

/* ---- node_takeover.c ---- */

/* The sockets of the process that serves now. */
MUST_USE enum err node_take_sockets(struct node *n);
/* Waits for readiness in the loop, then serves; or ends the loop with n->result. */
MUST_USE enum err node_take_start(struct node *n);
/* From now on a new process may take over from this one. */
MUST_USE enum err node_give_start(struct node *n);
/* Whenever the loop was woken. */
void node_give_look(struct node *n);

/* ---- node_reload.c ---- */

/* SIGHUP. */
void node_on_hup(void *context);
/* Whenever the loop was woken. */
void node_reload_look(struct node *n);
/* Each second. */
void node_reload_tick(struct node *n);
/* From the giver's thread: see takeover.h. */
void node_reload_asked(void *context, uint64_t serial, const char *path);
void node_reload_wanted(void *context);
void node_reload_followed(void *context, enum err result, const char *words);

#endif
