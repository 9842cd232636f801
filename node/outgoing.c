#include "node/outgoing.h"

#include "base/check.h"

/* ---- pure ------------------------------------------------------------------------------ */

static void
put(struct outgoing *out, struct slice piece)
{
    if (piece.len == 0)
        return;
    ASSERT(out->count < OUTGOING_PIECES_MAX);
    out->pieces[out->count++] = piece;
    out->len += piece.len;
}

/* Each puts what stands before its edit too, and returns where the body goes on behind it. */
static size_t
put_ask(struct outgoing *out, struct slice body, size_t from, const struct body_edit *ask)
{
    put(out, slice_sub(body, from, ask->at - from));
    put(out, slice_str(ask->text));
    return ask->at + ask->len;
}

static size_t
put_model(struct outgoing *out, struct slice body, size_t from, const struct body_facts *facts,
          const struct outgoing_change *change)
{
    put(out, slice_sub(body, from, facts->model_at - from));
    put(out, change->quote);
    put(out, change->served);
    put(out, change->quote);
    return facts->model_at + facts->model_len;
}

void
outgoing_make(struct slice body, const struct body_facts *facts,
              const struct outgoing_change *change, struct outgoing *out)
{
    bool asks = change->asks_usage;
    bool asks_first = asks && facts->ask.at < facts->model_at;
    size_t at = 0;

    ASSERT(!asks || facts->ask.text != NULL);
    *out = (struct outgoing){.rewritten = asks || change->served.p != NULL};
    if (asks_first)
        at = put_ask(out, body, at, &facts->ask);
    if (change->served.p != NULL)
        at = put_model(out, body, at, facts, change);
    if (asks && !asks_first)
        at = put_ask(out, body, at, &facts->ask);
    put(out, slice_sub(body, at, body.len));
}

/* ---- of a transaction -------------------------------------------------------------------- */

bool
outgoing_asks_usage(const struct txn *t)
{
    /* A peer has compared its pinned policy with the ingress's; the ingress sends by the one in
     * force. So both look at the same, whatever a reload brings meanwhile. */
    const struct charter_tenant *tenant = t->peer_request
                                              ? &t->pinned->charter->tenants[t->tenant]
                                              : &t->current->charter->tenants[t->decision.tenant];

    return tenant->stream_usage && t->endpoint->stream_options && t->facts.stream &&
           t->facts.ask.text != NULL;
}

/* The name under which the chosen backend serves the model, if another. */
static struct slice
served_name(const struct txn *t)
{
    const struct charter *c = t->current->charter;
    struct slice served;

    if (!c->tenants[t->decision.tenant].rewrite_alias)
        return SLICE_NONE;
    served = slice_str(c->backends[t->choice.backend].served[t->choice.served].name);
    return slice_eq(served, t->facts.model) ? SLICE_NONE : served;
}

void
outgoing_body(const struct txn *t, struct outgoing *out)
{
    struct outgoing_change change = {.quote = t->upload != NULL ? SLICE_LIT("") : SLICE_LIT("\"")};

    *out = (struct outgoing){0};
    if (upload_streams(t))
        return;
    if (!t->choice.is_node) {
        change.served = served_name(t);
        change.asks_usage = t->asks_usage;
    }
    outgoing_make(buf_slice(&t->body), &t->facts, &change, out);
}

void
outgoing_commit(struct txn *t, const struct outgoing *o)
{
    struct hmac m;

    t->rewritten = o->rewritten;
    if (!t->rewritten)
        return;
    commitment_init(&m, t->key, "upstream");
    for (size_t i = 0; i < o->count; i++)
        hmac_add(&m, o->pieces[i]);
    hmac_final(&m, t->upstream_commitment);
}

enum err
outgoing_send(struct upstream *u, const struct outgoing *o)
{
    enum err e = ERR_OK;

    for (size_t i = 0; e == ERR_OK && i < o->count; i++)
        e = upstream_send(u, o->pieces[i]);
    return e == ERR_OK ? upstream_send_end(u) : e;
}
