#ifndef RESIDENCY_EVIDENCE_REQUESTS_PRIV_H
#define RESIDENCY_EVIDENCE_REQUESTS_PRIV_H

#include "base/err.h"
#include "residency/evidence/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What became of each request, for recovery and audit: 20 bytes a closed one, more only
 * while it is open. */

struct requests_open { /* a request whose A2 was not seen */
    uint8_t id[16];
    char txn[UUID_TEXT_SIZE];
    uint32_t slot;
    uint32_t permits;
    size_t count; /* of A1s kept, at most RECORD_ATTEMPTS_MAX */
    struct {
        uint64_t index;
        bool permit;
        bool to_peer;
        uint8_t hash[32];
        char target[CHARTER_NAME_MAX + 1];
    } a1[RECORD_ATTEMPTS_MAX];
    size_t at; /* its place in the pool */
};

enum requests_state { REQUESTS_UNSEEN, REQUESTS_OPEN, REQUESTS_REFUSED, REQUESTS_CLOSED };

struct requests;
MUST_USE enum err requests_new(struct requests **out);
void requests_free(struct requests **t);
/* The binary form of a UUID's text. */
bool requests_id(const char *text, uint8_t out[16]);
/* *open is set for REQUESTS_OPEN. */
enum requests_state requests_find(const struct requests *t, const uint8_t id[16],
                                  struct requests_open **open);
/* From unseen or refused to open. */
MUST_USE enum err requests_add_open(struct requests *t, const uint8_t id[16],
                                    struct requests_open **out);
/* From unseen. */
MUST_USE enum err requests_add_refused(struct requests *t, const uint8_t id[16]);
void requests_close(struct requests *t, struct requests_open *open);
/* Open ones, in the order of their place; NULL behind the last. */
struct requests_open *requests_next_open(const struct requests *t, size_t *place);

#endif
