#include "residency/geo/mmdb_priv.h"

#include "base/check.h"
#include "residency/country.h"
#include "residency/geo/mmdb_walk_priv.h"

#include <stdbool.h>
#include <stdlib.h>

/* The format is MaxMind DB 2.0: a search tree, 16 zero bytes, a data section, a marker,
 * metadata up to the end of the file. */
#define MARKER "\xab\xcd\xefMaxMind.com"
#define METADATA_BYTES_MAX (128u << 10) /* by the format, marker included */
#define METADATA_FIELDS_MAX 4096u
#define SEPARATOR_BYTES 16u
#define NODE_BYTES_MIN 6u /* two records of 24 bits */

/* Fields that are walked for each byte of the data section, at most: entries may share
 * what they contain, but not so much that a small file keeps a reload busy for hours. */
#define FIELDS_PER_BYTE_MAX 16u
#define FIELDS_SPARE (1u << 20)

/* The offset behind the last marker, or 0. */
static size_t
metadata_start(struct slice file)
{
    const struct slice marker = SLICE_LIT(MARKER);
    size_t first = file.len > METADATA_BYTES_MAX ? file.len - METADATA_BYTES_MAX : 0;

    if (file.len < marker.len)
        return 0;
    for (size_t at = file.len - marker.len + 1; at > first; at--) {
        if (memcmp(file.p + at - 1, marker.p, marker.len) == 0)
            return at - 1 + marker.len;
    }
    return 0;
}

static uint64_t
unsigned_of(const struct mmdb_field *f)
{
    uint64_t v = 0;

    for (size_t i = 0; i < f->payload.len; i++)
        v = v << 8 | f->payload.p[i];
    return v;
}

/* libmaxminddb multiplies the number of nodes in 32 bits. */
static bool
node_count_ok(const struct mmdb_field *f, size_t tree_max)
{
    return (f->type == MMDB_FIELD_UINT16 || f->type == MMDB_FIELD_UINT32) &&
           unsigned_of(f) <= tree_max / NODE_BYTES_MIN;
}

/* The text of a string, or of the string that a pointer stands for. False for a pointer to
 * anything else: metadata shares nothing larger. */
static bool
metadata_text(struct slice metadata, const struct mmdb_field *f, struct slice *out)
{
    struct mmdb_walk walk;
    struct mmdb_field target;

    *out = f->payload;
    if (f->type != MMDB_FIELD_POINTER)
        return true;
    mmdb_walk_init(&walk, slice_sub(metadata, f->target, metadata.len));
    if (mmdb_walk_next(&walk, &target) != MMDB_STEP_FIELD || target.type != MMDB_FIELD_UTF8)
        return false;
    *out = target.payload;
    return true;
}

/* tree_max: the bytes that stand before the marker. */
static enum err
check_metadata(struct slice metadata, size_t tree_max, const char **why)
{
    bool is_node_count = false, has_node_count = false;
    struct mmdb_field f = {.size = 0};
    struct mmdb_walk walk;
    struct slice text;

    *why = "its metadata is damaged";
    mmdb_walk_init(&walk, metadata);
    for (unsigned i = 0; i < METADATA_FIELDS_MAX; i++) {
        enum mmdb_step step = mmdb_walk_next(&walk, &f);

        if (step == MMDB_STEP_END)
            return has_node_count ? ERR_OK : ERR_BADMSG;
        if (step == MMDB_STEP_DAMAGED || (i == 0 && f.type != MMDB_FIELD_MAP) ||
            !metadata_text(metadata, &f, &text))
            return ERR_BADMSG;
        if (is_node_count && !node_count_ok(&f, tree_max)) {
            *why = "its search tree is cut off";
            return ERR_BADMSG;
        }
        has_node_count = has_node_count || is_node_count;
        /* Wherever it stands, so that no second key with this name gets by. */
        is_node_count = slice_is(text, "node_count");
    }
    return ERR_BADMSG;
}

enum err
mmdb_check_file(struct slice file, const char **why)
{
    size_t start = metadata_start(file);

    if (start == 0) {
        *why = "no MaxMind DB metadata in it: no such database, or its end is cut off";
        return ERR_BADMSG;
    }
    return check_metadata(slice_sub(file, start, file.len), start - (sizeof(MARKER) - 1), why);
}

enum err
mmdb_entry_country(const MMDB_s *mmdb, uint32_t offset, const char *key, uint16_t *out)
{
    const char *const path[] = {key, "iso_code", NULL};
    MMDB_entry_s entry = {.mmdb = mmdb, .offset = offset};
    MMDB_entry_data_s data;
    int status = MMDB_aget_value(&entry, &data, path);

    if (status == MMDB_LOOKUP_PATH_DOES_NOT_MATCH_DATA_ERROR ||
        (status == MMDB_SUCCESS && !data.has_data)) {
        *out = COUNTRY_NONE;
        return ERR_OK;
    }
    if (status != MMDB_SUCCESS || data.type != MMDB_DATA_TYPE_UTF8_STRING)
        return ERR_BADMSG;
    if (country_parse(slice_of(data.utf8_string, data.data_size), out) != ERR_OK)
        *out = COUNTRY_NONE;
    return ERR_OK;
}

struct tree_check {
    const MMDB_s *mmdb;
    struct slice data; /* the data section proper, without marker and metadata */
    uint64_t fields_left;
    uint8_t *entries; /* a bit for each offset that was read as an entry */
    uint8_t *seen;    /* a bit for each offset that was taken into the queue */
    uint32_t *queue;  /* offsets whose values are still to be walked */
    size_t queue_count;
    size_t queue_size;
    bool any_country;
};

/* Takes an offset into the queue unless it was there before. */
static enum err
queue_add(struct tree_check *check, uint32_t offset)
{
    uint8_t bit = (uint8_t)(1u << (offset % 8));
    uint32_t *grown;
    size_t size;

    if (offset >= check->data.len)
        return ERR_BADMSG;
    if ((check->seen[offset / 8] & bit) != 0)
        return ERR_OK;
    check->seen[offset / 8] |= bit;
    if (check->queue_count == check->queue_size) {
        size = check->queue_size == 0 ? 256 : check->queue_size * 2;
        grown = realloc(check->queue, size * sizeof(*grown));
        if (grown == NULL)
            return ERR_NOMEM;
        check->queue = grown;
        check->queue_size = size;
    }
    check->queue[check->queue_count++] = offset;
    return ERR_OK;
}

static enum err
walk_value(struct tree_check *check, uint32_t offset)
{
    struct mmdb_field f = {.size = 0};
    struct mmdb_walk walk;

    mmdb_walk_init(&walk, slice_sub(check->data, offset, check->data.len));
    for (;;) {
        enum mmdb_step step = mmdb_walk_next(&walk, &f);
        enum err e;

        if (step == MMDB_STEP_END)
            return ERR_OK;
        if (step == MMDB_STEP_DAMAGED || check->fields_left == 0)
            return ERR_BADMSG;
        check->fields_left--;
        if (f.type != MMDB_FIELD_POINTER)
            continue;
        e = queue_add(check, f.target);
        if (e != ERR_OK)
            return e;
    }
}

/* offset stands inside the data section. Walks the entry and all that it points to, and only then
 * lets the library read it. */
static enum err
check_entry(struct tree_check *check, uint32_t offset)
{
    uint8_t bit = (uint8_t)(1u << (offset % 8));
    uint16_t country, registered;
    enum err e;

    if ((check->entries[offset / 8] & bit) != 0)
        return ERR_OK;
    check->entries[offset / 8] |= bit;
    e = queue_add(check, offset);
    /* An entry is a map: what else stands there was not written as one. */
    if (e == ERR_OK && check->data.p[offset] >> 5 != MMDB_FIELD_MAP)
        return ERR_BADMSG;
    while (e == ERR_OK && check->queue_count > 0)
        e = walk_value(check, check->queue[--check->queue_count]);
    if (e != ERR_OK)
        return e;
    if (mmdb_entry_country(check->mmdb, offset, "country", &country) != ERR_OK ||
        mmdb_entry_country(check->mmdb, offset, "registered_country", &registered) != ERR_OK)
        return ERR_BADMSG;
    check->any_country = check->any_country || country != COUNTRY_NONE;
    return ERR_OK;
}

static enum err
check_record(struct tree_check *check, uint64_t record)
{
    uint64_t node_count = check->mmdb->metadata.node_count;

    if (record <= node_count)
        return ERR_OK; /* a node, or nothing known */
    if (record - node_count < SEPARATOR_BYTES ||
        record - node_count - SEPARATOR_BYTES >= check->data.len)
        return ERR_BADMSG;
    return check_entry(check, (uint32_t)(record - node_count - SEPARATOR_BYTES));
}

static enum err
check_nodes(struct tree_check *check, const char **why)
{
    for (uint32_t i = 0; i < check->mmdb->metadata.node_count; i++) {
        MMDB_search_node_s node;
        enum err e = ERR_BADMSG;

        if (MMDB_read_node(check->mmdb, i, &node) == MMDB_SUCCESS)
            e = check_record(check, node.left_record);
        if (e == ERR_OK)
            e = check_record(check, node.right_record);
        if (e != ERR_OK) {
            *why =
                e == ERR_NOMEM ? "no memory to check it" : "its search tree or an entry is damaged";
            return e;
        }
    }
    if (!check->any_country) {
        *why = "no entry names a country as country.iso_code";
        return ERR_BADMSG;
    }
    return ERR_OK;
}

enum err
mmdb_check_tree(const MMDB_s *mmdb, const char **why)
{
    struct tree_check check = {.mmdb = mmdb};
    uint64_t tree = (uint64_t)mmdb->metadata.node_count * mmdb->full_record_byte_size;
    size_t metadata_at = (size_t)(mmdb->metadata_section - mmdb->file_content);
    uint64_t data_end = metadata_at - (sizeof(MARKER) - 1);
    enum err e;

    ASSERT(metadata_at >= sizeof(MARKER) - 1);
    *why = "its search tree is cut off";
    if (tree == 0 || tree + SEPARATOR_BYTES >= data_end)
        return ERR_BADMSG;
    check.data = slice_of(mmdb->file_content + tree + SEPARATOR_BYTES,
                          (size_t)(data_end - tree - SEPARATOR_BYTES));
    check.fields_left = (uint64_t)check.data.len * FIELDS_PER_BYTE_MAX + FIELDS_SPARE;
    check.seen = calloc(check.data.len / 8 + 1, 1);
    check.entries = calloc(check.data.len / 8 + 1, 1);
    *why = "no memory to check it";
    e = ERR_NOMEM;
    if (check.seen != NULL && check.entries != NULL)
        e = check_nodes(&check, why);
    free(check.queue);
    free(check.entries);
    free(check.seen);
    return e;
}
