#include "node/takeover_priv.h"

#include "base/check.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The messages of a takeover, their bytes, and the socket that they go over. */

#define RECEIVE_TRIES 4

static const uint8_t magic[8] = {'P', 'T', 'L', 'N', 'T', 'K', 'O', 'V'};

_Static_assert(TAKEOVER_TERM_COUNT *(CONFIG_PATH_MAX + 2) <= TAKEOVER_PAYLOAD_MAX,
               "the terms fit a message");
_Static_assert(TAKEOVER_WORDS_MAX <= TAKEOVER_PAYLOAD_MAX, "words fit a message");

static void
put16(uint8_t *out, size_t v)
{
    out[0] = (uint8_t)(v & 0xff);
    out[1] = (uint8_t)(v >> 8 & 0xff);
}

static uint16_t
get16(const uint8_t *in)
{
    return (uint16_t)(in[0] | in[1] << 8);
}

enum err
takeover_decode(struct slice packet, struct takeover_message *out)
{
    uint32_t len;
    uint16_t type;

    if (packet.len < TAKEOVER_HEADER || memcmp(packet.p, magic, sizeof(magic)) != 0)
        return ERR_BADMSG;
    type = get16(packet.p + 10);
    len = (uint32_t)get16(packet.p + 12) | (uint32_t)get16(packet.p + 14) << 16;
    if (len > TAKEOVER_PAYLOAD_MAX)
        return ERR_TOOBIG;
    if (len != packet.len - TAKEOVER_HEADER || type < TAKEOVER_MSG_HELLO ||
        type > TAKEOVER_MSG_LAST)
        return ERR_BADMSG;
    out->version = get16(packet.p + 8);
    out->type = (enum takeover_type)type;
    out->len = len;
    if (len > 0)
        memcpy(out->payload, packet.p + TAKEOVER_HEADER, len);
    return ERR_OK;
}

void
takeover_hello_encode(const struct takeover_terms *terms, struct takeover_message *out)
{
    size_t at = 0;

    *out = (struct takeover_message){.version = TAKEOVER_VERSION, .type = TAKEOVER_MSG_HELLO};
    for (size_t i = 0; i < TAKEOVER_TERM_COUNT; i++) {
        size_t len = strlen(terms->values[i]);

        put16(out->payload + at, len);
        memcpy(out->payload + at + 2, terms->values[i], len);
        at += 2 + len;
    }
    out->len = at;
}

bool
takeover_hello_decode(const struct takeover_message *m, struct takeover_terms *out)
{
    size_t at = 0;

    for (size_t i = 0; i < TAKEOVER_TERM_COUNT; i++) {
        size_t len;

        if (m->len - at < 2)
            return false;
        len = get16(m->payload + at);
        at += 2;
        if (len > m->len - at || memchr(m->payload + at, '\0', len) != NULL ||
            !slice_copy_str(slice_of(m->payload + at, len), out->values[i], sizeof(out->values[i])))
            return false;
        at += len;
    }
    return at == m->len;
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

static bool
fits(enum takeover_fd what, int fd)
{
    struct stat st;

    if (what == TAKEOVER_LOCK)
        return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    return is_listening(fd);
}

bool
takeover_sockets_take(struct takeover_message *m, int out[TAKEOVER_FD_COUNT])
{
    int fds[TAKEOVER_FD_COUNT];
    size_t used = 0;

    if (m->len != 1)
        return false;
    for (unsigned i = 0; i < TAKEOVER_FD_COUNT; i++) {
        fds[i] = -1;
        if ((m->payload[0] & 1u << i) == 0)
            continue;
        if (used == m->fd_count || !fits((enum takeover_fd)i, m->fds[used]))
            return false;
        fds[i] = m->fds[used++];
    }
    if (used != m->fd_count || m->payload[0] >> TAKEOVER_FD_COUNT != 0)
        return false;
    memcpy(out, fds, sizeof(fds));
    m->fd_count = 0;
    return true;
}

/* ---- The socket ------------------------------------------------------------------------- */

enum err
takeover_send(int fd, const struct takeover_message *m)
{
    uint8_t head[TAKEOVER_HEADER];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * TAKEOVER_FD_COUNT)] = {0};
    struct iovec parts[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)m->payload, m->len}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = m->len > 0 ? 2 : 1};
    ssize_t n;

    ASSERT(m->len <= TAKEOVER_PAYLOAD_MAX);
    ASSERT(m->fd_count <= TAKEOVER_FD_COUNT);
    memcpy(head, magic, sizeof(magic));
    put16(head + 8, m->version);
    put16(head + 10, (size_t)m->type);
    put16(head + 12, m->len & 0xffff);
    put16(head + 14, m->len >> 16);
    if (m->fd_count > 0) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * m->fd_count);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * m->fd_count);
        memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->fd_count);
    }
    do {
        n = sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return ERR_AGAIN;
    if (n < 0)
        return errno == EPIPE || errno == ECONNRESET ? ERR_CLOSED : ERR_IO;
    return ERR_OK;
}

/* Every descriptor that came is ours to close, whatever else is wrong with the packet. */
static bool
collect_fds(struct msghdr *msg, struct takeover_message *out)
{
    bool ok = (msg->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            ok = false;
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (out->fd_count < TAKEOVER_FD_COUNT) {
                out->fds[out->fd_count++] = fd;
            } else {
                (void)close(fd);
                ok = false;
            }
        }
    }
    return ok;
}

enum err
takeover_receive(int fd, struct takeover_message *out)
{
    uint8_t packet[TAKEOVER_HEADER + TAKEOVER_PAYLOAD_MAX];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * TAKEOVER_FD_COUNT)];
    struct iovec part = {packet, sizeof(packet)};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    enum err e = ERR_BADMSG;
    ssize_t n = -1;

    out->fd_count = 0;
    /* A reset is told once, and before what the other side said last: it closed without having
     * read all of ours. */
    for (int i = 0; i < RECEIVE_TRIES; i++) {
        n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n >= 0 || (errno != EINTR && errno != ECONNRESET))
            break;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return ERR_AGAIN;
    if (n < 0)
        return errno == ECONNRESET ? ERR_CLOSED : ERR_IO;
    if (n == 0 && msg.msg_controllen == 0)
        return ERR_CLOSED;
    if (collect_fds(&msg, out))
        e = takeover_decode(slice_of(packet, (size_t)n), out);
    if (e == ERR_OK && out->fd_count > 0 && out->type != TAKEOVER_MSG_SOCKETS)
        e = ERR_BADMSG;
    if (e != ERR_OK)
        takeover_message_drop(out);
    return e;
}

enum err
takeover_receive_within(int fd, struct takeover_message *out, int ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int n;

    /* A signal only makes the wait longer: it has its end in any case. */
    do {
        n = poll(&wait, 1, ms);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return ERR_IO;
    return n == 0 ? ERR_TIMEOUT : takeover_receive(fd, out);
}

void
takeover_tell(int fd, enum takeover_type type, const char *words)
{
    struct takeover_message m = {.version = TAKEOVER_VERSION, .type = type};

    m.len = strlen(words);
    ASSERT(m.len <= TAKEOVER_PAYLOAD_MAX);
    memcpy(m.payload, words, m.len);
    /* Its buffer is empty: what can't be sent has nobody who would read it. */
    (void)!takeover_send(fd, &m);
}

void
takeover_words(const struct takeover_message *m, char out[TAKEOVER_WORDS_MAX])
{
    size_t n = m->len < TAKEOVER_WORDS_MAX - 1 ? m->len : TAKEOVER_WORDS_MAX - 1;

    for (size_t i = 0; i < n; i++)
        out[i] = m->payload[i] >= ' ' && m->payload[i] < 0x7f ? (char)m->payload[i] : '?';
    out[n] = '\0';
}

void
takeover_message_drop(struct takeover_message *m)
{
    for (size_t i = 0; i < m->fd_count; i++)
        (void)close(m->fds[i]);
    m->fd_count = 0;
}

bool
takeover_peer_ok(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && len == sizeof(who) &&
           (who.uid == geteuid() || who.uid == 0);
}

enum err
takeover_socket(const char *state_dir, int *fd, int *dir_fd)
{
    *dir_fd = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*dir_fd < 0)
        return errno == ENOENT ? ERR_NOENT : ERR_IO;
    *fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd >= 0)
        return ERR_OK;
    (void)close(*dir_fd);
    *dir_fd = -1;
    return ERR_IO;
}
