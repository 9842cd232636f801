#include "node/pressure.h"

#include "base/check.h"

#include <stddef.h>

#define LEAVE_PERMILLE 50 /* a stage ends this far below where it began: no flapping */
#define RETRY_CALM_S 10   /* spread of Retry-After where refusing begins */

/* Where a stage begins, per thousand. */
static const struct {
    const char *name;
    unsigned enter;
} stage_rows[PRESSURE_STAGE_COUNT] = {
    [PRESSURE_NORMAL] = {"normal", 0},
    [PRESSURE_PAUSE] = {"pause", 800},
    [PRESSURE_SHED] = {"shed", 900},
    [PRESSURE_REFUSE] = {"refuse", 950},
};

#define KIND_ROW(name, label, highest) [name] = {label, highest},
static const struct {
    const char *label;
    enum pressure_stage highest;
} kind_rows[PRESSURE_KIND_COUNT] = {PRESSURE_KIND_LIST(KIND_ROW)};
#undef KIND_ROW

unsigned
pressure_permille(const struct pressure_facts *facts, enum pressure_kind kind)
{
    uint64_t used = facts->of[kind].used;
    uint64_t max = facts->of[kind].max;

    if (used >= max)
        return 1000;
    /* Both shrink alike until the product fits. */
    while (used > UINT64_MAX / 1000) {
        used >>= 1;
        max >>= 1;
    }
    return (unsigned)(used * 1000 / max);
}

static uint8_t
next_stage(uint8_t now, unsigned permille, enum pressure_stage highest)
{
    uint8_t stage = (uint8_t)highest;

    while (stage > PRESSURE_NORMAL) {
        unsigned from = stage_rows[stage].enter - (stage <= now ? LEAVE_PERMILLE : 0);

        if (permille >= from)
            break;
        stage--;
    }
    return stage;
}

struct pressure
pressure_next(struct pressure now, const struct pressure_facts *facts)
{
    struct pressure next;

    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++)
        next.stages[i] = next_stage(now.stages[i], pressure_permille(facts, (enum pressure_kind)i),
                                    kind_rows[i].highest);
    return next;
}

enum pressure_stage
pressure_stage(struct pressure p)
{
    uint8_t highest = PRESSURE_NORMAL;

    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++)
        highest = p.stages[i] > highest ? p.stages[i] : highest;
    return (enum pressure_stage)highest;
}

const char *
pressure_stage_name(enum pressure_stage stage)
{
    ASSERT(stage < PRESSURE_STAGE_COUNT);
    return stage_rows[stage].name;
}

const char *
pressure_kind_label(enum pressure_kind kind)
{
    ASSERT(kind < PRESSURE_KIND_COUNT);
    return kind_rows[kind].label;
}

uint32_t
pressure_retry_after(const struct pressure_facts *facts, uint64_t random)
{
    unsigned begin = stage_rows[PRESSURE_REFUSE].enter;
    unsigned worst = begin;
    uint32_t spread;

    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++) {
        unsigned permille = pressure_permille(facts, (enum pressure_kind)i);

        if (kind_rows[i].highest == PRESSURE_REFUSE && permille > worst)
            worst = permille;
    }
    spread =
        RETRY_CALM_S + (PRESSURE_RETRY_MAX_S - RETRY_CALM_S) * (worst - begin) / (1000 - begin);
    return 1 + (uint32_t)(random % spread);
}
