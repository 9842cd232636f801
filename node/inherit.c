#include "node/inherit.h"

#include "base/check.h"
#include "base/log.h"
#include "base/slice.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FD 3
#define SOCKETS_MAX 3

static enum err
fault(const char *what, struct slice name)
{
    log_event(LOG_ERROR, "listen.inherited", "name=\"%.*s\" problem=\"%s\"",
              (int)(name.len < 64 ? name.len : 64), (const char *)name.p, what);
    return ERR_BADMSG;
}

static bool
is_listening(int fd)
{
    int type = 0, accepts = 0;
    socklen_t len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM)
        return false;
    len = sizeof(accepts);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &len) == 0 && accepts == 1;
}

static enum err
take(int fd, struct slice name, int *places[SOCKETS_MAX])
{
    static const char *const names[SOCKETS_MAX] = {"public", "mesh", "admin"};
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return fault("it is no open file", name);
    if (!is_listening(fd))
        return fault("it is no listening stream socket", name);
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (!slice_is(name, names[i]))
            continue;
        if (*places[i] >= 0)
            return fault("there are two of that name", name);
        *places[i] = fd;
        return ERR_OK;
    }
    return fault("the names are public, mesh and admin (FileDescriptorName=)", name);
}

/* For this process, and not for one that inherited its environment. */
static bool
is_for_us(uint64_t *count)
{
    // NOLINTBEGIN(concurrency-mt-unsafe): before any thread
    const char *pid_text = getenv("LISTEN_PID");
    const char *count_text = getenv("LISTEN_FDS");
    uint64_t pid = 0;

    return pid_text != NULL && count_text != NULL && slice_u64(slice_str(pid_text), &pid) &&
           pid == (uint64_t)getpid() && slice_u64(slice_str(count_text), count);
    // NOLINTEND(concurrency-mt-unsafe)
}

enum err
inherit_sockets(int *public_fd, int *mesh_fd, int *admin_fd)
{
    int *places[SOCKETS_MAX] = {public_fd, mesh_fd, admin_fd};
    const char *names = getenv("LISTEN_FDNAMES"); // NOLINT(concurrency-mt-unsafe): no thread yet
    struct slice rest = slice_str(names == NULL ? "" : names);
    uint64_t count = 0;
    enum err e = ERR_OK;

    if (!is_for_us(&count))
        return ERR_OK;
    if (count > SOCKETS_MAX)
        return fault("more sockets than a node has listeners", rest);
    for (uint64_t i = 0; i < count && e == ERR_OK; i++)
        e = take(FIRST_FD + (int)i, slice_cut(&rest, ':'), places);
    if (e == ERR_OK && rest.len > 0)
        e = fault("a name without a socket", rest);
    return e;
}
