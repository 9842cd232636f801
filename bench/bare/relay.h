#ifndef BENCH_BARE_RELAY_H
#define BENCH_BARE_RELAY_H

#include "base/buf.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/tls.h"

/* The bench's bare relay: one loop, TLS in, mTLS out, kept connections on both sides, on
 * lib/net's connections and HTTP codec alone. It knows no caller, no law and no evidence, and
 * exists to show what those cost: what is left of Portolan without them. */

#define RELAY_HOST_MAX 272
#define RELAY_IDLE_MAX 1024 /* kept connections to the backend */

struct client;
struct relay_backend;
struct relay {
    struct loop *loop;
    struct buf_pool *pool;
    struct tls *server_tls;
    struct tls *client_tls;
    struct tls_reuse *reuse;
    struct egress *guard;
    struct address backend;
    char host[RELAY_HOST_MAX];  /* "address:port", for Host */
    struct relay_backend *idle; /* the last used first */
    size_t idle_count;
    struct client *clients;
};

/* Takes an accepted fd; context is the relay (listener_fn). */
void relay_accept(void *context, int fd);
/* Ends all connections; their memory goes with the loop's turn, or with the loop. */
void relay_end(struct relay *r);

#endif
