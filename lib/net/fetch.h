#ifndef NET_FETCH_H
#define NET_FETCH_H

#include "base/buf.h"
#include "base/err.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/loop.h"
#include "net/tls.h"

/* One small GET with a deadline: probes, peer liveness. The connection is kept for the
 * next one of the same fetcher. */

#define FETCH_BODY_MAX (1u << 20)

struct fetcher;
struct fetcher_opts {
    struct loop *loop;
    struct buf_pool *pool;
    struct address address;
    struct tls *tls; /* NULL: plain; reffed */
    const char *host;
    const char *authorization; /* NULL: none */
    const struct egress *guard;
};
MUST_USE enum err fetcher_new(const struct fetcher_opts *opts, struct fetcher **out);
void fetcher_free(struct fetcher **f); /* cancels what is under way; no callback */

/* ERR_OK: an answer came, whatever its status; body is borrowed for the call. Otherwise
 * ERR_TIMEOUT, ERR_IO (no connection), ERR_EOF (it ended before the answer did), ERR_AUTH
 * (identity), ERR_BADMSG (not HTTP), ERR_TOOBIG, ERR_NOMEM. The callback may start the next
 * one or free the fetcher. */
typedef void (*fetch_fn)(void *context, enum err e, int status, struct slice body);
/* One at a time: ERR_AGAIN while another is under way. On any error, such as ERR_FORBIDDEN
 * by the guard or ERR_IO when the connection is refused at once, fn is not called. */
MUST_USE enum err fetch_get(struct fetcher *f, const char *path, uint64_t deadline_ms, fetch_fn fn,
                            void *context);
/* DER of the server's certificate of the current connection, or empty. */
struct slice fetch_peer_cert(struct fetcher *f);

#endif
