#ifndef CRYPTO_RANDOM_H
#define CRYPTO_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Bytes from OpenSSL's generator; aborts if it fails (no service without entropy). */
void random_fill(void *out, size_t len);
/* Uniform in [0, bound), bound > 0. */
uint64_t random_below(uint64_t bound);

#define UUID_TEXT_SIZE 37
/* UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 74 random bits. */
void random_uuid7(int64_t unix_ms, char out[UUID_TEXT_SIZE]);

#endif
