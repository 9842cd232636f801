/* Which of the legal targets serves this request.
 *
 * A backend of the own region is usable when it is up, not ejected and serves one of the
 * alias's pinned models with at least the evidence that the tenant asks for. Among usable
 * ones with a free slot the least estimated use wins. If all usable ones are full, another
 * region may take the request, else it waits. If none is usable, other regions are next,
 * the nearest first.
 *
 * When nothing is left the reason is the first of these that holds:
 *   UNSUPPORTED     no legal backend is of a kind that speaks the request's protocol
 *   EXHAUSTED       every legal backend was tried (of another region: it, or all nodes there)
 *   MODEL_MISMATCH  some untried one answers but serves another version, or is quarantined
 *   EVIDENCE_LOW    some untried one answers but proves its model too weakly
 *   NO_PEER         all untried ones stand in other regions, and no node there is usable
 *   UNHEALTHY       everything else
 *
 * The load at which a tier overflows gradually and the slow start of a returned backend need
 * memory of earlier choices, so they are not part of this pure function: a tier overflows
 * when it is full. */

#include "routing/choose.h"

#include "base/check.h"
#include "routing/mix.h"

#include <string.h>

#define PPM UINT64_C(1000000)
#define TIE_PPM (PPM / 50)     /* uses within 2 % of the slots are the same */
#define MINIMUM_OF_MAX 64u     /* above: two choices */
#define LOADED_PPM PPM         /* a backend that said "too much" counts as full */
#define PRESSURE_PPM (PPM / 5) /* the whole cache in use */
#define TTFT_PPM (PPM / 5)     /* TTFT_MS_MAX and more to the first token */
#define TTFT_MS_MAX 10000u

enum fit { FIT_USABLE, FIT_MISMATCH, FIT_EVIDENCE, FIT_DOWN };

struct fitting {
    enum fit fit;
    uint32_t served;
    enum charter_evidence evidence;
};

struct tier {                        /* what the walk over the own region found */
    uint32_t usable[MINIMUM_OF_MAX]; /* with a free slot; the first of them */
    uint32_t usable_count;           /* all of them */
    uint64_t usable_slots;
    bool seen[FIT_DOWN + 1];
    bool untried_own;
    bool untried_other;
};

const struct choose_row *
choose_row(enum choose_reason r)
{
#define CHOOSE_TABLE_ROW(name, reason, code, status, words) [name] = {reason, code, status, words},
    static const struct choose_row rows[] = {CHOOSE_REASON_LIST(CHOOSE_TABLE_ROW)};
#undef CHOOSE_TABLE_ROW

    ASSERT(r < CHOOSE_REASON_COUNT);
    return &rows[r];
}

static enum charter_evidence
evidence_of(const struct health_backend *h, uint64_t bit)
{
    if ((h->models_digest & bit) != 0)
        return EVIDENCE_DIGEST;
    return (h->models_matched & bit) != 0 ? EVIDENCE_NAME : EVIDENCE_DECLARED;
}

/* The first pinned model, preferred ones first, that the backend proves well enough. */
static struct fitting
fit_model(const struct choose_facts *f, uint32_t backend)
{
    const struct decision *d = f->decision;
    const struct charter_tenant *t = &f->charter->tenants[d->tenant];
    const struct charter_alias *alias = &t->aliases[d->alias];
    const struct charter_backend *b = &f->charter->backends[backend];
    const struct health_backend *h = &f->view->backends[backend];
    struct fitting found = {FIT_MISMATCH, CHARTER_NONE, EVIDENCE_DECLARED};

    for (size_t p = 0; p < alias->pinned_count; p++) {
        for (uint32_t i = 0; i < b->served_count && i < CHARTER_SERVED_MAX; i++) {
            uint64_t bit = UINT64_C(1) << i;

            if (b->served[i].model != alias->pinned[p] || (h->models_wrong & bit) != 0)
                continue;
            if (evidence_of(h, bit) >= t->evidence)
                return (struct fitting){FIT_USABLE, i, evidence_of(h, bit)};
            found.fit = FIT_EVIDENCE;
        }
    }
    return found;
}

static struct fitting
fit_own(const struct choose_facts *f, uint32_t backend)
{
    const struct fitting down = {FIT_DOWN, CHARTER_NONE, EVIDENCE_DECLARED};
    const struct fitting mismatch = {FIT_MISMATCH, CHARTER_NONE, EVIDENCE_DECLARED};

    switch (f->view->backends[backend].state) {
    case HEALTH_UP:
        return f->own[backend].ejected ? down : fit_model(f, backend);
    case HEALTH_QUARANTINED:
        return mismatch;
    case HEALTH_UNKNOWN:
    case HEALTH_DOWN:
    case HEALTH_STATE_COUNT:
        break;
    }
    return down;
}

static uint32_t
slots_of(const struct choose_facts *f, uint32_t backend)
{
    uint32_t slots = f->charter->backends[backend].slots;
    uint32_t own = f->own[backend].slots;
    uint32_t shown = f->view->backends[backend].slots;

    if (own != 0)
        slots = own;
    return shown != 0 && shown < slots ? shown : slots;
}

static bool
is_full(const struct choose_facts *f, uint32_t backend)
{
    return f->own[backend].in_flight >= slots_of(f, backend);
}

/* How many requests reached the backend for each of ours since the snapshot, in thousandths:
 * by our share of what it held then, between 1 and the number of live peers. */
static uint64_t
multiplier(const struct choose_facts *f, uint32_t backend)
{
    uint64_t then = f->own[backend].in_flight_then;
    uint64_t all = f->view->backends[backend].in_flight;
    uint64_t max = (uint64_t)(f->view->live_peers == 0 ? 1 : f->view->live_peers) * 1000;
    uint64_t m;

    if (then == 0)
        return max;
    m = all * 1000 / then;
    if (m < 1000)
        return 1000;
    return m < max ? m : max;
}

static uint64_t
use_ppm(const struct choose_facts *f, uint32_t backend)
{
    const struct health_backend *h = &f->view->backends[backend];
    const struct choose_own *own = &f->own[backend];
    uint64_t slots = slots_of(f, backend);
    uint64_t since =
        own->in_flight > own->in_flight_then ? own->in_flight - own->in_flight_then : 0;
    uint64_t load = ((uint64_t)h->in_flight + h->queued) * 1000 + since * multiplier(f, backend);
    uint64_t ttft = h->ttft_ms < TTFT_MS_MAX ? h->ttft_ms : TTFT_MS_MAX;
    uint64_t pressure = h->pressure_permille < 1000 ? h->pressure_permille : 1000;

    if (load < (uint64_t)own->in_flight * 1000)
        load = (uint64_t)own->in_flight * 1000;
    return load * (PPM / 1000) / (slots == 0 ? 1 : slots) + pressure * PRESSURE_PPM / 1000 +
           ttft * TTFT_PPM / TTFT_MS_MAX + (own->loaded ? LOADED_PPM : 0);
}

static bool
speaks(const struct choose_facts *f, uint32_t backend)
{
    return f->kinds == 0 || (f->kinds >> f->charter->backends[backend].kind & 1) != 0;
}

/* Whether another backend of the legal set may be looked at; *own says where it stands. */
static bool
is_candidate(const struct choose_facts *f, uint32_t backend, bool *own)
{
    if (NEVER(backend >= f->charter->backend_count))
        return false;
    *own = f->charter->backends[backend].region == f->own_region;
    return speaks(f, backend) && !bits_has(f->tried, backend);
}

static bool
any_speaks(const struct choose_facts *f)
{
    const struct bits *legal = &f->decision->legal;

    for (uint32_t b = bits_next(legal, 0); b < BITS_COUNT_MAX; b = bits_next(legal, b + 1))
        if (b < f->charter->backend_count && speaks(f, b))
            return true;
    return false;
}

static void
walk_own(const struct choose_facts *f, struct tier *tier, struct choice *out)
{
    const struct bits *legal = &f->decision->legal;

    for (uint32_t b = bits_next(legal, 0); b < BITS_COUNT_MAX; b = bits_next(legal, b + 1)) {
        enum fit fit;
        bool own;

        if (!is_candidate(f, b, &own))
            continue;
        if (!own) {
            tier->untried_other = true;
            continue;
        }
        tier->untried_own = true;
        fit = fit_own(f, b).fit;
        tier->seen[fit] = true;
        if (fit != FIT_USABLE)
            continue;
        if (is_full(f, b)) {
            if (out->waiting_count < ARRAY_COUNT(out->waiting))
                out->waiting[out->waiting_count++] = b;
            continue;
        }
        if (tier->usable_count < MINIMUM_OF_MAX)
            tier->usable[tier->usable_count] = b;
        tier->usable_count++;
        tier->usable_slots += slots_of(f, b);
    }
}

/* The least used of few; those within 2 % of it are alike and one of them is drawn. */
static uint32_t
pick_least(const struct choose_facts *f, const struct tier *tier)
{
    uint64_t uses[MINIMUM_OF_MAX];
    uint64_t least = UINT64_MAX;
    uint64_t ties = 0;
    uint64_t nth;

    for (uint32_t i = 0; i < tier->usable_count; i++) {
        uses[i] = use_ppm(f, tier->usable[i]);
        if (uses[i] < least)
            least = uses[i];
    }
    for (uint32_t i = 0; i < tier->usable_count; i++)
        ties += uses[i] - least <= TIE_PPM ? 1 : 0;
    nth = mix(f->random) % ties;
    for (uint32_t i = 0; i < tier->usable_count; i++)
        if (uses[i] - least <= TIE_PPM && nth-- == 0)
            return tier->usable[i];
    return tier->usable[0];
}

/* The usable backend that holds the given place when each takes as many as it has slots. */
static uint32_t
at_weight(const struct choose_facts *f, uint64_t place)
{
    const struct bits *legal = &f->decision->legal;

    for (uint32_t b = bits_next(legal, 0); b < BITS_COUNT_MAX; b = bits_next(legal, b + 1)) {
        bool own;

        if (!is_candidate(f, b, &own) || !own || is_full(f, b) || fit_own(f, b).fit != FIT_USABLE)
            continue;
        if (place < slots_of(f, b))
            return b;
        place -= slots_of(f, b);
    }
    return CHARTER_NONE;
}

static uint32_t
pick_of_two(const struct choose_facts *f, const struct tier *tier)
{
    uint64_t random = mix(f->random);
    uint32_t a = at_weight(f, random % tier->usable_slots);
    uint32_t b = at_weight(f, mix(random) % tier->usable_slots);

    if (NEVER(a == CHARTER_NONE || b == CHARTER_NONE))
        return tier->usable[0];
    return use_ppm(f, b) < use_ppm(f, a) ? b : a;
}

/* What is known about another region's backends as far as this request goes. */
enum outlook { OUTLOOK_NONE, OUTLOOK_FULL, OUTLOOK_UNKNOWN, OUTLOOK_FREE };

static enum outlook
outlook_of(const struct choose_facts *f, uint32_t backend)
{
    const struct health_backend *h = &f->view->backends[backend];
    const struct charter_tenant *t = &f->charter->tenants[f->decision->tenant];
    struct fitting fitting;

    /* Nothing is known, but a node there lives: it decides for itself. */
    if (h->age == HEALTH_GONE || h->state == HEALTH_UNKNOWN)
        return OUTLOOK_UNKNOWN;
    if (h->state != HEALTH_UP)
        return OUTLOOK_NONE;
    fitting = fit_model(f, backend);
    /* An advert proves names at most: whether there is a digest only the peer can tell. */
    if (fitting.fit == FIT_MISMATCH ||
        (fitting.fit == FIT_EVIDENCE && (t->evidence < EVIDENCE_DIGEST || h->models_matched == 0)))
        return OUTLOOK_NONE;
    if (h->age == HEALTH_STATIC)
        return OUTLOOK_UNKNOWN; /* its load is too old to count */
    return use_ppm(f, backend) < PPM ? OUTLOOK_FREE : OUTLOOK_FULL;
}

static enum outlook
region_outlook(const struct choose_facts *f, uint32_t region)
{
    const struct bits *legal = &f->decision->legal;
    enum outlook best = OUTLOOK_NONE;

    for (uint32_t b = bits_next(legal, 0); b < BITS_COUNT_MAX; b = bits_next(legal, b + 1)) {
        enum outlook outlook;
        bool own;

        if (!is_candidate(f, b, &own) || own || f->charter->backends[b].region != region)
            continue;
        outlook = outlook_of(f, b);
        if (outlook > best)
            best = outlook;
    }
    return best;
}

static bool
node_usable(const struct choose_facts *f, uint32_t node)
{
    const struct health_node *h = &f->view->nodes[node];

    return node != f->own_node && f->charter->nodes[node].region != f->own_region && h->alive &&
           !h->draining && h->charter_ok && !bits_has(f->tried_nodes, node);
}

struct nearest {
    uint32_t region;
    enum outlook outlook;
    uint32_t rtt_us;
};

/* Regions that are full come after all others, else the round trip decides. */
static bool
is_nearer(const struct nearest *a, const struct nearest *b)
{
    bool a_full = a->outlook == OUTLOOK_FULL;
    bool b_full = b->outlook == OUTLOOK_FULL;

    if (b->region == CHARTER_NONE || a_full != b_full)
        return b->region == CHARTER_NONE || b_full;
    return a->rtt_us < b->rtt_us;
}

/* A node of the nearest usable region with at least that outlook, or CHARTER_NONE. The
 * nodes of one region share its work: one of them is drawn. */
static uint32_t
pick_node(const struct choose_facts *f, enum outlook wanted)
{
    enum outlook seen[CHARTER_REGIONS_MAX];
    bool known[CHARTER_REGIONS_MAX] = {false};
    struct nearest best = {CHARTER_NONE, OUTLOOK_NONE, 0};
    uint32_t picked = CHARTER_NONE;
    uint64_t count = 0;

    for (uint32_t n = 0; n < f->charter->node_count; n++) {
        struct nearest here = {f->charter->nodes[n].region, OUTLOOK_NONE, f->view->nodes[n].rtt_us};

        if (!node_usable(f, n) || NEVER(here.region >= CHARTER_REGIONS_MAX))
            continue;
        if (!known[here.region]) {
            seen[here.region] = region_outlook(f, here.region);
            known[here.region] = true;
        }
        here.outlook = seen[here.region];
        if (here.outlook >= wanted && is_nearer(&here, &best))
            best = here;
    }
    if (best.region == CHARTER_NONE)
        return CHARTER_NONE;
    for (uint32_t n = 0; n < f->charter->node_count; n++) {
        if (!node_usable(f, n) || f->charter->nodes[n].region != best.region)
            continue;
        count++; /* each of those seen so far stays with the same probability */
        if (mix(f->random + count) % count == 0)
            picked = n;
    }
    return picked;
}

/* Whether every backend of the legal set was used up: itself, or all nodes in front of it. */
static bool
is_exhausted(const struct choose_facts *f)
{
    const struct bits *legal = &f->decision->legal;

    for (uint32_t b = bits_next(legal, 0); b < BITS_COUNT_MAX; b = bits_next(legal, b + 1)) {
        uint32_t tried = 0;
        uint32_t untried = 0;
        bool own;

        if (!is_candidate(f, b, &own))
            continue;
        if (own)
            return false;
        for (uint32_t n = 0; n < f->charter->node_count; n++) {
            if (f->charter->nodes[n].region != f->charter->backends[b].region)
                continue;
            if (bits_has(f->tried_nodes, n))
                tried++;
            else
                untried++;
        }
        if (tried == 0 || untried > 0)
            return false;
    }
    return !bits_empty(legal);
}

/* Whether a usable node stands in the region of some untried backend of another region. */
static bool
some_peer_usable(const struct choose_facts *f)
{
    const struct bits *legal = &f->decision->legal;
    bool own;

    for (uint32_t n = 0; n < f->charter->node_count; n++) {
        if (!node_usable(f, n))
            continue;
        for (uint32_t b = bits_next(legal, 0); b < BITS_COUNT_MAX; b = bits_next(legal, b + 1))
            if (is_candidate(f, b, &own) &&
                f->charter->backends[b].region == f->charter->nodes[n].region)
                return true;
    }
    return false;
}

static enum choose_reason
reason_for_nothing(const struct choose_facts *f, const struct tier *tier, bool may_cross)
{
    if (is_exhausted(f))
        return CHOOSE_EXHAUSTED;
    if (tier->seen[FIT_MISMATCH])
        return CHOOSE_MODEL_MISMATCH;
    if (tier->seen[FIT_EVIDENCE])
        return CHOOSE_EVIDENCE_LOW;
    if (!tier->untried_own && tier->untried_other && !(may_cross && some_peer_usable(f)))
        return CHOOSE_NO_PEER;
    return CHOOSE_UNHEALTHY;
}

static void
pick_own(const struct choose_facts *f, const struct tier *tier, struct choice *out)
{
    struct fitting fitting;

    out->backend =
        tier->usable_count <= MINIMUM_OF_MAX ? pick_least(f, tier) : pick_of_two(f, tier);
    fitting = fit_own(f, out->backend);
    out->reason = CHOOSE_PICKED;
    out->served = fitting.served;
    out->evidence = fitting.evidence;
    out->waiting_count = 0;
}

void
choose(const struct choose_facts *f, struct choice *out)
{
    const struct decision *d = f->decision;
    bool may_cross = !f->own_region_only && d->cross_region_ok;
    struct tier tier = {.usable_count = 0};
    uint32_t node = CHARTER_NONE;

    memset(out, 0, sizeof(*out));
    out->reason = CHOOSE_UNHEALTHY;
    out->backend = CHARTER_NONE;
    out->node = CHARTER_NONE;
    out->served = CHARTER_NONE;
    if (bits_empty(&d->legal))
        return;
    if (NEVER(d->tenant >= f->charter->tenant_count) ||
        NEVER(d->alias >= f->charter->tenants[d->tenant].alias_count))
        return; /* refuse rather than guess a model */
    if (!any_speaks(f)) {
        out->reason = CHOOSE_UNSUPPORTED;
        return;
    }
    walk_own(f, &tier, out);
    if (tier.usable_count > 0) {
        pick_own(f, &tier, out);
        return;
    }
    if (may_cross && tier.untried_other)
        node = pick_node(f, out->waiting_count > 0 ? OUTLOOK_FREE : OUTLOOK_FULL);
    if (node != CHARTER_NONE) {
        out->reason = CHOOSE_PICKED;
        out->is_node = true;
        out->node = node;
        out->waiting_count = 0;
        return;
    }
    out->reason =
        out->waiting_count > 0 ? CHOOSE_SATURATED : reason_for_nothing(f, &tier, may_cross);
}
