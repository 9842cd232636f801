#include "net/h1_priv.h"

#include "base/check.h"

/* One line at a time, without its CRLF: request line, status line, field line (RFC 9112
 * sections 3, 4 and 5). Nothing here knows about slicing: the head parser hands in whole
 * lines only. */

static bool
version_ok(struct slice version, bool *is_1_0)
{
    if (slice_eq(version, SLICE_LIT("HTTP/1.1")))
        *is_1_0 = false;
    else if (slice_eq(version, SLICE_LIT("HTTP/1.0")))
        *is_1_0 = true;
    else
        return false;
    return true;
}

static bool
method_find(struct slice token, enum http_method *out)
{
    for (enum http_method m = HTTP_GET; m <= HTTP_OPTIONS; m++) {
        if (slice_is(token, http_method_name(m))) {
            *out = m;
            return true;
        }
    }
    return false;
}

/* Bytes of "http://" or "https://" at the start, or 0. */
static size_t
scheme_len(struct slice target)
{
    static const struct slice schemes[] = {
        {(const uint8_t *)"http://", 7},
        {(const uint8_t *)"https://", 8},
    };

    for (size_t i = 0; i < ARRAY_COUNT(schemes); i++)
        if (slice_eq_nocase(slice_sub(target, 0, schemes[i].len), schemes[i]))
            return schemes[i].len;
    return 0;
}

/* Origin form and absolute form only. "*" and authority form belong to nothing that this
 * program serves, so a path always begins with '/'. */
static bool
target_ok(struct h1_start *out)
{
    struct slice rest = out->target;
    size_t scheme;
    size_t end = 0;

    if (rest.len == 0 || !h1_all(rest, H1_TARGET))
        return false;
    out->authority = SLICE_NONE;
    if (rest.p[0] != '/') {
        scheme = scheme_len(rest);
        if (scheme == 0)
            return false;
        rest = slice_sub(rest, scheme, rest.len);
        while (end < rest.len && rest.p[end] != '/' && rest.p[end] != '?')
            end++;
        out->authority = slice_sub(rest, 0, end);
        if (!h1_authority_ok(out->authority))
            return false;
        rest = slice_sub(rest, end, rest.len);
        /* An empty path means "/": the last byte of the scheme is one to point at. */
        out->path = slice_sub(out->target, scheme - 1, 1);
    }
    out->query = rest;
    if (rest.len > 0 && rest.p[0] == '/')
        out->path = slice_cut(&out->query, '?');
    else
        (void)slice_cut(&out->query, '?');
    return true;
}

enum h1_fault
h1_line_request(struct slice line, struct h1_start *out)
{
    struct h1_start start = {0};
    struct slice rest = line;
    struct slice method = slice_cut(&rest, ' ');
    struct slice target;

    if (method.len == 0 || method.len > H1_METHOD_MAX || !h1_all(method, H1_TOKEN))
        return H1_FAULT_START_LINE;
    target = slice_cut(&rest, ' ');
    if (target.len == 0 || rest.p == NULL || slice_find(rest, ' ') < rest.len)
        return H1_FAULT_START_LINE;
    if (!version_ok(rest, &start.is_1_0))
        return H1_FAULT_VERSION;
    if (!method_find(method, &start.method))
        return H1_FAULT_METHOD;
    start.target = target;
    if (!target_ok(&start))
        return H1_FAULT_TARGET;
    *out = start;
    return H1_FAULT_NONE;
}

enum h1_fault
h1_line_status(struct slice line, int *status, bool *is_1_0)
{
    struct slice rest = line;
    struct slice version = slice_cut(&rest, ' ');
    struct slice code;
    uint64_t number;
    bool old;

    if (rest.p == NULL)
        return H1_FAULT_START_LINE;
    if (!version_ok(version, &old))
        return H1_FAULT_VERSION;
    code = slice_cut(&rest, ' ');
    /* The SP behind the code is there even without a reason (RFC 9112 section 4). */
    if (rest.p == NULL || code.len != 3 || !slice_u64(code, &number))
        return H1_FAULT_START_LINE;
    if (number < 100 || number > 599 || !h1_all(rest, H1_VALUE))
        return H1_FAULT_START_LINE;
    *status = (int)number;
    *is_1_0 = old;
    return H1_FAULT_NONE;
}

bool
h1_line_split(struct slice line, struct slice *name, struct slice *value)
{
    struct slice rest = line;
    struct slice head = slice_cut(&rest, ':');

    if (rest.p == NULL)
        return false;
    *name = head;
    *value = slice_trim(rest);
    return true;
}

enum h1_fault
h1_line_field(struct slice line)
{
    struct slice name;
    struct slice value;

    if (line.len > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
        return H1_FAULT_OBS_FOLD;
    if (!h1_line_split(line, &name, &value))
        return H1_FAULT_FIELD;
    if (name.len == 0 || !h1_all(name, H1_NAME))
        return H1_FAULT_FIELD_NAME;
    if (value.len > H1_VALUE_MAX)
        return H1_FAULT_TOO_LARGE;
    return h1_all(value, H1_VALUE) ? H1_FAULT_NONE : H1_FAULT_FIELD_VALUE;
}
