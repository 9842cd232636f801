#ifndef RESIDENCY_PERMIT_H
#define RESIDENCY_PERMIT_H

#include "base/arena.h"
#include "base/err.h"
#include "residency/decide.h"

#include <stdbool.h>
#include <stdint.h>

/* The right to use one target for one request (law 2). Opaque, made only here, from a
 * decision that permits; spent by the connection that is handed out against it. Without
 * one, upstream pools give nothing. */

struct permit;

enum permit_use { PERMIT_REQUEST, PERMIT_FORWARD, PERMIT_PROBE };

/* For a request to a backend of the legal set of a *current* decision. ERR_FORBIDDEN when
 * the backend is not in it. Lives in the arena. */
MUST_USE enum err permit_mint_backend(struct arena *arena, const struct policy *policy,
                                      const struct decision *decision, uint32_t backend,
                                      uint64_t serial, struct permit **out);
/* For forwarding to a node of another region: some backend of the legal set must stand in
 * the node's region, and the decision must allow crossing regions. */
MUST_USE enum err permit_mint_node(struct arena *arena, const struct policy *policy,
                                   const struct decision *decision, uint32_t node, uint64_t serial,
                                   struct permit **out);
/* For a probe: a backend of the node's own region, or a peer of the charter; carries no
 * caller's byte. */
MUST_USE enum err permit_mint_probe(struct arena *arena, const struct charter *charter,
                                    uint32_t own_region, bool is_node, uint32_t target,
                                    struct permit **out);

enum permit_use permit_use(const struct permit *p);
/* Index of the backend (PERMIT_REQUEST, PERMIT_PROBE of a backend) or node. */
uint32_t permit_target(const struct permit *p);
bool permit_is_node(const struct permit *p);
uint64_t permit_serial(const struct permit *p);
/* Marks it used; true exactly once. */
bool permit_spend(struct permit *p);

#endif
