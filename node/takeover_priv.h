#ifndef NODE_TAKEOVER_PRIV_H
#define NODE_TAKEOVER_PRIV_H

#include "base/slice.h"
#include "node/takeover.h"

#include <pthread.h>

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
    TAKEOVER_MSG_REFUSED,  /* words */
    TAKEOVER_MSG_RELOAD,   /* path of the config, or nothing */
    TAKEOVER_MSG_RELOADED, /* words */
    TAKEOVER_MSG_WANTED,
    TAKEOVER_MSG_LAST = TAKEOVER_MSG_WANTED
};

struct takeover_message {
    uint16_t version;
    enum takeover_type type;
    size_t len;
    uint8_t payload[TAKEOVER_PAYLOAD_MAX];
    int fds[TAKEOVER_FD_COUNT]; /* received ones, the caller's; fd_count of them */
    size_t fd_count;
};

struct takeover_giver {
    uint32_t magic;
    struct takeover_giver_opts opts;
    int dir_fd;
    int listen_fd; /* -1 once given */
    int wake_fd;
    bool given;
    pthread_t thread;
    struct takeover_message message; /* big, so not on the stack */
    int before_fd;                   /* -1: none, or it is gone; likewise after_fd */
    int after_fd;
    int asker_fd; /* whom the outcome is for: a command's, or after_fd; -1 */
    uint64_t ask_serial;
    bool passing;         /* the process before this one owes an answer */
    pthread_mutex_t lock; /* of the rest: notes that any thread leaves */
    struct takeover_notes {
        bool stop;
        bool has_before, has_after; /* the thread's word, for others to read */
        bool want, pass, answer;
        char path[CONFIG_PATH_MAX];
        uint64_t serial;
        bool done;
        char words[TAKEOVER_WORDS_MAX];
    } notes;
};

/* Waits for something on talk_fd or a caller at the socket, and meanwhile does what concerns
 * reloads. ms < 0: however long it takes. ERR_CLOSED: the giver is to stop. */
MUST_USE enum err takeover_link_wait(struct takeover_giver *g, int talk_fd, int ms, bool *talks,
                                     bool *calls);
/* A command asked on fd: until it has its answer, or is gone. */
void takeover_link_reload(struct takeover_giver *g, int fd);
/* The process on fd serves: nobody else is listened to any more. Takes fd. */
void takeover_link_given(struct takeover_giver *g, int fd);
/* Somebody else calls meanwhile. */
void takeover_link_turn_away(struct takeover_giver *g, const char *words);
void takeover_link_end(struct takeover_giver *g);
void takeover_wake(struct takeover_giver *g);

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
/* A message of words, or of none. */
void takeover_tell(int fd, enum takeover_type type, const char *words);
/* The words of a message, for one line. */
void takeover_words(const struct takeover_message *m, char out[TAKEOVER_WORDS_MAX]);
/* Accepts and looks who it is; -1 also when it is another user. */
int takeover_accept(int listen_fd);
void takeover_message_drop(struct takeover_message *m); /* closes fds nobody took */
/* Whoever is on the other side has our user id, or root's. */
bool takeover_peer_ok(int fd);
/* Unbound, non-blocking; *dir_fd is state_dir's, for the path below it. */
MUST_USE enum err takeover_socket(const char *state_dir, int *fd, int *dir_fd);

#endif
