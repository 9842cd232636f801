#include "base/check.h"
#include "base/log.h"
#include "node/takeover_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What goes between the processes of a node, and to commands, about reloads. The thread owns
 * all descriptors; others leave it notes and wake it. */

/* Who a poll looks at. */
enum { WAKE, BEFORE, AFTER, TALK, LISTEN, WAIT_COUNT };

void
takeover_wake(struct takeover_giver *g)
{
    uint64_t one = 1;

    while (write(g->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

int
takeover_accept(int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0 && !takeover_peer_ok(fd)) {
        log_event(LOG_WARN, "takeover.refused", "reason=\"another user's process\"");
        takeover_tell(fd, TAKEOVER_MSG_REFUSED, "another user's process may not");
        (void)close(fd);
        return -1;
    }
    return fd;
}

void
takeover_link_turn_away(struct takeover_giver *g, const char *words)
{
    int fd = takeover_accept(g->listen_fd);

    if (fd < 0)
        return;
    log_event(LOG_WARN, "takeover.refused", "reason=\"%s\"", words);
    takeover_tell(fd, TAKEOVER_MSG_REFUSED, words);
    (void)close(fd);
}

/* ---- The process before this one -------------------------------------------------------- */

static void
set_note(struct takeover_giver *g, bool *note, bool value)
{
    (void)pthread_mutex_lock(&g->lock);
    *note = value;
    (void)pthread_mutex_unlock(&g->lock);
}

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void
followed(struct takeover_giver *g, enum err result, const char *words)
{
    if (!g->passing)
        return;
    g->passing = false;
    g->opts.followed(g->opts.context, result, words);
}

static void
before_gone(struct takeover_giver *g)
{
    close_fd(&g->before_fd);
    set_note(g, &g->notes.has_before, false);
    followed(g, ERR_CLOSED, "");
}

static void
read_before(struct takeover_giver *g)
{
    char words[TAKEOVER_WORDS_MAX];
    enum err e = takeover_receive(g->before_fd, &g->message);

    if (e == ERR_AGAIN)
        return;
    if (e == ERR_OK && g->message.type == TAKEOVER_MSG_WANTED) {
        g->opts.wanted(g->opts.context);
    } else if (e == ERR_OK && (g->message.type == TAKEOVER_MSG_RELOADED ||
                               g->message.type == TAKEOVER_MSG_REFUSED)) {
        takeover_words(&g->message, words);
        followed(g, g->message.type == TAKEOVER_MSG_RELOADED ? ERR_OK : ERR_FORBIDDEN, words);
    } else {
        takeover_message_drop(&g->message);
        before_gone(g);
    }
}

static void
pass(struct takeover_giver *g, const char *path)
{
    struct takeover_message *m = &g->message;

    g->passing = true;
    *m = (struct takeover_message){.version = TAKEOVER_VERSION, .type = TAKEOVER_MSG_RELOAD};
    m->len = strlen(path);
    memcpy(m->payload, path, m->len);
    if (g->before_fd < 0 || takeover_send(g->before_fd, m) != ERR_OK)
        before_gone(g);
}

/* ---- The process that took over ---------------------------------------------------------- */

void
takeover_link_given(struct takeover_giver *g, int fd)
{
    /* It listens under the same name. */
    close_fd(&g->listen_fd);
    g->after_fd = fd;
    set_note(g, &g->notes.has_after, true);
}

static void
after_gone(struct takeover_giver *g)
{
    if (g->asker_fd == g->after_fd)
        g->asker_fd = -1;
    close_fd(&g->after_fd);
    set_note(g, &g->notes.has_after, false);
}

static void
read_after(struct takeover_giver *g)
{
    char path[CONFIG_PATH_MAX];
    enum err e = takeover_receive(g->after_fd, &g->message);

    if (e == ERR_AGAIN)
        return;
    if (e != ERR_OK || g->message.type != TAKEOVER_MSG_RELOAD || g->message.len == 0 ||
        memchr(g->message.payload, '\0', g->message.len) != NULL ||
        !slice_copy_str(slice_of(g->message.payload, g->message.len), path, sizeof(path))) {
        takeover_message_drop(&g->message);
        after_gone(g);
        return;
    }
    g->asker_fd = g->after_fd;
    g->opts.asked(g->opts.context, ++g->ask_serial, path);
}

/* ---- Notes of others ---------------------------------------------------------------------- */

/* False: to stop. */
static bool
read_notes(struct takeover_giver *g)
{
    struct takeover_notes notes;
    uint64_t count;

    (void)!read(g->wake_fd, &count, sizeof(count)); /* non-blocking */
    (void)pthread_mutex_lock(&g->lock);
    notes = g->notes;
    g->notes.want = g->notes.pass = g->notes.answer = false;
    (void)pthread_mutex_unlock(&g->lock);
    if (notes.want && g->after_fd >= 0)
        takeover_tell(g->after_fd, TAKEOVER_MSG_WANTED, "");
    if (notes.pass)
        pass(g, notes.path);
    if (notes.answer && notes.serial == g->ask_serial && g->asker_fd >= 0) {
        takeover_tell(g->asker_fd, notes.done ? TAKEOVER_MSG_RELOADED : TAKEOVER_MSG_REFUSED,
                      notes.words);
        g->asker_fd = -1;
    }
    if (notes.stop)
        takeover_wake(g); /* whoever waits next is to see it too */
    return !notes.stop;
}

enum err
takeover_link_wait(struct takeover_giver *g, int talk_fd, int ms, bool *talks, bool *calls)
{
    /* poll() does not look at those that are negative. */
    struct pollfd wait[WAIT_COUNT] = {[WAKE] = {.fd = g->wake_fd, .events = POLLIN},
                                      [BEFORE] = {.fd = g->before_fd, .events = POLLIN},
                                      [AFTER] = {.fd = g->after_fd, .events = POLLIN},
                                      [TALK] = {.fd = talk_fd, .events = POLLIN},
                                      [LISTEN] = {.fd = g->listen_fd, .events = POLLIN}};
    int n = poll(wait, WAIT_COUNT, ms);

    *talks = *calls = false;
    if (n < 0 && errno != EINTR)
        return ERR_IO;
    if (n <= 0)
        return ERR_OK;
    if (wait[WAKE].revents != 0 && !read_notes(g))
        return ERR_CLOSED;
    if (wait[BEFORE].revents != 0 && g->before_fd >= 0)
        read_before(g);
    if (wait[AFTER].revents != 0)
        read_after(g);
    *talks = wait[TALK].revents != 0;
    *calls = wait[LISTEN].revents != 0;
    return ERR_OK;
}

void
takeover_link_reload(struct takeover_giver *g, int fd)
{
    g->asker_fd = fd;
    g->opts.asked(g->opts.context, ++g->ask_serial, "");
    while (g->asker_fd == fd) {
        bool talks = false;
        bool calls = false;

        if (takeover_link_wait(g, fd, -1, &talks, &calls) != ERR_OK) {
            takeover_tell(fd, TAKEOVER_MSG_REFUSED, "the process is stopping");
            break;
        }
        if (calls)
            takeover_link_turn_away(g, "a reload is under way: try again");
        if (talks)
            break; /* it is gone, or says what nobody asked: the reload goes on without it */
    }
    g->asker_fd = -1;
}

void
takeover_link_end(struct takeover_giver *g)
{
    close_fd(&g->after_fd);
    close_fd(&g->before_fd);
    set_note(g, &g->notes.has_after, false);
    set_note(g, &g->notes.has_before, false);
}

/* ---- From any thread ---------------------------------------------------------------------- */

void
takeover_giver_answer(struct takeover_giver *g, uint64_t serial, bool done, const char *words)
{
    if (g == NULL)
        return;
    (void)pthread_mutex_lock(&g->lock);
    g->notes.answer = true;
    g->notes.serial = serial;
    g->notes.done = done;
    (void)slice_copy_str(slice_sub(slice_str(words), 0, TAKEOVER_WORDS_MAX - 1), g->notes.words,
                         sizeof(g->notes.words));
    (void)pthread_mutex_unlock(&g->lock);
    takeover_wake(g);
}

bool
takeover_giver_pass(struct takeover_giver *g, const char *path)
{
    bool has = false;

    if (g == NULL)
        return false;
    (void)pthread_mutex_lock(&g->lock);
    has = g->notes.has_before &&
          slice_copy_str(slice_str(path), g->notes.path, sizeof(g->notes.path));
    g->notes.pass = has;
    (void)pthread_mutex_unlock(&g->lock);
    if (has)
        takeover_wake(g);
    return has;
}

bool
takeover_giver_has_before(struct takeover_giver *g)
{
    bool has;

    if (g == NULL)
        return false;
    (void)pthread_mutex_lock(&g->lock);
    has = g->notes.has_before;
    (void)pthread_mutex_unlock(&g->lock);
    return has;
}

bool
takeover_giver_want(struct takeover_giver *g)
{
    bool has = false;

    if (g == NULL)
        return false;
    (void)pthread_mutex_lock(&g->lock);
    has = g->notes.has_after;
    g->notes.want = has;
    (void)pthread_mutex_unlock(&g->lock);
    if (has)
        takeover_wake(g);
    return has;
}
