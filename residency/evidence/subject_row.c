#include "residency/evidence/subject_priv.h"

#include "crypto/hash.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "residency/evidence/le_priv.h"

#include <stdlib.h>
#include <string.h>

/* Row layout (docs/formats.md section 7):
 *   0 magic, 4 CRC, 8 tenant tag, 24 row id, 40 quarter, 44 reserved, 48 nonce,
 *   60 wrapped key, 92 tag, 108 zeros */

#define AT_TAG 8
#define AT_ID 24
#define AT_QUARTER 40
#define AT_NONCE 48
#define AT_WRAPPED 60
#define AT_SEAL 92

static const uint8_t row_magic[4] = {'S', 'U', 'B', 'J'};

void
subject_tenant_row(const struct subject_tenant *tenant, uint8_t out[SUBJECT_TENANT_ROW_SIZE])
{
    memset(out, 0, SUBJECT_TENANT_ROW_SIZE);
    memcpy(out, tenant->name_hash, 32);
    memcpy(out + 32, tenant->key, 32);
    le_put32(out + 64, hash_crc32c(0, slice_of(out, 64)));
}

bool
subject_tenant_read(const uint8_t row[SUBJECT_TENANT_ROW_SIZE], struct subject_tenant *out)
{
    uint8_t full[HASH_SIZE];

    if (le_get32(row + 64) != hash_crc32c(0, slice_of(row, 64)) || le_get32(row + 68) != 0)
        return false;
    memcpy(out->name_hash, row, 32);
    memcpy(out->key, row + 32, 32);
    hmac_sha256(slice_of(out->key, 32), SLICE_LIT("portolan/v1/tenant"), full);
    memcpy(out->tag, full, SUBJECT_ID_SIZE);
    return true;
}

void
subject_row_id(const struct subject_tenant *tenant, uint32_t quarter, struct slice subject,
               uint8_t out[SUBJECT_ID_SIZE])
{
    static const char label[] = "portolan/v1/row"; /* with its NUL */
    struct hmac m;
    uint8_t le[4], full[HASH_SIZE];

    le_put32(le, quarter);
    hmac_init(&m, slice_of(tenant->key, 32));
    hmac_add(&m, slice_of(label, sizeof(label)));
    hmac_add(&m, slice_of(le, sizeof(le)));
    hmac_add(&m, subject);
    hmac_final(&m, full);
    memcpy(out, full, SUBJECT_ID_SIZE);
}

enum err
subject_row_seal(const struct subject_tenant *tenant, const uint8_t id[SUBJECT_ID_SIZE],
                 uint32_t quarter, const uint8_t key[32], uint8_t out[SUBJECT_ROW_SIZE])
{
    enum err e;

    memset(out, 0, SUBJECT_ROW_SIZE);
    memcpy(out, row_magic, sizeof(row_magic));
    memcpy(out + AT_TAG, tenant->tag, SUBJECT_ID_SIZE);
    memcpy(out + AT_ID, id, SUBJECT_ID_SIZE);
    le_put32(out + AT_QUARTER, quarter);
    random_fill(out + AT_NONCE, SEAL_NONCE_SIZE);
    e = seal_encrypt(tenant->key, out + AT_NONCE, slice_of(out + AT_TAG, AT_NONCE - AT_TAG),
                     slice_of(key, 32), out + AT_WRAPPED, out + AT_SEAL);
    if (e == ERR_OK)
        le_put32(out + 4, hash_crc32c(0, slice_of(out + 8, SUBJECT_ROW_SIZE - 8)));
    return e;
}

bool
subject_row_ok(const uint8_t row[SUBJECT_ROW_SIZE])
{
    return memcmp(row, row_magic, sizeof(row_magic)) == 0 &&
           le_get32(row + 4) == hash_crc32c(0, slice_of(row + 8, SUBJECT_ROW_SIZE - 8));
}

const uint8_t *
subject_row_tag(const uint8_t row[SUBJECT_ROW_SIZE])
{
    return row + AT_TAG;
}

const uint8_t *
subject_row_key_id(const uint8_t row[SUBJECT_ROW_SIZE])
{
    return row + AT_ID;
}

enum err
subject_row_open(const struct subject_tenant *tenant, const uint8_t row[SUBJECT_ROW_SIZE],
                 uint8_t key[32])
{
    return seal_decrypt(tenant->key, row + AT_NONCE, slice_of(row + AT_TAG, AT_NONCE - AT_TAG),
                        slice_of(row + AT_WRAPPED, 32), row + AT_SEAL, key);
}

static struct subject_slot *
slot_of(const struct subject_table *t, const uint8_t id[SUBJECT_ID_SIZE])
{
    size_t i = (size_t)le_get64(id) & (t->size - 1);

    while (t->slots[i].used != 0 && memcmp(t->slots[i].id, id, SUBJECT_ID_SIZE) != 0)
        i = (i + 1) & (t->size - 1);
    return &t->slots[i];
}

const uint8_t *
subject_table_find(const struct subject_table *t, const uint8_t id[SUBJECT_ID_SIZE])
{
    const struct subject_slot *slot;

    if (t->size == 0)
        return NULL;
    slot = slot_of(t, id);
    return slot->used != 0 ? slot->key : NULL;
}

static enum err
table_grow(struct subject_table *t)
{
    struct subject_table bigger = {.size = t->size == 0 ? 1024 : t->size * 2, .count = t->count};

    bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
    if (bigger.slots == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < t->size; i++) {
        if (t->slots[i].used != 0)
            *slot_of(&bigger, t->slots[i].id) = t->slots[i];
    }
    subject_table_fini(t);
    *t = bigger;
    return ERR_OK;
}

enum err
subject_table_add(struct subject_table *t, const uint8_t id[SUBJECT_ID_SIZE], const uint8_t key[32])
{
    struct subject_slot *slot;

    if (t->count >= t->size / 4 * 3) {
        enum err e = table_grow(t);

        if (e != ERR_OK)
            return e;
    }
    slot = slot_of(t, id);
    if (slot->used != 0)
        return ERR_EXIST;
    memcpy(slot->id, id, SUBJECT_ID_SIZE);
    memcpy(slot->key, key, 32);
    slot->used = 1;
    t->count++;
    return ERR_OK;
}

void
subject_table_fini(struct subject_table *t)
{
    if (t->slots != NULL)
        hash_wipe(t->slots, t->size * sizeof(*t->slots));
    free(t->slots);
    *t = (struct subject_table){0};
}
