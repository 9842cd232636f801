#ifndef RESIDENCY_COUNTRY_H
#define RESIDENCY_COUNTRY_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Countries by ISO 3166-1 alpha-2 code, as small numbers: AA = 0 ... ZZ = 675, so
 * that a set of countries is a bit set and lawfulness is an AND. Only codes that
 * are assigned to a place, and XK (Kosovo, used by MaxMind and the EU), exist here:
 * pseudo-codes of GeoIP databases (EU AP XX ?? A1 A2 O1 T1 ZZ) name no place and so
 * are unknown. */

#define COUNTRY_COUNT 676u
#define COUNTRY_NONE UINT16_C(0xffff)

/* Exactly two upper-case letters that are an assigned code; ERR_BADMSG otherwise,
 * and *out is untouched. */
MUST_USE enum err country_parse(struct slice text, uint16_t *out);
/* Whether the number is an assigned code. */
bool country_valid(uint16_t country);
/* The two letters and a NUL; "??" for COUNTRY_NONE and numbers out of range. */
void country_text(uint16_t country, char out[3]);

#define COUNTRY_SET_WORDS 11u

struct country_set {
    uint64_t words[COUNTRY_SET_WORDS];
};

_Static_assert(COUNTRY_SET_WORDS * 64u >= COUNTRY_COUNT, "a set holds every country");

/* COUNTRY_NONE (and anything out of range) is never a member and can't be added:
 * an unknown place satisfies no rule. */
static inline void
country_set_add(struct country_set *set, uint16_t country)
{
    if (country < COUNTRY_COUNT)
        set->words[country / 64u] |= UINT64_C(1) << (country % 64u);
}

static inline void
country_set_remove(struct country_set *set, uint16_t country)
{
    if (country < COUNTRY_COUNT)
        set->words[country / 64u] &= ~(UINT64_C(1) << (country % 64u));
}

static inline bool
country_set_has(const struct country_set *set, uint16_t country)
{
    return country < COUNTRY_COUNT &&
           ((set->words[country / 64u] >> (country % 64u)) & UINT64_C(1)) != 0;
}

/* a becomes the intersection of a and b. */
static inline void
country_set_and(struct country_set *a, const struct country_set *b)
{
    for (size_t i = 0; i < COUNTRY_SET_WORDS; i++)
        a->words[i] &= b->words[i];
}

/* a becomes the union of a and b. */
static inline void
country_set_or(struct country_set *a, const struct country_set *b)
{
    for (size_t i = 0; i < COUNTRY_SET_WORDS; i++)
        a->words[i] |= b->words[i];
}

/* a loses the members of b. */
static inline void
country_set_minus(struct country_set *a, const struct country_set *b)
{
    for (size_t i = 0; i < COUNTRY_SET_WORDS; i++)
        a->words[i] &= ~b->words[i];
}

/* Whether every member of a is one of b; the empty set is a subset of any. */
static inline bool
country_set_subset(const struct country_set *a, const struct country_set *b)
{
    uint64_t outside = 0;

    for (size_t i = 0; i < COUNTRY_SET_WORDS; i++)
        outside |= a->words[i] & ~b->words[i];
    return outside == 0;
}

static inline bool
country_set_empty(const struct country_set *set)
{
    uint64_t any = 0;

    for (size_t i = 0; i < COUNTRY_SET_WORDS; i++)
        any |= set->words[i];
    return any == 0;
}

static inline bool
country_set_equal(const struct country_set *a, const struct country_set *b)
{
    uint64_t differs = 0;

    for (size_t i = 0; i < COUNTRY_SET_WORDS; i++)
        differs |= a->words[i] ^ b->words[i];
    return differs == 0;
}

static inline unsigned
country_set_count(const struct country_set *set)
{
    unsigned count = 0;

    for (size_t i = 0; i < COUNTRY_SET_WORDS; i++)
        count += (unsigned)__builtin_popcountll(set->words[i]);
    return count;
}

/* The first member >= from, in alphabetical order, or COUNTRY_NONE:
 * for (c = country_set_next(s, 0); c != COUNTRY_NONE; c = country_set_next(s, c + 1)) */
static inline uint16_t
country_set_next(const struct country_set *set, unsigned from)
{
    while (from < COUNTRY_COUNT) {
        uint64_t word = set->words[from / 64u] >> (from % 64u);

        if (word != 0)
            return (uint16_t)(from + (unsigned)__builtin_ctzll(word));
        from = (from / 64u + 1u) * 64u;
    }
    return COUNTRY_NONE;
}

/* The set of every assigned code. */
void country_set_all(struct country_set *set);

#endif
