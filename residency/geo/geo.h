#ifndef RESIDENCY_GEO_GEO_H
#define RESIDENCY_GEO_GEO_H

#include "base/err.h"
#include "base/issue.h"
#include "residency/country.h"
#include "residency/geo/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a caller is, by a GeoIP database in MaxMind's format (MaxMind, DB-IP, or one
 * built by scripts/geoip-build). The file is copied into sealed memory before it is
 * looked at: a file that is truncated or overwritten later changes no answer. */

#define GEO_FILE_BYTES_MAX ((size_t)512 << 20)
#define GEO_AGE_DAYS_DEFAULT 1500 /* Debian's tor-geoipdb is frozen with its release */
#define GEO_TYPE_MAX 64
#define GEO_DIGEST_SIZE 32

struct geo_db; /* immutable after geo_db_load(); counted, usable from every thread */

/* An address whose country is known: a database that says otherwise is not put into use. */
struct geo_canary {
    const char *address;
    const char *country; /* two letters */
};

struct geo_opts {
    const char *path;
    unsigned max_age_days; /* of the build; 0: GEO_AGE_DAYS_DEFAULT */
    const struct geo_canary *canaries;
    size_t canary_count;
    bool allow_ipv4; /* admit a database without IPv6; such callers are then a miss */
    int64_t now_ms;  /* wall clock */
};

/* Gives a reference in *out. On an error, issues names the file and each reason.
 * ERR_NOENT, ERR_IO, ERR_TOOBIG, ERR_NOMEM; ERR_BADMSG: damaged, or not of this kind;
 * ERR_EXPIRED: built too long ago, or in the future; ERR_CONFLICT: a canary differs, or the
 * file changed while it was read. */
MUST_USE enum err geo_db_load(const struct geo_opts *opts, struct issues *issues,
                              struct geo_db **out);
struct geo_db *geo_db_ref(struct geo_db *db);
/* Drops the caller's reference and nulls its variable; the last one frees. */
void geo_db_unref(struct geo_db **db);

/* SHA-256 of the file's bytes: which database said so. */
const uint8_t *geo_db_digest(const struct geo_db *db);
/* Unix seconds, as the database states. */
uint64_t geo_db_build_epoch(const struct geo_db *db);
/* E.g. "GeoLite2-Country". */
const char *geo_db_type(const struct geo_db *db);

struct geo_answer {
    uint16_t country;    /* COUNTRY_NONE unless quality is GEO_FOUND */
    uint16_t registered; /* where the block was registered: recorded, never used instead */
    enum geo_quality quality;
};

/* Always fills *out. Private, transition and reserved addresses are answered without the
 * database. An entry with only a continent, or a pseudo-code, is a miss. */
void geo_locate(const struct geo_db *db, const struct geo_address *address, struct geo_answer *out);

#endif
