#ifndef UNIT_GEO_MMDB_MAKE_H
#define UNIT_GEO_MMDB_MAKE_H

#include "base/file.h"
#include "base/text.h"
#include "residency/geo/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Writes small MaxMind DB files (format 2.0, 32-bit records), so that a test can say
 * exactly what stands in an entry and what is broken. */

#define MAKE_NODES_MAX 4096
#define MAKE_EMPTY UINT32_MAX
#define MAKE_DATA UINT32_C(0x80000000) /* an offset into the data section */

struct make {
    uint32_t nodes[MAKE_NODES_MAX][2];
    uint32_t node_count;
    uint8_t data_bytes[8192];
    struct text data;
    const char *type;
    uint8_t ip_version;
    uint64_t build_epoch;
    uint32_t claimed_node_count; /* in the metadata; 0: the true one */
};

static inline void
make_init(struct make *m, const char *type, uint8_t ip_version, uint64_t build_epoch)
{
    *m = (struct make){.type = type, .ip_version = ip_version, .build_epoch = build_epoch};
    text_init(&m->data, m->data_bytes, sizeof(m->data_bytes));
    m->nodes[0][0] = m->nodes[0][1] = MAKE_EMPTY;
    m->node_count = 1;
}

static inline void
make_map(struct text *t, unsigned count)
{
    text_add_char(t, (char)(7u << 5 | count));
}

static inline void
make_string(struct text *t, const char *s)
{
    size_t len = strlen(s);

    assert_true(len < 29);
    text_add_char(t, (char)(2u << 5 | (unsigned)len));
    text_add_str(t, s);
}

static inline void
make_uint(struct text *t, unsigned type, uint64_t v, unsigned bytes)
{
    text_add_char(t, (char)(type < 8 ? type << 5 | bytes : bytes));
    if (type >= 8)
        text_add_char(t, (char)(type - 7));
    while (bytes-- > 0)
        text_add_char(t, (char)(v >> (8 * bytes) & 0xff));
}

/* {country: {iso_code: code}} and, unless NULL, {registered_country: {iso_code: ...}}. */
static inline uint32_t
make_entry(struct make *m, const char *country, const char *registered)
{
    uint32_t at = (uint32_t)m->data.used;

    make_map(&m->data, (country != NULL ? 1u : 0u) + (registered != NULL ? 1u : 0u));
    if (country != NULL) {
        make_string(&m->data, "country");
        make_map(&m->data, 1);
        make_string(&m->data, "iso_code");
        make_string(&m->data, country);
    }
    if (registered != NULL) {
        make_string(&m->data, "registered_country");
        make_map(&m->data, 1);
        make_string(&m->data, "iso_code");
        make_string(&m->data, registered);
    }
    return at;
}

/* The node below one side of a node, made when it is not there. */
static inline uint32_t
make_child(struct make *m, uint32_t node, unsigned side)
{
    uint32_t record = m->nodes[node][side];

    if (record < MAKE_DATA)
        return record;
    assert_true(m->node_count < MAKE_NODES_MAX);
    m->nodes[m->node_count][0] = m->nodes[m->node_count][1] = record;
    m->nodes[node][side] = m->node_count;
    return m->node_count++;
}

/* Longer prefixes after shorter ones. */
static inline void
make_network(struct make *m, const char *text, uint32_t entry)
{
    struct geo_network n;
    uint8_t bytes[16] = {0};
    unsigned bits, skip;
    uint32_t node = 0;

    assert_int_equal(ERR_OK, geo_network_parse(slice_str(text), &n));
    skip = n.address.family == 4 && m->ip_version == 6 ? 12 : 0;
    memcpy(bytes + skip, n.address.bytes, 16 - skip);
    bits = n.prefix_bits + skip * 8;
    for (unsigned i = 0; i + 1 < bits; i++)
        node = make_child(m, node, bytes[i / 8] >> (7 - i % 8) & 1u);
    m->nodes[node][bytes[(bits - 1) / 8] >> (7 - (bits - 1) % 8) & 1u] = MAKE_DATA | entry;
}

static inline void
make_metadata(const struct make *m, struct text *t)
{
    text_add(t, SLICE_LIT("\xab\xcd\xefMaxMind.com"));
    make_map(t, 9);
    make_string(t, "binary_format_major_version");
    make_uint(t, 5, 2, 1);
    make_string(t, "binary_format_minor_version");
    make_uint(t, 5, 0, 0);
    make_string(t, "build_epoch");
    make_uint(t, 9, m->build_epoch, 8);
    make_string(t, "database_type");
    make_string(t, m->type);
    make_string(t, "description");
    make_map(t, 1);
    make_string(t, "en");
    make_string(t, "made by a test");
    make_string(t, "ip_version");
    make_uint(t, 5, m->ip_version, 1);
    make_string(t, "languages");
    text_add(t, SLICE_LIT("\x00\x04")); /* an empty array */
    make_string(t, "node_count");
    make_uint(t, 6, m->claimed_node_count != 0 ? m->claimed_node_count : m->node_count, 4);
    make_string(t, "record_size");
    make_uint(t, 5, 32, 1);
}

static inline void
make_file(const struct make *m, struct text *t)
{
    for (uint32_t i = 0; i < m->node_count; i++) {
        for (unsigned side = 0; side < 2; side++) {
            uint32_t record = m->nodes[i][side];
            uint32_t value = record == MAKE_EMPTY  ? m->node_count
                             : record >= MAKE_DATA ? m->node_count + 16 + (record & ~MAKE_DATA)
                                                   : record;

            for (unsigned shift = 32; shift > 0; shift -= 8)
                text_add_char(t, (char)(value >> (shift - 8) & 0xff));
        }
    }
    for (unsigned i = 0; i < 16; i++)
        text_add_char(t, 0);
    text_add(t, text_slice(&m->data));
    make_metadata(m, t);
    assert_true(text_ok(t));
}

#endif
