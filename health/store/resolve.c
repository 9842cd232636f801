#include "health/store/resolve.h"

#include "base/slice.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

struct resolve {
    atomic_uint references; /* the owner's and the thread's */
    atomic_bool done;       /* what stands below is written */
    enum err e;
    struct address address;
    uint16_t port;
    char host[254];
};

static void
unref(struct resolve *r)
{
    if (atomic_fetch_sub(&r->references, 1) == 1)
        free(r);
}

static void *
run(void *context)
{
    struct resolve *r = context;

    r->e = address_resolve(r->host, r->port, &r->address);
    atomic_store(&r->done, true);
    unref(r);
    return NULL;
}

enum err
resolve_start(const char *host, uint16_t port, struct resolve **out)
{
    struct resolve *r = calloc(1, sizeof(*r));
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    int failed;

    if (r == NULL)
        return ERR_NOMEM;
    r->port = port;
    atomic_init(&r->references, 2);
    if (!slice_copy_str(slice_str(host), r->host, sizeof(r->host))) {
        free(r);
        return ERR_TOOBIG;
    }
    /* Signals are for the loops. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, NULL, run, r);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        free(r);
        return ERR_NOMEM;
    }
    (void)pthread_detach(thread);
    *out = r;
    return ERR_OK;
}

enum err
resolve_result(const struct resolve *r, struct address *out)
{
    if (!atomic_load(&r->done))
        return ERR_AGAIN;
    if (r->e == ERR_OK)
        *out = r->address;
    return r->e;
}

void
resolve_free(struct resolve **r)
{
    if (*r != NULL)
        unref(*r);
    *r = NULL;
}
