/* API keys: "ptk_<id>_<secret>". The id finds the row; the row holds a salted hash of the
 * whole key. The secret has 256 random bits, so that one SHA-256 is enough. */
#include "residency/identity/identity_priv.h"

#include "base/text.h"
#include "crypto/random.h"

void
identity_key_hash(const uint8_t salt[IDENTITY_SALT_SIZE], struct slice key, uint8_t out[HASH_SIZE])
{
    struct hash h;

    hash_init(&h);
    hash_add(&h, slice_of(salt, IDENTITY_SALT_SIZE));
    hash_add(&h, key);
    hash_final(&h, out);
}

/* The id inside a key of the right shape. */
static bool
split(struct slice key, struct slice *id)
{
    struct slice rest = key;
    uint8_t raw[HASH_SIZE];
    size_t raw_len = sizeof(raw);
    bool ok;

    if (key.len > IDENTITY_API_KEY_MAX || !slice_starts(key, SLICE_LIT(IDENTITY_API_KEY_PREFIX)))
        return false;
    rest = slice_sub(key, sizeof(IDENTITY_API_KEY_PREFIX) - 1, key.len);
    *id = slice_cut(&rest, '_');
    ok = charter_key_id_ok(*id) && rest.len == IDENTITY_KEY_SECRET_SIZE &&
         text_unb64url(rest, raw, &raw_len);
    hash_wipe(raw, sizeof(raw));
    return ok;
}

enum identity_reason
identity_api_key_verify(const struct charter *charter, const struct identity_keys *keys,
                        struct slice key, int64_t now_ms, struct identity *out)
{
    static const struct identity_api_row nobody = {.id = ""};
    const struct identity_api_row *row;
    const struct charter_api_key *entry;
    uint8_t digest[HASH_SIZE];
    struct slice id = SLICE_NONE;
    uint32_t index;
    bool ok;

    if (!split(key, &id))
        return IDENTITY_MALFORMED;
    row = identity_keys_api_row(keys, id);
    /* An unknown id costs the same hash and comparison. */
    identity_key_hash(row == NULL ? nobody.salt : row->salt, key, digest);
    ok = hash_equal(slice_of(digest, HASH_SIZE),
                    slice_of(row == NULL ? nobody.sha256 : row->sha256, HASH_SIZE));
    if (!ok || row == NULL)
        return IDENTITY_API_KEY;
    if (now_ms > row->not_after_ms)
        return IDENTITY_EXPIRED;
    index = charter_find_api_key(charter, id);
    if (index == CHARTER_NONE)
        return IDENTITY_API_KEY;
    entry = &charter->api_keys[index];
    if (!text_format(out->subject, sizeof(out->subject), "key:%s", entry->subject))
        return IDENTITY_API_KEY;
    out->tenant = entry->tenant;
    out->auth = AUTH_API_KEY;
    out->expires_ms = row->not_after_ms;
    identity_roles_copy(out, entry->roles, entry->role_count);
    return IDENTITY_OK;
}

enum err
identity_api_key_new(const char *id, int64_t now_ms, struct text *key, struct text *row)
{
    uint8_t secret[HASH_SIZE];
    uint8_t salt[IDENTITY_SALT_SIZE];
    uint8_t digest[HASH_SIZE];
    size_t start = key->used;

    if (!charter_key_id_ok(slice_str(id)))
        return ERR_BADMSG;
    random_fill(secret, sizeof(secret));
    random_fill(salt, sizeof(salt));
    text_add_str(key, IDENTITY_API_KEY_PREFIX);
    text_add_str(key, id);
    text_add_char(key, '_');
    text_add_b64url(key, slice_of(secret, sizeof(secret)));
    hash_wipe(secret, sizeof(secret));
    if (!text_ok(key))
        return ERR_TOOBIG;
    identity_key_hash(salt, slice_of(key->p + start, key->used - start), digest);
    text_add_str(row, "{\"id\":");
    text_add_json(row, slice_str(id));
    text_add_str(row, ",\"salt\":\"");
    text_add_b64url(row, slice_of(salt, sizeof(salt)));
    text_add_str(row, "\",\"sha256\":\"");
    text_add_hex(row, slice_of(digest, HASH_SIZE));
    text_add_str(row, "\",\"created\":\"");
    text_add_time_ms(row, now_ms);
    text_add_str(row, "\"}");
    return text_ok(row) ? ERR_OK : ERR_TOOBIG;
}
