#ifndef HEALTH_PROBE_H
#define HEALTH_PROBE_H

#include "base/err.h"
#include "base/slice.h"
#include "health/view.h"

#include <stdbool.h>
#include <stdint.h>

/* One round of questions to a model server, by its kind (ENGINEERING section 5). Pure: the
 * answers are handed in. A probe reads only, and names no model, so that none is loaded. */

struct probe {
    const struct charter *charter;
    uint32_t backend;
    uint32_t step; /* index of the question to ask next */
    bool failed;   /* this round */
    bool refused;  /* the server does not even listen */
    bool wrong_identity;
    bool measured;               /* in_flight and queued are what the server said */
    struct health_backend facts; /* state is left to probe_settle() */
};
void probe_begin(struct probe *p, const struct charter *charter, uint32_t backend);
/* The path of the next question (without the backend's prefix), or NULL at the round's end. */
const char *probe_path(const struct probe *p);
/* The answer to it; e as of fetch_fn. */
void probe_answer(struct probe *p, enum err e, int status, struct slice body);

#define PROBE_FAILS_DOWN 2

/* What rounds come to: down after two failed ones or a refused connection, up after a good
 * one, quarantined for a wrong identity. */
struct probe_pulse {
    enum health_state state;
    uint32_t fails;
};
void probe_settle(struct probe_pulse *pulse, const struct probe *p);

#endif
