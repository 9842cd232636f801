/* One node alone: there is nobody to write for and nothing to read. */

#include "health/store/store.h"

#include "base/check.h"

#include <stdlib.h>

static void
memory_listen(struct store *s, store_read_fn read, void *context)
{
    (void)s;
    (void)read;
    (void)context;
}

static void
memory_write(struct store *s, struct slice value)
{
    (void)s;
    (void)value;
}

static void
memory_poll(struct store *s)
{
    (void)s;
}

static bool
memory_connected(const struct store *s)
{
    (void)s;
    return true;
}

static uint64_t
memory_errors(const struct store *s)
{
    (void)s;
    return 0;
}

static void
memory_free(struct store *s)
{
    free(s);
}

enum err
store_memory_new(const struct store_opts *opts, struct store **out)
{
    static const struct store_ops ops = {memory_listen,    memory_write,  memory_poll,
                                         memory_connected, memory_errors, memory_free};
    struct store *s = calloc(1, sizeof(*s));

    ASSERT(out != NULL && *out == NULL);
    (void)opts;
    if (s == NULL)
        return ERR_NOMEM;
    s->ops = &ops;
    *out = s;
    return ERR_OK;
}
