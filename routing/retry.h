#ifndef ROUTING_RETRY_H
#define ROUTING_RETRY_H

#include <stdbool.h>
#include <stdint.h>

/* Whether a request goes out once more after an attempt failed (ENGINEERING section 6). Pure.
 * Nothing of the answer was forwarded: after that there is no other attempt at all. */

#define RETRY_ATTEMPTS_MAX 3 /* in all, those that could not be made counted */

enum retry_failure {
    RETRY_NOT_SENT, /* no byte of the request left: no connection, or it ended before */
    RETRY_STALE,    /* a connection kept from an earlier request ended before it answered */
    RETRY_DEAD,     /* it ended, or answered with a failure of its own */
    RETRY_BUSY,     /* 429 or 503: turned away unheard */
    RETRY_REFUSED,  /* the other region's node did not take it */
    RETRY_LATE,     /* its time is over */
};

struct retry_facts {
    enum retry_failure failure;
    uint32_t attempts;   /* made so far, this one counted */
    bool is_whole;       /* the body is here: it can be sent again */
    bool is_replay_safe; /* hearing it twice does no harm */
    bool is_forwarded;   /* by another node, which alone may try elsewhere */
    bool was_stale;      /* an earlier attempt failed so */
    uint32_t legal;      /* backends in the legal set */
    uint32_t busy;       /* of these, those that lately said that they are */
};

enum retry_verdict {
    RETRY_NO,
    RETRY_ELSEWHERE, /* another target, out of the node's budget */
    RETRY_FREELY,    /* another target; nobody was asked in vain, so no budget is spent */
    RETRY_ANEW,      /* any target, this one too, on a new connection */
};
enum retry_verdict retry_judge(const struct retry_facts *f);

#endif
