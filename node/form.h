#ifndef NODE_FORM_H
#define NODE_FORM_H

#include "base/err.h"
#include "base/slice.h"
#include "net/multipart.h"
#include "node/body.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a form says of a request, and what it may not say: the rules of body.h for
 * multipart/form-data. Pure. A form is judged part by part as it is read, whole or while it
 * streams. */

#define FORM_VALUE_MAX 512 /* of a value that is looked at; the rest of it is not kept */

/* X(enum, reason in records, refusal code, member at fault, words) */
#define FORM_VERDICT_LIST(X)                                                                     \
    X(FORM_OK, "", "", NULL, "")                                                                 \
    X(FORM_MALFORMED, "bad_request", "bad_request", NULL, "malformed form")                      \
    X(FORM_NO_MODEL, "bad_request", "bad_request", "model", "model is missing")                  \
    X(FORM_MODEL, "bad_request", "bad_request", "model", "model must be one plain field")        \
    X(FORM_SECOND_MODEL, "second_model", "bad_request", "model", "model is given twice")         \
    X(FORM_STREAM, "bad_request", "bad_request", "stream", "stream must be true or false, once") \
    X(FORM_STORED, "bad_request", "bad_request", "file_id",                                      \
      "files are not stored here: send the content")                                             \
    X(FORM_REFERENCE, "remote_reference", "remote_reference", NULL,                              \
      "a form that streams through may not point elsewhere")
#define FORM_ENUM_ROW(name, reason, code, param, words) name,
enum form_verdict { FORM_VERDICT_LIST(FORM_ENUM_ROW) FORM_VERDICT_COUNT };
#undef FORM_ENUM_ROW
struct form_row {
    const char *reason, *code, *param, *words;
};
const struct form_row *form_row(enum form_verdict v);

struct form {
    struct multipart parser;
    bool streaming; /* no part may point elsewhere, and its name alone is judged */
    const struct charter_tenant *tenant;
    struct body_facts *out;
    enum form_field {
        FORM_FIELD_OTHER,
        FORM_FIELD_MODEL,
        FORM_FIELD_STREAM,
        FORM_FIELD_URL,
        FORM_FIELD_MEDIA
    } field; /* the part under way */
    bool model_seen;
    bool stream_seen;
    uint8_t value[FORM_VALUE_MAX];
    size_t value_used;
    bool value_cut;
};

/* out is borrowed until the form ends; its model points into f until the part behind it.
 * tenant as in body_scan(). */
void form_init(struct form *f, bool streaming, const struct charter_tenant *tenant,
               struct body_facts *out);
/* By the request's Content-Type; ERR_BADMSG: f->parser.fault. */
MUST_USE enum err form_type(struct form *f, struct slice content_type);
/* Judges what multipart_read() told of f->parser. A part's head is judged before its content:
 * what is refused there need not be read. */
enum form_verdict form_judge(struct form *f, enum multipart_event event, struct slice content);

/* A whole form. ERR_BADMSG: refused, with out->why and out->param. Model_at and model_len are
 * those of the field's value in body, to which the facts' slices point. */
MUST_USE enum err form_scan(struct form *f, struct slice body, struct slice content_type,
                            const struct charter_tenant *tenant, struct body_facts *out);

#endif
