#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "base/err.h"
#include "net/address.h"
#include "net/loop.h"

#include <stdbool.h>

/* A listening socket, and one loop's interest in it: several loops share one socket, so
 * that a connection waits for whichever is free. */

#define LISTENER_BACKLOG 1024
#define LISTENER_ACCEPT_TURN 16 /* connections taken in one turn: other callbacks wait too */
#define LISTENER_REST_MS 100
#define LISTENER_SPARES_MAX 16

/* Binds and listens (SO_REUSEADDR, non-blocking, close-on-exec). ERR_EXIST: in use. */
MUST_USE enum err listener_open(const struct address *at, int *out_fd);

struct listener;
/* Takes the accepted fd (non-blocking, close-on-exec). */
typedef void (*listener_fn)(void *context, int fd);
/* fd is borrowed: the one who opened it closes it. */
MUST_USE enum err listener_new(struct loop *loop, int fd, listener_fn fn, void *context,
                               struct listener **out);
void listener_free(struct listener **l);
void listener_pause(struct listener *l, bool paused);
/* Inside listener_fn: takes what this turn may still take, then nothing for LISTENER_REST_MS.
 * False when that was asked for in this turn already. */
bool listener_rest(struct listener *l);
/* Keeps `count` descriptors of its own (at most LISTENER_SPARES_MAX): when the process has
 * none left, connections are accepted in their place. They are taken again as soon as there
 * are some. ERR_FULL when there are none to begin with. */
MUST_USE enum err listener_reserve(struct listener *l, size_t count);

#endif
