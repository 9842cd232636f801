#include "node/form.h"

#include "base/check.h"

const struct form_row *
form_row(enum form_verdict v)
{
#define FORM_TABLE_ROW(name, reason, code, param, words) [name] = {reason, code, param, words},
    static const struct form_row rows[] = {FORM_VERDICT_LIST(FORM_TABLE_ROW)};
#undef FORM_TABLE_ROW

    ASSERT(v < FORM_VERDICT_COUNT);
    return &rows[v];
}

void
form_init(struct form *f, bool streaming, const struct charter_tenant *tenant,
          struct body_facts *out)
{
    f->streaming = streaming;
    f->tenant = tenant;
    f->out = out;
    f->field = FORM_FIELD_OTHER;
    f->model_seen = f->stream_seen = false;
    f->value_used = 0;
    *out = (struct body_facts){.remote_host = SLICE_LIT("")};
}

enum err
form_type(struct form *f, struct slice content_type)
{
    return multipart_init(&f->parser, content_type);
}

/* The member that servers make of a field's name: "image[]" is image, "a[url]" is url. */
static struct slice
member_of(struct slice name)
{
    size_t open = 0;

    if (name.len > 2 && name.p[name.len - 2] == '[' && name.p[name.len - 1] == ']')
        name = slice_sub(name, 0, name.len - 2);
    if (name.len == 0 || name.p[name.len - 1] != ']')
        return name;
    for (size_t i = 0; i < name.len; i++)
        if (name.p[i] == '[')
            open = i + 1;
    return slice_sub(name, open, name.len - 1 - open);
}

static enum form_verdict
judge_model(struct form *f, struct multipart_part part)
{
    if (f->model_seen)
        return FORM_SECOND_MODEL;
    /* Another spelling is the model for one server and none for another. */
    if (part.is_file || !slice_is(part.name, "model"))
        return FORM_MODEL;
    f->model_seen = true;
    f->field = FORM_FIELD_MODEL;
    return FORM_OK;
}

static enum form_verdict
judge_head(struct form *f, struct multipart_part part)
{
    struct slice member = member_of(part.name);

    f->field = FORM_FIELD_OTHER;
    f->value_used = 0;
    f->value_cut = false;
    if (slice_eq_nocase(member, SLICE_LIT("model")))
        return judge_model(f, part);
    if (slice_is(part.name, "stream")) {
        f->field = FORM_FIELD_STREAM;
        return part.is_file || f->stream_seen ? FORM_STREAM : FORM_OK;
    }
    switch (body_member(member)) {
    case BODY_MEMBER_STORED:
        return FORM_STORED;
    case BODY_MEMBER_URL:
        f->field = FORM_FIELD_URL;
        return f->streaming ? FORM_REFERENCE : FORM_OK;
    case BODY_MEMBER_MEDIA:
        if (part.is_file)
            return FORM_OK;
        f->field = FORM_FIELD_MEDIA;
        return f->streaming ? FORM_REFERENCE : FORM_OK;
    case BODY_MEMBER_OTHER:
        /* A file must be one; as a text it can only be its address. */
        if (!part.is_file && slice_is(member, "file"))
            f->field = FORM_FIELD_MEDIA;
        break;
    }
    return f->field == FORM_FIELD_MEDIA && f->streaming ? FORM_REFERENCE : FORM_OK;
}

static void
keep_value(struct form *f, struct slice content)
{
    size_t room = sizeof(f->value) - f->value_used;

    if (f->field == FORM_FIELD_OTHER)
        return;
    f->value_cut = f->value_cut || content.len > room;
    content = slice_sub(content, 0, room);
    if (content.len > 0)
        memcpy(f->value + f->value_used, content.p, content.len);
    f->value_used += content.len;
}

static bool
is_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return s.len > 0 && s.len <= CHARTER_MODEL_MAX;
}

static enum form_verdict
judge_value(struct form *f)
{
    struct slice value = slice_of(f->value, f->value_used);

    switch (f->field) {
    case FORM_FIELD_MODEL:
        f->out->model = value; /* until the next part that is looked at */
        return !f->value_cut && is_name(value) ? FORM_OK : FORM_MODEL;
    case FORM_FIELD_STREAM:
        f->stream_seen = true;
        f->out->stream = slice_eq_nocase(value, SLICE_LIT("true"));
        return f->out->stream || slice_eq_nocase(value, SLICE_LIT("false")) ? FORM_OK : FORM_STREAM;
    case FORM_FIELD_MEDIA:
        if (slice_find(value, ':') == value.len)
            return FORM_OK; /* base64 knows no colon */
        body_reference(value, f->value_cut, f->tenant, f->out);
        return FORM_OK;
    case FORM_FIELD_URL:
        body_reference(value, f->value_cut, f->tenant, f->out);
        return FORM_OK;
    case FORM_FIELD_OTHER:
        break;
    }
    return FORM_OK;
}

enum form_verdict
form_judge(struct form *f, enum multipart_event event, struct slice content)
{
    switch (event) {
    case MULTIPART_PART:
        return judge_head(f, multipart_part(&f->parser));
    case MULTIPART_CONTENT:
        keep_value(f, content);
        return FORM_OK;
    case MULTIPART_PART_END:
        return judge_value(f);
    case MULTIPART_END:
        break;
    }
    return f->model_seen ? FORM_OK : FORM_NO_MODEL;
}

/* ---- a whole form ---------------------------------------------------------------------- */

/* What the facts point to must outlive the form's reader: it is found again in the body. */
static void
take_value(struct form *f, struct slice body, size_t at, bool outside_before)
{
    if (f->field == FORM_FIELD_MODEL) {
        f->out->model = slice_sub(body, at, f->value_used);
        f->out->model_at = at;
        f->out->model_len = f->value_used;
    } else if (f->out->points_outside && !outside_before && f->out->remote_host.len > 0) {
        f->out->remote_host = slice_sub(body, at + (size_t)(f->out->remote_host.p - f->value),
                                        f->out->remote_host.len);
    }
}

static enum form_verdict
scan(struct form *f, struct slice body)
{
    size_t value_at = 0;
    size_t at = 0;

    while (at < body.len) {
        bool outside = f->out->points_outside;
        enum multipart_event event;
        struct slice content;
        size_t used = 0;
        enum form_verdict v;
        enum err e =
            multipart_read(&f->parser, slice_sub(body, at, body.len), &event, &content, &used);

        at += used;
        if (e == ERR_AGAIN)
            break;
        if (e != ERR_OK)
            return FORM_MALFORMED;
        v = form_judge(f, event, content);
        if (v != FORM_OK)
            return v;
        if (event == MULTIPART_PART)
            value_at = at;
        if (event == MULTIPART_PART_END)
            take_value(f, body, value_at, outside);
    }
    return multipart_finish(&f->parser) == ERR_OK ? FORM_OK : FORM_MALFORMED;
}

enum err
form_scan(struct form *f, struct slice body, struct slice content_type,
          const struct charter_tenant *tenant, struct body_facts *out)
{
    enum form_verdict v = FORM_MALFORMED;

    form_init(f, false, tenant, out);
    if (form_type(f, content_type) == ERR_OK)
        v = scan(f, body);
    if (v == FORM_OK)
        return ERR_OK;
    out->why = v == FORM_MALFORMED ? multipart_fault_text(f->parser.fault) : form_row(v)->words;
    out->param = form_row(v)->param;
    return ERR_BADMSG;
}
