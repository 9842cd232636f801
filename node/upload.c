#include "node/upload.h"

#include "base/check.h"
#include "node/attest.h"
#include "node/journey.h"
#include "node/relay.h"
#include "node/txn.h"

#include <stdlib.h>

enum mode { UPLOAD_LOOK, UPLOAD_HOLD, UPLOAD_KNOWN, UPLOAD_FLOW, UPLOAD_WHOLE };

struct upload {
    enum mode mode;
    struct form form;
    struct body_facts facts; /* of the streamed form, while it is judged */
    bool committing;         /* the commitments below are under way */
    struct hmac request;
    struct hmac upstream;
    struct slice served; /* what replaces the model's value; p == NULL: goes as it came */
    size_t model_len;    /* of the value as it came */
    int64_t announced;   /* length of the body, or HTTP_LENGTH_UNKNOWN */
    uint64_t received;   /* bytes committed to */
    bool ended;          /* the form's last delimiter passed */
    bool broken;         /* the backend takes nothing any more */
};

struct upload *
upload_new(const struct http_head *head)
{
    const struct http_field *type = http_field_find(head, SLICE_LIT("content-type"));
    struct upload *u = malloc(sizeof(*u));

    if (u == NULL)
        return NULL;
    u->mode = UPLOAD_LOOK;
    u->committing = u->ended = u->broken = false;
    u->served = SLICE_NONE;
    u->model_len = 0;
    u->received = 0;
    u->announced =
        head->body_length <= (int64_t)UPLOAD_BYTES_MAX ? head->body_length : HTTP_LENGTH_UNKNOWN;
    form_init(&u->form, true, NULL, &u->facts);
    /* A fault stays in the reader, and refuses the first byte. */
    if (http_field_count(head, SLICE_LIT("content-type")) > 1 ||
        form_type(&u->form, type == NULL ? SLICE_NONE : type->value) != ERR_OK)
        u->form.parser.fault = MULTIPART_FAULT_TYPE;
    return u;
}

void
upload_free(struct upload **u)
{
    if (*u != NULL && (*u)->committing) {
        hmac_wipe(&(*u)->request);
        hmac_wipe(&(*u)->upstream);
    }
    free(*u);
    *u = NULL;
}

uint64_t
upload_bytes_max(const struct txn *t)
{
    return t->upload != NULL ? UPLOAD_BYTES_MAX : (uint64_t)t->pinned->config->body_bytes_max;
}

bool
upload_streams(const struct txn *t)
{
    return t->upload != NULL && t->upload->mode >= UPLOAD_KNOWN;
}

bool
upload_is_open(const struct txn *t)
{
    return upload_streams(t) && t->upload->mode != UPLOAD_WHOLE;
}

/* ---- the order of the parts ---------------------------------------------------------- */

static bool
hold(struct txn *t)
{
    t->upload->mode = UPLOAD_HOLD;
    if (t->upload->announced <= t->pinned->config->body_bytes_max)
        return true;
    journey_refuse(t, REFUSAL_REQUEST_TOO_LARGE, "request_too_large",
                   "a form this large must begin with its model", "model");
    return false;
}

static bool
refuse_verdict(struct txn *t, enum form_verdict v)
{
    const struct form_row *row = form_row(v);
    const char *words =
        v == FORM_MALFORMED ? multipart_fault_text(t->upload->form.parser.fault) : row->words;

    upload_refuse(t, refusal_find(row->code), row->reason, words, row->param);
    return false;
}

/* The model is known: the client waits until the backend takes the body. */
static bool
known(struct txn *t)
{
    struct exchange *x = t->exchange;

    t->upload->mode = UPLOAD_KNOWN;
    t->upload->model_len = t->upload->form.value_used;
    t->facts = (struct body_facts){.remote_host = SLICE_LIT("")};
    t->facts.model = arena_copy(&t->arena, t->upload->facts.model);
    if (t->facts.model.p == NULL) {
        journey_refuse(t, REFUSAL_OVERLOADED, "overloaded", "no memory for the model's name", NULL);
        return false;
    }
    exchange_body_pause(x);
    journey_stream(t);
    /* t may be gone by now; the exchange is not before the turn ends. */
    return x->txn == t && t->state != TXN_REFUSE;
}

bool
upload_look(struct txn *t, struct slice piece)
{
    struct upload *u = t->upload;

    while (u->mode == UPLOAD_LOOK && piece.len > 0) {
        enum multipart_event event;
        struct slice content;
        size_t used = 0;
        enum form_verdict v;
        enum err e = multipart_read(&u->form.parser, piece, &event, &content, &used);

        piece = slice_sub(piece, used, piece.len);
        if (e == ERR_AGAIN)
            return true;
        if (e != ERR_OK)
            return refuse_verdict(t, FORM_MALFORMED);
        if (event == MULTIPART_PART && !slice_is(multipart_part(&u->form.parser).name, "model"))
            return hold(t);
        v = form_judge(&u->form, event, content);
        if (v != FORM_OK)
            return refuse_verdict(t, v);
        if (event == MULTIPART_PART_END)
            return known(t);
    }
    return true;
}

/* ---- streaming ------------------------------------------------------------------------- */

void
upload_commit_begin(struct txn *t)
{
    commitment_init(&t->upload->request, t->key, "request");
    commitment_init(&t->upload->upstream, t->key, "upstream");
    t->upload->committing = true;
}

/* Bytes to the backend. Those that it does not take any more are dropped: how it ended comes
 * as an event of its own. */
static void
emit(struct txn *t, struct slice bytes)
{
    struct upload *u = t->upload;

    if (bytes.len == 0 || u->broken)
        return;
    if (u->served.p != NULL)
        hmac_add(&u->upstream, bytes);
    u->broken = upstream_send(t->upstream, bytes) != ERR_OK;
}

/* What was read goes on as it came, the model's value excepted. */
static void
pass_on(struct txn *t, enum multipart_event event, struct slice content)
{
    struct upload *u = t->upload;
    bool replaced = u->form.field == FORM_FIELD_MODEL && u->served.p != NULL;
    struct slice delimiter;
    struct slice head;

    switch (event) {
    case MULTIPART_PART:
        multipart_opening(&u->form.parser, &delimiter, &head);
        emit(t, delimiter);
        emit(t, SLICE_LIT("\r\n"));
        emit(t, head);
        break;
    case MULTIPART_CONTENT:
        if (!replaced)
            emit(t, content);
        break;
    case MULTIPART_PART_END:
        if (replaced)
            emit(t, u->served);
        break;
    case MULTIPART_END:
        emit(t, multipart_closing(&u->form.parser));
        emit(t, SLICE_LIT("--"));
        u->ended = true;
        break;
    }
}

/* False: refused. */
static bool
stream(struct txn *t, struct slice piece)
{
    struct upload *u = t->upload;

    while (piece.len > 0) {
        enum multipart_event event;
        struct slice content;
        size_t used = 0;
        enum form_verdict v;
        enum err e = multipart_read(&u->form.parser, piece, &event, &content, &used);

        if (e == ERR_AGAIN) {
            if (u->ended) /* the CRLF that may follow */
                emit(t, slice_sub(piece, 0, used));
            return true;
        }
        if (e != ERR_OK)
            return refuse_verdict(t, FORM_MALFORMED);
        v = form_judge(&u->form, event, content);
        if (v != FORM_OK)
            return refuse_verdict(t, v);
        pass_on(t, event, content);
        piece = slice_sub(piece, used, piece.len);
    }
    return true;
}

/* The name under which the chosen backend serves the model, if another. */
static struct slice
served_name(const struct txn *t)
{
    const struct charter *c = t->current->charter;
    struct slice served;

    if (t->choice.is_node || !c->tenants[t->decision.tenant].rewrite_alias)
        return SLICE_NONE;
    served = slice_str(c->backends[t->choice.backend].served[t->choice.served].name);
    return slice_eq(served, t->facts.model) ? SLICE_NONE : served;
}

uint64_t
upload_announced(const struct txn *t)
{
    return t->upload->announced < 0 ? 0 : (uint64_t)t->upload->announced;
}

int64_t
upload_length(const struct txn *t)
{
    const struct upload *u = t->upload;
    struct slice served = served_name(t);

    if (u->announced < 0)
        return HTTP_LENGTH_UNKNOWN;
    return u->announced + (served.p == NULL ? 0 : (int64_t)served.len - (int64_t)u->model_len);
}

void
upload_begin(struct txn *t)
{
    struct upload *u = t->upload;
    struct slice boundary = multipart_boundary(&u->form.parser);
    uint8_t type[128];
    struct text text;

    u->mode = UPLOAD_FLOW;
    u->served = served_name(t);
    upstream_low_water(t->upstream, UPLOAD_HIGH_WATER / 2);
    /* The form is read again from its first byte: what was looked at goes on like the rest. */
    text_init(&text, type, sizeof(type));
    text_add_str(&text, "multipart/form-data; boundary=\"");
    text_add(&text, boundary);
    text_add_char(&text, '"');
    form_init(&u->form, true, NULL, &u->facts);
    if (NEVER(form_type(&u->form, text_slice(&text)) != ERR_OK))
        return;
    if (upload_piece(t, buf_slice(&t->body)))
        buf_release(&t->body);
}

bool
upload_piece(struct txn *t, struct slice piece)
{
    struct upload *u = t->upload;
    struct exchange *x = t->exchange;

    if (u->received + piece.len > UPLOAD_BYTES_MAX) {
        upload_refuse(t, REFUSAL_REQUEST_TOO_LARGE, "request_too_large",
                      "the body is larger than this node takes", NULL);
        return false;
    }
    u->received += piece.len;
    hmac_add(&u->request, piece);
    if (!stream(t, piece))
        return false;
    if (u->broken || upstream_unsent(t->upstream) > UPLOAD_HIGH_WATER)
        exchange_body_pause(x);
    else
        exchange_body_resume(x);
    if (!t->answer_begun)
        upstream_deadline(t->upstream, (uint64_t)t->deadlines->idle_ms);
    return true;
}

void
upload_end(struct txn *t)
{
    struct upload *u = t->upload;

    if (multipart_finish(&u->form.parser) != ERR_OK) {
        (void)refuse_verdict(t, FORM_MALFORMED);
        return;
    }
    u->mode = UPLOAD_WHOLE;
    if (!u->broken)
        u->broken = upstream_send_end(t->upstream) != ERR_OK;
    if (!t->answer_begun)
        upstream_deadline(t->upstream, (uint64_t)t->deadlines->first_byte_ms);
}

void
upload_drained(struct txn *t)
{
    if (t->upload != NULL && t->upload->mode == UPLOAD_FLOW && !t->upload->broken &&
        t->exchange != NULL)
        exchange_body_resume(t->exchange);
}

bool
upload_timed_out(struct txn *t)
{
    if (t->upload == NULL || t->upload->mode != UPLOAD_FLOW || t->upload->broken ||
        upstream_unsent(t->upstream) > 0)
        return false;
    upload_refuse(t, REFUSAL_REQUEST_TIMEOUT, "request_timeout", "the request came too slowly",
                  NULL);
    return true;
}

void
upload_refuse(struct txn *t, enum refusal refusal, const char *reason, const char *words,
              const char *param)
{
    struct exchange *x = t->exchange;

    if (t->state != TXN_SEND && t->state != TXN_RELAY) {
        journey_refuse(t, refusal, reason, words, param);
        return;
    }
    t->cut_reason = reason;
    attest_outcome(t, "cut", 0);
    if (!t->committed) {
        journey_refuse(t, refusal, reason, words, param);
        return;
    }
    /* The backend answered before it had the whole request: the answer ends without its end. */
    journey_finish(t, RECORD_DENIED);
    if (x != NULL)
        exchange_answer_cut(x);
}

void
upload_finish(struct txn *t, struct upload_facts *out)
{
    struct upload *u = t->upload;

    *out = (struct upload_facts){.received = u->received, .rewritten = u->served.p != NULL};
    hmac_final(&u->request, out->request);
    hmac_final(&u->upstream, out->upstream);
    u->committing = false;
}

/* ---- both ways ------------------------------------------------------------------------- */

void
upload_add_type(const struct txn *t, struct http_fields *out)
{
    text_add_str(&out->text, "multipart/form-data; boundary=\"");
    text_add(&out->text, multipart_boundary(&t->upload->form.parser));
    text_add_char(&out->text, '"');
    http_fields_add_text(out, SLICE_LIT("Content-Type"));
}

enum err
upload_scan(struct txn *t, const struct charter_tenant *tenant, struct body_facts *out)
{
    if (t->upload == NULL)
        return body_scan(buf_slice(&t->body), t->worker->keys, t->endpoint, tenant, out);
    if (upload_streams(t)) {
        *out = t->facts;
        return ERR_OK;
    }
    return form_scan(&t->upload->form, buf_slice(&t->body), t->content_type, tenant, out);
}
