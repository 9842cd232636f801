#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "base/slice.h"
#include "net/h1.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The load generator: what it is told, and one of its connections. */

#define LOAD_CONNECTIONS_MAX 4096
#define LOAD_RATE_MAX 1000000 /* requests a second */
#define LOAD_SECONDS_MAX 3600
#define LOAD_FILE_MAX (128u << 20) /* tokens, addresses, body */
#define LOAD_HEAD_MAX 12288        /* a request's head: token of at most 8 KiB */
#define LOAD_ANSWER_MAX 65536      /* unread bytes of an answer */

struct load_lines {
    struct slice *items;
    size_t count;
    char *storage;
};

struct load_options {
    uint16_t port;
    const char *path;
    uint32_t connections;
    uint32_t rate;               /* requests a second; 0: as fast as the answers come */
    double seconds;              /* 0: until `requests` were answered */
    uint64_t requests;           /* 0: until the time is over */
    double zipf;                 /* exponent of the choice of tokens; 0: in turn */
    const char *cert;            /* PEM of certificate and key, or NULL */
    struct load_lines tokens;    /* empty: no Authorization */
    struct load_lines addresses; /* for X-Forwarded-For; empty: none */
    char *body;
    size_t body_len;
};

/* Ends the program with a message where the options or their files are no good. */
void load_options_read(int argc, char **argv, struct load_options *out);
void load_options_free(struct load_options *o);

enum link_state { LINK_HANDSHAKE, LINK_IDLE, LINK_SENDING, LINK_READING, LINK_BROKEN };

/* One kept connection: at most one request under way. */
struct link {
    enum link_state state;
    int fd;
    SSL *ssl;
    uint8_t *out; /* room for a head, then the body: only the head changes */
    size_t out_at, out_end;
    uint8_t *in;
    size_t in_len;
    struct h1_parser parser;
    struct h1_body body;
    bool in_body;
    bool wants_write;
    int status;
    uint64_t due_ns; /* when the request should have been sent: latency counts from there */
    const char *why; /* LINK_BROKEN */
};

bool link_open(struct link *l, const struct load_options *o, SSL_CTX *tls);
void link_close(struct link *l);
/* Begins a request: an idle link only. */
void link_send(struct link *l, const struct load_options *o, struct slice token,
               struct slice address, uint64_t due_ns);
/* Goes on as far as the socket allows; true when an answer is complete (l->status). */
bool link_step(struct link *l);

#endif
