#include "residency/evidence/commitment.h"

#include <string.h>

void
commitment_sub(const uint8_t subject_key[32], uint8_t out[COMMITMENT_SUB_SIZE])
{
    uint8_t full[HASH_SIZE];

    hmac_sha256(slice_of(subject_key, 32), SLICE_LIT("portolan/v1/sub"), full);
    memcpy(out, full, COMMITMENT_SUB_SIZE);
    hash_wipe(full, sizeof(full));
}

enum err
commitment_key(const uint8_t subject_key[32], const char *txn, uint8_t out[COMMITMENT_KEY_SIZE])
{
    return hkdf_sha256(slice_of(subject_key, 32), slice_str(txn), SLICE_LIT("portolan/v1/request"),
                       out, COMMITMENT_KEY_SIZE);
}

void
commitment_init(struct hmac *m, const uint8_t key[COMMITMENT_KEY_SIZE], const char *label)
{
    /* The NUL ends the label, so that no label is a prefix of another's message. */
    hmac_init(m, slice_of(key, COMMITMENT_KEY_SIZE));
    hmac_add(m, slice_of(label, strlen(label) + 1));
}
