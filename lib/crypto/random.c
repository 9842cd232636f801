#include "crypto/random.h"

#include "base/check.h"

#include <openssl/rand.h>
#include <string.h>

#define FILL_MAX (1u << 20) /* RAND_bytes counts in int */
#define UUID_BYTES 16

void
random_fill(void *out, size_t len)
{
    uint8_t *p = out;

    while (len > 0) {
        size_t n = len < FILL_MAX ? len : FILL_MAX;
        int ok = RAND_bytes(p, (int)n);

        ASSERT(ok == 1);
        p += n;
        len -= n;
    }
}

uint64_t
random_below(uint64_t bound)
{
    uint64_t v, reject;

    ASSERT(bound > 0);
    /* 2^64 mod bound: below it the remainders would be one more frequent than above. */
    reject = (0 - bound) % bound;
    do {
        random_fill(&v, sizeof(v));
    } while (v < reject);
    return v % bound;
}

void
random_stock_take(struct random_stock *stock, void *out, size_t len)
{
    ASSERT(len <= RANDOM_STOCK_SIZE);
    if (stock->left < len) {
        random_fill(stock->bytes, sizeof(stock->bytes));
        stock->left = sizeof(stock->bytes);
    }
    stock->left -= len;
    memcpy(out, stock->bytes + stock->left, len);
    memset(stock->bytes + stock->left, 0, len);
}

uint64_t
random_stock_u64(struct random_stock *stock)
{
    uint64_t v;

    random_stock_take(stock, &v, sizeof(v));
    return v;
}

void
random_uuid7(struct random_stock *stock, int64_t unix_ms, char out[UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t b[UUID_BYTES];
    char *at = out;

    random_stock_take(stock, b + 6, sizeof(b) - 6);
    for (unsigned i = 0; i < 6; i++)
        b[i] = (uint8_t)((uint64_t)unix_ms >> (40 - 8 * i));
    b[6] = (uint8_t)(0x70 | (b[6] & 0x0f)); /* version 7 */
    b[8] = (uint8_t)(0x80 | (b[8] & 0x3f)); /* variant 10 */
    for (unsigned i = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[b[i] >> 4];
        *at++ = digits[b[i] & 15];
    }
    *at = '\0';
}
