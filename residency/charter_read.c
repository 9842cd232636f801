/* What the readers of all charter sections share: memory, names, words, lists. */
#include "residency/charter_priv.h"

#include "base/check.h"
#include "base/text.h"

#include <stdlib.h>

#define CHUNK_BYTES (64u << 10)
#define LONG_NAME_MAX 256
#define COUNTRIES_MAX 300 /* items of a list of plain countries */

struct chunk {
    struct chunk *next;
    size_t used;
    size_t size;
    _Alignas(16) uint8_t bytes[];
};

struct charter_heap {
    struct chunk *chunks;
    bool failed;
};

enum err
charter_heap_new(struct charter_heap **out)
{
    ASSERT(out != NULL && *out == NULL);
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? ERR_NOMEM : ERR_OK;
}

void
charter_heap_free(struct charter_heap **heap)
{
    if (*heap == NULL)
        return;
    while ((*heap)->chunks != NULL) {
        struct chunk *chunk = (*heap)->chunks;

        (*heap)->chunks = chunk->next;
        free(chunk);
    }
    free(*heap);
    *heap = NULL;
}

bool
charter_heap_failed(const struct charter_heap *heap)
{
    return heap->failed;
}

static struct chunk *
chunk_with_room(struct charter_heap *heap, size_t len)
{
    struct chunk *chunk = heap->chunks;
    size_t size = len > CHUNK_BYTES ? len : CHUNK_BYTES;

    if (chunk != NULL && len <= chunk->size - chunk->used)
        return chunk;
    if (size > SIZE_MAX - sizeof(*chunk))
        return NULL;
    chunk = calloc(1, sizeof(*chunk) + size);
    if (chunk == NULL)
        return NULL;
    chunk->size = size;
    chunk->next = heap->chunks;
    heap->chunks = chunk;
    return chunk;
}

void *
charter_alloc(struct charter *c, size_t count, size_t size)
{
    struct chunk *chunk;
    size_t len;
    void *p;

    ASSERT(size > 0);
    if (count > (SIZE_MAX / 2) / size) {
        c->heap->failed = true;
        return NULL;
    }
    len = (count * size + 15) & ~(size_t)15;
    chunk = chunk_with_room(c->heap, len);
    if (chunk == NULL) {
        c->heap->failed = true;
        return NULL;
    }
    p = chunk->bytes + chunk->used;
    chunk->used += len;
    return p;
}

const char *
charter_copy(struct charter *c, struct slice s)
{
    char *p = charter_alloc(c, s.len + 1, 1);

    if (p != NULL && s.len > 0)
        memcpy(p, s.p, s.len);
    return p;
}

static bool
is_name_start(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool
plain_ok(struct slice s, bool underscore)
{
    if (s.len == 0 || !is_name_start(s.p[0]))
        return false;
    for (size_t i = 1; i < s.len; i++)
        if (!is_name_start(s.p[i]) && s.p[i] != '-' && !(underscore && s.p[i] == '_'))
            return false;
    return true;
}

static bool
tenant_ok(struct slice s)
{
    size_t segments = 0;

    if (s.len == 0 || s.p[s.len - 1] == '/')
        return false;
    while (s.len > 0) {
        if (!plain_ok(slice_cut(&s, '/'), false))
            return false;
        segments++;
    }
    return segments <= 4;
}

static bool
visible_ok(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return s.len > 0;
}

static bool
group_ok(struct slice s)
{
    if (s.len < 2 || s.p[0] != '@')
        return false;
    for (size_t i = 1; i < s.len; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z')))
            return false;
    return true;
}

bool
charter_key_id_ok(struct slice id)
{
    if (id.len == 0 || id.len > CHARTER_KEY_ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++)
        if (!((id.p[i] >= 'a' && id.p[i] <= 'z') || (id.p[i] >= '0' && id.p[i] <= '9')))
            return false;
    return true;
}

bool
charter_name_ok(enum charter_name kind, struct slice s)
{
    switch (kind) {
    case CHARTER_NAME_PLAIN:
        return s.len <= CHARTER_NAME_MAX && plain_ok(s, false);
    case CHARTER_NAME_TENANT:
        return s.len <= CHARTER_TENANT_MAX && tenant_ok(s);
    case CHARTER_NAME_TEXT:
        return s.len <= CHARTER_MODEL_MAX && visible_ok(s);
    case CHARTER_NAME_ROLE:
        return s.len <= CHARTER_NAME_MAX && plain_ok(s, true);
    case CHARTER_NAME_GROUP:
        return s.len <= CHARTER_NAME_MAX && group_ok(s);
    case CHARTER_NAME_KEY_ID:
        return charter_key_id_ok(s);
    case CHARTER_NAME_LONG:
        return s.len <= LONG_NAME_MAX && visible_ok(s);
    }
    return false;
}

static int
key_cmp(const void *a, const void *b)
{
    return strcmp(json_key(*(const struct json *const *)a),
                  json_key(*(const struct json *const *)b));
}

bool
charter_section_read(struct charter *c, const struct json_reader *r, bool required,
                     enum charter_name kind, size_t max, struct charter_section *out)
{
    *out = (struct charter_section){NULL, 0};
    if (r->v == NULL) {
        if (required)
            json_reader_fault(r, "missing");
        return false;
    }
    if (json_type_of(r->v) != JSON_OBJECT) {
        json_reader_fault(r, "must be an object, is %s", json_type_name(json_type_of(r->v)));
        return false;
    }
    if (json_count(r->v) > max) {
        json_reader_fault(r, "holds %zu members, at most %zu are allowed", json_count(r->v), max);
        return false;
    }
    out->values = charter_alloc(c, json_count(r->v), sizeof(*out->values));
    if (out->values == NULL)
        return false;
    for (const struct json *v = json_first(r->v); v != NULL; v = json_next(v)) {
        if (charter_name_ok(kind, slice_str(json_key(v)))) {
            out->values[out->count++] = v;
        } else {
            struct json_reader member = json_reader_member(r, v);

            json_reader_fault(&member, "\"%s\" is not a valid name here", json_key(v));
        }
    }
    if (out->count > 1)
        qsort(out->values, out->count, sizeof(*out->values), key_cmp);
    return true;
}

const char *
charter_read_text(struct charter *c, const struct json_reader *r, const char *key,
                  enum charter_name kind, const char *otherwise)
{
    struct json_reader child = json_reader_get(r, key);
    struct slice s;

    if (child.v == NULL && otherwise != NULL)
        return otherwise;
    if (!json_reader_string(&child, &s))
        return NULL;
    if (!charter_name_ok(kind, s)) {
        json_reader_fault(&child, "\"%.*s\" is not a valid name here", SLICE_ARG(s));
        return NULL;
    }
    return charter_copy(c, s);
}

bool
charter_read_word(const struct json_reader *r, const char *const *words, unsigned *out)
{
    char name[64];
    const char *near;
    struct slice s;

    if (r->v == NULL)
        return true;
    if (!json_reader_string(r, &s))
        return false;
    for (unsigned i = 0; words[i] != NULL; i++) {
        if (slice_is(s, words[i])) {
            *out = i;
            return true;
        }
    }
    near = slice_copy_str(s, name, sizeof(name)) ? json_nearest(name, words) : NULL;
    if (near != NULL)
        json_reader_fault(r, "\"%.*s\" is not known: did you mean \"%s\"?", SLICE_ARG(s), near);
    else
        json_reader_fault(r, "\"%.*s\" is not known", SLICE_ARG(s));
    return false;
}

bool
charter_read_country(const struct json_reader *r, uint16_t *out)
{
    struct slice s;

    if (r->v == NULL)
        return true;
    if (!json_reader_string(r, &s))
        return false;
    if (country_parse(s, out) == ERR_OK)
        return true;
    json_reader_fault(r, "\"%.*s\" is not an assigned country code", SLICE_ARG(s));
    return false;
}

void
charter_read_countries(const struct json_reader *r, struct country_set *out)
{
    size_t n = charter_list_count(r, COUNTRIES_MAX);
    const struct json *v = n == 0 ? NULL : json_first(r->v);

    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(r, v, i);
        uint16_t country = COUNTRY_NONE;

        if (charter_read_country(&item, &country))
            country_set_add(out, country);
    }
}

uint32_t
charter_read_region(const struct charter *c, const struct json_reader *r)
{
    uint32_t region;
    struct slice s;

    if (!json_reader_string(r, &s))
        return CHARTER_NONE;
    region = charter_find_region(c, s);
    if (region == CHARTER_NONE)
        json_reader_fault(r, "\"%.*s\" is no region of this charter", SLICE_ARG(s));
    return region;
}

bool
charter_hex_ok(struct slice s)
{
    uint8_t raw[HASH_SIZE];
    size_t len = sizeof(raw);

    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] >= 'A' && s.p[i] <= 'F')
            return false; /* one spelling a digest */
    return s.len == HASH_SIZE * 2 && text_unhex(s, raw, &len);
}

bool
charter_read_hex(const struct json_reader *r, uint8_t out[HASH_SIZE])
{
    size_t len = HASH_SIZE;
    struct slice s;

    if (!json_reader_string(r, &s))
        return false;
    if (charter_hex_ok(s) && text_unhex(s, out, &len))
        return true;
    json_reader_fault(r, "must be a SHA-256 of 64 lower-case hex characters");
    return false;
}

size_t
charter_list_count(const struct json_reader *r, size_t max)
{
    if (r->v == NULL)
        return 0;
    if (json_type_of(r->v) != JSON_ARRAY) {
        json_reader_fault(r, "must be a list, is %s", json_type_name(json_type_of(r->v)));
        return 0;
    }
    if (json_count(r->v) > max) {
        json_reader_fault(r, "holds %zu items, at most %zu are allowed", json_count(r->v), max);
        return 0;
    }
    return json_count(r->v);
}

bool
charter_read_roles(struct charter *c, const struct json_reader *r, const char ***out, size_t *count)
{
    size_t n = charter_list_count(r, CHARTER_ROLES_MAX);
    const struct json *v = n == 0 ? NULL : json_first(r->v);
    const char **roles = charter_alloc(c, n, sizeof(*roles));

    if (roles == NULL)
        return false;
    for (size_t i = 0; i < n && v != NULL; i++, v = json_next(v)) {
        struct json_reader item = json_reader_item(r, v, i);
        struct slice s;

        if (!json_reader_string(&item, &s))
            return false;
        if (!charter_name_ok(CHARTER_NAME_ROLE, s)) {
            json_reader_fault(&item, "\"%.*s\" is not a valid role", SLICE_ARG(s));
            return false;
        }
        roles[i] = charter_copy(c, s);
    }
    *out = roles;
    *count = n;
    return true;
}

bool
charter_parse_port(struct slice text, uint16_t *port)
{
    uint64_t n;

    if (text.len == 0 || text.len > 5 || !slice_u64(text, &n) || n == 0 || n > UINT16_MAX)
        return false;
    *port = (uint16_t)n;
    return true;
}

static bool
host_char(uint8_t c, bool v6)
{
    if (v6)
        return c == ':' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
               (c >= 'A' && c <= 'F');
    return c == '-' || c == '.' || is_name_start(c) || (c >= 'A' && c <= 'Z');
}

bool
charter_parse_address(struct slice text, struct slice *host, uint16_t *port)
{
    struct slice rest = text;
    bool v6 = text.len > 0 && text.p[0] == '[';

    if (v6) {
        rest = slice_sub(text, 1, text.len);
        *host = slice_cut(&rest, ']');
        if (rest.len == 0 || rest.p[0] != ':')
            return false;
        rest = slice_sub(rest, 1, rest.len);
    } else {
        *host = slice_cut(&rest, ':');
    }
    if (host->len == 0 || host->len > 253)
        return false;
    for (size_t i = 0; i < host->len; i++)
        if (!host_char(host->p[i], v6))
            return false;
    return charter_parse_port(rest, port);
}

static int
name_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void
charter_sort(void *base, size_t count, size_t size)
{
    if (count > 1)
        qsort(base, count, size, name_cmp);
}

uint32_t
charter_index(const void *base, size_t count, size_t size, struct slice name)
{
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const uint8_t *at = (const uint8_t *)base + middle * size;
        const char *here;
        int order;

        memcpy(&here, at, sizeof(here));
        order = slice_cmp(name, slice_str(here));
        if (order == 0)
            return (uint32_t)middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return CHARTER_NONE;
}
