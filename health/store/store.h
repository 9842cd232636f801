#ifndef HEALTH_STORE_STORE_H
#define HEALTH_STORE_STORE_H

#include "base/err.h"
#include "base/slice.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/tls.h"

#include <stdbool.h>
#include <stdint.h>

/* Where adverts are kept: a Redis (several, one per region) or this process's memory.
 * Losing it costs performance, never lawfulness. All on one loop; nothing blocks. */

struct store;

typedef void (*store_read_fn)(void *context, uint32_t node, struct slice value);

struct store_ops {
    /* From now on reads go to this function; NULL: nowhere. */
    void (*listen)(struct store *s, store_read_fn read, void *context);
    /* Writes the node's own record with a TTL of 15 s (fire and forget). */
    void (*write)(struct store *s, struct slice value);
    /* Asks for the records of all listed nodes; read() is called for each that exists, from
     * the loop, later. */
    void (*poll)(struct store *s);
    bool (*connected)(const struct store *s);
    uint64_t (*errors)(const struct store *s);
    void (*free)(struct store *s);
};
struct store {
    const struct store_ops *ops;
};

/* Keys are portolan:{mesh}:node:{node}. names: node names of the charter, by index. */
struct store_opts {
    struct loop *loop;
    const char *mesh;
    const char *const *names;
    uint32_t name_count;
    uint32_t own;
    store_read_fn read; /* may be NULL until listen() */
    void *context;
};
MUST_USE enum err store_memory_new(const struct store_opts *opts, struct store **out);

struct store_redis_opts {
    struct store_opts common;
    struct address address;
    const char *host;     /* for re-resolving when it is no literal; NULL otherwise */
    struct tls *tls;      /* NULL: plain (loopback only) */
    const char *user;     /* NULL: none */
    const char *password; /* NULL: none */
    const struct egress *guard;
};
MUST_USE enum err store_redis_new(const struct store_redis_opts *opts, struct store **out);
/* Several stores as one: writes to all, polls all. Takes them. At most 8. */
MUST_USE enum err store_fan_new(struct store **stores, uint32_t count, struct store **out);

#endif
