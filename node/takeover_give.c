#include "node/takeover_priv.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The old side of a takeover. One conversation at a time; whoever comes meanwhile is told so.
 *
 *   IDLE -> (HELLO) STARTING -> (READY) GONE_AHEAD -> (SERVING) GIVEN
 *        -> (RELOAD, from a command) the outcome -> IDLE
 *
 * back to IDLE from each of the middle ones when the new process goes away. STARTING has a
 * deadline. GONE_AHEAD has none: the new process may serve already, so only its end can
 * take the word back. What is said about reloads at any time is takeover_link.c's. */

#define GIVER_MAGIC 0x47495645u
#define GIVER_BACKLOG 4

static void
refuse(int fd, const char *words)
{
    log_event(LOG_WARN, "takeover.refused", "reason=\"%s\"", words);
    takeover_tell(fd, TAKEOVER_MSG_REFUSED, words);
}

static bool
is_any(enum takeover_type type, const enum takeover_type *types, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (types[i] == type)
            return true;
    return false;
}

/* The next message, of one of these types. ERR_CLOSED also when the giver is to stop. ms < 0:
 * however long it takes. */
static enum err
await(struct takeover_giver *g, int fd, const enum takeover_type *types, size_t count, int64_t ms)
{
    struct mono began = clock_mono();

    for (;;) {
        int64_t left = ms < 0 ? -1 : ms - (int64_t)mono_ms_since(clock_mono(), began);
        bool talks = false;
        bool calls = false;
        enum err e;

        if (ms >= 0 && left <= 0)
            return ERR_TIMEOUT;
        e = takeover_link_wait(g, fd, (int)left, &talks, &calls);
        if (e == ERR_CLOSED)
            refuse(fd, "the running process is stopping");
        if (e != ERR_OK)
            return e;
        if (calls)
            takeover_link_turn_away(g, "another process is taking over");
        if (!talks)
            continue;
        e = takeover_receive(fd, &g->message);
        if (e == ERR_OK && !is_any(g->message.type, types, count)) {
            takeover_message_drop(&g->message);
            e = ERR_BADMSG;
        }
        if (e != ERR_AGAIN)
            return e;
    }
}

static enum err
await_one(struct takeover_giver *g, int fd, enum takeover_type type, int64_t ms)
{
    return await(g, fd, &type, 1, ms);
}

static bool
hello_ok(struct takeover_giver *g, int fd)
{
    struct takeover_terms *terms = calloc(2, sizeof(*terms));
    char why[TAKEOVER_WORDS_MAX] = "the terms can't be read";
    bool ok;

    if (terms == NULL)
        return false;
    if (g->message.version != TAKEOVER_VERSION) {
        free(terms);
        refuse(fd, "the running process speaks another version of the takeover");
        return false;
    }
    g->opts.terms(g->opts.context, &terms[0]);
    ok = takeover_hello_decode(&g->message, &terms[1]) &&
         takeover_terms_agree(&terms[0], &terms[1], why);
    free(terms);
    if (!ok)
        refuse(fd, why);
    return ok;
}

static bool
may_share(struct takeover_giver *g, int fd)
{
    if (!hello_ok(g, fd))
        return false;
    if (g->opts.stage(g->opts.context, TAKEOVER_SHARE) == ERR_OK)
        return true;
    refuse(fd, "the running process can't share its files");
    return false;
}

static enum err
send_sockets(struct takeover_giver *g, int fd)
{
    struct takeover_message m = {
        .version = TAKEOVER_VERSION, .type = TAKEOVER_MSG_SOCKETS, .len = 1};

    for (unsigned i = 0; i < TAKEOVER_FD_COUNT; i++) {
        if (g->opts.fds[i] < 0)
            continue;
        m.payload[0] = (uint8_t)(m.payload[0] | 1u << i);
        m.fds[m.fd_count++] = g->opts.fds[i];
    }
    return takeover_send(fd, &m);
}

/* From HELLO's answer on: ERR_OK when the new process serves. */
static enum err
hand_over(struct takeover_giver *g, int fd)
{
    enum err e = send_sockets(g, fd);

    if (e == ERR_OK)
        e = await_one(g, fd, TAKEOVER_MSG_READY, TAKEOVER_START_MS);
    if (e == ERR_TIMEOUT)
        refuse(fd, "it took too long to be ready");
    if (e != ERR_OK)
        return e;
    (void)g->opts.stage(g->opts.context, TAKEOVER_GO);
    takeover_tell(fd, TAKEOVER_MSG_GO, "");
    return await_one(g, fd, TAKEOVER_MSG_SERVING, -1);
}

/* After HELLO. */
static void
give(struct takeover_giver *g, int fd)
{
    enum err e = g->opts.stage(g->opts.context, TAKEOVER_BEGIN);

    if (e != ERR_OK) {
        refuse(fd, e == ERR_AGAIN ? "a reload is under way: try again"
                                  : "the running process is stopping");
        return;
    }
    if (!may_share(g, fd)) {
        (void)g->opts.stage(g->opts.context, TAKEOVER_FAILED);
        return;
    }
    log_event(LOG_INFO, "takeover.begun", "effect=\"this process serves on meanwhile\"");
    e = hand_over(g, fd);
    g->given = e == ERR_OK;
    if (!g->given)
        log_event(LOG_WARN, "takeover.failed", "reason=\"%s\" effect=\"this process goes on\"",
                  err_text(e));
    if (g->given)
        takeover_link_given(g, fd); /* before anybody hears of it, and has something to say */
    (void)g->opts.stage(g->opts.context, g->given ? TAKEOVER_GIVEN : TAKEOVER_FAILED);
}

static void
converse(struct takeover_giver *g, int fd)
{
    static const enum takeover_type first[] = {TAKEOVER_MSG_HELLO, TAKEOVER_MSG_RELOAD};

    if (await(g, fd, first, ARRAY_COUNT(first), TAKEOVER_ANSWER_MS) != ERR_OK)
        return;
    if (g->message.type == TAKEOVER_MSG_HELLO)
        give(g, fd);
    else if (g->message.version != TAKEOVER_VERSION || g->message.len > 0)
        refuse(fd, "the running process speaks another version");
    else
        takeover_link_reload(g, fd);
}

static void *
giver_main(void *arg)
{
    struct takeover_giver *g = arg;

    ASSERT(g->magic == GIVER_MAGIC);
    for (;;) {
        bool talks = false;
        bool calls = false;
        int fd;

        if (takeover_link_wait(g, -1, -1, &talks, &calls) != ERR_OK)
            break;
        fd = calls ? takeover_accept(g->listen_fd) : -1;
        if (fd < 0)
            continue;
        converse(g, fd);
        if (!g->given)
            (void)close(fd);
    }
    takeover_link_end(g);
    return NULL;
}

/* Under another name first: a socket under the right one listens, and is nobody else's. */
static enum err
bind_and_listen(struct takeover_giver *g)
{
    static const char fresh[] = TAKEOVER_SOCKET ".new";
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    if (!text_format(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/%s", g->dir_fd, fresh))
        return ERR_TOOBIG;
    (void)unlinkat(g->dir_fd, fresh, 0);
    if (bind(g->listen_fd, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        fchmodat(g->dir_fd, fresh, 0600, 0) != 0 || listen(g->listen_fd, GIVER_BACKLOG) != 0 ||
        renameat(g->dir_fd, fresh, g->dir_fd, TAKEOVER_SOCKET) != 0)
        return ERR_IO;
    return ERR_OK;
}

static void
release(struct takeover_giver *g)
{
    if (g->listen_fd >= 0)
        (void)close(g->listen_fd);
    if (g->dir_fd >= 0)
        (void)close(g->dir_fd);
    if (g->wake_fd >= 0)
        (void)close(g->wake_fd);
    (void)pthread_mutex_destroy(&g->lock);
    g->magic = 0;
    free(g);
}

enum err
takeover_giver_start(const struct takeover_giver_opts *opts, struct takeover_giver **out)
{
    struct takeover_giver *g = calloc(1, sizeof(*g));
    enum err e;

    ASSERT(*out == NULL);
    if (g == NULL)
        return ERR_NOMEM;
    g->magic = GIVER_MAGIC;
    g->opts = *opts;
    g->opts.state_dir = NULL; /* only promised for the call */
    (void)pthread_mutex_init(&g->lock, NULL);
    g->listen_fd = g->dir_fd = g->after_fd = g->asker_fd = -1;
    g->before_fd = opts->before_fd;
    g->notes.has_before = opts->before_fd >= 0;
    g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    e = g->wake_fd < 0 ? ERR_IO : file_mkdirs(opts->state_dir, 0700);
    if (e == ERR_OK)
        e = takeover_socket(opts->state_dir, &g->listen_fd, &g->dir_fd);
    if (e == ERR_OK)
        e = bind_and_listen(g);
    if (e == ERR_OK && pthread_create(&g->thread, NULL, giver_main, g) != 0)
        e = ERR_NOMEM;
    if (e != ERR_OK) {
        release(g);
        return e;
    }
    *out = g;
    return ERR_OK;
}

void
takeover_giver_stop(struct takeover_giver **out)
{
    struct takeover_giver *g = *out;

    if (g == NULL)
        return;
    ASSERT(g->magic == GIVER_MAGIC);
    (void)pthread_mutex_lock(&g->lock);
    g->notes.stop = true;
    (void)pthread_mutex_unlock(&g->lock);
    takeover_wake(g);
    (void)pthread_join(g->thread, NULL);
    if (!g->given)
        (void)unlinkat(g->dir_fd, TAKEOVER_SOCKET, 0);
    release(g);
    *out = NULL;
}
