/* The JWK form of keys (RFC 7517, RFC 7518 section 6, RFC 8037 section 2). */
#include "crypto/key_priv.h"

#include "base/check.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#define RSA_SIZE_MAX (KEY_RSA_BITS_MAX / 8)
#define RSA_TEXT_MAX ((RSA_SIZE_MAX * 4 + 2) / 3)

/* ---- Writing ------------------------------------------------------------------ */

static void
add_member(struct text *out, const char *name, struct slice bytes)
{
    text_add_char(out, '"');
    text_add_str(out, name);
    text_add_str(out, "\":\"");
    text_add_b64url(out, bytes);
    text_add_char(out, '"');
}

/* A number of the key, big-endian; width 0 means as short as it is. */
static enum err
number(const struct key *key, const char *param, uint8_t *out, size_t size, size_t width,
       size_t *len)
{
    BIGNUM *n = NULL;
    enum err e = ERR_CRYPTO;

    if (EVP_PKEY_get_bn_param(key->pkey, param, &n) != 1)
        return ERR_CRYPTO;
    *len = width > 0 ? width : (size_t)BN_num_bytes(n);
    if (*len <= size && BN_bn2binpad(n, out, (int)*len) == (int)*len)
        e = ERR_OK;
    BN_free(n);
    return e;
}

static enum err
add_number(const struct key *key, const char *name, const char *param, size_t width,
           struct text *out)
{
    uint8_t bytes[RSA_SIZE_MAX];
    size_t len;
    enum err e = number(key, param, bytes, sizeof(bytes), width, &len);

    if (e == ERR_OK)
        add_member(out, name, slice_of(bytes, len));
    return e;
}

static void
add_kid(const struct key *key, struct text *out)
{
    text_add_str(out, ",\"kid\":\"");
    text_add_str(out, key->thumbprint);
    text_add_char(out, '"');
}

static enum err
p256_members(const struct key *key, bool for_thumbprint, struct text *out)
{
    enum err e;

    text_add_str(out, "\"crv\":\"P-256\"");
    if (!for_thumbprint)
        add_kid(key, out);
    text_add_str(out, ",\"kty\":\"EC\",");
    if (!for_thumbprint)
        text_add_str(out, "\"use\":\"sig\",");
    e = add_number(key, "x", OSSL_PKEY_PARAM_EC_PUB_X, KEY_P256_SIZE, out);
    if (e != ERR_OK)
        return e;
    text_add_char(out, ',');
    return add_number(key, "y", OSSL_PKEY_PARAM_EC_PUB_Y, KEY_P256_SIZE, out);
}

static enum err
ed25519_members(const struct key *key, bool for_thumbprint, struct text *out)
{
    uint8_t point[KEY_ED25519_SIZE];
    size_t len = sizeof(point);

    if (EVP_PKEY_get_raw_public_key(key->pkey, point, &len) != 1 || len != sizeof(point))
        return ERR_CRYPTO;
    text_add_str(out, "\"crv\":\"Ed25519\"");
    if (!for_thumbprint)
        add_kid(key, out);
    text_add_str(out, ",\"kty\":\"OKP\",");
    if (!for_thumbprint)
        text_add_str(out, "\"use\":\"sig\",");
    add_member(out, "x", slice_of(point, len));
    return ERR_OK;
}

enum err
key_jwk_members(const struct key *key, bool for_thumbprint, struct text *out)
{
    enum err e;

    switch (key->alg) {
    case KEY_ES256:
        return p256_members(key, for_thumbprint, out);
    case KEY_EDDSA:
        return ed25519_members(key, for_thumbprint, out);
    case KEY_RS256:
    case KEY_PS256:
    default:
        break;
    }
    if (!for_thumbprint)
        return ERR_UNSUPPORTED;
    e = add_number(key, "e", OSSL_PKEY_PARAM_RSA_E, 0, out);
    if (e != ERR_OK)
        return e;
    text_add_str(out, ",\"kty\":\"RSA\",");
    return add_number(key, "n", OSSL_PKEY_PARAM_RSA_N, 0, out);
}

enum err
key_to_jwk(const struct key *key, struct text *out)
{
    enum err e;

    if (key->alg != KEY_ES256 && key->alg != KEY_EDDSA)
        return ERR_UNSUPPORTED;
    text_add_str(out, "{\"alg\":\"");
    text_add_str(out, key_alg_name(key->alg));
    text_add_str(out, "\",");
    e = key_jwk_members(key, false, out);
    if (e != ERR_OK) {
        ERR_clear_error();
        return e;
    }
    text_add_char(out, '}');
    return text_ok(out) ? ERR_OK : ERR_TOOBIG;
}

/* ---- Reading ------------------------------------------------------------------ */

/* A member in base64url of exactly len bytes. */
static bool
read_exact(const struct json *jwk, const char *name, uint8_t *out, size_t len)
{
    struct slice text;
    size_t used = len;

    return json_string(json_get(jwk, name), &text) && text_unb64url(text, out, &used) &&
           used == len;
}

/* A Base64urlUInt: at least one byte, none in front that is zero (RFC 7518 section 2). */
static enum err
read_number(const struct json *jwk, const char *name, uint8_t *out, size_t *len)
{
    struct slice text;

    if (!json_string(json_get(jwk, name), &text))
        return ERR_BADMSG;
    if (text.len > RSA_TEXT_MAX)
        return ERR_FORBIDDEN;
    if (!text_unb64url(text, out, len) || *len == 0 || out[0] == 0)
        return ERR_BADMSG;
    return ERR_OK;
}

static enum err
from_ec(const struct json *jwk, struct key **out)
{
    uint8_t point[1 + 2 * KEY_P256_SIZE] = {0x04};
    struct slice crv;

    if (!json_string(json_get(jwk, "crv"), &crv))
        return ERR_BADMSG;
    if (!slice_is(crv, "P-256"))
        return ERR_UNSUPPORTED;
    if (!read_exact(jwk, "x", point + 1, KEY_P256_SIZE) ||
        !read_exact(jwk, "y", point + 1 + KEY_P256_SIZE, KEY_P256_SIZE))
        return ERR_BADMSG;
    return key_from_raw_public(KEY_ES256, slice_of(point, sizeof(point)), out);
}

static enum err
from_okp(const struct json *jwk, struct key **out)
{
    uint8_t point[KEY_ED25519_SIZE];
    struct slice crv;

    if (!json_string(json_get(jwk, "crv"), &crv))
        return ERR_BADMSG;
    if (!slice_is(crv, "Ed25519"))
        return ERR_UNSUPPORTED;
    if (!read_exact(jwk, "x", point, sizeof(point)))
        return ERR_BADMSG;
    return key_from_raw_public(KEY_EDDSA, slice_of(point, sizeof(point)), out);
}

static enum err
from_rsa(const struct json *jwk, enum key_alg alg, struct key **out)
{
    uint8_t n[RSA_SIZE_MAX], e[RSA_SIZE_MAX];
    size_t n_len = sizeof(n), e_len = sizeof(e);
    enum err result = read_number(jwk, "n", n, &n_len);

    if (result == ERR_OK)
        result = read_number(jwk, "e", e, &e_len);
    if (result != ERR_OK)
        return result;
    return key_from_rsa(alg, slice_of(n, n_len), slice_of(e, e_len), out);
}

/* What may never stand in a key set that others can read. */
static enum err
refuse_secrets(const struct json *jwk, struct slice kty)
{
    static const char *const members[] = {"k", "d", "p", "q", "dp", "dq", "qi", "oth"};
    struct slice alg;

    if (slice_is(kty, "oct"))
        return ERR_FORBIDDEN;
    for (size_t i = 0; i < ARRAY_COUNT(members); i++)
        if (json_get(jwk, members[i]) != NULL)
            return ERR_FORBIDDEN;
    if (json_string(json_get(jwk, "alg"), &alg) && slice_starts(alg, SLICE_LIT("HS")))
        return ERR_FORBIDDEN;
    return ERR_OK;
}

static enum err
check_purpose(const struct json *jwk)
{
    const struct json *use = json_get(jwk, "use");
    const struct json *ops = json_get(jwk, "key_ops");
    struct slice text;

    if (use != NULL) {
        if (!json_string(use, &text))
            return ERR_BADMSG;
        if (!slice_is(text, "sig"))
            return ERR_UNSUPPORTED;
    }
    if (ops == NULL)
        return ERR_OK;
    if (json_type_of(ops) != JSON_ARRAY)
        return ERR_BADMSG;
    for (const struct json *op = json_first(ops); op != NULL; op = json_next(op)) {
        if (!json_string(op, &text))
            return ERR_BADMSG;
        if (slice_is(text, "verify"))
            return ERR_OK;
    }
    return ERR_UNSUPPORTED;
}

/* The algorithm that kty and alg name together; a key without alg has the one of its
 * type. */
static enum err
choose_alg(const struct json *jwk, struct slice kty, enum key_alg *out)
{
    const struct json *v = json_get(jwk, "alg");
    struct slice name;
    enum key_alg usual, alg;

    if (slice_is(kty, "EC"))
        usual = KEY_ES256;
    else if (slice_is(kty, "OKP"))
        usual = KEY_EDDSA;
    else if (slice_is(kty, "RSA"))
        usual = KEY_RS256;
    else
        return ERR_UNSUPPORTED;
    alg = usual;
    if (v != NULL) {
        if (!json_string(v, &name))
            return ERR_BADMSG;
        if (!key_alg_parse(name, &alg))
            return ERR_UNSUPPORTED;
    }
    if (alg != usual && !(usual == KEY_RS256 && alg == KEY_PS256))
        return ERR_BADMSG;
    *out = alg;
    return ERR_OK;
}

enum err
key_from_jwk(const struct json *jwk, struct key **out)
{
    struct slice kty;
    enum key_alg alg;
    enum err e;

    if (!json_string(json_get(jwk, "kty"), &kty))
        return ERR_BADMSG;
    e = refuse_secrets(jwk, kty);
    if (e == ERR_OK)
        e = check_purpose(jwk);
    if (e == ERR_OK)
        e = choose_alg(jwk, kty, &alg);
    if (e != ERR_OK)
        return e;
    switch (alg) {
    case KEY_ES256:
        return from_ec(jwk, out);
    case KEY_EDDSA:
        return from_okp(jwk, out);
    case KEY_RS256:
    case KEY_PS256:
    default:
        return from_rsa(jwk, alg, out);
    }
}
