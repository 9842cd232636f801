#ifndef CRYPTO_DSSE_H
#define CRYPTO_DSSE_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"
#include "crypto/key.h"

#include <stddef.h>

/* DSSE v1 envelopes (secure-systems-lab/dsse): signed charters and report manifests.
 * {"payload":<base64>,"payloadType":..,"signatures":[{"keyid":<thumbprint>,"sig":<base64>}]} */

#define DSSE_SIGNATURES_MAX 16
#define DSSE_PAYLOAD_MAX (11u << 20) /* in base64 still below JSON_TEXT_MAX */
#define DSSE_TYPE_MAX 128

/* Other members of an envelope and of a signature are ignored, as DSSE asks. */
struct dsse; /* a parsed envelope; owns the decoded payload */

MUST_USE enum err dsse_parse(struct slice text, struct dsse **out, const char **why);
void dsse_free(struct dsse **env);
struct slice dsse_payload(const struct dsse *env);
struct slice dsse_payload_type(const struct dsse *env);
size_t dsse_signature_count(const struct dsse *env);

/* How many *different* keys of the list made a valid signature over payload type and
 * payload. One key counts once however often it signed; unknown keyids are ignored. */
size_t dsse_verify(const struct dsse *env, const struct key *const *keys, size_t key_count);

/* Appends an envelope signed by each key. */
MUST_USE enum err dsse_sign(struct slice payload_type, struct slice payload,
                            const struct key *const *keys, size_t key_count, struct text *out);

#endif
