#ifndef RESIDENCY_EVIDENCE_RECORD_PRIV_H
#define RESIDENCY_EVIDENCE_RECORD_PRIV_H

#include "base/slice.h"
#include "base/text.h"
#include "residency/evidence/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Members of an object, written in the order of the calls. Absent values leave the
 * member out. */
struct record_object {
    struct text *text;
    bool has_member;
};
struct record_object record_object_begin(struct text *t);
void record_object_end(struct record_object *o);
/* The name and its colon; the value follows. */
void record_member(struct record_object *o, struct slice name);
struct record_object record_member_object(struct record_object *o, struct slice name);
void record_member_str(struct record_object *o, struct slice name, const char *value);
void record_member_slice(struct record_object *o, struct slice name, struct slice value);
void record_member_u64(struct record_object *o, struct slice name, uint64_t value);
void record_member_i64(struct record_object *o, struct slice name, int64_t value);
void record_member_country(struct record_object *o, struct slice name, uint16_t country);
/* base64url of the first len bytes; NULL leaves it out. */
void record_member_bytes(struct record_object *o, struct slice name, const uint8_t *bytes,
                         size_t len);
/* Cut to RECORD_FOREIGN_MAX bytes at a character's edge; nothing of what is not UTF-8. */
struct slice record_foreign(struct slice s);

/* Reads the one form that the writers above give: members in their order, no white space,
 * the shortest escapes. What does not fit sets a sticky mark. */
struct record_cursor {
    struct slice rest;
    const char *why; /* NULL while all fits; a static text */
};
void record_fail(struct record_cursor *c, const char *why);
/* Takes the exact text if it comes next. */
bool record_take(struct record_cursor *c, const char *exact);
void record_expect(struct record_cursor *c, const char *exact, const char *why);
/* A string value with its quotes, decoded into out with a NUL. */
void record_string(struct record_cursor *c, char *out, size_t size, const char *why);
/* Of base64url letters, exactly len of them. */
void record_digest(struct record_cursor *c, char *out, size_t len, const char *why);
void record_number(struct record_cursor *c, uint64_t *out, const char *why);
void record_country(struct record_cursor *c, uint16_t *out, const char *why);
/* UUIDv7 in its text form. */
bool record_txn_ok(const char *txn);

#endif
