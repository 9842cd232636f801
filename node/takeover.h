#ifndef NODE_TAKEOVER_H
#define NODE_TAKEOVER_H

#include "base/err.h"
#include "node/snapshot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What processes of a node tell each other, over a UNIX socket in state_dir that only the same
 * user (or root) may use: each message is one packet. A new process takes over from the one that
 * serves:
 *
 *   new                          old
 *   HELLO   version, terms   ->
 *                            <-  SOCKETS  the listening sockets and the ledger's lock
 *   (starts, accepts nothing)    (serves on)
 *   READY                    ->
 *                            <-  GO       from now on the old one writes no adverts
 *   (accepts)
 *   SERVING                  ->
 *                                (lets go of sockets and lock, drains)
 *
 * REFUSED (words) from the old one, at any time before GO, ends it. When the connection
 * breaks before SERVING the old one goes on as before; when it breaks before GO without
 * REFUSED the old process is gone, and the new one serves in its place.
 *
 * After SERVING the connection stays, so that both decide by the same law until the old one
 * has ended: whatever the new one reloads the old one reloads too, or ends; and a SIGHUP that
 * reached the old one becomes the new one's.
 *
 *   RELOAD  its config       ->
 *                            <-  RELOADED or REFUSED  (words)
 *                            <-  WANTED
 *
 * `portolan reload` connects to the process that serves, says RELOAD without a config, and gets
 * RELOADED or REFUSED. */

#define TAKEOVER_VERSION 2
#define TAKEOVER_WORDS_MAX 1024
#define TAKEOVER_ANSWER_MS 10000  /* a message that is the answer to one */
#define TAKEOVER_START_MS 300000  /* from SOCKETS to READY: a start may have logs to replay */
#define TAKEOVER_RELOAD_MS 120000 /* a command waits so long for the outcome */

/* What is handed over; mesh is absent (-1) on a node without peers. */
enum takeover_fd {
    TAKEOVER_PUBLIC,
    TAKEOVER_MESH,
    TAKEOVER_ADMIN,
    TAKEOVER_LOCK,
    TAKEOVER_FD_COUNT
};

/* What must be the same in both processes: the sockets and folders that they share, and the
 * law (another charter is reloaded by the old one first, so that both decide by it). */
#define TAKEOVER_TERM_LIST(X)                           \
    X(TAKEOVER_TERM_MESH, "mesh")                       \
    X(TAKEOVER_TERM_NODE, "node")                       \
    X(TAKEOVER_TERM_PUBLIC, "listeners.public.address") \
    X(TAKEOVER_TERM_PEERS, "listeners.mesh.address")    \
    X(TAKEOVER_TERM_ADMIN, "listeners.admin.address")   \
    X(TAKEOVER_TERM_LEDGER, "ledger.dir")               \
    X(TAKEOVER_TERM_SUBJECTS, "subjects_dir")           \
    X(TAKEOVER_TERM_CHARTER, "charter")
#define TAKEOVER_ENUM_ROW(name, key) name,
enum takeover_term { TAKEOVER_TERM_LIST(TAKEOVER_ENUM_ROW) TAKEOVER_TERM_COUNT };
#undef TAKEOVER_ENUM_ROW
struct takeover_terms {
    char values[TAKEOVER_TERM_COUNT][CONFIG_PATH_MAX];
};
void takeover_terms(const struct snapshot *s, struct takeover_terms *out);
/* False, with words, when they differ. */
bool takeover_terms_agree(const struct takeover_terms *running, const struct takeover_terms *next,
                          char why[TAKEOVER_WORDS_MAX]);

/* ---- The giver: a thread that waits for a new process, and for commands ------------------ */

enum takeover_stage {
    TAKEOVER_BEGIN,  /* somebody asks: no reload until the end; an error refuses it */
    TAKEOVER_SHARE,  /* the new process opens the files from now on; an error refuses it */
    TAKEOVER_GO,     /* it serves from now on */
    TAKEOVER_GIVEN,  /* it does; this process drains, and nothing more comes */
    TAKEOVER_FAILED, /* it is gone; this process goes on as before */
};

struct takeover_giver_opts {
    const char *state_dir;
    int fds[TAKEOVER_FD_COUNT]; /* borrowed for the giver's life */
    void (*terms)(void *context, struct takeover_terms *out);
    int before_fd; /* to the process that this one took over from, or -1; taken on success */
    /* All on the giver's thread; only the results of BEGIN (ERR_AGAIN, ERR_CLOSED) and SHARE
     * count. After BEGIN comes GIVEN or FAILED. */
    enum err (*stage)(void *context, enum takeover_stage stage);
    /* A reload is asked for, and takeover_giver_answer() is due: by a command (path is ""), or,
     * once this process has given, by the new one (with its config). A later one replaces it. */
    void (*asked)(void *context, uint64_t serial, const char *path);
    /* The process before this one got a SIGHUP. */
    void (*wanted)(void *context);
    /* What came of takeover_giver_pass(): ERR_OK, ERR_FORBIDDEN, or ERR_CLOSED (it has ended). */
    void (*followed)(void *context, enum err result, const char *words);
    void *context;
};
struct takeover_giver;
/* Binds the socket, in the place of one that a process before left. */
MUST_USE enum err takeover_giver_start(const struct takeover_giver_opts *opts,
                                       struct takeover_giver **out);
/* Ends a conversation with REFUSED, waits for the thread, removes the socket (unless it is
 * the new process's by now). */
void takeover_giver_stop(struct takeover_giver **g);

/* From any thread, g may be NULL; they only leave a note for the giver's. */

/* The outcome of the reload of that serial. */
void takeover_giver_answer(struct takeover_giver *g, uint64_t serial, bool done, const char *words);
/* The process before this one reloads too: followed() comes. False: there is none any more. */
bool takeover_giver_pass(struct takeover_giver *g, const char *path);
/* The process before this one lives. */
bool takeover_giver_has_before(struct takeover_giver *g);
/* The process that took over is to reload. False: there is none any more. */
bool takeover_giver_want(struct takeover_giver *g);

/* ---- The new side ------------------------------------------------------------------------ */

struct takeover_taker {
    int fd;
    int fds[TAKEOVER_FD_COUNT]; /* the caller's once it sets them to -1 */
    bool asked;
};
/* Connects and gets the sockets; blocks for at most TAKEOVER_ANSWER_MS. *why gets words. */
MUST_USE enum err takeover_begin(struct takeover_taker *t, const char *state_dir,
                                 const struct takeover_terms *terms, char why[TAKEOVER_WORDS_MAX]);
/* Says READY once, then whether the answer is here. ERR_AGAIN: not yet. ERR_OK: serve.
 * ERR_CLOSED: the old process is gone, serve too. ERR_FORBIDDEN: it goes on, *why says why;
 * any other error: it goes on. Never blocks. */
MUST_USE enum err takeover_ask(struct takeover_taker *t, char why[TAKEOVER_WORDS_MAX]);
/* The old process drains from here on. Gives the connection to it for the giver, or -1. */
int takeover_serving(struct takeover_taker *t);
/* Closes what is left; before takeover_serving() the old process then goes on as before. */
void takeover_end(struct takeover_taker *t);

/* ---- A command --------------------------------------------------------------------------- */

/* Asks the process that serves to reload, and waits for the outcome: ERR_OK; ERR_FORBIDDEN: it
 * says no, and nothing changed; any other: it can't be asked. *words gets words. */
MUST_USE enum err takeover_reload(const char *state_dir, char words[TAKEOVER_WORDS_MAX]);

#endif
