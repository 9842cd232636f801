#include "residency/evidence/subject_memo.h"

#include "base/text.h"
#include "crypto/hash.h"
#include "residency/evidence/commitment.h"

#include <stdlib.h>
#include <string.h>

#define WHO_MAX 160 /* bytes of tenant and subject; longer ones are not remembered */
#define DAY_MS (INT64_C(24) * 3600 * 1000)

struct row {
    int64_t day; /* of the answer; only where who_len > 0 */
    uint16_t tenant_len;
    uint16_t who_len; /* 0: nothing is remembered here */
    uint8_t who[WHO_MAX];
    struct subject_known known;
};

struct subject_memo {
    struct row rows[SUBJECT_MEMO_ROWS];
    struct row longer; /* than a row holds: never found again */
};

enum err
subject_memo_new(struct subject_memo **out)
{
    struct subject_memo *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return ERR_NOMEM;
    *out = m;
    return ERR_OK;
}

void
subject_memo_forget(struct subject_memo *m)
{
    /* Rows that were never used are not touched: their memory may not be there yet. */
    for (size_t i = 0; i < SUBJECT_MEMO_ROWS; i++)
        if (m->rows[i].who_len > 0)
            hash_wipe(&m->rows[i], sizeof(m->rows[i]));
    hash_wipe(&m->longer, sizeof(m->longer));
}

void
subject_memo_free(struct subject_memo **m)
{
    if (*m == NULL)
        return;
    subject_memo_forget(*m);
    free(*m);
    *m = NULL;
}

static uint32_t
mix(uint32_t h, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        h = (h ^ s.p[i]) * UINT32_C(16777619); /* FNV-1a; a clash costs a lookup */
    return h;
}

static struct row *
row_of(struct subject_memo *m, struct slice tenant, struct slice subject)
{
    uint32_t h = mix(mix(UINT32_C(2166136261), tenant), subject);

    if (tenant.len + subject.len > WHO_MAX || tenant.len + subject.len == 0)
        return &m->longer;
    return &m->rows[(h ^ h >> 16) % SUBJECT_MEMO_ROWS];
}

static bool
is_of(const struct row *row, struct slice tenant, struct slice subject, int64_t day)
{
    return row->who_len == tenant.len + subject.len && row->who_len > 0 &&
           row->tenant_len == tenant.len && row->day == day &&
           memcmp(row->who, tenant.p, tenant.len) == 0 &&
           memcmp(row->who + tenant.len, subject.p, subject.len) == 0;
}

static enum err
ask(struct subject_store *s, struct slice tenant, struct slice subject, int64_t wall_ms,
    struct subject_known *known)
{
    uint8_t sub[COMMITMENT_SUB_SIZE];
    struct text out;
    enum err e = subject_key(s, tenant, subject, wall_ms, known->key);

    if (e != ERR_OK)
        return e;
    commitment_sub(known->key, sub);
    text_init(&out, known->sub, sizeof(known->sub));
    text_add_b64url(&out, slice_of(sub, sizeof(sub)));
    text_add_char(&out, '\0');
    return text_ok(&out) ? ERR_OK : ERR_TOOBIG;
}

enum err
subject_memo_of(struct subject_memo *m, struct subject_store *s, struct slice tenant,
                struct slice subject, int64_t wall_ms, const struct subject_known **out)
{
    struct row *row = row_of(m, tenant, subject);
    int64_t day = wall_ms / DAY_MS;
    enum err e;

    *out = &row->known;
    if (is_of(row, tenant, subject, day))
        return ERR_OK;
    row->who_len = 0;
    e = ask(s, tenant, subject, wall_ms, &row->known);
    if (e != ERR_OK || row == &m->longer)
        return e;
    row->day = day;
    row->tenant_len = (uint16_t)tenant.len;
    row->who_len = (uint16_t)(tenant.len + subject.len);
    if (tenant.len > 0)
        memcpy(row->who, tenant.p, tenant.len);
    if (subject.len > 0)
        memcpy(row->who + tenant.len, subject.p, subject.len);
    return ERR_OK;
}
