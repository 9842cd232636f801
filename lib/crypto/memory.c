#include "crypto/memory.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A record buffer: 16 KiB of plaintext, what a cipher and its header add to it, and
 * alignment. All that lie between the two bounds come from one region of address space, so
 * that giving one back, or anything else, costs a comparison to tell them apart. What finds
 * no place there comes from the allocator. */
#define RECORD_BUFFER_MIN 16384
#define RECORD_BUFFER_SIZE 17408
#define PLACES 4096 /* 68 MiB of addresses; memory only for those that are used */
#define REGION_SIZE ((size_t)PLACES * RECORD_BUFFER_SIZE)
#define KEPT 32 /* by a thread for itself: 544 KiB */

struct place {
    struct place *next;
    size_t count; /* from this one on */
};

static uint8_t *region;
static atomic_size_t used;     /* places that were ever taken */
static pthread_key_t list_key; /* a thread's own, the latest first */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct place *others; /* under lock: what threads have too many of, or left behind */

static struct place *
pushed(struct place *p, struct place *list)
{
    p->next = list;
    p->count = list == NULL ? 1 : list->count + 1;
    return p;
}

static void
leave(struct place *p)
{
    (void)pthread_mutex_lock(&lock);
    others = pushed(p, others);
    (void)pthread_mutex_unlock(&lock);
}

/* A thread ended. */
static void
leave_all(void *list)
{
    struct place *p = list;

    while (p != NULL) {
        struct place *next = p->next;

        leave(p);
        p = next;
    }
}

static void *
take_other(void)
{
    struct place *p;
    size_t n;

    (void)pthread_mutex_lock(&lock);
    p = others;
    if (p != NULL)
        others = p->next;
    (void)pthread_mutex_unlock(&lock);
    if (p != NULL)
        return p;
    n = atomic_load_explicit(&used, memory_order_relaxed);
    while (n < PLACES)
        if (atomic_compare_exchange_weak(&used, &n, n + 1))
            return region + n * RECORD_BUFFER_SIZE;
    return malloc(RECORD_BUFFER_SIZE);
}

static void *
take(size_t size, const char *file, int line)
{
    struct place *p;

    (void)file;
    (void)line;
    if (size <= RECORD_BUFFER_MIN || size > RECORD_BUFFER_SIZE)
        return size == 0 ? NULL : malloc(size);
    p = pthread_getspecific(list_key);
    if (p == NULL || pthread_setspecific(list_key, p->next) != 0)
        return take_other();
    return p;
}

static bool
is_place(const void *p)
{
    return (uintptr_t)p - (uintptr_t)region < REGION_SIZE;
}

static void
give_back(void *p, const char *file, int line)
{
    struct place *list;

    (void)file;
    (void)line;
    if (!is_place(p)) {
        free(p);
        return;
    }
    list = pthread_getspecific(list_key);
    if ((list != NULL && list->count >= KEPT) ||
        pthread_setspecific(list_key, pushed(p, list)) != 0)
        leave(p);
}

static void *
resize(void *p, size_t size, const char *file, int line)
{
    void *moved;

    if (!is_place(p) && size > 0)
        return realloc(p, size);
    if (size > 0 && size <= RECORD_BUFFER_SIZE)
        return p;
    moved = take(size, file, line);
    if (moved != NULL)
        memcpy(moved, p, RECORD_BUFFER_SIZE); /* it grows: all of the place is in it */
    if (moved != NULL || size == 0)
        give_back(p, file, line);
    return moved;
}

enum err
crypto_memory_init(void)
{
    region = mmap(NULL, REGION_SIZE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED || pthread_key_create(&list_key, leave_all) != 0)
        return ERR_NOMEM;
    return CRYPTO_set_mem_functions(take, resize, give_back) == 1 ? ERR_OK : ERR_CONFLICT;
}
