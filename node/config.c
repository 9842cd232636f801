#include "node/config.h"

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "node/machine.h"
#include "node/config_priv.h"

#include <stdlib.h>

enum value_type { VALUE_TEXT, VALUE_PATH, VALUE_INT, VALUE_LIST };

/* One row a key. Text and path: at most size - 1 bytes. Lists are read by name below. */
struct config_row {
    const char *path; /* "listeners.public.cert" */
    enum value_type type;
    size_t offset;
    size_t size;
    const char *def; /* NULL: required */
    int64_t min, max;
    const char *unit;
    const char *help;
};

#define TEXT(p, member, def, help)                                                                 \
    {                                                                                              \
        p, VALUE_TEXT, offsetof(struct config, member), sizeof(((struct config *)0)->member), def, \
            0, 0, "", help                                                                         \
    }
#define PATH(p, member, def, help)                                                                 \
    {                                                                                              \
        p, VALUE_PATH, offsetof(struct config, member), sizeof(((struct config *)0)->member), def, \
            0, 0, "", help                                                                         \
    }
#define NUMBER(p, member, def, min, max, unit, help)                                              \
    {                                                                                             \
        p, VALUE_INT, offsetof(struct config, member), sizeof(int64_t), def, min, max, unit, help \
    }
#define LIST(p, help)                           \
    {                                           \
        p, VALUE_LIST, 0, 0, "", 0, 0, "", help \
    }

/* clang-format off */
static const struct config_row rows[] = {
    NUMBER("v", workers, "1", 1, 1, "", "Version of this file's format."),
    TEXT("mesh", mesh, NULL, "Name of the mesh: that of the charter."),
    TEXT("node", node, NULL, "Name of this node in the charter."),
    PATH("charter", charter, NULL, "The signed charter (DSSE envelope)."),
    PATH("state_dir", state_dir, "state", "Folder of the highest charter version seen."),
    LIST("trust", "{threshold, keys: [JWK, ...]}: who must have signed the charter."),
    TEXT("listeners.public.address", public_address, NULL, "Where clients connect: address:port."),
    PATH("listeners.public.cert", public_cert, "", "Certificate chain (PEM): the default, unless only certs is there."),
    PATH("listeners.public.key", public_key, "", "Its private key (PEM)."),
    LIST("listeners.public.certs", "[{cert, key, names?}]: chosen by the name a client asks for (SNI), exact, then \"*.\" for one label."),
    PATH("listeners.public.client_ca", public_client_ca, "", "CAs of client certificates (PEM)."),
    PATH("listeners.public.client_crl", public_client_crl, "", "CRLs of those CAs, one at least of each (PEM)."),
    TEXT("listeners.public.client_auth", public_client_auth, "none", "none, optional or required."),
    LIST("listeners.public.names", "Host names that clients may ask for."),
    LIST("listeners.public.trusted_proxies", "Networks whose X-Forwarded-For counts."),
    TEXT("listeners.mesh.address", mesh_address, "", "Where peers connect; empty: no peers."),
    PATH("listeners.mesh.cert", mesh_cert, "", "SPIFFE certificate of this node (PEM)."),
    PATH("listeners.mesh.key", mesh_key, "", "Its private key (PEM)."),
    PATH("listeners.mesh.ca", mesh_ca, "", "CA of the mesh (PEM)."),
    PATH("listeners.mesh.crl", mesh_crl, "", "CRLs of the mesh's CAs, one at least of each (PEM)."),
    TEXT("listeners.admin.address", admin_address, NULL, "Health, readiness, metrics: address:port."),
    PATH("keys.attest", attest_key, NULL, "Private key that signs attestations (PEM)."),
    PATH("keys.advert", advert_key, NULL, "Private key that signs adverts (PEM)."),
    PATH("backend_client.cert", backend_cert, "", "Client certificate shown to backends (PEM)."),
    PATH("backend_client.key", backend_key, "", "Its private key (PEM)."),
    LIST("cas", "{name: file}: CAs that the charter's backends refer to."),
    LIST("credentials", "{name: file}: bearer credentials of backends."),
    LIST("issuers", "{issuer: file}: JWK sets of token issuers."),
    PATH("api_keys", api_keys, "", "Salted hashes of API keys (portolan keys)."),
    PATH("geoip.path", geoip_path, NULL, "Country database (mmdb)."),
    NUMBER("geoip.max_age_days", geoip_max_age_days, "1500", 1, 36500, "days", "Oldest build accepted."),
    LIST("geoip.canaries", "{address: country}: look-ups that must come out so."),
    PATH("ledger.dir", ledger_dir, "ledger", "Folder of the evidence."),
    TEXT("ledger.durability", ledger_durability, "disk", "disk or process."),
    NUMBER("ledger.segment_mib", ledger_segment_mib, "16", 1, 1024, "MiB", "Size of a log segment."),
    PATH("subjects_dir", subjects_dir, "subjects", "Folder of the subject keys."),
    LIST("store", "{kind: memory} or {kind: redis, servers: [{address, tls, ca, user, password_file}]}."),
    NUMBER("workers", workers, "0", 0, 256, "threads", "Worker threads; 0: one per core."),
    NUMBER("limits.body_bytes", body_bytes_max, "8388608", 1024, 67108864, "bytes", "Largest JSON body."),
    NUMBER("limits.body_budget_mib", body_budget_mib, "1024", 16, 65536, "MiB", "Bodies held at one time."),
    NUMBER("limits.connections", connections_max, "8192", 16, 1000000, "", "Client connections at one time."),
    NUMBER("limits.connections_per_address", connections_per_address, "1024", 0, 1000000, "", "Of one client address (IPv6: /64), trusted proxies excepted; 0: unlimited."),
    NUMBER("limits.memory_mib", memory_mib, "0", 0, 16777216, "MiB", "Held for connections and requests before shedding; 0: half of the machine's or control group's."),
    NUMBER("limits.handshakes", handshakes_max, "1024", 16, 100000, "", "TLS handshakes under way at one time, a listener."),
    NUMBER("limits.token_cache", token_cache_count, "16384", 16, 1000000, "tokens", "Verified tokens a worker remembers."),
    NUMBER("limits.requests_per_connection", requests_per_connection, "1000", 0, 1000000000, "", "0: unlimited."),
    NUMBER("timeouts.head_ms", head_timeout_ms, "10000", 100, 120000, "ms", "TLS handshake and request head, each."),
    NUMBER("timeouts.idle_ms", idle_timeout_ms, "60000", 100, 3600000, "ms", "Keep-alive without a request."),
    NUMBER("timeouts.connect_ms", deadlines.connect_ms, "1500", 10, 60000, "ms", "One connection attempt, TLS included."),
    NUMBER("timeouts.first_byte_ms", deadlines.first_byte_ms, "300000", 100, 3600000, "ms", "Until the answer begins."),
    NUMBER("timeouts.commit_ms", commit_timeout_ms, "15000", 100, 120000, "ms", "An answer's head is held for its first byte or event."),
    NUMBER("timeouts.sse_keepalive_ms", sse_keepalive_ms, "15000", 100, 3600000, "ms", "Silence before a keep-alive comment."),
    NUMBER("timeouts.stream_stall_ms", stream_stall_ms, "30000", 100, 3600000, "ms", "Silence of a stream that counts against its backend."),
    NUMBER("timeouts.stream_idle_ms", deadlines.idle_ms, "120000", 100, 3600000, "ms", "Between bytes of an answer."),
    NUMBER("timeouts.total_ms", deadlines.total_ms, "3600000", 1000, 86400000, "ms", "One request in all."),
    LIST("timeouts.endpoints", "{endpoint: {connect_ms, first_byte_ms, stream_idle_ms, total_ms}}: those of one endpoint, by its name in attestations."),
    NUMBER("timeouts.drain_wait_ms", drain_wait_ms, "5000", 0, 60000, "ms", "Accepting on after SIGTERM."),
    NUMBER("timeouts.drain_ms", drain_timeout_ms, "600000", 0, 3600000, "ms", "Finishing streams after SIGTERM."),
    NUMBER("probes.interval_ms", probe_interval_ms, "1000", 50, 60000, "ms", "Between probes, +- 20 %."),
};
/* clang-format on */

bool
config_path(const struct config *c, const char *name, char out[CONFIG_PATH_MAX])
{
    return file_join(out, CONFIG_PATH_MAX, c->dir, name);
}

static void
copy_text(const struct json_reader *r, struct slice s, char *out, size_t size)
{
    if (!slice_copy_str(s, out, size))
        json_reader_fault(r, "must be at most %zu bytes", size - 1);
}

/* A value that is a path becomes one from the file's folder; empty stays empty. */
static void
copy_path(const struct config *c, const struct json_reader *r, struct slice s, char *out)
{
    char name[CONFIG_PATH_MAX];

    out[0] = '\0';
    if (s.len == 0)
        return;
    if (!slice_copy_str(s, name, sizeof(name)) || !config_path(c, name, out))
        json_reader_fault(r, "must be at most %d bytes", CONFIG_PATH_MAX - 1);
}

static void
store_default(struct config *c, const struct config_row *row, const struct json_reader *r)
{
    char *at = (char *)c + row->offset;
    uint64_t number = 0;

    if (row->def == NULL) {
        json_reader_fault(r, "missing");
    } else if (row->type == VALUE_INT) {
        ASSERT(slice_u64(slice_str(row->def), &number));
        if (strcmp(row->path, "v") != 0)
            *(int64_t *)(void *)at = (int64_t)number;
    } else if (row->type == VALUE_PATH) {
        copy_path(c, r, slice_str(row->def), at);
    } else {
        copy_text(r, slice_str(row->def), at, row->size);
    }
}

static void
store_value(struct config *c, const struct config_row *row, const struct json_reader *r)
{
    char *at = (char *)c + row->offset;
    struct slice text = SLICE_NONE;
    int64_t number = 0;

    if (r->v == NULL) {
        store_default(c, row, r);
    } else if (row->type == VALUE_INT) {
        if (json_reader_int(r, row->min, row->max, &number) && strcmp(row->path, "v") != 0)
            *(int64_t *)(void *)at = number;
    } else if (json_reader_string(r, &text)) {
        if (row->type == VALUE_PATH)
            copy_path(c, r, text, at);
        else
            copy_text(r, text, at, row->size);
    }
}

/* Whether some row starts with "prefix." (prefix may be empty). */
static bool
known_names(const char *prefix, const char **names, size_t max)
{
    size_t prefix_len = strlen(prefix);
    size_t n = 0;
    static const char *const sections[] = {
        "listeners", "listeners.public", "listeners.mesh", "listeners.admin",
        "keys",      "backend_client",   "geoip",          "ledger",
        "limits",    "timeouts",         "probes"};

    for (size_t i = 0; i < ARRAY_COUNT(rows) + ARRAY_COUNT(sections); i++) {
        const char *path = i < ARRAY_COUNT(rows) ? rows[i].path : sections[i - ARRAY_COUNT(rows)];
        const char *rest = path + prefix_len;

        if (strncmp(path, prefix, prefix_len) != 0 || (prefix_len > 0 && *rest++ != '.'))
            continue;
        if (*rest != '\0' && strchr(rest, '.') == NULL && n + 1 < max)
            names[n++] = rest;
    }
    names[n] = NULL;
    return n > 0;
}

static void
check_section(const struct json_reader *r, const char *prefix)
{
    const char *names[ARRAY_COUNT(rows) + 16];

    if (r->v != NULL && known_names(prefix, names, ARRAY_COUNT(names)))
        (void)json_reader_keys(r, names);
}

static void
read_scalars(struct config *c, const struct json_reader *root)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char parts[3][64] = {"", "", ""};
        struct json_reader readers[4];
        struct slice rest = slice_str(rows[i].path);
        size_t depth = 0;

        if (rows[i].type == VALUE_LIST)
            continue;
        readers[0] = *root;
        while (rest.len > 0 && depth < 3) {
            (void)slice_copy_str(slice_cut(&rest, '.'), parts[depth], sizeof(parts[depth]));
            readers[depth + 1] = json_reader_get(&readers[depth], parts[depth]);
            depth++;
        }
        store_value(c, &rows[i], &readers[depth]);
    }
}

static void
read_trust(struct config *c, const struct json_reader *root)
{
    static const char *const known[] = {"threshold", "keys", NULL};
    struct json_reader r = json_reader_get(root, "trust");
    struct json_reader threshold;
    struct json_reader keys;
    int64_t number = 0;
    size_t i = 0;

    if (r.v == NULL) {
        json_reader_fault(&r, "missing");
        return;
    }
    if (!json_reader_keys(&r, known))
        return;
    keys = json_reader_get(&r, "keys");
    threshold = json_reader_get(&r, "threshold");
    if (keys.v == NULL || json_type_of(keys.v) != JSON_ARRAY || json_count(keys.v) == 0 ||
        json_count(keys.v) > ARRAY_COUNT(c->trust.keys)) {
        json_reader_fault(&keys, "must be a list of 1 to 16 JWKs");
        return;
    }
    for (const struct json *v = json_first(keys.v); v != NULL; v = json_next(v), i++) {
        struct json_reader item = json_reader_item(&keys, v, i);
        enum err e = key_from_jwk(v, &c->trust.keys[i]);

        if (e != ERR_OK)
            json_reader_fault(&item, "is no usable public JWK: %s", err_text(e));
        else
            c->trust.key_count = i + 1;
    }
    if (json_reader_int(&threshold, 1, (int64_t)json_count(keys.v), &number))
        c->trust.threshold = (size_t)number;
}

static void
read_pairs(struct config *c, const struct json_reader *root, const char *name,
           struct config_pairs *out)
{
    struct json_reader r = json_reader_get(root, name);
    size_t n = 0;

    if (r.v == NULL)
        return;
    if (json_type_of(r.v) != JSON_OBJECT || json_count(r.v) > CONFIG_PAIRS_MAX) {
        json_reader_fault(&r, "must be an object of at most %d members", CONFIG_PAIRS_MAX);
        return;
    }
    out->items = calloc(json_count(r.v) + 1, sizeof(*out->items));
    if (out->items == NULL) {
        json_reader_fault(&r, "out of memory");
        return;
    }
    for (const struct json *v = json_first(r.v); v != NULL; v = json_next(v), n++) {
        struct json_reader item = json_reader_member(&r, v);
        struct slice text = SLICE_NONE;

        copy_text(&item, slice_str(json_key(v)), out->items[n].name, sizeof(out->items[n].name));
        if (json_reader_string(&item, &text))
            copy_path(c, &item, text, out->items[n].path);
    }
    out->count = n;
}

/* A list of strings into rows of `size` bytes. */
static void
read_strings(const struct json_reader *r, char *out, size_t size, size_t max, size_t *count)
{
    size_t n = 0;

    if (r->v == NULL)
        return;
    if (json_type_of(r->v) != JSON_ARRAY || json_count(r->v) > max) {
        json_reader_fault(r, "must be a list of at most %zu strings", max);
        return;
    }
    for (const struct json *v = json_first(r->v); v != NULL; v = json_next(v), n++) {
        struct json_reader item = json_reader_item(r, v, n);
        struct slice text = SLICE_NONE;

        if (json_reader_string(&item, &text))
            copy_text(&item, text, out + n * size, size);
    }
    *count = n;
}

static void
read_public_lists(struct config *c, const struct json_reader *root)
{
    struct json_reader listeners = json_reader_get(root, "listeners");
    struct json_reader public = json_reader_get(&listeners, "public");
    struct json_reader names = json_reader_get(&public, "names");
    struct json_reader proxies = json_reader_get(&public, "trusted_proxies");

    read_strings(&names, c->names[0], sizeof(c->names[0]), CONFIG_NAMES_MAX, &c->name_count);
    read_strings(&proxies, c->proxies[0], sizeof(c->proxies[0]), CONFIG_PROXIES_MAX,
                 &c->proxy_count);
    if (c->name_count == 0)
        json_reader_fault(&names, "must name at least one host");
}

static void
read_canaries(struct config *c, const struct json_reader *root)
{
    struct json_reader geoip = json_reader_get(root, "geoip");
    struct json_reader r = json_reader_get(&geoip, "canaries");

    if (r.v == NULL)
        return;
    if (json_type_of(r.v) != JSON_OBJECT || json_count(r.v) > CONFIG_CANARIES_MAX) {
        json_reader_fault(&r, "must be an object of at most %d members", CONFIG_CANARIES_MAX);
        return;
    }
    for (const struct json *v = json_first(r.v); v != NULL; v = json_next(v)) {
        struct json_reader item = json_reader_member(&r, v);
        struct slice text = SLICE_NONE;
        size_t n = c->canary_count++;

        copy_text(&item, slice_str(json_key(v)), c->canaries[n].ip, sizeof(c->canaries[n].ip));
        if (json_reader_string(&item, &text))
            copy_text(&item, text, c->canaries[n].country, sizeof(c->canaries[n].country));
    }
}

static void
read_redis(struct config *c, const struct json_reader *r, struct config_redis *out)
{
    static const char *const known[] = {"address", "tls", "ca", "user", "password_file", NULL};
    struct json_reader address = json_reader_get(r, "address");
    struct json_reader tls = json_reader_get(r, "tls");
    struct json_reader ca = json_reader_get(r, "ca");
    struct json_reader user = json_reader_get(r, "user");
    struct json_reader password = json_reader_get(r, "password_file");
    struct slice text = SLICE_NONE;

    if (!json_reader_keys(r, known))
        return;
    if (json_reader_string(&address, &text))
        copy_text(&address, text, out->address, sizeof(out->address));
    (void)json_reader_opt_bool(&tls, &out->tls);
    text = SLICE_NONE;
    if (json_reader_opt_string(&ca, &text))
        copy_path(c, &ca, text, out->ca);
    text = SLICE_NONE;
    if (json_reader_opt_string(&user, &text))
        copy_text(&user, text, out->user, sizeof(out->user));
    text = SLICE_NONE;
    if (json_reader_opt_string(&password, &text))
        copy_path(c, &password, text, out->password_file);
    if (out->tls && out->ca[0] == '\0')
        json_reader_fault(&ca, "missing (tls is on)");
}

static void
read_store(struct config *c, const struct json_reader *root)
{
    static const char *const known[] = {"kind", "servers", NULL};
    struct json_reader r = json_reader_get(root, "store");
    struct json_reader kind = json_reader_get(&r, "kind");
    struct json_reader servers = json_reader_get(&r, "servers");
    struct slice text = SLICE_NONE;

    if (r.v == NULL || !json_reader_keys(&r, known) || !json_reader_string(&kind, &text))
        return;
    if (slice_is(text, "memory"))
        return;
    if (!slice_is(text, "redis")) {
        json_reader_fault(&kind, "must be \"memory\" or \"redis\"");
        return;
    }
    if (servers.v == NULL || json_type_of(servers.v) != JSON_ARRAY || json_count(servers.v) == 0 ||
        json_count(servers.v) > CONFIG_REDIS_MAX) {
        json_reader_fault(&servers, "must be a list of 1 to %d servers", CONFIG_REDIS_MAX);
        return;
    }
    for (const struct json *v = json_first(servers.v); v != NULL; v = json_next(v)) {
        struct json_reader item = json_reader_item(&servers, v, c->redis_count);

        read_redis(c, &item, &c->redis[c->redis_count++]);
    }
}

static void
check_words(const struct config *c, const struct json_reader *root)
{
    struct json_reader listeners = json_reader_get(root, "listeners");
    struct json_reader public = json_reader_get(&listeners, "public");
    struct json_reader auth = json_reader_get(&public, "client_auth");
    struct json_reader ca = json_reader_get(&public, "client_ca");
    struct json_reader crl = json_reader_get(&public, "client_crl");
    struct json_reader ledger = json_reader_get(root, "ledger");
    struct json_reader durability = json_reader_get(&ledger, "durability");
    const char *mode = c->public_client_auth;

    if (strcmp(mode, "none") != 0 && strcmp(mode, "optional") != 0 && strcmp(mode, "required") != 0)
        json_reader_fault(&auth, "must be \"none\", \"optional\" or \"required\"");
    else if (strcmp(mode, "none") != 0 && c->public_client_ca[0] == '\0')
        json_reader_fault(&ca, "missing (client_auth is \"%s\")", mode);
    if (strcmp(mode, "none") == 0 && c->public_client_crl[0] != '\0')
        json_reader_fault(&crl, "has no effect (client_auth is \"none\")");
    if (strcmp(c->ledger_durability, "disk") != 0 && strcmp(c->ledger_durability, "process") != 0)
        json_reader_fault(&durability, "must be \"disk\" or \"process\"");
}

/* A limit that is not given comes from the machine. */
static void
settle_memory(struct config *c, const struct json_reader *root)
{
    struct json_reader limits = json_reader_get(root, "limits");
    struct json_reader memory = json_reader_get(&limits, "memory_mib");

    if (c->memory_mib == 0)
        c->memory_mib = (int64_t)(machine_memory_bytes() / 2 >> 20);
    else if (c->memory_mib < CONFIG_MEMORY_MIB_MIN)
        json_reader_fault(&memory, "must be 0 or at least %d", CONFIG_MEMORY_MIB_MIN);
    if (c->memory_mib == 0)
        json_reader_fault(&memory, "must be given: how much memory there is can't be learnt");
}

static void
read_all(struct config *c, const struct json_reader *root)
{
    static const char *const sections[] = {"keys",   "backend_client", "geoip", "ledger",
                                           "limits", "timeouts",       "probes"};
    static const char *const listeners[] = {"public", "mesh", "admin"};
    struct json_reader l = json_reader_get(root, "listeners");

    check_section(root, "");
    check_section(&l, "listeners");
    for (size_t i = 0; i < ARRAY_COUNT(listeners); i++) {
        struct json_reader r = json_reader_get(&l, listeners[i]);
        char prefix[64];

        (void)text_format(prefix, sizeof(prefix), "listeners.%s", listeners[i]);
        check_section(&r, prefix);
    }
    for (size_t i = 0; i < ARRAY_COUNT(sections); i++) {
        struct json_reader r = json_reader_get(root, sections[i]);

        check_section(&r, sections[i]);
    }
    read_scalars(c, root);
    config_read_deadlines(c, root);
    read_trust(c, root);
    read_public_lists(c, root);
    config_read_certs(c, root);
    read_pairs(c, root, "cas", &c->cas);
    read_pairs(c, root, "credentials", &c->credentials);
    read_pairs(c, root, "issuers", &c->issuers);
    read_canaries(c, root);
    read_store(c, root);
    check_words(c, root);
    settle_memory(c, root);
}

enum err
config_load(const char *path, struct issues *issues, struct config **out)
{
    struct config *c = calloc(1, sizeof(*c));
    struct json_doc *doc = NULL;
    struct json_reader root;
    char *text = NULL;
    size_t len = 0;
    enum err e;

    if (c == NULL)
        return ERR_NOMEM;
    e = file_read(path, CONFIG_FILE_MAX, &text, &len);
    if (e != ERR_OK) {
        issues_add(issues, path, 0, NULL, "can't be read: %s", err_text(e));
        goto fail;
    }
    if (!text_format(c->file, sizeof(c->file), "%s", path) ||
        !file_dir(c->dir, sizeof(c->dir), path)) {
        e = ERR_TOOBIG;
        goto fail;
    }
    e = json_parse_commented(slice_of(text, len), path, issues, &doc);
    if (e != ERR_OK)
        goto fail;
    root = json_reader_root(doc, path, issues);
    read_all(c, &root);
    e = issues_any(issues) ? ERR_BADMSG : ERR_OK;
    if (e != ERR_OK)
        goto fail;
    json_free(&doc);
    free(text);
    *out = c;
    return ERR_OK;

fail:
    json_free(&doc);
    free(text);
    config_free(&c);
    return e;
}

void
config_free(struct config **out)
{
    struct config *c = *out;

    if (c == NULL)
        return;
    for (size_t i = 0; i < ARRAY_COUNT(c->trust.keys); i++)
        key_free(&c->trust.keys[i]);
    config_free_certs(c);
    free(c->cas.items);
    free(c->credentials.items);
    free(c->issuers.items);
    free(c);
    *out = NULL;
}

void
config_print_reference(FILE *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct config_row *row = &rows[i];

        (void)fprintf(out, "%-36s %-10s %s", row->path,
                      row->def == NULL      ? "required"
                      : row->def[0] == '\0' ? "-"
                                            : row->def,
                      row->help);
        if (row->type == VALUE_INT)
            (void)fprintf(out, " (%lld to %lld%s%s)", (long long)row->min, (long long)row->max,
                          row->unit[0] == '\0' ? "" : " ", row->unit);
        (void)fprintf(out, "\n");
    }
}
