#ifndef NODE_TAKEOVER_PRIV_H
#define NODE_TAKEOVER_PRIV_H

#include "base/slice.h"
#include "node/takeover.h"

/* One message: magic "PTLNTKOV", version u16, type u16, payload length u32, payload; numbers
 * little-endian. File descriptors go beside it (SCM_RIGHTS). */

#define TAKEOVER_HEADER 16
#define TAKEOVER_PAYLOAD_MAX 12288
#define TAKEOVER_SOCKET "takeover.sock"

enum takeover_type {
    TAKEOVER_MSG_HELLO = 1, /* terms: for each a length u16 and its bytes */
    TAKEOVER_MSG_SOCKETS,   /* u8 mask of those that come, in the order of takeover_fd */
    TAKEOVER_MSG_READY,
    TAKEOVER_MSG_GO,
    TAKEOVER_MSG_SERVING,
    TAKEOVER_MSG_REFUSED, /* words */
};

struct takeover_message {
    uint16_t version;
    enum takeover_type type;
    size_t len;
    uint8_t payload[TAKEOVER_PAYLOAD_MAX];
    int fds[TAKEOVER_FD_COUNT]; /* received ones, the caller's; fd_count of them */
    size_t fd_count;
};

/* Header and length; the payload is copied. ERR_BADMSG, ERR_TOOBIG. */
MUST_USE enum err takeover_decode(struct slice packet, struct takeover_message *out);
void takeover_hello_encode(const struct takeover_terms *terms, struct takeover_message *out);
bool takeover_hello_decode(const struct takeover_message *m, struct takeover_terms *out);
/* The fds of a SOCKETS message into their places; false when mask and fds do not fit, or one
 * is not what it must be. On success they are out's. */
bool takeover_sockets_take(struct takeover_message *m, int out[TAKEOVER_FD_COUNT]);

/* One packet. Never blocks: ERR_AGAIN. ERR_CLOSED when the other side is gone. */
MUST_USE enum err takeover_send(int fd, const struct takeover_message *m);
MUST_USE enum err takeover_receive(int fd, struct takeover_message *out);
/* The same with waiting: ERR_TIMEOUT. */
MUST_USE enum err takeover_receive_within(int fd, struct takeover_message *out, int ms);
void takeover_message_drop(struct takeover_message *m); /* closes fds nobody took */
/* Whoever is on the other side has our user id, or root's. */
bool takeover_peer_ok(int fd);
/* Unbound, non-blocking; *dir_fd is state_dir's, for the path below it. */
MUST_USE enum err takeover_socket(const char *state_dir, int *fd, int *dir_fd);

#endif
