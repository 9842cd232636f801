#ifndef UNIT_CRYPTO_KEYS_H
#define UNIT_CRYPTO_KEYS_H

/* Public keys of the RFCs, and reading them. */

#include "base/json.h"
#include "crypto/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* RFC 8037 appendix A.2 */
#define KEYS_ED25519_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define KEYS_ED25519 "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" KEYS_ED25519_X "\"}"
/* RFC 7515 appendix A.3.1 */
#define KEYS_P256_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define KEYS_P256_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define KEYS_P256_MEMBERS \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" KEYS_P256_X "\",\"y\":\"" KEYS_P256_Y "\""
#define KEYS_P256 "{" KEYS_P256_MEMBERS "}"
/* RFC 7515 appendix A.2.1 */
#define KEYS_RSA_N                                                                                 \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4" \
    "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re" \
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX" \
    "FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
#define KEYS_RSA "{\"kty\":\"RSA\",\"n\":\"" KEYS_RSA_N "\",\"e\":\"AQAB\"}"

static inline enum err
keys_read(const char *jwk, struct key **out)
{
    struct json_doc *doc = NULL;
    const char *why = "";
    enum err e;

    if (json_parse(slice_str(jwk), &doc, &why) != ERR_OK)
        fail_msg("%s: %s", why, jwk);
    e = key_from_jwk(json_root(doc), out);
    json_free(&doc);
    return e;
}

static inline struct key *
keys_must_read(const char *jwk)
{
    struct key *key = NULL;

    assert_int_equal(keys_read(jwk, &key), ERR_OK);
    assert_non_null(key);
    return key;
}

#endif
