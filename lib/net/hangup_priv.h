#ifndef NET_HANGUP_PRIV_H
#define NET_HANGUP_PRIV_H

#include "base/err.h"

#include <stdbool.h>

/* Hears that the other end of a socket left (its FIN or a reset came) while nobody reads the
 * socket. An epoll set inside the loop's: libevent's EV_CLOSED is not told of a reset, which it
 * announces to those who read or write alone, and so over and over. */

struct event_base;
struct hangups; /* one a loop */
struct hangup { /* embedded in what owns the socket; zero: not watched */
    void (*fn)(struct hangup *h);
    int fd;
    bool watched;
};

MUST_USE enum err hangups_new(struct event_base *base, struct hangups **out);
void hangups_free(struct hangups **s);
/* h->fn is called once, on the loop's thread, if fd's other end has left or leaves; not within
 * the call. Without memory it is not: who waits for it has a deadline besides. */
void hangup_watch(struct hangups *s, struct hangup *h, int fd);
/* Before fd is closed. h stays where it is until the turn ends. */
void hangup_forget(struct hangups *s, struct hangup *h);

#endif
