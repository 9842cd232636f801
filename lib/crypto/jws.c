/* Compact JWS: what stands in a token is taken apart here by one strict reading, so that
 * nobody behind it has to ask what a second one would say. */
#include "crypto/jws.h"

#include "base/check.h"
#include "base/jscan.h"

#define TYP_MAX 128

/* Members that would let a token bring its own key, or change how it is read. */
static const char *const refused[] = {"jku", "x5u", "x5c", "jwk", "crit", "b64", "cty", "zip"};

/* Room for what is decoded: used grows from the front of the caller's scratch. */
struct scratch {
    uint8_t *p;
    size_t used;
    size_t size;
};

static enum err
decode_part(struct slice part, struct scratch *scratch, struct slice *out)
{
    size_t len = scratch->size - scratch->used;

    if (part.len == 0)
        return ERR_BADMSG;
    if (!text_unb64url(part, scratch->p + scratch->used, &len) || len == 0)
        return ERR_BADMSG;
    *out = slice_of(scratch->p + scratch->used, len);
    scratch->used += len;
    return ERR_OK;
}

/* The string value that comes next, decoded behind what scratch holds. */
static enum err
read_string(struct jscan *s, struct scratch *scratch, size_t max, struct slice *out)
{
    size_t left = scratch->size - scratch->used;
    size_t len = left < max ? left : max;
    struct jscan_token token;
    enum err e = jscan_next(s, &token);

    if (e != ERR_OK)
        return e;
    if (token.type != JSCAN_STRING || token.raw.len == 0)
        return ERR_BADMSG;
    e = jscan_decode(&token, scratch->p + scratch->used, &len);
    if (e != ERR_OK)
        return e;
    *out = slice_of(scratch->p + scratch->used, len);
    scratch->used += len;
    return ERR_OK;
}

static enum err
read_alg(struct jscan *s, enum key_alg *out)
{
    struct jscan_token token;
    enum err e = jscan_next(s, &token);

    if (e != ERR_OK)
        return e;
    if (token.type != JSCAN_STRING)
        return ERR_BADMSG;
    /* An algorithm name has no need of escapes: raw is compared. */
    return key_alg_parse(token.raw, out) ? ERR_OK : ERR_UNSUPPORTED;
}

static enum err
read_member(struct jscan *s, const struct jscan_token *key, struct scratch *scratch,
            struct jws *jws, bool *has_alg)
{
    struct jscan_token value;
    enum err e;

    for (size_t i = 0; i < ARRAY_COUNT(refused); i++)
        if (jscan_is(key, refused[i]))
            return ERR_BADMSG;
    if (jscan_is(key, "alg")) {
        *has_alg = true;
        return read_alg(s, &jws->alg);
    }
    if (jscan_is(key, "kid"))
        return read_string(s, scratch, JWS_KID_MAX, &jws->kid);
    if (jscan_is(key, "typ"))
        return read_string(s, scratch, TYP_MAX, &jws->typ);
    e = jscan_next(s, &value);
    return e == ERR_OK ? jscan_skip(s, &value) : e;
}

static enum err
read_header(struct slice header, struct jscan_keys *keys, struct scratch *scratch, struct jws *jws)
{
    struct jscan s;
    struct jscan_token token;
    bool has_alg = false;
    enum err e;

    jscan_init(&s, header, keys);
    e = jscan_next(&s, &token);
    if (e == ERR_OK && token.type != JSCAN_OBJECT)
        return ERR_BADMSG;
    while (e == ERR_OK) {
        e = jscan_next(&s, &token);
        if (e != ERR_OK)
            break;
        if (token.type == JSCAN_OBJECT_END)
            break;
        e = read_member(&s, &token, scratch, jws, &has_alg);
    }
    if (e == ERR_OK)
        e = jscan_next(&s, &token); /* JSCAN_END, or what may not follow */
    if (e != ERR_OK)
        return e;
    return has_alg ? ERR_OK : ERR_BADMSG;
}

enum err
jws_parse(struct slice token, struct jscan_keys *keys, void *scratch, size_t scratch_size,
          struct jws *out)
{
    struct scratch room = {scratch, 0, scratch_size};
    struct slice rest = token, header_part, payload_part, header;
    struct jws jws = {0};
    enum err e;

    ASSERT(scratch_size >= JWS_SIZE_MAX);
    if (token.len > JWS_SIZE_MAX)
        return ERR_TOOBIG;
    header_part = slice_cut(&rest, '.');
    payload_part = slice_cut(&rest, '.');
    if (header_part.len == 0 || payload_part.len == 0 || rest.len == 0)
        return ERR_BADMSG;
    jws.signing_input = slice_of(token.p, header_part.len + 1 + payload_part.len);
    /* A third dot stands in rest and is no letter of the alphabet. */
    jws.signature_len = sizeof(jws.signature);
    if (rest.len > (sizeof(jws.signature) * 4 + 2) / 3)
        return ERR_TOOBIG;
    if (!text_unb64url(rest, jws.signature, &jws.signature_len))
        return ERR_BADMSG;
    e = decode_part(header_part, &room, &header);
    if (e == ERR_OK)
        e = decode_part(payload_part, &room, &jws.payload);
    if (e == ERR_OK)
        e = read_header(header, keys, &room, &jws);
    if (e != ERR_OK)
        return e;
    *out = jws;
    return ERR_OK;
}

enum err
jws_verify(const struct jws *jws, const struct key *key)
{
    if (jws->alg != key_algorithm(key))
        return ERR_AUTH;
    return key_verify(key, jws->signing_input, slice_of(jws->signature, jws->signature_len));
}

enum err
jws_header(const struct key *key, const char *typ, struct text *out)
{
    uint8_t storage[512];
    struct text json;

    text_init(&json, storage, sizeof(storage));
    text_add_str(&json, "{\"alg\":\"");
    text_add_str(&json, key_alg_name(key_algorithm(key)));
    text_add_str(&json, "\",\"kid\":\"");
    text_add_str(&json, key_thumbprint(key));
    text_add_str(&json, "\",\"typ\":");
    text_add_json(&json, slice_str(typ));
    text_add_char(&json, '}');
    if (!text_ok(&json))
        return ERR_TOOBIG;
    text_add_b64url(out, text_slice(&json));
    return text_ok(out) ? ERR_OK : ERR_TOOBIG;
}

enum err
jws_sign(const struct key *key, struct slice encoded_header, struct slice payload, struct text *out)
{
    uint8_t hash[HASH_SIZE];

    return jws_sign_hashed(key, encoded_header, payload, out, hash);
}

enum err
jws_sign_hashed(const struct key *key, struct slice encoded_header, struct slice payload,
                struct text *out, uint8_t hash[HASH_SIZE])
{
    uint8_t signature[KEY_SIGN_SIZE];
    size_t from = out->used;
    struct slice input;
    struct hash hashed;
    enum err e;

    text_add(out, encoded_header);
    text_add_char(out, '.');
    text_add_b64url(out, payload);
    if (!text_ok(out))
        return ERR_TOOBIG;
    input = slice_of(out->p + from, out->used - from);
    hash_init(&hashed);
    hash_add(&hashed, input);
    e = key_sign_hashed(key, input, &hashed, signature);
    if (e != ERR_OK) {
        out->used = from;
        return e;
    }
    text_add_char(out, '.');
    text_add_b64url(out, slice_of(signature, sizeof(signature)));
    if (!text_ok(out))
        return ERR_TOOBIG;
    hash_add(&hashed, slice_of(out->p + from + input.len, out->used - from - input.len));
    hash_final(&hashed, hash);
    return ERR_OK;
}
