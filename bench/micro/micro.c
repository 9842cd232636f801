/* bench_micro: what the parts of carrying one body must cost on this machine, whoever does
 * them: the strict scan of its JSON, hashing, a MAC, encrypting it in TLS records, copying it.
 *
 *     bench_micro FILE [SECONDS]
 *
 * Prints one line of JSON: bytes, and for each part microseconds a body and GB/s. */
#include "base/clock.h"
#include "base/file.h"
#include "base/jscan.h"
#include "crypto/hash.h"

#include <err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX (64u << 20)
#define RECORD 16384 /* of TLS */
#define SECONDS_DEFAULT 1.0
#define SECONDS_MAX 60.0
#define ROUNDS 5 /* the fastest counts: what disturbs only slows down */

struct micro {
    struct slice body;
    uint8_t *out; /* of the same size, with room for a record's overhead */
    struct jscan_keys *keys;
    EVP_CIPHER_CTX *cipher;
    uint8_t digest[HASH_SIZE];
};

typedef void (*part_fn)(struct micro *m);

static void
part_scan(struct micro *m)
{
    const char *why = "";
    size_t at = 0;

    if (jscan_check(m->body, m->keys, &why, &at) != ERR_OK)
        errx(2, "the body is no JSON at byte %zu: %s", at, why);
}

static void
part_sha256(struct micro *m)
{
    hash_sha256(m->body, m->digest);
}

static void
part_hmac(struct micro *m)
{
    hmac_sha256(slice_of(m->digest, sizeof(m->digest)), m->body, m->digest);
}

/* In records, a nonce each, under one key: as TLS does it. */
static void
part_gcm(struct micro *m)
{
    uint8_t nonce[12] = {0};
    uint8_t tag[16];

    for (size_t at = 0; at < m->body.len; at += RECORD) {
        struct slice piece = slice_sub(m->body, at, RECORD);
        int n = 0;

        nonce[0]++;
        if (EVP_EncryptInit_ex(m->cipher, NULL, NULL, NULL, nonce) != 1 ||
            EVP_EncryptUpdate(m->cipher, m->out + at, &n, piece.p, (int)piece.len) != 1 ||
            EVP_EncryptFinal_ex(m->cipher, m->out + at + n, &n) != 1 ||
            EVP_CIPHER_CTX_ctrl(m->cipher, EVP_CTRL_GCM_GET_TAG, sizeof(tag), tag) != 1)
            errx(1, "AES-GCM failed");
    }
}

static void
part_copy(struct micro *m)
{
    memcpy(m->out, m->body.p, m->body.len);
    /* Nobody reads the copy: the compiler must not know. */
    __asm__ volatile("" : : "r"(m->out) : "memory");
}

/* Microseconds of one call: the fastest of some rounds. */
static double
measure(struct micro *m, part_fn part, double seconds)
{
    double best = 0;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = clock_mono().ns;
        uint64_t calls = 0;
        uint64_t now;
        double us;

        do {
            part(m);
            calls++;
            now = clock_mono().ns;
        } while ((double)(now - start) < seconds * 1e9 / ROUNDS);
        us = (double)(now - start) / 1e3 / (double)calls;
        if (best <= 0 || us < best)
            best = us;
    }
    return best;
}

static void
use_cipher(struct micro *m, const EVP_CIPHER *kind)
{
    uint8_t key[32] = {1};
    uint8_t nonce[12] = {0};

    if (EVP_EncryptInit_ex(m->cipher, kind, NULL, key, nonce) != 1)
        errx(1, "no AES-GCM");
}

static void
print_part(const struct micro *m, const char *name, double us, const char *end)
{
    (void)printf("\"%s\":{\"us\":%.3f,\"gb_s\":%.3f}%s", name, us, (double)m->body.len / us / 1e3,
                 end);
}

int
main(int argc, char **argv)
{
    struct micro m = {0};
    char *content = NULL;
    size_t len = 0;
    double seconds = argc > 2 ? strtod(argv[2], NULL) : SECONDS_DEFAULT;
    enum err e;

    if (argc < 2 || argc > 3 || !(seconds > 0 && seconds <= SECONDS_MAX))
        errx(2, "usage: bench_micro FILE [SECONDS]");
    e = file_read(argv[1], BODY_MAX, &content, &len);
    if (e != ERR_OK || len == 0)
        errx(2, "%s: %s", argv[1], e != ERR_OK ? err_text(e) : "empty");
    m.body = slice_of(content, len);
    m.out = malloc(len + RECORD);
    m.cipher = EVP_CIPHER_CTX_new();
    if (m.out == NULL || m.cipher == NULL || jscan_keys_new(&m.keys) != ERR_OK)
        errx(1, "no memory");
    (void)printf("{\"bytes\":%zu,", len);
    print_part(&m, "scan", measure(&m, part_scan, seconds), ",");
    print_part(&m, "sha256", measure(&m, part_sha256, seconds), ",");
    print_part(&m, "hmac", measure(&m, part_hmac, seconds), ",");
    use_cipher(&m, EVP_aes_128_gcm());
    print_part(&m, "aes128gcm", measure(&m, part_gcm, seconds), ",");
    use_cipher(&m, EVP_aes_256_gcm());
    print_part(&m, "aes256gcm", measure(&m, part_gcm, seconds), ",");
    print_part(&m, "copy", measure(&m, part_copy, seconds), "}\n");
    EVP_CIPHER_CTX_free(m.cipher);
    jscan_keys_free(&m.keys);
    free(m.out);
    free(content);
    return 0;
}
