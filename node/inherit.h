#ifndef NODE_INHERIT_H
#define NODE_INHERIT_H

#include "base/err.h"

/* Listening sockets that the service manager opened (sd_listen_fds(3)): LISTEN_PID, LISTEN_FDS
 * and LISTEN_FDNAMES say which; a name is `public`, `mesh` or `admin`. What did not come stays
 * -1. ERR_BADMSG, after a log line, for anything else: a socket that nobody serves would let
 * its callers wait. */
MUST_USE enum err inherit_sockets(int *public_fd, int *mesh_fd, int *admin_fd);

#endif
