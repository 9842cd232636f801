#include "node/snapshot_judge_priv.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DEPTH_MAX 4

void
judge_say(const struct judge *j, struct issues *into, const char *path, const char *member,
          const char *format, ...)
{
    struct json_reader readers[DEPTH_MAX + 2];
    char names[DEPTH_MAX][64];
    struct slice rest = slice_str(path);
    size_t depth = 0;
    va_list ap;

    readers[0] = json_reader_root(j->doc, j->config->file, into);
    for (; rest.len > 0 && depth < DEPTH_MAX; depth++) {
        (void)slice_copy_str(slice_cut(&rest, '.'), names[depth], sizeof(names[depth]));
        readers[depth + 1] = json_reader_get(&readers[depth], names[depth]);
    }
    if (member != NULL) {
        readers[depth + 1] = json_reader_get(&readers[depth], member);
        depth++;
    }
    va_start(ap, format);
    json_reader_vfault(&readers[depth], format, ap);
    va_end(ap);
}

/* ---- Where it listens --------------------------------------------------------------- */

static bool
resolve(const char *text, struct address *out)
{
    char host[254];
    uint16_t port = 0;

    return text[0] != '\0' && address_split(slice_str(text), host, &port) == ERR_OK &&
           address_resolve(host, port, out) == ERR_OK;
}

static bool
geo_of(const struct address *a, struct geo_address *out)
{
    return geo_address_from_sockaddr((const struct sockaddr *)&a->storage, a->len, out) == ERR_OK;
}

/* 0.0.0.0 or ::, every address of the machine. */
static bool
is_any(const struct address *a)
{
    static const uint8_t none[16] = {0};
    struct geo_address g;

    return geo_of(a, &g) && memcmp(g.bytes, none, sizeof(none)) == 0;
}

static bool
is_loopback(const struct address *a)
{
    struct geo_address g;
    enum geo_quality q;

    return geo_of(a, &g) && geo_address_special(&g, &q) && q == GEO_LOOPBACK;
}

static void
judge_collisions(const struct judge *j)
{
    const struct {
        const char *path, *address;
    } at[] = {{"listeners.public.address", j->config->public_address},
              {"listeners.mesh.address", j->config->mesh_address},
              {"listeners.admin.address", j->config->admin_address}};

    for (size_t i = 0; i < ARRAY_COUNT(at); i++)
        for (size_t k = 0; k < i; k++) {
            struct address a, b;

            if (resolve(at[i].address, &a) && resolve(at[k].address, &b) && address_port(&a) != 0 &&
                address_port(&a) == address_port(&b) &&
                (is_any(&a) || is_any(&b) || address_equal(&a, &b)))
                judge_say(j, j->faults, at[i].path, NULL, "is that of %s too", at[k].path);
        }
}

/* Peers connect to what the charter says. */
static void
judge_mesh(const struct judge *j)
{
    const struct charter_node *n = &j->s->charter->nodes[j->s->own_node];
    struct address own, said;

    if (j->config->mesh_address[0] == '\0')
        return;
    if (!resolve(j->config->mesh_address, &own))
        judge_say(j, j->faults, "listeners.mesh.address", NULL, "no address for \"%s\"",
                  j->config->mesh_address);
    else if (address_port(&own) != n->port)
        judge_say(j, j->faults, "listeners.mesh.address", NULL,
                  "is on port %u, the charter says %u for this node", address_port(&own), n->port);
    else if (!is_any(&own) && address_resolve(n->host, n->port, &said) == ERR_OK &&
             !address_equal(&own, &said))
        judge_say(j, j->faults, "listeners.mesh.address", NULL,
                  "is not at %s, where the charter says that this node is", n->host);
}

static void
judge_exposure(const struct judge *j)
{
    struct address admin;

    if (resolve(j->config->admin_address, &admin) && !is_loopback(&admin))
        judge_say(j, j->warnings, "listeners.admin.address", NULL,
                  "is not on loopback: whoever reaches it reads metrics and health");
    for (size_t i = 0; i < j->s->proxy_count; i++)
        if (j->s->proxies[i].prefix_bits == 0)
            judge_say(j, j->warnings, "listeners.public.trusted_proxies", NULL,
                      "\"%s\" trusts everybody: any caller can name its own origin",
                      j->config->proxies[i]);
}

/* ---- Folders and files -------------------------------------------------------------- */

static void
judge_folders(const struct judge *j)
{
    const struct {
        const char *path, *folder;
    } at[] = {{"ledger.dir", j->config->ledger_dir},
              {"state_dir", j->config->state_dir},
              {"subjects_dir", j->config->subjects_dir}};
    struct stat st;

    for (size_t i = 0; i < ARRAY_COUNT(at); i++) {
        int failed = stat(at[i].folder, &st) == 0 ? 0 : errno;

        if ((failed == 0 && !S_ISDIR(st.st_mode)) || failed == ENOTDIR)
            judge_say(j, j->faults, at[i].path, NULL, "\"%s\" can be no folder: a file is there",
                      at[i].folder);
    }
}

static void
judge_secret(const struct judge *j, const char *path, const char *member, const char *file)
{
    struct stat st;

    if (file[0] != '\0' && stat(file, &st) == 0 && (st.st_mode & (S_IRGRP | S_IROTH)) != 0)
        judge_say(j, j->warnings, path, member, "\"%s\" can be read by others (mode %03o)", file,
                  (unsigned)st.st_mode & 0777);
}

static void
judge_secrets(const struct judge *j)
{
    const struct config *c = j->config;

    judge_secret(j, "listeners.public.key", NULL, c->public_key);
    for (size_t i = 0; i < c->cert_count; i++)
        judge_secret(j, "listeners.public.certs", NULL, c->certs[i].key);
    judge_secret(j, "listeners.mesh.key", NULL, c->mesh_key);
    judge_secret(j, "keys.attest", NULL, c->attest_key);
    judge_secret(j, "keys.advert", NULL, c->advert_key);
    judge_secret(j, "backend_client.key", NULL, c->backend_key);
    for (size_t i = 0; i < c->credentials.count; i++)
        judge_secret(j, "credentials", c->credentials.items[i].name, c->credentials.items[i].path);
    for (size_t i = 0; i < c->redis_count; i++)
        judge_secret(j, "store.servers", NULL, c->redis[i].password_file);
}

/* The config's text once more; it was parsed a moment ago. */
static enum err
parse_again(const struct config *c, struct json_doc **out)
{
    struct issues *ignored = issues_new();
    char *text = NULL;
    size_t len = 0;
    enum err e = ignored == NULL ? ERR_NOMEM : file_read(c->file, CONFIG_FILE_MAX, &text, &len);

    if (e == ERR_OK)
        e = json_parse_commented(slice_of(text, len), c->file, ignored, out);
    free(text);
    issues_free(&ignored);
    return e;
}

void
snapshot_judge(const struct snapshot *s, int64_t now_ms, struct issues *faults,
               struct issues *warnings)
{
    struct json_doc *doc = NULL;
    struct judge j = {.s = s, .config = s->config, .faults = faults, .warnings = warnings};

    if (parse_again(s->config, &doc) != ERR_OK) {
        issues_add(faults, s->config->file, 0, NULL, "changed while it was looked at");
        return;
    }
    j.doc = doc;
    judge_collisions(&j);
    judge_mesh(&j);
    judge_exposure(&j);
    judge_folders(&j);
    judge_secrets(&j);
    judge_names(&j);
    if (s->charter->renew_by_ms <= now_ms)
        issues_add(warnings, s->config->charter, 0, "renew_by",
                   "has passed: requests stay in the region of their node");
    json_free(&doc);
}
