/* The one-shot EVP digests of OpenSSL 3.0 allocate a context and look the algorithm
 * up by name on every call, which costs more than hashing a short record does. The
 * older SHA256_* calls neither allocate nor fail; 3.0 marks them deprecated, and this
 * is the one file that says so is known. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/hash.h"

#include "base/check.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#define BLOCK_SIZE 64
#define HKDF_BLOCKS_MAX 255 /* RFC 5869 section 2.3: the counter is one byte */

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct hash), "struct hash holds a SHA256_CTX");
_Static_assert(_Alignof(SHA256_CTX) <= _Alignof(struct hash), "and aligns it");
_Static_assert(SHA256_DIGEST_LENGTH == HASH_SIZE, "one size of digest");
_Static_assert(SHA256_CBLOCK == BLOCK_SIZE, "HMAC pads to the block of SHA-256");

static SHA256_CTX *
context(struct hash *h)
{
    return (void *)h->state;
}

void
hash_init(struct hash *h)
{
    int ok = SHA256_Init(context(h));

    ASSERT(ok == 1);
}

void
hash_add(struct hash *h, struct slice s)
{
    int ok = 1;

    if (s.len > 0)
        ok = SHA256_Update(context(h), s.p, s.len);
    ASSERT(ok == 1);
}

void
hash_final(struct hash *h, uint8_t out[HASH_SIZE])
{
    int ok = SHA256_Final(out, context(h));

    ASSERT(ok == 1);
}

void
hash_sha256(struct slice s, uint8_t out[HASH_SIZE])
{
    struct hash h;

    hash_init(&h);
    hash_add(&h, s);
    hash_final(&h, out);
}

void
hmac_init(struct hmac *m, struct slice key)
{
    uint8_t pad[BLOCK_SIZE] = {0};

    if (key.len > BLOCK_SIZE)
        hash_sha256(key, pad);
    else if (key.len > 0)
        memcpy(pad, key.p, key.len);
    for (size_t i = 0; i < BLOCK_SIZE; i++)
        pad[i] ^= 0x36; /* RFC 2104: ipad */
    hash_init(&m->inner);
    hash_add(&m->inner, slice_of(pad, BLOCK_SIZE));
    for (size_t i = 0; i < BLOCK_SIZE; i++)
        pad[i] ^= 0x36 ^ 0x5c; /* from ipad to opad */
    hash_init(&m->outer);
    hash_add(&m->outer, slice_of(pad, BLOCK_SIZE));
    hash_wipe(pad, sizeof(pad));
}

void
hmac_add(struct hmac *m, struct slice s)
{
    hash_add(&m->inner, s);
}

void
hmac_final(struct hmac *m, uint8_t out[HASH_SIZE])
{
    uint8_t inner[HASH_SIZE];

    hash_final(&m->inner, inner);
    hash_add(&m->outer, slice_of(inner, HASH_SIZE));
    hash_final(&m->outer, out);
    hash_wipe(inner, sizeof(inner));
    hmac_wipe(m);
}

void
hmac_wipe(struct hmac *m)
{
    hash_wipe(m, sizeof(*m));
}

void
hmac_sha256(struct slice key, struct slice s, uint8_t out[HASH_SIZE])
{
    struct hmac m;

    hmac_init(&m, key);
    hmac_add(&m, s);
    hmac_final(&m, out);
}

enum err
hkdf_sha256(struct slice key, struct slice salt, struct slice info, uint8_t *out, size_t out_len)
{
    uint8_t prk[HASH_SIZE], block[HASH_SIZE], counter = 0;
    struct hmac keyed;
    size_t done = 0;

    if (out_len > (size_t)HKDF_BLOCKS_MAX * HASH_SIZE)
        return ERR_TOOBIG;
    hmac_sha256(salt, key, prk); /* an empty salt pads to the zeros that RFC 5869 asks for */
    hmac_init(&keyed, slice_of(prk, HASH_SIZE));
    while (done < out_len) {
        size_t n = out_len - done < HASH_SIZE ? out_len - done : HASH_SIZE;
        struct hmac m = keyed;

        counter++;
        hmac_add(&m, slice_of(block, counter == 1 ? 0 : HASH_SIZE));
        hmac_add(&m, info);
        hmac_add(&m, slice_of(&counter, 1));
        hmac_final(&m, block);
        memcpy(out + done, block, n);
        done += n;
    }
    hmac_wipe(&keyed);
    hash_wipe(prk, sizeof(prk));
    hash_wipe(block, sizeof(block));
    return ERR_OK;
}

bool
hash_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.p, b.p, a.len) == 0);
}

void
hash_wipe(void *p, size_t len)
{
    if (len > 0)
        OPENSSL_cleanse(p, len);
}
