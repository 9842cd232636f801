#include "node/takeover.h"

#include "base/check.h"
#include "base/text.h"
#include "node/takeover_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The terms of a takeover, and its new side. */

#define TAKEOVER_KEY_ROW(name, key) [name] = (key),
static const char *const keys[TAKEOVER_TERM_COUNT] = {TAKEOVER_TERM_LIST(TAKEOVER_KEY_ROW)};
#undef TAKEOVER_KEY_ROW

void
takeover_terms(const struct snapshot *s, struct takeover_terms *out)
{
    const struct config *c = s->config;
    const char *values[TAKEOVER_TERM_COUNT] = {
        [TAKEOVER_TERM_MESH] = c->mesh,
        [TAKEOVER_TERM_NODE] = c->node,
        [TAKEOVER_TERM_PUBLIC] = c->public_address,
        [TAKEOVER_TERM_PEERS] = c->mesh_address,
        [TAKEOVER_TERM_ADMIN] = c->admin_address,
        [TAKEOVER_TERM_LEDGER] = c->ledger_dir,
        [TAKEOVER_TERM_SUBJECTS] = c->subjects_dir,
    };
    struct text t;

    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < TAKEOVER_TERM_COUNT; i++) {
        bool fits = values[i] == NULL ||
                    text_format(out->values[i], sizeof(out->values[i]), "%s", values[i]);

        ASSERT(fits); /* they come from fields of the same size or less */
    }
    text_init(&t, out->values[TAKEOVER_TERM_CHARTER], CONFIG_PATH_MAX - 1);
    text_add_u64(&t, s->charter->version);
    text_add_char(&t, ' ');
    text_add_hex(&t, slice_of(s->charter->digest, HASH_SIZE));
}

bool
takeover_terms_agree(const struct takeover_terms *running, const struct takeover_terms *next,
                     char why[TAKEOVER_WORDS_MAX])
{
    size_t i = 0;

    while (i < TAKEOVER_TERM_COUNT && strcmp(running->values[i], next->values[i]) == 0)
        i++;
    if (i == TAKEOVER_TERM_COUNT)
        return true;
    (void)text_format(why, TAKEOVER_WORDS_MAX,
                      i == TAKEOVER_TERM_CHARTER
                          ? "%s: the running process has another one in force: reload it first"
                          : "%s: changes only with a restart",
                      keys[i]);
    return false;
}

static enum err
refused(const struct takeover_message *m, char why[TAKEOVER_WORDS_MAX])
{
    takeover_words(m, why);
    /* For one log line, in quotes. */
    for (char *quote = strchr(why, '"'); quote != NULL; quote = strchr(quote, '"'))
        *quote = '?';
    return ERR_FORBIDDEN;
}

static enum err
connect_to(int *fd, const char *state_dir, char why[TAKEOVER_WORDS_MAX])
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int dir_fd = -1;
    enum err e = takeover_socket(state_dir, fd, &dir_fd);

    if (e != ERR_OK)
        return e;
    if (!text_format(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/%s", dir_fd,
                     TAKEOVER_SOCKET))
        e = ERR_TOOBIG;
    else if (connect(*fd, (const struct sockaddr *)&at, sizeof(at)) != 0)
        e = errno == ENOENT || errno == ECONNREFUSED ? ERR_NOENT : ERR_IO;
    (void)close(dir_fd);
    if (e == ERR_NOENT)
        (void)text_format(why, TAKEOVER_WORDS_MAX, "no process listens at %s in state_dir",
                          TAKEOVER_SOCKET);
    if (e == ERR_OK && !takeover_peer_ok(*fd)) {
        (void)text_format(why, TAKEOVER_WORDS_MAX, "the socket is another user's");
        e = ERR_FORBIDDEN;
    }
    return e;
}

static enum err
get_sockets(struct takeover_taker *t, struct takeover_message *m, char why[TAKEOVER_WORDS_MAX])
{
    enum err e = takeover_receive_within(t->fd, m, TAKEOVER_ANSWER_MS);

    if (e != ERR_OK)
        return e;
    if (m->type == TAKEOVER_MSG_REFUSED)
        return refused(m, why);
    if (m->type != TAKEOVER_MSG_SOCKETS || m->version != TAKEOVER_VERSION ||
        !takeover_sockets_take(m, t->fds)) {
        takeover_message_drop(m);
        return ERR_BADMSG;
    }
    return ERR_OK;
}

enum err
takeover_begin(struct takeover_taker *t, const char *state_dir, const struct takeover_terms *terms,
               char why[TAKEOVER_WORDS_MAX])
{
    struct takeover_message *m = calloc(1, sizeof(*m));
    enum err e;

    *t = (struct takeover_taker){.fd = -1, .fds = {-1, -1, -1, -1}};
    why[0] = '\0';
    if (m == NULL)
        return ERR_NOMEM;
    e = connect_to(&t->fd, state_dir, why);
    if (e == ERR_OK) {
        takeover_hello_encode(terms, m);
        e = takeover_send(t->fd, m);
        if (e == ERR_CLOSED)
            e = ERR_OK; /* it may have said why */
    }
    if (e == ERR_OK)
        e = get_sockets(t, m, why);
    free(m);
    if (e == ERR_OK)
        return ERR_OK;
    if (why[0] == '\0')
        (void)text_format(why, TAKEOVER_WORDS_MAX, "%s", err_text(e));
    takeover_end(t);
    return e;
}

static enum err
say(struct takeover_taker *t, enum takeover_type type)
{
    const struct takeover_message m = {.version = TAKEOVER_VERSION, .type = type};

    return takeover_send(t->fd, &m);
}

static enum err
answer(struct takeover_taker *t, struct takeover_message *m, char why[TAKEOVER_WORDS_MAX])
{
    enum err e = takeover_receive(t->fd, m);

    if (e != ERR_OK)
        return e;
    if (m->type == TAKEOVER_MSG_REFUSED)
        return refused(m, why);
    return m->type == TAKEOVER_MSG_GO ? ERR_OK : ERR_BADMSG;
}

enum err
takeover_ask(struct takeover_taker *t, char why[TAKEOVER_WORDS_MAX])
{
    struct takeover_message *m = calloc(1, sizeof(*m));
    enum err e = ERR_AGAIN;

    why[0] = '\0';
    if (m == NULL)
        return ERR_NOMEM;
    if (!t->asked) {
        e = say(t, TAKEOVER_MSG_READY);
        t->asked = e == ERR_OK;
    }
    /* What it said before it went away still counts. */
    if (t->asked || e == ERR_CLOSED)
        e = answer(t, m, why);
    free(m);
    if (e != ERR_OK && e != ERR_AGAIN && why[0] == '\0')
        (void)text_format(why, TAKEOVER_WORDS_MAX, "%s", err_text(e));
    return e;
}

int
takeover_serving(struct takeover_taker *t)
{
    int fd = t->fd;

    /* Its buffer is empty: this fails only when nobody is there to hear it. */
    if (fd >= 0)
        (void)!say(t, TAKEOVER_MSG_SERVING);
    t->fd = -1;
    takeover_end(t);
    return fd;
}

void
takeover_end(struct takeover_taker *t)
{
    for (size_t i = 0; i < TAKEOVER_FD_COUNT; i++) {
        if (t->fds[i] >= 0)
            (void)close(t->fds[i]);
        t->fds[i] = -1;
    }
    if (t->fd >= 0)
        (void)close(t->fd);
    t->fd = -1;
}

enum err
takeover_reload(const char *state_dir, char words[TAKEOVER_WORDS_MAX])
{
    struct takeover_message *m = calloc(1, sizeof(*m));
    int fd = -1;
    enum err e;

    words[0] = '\0';
    if (m == NULL)
        return ERR_NOMEM;
    e = connect_to(&fd, state_dir, words);
    if (e == ERR_FORBIDDEN)
        e = ERR_AUTH; /* it was not the node that said no */
    if (e == ERR_OK) {
        *m = (struct takeover_message){.version = TAKEOVER_VERSION, .type = TAKEOVER_MSG_RELOAD};
        e = takeover_send(fd, m);
    }
    if (e == ERR_OK || e == ERR_CLOSED) /* it may have said why */
        e = takeover_receive_within(fd, m, TAKEOVER_RELOAD_MS);
    if (e == ERR_OK && m->type != TAKEOVER_MSG_RELOADED && m->type != TAKEOVER_MSG_REFUSED)
        e = ERR_BADMSG;
    if (e == ERR_OK)
        takeover_words(m, words);
    if (e == ERR_OK && m->type == TAKEOVER_MSG_REFUSED)
        e = ERR_FORBIDDEN;
    takeover_message_drop(m);
    free(m);
    if (fd >= 0)
        (void)close(fd);
    if (e != ERR_OK && words[0] == '\0')
        (void)text_format(words, TAKEOVER_WORDS_MAX, "%s", err_text(e));
    return e;
}
