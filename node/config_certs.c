#include "node/config_priv.h"

#include "base/check.h"

#include <stdlib.h>

static void
read_path(const struct config *c, const struct json_reader *r, char out[CONFIG_PATH_MAX])
{
    char name[CONFIG_PATH_MAX];
    struct slice text = SLICE_NONE;

    if (!json_reader_string(r, &text))
        return;
    if (text.len == 0)
        json_reader_fault(r, "must name a file");
    else if (!slice_copy_str(text, name, sizeof(name)) || !config_path(c, name, out))
        json_reader_fault(r, "must be at most %d bytes", CONFIG_PATH_MAX - 1);
}

static void
read_names(const struct json_reader *r, struct config_cert *out)
{
    if (json_type_of(r->v) != JSON_ARRAY || json_count(r->v) == 0 ||
        json_count(r->v) > CONFIG_NAMES_MAX) {
        json_reader_fault(r, "must be a list of 1 to %d host names", CONFIG_NAMES_MAX);
        return;
    }
    out->names = calloc(json_count(r->v), sizeof(*out->names));
    if (out->names == NULL) {
        json_reader_fault(r, "out of memory");
        return;
    }
    for (const struct json *v = json_first(r->v); v != NULL; v = json_next(v)) {
        struct json_reader item = json_reader_item(r, v, out->name_count);
        struct slice text = SLICE_NONE;
        char *name = out->names[out->name_count++];

        if (json_reader_string(&item, &text) && !slice_copy_str(text, name, sizeof(out->names[0])))
            json_reader_fault(&item, "must be at most %zu bytes", sizeof(out->names[0]) - 1);
    }
}

static void
read_cert(const struct config *c, const struct json_reader *r, struct config_cert *out)
{
    static const char *const known[] = {"cert", "key", "names", NULL};
    struct json_reader cert = json_reader_get(r, "cert");
    struct json_reader key = json_reader_get(r, "key");
    struct json_reader names = json_reader_get(r, "names");

    if (!json_reader_keys(r, known))
        return;
    read_path(c, &cert, out->cert);
    read_path(c, &key, out->key);
    if (names.v != NULL)
        read_names(&names, out);
}

void
config_read_certs(struct config *c, const struct json_reader *root)
{
    struct json_reader listeners = json_reader_get(root, "listeners");
    struct json_reader public = json_reader_get(&listeners, "public");
    struct json_reader cert = json_reader_get(&public, "cert");
    struct json_reader key = json_reader_get(&public, "key");
    struct json_reader r = json_reader_get(&public, "certs");

    if (c->public_cert[0] == '\0' && (r.v == NULL || c->public_key[0] != '\0'))
        json_reader_fault(&cert, "missing");
    if (c->public_key[0] == '\0' && (r.v == NULL || c->public_cert[0] != '\0'))
        json_reader_fault(&key, "missing");
    if (r.v == NULL)
        return;
    if (json_type_of(r.v) != JSON_ARRAY || json_count(r.v) == 0 ||
        json_count(r.v) > CONFIG_CERTS_MAX) {
        json_reader_fault(&r, "must be a list of 1 to %d certificates", CONFIG_CERTS_MAX);
        return;
    }
    c->certs = calloc(json_count(r.v), sizeof(*c->certs));
    if (c->certs == NULL) {
        json_reader_fault(&r, "out of memory");
        return;
    }
    for (const struct json *v = json_first(r.v); v != NULL; v = json_next(v)) {
        struct json_reader item = json_reader_item(&r, v, c->cert_count);

        read_cert(c, &item, &c->certs[c->cert_count++]);
    }
}

void
config_free_certs(struct config *c)
{
    for (size_t i = 0; i < c->cert_count; i++)
        free(c->certs[i].names);
    free(c->certs);
    c->certs = NULL;
    c->cert_count = 0;
}
