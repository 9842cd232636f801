#include "crypto/memory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

/* A record buffer: 16 KiB of plaintext, what a cipher and its header add to it, and
 * alignment. All that lie between the two bounds are made of one size. */
#define RECORD_BUFFER_MIN 16384
#define RECORD_BUFFER_SIZE 17408
#define RECORD_BUFFERS_KEPT 32 /* a thread: 544 KiB */

struct kept {
    struct kept *next;
    size_t count; /* from this one on */
};

static pthread_key_t list_key; /* of struct kept: the newest first */

/* A thread ended: what it kept goes. */
static void
free_list(void *list)
{
    struct kept *k = list;

    while (k != NULL) {
        struct kept *next = k->next;

        free(k);
        k = next;
    }
}

static void *
take(size_t size, const char *file, int line)
{
    struct kept *k;

    (void)file;
    (void)line;
    if (size <= RECORD_BUFFER_MIN || size > RECORD_BUFFER_SIZE)
        return size == 0 ? NULL : malloc(size);
    k = pthread_getspecific(list_key);
    if (k == NULL)
        return malloc(RECORD_BUFFER_SIZE);
    if (pthread_setspecific(list_key, k->next) != 0)
        return malloc(RECORD_BUFFER_SIZE);
    return k;
}

static void
give_back(void *p, const char *file, int line)
{
    size_t size = malloc_usable_size(p); /* 0 for NULL */
    struct kept *list;
    struct kept *k = p;

    (void)file;
    (void)line;
    if (size < RECORD_BUFFER_SIZE || size >= RECORD_BUFFER_SIZE + 64) {
        free(p);
        return;
    }
    list = pthread_getspecific(list_key);
    k->next = list;
    k->count = list == NULL ? 1 : list->count + 1;
    if (k->count > RECORD_BUFFERS_KEPT || pthread_setspecific(list_key, k) != 0)
        free(p);
}

static void *
resize(void *p, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (size == 0) {
        give_back(p, NULL, 0);
        return NULL;
    }
    return realloc(p, size);
}

enum err
crypto_memory_init(void)
{
    if (pthread_key_create(&list_key, free_list) != 0)
        return ERR_NOMEM;
    return CRYPTO_set_mem_functions(take, resize, give_back) == 1 ? ERR_OK : ERR_CONFLICT;
}
