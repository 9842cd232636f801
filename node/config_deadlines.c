#include "node/config_priv.h"

#include "node/endpoint.h"

#include <string.h>

/* "timeouts": {"endpoints": {"embeddings": {"first_byte_ms": 10000}}}: what an endpoint does
 * not say is as for all others. */

static bool
is_endpoint(const char *name)
{
    for (size_t i = 0; endpoint_at(i) != NULL; i++)
        if (strcmp(endpoint_at(i)->name, name) == 0)
            return true;
    return strcmp(endpoint_passthrough()->name, name) == 0;
}

static void
read_one(const struct json_reader *r, const struct config_deadlines *others,
         struct config_deadlines *out)
{
    static const char *const known[] = {"connect_ms", "first_byte_ms", "stream_idle_ms", "total_ms",
                                        NULL};
    const struct {
        const char *key;
        int64_t min, max;
        int64_t *value;
    } members[] = {
        {"connect_ms", 10, 60000, &out->connect_ms},
        {"first_byte_ms", 100, 3600000, &out->first_byte_ms},
        {"stream_idle_ms", 100, 3600000, &out->idle_ms},
        {"total_ms", 1000, 86400000, &out->total_ms},
    };

    *out = *others;
    if (!json_reader_keys(r, known))
        return;
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        struct json_reader member = json_reader_get(r, members[i].key);

        (void)json_reader_opt_int(&member, members[i].min, members[i].max, members[i].value);
    }
}

void
config_read_deadlines(struct config *c, const struct json_reader *root)
{
    struct json_reader timeouts = json_reader_get(root, "timeouts");
    struct json_reader r = json_reader_get(&timeouts, "endpoints");

    if (r.v == NULL)
        return;
    if (json_type_of(r.v) != JSON_OBJECT || json_count(r.v) > CONFIG_ENDPOINTS_MAX) {
        json_reader_fault(&r, "must be an object of at most %d members", CONFIG_ENDPOINTS_MAX);
        return;
    }
    for (const struct json *v = json_first(r.v); v != NULL; v = json_next(v)) {
        struct json_reader item = json_reader_member(&r, v);
        size_t n = c->endpoint_count;

        if (!is_endpoint(json_key(v))) {
            json_reader_fault(&item, "is no endpoint (docs/endpoints.md has their names)");
            continue;
        }
        (void)slice_copy_str(slice_str(json_key(v)), c->endpoints[n].name,
                             sizeof(c->endpoints[n].name));
        read_one(&item, &c->deadlines, &c->endpoints[n].deadlines);
        c->endpoint_count++;
    }
}

const struct config_deadlines *
config_deadlines_of(const struct config *c, const char *endpoint)
{
    for (size_t i = 0; i < c->endpoint_count; i++)
        if (strcmp(c->endpoints[i].name, endpoint) == 0)
            return &c->endpoints[i].deadlines;
    return &c->deadlines;
}
