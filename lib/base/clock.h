#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Monotonic time: for every deadline and duration. Never goes back, means
 * nothing outside this machine. */
struct mono {
    uint64_t ns;
};

struct mono clock_mono(void);
/* Wall time in Unix milliseconds: only for logs, certificates, tokens, audit. */
int64_t clock_wall_ms(void);

static inline struct mono
mono_add_ms(struct mono t, uint64_t ms)
{
    return (struct mono){t.ns + ms * UINT64_C(1000000)};
}
/* Milliseconds from since to now, 0 when since is later. */
static inline uint64_t
mono_ms_since(struct mono now, struct mono since)
{
    return now.ns <= since.ns ? 0 : (now.ns - since.ns) / UINT64_C(1000000);
}

#endif
