#include "health/advert.h"

#include "base/check.h"
#include "base/json.h"
#include "crypto/dsse.h"

#include <stdlib.h>
#include <string.h>

#define PAYLOAD_TYPE "application/vnd.portolan.advert+json"
#define BOOT_BYTES 16
#define CUT_BYTES 16
#define MEMBERS 10
#define ROW_ITEMS 9
/* A number of JSON is exact up to 2^53: masks are told up to this model. */
#define MASK_MAX ((UINT64_C(1) << 53) - 1)
#define IN_FLIGHT_MAX 1000000
#define TTFT_MS_MAX 600000

struct advert *
advert_new(const struct charter *c)
{
    struct advert *a = calloc(1, sizeof(*a) + c->backend_count * sizeof(a->backends[0]));

    return a;
}

static void
add_member_str(struct text *t, const char *name, const char *value)
{
    text_add_char(t, '"');
    text_add_str(t, name);
    text_add_str(t, "\":");
    text_add_json(t, slice_str(value));
    text_add_char(t, ',');
}

static void
add_row(struct text *t, uint32_t backend, const struct health_backend *h, uint32_t rejects)
{
    const uint64_t items[ROW_ITEMS] = {
        backend,
        (uint64_t)h->state,
        h->slots,
        h->in_flight,
        h->queued,
        h->pressure_permille,
        h->ttft_ms,
        rejects,
        h->models_matched & MASK_MAX,
    };

    for (size_t i = 0; i < ROW_ITEMS; i++) {
        text_add_char(t, i == 0 ? '[' : ',');
        text_add_u64(t, items[i]);
    }
    text_add_char(t, ']');
}

enum err
advert_write(const struct advert *a, const struct charter *c, const struct key *advert_key,
             struct text *out)
{
    const struct charter_node *n = &c->nodes[a->node];
    uint8_t *storage = malloc(ADVERT_MAX);
    struct text t;
    enum err e;

    ASSERT(a->node < c->node_count);
    if (storage == NULL)
        return ERR_NOMEM;
    text_init(&t, storage, ADVERT_MAX);
    text_add_str(&t, "{\"v\":1,");
    add_member_str(&t, "mesh", c->mesh);
    add_member_str(&t, "node", n->name);
    add_member_str(&t, "region", c->regions[n->region].name);
    add_member_str(&t, "boot", a->boot);
    text_add_str(&t, "\"seq\":");
    text_add_u64(&t, a->seq);
    text_add_str(&t, ",\"t\":");
    text_add_i64(&t, a->t_ms);
    text_add_str(&t, ",\"charter\":{\"version\":");
    text_add_u64(&t, c->version);
    text_add_str(&t, ",\"digest\":\"");
    text_add_b64url(&t, slice_of(c->digest, CUT_BYTES));
    text_add_str(&t, "\"},\"state\":");
    text_add_str(&t, a->draining ? "\"draining\"" : "\"ready\"");
    text_add_str(&t, ",\"backends\":[");
    for (size_t i = 0; i < a->backend_count; i++) {
        if (i > 0)
            text_add_char(&t, ',');
        add_row(&t, a->backends[i].backend, &a->backends[i].facts, a->backends[i].rejects);
    }
    text_add_str(&t, "]}");
    e = text_ok(&t) ? dsse_sign(SLICE_LIT(PAYLOAD_TYPE), text_slice(&t), &advert_key, 1, out)
                    : ERR_TOOBIG;
    free(storage);
    if (e == ERR_OK && (!text_ok(out) || out->used > ADVERT_MAX))
        e = ERR_TOOBIG;
    return e;
}

static bool
signed_by_node(const struct dsse *env, const struct charter_node *n, int64_t now_ms)
{
    const struct key *keys[CHARTER_NODE_KEYS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < n->key_count && count < ARRAY_COUNT(keys); i++) {
        const struct charter_key *k = &n->keys[i];

        if (k->use == KEY_USE_ADVERT && now_ms >= k->not_before_ms && now_ms <= k->not_after_ms)
            keys[count++] = k->key;
    }
    return count > 0 && dsse_verify(env, keys, count) > 0;
}

/* A number of a row; what is above max is cut to it. */
static bool
item(const struct json **v, uint64_t max, uint64_t *out)
{
    int64_t n;

    if (!json_int(*v, &n) || n < 0)
        return false;
    *out = (uint64_t)n < max ? (uint64_t)n : max;
    *v = json_next(*v);
    return true;
}

static const char *
read_row(const struct json *row, const struct charter *c, struct advert *out)
{
    static const uint64_t maxima[ROW_ITEMS] = {CHARTER_BACKENDS_MAX, HEALTH_STATE_COUNT, UINT32_MAX,
                                               IN_FLIGHT_MAX,        IN_FLIGHT_MAX,      1000,
                                               TTFT_MS_MAX,          UINT32_MAX,         MASK_MAX};
    uint64_t items[ROW_ITEMS];
    const struct json *v = json_first(row);
    const struct charter_backend *b;
    size_t n = out->backend_count;

    if (json_type_of(row) != JSON_ARRAY || json_count(row) != ROW_ITEMS)
        return "a backend's row has not nine numbers";
    for (size_t i = 0; i < ROW_ITEMS; i++)
        if (!item(&v, maxima[i], &items[i]))
            return "a backend's row has not nine numbers";
    if (items[0] >= c->backend_count || items[1] >= HEALTH_STATE_COUNT)
        return "no such backend or state";
    b = &c->backends[items[0]];
    if (b->region != c->nodes[out->node].region)
        return "a backend of another region";
    if (n > 0 && out->backends[n - 1].backend >= items[0])
        return "backends not in order";
    if (items[2] > (uint64_t)b->slots * 2)
        return "more than twice the charter's slots";
    out->backends[n].backend = (uint32_t)items[0];
    out->backends[n].rejects = (uint32_t)items[7];
    out->backends[n].facts = (struct health_backend){
        .state = (enum health_state)items[1],
        .age = HEALTH_FRESH,
        .slots = (uint32_t)items[2],
        .in_flight = (uint32_t)items[3],
        .queued = (uint32_t)items[4],
        .pressure_permille = (uint32_t)items[5],
        .ttft_ms = (uint32_t)items[6],
        .models_matched = items[8],
    };
    if (b->served_count < 64)
        out->backends[n].facts.models_matched &= (UINT64_C(1) << b->served_count) - 1;
    out->backend_count = n + 1;
    return NULL;
}

static const char *
read_backends(const struct json *list, const struct charter *c, struct advert *out)
{
    uint8_t own[CUT_BYTES * 2];
    struct text digest;

    out->backend_count = 0;
    if (list == NULL || json_type_of(list) != JSON_ARRAY)
        return "no list of backends";
    text_init(&digest, own, sizeof(own));
    text_add_b64url(&digest, slice_of(c->digest, CUT_BYTES));
    /* The rows count another charter's backends: they mean nothing here. */
    if (!slice_is(text_slice(&digest), out->charter_digest))
        return NULL;
    for (const struct json *row = json_first(list); row != NULL; row = json_next(row)) {
        const char *why = read_row(row, c, out);

        if (why != NULL)
            return why;
    }
    return NULL;
}

/* 16 bytes in base64url. */
static bool
read_id(const struct json *v, char out[ADVERT_BOOT_SIZE])
{
    uint8_t bytes[BOOT_BYTES];
    size_t len = sizeof(bytes);
    struct slice s;

    return json_string(v, &s) && text_unb64url(s, bytes, &len) && len == sizeof(bytes) &&
           slice_copy_str(s, out, ADVERT_BOOT_SIZE);
}

static bool
is_member(const struct json *root, const char *name, const char *value)
{
    struct slice s;

    return json_string(json_get(root, name), &s) && slice_is(s, value);
}

/* Everything but the rows. */
static const char *
read_head(const struct json *root, const struct charter *c, struct advert *out)
{
    const struct json *charter = json_get(root, "charter");
    struct slice name;
    int64_t v;
    int64_t seq;
    int64_t version;

    if (json_type_of(root) != JSON_OBJECT || json_count(root) != MEMBERS)
        return "not exactly the known members";
    if (!json_int(json_get(root, "v"), &v) || v != 1)
        return "another version of the format";
    if (!is_member(root, "mesh", c->mesh))
        return "another mesh";
    if (!json_string(json_get(root, "node"), &name))
        return "no node";
    out->node = charter_find_node(c, name);
    if (out->node == CHARTER_NONE)
        return "a node that is not in the charter";
    if (!is_member(root, "region", c->regions[c->nodes[out->node].region].name))
        return "a region that is not the node's";
    if (!read_id(json_get(root, "boot"), out->boot) || !json_int(json_get(root, "seq"), &seq) ||
        seq < 0 || !json_int(json_get(root, "t"), &out->t_ms) || out->t_ms < 0)
        return "malformed boot, seq or t";
    if (charter == NULL || json_count(charter) != 2 ||
        !json_int(json_get(charter, "version"), &version) || version < 0 ||
        !read_id(json_get(charter, "digest"), out->charter_digest))
        return "malformed charter";
    out->draining = is_member(root, "state", "draining");
    if (!out->draining && !is_member(root, "state", "ready"))
        return "malformed state";
    out->seq = (uint64_t)seq;
    out->charter_version = (uint64_t)version;
    return NULL;
}

static enum err
read_payload(const struct dsse *env, const struct charter *c, int64_t now_ms, struct advert *out,
             const char **why)
{
    struct json_doc *doc = NULL;
    enum err e = json_parse(dsse_payload(env), &doc, why);

    if (e != ERR_OK)
        return e == ERR_NOMEM ? e : ERR_BADMSG;
    *why = read_head(json_root(doc), c, out);
    if (*why == NULL && !signed_by_node(env, &c->nodes[out->node], now_ms)) {
        *why = "not signed by the node's advert key";
        e = ERR_AUTH;
    } else if (*why == NULL) {
        *why = read_backends(json_get(json_root(doc), "backends"), c, out);
    }
    json_free(&doc);
    return e != ERR_OK ? e : *why != NULL ? ERR_BADMSG : ERR_OK;
}

enum err
advert_read(struct slice text, const struct charter *c, int64_t now_ms, struct advert *out,
            const char **why)
{
    struct dsse *env = NULL;
    enum err e;

    *why = "too long";
    if (text.len > ADVERT_MAX)
        return ERR_BADMSG;
    e = dsse_parse(text, &env, why);
    if (e != ERR_OK)
        return e == ERR_NOMEM ? e : ERR_BADMSG;
    *why = "another payload type";
    e = slice_is(dsse_payload_type(env), PAYLOAD_TYPE) ? read_payload(env, c, now_ms, out, why)
                                                       : ERR_BADMSG;
    dsse_free(&env);
    return e;
}
