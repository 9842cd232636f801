#ifndef RESIDENCY_EVIDENCE_SUBJECT_PRIV_H
#define RESIDENCY_EVIDENCE_SUBJECT_PRIV_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The two files' rows, and the table that finds a key by its row id. */

#define SUBJECT_ID_SIZE 16
#define SUBJECT_ROW_SIZE 128
#define SUBJECT_TENANT_ROW_SIZE 72
#define SUBJECT_TENANTS_MAX 16384u

struct subject_tenant {
    uint8_t name_hash[32];
    uint8_t key[32];
    uint8_t tag[SUBJECT_ID_SIZE];
};

struct subject_slot {
    uint8_t id[SUBJECT_ID_SIZE];
    uint8_t key[32];
    uint8_t used;
};

/* Open addressing; an id is the output of a MAC, so its first bytes are the hash. */
struct subject_table {
    struct subject_slot *slots;
    size_t size; /* power of two */
    size_t count;
};
MUST_USE enum err subject_table_add(struct subject_table *t, const uint8_t id[SUBJECT_ID_SIZE],
                                    const uint8_t key[32]);
const uint8_t *subject_table_find(const struct subject_table *t, const uint8_t id[SUBJECT_ID_SIZE]);
void subject_table_fini(struct subject_table *t);

void subject_tenant_row(const struct subject_tenant *tenant, uint8_t out[SUBJECT_TENANT_ROW_SIZE]);
/* False when the CRC does not fit. Fills in the tag. */
bool subject_tenant_read(const uint8_t row[SUBJECT_TENANT_ROW_SIZE], struct subject_tenant *out);
void subject_row_id(const struct subject_tenant *tenant, uint32_t quarter, struct slice subject,
                    uint8_t out[SUBJECT_ID_SIZE]);
/* Wraps key under the tenant's. */
MUST_USE enum err subject_row_seal(const struct subject_tenant *tenant,
                                   const uint8_t id[SUBJECT_ID_SIZE], uint32_t quarter,
                                   const uint8_t key[32], uint8_t out[SUBJECT_ROW_SIZE]);
/* Magic and CRC. */
bool subject_row_ok(const uint8_t row[SUBJECT_ROW_SIZE]);
const uint8_t *subject_row_tag(const uint8_t row[SUBJECT_ROW_SIZE]);
const uint8_t *subject_row_key_id(const uint8_t row[SUBJECT_ROW_SIZE]);
MUST_USE enum err subject_row_open(const struct subject_tenant *tenant,
                                   const uint8_t row[SUBJECT_ROW_SIZE], uint8_t key[32]);

#endif
