#include "net/tls_tickets.h"

#include "base/check.h"
#include "crypto/hash.h"
#include "crypto/random.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct tls_tickets {
    atomic_uint references;
    pthread_mutex_t lock; /* of all below */
    struct tls_ticket_key current;
    struct tls_ticket_key before;
    bool has_before;
    struct mono made; /* current was */
};

enum err
tls_tickets_new(struct mono now, struct tls_tickets **out)
{
    struct tls_tickets *ring = calloc(1, sizeof(*ring));

    if (ring == NULL)
        return ERR_NOMEM;
    if (pthread_mutex_init(&ring->lock, NULL) != 0) {
        free(ring);
        return ERR_NOMEM;
    }
    atomic_init(&ring->references, 1);
    random_fill(&ring->current, sizeof(ring->current));
    ring->made = now;
    *out = ring;
    return ERR_OK;
}

struct tls_tickets *
tls_tickets_ref(struct tls_tickets *ring)
{
    atomic_fetch_add_explicit(&ring->references, 1, memory_order_relaxed);
    return ring;
}

void
tls_tickets_unref(struct tls_tickets **out)
{
    struct tls_tickets *ring = *out;

    *out = NULL;
    if (ring == NULL || atomic_fetch_sub_explicit(&ring->references, 1, memory_order_acq_rel) != 1)
        return;
    (void)pthread_mutex_destroy(&ring->lock);
    hash_wipe(ring, sizeof(*ring));
    free(ring);
}

/* Under the lock. A ring that nobody used for hours keeps nothing of what it was. */
static void
turn(struct tls_tickets *ring, struct mono now)
{
    uint64_t age = mono_ms_since(now, ring->made);

    if (age < TLS_TICKET_KEY_MS)
        return;
    ring->has_before = age < 2 * TLS_TICKET_KEY_MS;
    if (ring->has_before)
        ring->before = ring->current;
    else
        hash_wipe(&ring->before, sizeof(ring->before));
    random_fill(&ring->current, sizeof(ring->current));
    /* In whole hours from the first, so that a key is never the one before for longer. */
    ring->made = mono_add_ms(ring->made, age / TLS_TICKET_KEY_MS * TLS_TICKET_KEY_MS);
}

void
tls_tickets_seal(struct tls_tickets *ring, struct mono now, struct tls_ticket_key *out)
{
    (void)pthread_mutex_lock(&ring->lock);
    turn(ring, now);
    *out = ring->current;
    (void)pthread_mutex_unlock(&ring->lock);
}

enum err
tls_tickets_open(struct tls_tickets *ring, struct mono now, const uint8_t name[16],
                 struct tls_ticket_key *out, bool *is_old)
{
    enum err e = ERR_NOENT;

    (void)pthread_mutex_lock(&ring->lock);
    turn(ring, now);
    if (memcmp(ring->current.name, name, sizeof(ring->current.name)) == 0) {
        *out = ring->current;
        *is_old = false;
        e = ERR_OK;
    } else if (ring->has_before &&
               memcmp(ring->before.name, name, sizeof(ring->before.name)) == 0) {
        *out = ring->before;
        *is_old = true;
        e = ERR_OK;
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return e;
}
