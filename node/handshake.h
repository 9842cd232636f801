#ifndef NODE_HANDSHAKE_H
#define NODE_HANDSHAKE_H

#include <stdbool.h>

/* The handshakes of a listener's clients: how many are under way, how they ended. Public and mesh
 * listener are counted apart, so that a flood on the one can't keep peers out. */

struct client;
struct worker;

/* Before anything is spent on TLS; false: limits.handshakes are under way already. */
bool handshake_admit(struct worker *w, bool mesh);
/* It could not even begin. */
void handshake_drop(struct worker *w, bool mesh);
/* The connection is open, or gone, or too late: each is told once, and later calls do nothing. */
void handshake_done(struct client *c);
void handshake_failed(struct client *c, bool timed_out);

#endif
