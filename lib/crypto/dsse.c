/* DSSE v1: signatures over PAE(type, payload) = "DSSEv1 LEN(type) type LEN(payload) payload".
 * An envelope keeps the payload inside that one block, ready to verify. */
#include "crypto/dsse.h"

#include "base/check.h"
#include "base/json.h"

#include <stdlib.h>

#define PAE_HEAD_MAX (64 + DSSE_TYPE_MAX)
#define BASE64_SIZE(n) (((n) + 2) / 3 * 4)
#define PAYLOAD_TEXT_MAX BASE64_SIZE((size_t)DSSE_PAYLOAD_MAX)

struct signature {
    char keyid[KEY_THUMBPRINT_SIZE + 1]; /* "" when it is no thumbprint: never found */
    uint8_t bytes[KEY_SIGNATURE_MAX];
    size_t len;
};

struct dsse {
    uint8_t *pae;
    size_t pae_len;
    struct slice payload; /* inside pae */
    struct slice type;    /* inside pae */
    size_t count;
    struct signature signatures[DSSE_SIGNATURES_MAX];
};

/* Everything of PAE that stands before the payload; *type_at is where the type begins. */
static void
add_pae_head(struct text *t, struct slice type, size_t payload_len, size_t *type_at)
{
    text_add_str(t, "DSSEv1 ");
    text_add_u64(t, type.len);
    text_add_char(t, ' ');
    *type_at = t->used;
    text_add(t, type);
    text_add_char(t, ' ');
    text_add_u64(t, payload_len);
    text_add_char(t, ' ');
}

/* The bytes that strict base64 of this text stands for. */
static size_t
decoded_len(struct slice text)
{
    size_t len = text.len / 4 * 3;

    if (text.len >= 4 && text.p[text.len - 1] == '=')
        len -= text.p[text.len - 2] == '=' ? 2 : 1;
    return len;
}

static enum err
read_payload(const struct json *root, struct dsse *env, const char **why)
{
    struct slice type, text;
    struct text t;
    size_t len, used, type_at;

    *why = "payload or payloadType is missing or no string";
    if (!json_string(json_get(root, "payloadType"), &type) || type.len == 0 ||
        !json_string(json_get(root, "payload"), &text))
        return ERR_BADMSG;
    *why = "payload or payloadType is too long";
    if (type.len > DSSE_TYPE_MAX || text.len > PAYLOAD_TEXT_MAX)
        return ERR_TOOBIG;
    len = decoded_len(text);
    *why = "memory budget used up";
    env->pae = malloc(PAE_HEAD_MAX + len);
    if (env->pae == NULL)
        return ERR_NOMEM;
    text_init(&t, env->pae, PAE_HEAD_MAX);
    add_pae_head(&t, type, len, &type_at);
    ASSERT(text_ok(&t));
    used = len;
    *why = "payload is no strict base64";
    if (!text_unb64(text, env->pae + t.used, &used) || used != len)
        return ERR_BADMSG;
    env->type = slice_of(env->pae + type_at, type.len);
    env->payload = slice_of(env->pae + t.used, len);
    env->pae_len = t.used + len;
    return ERR_OK;
}

static enum err
read_signature(const struct json *v, struct signature *out)
{
    const struct json *keyid = json_get(v, "keyid");
    struct slice text;

    if (json_type_of(v) != JSON_OBJECT)
        return ERR_BADMSG;
    out->keyid[0] = '\0';
    if (keyid != NULL) {
        if (!json_string(keyid, &text))
            return ERR_BADMSG;
        if (!slice_copy_str(text, out->keyid, sizeof(out->keyid)))
            out->keyid[0] = '\0'; /* too long for a thumbprint: nobody's */
    }
    out->len = sizeof(out->bytes);
    if (!json_string(json_get(v, "sig"), &text) || text.len > BASE64_SIZE(KEY_SIGNATURE_MAX) ||
        !text_unb64(text, out->bytes, &out->len) || out->len == 0)
        return ERR_BADMSG;
    return ERR_OK;
}

static enum err
read_signatures(const struct json *root, struct dsse *env, const char **why)
{
    const struct json *list = json_get(root, "signatures");
    enum err e = ERR_OK;

    *why = "signatures is no array with at least one item";
    if (list == NULL || json_type_of(list) != JSON_ARRAY || json_count(list) == 0)
        return ERR_BADMSG;
    *why = "too many signatures";
    if (json_count(list) > DSSE_SIGNATURES_MAX)
        return ERR_TOOBIG;
    *why = "a signature is malformed";
    for (const struct json *v = json_first(list); v != NULL && e == ERR_OK; v = json_next(v)) {
        e = read_signature(v, &env->signatures[env->count]);
        if (e == ERR_OK)
            env->count++;
    }
    return e;
}

static enum err
read_envelope(const struct json *root, struct dsse *env, const char **why)
{
    enum err e;

    *why = "an envelope is an object";
    if (json_type_of(root) != JSON_OBJECT)
        return ERR_BADMSG;
    e = read_payload(root, env, why);
    return e == ERR_OK ? read_signatures(root, env, why) : e;
}

enum err
dsse_parse(struct slice text, struct dsse **out, const char **why)
{
    const char *reason = NULL;
    struct json_doc *doc = NULL;
    struct dsse *env;
    enum err e = json_parse(text, &doc, &reason);

    if (e != ERR_OK)
        goto fail;
    env = calloc(1, sizeof(*env));
    if (env == NULL) {
        e = ERR_NOMEM;
        reason = "memory budget used up";
        goto fail_doc;
    }
    e = read_envelope(json_root(doc), env, &reason);
    if (e != ERR_OK)
        goto fail_env;
    json_free(&doc);
    *out = env;
    return ERR_OK;

fail_env:
    dsse_free(&env);
fail_doc:
    json_free(&doc);
fail:
    if (why != NULL)
        *why = reason;
    return e;
}

void
dsse_free(struct dsse **env)
{
    if (*env == NULL)
        return;
    free((*env)->pae);
    free(*env);
    *env = NULL;
}

struct slice
dsse_payload(const struct dsse *env)
{
    return env->payload;
}

struct slice
dsse_payload_type(const struct dsse *env)
{
    return env->type;
}

size_t
dsse_signature_count(const struct dsse *env)
{
    return env->count;
}

static bool
is_listed_before(const struct key *const *keys, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(key_thumbprint(keys[i]), key_thumbprint(keys[index])) == 0)
            return true;
    return false;
}

static bool
has_signed(const struct dsse *env, const struct key *key)
{
    for (size_t i = 0; i < env->count; i++) {
        const struct signature *s = &env->signatures[i];

        if (strcmp(s->keyid, key_thumbprint(key)) == 0 &&
            key_verify(key, slice_of(env->pae, env->pae_len), slice_of(s->bytes, s->len)) == ERR_OK)
            return true;
    }
    return false;
}

size_t
dsse_verify(const struct dsse *env, const struct key *const *keys, size_t key_count)
{
    size_t count = 0;

    for (size_t i = 0; i < key_count; i++)
        if (!is_listed_before(keys, i) && has_signed(env, keys[i]))
            count++;
    return count;
}

static enum err
add_signature(struct slice pae, const struct key *key, struct text *out)
{
    uint8_t signature[KEY_SIGN_SIZE];
    enum err e = key_sign(key, pae, signature);

    if (e != ERR_OK)
        return e;
    text_add_str(out, "{\"keyid\":\"");
    text_add_str(out, key_thumbprint(key));
    text_add_str(out, "\",\"sig\":\"");
    text_add_b64(out, slice_of(signature, sizeof(signature)));
    text_add_str(out, "\"}");
    return ERR_OK;
}

enum err
dsse_sign(struct slice payload_type, struct slice payload, const struct key *const *keys,
          size_t key_count, struct text *out)
{
    size_t from = out->used, type_at;
    struct text pae;
    uint8_t *block;
    enum err e = ERR_OK;

    if (payload_type.len == 0 || key_count == 0)
        return ERR_EMPTY;
    if (payload_type.len > DSSE_TYPE_MAX || payload.len > DSSE_PAYLOAD_MAX ||
        key_count > DSSE_SIGNATURES_MAX)
        return ERR_TOOBIG;
    block = malloc(PAE_HEAD_MAX + payload.len);
    if (block == NULL)
        return ERR_NOMEM;
    text_init(&pae, block, PAE_HEAD_MAX + payload.len);
    add_pae_head(&pae, payload_type, payload.len, &type_at);
    text_add(&pae, payload);
    ASSERT(text_ok(&pae));

    text_add_str(out, "{\"payload\":\"");
    text_add_b64(out, payload);
    text_add_str(out, "\",\"payloadType\":");
    text_add_json(out, payload_type);
    text_add_str(out, ",\"signatures\":[");
    for (size_t i = 0; i < key_count && e == ERR_OK; i++) {
        if (i > 0)
            text_add_char(out, ',');
        e = add_signature(text_slice(&pae), keys[i], out);
    }
    text_add_str(out, "]}");
    free(block);
    if (e != ERR_OK) {
        out->used = from;
        return e;
    }
    return text_ok(out) ? ERR_OK : ERR_TOOBIG;
}
