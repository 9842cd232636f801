#include "node/overload.h"

#include "base/check.h"
#include "base/log.h"
#include "crypto/random.h"
#include "node/machine.h"
#include "node/txn.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Files of a reload, log segments, resolvers, and the sessions of the admin listener. */
#define DESCRIPTORS_KEPT 128
#define DESCRIPTORS_LEAST 16 /* fewer connections than this are no service */
/* What a connection and a request cost beside buffers: our structures, and OpenSSL's for
 * the session, its handshake and the certificates (measured: docs/internals/overload.md). */
#define CONNECTION_BYTES 32768
#define REQUEST_BYTES (sizeof(struct txn))

struct overload {
    const struct metrics *metrics;
    struct address_count *addresses;
    /* Limits. */
    _Atomic uint64_t descriptors_max;
    _Atomic uint64_t memory_max;
    _Atomic uint64_t connections_max;
    _Atomic uint32_t per_address_max; /* 0: not limited */
    /* Facts, as the threads published them. */
    _Atomic int64_t conns;
    _Atomic int64_t buffer_bytes;
    _Atomic int64_t records;
    _Atomic uint32_t stages; /* struct pressure, a byte a kind */
    _Atomic uint64_t events[OVERLOAD_EVENT_COUNT];
};

static uint64_t
gauge(const _Atomic int64_t *value)
{
    int64_t now = atomic_load_explicit(value, memory_order_relaxed);

    return now > 0 ? (uint64_t)now : 0;
}

enum err
overload_new(const struct metrics *metrics, struct overload **out)
{
    struct overload *o = calloc(1, sizeof(*o));
    enum err e;

    if (o == NULL)
        return ERR_NOMEM;
    o->metrics = metrics;
    atomic_init(&o->descriptors_max, machine_descriptors_max());
    e = address_count_new(ADDRESS_COUNT_MAX, &o->addresses);
    if (e != ERR_OK) {
        free(o);
        return e;
    }
    *out = o;
    return ERR_OK;
}

void
overload_free(struct overload **out)
{
    struct overload *o = *out;

    if (o == NULL)
        return;
    address_count_free(&o->addresses);
    free(o);
    *out = NULL;
}

void
overload_limits(struct overload *o, const struct config *c)
{
    atomic_store_explicit(&o->memory_max, (uint64_t)c->memory_mib << 20, memory_order_relaxed);
    atomic_store_explicit(&o->connections_max, (uint64_t)c->connections_max, memory_order_relaxed);
    atomic_store_explicit(&o->per_address_max, (uint32_t)c->connections_per_address,
                          memory_order_relaxed);
}

enum err
overload_descriptors(struct overload *o)
{
    uint64_t conns = gauge(&o->conns);
    uint64_t limit = machine_descriptors_max();
    uint64_t open = machine_descriptors_open();
    uint64_t kept = DESCRIPTORS_KEPT;

    if (open >= limit)
        return ERR_FULL;
    limit -= open;
    /* Where there are few, the reserve is small too. */
    kept = limit / 4 < kept ? limit / 4 : kept;
    limit = limit - kept + conns;
    if (limit < DESCRIPTORS_LEAST)
        return ERR_FULL;
    atomic_store_explicit(&o->descriptors_max, limit, memory_order_relaxed);
    return ERR_OK;
}

/* ---- facts ---------------------------------------------------------------------------- */

static uint64_t
record_bytes(const struct overload *o)
{
    return gauge(&o->records) * sizeof(struct ledger_entry);
}

/* Bodies lie in buffers of the pools: they are counted there. */
static uint64_t
memory_used(const struct overload *o)
{
    return gauge(&o->buffer_bytes) + gauge(&o->conns) * CONNECTION_BYTES +
           gauge(&o->metrics->requests_open) * REQUEST_BYTES + record_bytes(o);
}

static void
read_facts(const struct overload *o, struct pressure_facts *out)
{
    *out = (struct pressure_facts){
        .of = {
            [PRESSURE_DESCRIPTORS] = {gauge(&o->conns), atomic_load_explicit(&o->descriptors_max,
                                                                             memory_order_relaxed)},
            [PRESSURE_MEMORY] = {memory_used(o),
                                 atomic_load_explicit(&o->memory_max, memory_order_relaxed)},
            [PRESSURE_CONNECTIONS] = {gauge(&o->metrics->clients_open),
                                      atomic_load_explicit(&o->connections_max,
                                                           memory_order_relaxed)},
        }};
}

static struct pressure
unpack(uint32_t packed)
{
    struct pressure p;

    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++)
        p.stages[i] = (uint8_t)(packed >> (8 * i));
    return p;
}

static uint32_t
pack(struct pressure p)
{
    uint32_t packed = 0;

    _Static_assert(PRESSURE_KIND_COUNT <= 4, "a byte each");
    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++)
        packed |= (uint32_t)p.stages[i] << (8 * i);
    return packed;
}

/* Several threads may judge at one time: one of them brings the change, and logs it. */
static void
judge(struct overload *o)
{
    struct pressure_facts facts;
    uint32_t now = atomic_load_explicit(&o->stages, memory_order_relaxed);
    uint32_t next;

    read_facts(o, &facts);
    next = pack(pressure_next(unpack(now), &facts));
    if (next == now || !atomic_compare_exchange_strong(&o->stages, &now, next))
        return;
    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++) {
        enum pressure_kind kind = (enum pressure_kind)i;
        enum pressure_stage before = (enum pressure_stage)unpack(now).stages[i];
        enum pressure_stage after = (enum pressure_stage)unpack(next).stages[i];

        if (before != after)
            log_event(after > before ? LOG_WARN : LOG_INFO, "overload.stage",
                      "resource=%s stage=%s before=%s permille=%u", pressure_kind_label(kind),
                      pressure_stage_name(after), pressure_stage_name(before),
                      pressure_permille(&facts, kind));
    }
}

static void
publish(_Atomic int64_t *total, int64_t *published, int64_t now)
{
    if (now == *published)
        return;
    (void)atomic_fetch_add_explicit(total, now - *published, memory_order_relaxed);
    *published = now;
}

void
overload_publish(struct overload *o, struct overload_share *share, const struct overload_share *now)
{
    publish(&o->conns, &share->conns, now->conns);
    publish(&o->buffer_bytes, &share->buffer_bytes, now->buffer_bytes);
    publish(&o->records, &share->records, now->records);
    judge(o);
}

/* ---- what follows ----------------------------------------------------------------------- */

enum pressure_stage
overload_stage(const struct overload *o)
{
    return pressure_stage(unpack(atomic_load_explicit(&o->stages, memory_order_relaxed)));
}

bool
overload_memory_full(const struct overload *o)
{
    return memory_used(o) >= atomic_load_explicit(&o->memory_max, memory_order_relaxed);
}

uint32_t
overload_retry_after(const struct overload *o)
{
    struct pressure_facts facts;

    read_facts(o, &facts);
    return pressure_retry_after(&facts, random_below(UINT64_MAX));
}

void
overload_count(struct overload *o, enum overload_event event)
{
    (void)atomic_fetch_add_explicit(&o->events[event], 1, memory_order_relaxed);
}

bool
overload_enter(struct overload *o, const struct geo_address *address, int64_t open)
{
    uint32_t per_address = atomic_load_explicit(&o->per_address_max, memory_order_relaxed);
    enum address_verdict verdict = ADDRESS_COUNTED;
    enum overload_event refused;

    if (open >= (int64_t)atomic_load_explicit(&o->connections_max, memory_order_relaxed))
        refused = OVERLOAD_REFUSED_CONNECTIONS;
    else if (gauge(&o->conns) >= atomic_load_explicit(&o->descriptors_max, memory_order_relaxed))
        refused = OVERLOAD_REFUSED_DESCRIPTORS;
    else if (overload_memory_full(o))
        refused = OVERLOAD_REFUSED_MEMORY;
    else {
        /* Without a limit they are counted all the same: a reload may bring one. */
        if (address != NULL)
            verdict = address_count_enter(o->addresses, address,
                                          per_address == 0 ? UINT32_MAX : per_address);
        if (verdict == ADDRESS_COUNTED)
            return true;
        refused = verdict == ADDRESS_OVER_MAX ? OVERLOAD_REFUSED_ADDRESS : OVERLOAD_REFUSED_TABLE;
    }
    overload_count(o, refused);
    return false;
}

void
overload_leave(struct overload *o, const struct geo_address *address)
{
    address_count_leave(o->addresses, address);
}

/* ---- metrics ---------------------------------------------------------------------------- */

#define EVENT_ROW(name, metric, label, value) [name] = {metric, label, value},
static const struct event_row {
    const char *metric;
    const char *label;
    const char *value;
} event_rows[OVERLOAD_EVENT_COUNT] = {OVERLOAD_EVENT_LIST(EVENT_ROW)};
#undef EVENT_ROW

static const struct {
    const char *metric;
    const char *help;
} helps[] = {
    {"portolan_connections_refused_total", "Client connections closed before TLS."},
    {"portolan_overload_actions_total", "What was held back or shed for want of resources."},
    {"portolan_client_timeouts_total", "Client connections that were too slow."},
};

static void
begin_metric(struct text *out, const char *metric, const char *kind, const char *help)
{
    text_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metric, help, metric, kind);
}

static void
write_events(struct overload *o, struct text *out)
{
    size_t help = 0;

    for (size_t i = 0; i < OVERLOAD_EVENT_COUNT; i++) {
        const struct event_row *row = &event_rows[i];

        if (i == 0 || strcmp(row->metric, event_rows[i - 1].metric) != 0) {
            while (help < ARRAY_COUNT(helps) && strcmp(helps[help].metric, row->metric) != 0)
                help++;
            if (NEVER(help == ARRAY_COUNT(helps)))
                return;
            begin_metric(out, row->metric, "counter", helps[help].help);
        }
        text_addf(out, "%s{%s=\"%s\"} %" PRIu64 "\n", row->metric, row->label, row->value,
                  atomic_load_explicit(&o->events[i], memory_order_relaxed));
    }
}

void
overload_metrics(struct overload *o, struct text *out)
{
    struct pressure p = unpack(atomic_load_explicit(&o->stages, memory_order_relaxed));
    struct pressure_facts facts;

    read_facts(o, &facts);
    write_events(o, out);
    begin_metric(out, "portolan_pressure_stage", "gauge", "0 normal, 1 pause, 2 shed, 3 refuse.");
    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++)
        text_addf(out, "portolan_pressure_stage{resource=\"%s\"} %u\n",
                  pressure_kind_label((enum pressure_kind)i), p.stages[i]);
    begin_metric(out, "portolan_resource_used", "gauge", "Used of a limited resource.");
    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++)
        text_addf(out, "portolan_resource_used{resource=\"%s\"} %" PRIu64 "\n",
                  pressure_kind_label((enum pressure_kind)i), facts.of[i].used);
    begin_metric(out, "portolan_resource_max", "gauge", "Maximum of a limited resource.");
    for (size_t i = 0; i < PRESSURE_KIND_COUNT; i++)
        text_addf(out, "portolan_resource_max{resource=\"%s\"} %" PRIu64 "\n",
                  pressure_kind_label((enum pressure_kind)i), facts.of[i].max);
    begin_metric(out, "portolan_buffer_bytes", "gauge", "Held in buffers, bodies included.");
    text_addf(out, "portolan_buffer_bytes %" PRIu64 "\n", gauge(&o->buffer_bytes));
    begin_metric(out, "portolan_record_bytes", "gauge", "Held in records for the ledger.");
    text_addf(out, "portolan_record_bytes %" PRIu64 "\n", record_bytes(o));
    begin_metric(out, "portolan_client_addresses", "gauge", "Addresses that hold a connection.");
    text_addf(out, "portolan_client_addresses %zu\n", address_count_used(o->addresses));
}
