#ifndef CRYPTO_RANDOM_H
#define CRYPTO_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Bytes from OpenSSL's generator; aborts if it fails (no service without entropy). */
void random_fill(void *out, size_t len);
/* Uniform in [0, bound), bound > 0. */
uint64_t random_below(uint64_t bound);

/* Bytes of the generator kept by one thread: a call of it costs more than a hash of a short
 * record. Starts as {.left = 0}; what was given is wiped. Not for keys. */
#define RANDOM_STOCK_SIZE 1024
struct random_stock {
    size_t left;
    uint8_t bytes[RANDOM_STOCK_SIZE];
};
void random_stock_take(struct random_stock *stock, void *out, size_t len);
uint64_t random_stock_u64(struct random_stock *stock);

#define UUID_TEXT_SIZE 37
/* UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 74 random bits. */
void random_uuid7(struct random_stock *stock, int64_t unix_ms, char out[UUID_TEXT_SIZE]);

#endif
