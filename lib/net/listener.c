#include "net/listener.h"

#include "base/check.h"
#include "net/loop_priv.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#define LISTENER_MAGIC 0x4c495354u

struct listener {
    uint32_t magic;
    int fd;
    struct event *event;
    listener_fn fn;
    void *context;
    bool paused;
    bool rest_due; /* after this turn's share */
    struct timer *rest;
    int spares[LISTENER_SPARES_MAX];
    size_t spare_count;
    size_t spares_wanted;
};

enum err
listener_open(const struct address *at, int *out_fd)
{
    int fd = socket(at->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0)
        return ERR_IO;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr *)&at->storage, at->len) != 0 ||
        listen(fd, LISTENER_BACKLOG) != 0) {
        enum err e = errno == EADDRINUSE ? ERR_EXIST : ERR_IO;

        (void)close(fd);
        return e;
    }
    *out_fd = fd;
    return ERR_OK;
}

static bool
refill(struct listener *l)
{
    while (l->spare_count < l->spares_wanted) {
        int spare = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);

        if (spare < 0)
            return false;
        l->spares[l->spare_count++] = spare;
    }
    return true;
}

static void
on_rested(void *context)
{
    struct listener *l = context;

    ASSERT(l->magic == LISTENER_MAGIC);
    listener_pause(l, false);
    if (!refill(l))
        timer_set(l->rest, LISTENER_REST_MS);
}

static bool
is_short(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static int
accept_one(struct listener *l)
{
    int client = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    while (client < 0 && (errno == EMFILE || errno == ENFILE) && l->spare_count > 0) {
        (void)close(l->spares[--l->spare_count]);
        client = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    return client;
}

/* While it rests the event is off: without descriptors or memory it would only spin. */
static void
rest(struct listener *l)
{
    l->rest_due = false;
    listener_pause(l, true);
    timer_set(l->rest, LISTENER_REST_MS);
}

static void
on_ready(evutil_socket_t fd, short what, void *context)
{
    struct listener *l = context;

    (void)fd;
    (void)what;
    ASSERT(l->magic == LISTENER_MAGIC);
    for (int i = 0; i < LISTENER_ACCEPT_TURN && !l->paused; i++) {
        int client = accept_one(l);

        if (client < 0) {
            l->rest_due = l->rest_due || is_short(errno);
            break;
        }
        l->fn(l->context, client);
    }
    if (l->rest_due)
        rest(l);
    else if (l->spare_count < l->spares_wanted)
        timer_set(l->rest, LISTENER_REST_MS);
}

enum err
listener_new(struct loop *loop, int fd, listener_fn fn, void *context, struct listener **out)
{
    struct listener *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return ERR_NOMEM;
    *l = (struct listener){.magic = LISTENER_MAGIC, .fd = fd, .fn = fn, .context = context};
    l->event = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_ready, l);
    if (l->event == NULL || timer_new(loop, on_rested, l, &l->rest) != ERR_OK ||
        event_add(l->event, NULL) != 0) {
        if (l->event != NULL)
            event_free(l->event);
        timer_free(&l->rest);
        free(l);
        return ERR_NOMEM;
    }
    *out = l;
    return ERR_OK;
}

void
listener_free(struct listener **out)
{
    struct listener *l = *out;

    if (l == NULL)
        return;
    event_free(l->event);
    timer_free(&l->rest);
    while (l->spare_count > 0)
        (void)close(l->spares[--l->spare_count]);
    l->magic = 0;
    free(l);
    *out = NULL;
}

bool
listener_rest(struct listener *l)
{
    bool first = !l->rest_due;

    l->rest_due = true;
    return first;
}

enum err
listener_reserve(struct listener *l, size_t count)
{
    ASSERT(count <= LISTENER_SPARES_MAX);
    l->spares_wanted = count;
    return refill(l) ? ERR_OK : ERR_FULL;
}

void
listener_pause(struct listener *l, bool paused)
{
    timer_clear(l->rest);
    if (paused == l->paused)
        return;
    l->paused = paused;
    if ((paused ? event_del(l->event) : event_add(l->event, NULL)) != 0)
        l->paused = !paused;
}
