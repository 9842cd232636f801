#include "residency/evidence/record_priv.h"

#include "residency/country.h"

/* The reading twin of record_write.c. Nothing but the written form passes, so two readers
 * can never see two things in one record. */

#define NUMBER_MAX (UINT64_C(1) << 53)

void
record_fail(struct record_cursor *c, const char *why)
{
    if (c->why == NULL)
        c->why = why;
}

bool
record_take(struct record_cursor *c, const char *exact)
{
    struct slice want = slice_str(exact);

    if (c->why != NULL || !slice_starts(c->rest, want))
        return false;
    c->rest = slice_of(c->rest.p + want.len, c->rest.len - want.len);
    return true;
}

void
record_expect(struct record_cursor *c, const char *exact, const char *why)
{
    if (!record_take(c, exact))
        record_fail(c, why);
}

/* The byte that a backslash and what follows stand for; -1: not a form that is written. */
static int
take_escape(struct slice *s)
{
    static const char letters[] = "\"\\bfnrt", bytes[] = "\"\\\b\f\n\r\t";
    uint8_t value = 0;
    size_t len = 1;

    if (s->len < 2)
        return -1;
    for (size_t i = 0; letters[i] != '\0'; i++) {
        if (s->p[1] == (uint8_t)letters[i]) {
            *s = slice_of(s->p + 2, s->len - 2);
            return (uint8_t)bytes[i];
        }
    }
    if (s->len < 6 || !slice_starts(*s, SLICE_LIT("\\u00")))
        return -1;
    if (!text_unhex(slice_of(s->p + 4, 2), &value, &len) || value == 0 || value >= 0x20)
        return -1;
    /* Upper-case digits, and those with a letter of their own, are never written. */
    if (s->p[5] < '0' || (s->p[5] > '9' && s->p[5] < 'a') ||
        (value >= 8 && value <= 13 && value != 11))
        return -1;
    *s = slice_of(s->p + 6, s->len - 6);
    return value;
}

void
record_string(struct record_cursor *c, char *out, size_t size, const char *why)
{
    struct slice s = c->rest;
    size_t used = 0;

    if (c->why != NULL || s.len == 0 || s.p[0] != '"') {
        record_fail(c, why);
        return;
    }
    s = slice_of(s.p + 1, s.len - 1);
    while (s.len > 0 && s.p[0] != '"') {
        int byte = s.p[0];

        if (byte == '\\') {
            byte = take_escape(&s);
        } else {
            byte = byte < 0x20 ? -1 : byte;
            s = slice_of(s.p + 1, s.len - 1);
        }
        if (byte < 0 || used + 1 >= size) {
            record_fail(c, why);
            return;
        }
        out[used++] = (char)byte;
    }
    out[used] = '\0';
    if (s.len == 0 || used == 0 || !text_is_utf8(slice_of(out, used))) {
        record_fail(c, why);
        return;
    }
    c->rest = slice_of(s.p + 1, s.len - 1);
}

void
record_digest(struct record_cursor *c, char *out, size_t len, const char *why)
{
    uint8_t bytes[64];
    size_t room = sizeof(bytes);

    record_string(c, out, len + 1, why);
    if (c->why != NULL)
        return;
    if (strlen(out) != len || !text_unb64url(slice_of(out, len), bytes, &room))
        record_fail(c, why);
}

void
record_number(struct record_cursor *c, uint64_t *out, const char *why)
{
    size_t len = 0;
    uint64_t value;

    while (len < c->rest.len && c->rest.p[len] >= '0' && c->rest.p[len] <= '9')
        len++;
    if (c->why != NULL || len == 0 || (len > 1 && c->rest.p[0] == '0') ||
        !slice_u64(slice_of(c->rest.p, len), &value) || value > NUMBER_MAX) {
        record_fail(c, why);
        return;
    }
    *out = value;
    c->rest = slice_of(c->rest.p + len, c->rest.len - len);
}

void
record_country(struct record_cursor *c, uint16_t *out, const char *why)
{
    char text[3];

    record_string(c, text, sizeof(text), why);
    if (c->why == NULL && country_parse(slice_str(text), out) != ERR_OK)
        record_fail(c, why);
}

bool
record_txn_ok(const char *txn)
{
    if (strlen(txn) != UUID_TEXT_SIZE - 1 || txn[14] != '7')
        return false;
    for (size_t i = 0; i < UUID_TEXT_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = txn[i];

        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return true;
}
