#ifndef RESIDENCY_GEO_MMDB_PRIV_H
#define RESIDENCY_GEO_MMDB_PRIV_H

#include "base/err.h"
#include "base/slice.h"

#include <maxminddb.h>

#include <stddef.h>
#include <stdint.h>

/* Whether a file may be handed to libmaxminddb, and whether every look-up in it can
 * succeed. The library trusts parts of what it reads (sizes that wrap, offsets before
 * the data section): both checks together leave it no foreign byte to trip over. */

/* Before MMDB_open: the metadata is one well-formed value of bounded size, and the
 * search tree fits in the file. ERR_BADMSG with *why, a static text. */
MUST_USE enum err mmdb_check_file(struct slice file, const char **why);

/* After MMDB_open: every record of the tree points to a node or to a readable entry, and
 * at least one entry names a country. ERR_BADMSG or ERR_NOMEM with *why. */
MUST_USE enum err mmdb_check_tree(const MMDB_s *mmdb, const char **why);

/* A country of an entry: key is "country" or "registered_country". *out becomes
 * COUNTRY_NONE when the entry has none, or one that is no place (pseudo-codes).
 * ERR_BADMSG when the entry can't be read. */
MUST_USE enum err mmdb_entry_country(const MMDB_s *mmdb, uint32_t offset, const char *key,
                                     uint16_t *out);

#endif
