#include "residency/evidence/wal.h"

#include "base/check.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "residency/evidence/le_priv.h"
#include "residency/evidence/wal_priv.h"

#include <string.h>

static const uint8_t segment_magic[8] = {'P', 'T', 'L', 'N', 'W', 'A', 'L', '1'};

static uint32_t
frame_crc(uint32_t salt, const uint8_t *frame, struct slice payload)
{
    uint8_t salted[4];
    uint32_t crc;

    le_put32(salted, salt);
    crc = hash_crc32c(0, slice_of(salted, sizeof(salted)));
    crc = hash_crc32c(crc, slice_of(frame, 36));
    return hash_crc32c(crc, payload);
}

void
wal_encode(const struct wal_frame *frame, uint32_t salt, uint8_t *out)
{
    ASSERT(frame->payload.len <= WAL_PAYLOAD_MAX);
    out[0] = (uint8_t)(WAL_MAGIC & 0xff);
    out[1] = (uint8_t)(WAL_MAGIC >> 8);
    out[2] = WAL_VERSION;
    out[3] = (uint8_t)frame->type;
    le_put32(out + 4, (uint32_t)frame->payload.len);
    le_put64(out + 8, frame->seq);
    le_put64(out + 16, frame->batch);
    le_put64(out + 24, frame->index);
    le_put32(out + 32, frame->slot);
    le_put32(out + 36, frame_crc(salt, out, frame->payload));
    if (frame->payload.len > 0)
        memcpy(out + WAL_FRAME_HEADER, frame->payload.p, frame->payload.len);
}

bool
wal_decode(struct slice bytes, uint32_t salt, struct wal_frame *out)
{
    uint32_t len;
    struct slice payload;

    if (bytes.len < WAL_FRAME_HEADER)
        return false;
    if (bytes.p[0] != (WAL_MAGIC & 0xff) || bytes.p[1] != WAL_MAGIC >> 8 ||
        bytes.p[2] != WAL_VERSION || bytes.p[3] < WAL_CONTROL || bytes.p[3] > WAL_SEGMENT_END)
        return false;
    len = le_get32(bytes.p + 4);
    if (len > WAL_PAYLOAD_MAX || len > bytes.len - WAL_FRAME_HEADER)
        return false;
    payload = slice_of(bytes.p + WAL_FRAME_HEADER, len);
    if (le_get32(bytes.p + 36) != frame_crc(salt, bytes.p, payload))
        return false;
    *out = (struct wal_frame){
        .type = (enum wal_type)bytes.p[3],
        .seq = le_get64(bytes.p + 8),
        .batch = le_get64(bytes.p + 16),
        .index = le_get64(bytes.p + 24),
        .slot = le_get32(bytes.p + 32),
        .payload = payload,
    };
    return true;
}

void
wal_header_encode(const struct wal_header *h, uint8_t out[WAL_SEGMENT_HEADER])
{
    memset(out, 0, WAL_SEGMENT_HEADER);
    memcpy(out, segment_magic, sizeof(segment_magic));
    memcpy(out + 8, h->run, WAL_RUN_ID_SIZE);
    le_put64(out + 24, h->number);
    le_put64(out + 32, h->first_seq);
    le_put32(out + 40, h->salt);
    le_put32(out + 60, hash_crc32c(0, slice_of(out, 60)));
}

bool
wal_header_decode(const uint8_t in[WAL_SEGMENT_HEADER], struct wal_header *out)
{
    static const uint8_t zeros[16];

    if (memcmp(in, segment_magic, sizeof(segment_magic)) != 0 || memcmp(in + 44, zeros, 16) != 0 ||
        le_get32(in + 60) != hash_crc32c(0, slice_of(in, 60)))
        return false;
    memcpy(out->run, in + 8, WAL_RUN_ID_SIZE);
    out->number = le_get64(in + 24);
    out->first_seq = le_get64(in + 32);
    out->salt = le_get32(in + 40);
    return true;
}

uint32_t
wal_salt(const uint8_t run[WAL_RUN_ID_SIZE], uint64_t number)
{
    struct hash h;
    uint8_t digest[HASH_SIZE];
    uint8_t le[8];

    le_put64(le, number);
    hash_init(&h);
    hash_add(&h, SLICE_LIT("portolan/v1/wal-salt"));
    hash_add(&h, slice_of(run, WAL_RUN_ID_SIZE));
    hash_add(&h, slice_of(le, sizeof(le)));
    hash_final(&h, digest);
    return le_get32(digest);
}

void
wal_segment_name(char out[WAL_NAME_SIZE], uint32_t number)
{
    bool fits = text_format(out, WAL_NAME_SIZE, "%08u.wal", number);

    ASSERT(fits);
}
