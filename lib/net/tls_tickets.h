#ifndef NET_TLS_TICKETS_H
#define NET_TLS_TICKETS_H

#include "base/clock.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* The keys that session tickets are sealed with: random, of this process alone, in memory
 * alone, a new one each hour; the one before still opens. One ring for all workers and, handed
 * on, for all snapshots, so that a session goes on wherever its client connects; each handshake
 * takes its mutex for the time of a copy. */

#define TLS_TICKET_KEY_MS UINT64_C(3600000)
#define TLS_TICKET_LIFE_S 3600 /* of a ticket: its key opens for at least as long */

struct tls_ticket_key {
    uint8_t name[16];
    uint8_t cipher[32]; /* AES-256-CBC */
    uint8_t mac[32];    /* HMAC-SHA-256 */
};

struct tls_tickets;
MUST_USE enum err tls_tickets_new(struct mono now, struct tls_tickets **out);
struct tls_tickets *tls_tickets_ref(struct tls_tickets *ring);
void tls_tickets_unref(struct tls_tickets **ring);
/* The key that seals now. The caller wipes its copy. */
void tls_tickets_seal(struct tls_tickets *ring, struct mono now, struct tls_ticket_key *out);
/* The key of that name; ERR_NOENT: none, or over. *is_old: a new ticket is due. */
MUST_USE enum err tls_tickets_open(struct tls_tickets *ring, struct mono now,
                                   const uint8_t name[16], struct tls_ticket_key *out,
                                   bool *is_old);

#endif
