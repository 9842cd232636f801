#include "net/h1_priv.h"

#include "base/check.h"

/* The head, in two passes. The first takes one line at a time as bytes arrive, so that a
 * fault is known as soon as its line is complete, and every verdict depends on whole lines
 * or on a length alone: slicing can't change it. When the blank line is there, the second
 * pass fills the head from the whole block, which may have moved between calls. */

#define OPTIONS_MAX HTTP_FIELDS_MAX /* options of all Connection fields together */

/* Fields that the codec itself reads, or that never travel on. */
enum known {
    KNOWN_HOST,
    KNOWN_LENGTH,
    KNOWN_CODING,
    KNOWN_CONNECTION,
    KNOWN_EXPECT,
    KNOWN_HOP,
    KNOWN_OTHER,
    KNOWN_COUNT,
};

#define NAME(s)                             \
    {                                       \
        (const uint8_t *)(s), sizeof(s) - 1 \
    }
static const struct {
    struct slice name;
    enum known known;
    bool hop;
} known_fields[] = {
    {NAME("host"), KNOWN_HOST, false},
    {NAME("content-length"), KNOWN_LENGTH, false},
    {NAME("transfer-encoding"), KNOWN_CODING, true},
    {NAME("connection"), KNOWN_CONNECTION, true},
    {NAME("expect"), KNOWN_EXPECT, false},
    {NAME("keep-alive"), KNOWN_HOP, true},
    {NAME("proxy-connection"), KNOWN_HOP, true},
    {NAME("te"), KNOWN_HOP, true},
    {NAME("upgrade"), KNOWN_HOP, true},
    {NAME("http2-settings"), KNOWN_HOP, true}, /* only means something beside Upgrade: h2c */
    {NAME("trailer"), KNOWN_HOP, true},        /* announces what the body reader drops */
};
#undef NAME

/* What the fields say, gathered while they are filled in. */
struct facts {
    bool hop[HTTP_FIELDS_MAX]; /* this field goes no further */
    size_t hop_count;
    size_t count[KNOWN_COUNT];
    struct slice value[KNOWN_COUNT]; /* of the first */
    bool has_tab[KNOWN_COUNT];       /* one of the lines holds HTAB */
    size_t options;
    bool close;
    bool keep_alive;
};

void
h1_parser_init(struct h1_parser *p, enum h1_role role)
{
    *p = (struct h1_parser){.role = role};
}

/* The longest line that may come next, without CRLF. */
static size_t
line_max(const struct h1_parser *p)
{
    size_t used;

    if (p->line_count == 0)
        return H1_LINE_MAX;
    used = p->scanned - p->fields_at;
    return used + 2 > H1_HEADER_BYTES_MAX ? 0 : H1_HEADER_BYTES_MAX - used - 2;
}

static enum h1_fault
overlong_fault(const struct h1_parser *p)
{
    if (p->line_count > 0)
        return H1_FAULT_TOO_LARGE;
    return p->role == H1_REQUEST ? H1_FAULT_URI_TOO_LONG : H1_FAULT_START_LINE;
}

/* Finds the line behind the scanned ones. False when it is not complete, or refused: then
 * *fault says so. The length is judged by the first byte that is too much, whether or not
 * its LF is there already. */
static bool
line_next(struct h1_parser *p, struct slice data, struct slice *line, enum h1_fault *fault)
{
    size_t max = line_max(p);
    size_t left = data.len - p->scanned;
    size_t end = p->scanned + (left < max + 2 ? left : max + 2); /* where the search ends */
    const uint8_t *lf = NULL;
    size_t len;

    if (p->probed < end)
        lf = memchr(data.p + p->probed, '\n', end - p->probed);
    if (lf != NULL)
        end = (size_t)(lf - data.p);
    len = end - p->scanned;
    p->probed = lf != NULL ? end + 1 : end;
    if (len > max + 1 || (len == max + 1 && data.p[end - 1] != '\r')) {
        *fault = overlong_fault(p);
        return false;
    }
    if (lf == NULL)
        return false;
    if (len == 0 || data.p[end - 1] != '\r') {
        *fault = H1_FAULT_BARE_LF;
        return false;
    }
    *line = slice_of(data.p + p->scanned, len - 1);
    return true;
}

/* First pass over one whole line that is not the blank one at the end. */
static enum h1_fault
line_check(struct h1_parser *p, struct slice line)
{
    struct h1_start start;
    enum h1_fault fault;
    int status;
    bool is_1_0;

    if (p->line_count > HTTP_FIELDS_MAX)
        return H1_FAULT_TOO_LARGE;
    if (p->line_count > 0)
        fault = h1_line_field(line);
    else if (p->role == H1_REQUEST)
        fault = h1_line_request(line, &start);
    else
        fault = h1_line_status(line, &status, &is_1_0);
    if (fault != H1_FAULT_NONE)
        return fault;
    p->line_count++;
    p->scanned = p->probed;
    if (p->line_count == 1)
        p->fields_at = p->scanned;
    return H1_FAULT_NONE;
}

static enum known
known_find(struct slice name, bool *hop)
{
    for (size_t i = 0; i < ARRAY_COUNT(known_fields); i++) {
        if (name.len == known_fields[i].name.len && slice_eq_nocase(name, known_fields[i].name)) {
            *hop = known_fields[i].hop;
            return known_fields[i].known;
        }
    }
    *hop = false;
    return KNOWN_OTHER;
}

/* Names that a sender must not take off a message by nominating them: framing, and all that
 * the program reads. A request that lost its data class on the way in would be judged by a
 * wider one (law 5). */
static bool
is_reserved(struct slice name)
{
    static const char *const reserved[] = {
        "host",        "content-length", "transfer-encoding", "authorization",
        "expect",      "x-api-key",      "x-portolan-class",  "x-forwarded-for",
        "forwarded",   "content-type",   "content-encoding",  "anthropic-version",
        "retry-after",
    };
    const struct slice prefix = SLICE_LIT("residency-");

    for (size_t i = 0; i < ARRAY_COUNT(reserved); i++)
        if (slice_eq_nocase(name, slice_str(reserved[i])))
            return true;
    return slice_eq_nocase(slice_sub(name, 0, prefix.len), prefix);
}

static void
hop_mark(struct facts *facts, size_t field)
{
    facts->hop_count += !facts->hop[field];
    facts->hop[field] = true;
}

/* One connection option: a word of its own, or the name of a field that goes no further. */
static enum h1_fault
option_take(const struct http_head *head, struct slice option, struct facts *facts)
{
    if (option.len == 0)
        return H1_FAULT_NONE; /* empty list elements are legal (RFC 9110 section 5.6.1) */
    if (++facts->options > OPTIONS_MAX || !h1_all(option, H1_TOKEN) || is_reserved(option))
        return H1_FAULT_CONNECTION;
    if (slice_eq_nocase(option, SLICE_LIT("close")))
        facts->close = true;
    if (slice_eq_nocase(option, SLICE_LIT("keep-alive")))
        facts->keep_alive = true;
    for (size_t i = 0; i < head->field_count; i++)
        if (slice_eq_nocase(head->fields[i].name, option))
            hop_mark(facts, i);
    return H1_FAULT_NONE;
}

static enum h1_fault
connection_read(struct h1_head *head, struct facts *facts)
{
    const struct http_head *http = &head->http;

    for (size_t i = 0; facts->count[KNOWN_CONNECTION] > 0 && i < http->field_count; i++) {
        struct slice rest = http->fields[i].value;

        if (!slice_eq_nocase(http->fields[i].name, SLICE_LIT("connection")))
            continue;
        while (rest.p != NULL) {
            struct slice option = slice_trim(slice_cut(&rest, ','));
            enum h1_fault fault = option_take(http, option, facts);

            if (fault != H1_FAULT_NONE)
                return fault;
        }
    }
    head->keep_alive = !facts->close && (!head->is_1_0 || facts->keep_alive);
    return H1_FAULT_NONE;
}

/* What belongs to the connection is out of the way of everyone behind the codec. */
static void
hops_drop(struct http_head *head, const struct facts *facts)
{
    size_t kept = 0;

    if (facts->hop_count == 0)
        return;
    for (size_t i = 0; i < head->field_count; i++)
        if (!facts->hop[i])
            head->fields[kept++] = head->fields[i];
    head->field_count = kept;
}

/* What the two framing fields say, the same in both directions (RFC 9112 section 6). HTAB
 * around their values is legal, but some parsers refuse it and some read on behind it. */
static enum h1_fault
framing_read(struct h1_head *head, const struct facts *facts)
{
    uint64_t length = 0;

    if (facts->count[KNOWN_LENGTH] > 0 && facts->count[KNOWN_CODING] > 0)
        return H1_FAULT_BOTH_FRAMINGS;
    if (facts->count[KNOWN_LENGTH] > 0) {
        if (facts->count[KNOWN_LENGTH] > 1 || facts->has_tab[KNOWN_LENGTH] ||
            !slice_u64(facts->value[KNOWN_LENGTH], &length) || length > INT64_MAX)
            return H1_FAULT_CONTENT_LENGTH;
        head->framing = H1_BODY_LENGTH;
        head->content_length = length;
    } else if (facts->count[KNOWN_CODING] > 0) {
        if (facts->count[KNOWN_CODING] > 1 || facts->has_tab[KNOWN_CODING] || head->is_1_0 ||
            !slice_is(facts->value[KNOWN_CODING], "chunked"))
            return H1_FAULT_TRANSFER_ENCODING;
        head->framing = H1_BODY_CHUNKED;
    }
    return H1_FAULT_NONE;
}

static bool
has_bytes(const struct h1_head *head)
{
    return head->framing == H1_BODY_CHUNKED ||
           (head->framing == H1_BODY_LENGTH && head->content_length > 0);
}

static void
body_none(struct h1_head *head)
{
    head->framing = H1_BODY_NONE;
    head->content_length = 0;
}

static enum h1_fault
request_rules(struct h1_head *head, const struct h1_start *start, const struct facts *facts)
{
    struct slice host = facts->value[KNOWN_HOST];

    if (head->http.method != HTTP_POST) {
        if (has_bytes(head))
            return H1_FAULT_BODY_FORBIDDEN;
        body_none(head);
    }
    if (facts->count[KNOWN_HOST] != 1 || !h1_authority_ok(host))
        return H1_FAULT_HOST;
    if (start->authority.p != NULL && !slice_eq_nocase(start->authority, host))
        return H1_FAULT_HOST;
    head->http.authority = host;
    if (facts->count[KNOWN_EXPECT] == 0)
        return H1_FAULT_NONE;
    if (facts->count[KNOWN_EXPECT] > 1 ||
        !slice_eq_nocase(facts->value[KNOWN_EXPECT], SLICE_LIT("100-continue")))
        return H1_FAULT_EXPECT;
    /* A sender of 1.0 does not know 100, and without a body there is nothing to wait for. */
    head->http.expect_continue = !head->is_1_0 && has_bytes(head);
    return H1_FAULT_NONE;
}

static enum h1_fault
response_rules(struct h1_head *head, bool head_request)
{
    int status = head->http.status;
    bool never_body = status < 200 || status == 204;

    if (status == 101)
        return H1_FAULT_UPGRADE;
    /* RFC 9110 section 8.6, RFC 9112 section 6.1: such an answer with a framing is one of
     * which sender and receiver may think differently. */
    if (never_body && has_bytes(head))
        return H1_FAULT_BODY_FORBIDDEN;
    if (never_body || status == 304 || head_request) {
        body_none(head);
    } else if (head->framing == H1_BODY_NONE) {
        head->framing = H1_BODY_TO_EOF;
        head->keep_alive = false;
    }
    return H1_FAULT_NONE;
}

/* Second pass, fields: the lines between the start line and the blank one. */
static enum h1_fault
fields_fill(const struct h1_parser *p, struct slice data, struct http_head *head,
            struct facts *facts)
{
    struct slice rest = slice_sub(data, p->fields_at, p->scanned - p->fields_at);

    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');
        struct http_field *field = &head->fields[head->field_count];
        enum known known;
        bool hop;

        line.len--; /* CR */
        if (NEVER(head->field_count >= HTTP_FIELDS_MAX) ||
            NEVER(!h1_line_split(line, &field->name, &field->value)))
            return H1_FAULT_FIELD;
        known = known_find(field->name, &hop);
        if (hop)
            hop_mark(facts, head->field_count);
        if (facts->count[known]++ == 0)
            facts->value[known] = field->value;
        if (slice_find(line, '\t') < line.len)
            facts->has_tab[known] = true;
        head->field_count++;
    }
    return H1_FAULT_NONE;
}

static enum h1_fault
start_fill(const struct h1_parser *p, struct slice data, struct h1_head *head,
           struct h1_start *start)
{
    /* One empty line may stand before a request line. */
    size_t from = data.p[0] == '\r' ? 2 : 0;
    struct slice line = slice_sub(data, from, p->fields_at - from - 2);
    enum h1_fault fault;

    if (p->role == H1_RESPONSE)
        return h1_line_status(line, &head->http.status, &head->is_1_0);
    fault = h1_line_request(line, start);
    if (fault != H1_FAULT_NONE)
        return fault;
    head->target = start->target;
    head->is_1_0 = start->is_1_0;
    head->http.method = start->method;
    head->http.path = start->path;
    head->http.query = start->query;
    return H1_FAULT_NONE;
}

static void
head_clear(struct h1_head *head)
{
    struct http_head *http = &head->http;

    http->method = HTTP_GET;
    http->path = SLICE_NONE;
    http->query = SLICE_NONE;
    http->authority = SLICE_NONE;
    http->status = 0;
    http->has_body = false;
    http->body_length = 0;
    http->expect_continue = false;
    http->field_count = 0; /* the array behind it is written as far as it is counted */
    head->target = SLICE_NONE;
    head->is_1_0 = false;
    head->keep_alive = false;
    head->framing = H1_BODY_NONE;
    head->content_length = 0;
}

/* The framing as those see it who know of none. */
static void
body_tell(struct h1_head *head)
{
    head->http.has_body = head->framing != H1_BODY_NONE;
    if (head->framing == H1_BODY_LENGTH)
        head->http.body_length = (int64_t)head->content_length;
    else if (head->http.has_body)
        head->http.body_length = HTTP_LENGTH_UNKNOWN;
}

static enum h1_fault
head_fill(const struct h1_parser *p, struct slice data, struct h1_head *head)
{
    struct h1_start start = {0};
    struct facts facts = {0};
    enum h1_fault fault;

    head_clear(head);
    fault = start_fill(p, data, head, &start);
    if (fault == H1_FAULT_NONE)
        fault = fields_fill(p, data, &head->http, &facts);
    if (fault == H1_FAULT_NONE)
        fault = framing_read(head, &facts);
    if (fault == H1_FAULT_NONE)
        fault = connection_read(head, &facts);
    if (fault != H1_FAULT_NONE)
        return fault;
    fault = p->role == H1_REQUEST ? request_rules(head, &start, &facts)
                                  : response_rules(head, p->head_request);
    hops_drop(&head->http, &facts);
    body_tell(head);
    return fault;
}

enum err
h1_parse_head(struct h1_parser *p, struct slice data, struct h1_head *head, size_t *head_len)
{
    struct slice line = SLICE_NONE;

    ASSERT(p->scanned <= p->probed);
    ASSERT(p->probed <= data.len);
    while (p->fault == H1_FAULT_NONE && line_next(p, data, &line, &p->fault)) {
        if (line.len == 0 && p->line_count > 0) {
            p->fault = head_fill(p, data, head);
            if (p->fault != H1_FAULT_NONE)
                return ERR_BADMSG;
            *head_len = p->probed;
            return ERR_OK;
        }
        if (line.len == 0 && p->role == H1_REQUEST && p->scanned == 0)
            p->scanned = p->probed;
        else
            p->fault = line_check(p, line);
    }
    return p->fault == H1_FAULT_NONE ? ERR_AGAIN : ERR_BADMSG;
}
