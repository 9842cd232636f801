#include "health/merge.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

enum err
merge_init(struct merge *m, const struct charter *c)
{
    memset(m, 0, sizeof(*m));
    m->newest = advert_new(c);
    m->reading = advert_new(c);
    if (m->newest != NULL && m->reading != NULL)
        return ERR_OK;
    merge_fini(m);
    return ERR_NOMEM;
}

void
merge_fini(struct merge *m)
{
    free(m->newest);
    free(m->reading);
    memset(m, 0, sizeof(*m));
}

static bool
is_retired(const struct merge *m, const char *boot)
{
    uint32_t count = m->retired_count < MERGE_RETIRED_MAX ? m->retired_count : MERGE_RETIRED_MAX;

    for (uint32_t i = 0; i < count; i++)
        if (memcmp(m->retired[i], boot, ADVERT_BOOT_SIZE) == 0)
            return true;
    return false;
}

/* Another boot is newer when its node says so; a node whose clock went back at its start is
 * believed once the old boot has been silent for as long as a record lives. */
static bool
boot_is_newer(const struct merge *m, struct mono now)
{
    return m->reading->t_ms > m->newest->t_ms || mono_ms_since(now, m->seen) > MERGE_STALE_MS;
}

bool
merge_take(struct merge *m, struct mono now)
{
    struct advert *taken = m->reading;

    if (is_retired(m, taken->boot))
        return false;
    if (m->known && memcmp(m->newest->boot, taken->boot, ADVERT_BOOT_SIZE) == 0) {
        if (taken->seq <= m->newest->seq)
            return false;
    } else if (m->known) {
        if (!boot_is_newer(m, now))
            return false;
        memcpy(m->retired[m->retired_count % MERGE_RETIRED_MAX], m->newest->boot, ADVERT_BOOT_SIZE);
        m->retired_count++;
    }
    m->reading = m->newest;
    m->newest = taken;
    m->known = true;
    m->seen = now;
    return true;
}

enum health_age
merge_age(const struct merge *m, struct mono now)
{
    uint64_t ms = mono_ms_since(now, m->seen);

    if (!m->known || ms > MERGE_STATIC_MS)
        return HEALTH_GONE;
    if (ms <= MERGE_FRESH_MS)
        return HEALTH_FRESH;
    return ms <= MERGE_STALE_MS ? HEALTH_STALE : HEALTH_STATIC;
}
