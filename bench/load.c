/* bench_load: requests over TLS on kept connections, at a constant rate or as fast as answers
 * come.
 *
 * At a constant rate, request i is due at start + i / rate, whatever became of those before
 * it; if no connection is free then, it waits, and its latency still counts from when it was
 * due. So a server that stalls can't hide the stall (no coordinated omission). All requests
 * due in the time are sent, and all answers awaited.
 *
 * Prints one line of JSON. An answer that is not 2xx, or a broken connection, ends it with 1. */
#include "load.h"

#include "base/clock.h"

#include <err.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

#define EVENTS_MAX 256
#define STALL_NS (30 * UINT64_C(1000000000)) /* without any answer: the run failed */
#define LATE_NS 1000000                      /* no connection was free, or no core for us */
#define NS 1000000000.0

struct load {
    struct load_options o;
    SSL_CTX *tls;
    int epoll;
    struct link *links;
    uint32_t *idle; /* ring of idle links: the longest idle is next */
    size_t idle_at, idle_count;
    uint64_t start_ns, end_ns, last_answer_ns;
    uint64_t sent, answered;
    uint64_t total; /* to send; 0: until end_ns */
    uint64_t late;  /* sent later than LATE_NS after they were due */
    uint64_t random;
    double *weights;     /* of the tokens, summed up */
    uint32_t *latencies; /* in units of 100 ns */
    size_t latency_count, latency_room;
};

static uint64_t
now_ns(void)
{
    return clock_mono().ns;
}

static void
add_latency(struct load *l, uint64_t ns)
{
    uint64_t units = ns / 100;

    if (l->latency_count == l->latency_room) {
        size_t room = l->latency_room == 0 ? 65536 : l->latency_room * 2;
        uint32_t *more = realloc(l->latencies, room * sizeof(*more));

        if (more == NULL)
            errx(1, "no memory");
        l->latencies = more;
        l->latency_room = room;
    }
    l->latencies[l->latency_count++] = units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

/* xorshift64*: the same choices in every run. */
static double
random_unit(struct load *l)
{
    l->random ^= l->random >> 12;
    l->random ^= l->random << 25;
    l->random ^= l->random >> 27;
    return (double)((l->random * UINT64_C(0x2545f4914f6cdd1d)) >> 11) / 9007199254740992.0;
}

static void
make_weights(struct load *l)
{
    double sum = 0;

    l->weights = calloc(l->o.tokens.count, sizeof(*l->weights));
    if (l->weights == NULL)
        errx(1, "no memory");
    for (size_t i = 0; i < l->o.tokens.count; i++) {
        sum += pow((double)(i + 1), -l->o.zipf);
        l->weights[i] = sum;
    }
}

static struct slice
choose_token(struct load *l)
{
    size_t low = 0;
    size_t high = l->o.tokens.count;
    double at;

    if (high == 0)
        return SLICE_NONE;
    if (l->weights == NULL)
        return l->o.tokens.items[l->sent % high];
    at = random_unit(l) * l->weights[high - 1];
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (l->weights[middle - 1] <= at)
            low = middle;
        else
            high = middle;
    }
    return l->o.tokens.items[low];
}

static void
watch(struct load *l, uint32_t index, int operation)
{
    struct link *k = &l->links[index];
    struct epoll_event e = {.events = EPOLLIN | (k->wants_write ? EPOLLOUT : 0u),
                            .data.u32 = index};

    if (epoll_ctl(l->epoll, operation, k->fd, &e) != 0)
        err(1, "epoll_ctl");
}

static void
make_idle(struct load *l, uint32_t index)
{
    l->idle[(l->idle_at + l->idle_count++) % l->o.connections] = index;
}

/* What became of a link that was stepped. */
static void
step(struct load *l, uint32_t index)
{
    struct link *k = &l->links[index];
    bool wanted = k->wants_write;
    bool was_handshake = k->state == LINK_HANDSHAKE;

    if (link_step(k)) {
        l->last_answer_ns = now_ns();
        add_latency(l, l->last_answer_ns - k->due_ns);
        l->answered++;
        if (k->status < 200 || k->status > 299)
            errx(1, "an answer with status %d", k->status);
        make_idle(l, index);
    } else if (was_handshake && k->state == LINK_IDLE) {
        make_idle(l, index);
    }
    if (k->state == LINK_BROKEN)
        errx(1, "port %u: %s", l->o.port, k->why);
    if (k->wants_write != wanted)
        watch(l, index, EPOLL_CTL_MOD);
}

static uint64_t
due_ns(const struct load *l, uint64_t now)
{
    return l->o.rate == 0 ? now : l->start_ns + (uint64_t)((double)l->sent * NS / l->o.rate);
}

static bool
more_to_send(const struct load *l, uint64_t now)
{
    return l->total > 0 ? l->sent < l->total : now < l->end_ns;
}

/* Sends what is due while connections are free; gives the time of the next one, or 0. */
static uint64_t
send_due(struct load *l)
{
    for (;;) {
        uint64_t now = now_ns();
        uint64_t due = due_ns(l, now);
        struct slice address = SLICE_NONE;
        uint32_t index;

        if (!more_to_send(l, now) || l->idle_count == 0)
            return 0;
        if (due > now)
            return due;
        index = l->idle[l->idle_at];
        l->idle_at = (l->idle_at + 1) % l->o.connections;
        l->idle_count--;
        if (l->o.addresses.count > 0)
            address = l->o.addresses.items[l->sent % l->o.addresses.count];
        link_send(&l->links[index], &l->o, choose_token(l), address, due);
        l->sent++;
        l->late += now - due > LATE_NS;
        step(l, index);
    }
}

static void
wait_and_step(struct load *l, uint64_t until)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t now = now_ns();
    uint64_t wait = until == 0 ? 100000000 : until > now ? until - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000),
                               .tv_nsec = (long)(wait % 1000000000)};
    int n = epoll_pwait2(l->epoll, events, EVENTS_MAX, &timeout, NULL);

    for (int i = 0; i < n; i++)
        step(l, events[i].data.u32);
    if (now_ns() - l->last_answer_ns > STALL_NS)
        errx(1, "no answer for %d s", (int)(STALL_NS / 1000000000));
}

static void
connect_all(struct load *l)
{
    l->links = calloc(l->o.connections, sizeof(*l->links));
    l->idle = calloc(l->o.connections, sizeof(*l->idle));
    if (l->links == NULL || l->idle == NULL)
        errx(1, "no memory");
    l->last_answer_ns = now_ns();
    for (uint32_t i = 0; i < l->o.connections; i++) {
        if (!link_open(&l->links[i], &l->o, l->tls))
            errx(1, "port %u: %s", l->o.port, l->links[i].why);
        watch(l, i, EPOLL_CTL_ADD);
        step(l, i);
    }
    while (l->idle_count < l->o.connections)
        wait_and_step(l, 0);
}

static void
make_tls(struct load *l)
{
    l->tls = SSL_CTX_new(TLS_client_method());
    if (l->tls == NULL || SSL_CTX_set_min_proto_version(l->tls, TLS1_2_VERSION) != 1)
        errx(1, "no TLS");
    (void)SSL_CTX_set_mode(l->tls, SSL_MODE_ENABLE_PARTIAL_WRITE);
    if (l->o.cert != NULL &&
        (SSL_CTX_use_certificate_chain_file(l->tls, l->o.cert) != 1 ||
         SSL_CTX_use_PrivateKey_file(l->tls, l->o.cert, SSL_FILETYPE_PEM) != 1))
        errx(2, "%s: no certificate and key", l->o.cert);
}

static int
compare(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;

    return *x < *y ? -1 : *x > *y;
}

static double
quantile_us(const struct load *l, double q)
{
    size_t at = (size_t)ceil(q * (double)l->latency_count);

    return (double)l->latencies[at == 0 ? 0 : at - 1] / 10.0;
}

static void
report(struct load *l)
{
    double seconds = (double)(l->last_answer_ns - l->start_ns) / NS;

    if (l->latency_count == 0)
        errx(1, "no answer at all");
    qsort(l->latencies, l->latency_count, sizeof(*l->latencies), compare);
    (void)printf("{\"requests\":%llu,\"seconds\":%.3f,\"rps\":%.1f,\"late\":%llu,"
                 "\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
                 (unsigned long long)l->answered, seconds, (double)l->answered / seconds,
                 (unsigned long long)l->late, quantile_us(l, 0.5), quantile_us(l, 0.9),
                 quantile_us(l, 0.99), quantile_us(l, 1));
}

int
main(int argc, char **argv)
{
    struct load l = {.random = UINT64_C(0x9e3779b97f4a7c15)};

    load_options_read(argc, argv, &l.o);
    /* The kernel's default slack of 50 us would be latency of our own making. */
    (void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    make_tls(&l);
    if (l.o.zipf > 0 && l.o.tokens.count > 0)
        make_weights(&l);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l.epoll < 0)
        err(1, "epoll_create1");
    connect_all(&l);
    l.start_ns = l.last_answer_ns = now_ns();
    l.end_ns = l.start_ns + (uint64_t)(l.o.seconds * NS);
    l.total = l.o.rate > 0 ? (uint64_t)(l.o.rate * l.o.seconds) : l.o.requests;
    for (;;) {
        uint64_t next = send_due(&l);

        if (l.answered == l.sent && !more_to_send(&l, now_ns()))
            break;
        wait_and_step(&l, next);
    }
    report(&l);
    for (uint32_t i = 0; i < l.o.connections; i++)
        link_close(&l.links[i]);
    SSL_CTX_free(l.tls);
    free(l.links);
    free(l.idle);
    free(l.weights);
    free(l.latencies);
    load_options_free(&l.o);
    return 0;
}
