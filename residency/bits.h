#ifndef RESIDENCY_BITS_H
#define RESIDENCY_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A set of backends by their index in the charter. There is no function that yields
 * "all backends" to a caller that chooses: sets start empty and the policy fills them. */

#define BITS_COUNT_MAX 4096
#define BITS_WORDS (BITS_COUNT_MAX / 64)

struct bits {
    uint64_t words[BITS_WORDS];
};

static inline void
bits_clear(struct bits *s)
{
    memset(s, 0, sizeof(*s));
}

static inline void
bits_add(struct bits *s, uint32_t i)
{
    s->words[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void
bits_remove(struct bits *s, uint32_t i)
{
    s->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

static inline bool
bits_has(const struct bits *s, uint32_t i)
{
    return (s->words[i / 64] >> (i % 64) & 1) != 0;
}

static inline void
bits_and(struct bits *s, const struct bits *other)
{
    for (size_t i = 0; i < BITS_WORDS; i++)
        s->words[i] &= other->words[i];
}

static inline bool
bits_empty(const struct bits *s)
{
    for (size_t i = 0; i < BITS_WORDS; i++)
        if (s->words[i] != 0)
            return false;
    return true;
}

static inline uint32_t
bits_count(const struct bits *s)
{
    uint32_t n = 0;

    for (size_t i = 0; i < BITS_WORDS; i++)
        if (s->words[i] != 0) /* most are, and counting takes a call */
            n += (uint32_t)__builtin_popcountll(s->words[i]);
    return n;
}

/* The n-th member, from 0, in order; BITS_COUNT_MAX where there are no more than n. */
static inline uint32_t
bits_nth(const struct bits *s, uint32_t n)
{
    for (size_t w = 0; w < BITS_WORDS; w++) {
        uint64_t word = s->words[w];
        uint32_t here = word == 0 ? 0 : (uint32_t)__builtin_popcountll(word);

        if (n >= here) {
            n -= here;
            continue;
        }
        for (; n > 0; n--)
            word &= word - 1;
        return (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(word);
    }
    return BITS_COUNT_MAX;
}

/* The smallest member >= from, or BITS_COUNT_MAX. */
static inline uint32_t
bits_next(const struct bits *s, uint32_t from)
{
    for (size_t w = from / 64; w < BITS_WORDS; w++) {
        uint64_t word = s->words[w];

        if (w == from / 64)
            word &= ~UINT64_C(0) << (from % 64);
        if (word != 0)
            return (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(word);
    }
    return BITS_COUNT_MAX;
}

#endif
