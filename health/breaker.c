#include "health/breaker.h"

#include "base/check.h"

#include <string.h>

#define FAILS_IN_ROW_MAX 3
#define WINDOW_MS 60000
#define WINDOW_TOTAL_MIN 10 /* fewer outcomes say nothing about a share */
#define OPEN_MS 5000
#define OPEN_MS_MAX 300000
#define OPEN_DOUBLINGS_MAX 6 /* 5 s x 2^6 is past the maximum */
#define LOAD_MS_DEFAULT 1000
#define LOAD_MS_MAX 30000

void
breaker_init(struct breaker *b)
{
    memset(b, 0, sizeof(*b));
    b->state = BREAKER_CLOSED;
}

bool
breaker_open_for(const struct breaker *b, struct mono now)
{
    switch (b->state) {
    case BREAKER_CLOSED:
        return true;
    case BREAKER_OPEN:
        return now.ns >= b->until.ns;
    case BREAKER_HALF_OPEN:
        return b->trial == 0;
    }
    return false;
}

bool
breaker_take(struct breaker *b, struct mono now, uint32_t *trial)
{
    if (!breaker_open_for(b, now))
        return false;
    *trial = 0;
    if (b->state != BREAKER_CLOSED) {
        b->state = BREAKER_HALF_OPEN;
        b->trials = b->trials == UINT32_MAX ? 1 : b->trials + 1;
        *trial = b->trial = b->trials;
    }
    return true;
}

static void
window_clear(struct breaker *b, struct mono now)
{
    b->window_total = 0;
    b->window_fails = 0;
    b->window_start = now;
}

/* 5 s x 2^n, +- 25 % so that nodes do not come back in step, never above 300 s. */
static void
trip(struct breaker *b, struct mono now, uint64_t random)
{
    uint32_t n = b->ejections < OPEN_DOUBLINGS_MAX ? b->ejections : OPEN_DOUBLINGS_MAX;
    uint64_t ms = (uint64_t)OPEN_MS << n;

    if (ms > OPEN_MS_MAX)
        ms = OPEN_MS_MAX;
    ms = ms - ms / 4 + random % (ms / 2 + 1);
    if (ms > OPEN_MS_MAX)
        ms = OPEN_MS_MAX;
    b->state = BREAKER_OPEN;
    b->until = mono_add_ms(now, ms);
    b->trial = 0;
    b->fails_in_row = 0;
    if (b->ejections < OPEN_DOUBLINGS_MAX)
        b->ejections++;
    window_clear(b, now);
}

static void
note_fail(struct breaker *b, struct mono now, uint64_t random)
{
    b->fails_in_row++;
    b->window_total++;
    b->window_fails++;
    if (b->fails_in_row >= FAILS_IN_ROW_MAX ||
        (b->window_total >= WINDOW_TOTAL_MIN && b->window_fails > b->window_total / 2))
        trip(b, now, random);
}

/* The server answered as it should; a refused request (4xx) is such an answer too. */
static void
note_answer(struct breaker *b)
{
    b->fails_in_row = 0;
    b->window_total++;
}

void
breaker_note(struct breaker *b, enum breaker_outcome outcome, uint32_t retry_after_ms,
             struct mono now, uint64_t random)
{
    uint64_t load_ms = retry_after_ms == 0 ? LOAD_MS_DEFAULT : retry_after_ms;

    if (b->state == BREAKER_CLOSED && mono_ms_since(now, b->window_start) >= WINDOW_MS) {
        /* A whole window without a failure: the next ejection is a first one again. */
        if (b->window_total > 0 && b->window_fails == 0)
            b->ejections = 0;
        window_clear(b, now);
    }
    if (outcome == BREAKER_LOAD)
        b->load_until = mono_add_ms(now, load_ms < LOAD_MS_MAX ? load_ms : LOAD_MS_MAX);
    if (b->state != BREAKER_CLOSED)
        return; /* of a request that was under way when the breaker opened */
    if (outcome == BREAKER_OK || outcome == BREAKER_CLIENT)
        note_answer(b);
    else if (outcome == BREAKER_FAIL)
        note_fail(b, now, random);
}

void
breaker_trial_end(struct breaker *b, uint32_t trial, enum breaker_outcome outcome, struct mono now,
                  uint64_t random)
{
    if (trial == 0 || trial != b->trial)
        return;
    ASSERT(b->state == BREAKER_HALF_OPEN);
    switch (outcome) {
    case BREAKER_OK:
    case BREAKER_CLIENT:
        b->state = BREAKER_CLOSED;
        b->trial = 0;
        window_clear(b, now);
        break;
    case BREAKER_FAIL:
        trip(b, now, random);
        break;
    case BREAKER_LOAD:
    case BREAKER_ABORT:
        b->trial = 0;
        break;
    }
}

void
breaker_recover(struct breaker *b, struct mono now)
{
    if (b->state == BREAKER_OPEN && b->until.ns > now.ns)
        b->until = now;
}
