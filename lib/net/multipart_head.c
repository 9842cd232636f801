#include "net/h1_priv.h"
#include "net/multipart_priv.h"

#include <string.h>

/* The lines in which a form says what it is: the request's Content-Type, and the head of each
 * part. What two readers could take for two things is refused. */

/* ---- parameters: *( OWS ";" OWS name "=" ( token / quoted-string ) ) -------------------- */

static void
skip_blanks(struct slice *s)
{
    while (s->len > 0 && (s->p[0] == ' ' || s->p[0] == '\t'))
        *s = slice_sub(*s, 1, s->len);
}

/* Without escapes: a backslash ends the text for one reader and not for another. */
static bool
take_quoted(struct slice *s, struct slice *out)
{
    size_t end;

    *s = slice_sub(*s, 1, s->len);
    end = slice_find(*s, '"');
    if (end == s->len || slice_find(slice_sub(*s, 0, end), '\\') != end)
        return false;
    *out = slice_sub(*s, 0, end);
    *s = slice_sub(*s, end + 1, s->len);
    return true;
}

static bool
take_parameter(struct slice *s, struct slice *name, struct slice *value)
{
    size_t n;

    skip_blanks(s);
    if (s->len == 0 || s->p[0] != ';')
        return false;
    *s = slice_sub(*s, 1, s->len);
    skip_blanks(s);
    n = slice_find(*s, '=');
    *name = slice_sub(*s, 0, n);
    if (n == s->len || n == 0 || !h1_all(*name, H1_TOKEN))
        return false;
    *s = slice_sub(*s, n + 1, s->len);
    if (s->len > 0 && s->p[0] == '"')
        return take_quoted(s, value);
    for (n = 0; n < s->len && (h1_class[s->p[n]] & H1_TOKEN) != 0;)
        n++;
    *value = slice_sub(*s, 0, n);
    *s = slice_sub(*s, n, s->len);
    return n > 0;
}

/* RFC 2046 section 5.1.1: bchars, the last no space. */
static bool
boundary_ok(struct slice s)
{
    if (s.len == 0 || s.len > MULTIPART_BOUNDARY_MAX || s.p[s.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');

        if (!alnum && (c == '\0' || strchr("'()+_,-./:=? ", c) == NULL))
            return false;
    }
    return true;
}

bool
multipart_type_boundary(struct slice content_type, struct slice *out)
{
    struct slice rest = slice_trim(content_type);
    size_t n = slice_find(rest, ';');
    bool seen = false;

    if (!slice_eq_nocase(slice_trim(slice_sub(rest, 0, n)), SLICE_LIT("multipart/form-data")))
        return false;
    rest = slice_sub(rest, n, rest.len);
    while (rest.len > 0) {
        struct slice name;
        struct slice value;

        if (!take_parameter(&rest, &name, &value))
            return false;
        if (slice_eq_nocase(name, SLICE_LIT("charset")))
            continue;
        if (seen || !slice_eq_nocase(name, SLICE_LIT("boundary")) || !boundary_ok(value))
            return false;
        *out = value;
        seen = true;
    }
    return seen;
}

/* ---- a part's head ------------------------------------------------------------------- */

/* Names are compared and judged: no byte that a reader may decode or drop. */
static bool
name_ok(struct slice s)
{
    if (s.len == 0 || s.len > MULTIPART_NAME_MAX || s.p[0] == ' ' || s.p[s.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == '%')
            return false;
    return true;
}

static enum multipart_fault
read_disposition(struct multipart *m, struct slice value)
{
    struct slice rest = value;
    bool has_name = false;
    size_t n = slice_find(rest, ';');

    if (!slice_eq_nocase(slice_trim(slice_sub(rest, 0, n)), SLICE_LIT("form-data")))
        return MULTIPART_FAULT_DISPOSITION;
    rest = slice_sub(rest, n, rest.len);
    while (rest.len > 0) {
        struct slice name;
        struct slice text;

        if (!take_parameter(&rest, &name, &text))
            return MULTIPART_FAULT_DISPOSITION;
        if (slice_eq_nocase(name, SLICE_LIT("name")) && !has_name) {
            if (!name_ok(text))
                return MULTIPART_FAULT_NAME;
            memcpy(m->name, text.p, text.len);
            m->name[text.len] = '\0';
            m->name_len = text.len;
            has_name = true;
        } else if (slice_eq_nocase(name, SLICE_LIT("filename")) && !m->is_file) {
            m->is_file = true;
        } else {
            return MULTIPART_FAULT_DISPOSITION;
        }
    }
    return has_name ? MULTIPART_FAULT_NONE : MULTIPART_FAULT_NAME;
}

/* Fields that a form takes, each once. */
enum { SEEN_DISPOSITION = 1, SEEN_TYPE = 2, SEEN_ENCODING = 4, SEEN_LENGTH = 8 };

static enum multipart_fault
read_field(struct multipart *m, struct slice name, struct slice value, unsigned *seen)
{
    unsigned is = slice_eq_nocase(name, SLICE_LIT("content-disposition"))         ? SEEN_DISPOSITION
                  : slice_eq_nocase(name, SLICE_LIT("content-type"))              ? SEEN_TYPE
                  : slice_eq_nocase(name, SLICE_LIT("content-transfer-encoding")) ? SEEN_ENCODING
                  : slice_eq_nocase(name, SLICE_LIT("content-length"))            ? SEEN_LENGTH
                                                                                  : 0;

    if (is == 0)
        return MULTIPART_FAULT_FIELD;
    if ((*seen & is) != 0)
        return is == SEEN_DISPOSITION ? MULTIPART_FAULT_DISPOSITION : MULTIPART_FAULT_FIELD;
    *seen |= is;
    if (is == SEEN_DISPOSITION)
        return read_disposition(m, value);
    if (is == SEEN_TYPE && value.len >= 10 &&
        slice_eq_nocase(slice_sub(value, 0, 10), SLICE_LIT("multipart/")))
        return MULTIPART_FAULT_ENCODING;
    if (is == SEEN_ENCODING && !slice_eq_nocase(value, SLICE_LIT("binary")) &&
        !slice_eq_nocase(value, SLICE_LIT("8bit")) && !slice_eq_nocase(value, SLICE_LIT("7bit")))
        return MULTIPART_FAULT_ENCODING;
    if (is == SEEN_LENGTH) {
        m->length_stated = true;
        return slice_u64(value, &m->length) ? MULTIPART_FAULT_NONE : MULTIPART_FAULT_LENGTH;
    }
    return MULTIPART_FAULT_NONE;
}

enum multipart_fault
multipart_read_head(struct multipart *m)
{
    struct slice rest = slice_of(m->head, m->head_used - 2);
    unsigned seen = 0;

    m->is_file = m->length_stated = false;
    m->name_len = 0;
    while (rest.len > 0) {
        size_t end = slice_find(rest, '\r');
        struct slice line = slice_sub(rest, 0, end);
        size_t colon = slice_find(line, ':');
        struct slice value = slice_trim(slice_sub(line, colon + 1, line.len));
        enum multipart_fault fault;

        /* Every CR is followed by LF, and there is no LF but those. */
        if (rest.len - end < 2 || rest.p[end + 1] != '\n' || slice_find(line, '\n') != line.len)
            return MULTIPART_FAULT_HEAD;
        if (colon == line.len || colon == 0 || !h1_all(slice_sub(line, 0, colon), H1_NAME) ||
            !h1_all(value, H1_VALUE))
            return MULTIPART_FAULT_HEAD;
        fault = read_field(m, slice_sub(line, 0, colon), value, &seen);
        if (fault != MULTIPART_FAULT_NONE)
            return fault;
        rest = slice_sub(rest, end + 2, rest.len);
    }
    return (seen & SEEN_DISPOSITION) != 0 ? MULTIPART_FAULT_NONE : MULTIPART_FAULT_DISPOSITION;
}
