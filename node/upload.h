#ifndef NODE_UPLOAD_H
#define NODE_UPLOAD_H

#include "base/slice.h"
#include "net/http.h"
#include "node/form.h"
#include "node/metrics.h"

#include <stdbool.h>
#include <stdint.h>

/* A form on its way through. Its parts are read as they come; when the first one is the
 * model, everything that a decision needs is known, and the rest streams through bounded
 * memory: A1 says `streamed`, A2 has the commitment, nothing is sent twice. A part that
 * breaks a rule then ends the backend's connection before any of its bytes were sent. In any
 * other order the form is held whole, like JSON.
 *
 *   LOOK -> HOLD                          journey_run() scans it whole
 *   LOOK -> KNOWN -> FLOW -> WHOLE        journey_stream(), upload_begin(), upload_end()
 */

#define UPLOAD_BYTES_MAX (UINT64_C(64) << 20)
#define UPLOAD_HIGH_WATER 262144 /* bytes unsent before the client is not read on */
#define UPLOAD_OUT_MAX (2 * UPLOAD_HIGH_WATER)

struct txn;
struct upload;

/* For a request whose endpoint takes a form. NULL without memory. */
struct upload *upload_new(const struct http_head *head);
void upload_free(struct upload **u);
/* The largest body that this request may bring. */
uint64_t upload_bytes_max(const struct txn *t);

/* A piece of the body was added to t->body while the order is not known: looks whether the
 * model came first, and then starts the journey. False: refused. */
bool upload_look(struct txn *t, struct slice piece);
/* Whether the body streams: t->body holds its beginning only. */
bool upload_streams(const struct txn *t);
/* Whether more of the request is still to be sent on the upstream connection. */
bool upload_is_open(const struct txn *t);

/* ---- While it streams ------------------------------------------------------------------ */

/* What a streamed body starts with in the records: its subject is known, it is decided. */
void upload_commit_begin(struct txn *t);
/* The rebuilt request's head was written: what is here of the body follows, and the client
 * is read on. */
void upload_begin(struct txn *t);
/* False: refused, or the backend takes nothing any more. */
bool upload_piece(struct txn *t, struct slice piece);
/* The client's body is complete. */
void upload_end(struct txn *t);
/* The backend took bytes again. */
void upload_drained(struct txn *t);
/* The upstream's deadline passed. True: it was the client that was silent; it was refused. */
bool upload_timed_out(struct txn *t);
/* Ends a request whose body can't be taken any further. */
void upload_refuse(struct txn *t, enum refusal refusal, const char *reason, const char *words,
                   const char *param);

/* Length of the body that the head announced, or 0. */
uint64_t upload_announced(const struct txn *t);
/* Length of the body that goes out, or HTTP_LENGTH_UNKNOWN. */
int64_t upload_length(const struct txn *t);
/* The rebuilt Content-Type of a form, streamed or held. */
void upload_add_type(const struct txn *t, struct http_fields *out);
/* Bytes received, and the commitments over what was received and sent. Once, for the A2. */
struct upload_facts {
    uint64_t received;
    uint8_t request[HASH_SIZE];
    bool rewritten;
    uint8_t upstream[HASH_SIZE];
};
void upload_finish(struct txn *t, struct upload_facts *out);

/* The facts of a body by a tenant's rules, JSON or form. A streamed form was judged as it
 * came: it points nowhere. ERR_BADMSG: refused, with out->why. */
MUST_USE enum err upload_scan(struct txn *t, const struct charter_tenant *tenant,
                              struct body_facts *out);

#endif
