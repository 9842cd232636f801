#ifndef HEALTH_ADVERT_H
#define HEALTH_ADVERT_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"
#include "health/view.h"

#include <stdbool.h>
#include <stdint.h>

/* A node's signed record of the weather it sees (docs/formats.md section 9). Pure. */

#define ADVERT_MAX 65536
#define ADVERT_BOOT_SIZE 23

struct advert {
    uint32_t node; /* index in the charter */
    char boot[ADVERT_BOOT_SIZE];
    uint64_t seq;
    int64_t t_ms;
    uint64_t charter_version;
    char charter_digest[23]; /* cut */
    bool draining;
    size_t backend_count;
    struct {
        uint32_t backend;
        struct health_backend facts; /* state, slots, in_flight, queued, pressure, ttft, matched */
        uint32_t rejects;
    } backends[]; /* flexible: sized by the caller for charter->backend_count */
};
struct advert *advert_new(const struct charter *c); /* gives; free() */

MUST_USE enum err advert_write(const struct advert *a, const struct charter *c,
                               const struct key *advert_key, struct text *out);
/* Strict: size, DSSE signature by the claimed node's advert key valid at now_ms, mesh,
 * region, known members only, indices only of that node's own region, slots at most twice
 * the charter's, values clamped. Anything else is ERR_BADMSG or ERR_AUTH, *why names it. */
MUST_USE enum err advert_read(struct slice text, const struct charter *c, int64_t now_ms,
                              struct advert *out, const char **why);

#endif
