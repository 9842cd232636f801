#include "routing/retry.h"

/* Once, by the ingress, if the backend may hear it a second time. */
static bool
may_repeat(const struct retry_facts *f)
{
    return f->is_whole && !f->is_forwarded && f->attempts < 2;
}

enum retry_verdict
retry_judge(const struct retry_facts *f)
{
    if (f->attempts >= RETRY_ATTEMPTS_MAX)
        return RETRY_NO;
    switch (f->failure) {
    case RETRY_NOT_SENT:
        return RETRY_FREELY;
    case RETRY_STALE:
        /* RFC 9110 section 9.2.2: says nothing about the backend, which may not have heard it. */
        return f->is_whole && f->is_replay_safe && !f->was_stale ? RETRY_ANEW : RETRY_NO;
    case RETRY_DEAD:
        return may_repeat(f) && f->is_replay_safe ? RETRY_ELSEWHERE : RETRY_NO;
    case RETRY_BUSY:
        /* Where most are busy, asking around only makes them busier. */
        return may_repeat(f) && f->busy * 2 <= f->legal ? RETRY_ELSEWHERE : RETRY_NO;
    case RETRY_REFUSED:
        return f->is_whole && !f->is_forwarded ? RETRY_FREELY : RETRY_NO;
    case RETRY_LATE:
        break;
    }
    return RETRY_NO;
}
