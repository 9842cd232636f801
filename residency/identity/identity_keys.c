/* The local material: one key set an issuer, and the rows of the API key file. */
#include "residency/identity/identity_priv.h"

#include "base/check.h"
#include "base/json.h"
#include "base/text.h"

#include <stdlib.h>

static int
issuer_cmp(const void *a, const void *b)
{
    const struct identity_issuer *x = a;
    const struct identity_issuer *y = b;

    return slice_cmp(slice_str(x->id), slice_str(y->id));
}

static int
row_cmp(const void *a, const void *b)
{
    const struct identity_api_row *x = a;
    const struct identity_api_row *y = b;

    return strcmp(x->id, y->id);
}

const struct jwks *
identity_keys_issuer(const struct identity_keys *k, struct slice id)
{
    size_t from = 0;
    size_t to = k->issuer_count;

    while (from < to) {
        size_t mid = from + (to - from) / 2;
        int order = slice_cmp(slice_str(k->issuers[mid].id), id);

        if (order == 0)
            return k->issuers[mid].set;
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

const struct identity_api_row *
identity_keys_api_row(const struct identity_keys *k, struct slice id)
{
    struct identity_api_row wanted;

    if (k->row_count == 0 || !slice_copy_str(id, wanted.id, sizeof(wanted.id)))
        return NULL;
    return bsearch(&wanted, k->rows, k->row_count, sizeof(*k->rows), row_cmp);
}

static enum err
load_issuers(const struct identity_keys_opts *opts, struct issues *issues, struct identity_keys *k)
{
    if (opts->issuer_count > CHARTER_ISSUERS_MAX)
        return ERR_TOOBIG;
    k->issuers = calloc(opts->issuer_count + 1, sizeof(*k->issuers));
    if (k->issuers == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < opts->issuer_count; i++) {
        struct identity_issuer *issuer = &k->issuers[k->issuer_count];
        const char *why = "";
        enum err e;

        if (strlen(opts->issuers[i]) > IDENTITY_ISSUER_MAX) {
            issues_add(issues, opts->jwks_files[i], 0, NULL, "its issuer is of more than %d bytes",
                       IDENTITY_ISSUER_MAX);
            continue;
        }
        e = jwks_parse(opts->jwks_texts[i], &issuer->set, &why);
        if (e == ERR_NOMEM)
            return e;
        if (e != ERR_OK) {
            issues_add(issues, opts->jwks_files[i], 0, NULL, "is no usable JWK set: %s", why);
            continue;
        }
        k->issuer_count++;
        issuer->id = slice_dup(slice_str(opts->issuers[i]));
        if (issuer->id == NULL)
            return ERR_NOMEM;
    }
    qsort(k->issuers, k->issuer_count, sizeof(*k->issuers), issuer_cmp);
    for (size_t i = 1; i < k->issuer_count; i++)
        if (issuer_cmp(&k->issuers[i - 1], &k->issuers[i]) == 0)
            issues_add(issues, "issuers", 0, NULL, "\"%s\" is named twice", k->issuers[i].id);
    return ERR_OK;
}

static void
read_row(const struct json_reader *r, struct identity_api_row *row)
{
    static const char *const known[] = {"id", "salt", "sha256", "created", "not_after", NULL};
    struct json_reader id = json_reader_get(r, "id");
    struct json_reader salt = json_reader_get(r, "salt");
    struct json_reader sha256 = json_reader_get(r, "sha256");
    struct json_reader created = json_reader_get(r, "created");
    struct json_reader not_after = json_reader_get(r, "not_after");
    size_t len = sizeof(row->salt);
    int64_t ignored;
    struct slice s;

    if (!json_reader_keys(r, known))
        return;
    if (json_reader_string(&id, &s) &&
        (!charter_key_id_ok(s) || !slice_copy_str(s, row->id, sizeof(row->id))))
        json_reader_fault(&id, "must be 1 to %d of a-z and 0-9", CHARTER_KEY_ID_MAX);
    if (json_reader_string(&salt, &s) &&
        (!text_unb64url(s, row->salt, &len) || len != sizeof(row->salt)))
        json_reader_fault(&salt, "must be %d bytes in base64url", IDENTITY_SALT_SIZE);
    len = sizeof(row->sha256);
    if (json_reader_string(&sha256, &s) &&
        (!text_unhex(s, row->sha256, &len) || len != sizeof(row->sha256)))
        json_reader_fault(&sha256, "must be a SHA-256 in hex");
    (void)json_reader_time(&created, &ignored);
    row->not_after_ms = INT64_MAX;
    if (not_after.v != NULL)
        (void)json_reader_time(&not_after, &row->not_after_ms);
}

static enum err
read_rows(const struct json_reader *root, struct identity_keys *k)
{
    static const char *const known[] = {"v", "keys", NULL};
    struct json_reader version = json_reader_get(root, "v");
    struct json_reader list = json_reader_get(root, "keys");
    int64_t ignored;
    size_t i = 0;

    if (!json_reader_keys(root, known))
        return ERR_OK;
    (void)json_reader_int(&version, 1, 1, &ignored);
    if (list.v == NULL || json_type_of(list.v) != JSON_ARRAY ||
        json_count(list.v) > CHARTER_API_KEYS_MAX) {
        json_reader_fault(&list, "must be a list of at most %d keys", CHARTER_API_KEYS_MAX);
        return ERR_OK;
    }
    k->rows = calloc(json_count(list.v) + 1, sizeof(*k->rows));
    if (k->rows == NULL)
        return ERR_NOMEM;
    for (const struct json *v = json_first(list.v); v != NULL; v = json_next(v), i++) {
        struct json_reader item = json_reader_item(&list, v, i);

        read_row(&item, &k->rows[i]);
    }
    k->row_count = i;
    if (i > 1)
        qsort(k->rows, i, sizeof(*k->rows), row_cmp);
    for (size_t n = 1; n < i; n++)
        if (strcmp(k->rows[n - 1].id, k->rows[n].id) == 0)
            json_reader_fault(&list, "\"%s\" is there twice", k->rows[n].id);
    return ERR_OK;
}

static enum err
load_api_keys(const struct identity_keys_opts *opts, struct issues *issues, struct identity_keys *k)
{
    struct json_doc *doc = NULL;
    struct json_reader root;
    enum err e;

    if (opts->api_keys_file == NULL)
        return ERR_OK;
    e = json_parse_file(opts->api_keys_text, opts->api_keys_file, issues, &doc);
    if (e != ERR_OK)
        return e == ERR_NOMEM ? e : ERR_OK; /* the fault is among the issues */
    hash_sha256(opts->api_keys_text, k->api_digest);
    k->has_api_keys = true;
    root = json_reader_root(doc, opts->api_keys_file, issues);
    e = read_rows(&root, k);
    json_free(&doc);
    return e;
}

enum err
identity_keys_load(const struct identity_keys_opts *opts, struct issues *issues,
                   struct identity_keys **out)
{
    struct identity_keys *k = calloc(1, sizeof(*k));
    size_t before = issues->count + issues->dropped;
    enum err e;

    if (k == NULL)
        return ERR_NOMEM;
    e = load_issuers(opts, issues, k);
    if (e == ERR_OK)
        e = load_api_keys(opts, issues, k);
    if (e == ERR_OK && issues->count + issues->dropped != before)
        e = ERR_BADMSG;
    if (e != ERR_OK) {
        identity_keys_free(&k);
        return e;
    }
    *out = k;
    return ERR_OK;
}

void
identity_keys_free(struct identity_keys **out)
{
    struct identity_keys *k = *out;

    *out = NULL;
    if (k == NULL)
        return;
    for (size_t i = 0; k->issuers != NULL && i < k->issuer_count; i++) {
        jwks_free(&k->issuers[i].set);
        free(k->issuers[i].id);
    }
    free(k->issuers);
    free(k->rows);
    free(k);
}

bool
identity_keys_has_issuer(const struct identity_keys *k, struct slice id)
{
    return identity_keys_issuer(k, id) != NULL;
}

bool
identity_keys_has_api_key(const struct identity_keys *k, struct slice id)
{
    return identity_keys_api_row(k, id) != NULL;
}

const char *
identity_keys_api_id(const struct identity_keys *k, size_t i)
{
    return i < k->row_count ? k->rows[i].id : NULL;
}

void
identity_keys_issuers_digest(const struct identity_keys *k, uint8_t out[HASH_SIZE])
{
    struct hash h;

    hash_init(&h);
    hash_add(&h, SLICE_LIT("{"));
    for (size_t i = 0; i < k->issuer_count; i++) {
        char member[6 * IDENTITY_ISSUER_MAX + 64]; /* every byte escaped, and the digest */
        struct text t;

        text_init(&t, member, sizeof(member));
        if (i > 0)
            text_add_char(&t, ',');
        text_add_json(&t, slice_str(k->issuers[i].id));
        text_add_str(&t, ":\"");
        text_add_b64url(&t, slice_of(jwks_digest(k->issuers[i].set), HASH_SIZE));
        text_add_char(&t, '"');
        ASSERT(text_ok(&t));
        hash_add(&h, text_slice(&t));
    }
    hash_add(&h, SLICE_LIT("}"));
    hash_final(&h, out);
}

const uint8_t *
identity_keys_api_digest(const struct identity_keys *k)
{
    return k->has_api_keys ? k->api_digest : NULL;
}
