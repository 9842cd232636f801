#ifndef CRYPTO_CERT_H
#define CRYPTO_CERT_H

#include "base/err.h"
#include "base/slice.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "crypto/key.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X.509 certificates: read for identity (RFC 5280, SPIFFE X.509-SVID), made for the
 * local mesh of `portolan init`. */

#define CERT_DER_MAX (64u << 10)
#define CERT_URI_MAX 512
#define CERT_DNS_MAX 256
#define CERT_DNS_COUNT_MAX 16

/* What identity needs of a leaf; plain data. */
struct cert_facts {
    uint8_t sha256[HASH_SIZE];      /* of the DER certificate: RFC 8705 x5t#S256 */
    uint8_t spki_sha256[HASH_SIZE]; /* of the DER SubjectPublicKeyInfo */
    char spiffe[CERT_URI_MAX];      /* the one SPIFFE URI SAN, grammar checked; "" when none */
    char dns[CERT_DNS_COUNT_MAX][CERT_DNS_MAX];
    size_t dns_count;
    int64_t not_before_ms;
    int64_t not_after_ms;
};
/* From DER. ERR_BADMSG: not a certificate, a NUL inside a SAN, more than one URI SAN
 * when one of them is spiffe://, a SPIFFE id of bad grammar or without a path, a SPIFFE
 * id in a certificate that may sign others. ERR_TOOBIG: longer than CERT_DER_MAX, a name
 * longer than its array, more than CERT_DNS_COUNT_MAX DNS names. */
MUST_USE enum err cert_read(struct slice der, struct cert_facts *out);
/* The first certificate of a PEM text. */
MUST_USE enum err cert_read_pem(struct slice pem, struct cert_facts *out);
/* scheme spiffe, trust domain [a-z0-9._-]{1,255}, path segments [A-Za-z0-9._-]+ none of
 * "." and "..", no trailing slash, no query (SPIFFE-ID section 2). */
bool cert_spiffe_ok(struct slice id);

/* Making certificates, for local meshes and tests. */
struct cert_request {
    const char *common_name;
    const char *spiffe;     /* URI SAN, or NULL */
    const char *const *dns; /* NULL-terminated list, or NULL */
    const char *const *ips; /* NULL-terminated list of literals, or NULL */
    bool is_ca;
    int64_t not_before_ms;
    int64_t not_after_ms;
};
/* Signed by issuer_key (ES256 or EdDSA private); issuer_pem is the CA's certificate, or
 * NULL for a self-signed one (then issuer_key == subject_key). Appends PEM.
 * ERR_BADMSG: a name or time that no certificate can hold, an issuer that is no CA;
 * ERR_AUTH: issuer_key is not the key of issuer_pem. */
MUST_USE enum err cert_make(const struct cert_request *request, const struct key *subject_key,
                            struct slice issuer_pem, const struct key *issuer_key,
                            struct text *out);

#endif
