/* Arbitrary bytes as a token, as the header of a token, and as a key set.
 *
 * What comes out must lie inside what was lent, and a set that was taken finds its own
 * keys. The scan keys live as long as the program: the fuzzer calls back without an end. */
#include "crypto/jws.h"

#include "base/check.h"
#include "base/jscan.h"

#include <stdlib.h>

#define TOKEN_SIZE (2 * JWS_SIZE_MAX)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
is_inside(struct slice s, const uint8_t *p, size_t size)
{
    return s.len == 0 || (s.p >= p && s.len <= size && (size_t)(s.p - p) <= size - s.len);
}

static void
try_token(struct slice token, struct jscan_keys *keys)
{
    static uint8_t scratch[JWS_SIZE_MAX];
    struct jws jws;

    if (jws_parse(token, keys, scratch, sizeof(scratch), &jws) != ERR_OK)
        return;
    ASSERT(token.len <= JWS_SIZE_MAX);
    ASSERT(is_inside(jws.signing_input, token.p, token.len));
    ASSERT(is_inside(jws.payload, scratch, sizeof(scratch)));
    ASSERT(is_inside(jws.kid, scratch, sizeof(scratch)));
    ASSERT(is_inside(jws.typ, scratch, sizeof(scratch)));
    ASSERT(jws.payload.len > 0);
    ASSERT(jws.kid.len <= JWS_KID_MAX);
    ASSERT(jws.signature_len > 0);
    ASSERT(jws.signature_len <= KEY_SIGNATURE_MAX);
}

/* The fuzzer would hardly find JSON behind base64url by itself. */
static void
try_header(struct slice header, struct jscan_keys *keys)
{
    static uint8_t storage[TOKEN_SIZE];
    struct text t;

    text_init(&t, storage, sizeof(storage));
    text_add_b64url(&t, header);
    text_add_str(&t, ".e30.AAAA");
    if (text_ok(&t))
        try_token(text_slice(&t), keys);
}

static void
try_set(struct slice text)
{
    struct jwks *set = NULL;
    const char *why = NULL;

    if (jwks_parse(text, &set, &why) != ERR_OK) {
        ASSERT(set == NULL);
        ASSERT(why != NULL);
        return;
    }
    ASSERT(jwks_count(set) <= JWKS_KEYS_MAX);
    ASSERT((jwks_find(set, SLICE_NONE) != NULL) == (jwks_count(set) == 1));
    jwks_free(&set);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jscan_keys *keys;
    struct slice input = slice_of(data, size);

    check_never_fatal();
    if (keys == NULL && jscan_keys_new(&keys) != ERR_OK)
        abort();
    try_token(input, keys);
    try_header(input, keys);
    try_set(input);
    return 0;
}
