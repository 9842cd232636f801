#ifndef NODE_TXN_H
#define NODE_TXN_H

#include "base/arena.h"
#include "base/buf.h"
#include "node/answer_body.h"
#include "node/body.h"
#include "node/endpoint.h"
#include "node/exchange.h"
#include "node/upload.h"
#include "node/upstream.h"
#include "node/usage_hide.h"
#include "node/worker.h"
#include "residency/evidence/commitment.h"
#include "residency/permit.h"
#include "routing/choose.h"
#include "routing/retry.h"

#include <stdbool.h>
#include <stdint.h>

/* One request on its journey: the state that its stages share. Stages are functions of
 * journey.c (who, where, what is lawful, which), attest.c (evidence), relay.c (the
 * answer); this file owns the memory and the state table. */

#define TXN_ARENA_BYTES 18432 /* the road, three A1s, three answers of peers, permits, names */
#define TXN_FIELDS_MAX 6144   /* values of our own in an answer: two attestations at most */
#define TXN_ATTEMPTS_MAX RETRY_ATTEMPTS_MAX
#define TXN_TYPE_MAX 512     /* of a Content-Type: its boundary has at most 70 */
#define TXN_FORWARDED_MAX 16 /* X-Forwarded-For fields */
#define TXN_ROLES_KEPT 4     /* of a stream that is settled; one with more keeps its arena */

enum txn_state {
    TXN_READ_HEAD,
    TXN_READ_BODY,
    TXN_DECIDE,
    TXN_QUEUE,
    TXN_CHECKOUT,
    TXN_ATTEST,
    TXN_SEND,
    TXN_RELAY,
    TXN_REFUSE,
    TXN_DONE,
    TXN_STATE_COUNT
};

/* What only the way to a place needs. */
struct txn_road {
    struct txn *txn;
    struct identity identity;
    struct slice forwarded[TXN_FORWARDED_MAX]; /* as txn.authorization */
    struct bits tried;
    struct bits tried_nodes;
    struct admission_waiter waiter;
};

struct txn {
    uint32_t magic;
    enum txn_state state;
    struct worker *worker;
    struct exchange *exchange; /* NULL once it is gone, or parted */
    struct txn *next, *prev;   /* worker's list of open ones */
    struct txn *next_grant;    /* worker's grant list, or its free list */
    uint64_t serial;
    struct arena arena;

    /* From the head; slices in the arena. */
    const struct endpoint *endpoint;
    bool peer_request;          /* hop 1: came from another node */
    struct slice path;          /* of a passthrough, else p == NULL */
    const char *path_name;      /* the same as a text, once the tenant's policy opened it */
    struct slice authorization; /* borrowed from the head, as api_key, attestation,
                                   commitment_key and forwarded: until txn_forget_head() */
    size_t authorization_count;
    struct slice api_key;
    size_t api_key_count;
    struct slice class_name;
    size_t class_count;
    struct slice attestation;    /* from a peer */
    struct slice commitment_key; /* from a peer */
    size_t forwarded_count;      /* in the road */
    bool forwarded_overflow;
    struct slice content_type; /* its first TXN_TYPE_MAX bytes */
    struct slice api_version;  /* anthropic-version, where it has its form */

    /* Who and where. */
    struct snapshot *pinned;  /* in force when the request came */
    struct snapshot *current; /* at the latest dispatch */
    struct txn_road *road;    /* in the arena; NULL once settled */
    uint32_t tenant;          /* index in pinned's charter */
    enum charter_auth auth;
    bool identified;
    bool tenant_entered; /* counted in admission */
    uint32_t tenant_id;  /* admission number */
    struct decide_origin origin;
    struct record_a1_view *hop0; /* verified, hop 1 only; in the arena */
    const char *sub;             /* 22 characters, in the arena */
    uint8_t prev_hash[HASH_SIZE];

    /* What. */
    struct buf body;       /* whole, or the beginning of a form that streams */
    struct upload *upload; /* of a form, else NULL */
    struct body_facts facts;
    int64_t body_counted; /* bytes of the node's body budget taken */
    uint8_t key[COMMITMENT_KEY_SIZE];
    bool key_known;
    bool request_committed; /* the body was whole: request_commitment is set */
    uint8_t request_commitment[HASH_SIZE];
    uint8_t upstream_commitment[HASH_SIZE];
    bool rewritten;
    bool asks_usage; /* the latest attempt's stream is asked for its usage, by the policy alone */

    /* Which. */
    struct decision decision; /* under `current`, cut down to what `pinned` allows too */
    struct choice choice;
    bool waiting;
    const struct config_deadlines *deadlines; /* of its endpoint, under `pinned` */
    struct timer *timer;                      /* queue deadline; kept for the next request */
    struct timer *deadline;                   /* total deadline; likewise */
    bool must_be_new; /* a kept connection was stale: the next one is not one of those */
    uint32_t slot_id; /* admission number of the slot held */
    bool slot_held;
    uint32_t trial; /* of the slot's backend, when this request is its breaker's; else 0 */
    struct upstream *upstream;

    /* Evidence. */
    struct ledger_shard shard;
    bool reserved;
    bool recording;               /* an A1 is on its way to the disk */
    struct ledger_entry *entry;   /* for an A1; on its way while recording */
    struct ledger_entry *closing; /* for the A2, held from admission on; of a settled one none */
    bool unclosed;                /* its A2 waits for an entry: in the worker's list */
    struct txn *next_unclosed;
    enum record_end end; /* how it ended, while unclosed */
    bool deny_recorded;  /* the A1 on its way is a denial */
    bool revoked;        /* while it was on its way the charter forbade the place */
    bool drained;        /* the node stops and cut it */
    bool upstream_lost;  /* the connection ended while its A1 was on its way */
    uint32_t connect_failures;
    struct slice a1;                   /* the latest A1, in the arena */
    uint8_t recording_hash[HASH_SIZE]; /* of the A1 on its way; in a1_hash once it is durable */
    uint8_t a1_hash[HASH_SIZE];        /* of the latest attempt's */
    uint64_t a1_index;
    uint32_t attempt; /* next attempt's number */
    struct record_attempt attempts[TXN_ATTEMPTS_MAX];
    size_t attempt_count;
    enum refusal refusal; /* REFUSE: what the client gets once the A1 is durable */
    const char *refusal_words;
    const char *refusal_reason; /* in A1 */
    const char *refusal_param;
    const char *cut_reason; /* in A2: what came in a body that streamed */
    uint32_t retry_after_s;
    struct slice
        peer_value; /* the peer's attestation with its idx, from its answer; in the arena */

    /* The answer. */
    bool answer_begun; /* head read */
    bool committed;    /* head sent to the client */
    int status;
    struct slice answer_type;
    int64_t answer_length; /* as its head said, or HTTP_LENGTH_UNKNOWN */
    uint64_t answer_bytes;
    struct hmac answer_mac;
    struct answer_body seen; /* its events and facts */
    struct buf held;         /* a stream's bytes before its first event was whole */
    struct usage_hide *hide; /* takes out what only we asked for; NULL: hands on what comes */
    struct hmac sent_mac;    /* streams to clients: over the bytes handed on */
    uint64_t sent_bytes;
    bool failure_told;   /* an event of ours ended the stream */
    bool stall_noted;    /* its silence was counted against the backend */
    bool client_slow;    /* the backend is not read until the client has taken its bytes */
    struct timer *pulse; /* of an answer under way; NULL until one is waited for, then kept */
    struct mono head_at, heard_at, told_at; /* the answer's head, its latest byte, ours */
    struct mono event_at;                   /* the latest event */
    struct mono received_at;
    int client_status;
    int64_t received_ms, dispatched_ms, first_byte_ms;
    char id[UUID_TEXT_SIZE];
    char kept_model[CHARTER_MODEL_MAX]; /* txn_settle(): what may still be asked of it */
    char kept_class[CHARTER_NAME_MAX + 1];
    char kept_roles[TXN_ROLES_KEPT][CHARTER_NAME_MAX + 1];
    size_t kept_role_count;
};

/* A new transaction of an exchange whose head was read; what is needed of the head is copied.
 * ERR_NOMEM (answer 503); ERR_TOOBIG: the head needs more than the arena has (431). */
MUST_USE enum err txn_new(struct exchange *x, const struct http_head *head, struct txn **out);
/* Parts the two: what is still said on the exchange is said without t. Gives back the exchange,
 * or NULL when it is gone. */
struct exchange *txn_part(struct txn *t);
/* The head of a stream's answer was sent: body and arena, which only another attempt or the
 * head would need, go back, so that an open stream holds little. Not for forwarded requests,
 * forms and passthroughs, whose facts stand there. */
void txn_settle(struct txn *t);
/* The caller's roles, settled or not; how many. */
size_t txn_roles(const struct txn *t, struct slice out[IDENTITY_ROLES_MAX]);
/* The head's buffer goes on: nothing may point into it any more. */
void txn_forget_head(struct txn *t);
/* The only writer of t->state; asserts that the move is in the table. */
void txn_move(struct txn *t, enum txn_state to);
const char *txn_state_name(enum txn_state s);
/* Gives slots, snapshots and memory back; legal in DONE with no record under way. */
void txn_free(struct txn *t);
/* Those that wait to be used again; before their loop ends. */
void txn_free_kept(struct worker *w);
/* Text into the arena, NUL-terminated; NULL when it is full. */
const char *txn_keep_str(struct txn *t, struct slice s);

#endif
