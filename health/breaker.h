#ifndef HEALTH_BREAKER_H
#define HEALTH_BREAKER_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

/* Ejection of one backend by the outcomes of real requests (ENGINEERING section 5). A pure
 * machine: time and random bits are arguments.
 *
 *   CLOSED --3 FAIL in a row, or > 50 % of >= 10 in 60 s--> OPEN --5 s x 2^n +- 25 %-->
 *   HALF_OPEN (one trial at a time) --ok--> CLOSED, --FAIL--> OPEN
 *
 * The trial belongs to the request that took it. What other requests report meanwhile, which
 * were under way when the breaker opened, neither ends it nor decides anything.
 */

enum breaker_outcome { BREAKER_OK, BREAKER_FAIL, BREAKER_LOAD, BREAKER_CLIENT, BREAKER_ABORT };
enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
    enum breaker_state state;
    uint32_t fails_in_row;
    uint32_t ejections;     /* n of the back-off */
    struct mono until;      /* OPEN: when a trial is allowed */
    uint32_t trial;         /* HALF_OPEN: number of the one under way; 0: none */
    uint32_t trials;        /* the latest number */
    struct mono load_until; /* a LOAD outcome raises the estimated use until then */
    uint32_t window_total;
    uint32_t window_fails;
    struct mono window_start;
};

void breaker_init(struct breaker *b);
/* Whether a request may go there now. *trial: 0, or the number of the trial that it took; its
 * owner must end it. */
bool breaker_take(struct breaker *b, struct mono now, uint32_t *trial);
/* The same question without taking anything: true when a request may go there. */
bool breaker_open_for(const struct breaker *b, struct mono now);
/* A probe saw the backend come back from down: the trial is allowed now, not only when the
 * back-off ends. Still one trial at a time, and a FAIL opens it again for longer. */
void breaker_recover(struct breaker *b, struct mono now);
/* The outcome of a request. */
void breaker_note(struct breaker *b, enum breaker_outcome outcome, uint32_t retry_after_ms,
                  struct mono now, uint64_t random);
/* The same for its trial, if that is still the one under way. LOAD and ABORT say nothing of
 * whether it works: the next request is the trial. */
void breaker_trial_end(struct breaker *b, uint32_t trial, enum breaker_outcome outcome,
                       struct mono now, uint64_t random);

#endif
