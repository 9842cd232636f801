#include "net/listener.h"

#include "base/check.h"
#include "net/loop_priv.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <unistd.h>

#define LISTENER_MAGIC 0x4c495354u
#define REST_MS 100 /* without descriptors or memory: the event would only spin */

struct listener {
    uint32_t magic;
    int fd;
    struct event *event;
    listener_fn fn;
    void *context;
    bool paused;
    struct timer *rest;
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
        (void)close(fd);
        return ERR_IO;
    }
    *out_fd = fd;
    return ERR_OK;
}

static void
on_rested(void *context)
{
    listener_pause(context, false);
}

static void
on_ready(evutil_socket_t fd, short what, void *context)
{
    struct listener *l = context;

    (void)what;
    ASSERT(l->magic == LISTENER_MAGIC);
    for (int i = 0; i < LISTENER_ACCEPT_TURN && !l->paused; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                listener_pause(l, true);
                timer_set(l->rest, REST_MS);
            }
            return;
        }
        l->fn(l->context, client);
    }
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
    l->magic = 0;
    free(l);
    *out = NULL;
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
