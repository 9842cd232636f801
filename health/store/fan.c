/* Several stores as one: each keeps its own connection, so that one that is lost or frozen
 * costs nothing of the others. */

#include "health/store/store.h"

#include "base/check.h"

#include <stdlib.h>

#define FAN_MAX 8

struct fan {
    struct store store; /* first */
    struct store *parts[FAN_MAX];
    uint32_t count;
};

static struct fan *
fan_of(struct store *s)
{
    return (struct fan *)(void *)s;
}

static void
fan_listen(struct store *s, store_read_fn read, void *context)
{
    struct fan *f = fan_of(s);

    for (uint32_t i = 0; i < f->count; i++)
        f->parts[i]->ops->listen(f->parts[i], read, context);
}

static void
fan_write(struct store *s, struct slice value)
{
    struct fan *f = fan_of(s);

    for (uint32_t i = 0; i < f->count; i++)
        f->parts[i]->ops->write(f->parts[i], value);
}

static void
fan_poll(struct store *s)
{
    struct fan *f = fan_of(s);

    for (uint32_t i = 0; i < f->count; i++)
        f->parts[i]->ops->poll(f->parts[i]);
}

/* One of them is enough to hear from the others. */
static bool
fan_connected(const struct store *s)
{
    const struct fan *f = (const struct fan *)(const void *)s;

    for (uint32_t i = 0; i < f->count; i++)
        if (f->parts[i]->ops->connected(f->parts[i]))
            return true;
    return false;
}

static uint64_t
fan_errors(const struct store *s)
{
    const struct fan *f = (const struct fan *)(const void *)s;
    uint64_t sum = 0;

    for (uint32_t i = 0; i < f->count; i++)
        sum += f->parts[i]->ops->errors(f->parts[i]);
    return sum;
}

static void
fan_free(struct store *s)
{
    struct fan *f = fan_of(s);

    for (uint32_t i = 0; i < f->count; i++)
        f->parts[i]->ops->free(f->parts[i]);
    free(f);
}

enum err
store_fan_new(struct store **stores, uint32_t count, struct store **out)
{
    static const struct store_ops ops = {fan_listen,    fan_write,  fan_poll,
                                         fan_connected, fan_errors, fan_free};
    struct fan *f = count == 0 || count > FAN_MAX ? NULL : calloc(1, sizeof(*f));

    ASSERT(out != NULL && *out == NULL);
    if (f != NULL) {
        f->store.ops = &ops;
        f->count = count;
        *out = &f->store;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (f != NULL)
            f->parts[i] = stores[i];
        else
            stores[i]->ops->free(stores[i]);
        stores[i] = NULL;
    }
    return f != NULL ? ERR_OK : count == 0 || count > FAN_MAX ? ERR_TOOBIG : ERR_NOMEM;
}
