/* Whether 32 bytes are a usable Ed25519 public key. OpenSSL takes any 32 bytes and only
 * fails when it verifies; keys here are checked when they are loaded. */
#include "crypto/key_priv.h"

#include <openssl/bn.h>
#include <openssl/err.h>

static const char prime_hex[] = "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed";
static const char d_hex[] = "52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3";

/* The y coordinates of the eight points whose order divides 8 (RFC 8032 section 5.1 has
 * the curve): orders 1, 2, 4, and 8 twice. */
static const char *const small_order_hex[] = {
    "01",
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec",
    "00",
    "05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826",
    "7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7",
};

#define SMALL_ORDER_COUNT (sizeof(small_order_hex) / sizeof(small_order_hex[0]))

/* -x^2 + y^2 = 1 + d x^2 y^2, so x^2 = (y^2 - 1) / (d y^2 + 1). The quotient is a square
 * exactly when the product of both parts is one. 1 when it is, 0 or less otherwise. */
static int
is_on_curve(const BIGNUM *y, const BIGNUM *p, BN_CTX *ctx)
{
    BIGNUM *d = BN_CTX_get(ctx), *u = BN_CTX_get(ctx), *v = BN_CTX_get(ctx);

    if (v == NULL || BN_hex2bn(&d, d_hex) == 0)
        return -1;
    if (BN_mod_sqr(u, y, p, ctx) != 1 || BN_mod_mul(v, d, u, p, ctx) != 1 ||
        BN_sub_word(u, 1) != 1 || BN_add_word(v, 1) != 1 || BN_mod_mul(u, u, v, p, ctx) != 1)
        return -1;
    return BN_kronecker(u, p, ctx) == 1;
}

static bool
has_small_order(const BIGNUM *y, BN_CTX *ctx)
{
    BIGNUM *small = BN_CTX_get(ctx);

    for (size_t i = 0; i < SMALL_ORDER_COUNT; i++)
        if (small == NULL || BN_hex2bn(&small, small_order_hex[i]) == 0 || BN_cmp(y, small) == 0)
            return true; /* out of memory refuses, too */
    return false;
}

bool
key_ed25519_point_ok(const uint8_t point[KEY_ED25519_SIZE])
{
    uint8_t bytes[KEY_ED25519_SIZE];
    BN_CTX *ctx = BN_CTX_new();
    BIGNUM *y, *p;
    bool ok;

    if (ctx == NULL)
        return false;
    memcpy(bytes, point, sizeof(bytes));
    bytes[KEY_ED25519_SIZE - 1] &= 0x7f; /* the top bit is the sign of x */
    BN_CTX_start(ctx);
    y = BN_CTX_get(ctx);
    p = BN_CTX_get(ctx);
    ok = p != NULL && BN_hex2bn(&p, prime_hex) > 0 &&
         BN_lebin2bn(bytes, (int)sizeof(bytes), y) != NULL && BN_cmp(y, p) < 0 &&
         is_on_curve(y, p, ctx) == 1 && !has_small_order(y, ctx);
    BN_CTX_end(ctx);
    BN_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}
