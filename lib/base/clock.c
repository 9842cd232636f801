#include "base/clock.h"

#include <time.h>

struct mono
clock_mono(void)
{
    struct timespec ts = {0, 0};

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (struct mono){(uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec};
}

int64_t
clock_wall_ms(void)
{
    struct timespec ts = {0, 0};

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
