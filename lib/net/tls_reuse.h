#ifndef NET_TLS_REUSE_H
#define NET_TLS_REUSE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Sessions of servers that this side connects to (RFC 8446 section 2.2, RFC 5077), kept for the
 * next connection with the same context: it costs no verification, and all of them hold one
 * copy of the server's certificates. A resumed session is one of the server that was verified
 * when it began, for at most TLS_REUSE_MAX_S and never beyond the end of that server's
 * certificate; the key that a context pins is compared at each handshake all the same.
 * Of contexts of the mesh nothing is kept. One thread's. */

#define TLS_REUSE_MAX_S 3600
#define TLS_REUSE_PLACES 256 /* contexts; one whose place is taken drives the other out */

struct tls;
struct tls_reuse;

MUST_USE enum err tls_reuse_new(struct tls_reuse **out);
/* After the last connection that was made with it. */
void tls_reuse_free(struct tls_reuse **r);
/* Forgets all: contexts, and what is known of servers, have changed. */
void tls_reuse_clear(struct tls_reuse *r);

#endif
