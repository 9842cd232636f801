#include "node/txn.h"

#include "base/check.h"
#include "base/clock.h"
#include "crypto/hash.h"
#include "crypto/random.h"

#include <stdlib.h>

#define TXN_MAGIC 0x54584e21u
_Static_assert(sizeof(struct txn_road) <= TXN_ARENA_BYTES / 3, "the records need the rest");

#define TXN_KEPT_MAX 256 /* idle transactions a worker keeps for reuse */

#define TO(s) (1u << TXN_##s)
static const struct {
    const char *name;
    uint32_t next;
} txn_states[TXN_STATE_COUNT] = {
    [TXN_READ_HEAD] = {"read-head", TO(READ_BODY) | TO(REFUSE) | TO(DONE)},
    [TXN_READ_BODY] = {"read-body", TO(DECIDE) | TO(REFUSE) | TO(DONE)},
    [TXN_DECIDE] = {"decide", TO(QUEUE) | TO(CHECKOUT) | TO(REFUSE) | TO(DONE)},
    [TXN_QUEUE] = {"queue", TO(DECIDE) | TO(REFUSE) | TO(DONE)},
    [TXN_CHECKOUT] = {"checkout", TO(ATTEST) | TO(DECIDE) | TO(REFUSE) | TO(DONE)},
    [TXN_ATTEST] = {"attest", TO(SEND) | TO(DECIDE) | TO(REFUSE) | TO(DONE)},
    [TXN_SEND] = {"send", TO(RELAY) | TO(DECIDE) | TO(REFUSE) | TO(DONE)},
    [TXN_RELAY] = {"relay", TO(DECIDE) | TO(REFUSE) | TO(DONE)},
    [TXN_REFUSE] = {"refuse", TO(DONE)},
    [TXN_DONE] = {"done", 0},
};

const char *
txn_state_name(enum txn_state s)
{
    ASSERT(s < TXN_STATE_COUNT);
    return txn_states[s].name;
}

void
txn_move(struct txn *t, enum txn_state to)
{
    ASSERT(t->magic == TXN_MAGIC);
    ASSERT(to < TXN_STATE_COUNT);
    ASSERT((txn_states[t->state].next & (1u << to)) != 0);
    t->state = to;
}

const char *
txn_keep_str(struct txn *t, struct slice s)
{
    char *p = arena_alloc(&t->arena, s.len + 1);

    if (p == NULL)
        return NULL;
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return p;
}

/* An empty value is still a field that was there. */
static struct slice
field_of(const struct http_head *head, const char *name, size_t *count)
{
    const struct http_field *f = http_field_find(head, slice_str(name));

    *count = http_field_count(head, slice_str(name));
    if (f == NULL)
        return SLICE_NONE;
    return f->value.len == 0 ? SLICE_LIT("") : f->value;
}

static struct slice
keep(struct txn *t, struct slice s)
{
    return s.len == 0 ? s : arena_copy(&t->arena, s);
}

static void
keep_forwarded(struct txn *t, const struct http_head *head)
{
    for (size_t i = 0; i < head->field_count; i++) {
        if (!slice_eq_nocase(head->fields[i].name, SLICE_LIT("x-forwarded-for")))
            continue;
        if (t->forwarded_count == TXN_FORWARDED_MAX) {
            t->forwarded_overflow = true;
            return;
        }
        t->road->forwarded[t->forwarded_count++] = head->fields[i].value;
    }
}

/* A date, once, or nothing: it goes to the backend as it came. */
static void
keep_api_version(struct txn *t, const struct http_head *head)
{
    size_t count = 0;
    struct slice value = field_of(head, "anthropic-version", &count);

    if (count != 1 || value.len != 10)
        return;
    for (size_t i = 0; i < value.len; i++)
        if (i == 4 || i == 7 ? value.p[i] != '-' : value.p[i] < '0' || value.p[i] > '9')
            return;
    t->api_version = keep(t, value);
}

/* Law 5: what a client says about residency is not even looked at. */
static void
keep_or_drop_residency(struct txn *t, const struct http_head *head)
{
    if (t->peer_request) {
        size_t count = 0;

        t->attestation = field_of(head, "residency-attestation", &count);
        if (count > 1 || t->attestation.len > RECORD_A1_MAX)
            t->attestation = SLICE_NONE;
        t->commitment_key = field_of(head, "residency-commitment-key", &count);
        if (count > 1)
            t->commitment_key = SLICE_NONE;
        return;
    }
    for (size_t i = 0; i < head->field_count; i++)
        if (head->fields[i].name.len >= 10 &&
            slice_eq_nocase(slice_sub(head->fields[i].name, 0, 10), SLICE_LIT("residency-")))
            metrics_add(&t->worker->shared->metrics.headers_dropped);
}

static struct txn *
txn_take(struct worker *w)
{
    struct txn *t = w->free_txns;

    uint8_t *block = worker_block(w);

    if (block == NULL)
        return NULL;
    if (t != NULL) {
        struct timer *timer = t->timer, *deadline = t->deadline, *pulse = t->pulse;

        w->free_txns = t->next_grant;
        w->txn_count--;
        memset(t, 0, sizeof(*t));
        t->timer = timer;
        t->deadline = deadline;
        t->pulse = pulse;
    } else {
        t = calloc(1, sizeof(*t));
    }
    if (t == NULL) {
        worker_block_return(w, block);
        return NULL;
    }
    arena_init(&t->arena, block, TXN_ARENA_BYTES);
    t->road = arena_alloc(&t->arena, sizeof(*t->road)); /* the first: it fits */
    ASSERT(t->road != NULL);
    t->road->txn = t;
    t->road->identity.role_count = 0;
    t->road->identity.subject[0] = '\0';
    bits_clear(&t->road->tried);
    bits_clear(&t->road->tried_nodes);
    return t;
}

void
txn_settle(struct txn *t)
{
    struct slice model = t->facts.model;

    if (t->hop0 != NULL || t->upload != NULL || t->path.p != NULL || t->road == NULL ||
        model.len > sizeof(t->kept_model) || t->class_name.len > sizeof(t->kept_class) ||
        t->road->identity.role_count > TXN_ROLES_KEPT)
        return;
    t->kept_role_count = t->road->identity.role_count;
    memcpy(t->kept_roles, t->road->identity.roles, t->kept_role_count * sizeof(t->kept_roles[0]));
    t->road = NULL;
    if (model.len > 0)
        memcpy(t->kept_model, model.p, model.len);
    if (t->class_name.len > 0)
        memcpy(t->kept_class, t->class_name.p, t->class_name.len);
    t->facts = (struct body_facts){.model = slice_of(t->kept_model, model.len),
                                   .stream = t->facts.stream,
                                   .remote_host = SLICE_LIT("")};
    t->class_name = slice_of(t->kept_class, t->class_name.len);
    t->a1 = t->peer_value = t->answer_type = t->api_version = SLICE_NONE;
    t->content_type = SLICE_NONE;
    t->sub = NULL;
    buf_release(&t->body);
    (void)atomic_fetch_sub_explicit(&t->worker->shared->metrics.body_bytes, t->body_counted,
                                    memory_order_relaxed);
    t->body_counted = 0;
    worker_block_return(t->worker, t->arena.base);
    arena_init(&t->arena, NULL, 0);
    if (t->closing != NULL) /* the log has its room; the entry is borrowed again at the end */
        worker_entry_return(t->worker, t->closing);
    t->closing = NULL;
}

size_t
txn_roles(const struct txn *t, struct slice out[IDENTITY_ROLES_MAX])
{
    const struct identity *identity = t->road == NULL ? NULL : &t->road->identity;
    size_t count = identity == NULL ? t->kept_role_count : identity->role_count;

    for (size_t i = 0; i < count; i++)
        out[i] = slice_str(identity == NULL ? t->kept_roles[i] : identity->roles[i]);
    return count;
}

static void
link_open(struct txn *t)
{
    struct worker *w = t->worker;

    t->next = w->txns;
    if (t->next != NULL)
        t->next->prev = t;
    w->txns = t;
}

static void
unlink_open(struct txn *t)
{
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        t->worker->txns = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
}

struct exchange *
txn_part(struct txn *t)
{
    struct exchange *x = t->exchange;

    if (x != NULL)
        x->txn = NULL;
    t->exchange = NULL;
    return x;
}

enum err
txn_new(struct exchange *x, const struct http_head *head, struct txn **out)
{
    struct worker *w = x->worker;
    struct txn *t = txn_take(w);
    size_t count;

    if (t == NULL)
        return ERR_NOMEM;
    t->magic = TXN_MAGIC;
    t->worker = w;
    link_open(t);
    t->peer_request = x->caller->mesh;
    t->serial = atomic_fetch_add_explicit(&w->shared->serials, 1, memory_order_relaxed);
    buf_init(&t->body, w->pool, (size_t)w->snapshot->config->body_bytes_max);
    t->pinned = snapshot_ref(w->snapshot);
    buf_init(&t->held, w->pool, EXCHANGE_HIGH_WATER);
    t->received_ms = clock_wall_ms();
    t->received_at = loop_now(w->loop);
    t->slot_id = UINT32_MAX;
    t->authorization = field_of(head, "authorization", &t->authorization_count);
    t->api_key = field_of(head, "x-api-key", &t->api_key_count);
    /* No class has a longer name: what is cut here matches none. What a caller sends must not
     * use up the arena that its evidence needs. */
    t->class_name = keep(
        t, slice_sub(field_of(head, "x-portolan-class", &t->class_count), 0, CHARTER_NAME_MAX + 1));
    t->content_type = keep(t, slice_sub(field_of(head, "content-type", &count), 0, TXN_TYPE_MAX));
    keep_api_version(t, head);
    keep_forwarded(t, head);
    keep_or_drop_residency(t, head);
    (void)atomic_fetch_add_explicit(&w->shared->metrics.requests_open, 1, memory_order_relaxed);
    if (t->arena.overflowed) {
        t->state = TXN_DONE;
        txn_free(t);
        return ERR_TOOBIG;
    }
    t->exchange = x;
    x->txn = t;
    *out = t;
    return ERR_OK;
}

void
txn_forget_head(struct txn *t)
{
    t->authorization = t->api_key = t->attestation = t->commitment_key = SLICE_NONE;
    t->forwarded_count = 0;
}

static void
rest_timer(struct timer *timer)
{
    if (timer != NULL)
        timer_clear(timer);
}

static void
destroy(struct txn *t)
{
    timer_free(&t->timer);
    timer_free(&t->deadline);
    timer_free(&t->pulse);
    free(t);
}

void
txn_free(struct txn *t)
{
    struct worker *w = t->worker;

    ASSERT(t->magic == TXN_MAGIC);
    ASSERT(t->state == TXN_DONE);
    ASSERT(!t->recording && !t->unclosed && !t->slot_held && !t->waiting && t->upstream == NULL);
    ASSERT(t->trial == 0);
    ASSERT(t->exchange == NULL);
    unlink_open(t);
    if (t->tenant_entered)
        admission_tenant_leave(w->shared->admission, t->tenant_id);
    if (t->reserved)
        ledger_release(w->shared->ledger);
    (void)atomic_fetch_sub_explicit(&w->shared->metrics.body_bytes, t->body_counted,
                                    memory_order_relaxed);
    (void)atomic_fetch_sub_explicit(&w->shared->metrics.requests_open, 1, memory_order_relaxed);
    if (t->entry != NULL)
        worker_entry_return(w, t->entry);
    if (t->closing != NULL)
        worker_entry_return(w, t->closing);
    if (t->arena.base != NULL)
        worker_block_return(w, t->arena.base);
    rest_timer(t->timer);
    rest_timer(t->deadline);
    rest_timer(t->pulse);
    buf_release(&t->body);
    buf_release(&t->held);
    usage_hide_free(&t->hide);
    upload_free(&t->upload);
    hash_wipe(t->key, sizeof(t->key));
    hmac_wipe(&t->answer_mac);
    hmac_wipe(&t->sent_mac);
    snapshot_unref(&t->current);
    snapshot_unref(&t->pinned);
    t->magic = 0;
    if (w->txn_count >= TXN_KEPT_MAX) {
        destroy(t);
        return;
    }
    t->next_grant = w->free_txns;
    w->free_txns = t;
    w->txn_count++;
}

void
txn_free_kept(struct worker *w)
{
    while (w->free_txns != NULL) {
        struct txn *t = w->free_txns;

        w->free_txns = t->next_grant;
        destroy(t);
    }
}
