#include "residency/evidence/record_priv.h"

#include "residency/country.h"

/* What both records are written with. */

struct record_object
record_object_begin(struct text *t)
{
    text_add_char(t, '{');
    return (struct record_object){t, false};
}

void
record_object_end(struct record_object *o)
{
    text_add_char(o->text, '}');
}

void
record_member(struct record_object *o, struct slice name)
{
    text_add(o->text, o->has_member ? SLICE_LIT(",\"") : SLICE_LIT("\""));
    text_add(o->text, name);
    text_add(o->text, SLICE_LIT("\":"));
    o->has_member = true;
}

struct record_object
record_member_object(struct record_object *o, struct slice name)
{
    record_member(o, name);
    return record_object_begin(o->text);
}

void
record_member_slice(struct record_object *o, struct slice name, struct slice value)
{
    if (value.len == 0)
        return;
    record_member(o, name);
    text_add_json(o->text, value);
}

void
record_member_str(struct record_object *o, struct slice name, const char *value)
{
    record_member_slice(o, name, slice_str(value));
}

void
record_member_u64(struct record_object *o, struct slice name, uint64_t value)
{
    record_member(o, name);
    text_add_u64(o->text, value);
}

void
record_member_i64(struct record_object *o, struct slice name, int64_t value)
{
    record_member(o, name);
    text_add_i64(o->text, value);
}

void
record_member_country(struct record_object *o, struct slice name, uint16_t country)
{
    char text[3];

    if (country == COUNTRY_NONE)
        return;
    country_text(country, text);
    record_member_str(o, name, text);
}

void
record_member_bytes(struct record_object *o, struct slice name, const uint8_t *bytes, size_t len)
{
    if (bytes == NULL)
        return;
    record_member(o, name);
    text_add_char(o->text, '"');
    text_add_b64url(o->text, slice_of(bytes, len));
    text_add_char(o->text, '"');
}

struct slice
record_foreign(struct slice s)
{
    if (s.len > RECORD_FOREIGN_MAX) {
        s.len = RECORD_FOREIGN_MAX;
        while (s.len > 0 && (s.p[s.len] & 0xc0) == 0x80)
            s.len--;
    }
    return text_is_utf8(s) && slice_find(s, 0) == s.len ? s : SLICE_NONE;
}
