#include "net/hangup_priv.h"

#include "base/check.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HANGUPS_MAGIC 0x48414e47u
#define TURN_MAX 64 /* told in one turn; the rest in the next */

struct hangups {
    uint32_t magic;
    int fd;
    struct event *event;
};

static void
on_ready(evutil_socket_t fd, short what, void *context)
{
    struct hangups *s = context;
    struct epoll_event ready[TURN_MAX];
    int count;

    (void)what;
    ASSERT(s->magic == HANGUPS_MAGIC);
    count = epoll_wait(fd, ready, TURN_MAX, 0);
    for (int i = 0; i < count; i++) {
        struct hangup *h = ready[i].data.ptr;

        if (!h->watched)
            continue; /* forgotten by one that was told before it */
        hangup_forget(s, h);
        h->fn(h);
    }
}

enum err
hangups_new(struct event_base *base, struct hangups **out)
{
    struct hangups *s = calloc(1, sizeof(*s));
    enum err e = ERR_NOMEM;

    if (s == NULL)
        return ERR_NOMEM;
    s->magic = HANGUPS_MAGIC;
    s->fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->fd < 0) {
        e = ERR_IO;
        goto fail;
    }
    s->event = event_new(base, s->fd, EV_READ | EV_PERSIST, on_ready, s);
    if (s->event == NULL || event_add(s->event, NULL) != 0)
        goto fail_fd;
    *out = s;
    return ERR_OK;

fail_fd:
    if (s->event != NULL)
        event_free(s->event);
    (void)close(s->fd);
fail:
    free(s);
    return e;
}

void
hangups_free(struct hangups **out)
{
    struct hangups *s = *out;

    if (s == NULL)
        return;
    event_free(s->event);
    (void)close(s->fd);
    s->magic = 0;
    free(s);
    *out = NULL;
}

void
hangup_watch(struct hangups *s, struct hangup *h, int fd)
{
    struct epoll_event want = {.events = EPOLLRDHUP, .data.ptr = h};

    ASSERT(!h->watched && h->fn != NULL);
    h->fd = fd;
    h->watched = epoll_ctl(s->fd, EPOLL_CTL_ADD, fd, &want) == 0;
}

void
hangup_forget(struct hangups *s, struct hangup *h)
{
    if (!h->watched)
        return;
    h->watched = false;
    (void)epoll_ctl(s->fd, EPOLL_CTL_DEL, h->fd, NULL);
}
