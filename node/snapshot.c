#include "node/snapshot.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "node/snapshot_priv.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct slice
snapshot_read(const struct snapshot_load *l, const char *path, size_t max)
{
    char *text = NULL;
    size_t len = 0;
    enum err e = file_read(path, max, &text, &len);

    if (e != ERR_OK) {
        issues_add(l->issues, path, 0, NULL, "can't be read: %s", err_text(e));
        return SLICE_NONE;
    }
    return slice_of(text, len);
}

void
snapshot_drop(struct slice *s)
{
    /* Keys and credentials pass through here. */
    if (s->p != NULL) {
        union {
            const uint8_t *borrowed;
            void *owned;
        } p = {s->p};

        hash_wipe(p.owned, s->len);
        free(p.owned);
    }
    *s = SLICE_NONE;
}

enum err
snapshot_load(const char *config_path, int64_t now_ms, struct issues *issues, struct snapshot **out)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    struct snapshot_load l = {.s = s, .issues = issues, .now_ms = now_ms};
    enum err e;

    if (s == NULL)
        return ERR_NOMEM;
    atomic_init(&s->references, 1);
    s->own_node = CHARTER_NONE;
    e = config_load(config_path, issues, &s->config);
    if (e != ERR_OK)
        goto fail;
    l.config = s->config;
    snapshot_load_law(&l);
    snapshot_load_listeners(&l);
    if (s->charter != NULL && s->own_node != CHARTER_NONE)
        snapshot_load_targets(&l);
    e = ERR_BADMSG;
    if (issues_any(issues))
        goto fail;
    *out = s;
    return ERR_OK;

fail:
    snapshot_unref(&s);
    return e;
}

enum err
snapshot_bind(struct snapshot *s, struct admission *admission)
{
    const struct charter *c = s->charter;
    size_t tenants = c->tenant_count;

    ASSERT(s->limit_names == NULL);
    s->limit_names = calloc(c->backend_count + tenants + 1, sizeof(*s->limit_names));
    s->limit_numbers = calloc(c->backend_count + 2 * tenants + 1, sizeof(*s->limit_numbers));
    s->backend_ids = calloc(c->backend_count + 1, sizeof(uint32_t));
    s->tenant_ids = calloc(tenants + 1, sizeof(uint32_t));
    if (s->limit_names == NULL || s->limit_numbers == NULL || s->backend_ids == NULL ||
        s->tenant_ids == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->backend_count; i++) {
        s->limit_names[i] = c->backends[i].name;
        s->limit_numbers[i] = c->backends[i].slots;
    }
    for (size_t i = 0; i < tenants; i++) {
        s->limit_names[c->backend_count + i] = c->tenants[i].name;
        s->limit_numbers[c->backend_count + i] = c->tenants[i].limit_concurrent;
        s->limit_numbers[c->backend_count + tenants + i] = c->tenants[i].limit_per_minute;
    }
    s->limits = (struct admission_shape){
        .backend_names = s->limit_names,
        .backend_slots = s->limit_numbers,
        .backend_count = (uint32_t)c->backend_count,
        .tenant_names = s->limit_names + c->backend_count,
        .tenant_concurrent = s->limit_numbers + c->backend_count,
        .tenant_per_minute = s->limit_numbers + c->backend_count + tenants,
        .tenant_count = (uint32_t)tenants,
    };
    return admission_bind(admission, &s->limits, s->backend_ids, s->tenant_ids);
}

void
snapshot_apply_limits(const struct snapshot *s, struct admission *admission)
{
    admission_apply(admission, &s->limits, s->backend_ids, s->tenant_ids);
}

enum err
snapshot_tenants_ensure(const struct snapshot *s, struct subject_store *subjects)
{
    enum err e = ERR_OK;

    for (size_t i = 0; i < s->charter->tenant_count && e == ERR_OK; i++)
        e = subject_tenant_ensure(subjects, slice_str(s->charter->tenants[i].name));
    return e;
}

#define SEEN_LOCK_TRIES 2000 /* milliseconds */

static bool
seen_path(const struct snapshot *s, char out[CONFIG_PATH_MAX])
{
    return file_join(out, CONFIG_PATH_MAX, s->config->state_dir, "charter-seen");
}

bool
snapshot_seen_ok(const struct snapshot *s, struct issues *issues)
{
    char path[CONFIG_PATH_MAX];
    char digest[2 * HASH_SIZE + 1] = "";
    char *text = NULL;
    size_t len = 0;
    struct slice rest;
    uint64_t version = 0;
    struct text t;
    enum err e;
    bool ok = false;

    if (!seen_path(s, path))
        return false;
    e = file_read(path, 256, &text, &len);
    if (e == ERR_NOENT)
        return true;
    text_init(&t, digest, sizeof(digest));
    text_add_hex(&t, slice_of(s->charter->digest, HASH_SIZE));
    rest = slice_of(text, len);
    if (e != ERR_OK || !slice_u64(slice_cut(&rest, ' '), &version))
        issues_add(issues, path, 1, NULL, "can't be read: the highest charter version is unknown");
    else if (s->charter->version < version)
        issues_add(issues, s->config->charter, 0, "version",
                   "is %" PRIu64 ", but %" PRIu64 " was seen before", s->charter->version, version);
    else if (s->charter->version == version && !slice_eq(slice_sub(rest, 0, 64), text_slice(&t)))
        issues_add(issues, s->config->charter, 0, "version",
                   "%" PRIu64 " was seen before with another content", version);
    else
        ok = true;
    free(text);
    return ok;
}

static enum err
seen_write(const struct snapshot *s)
{
    struct issues *issues = issues_new();
    char path[CONFIG_PATH_MAX];
    char line[128];
    struct text t;
    bool ok;

    if (issues == NULL)
        return ERR_NOMEM;
    ok = snapshot_seen_ok(s, issues);
    issues_free(&issues);
    if (!ok)
        return ERR_CONFLICT;
    if (!seen_path(s, path))
        return ERR_TOOBIG;
    text_init(&t, line, sizeof(line));
    text_add_u64(&t, s->charter->version);
    text_add_char(&t, ' ');
    text_add_hex(&t, slice_of(s->charter->digest, HASH_SIZE));
    text_add_char(&t, '\n');
    return file_write(path, text_slice(&t), 0600);
}

/* Another process of this node may do the same: it is looked at again under a lock, so that
 * what was seen never goes back. */
enum err
snapshot_charter_keep(struct snapshot *s)
{
    char dir[CONFIG_PATH_MAX], name[NAME_MAX], path[CONFIG_PATH_MAX];
    enum err e;

    if (!file_join(dir, sizeof(dir), s->config->ledger_dir, "charters") ||
        !text_format(name, sizeof(name), "%" PRIu64 "-%s.dsse.json", s->charter->version,
                     s->charter_cut) ||
        !file_join(path, sizeof(path), dir, name))
        return ERR_TOOBIG;
    e = file_mkdirs(dir, 0700);
    /* Its name has its digest: what is there is the same. */
    if (e == ERR_OK && access(path, F_OK) != 0)
        e = file_write(path, s->envelope, 0600);
    snapshot_drop(&s->envelope);
    return e;
}

enum err
snapshot_seen_keep(const struct snapshot *s)
{
    char path[CONFIG_PATH_MAX];
    enum err e = file_mkdirs(s->config->state_dir, 0700);
    int fd;

    if (e != ERR_OK)
        return e;
    if (!file_join(path, sizeof(path), s->config->state_dir, "charter-seen.lock"))
        return ERR_TOOBIG;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return ERR_IO;
    e = file_lock(fd, SEEN_LOCK_TRIES);
    if (e == ERR_OK)
        e = seen_write(s);
    (void)close(fd);
    return e;
}

struct snapshot *
snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}

void
snapshot_unref(struct snapshot **out)
{
    struct snapshot *s = *out;

    *out = NULL;
    if (s == NULL || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; s->charter != NULL && i < s->charter->backend_count; i++) {
        if (s->authorizations != NULL && s->authorizations[i] != NULL) {
            hash_wipe(s->authorizations[i], strlen(s->authorizations[i]));
            free(s->authorizations[i]);
        }
        if (s->backends != NULL)
            tls_unref(&s->backends[i].tls);
    }
    for (size_t i = 0; s->nodes != NULL && i < s->charter->node_count; i++)
        tls_unref(&s->nodes[i].tls);
    for (size_t i = 0; i < CONFIG_REDIS_MAX; i++) {
        tls_unref(&s->redis_tls[i]);
        if (s->redis_passwords[i] != NULL)
            hash_wipe(s->redis_passwords[i], strlen(s->redis_passwords[i]));
        free(s->redis_passwords[i]);
    }
    snapshot_drop(&s->envelope);
    free(s->backends);
    free(s->nodes);
    free(s->authorizations);
    free(s->policy_cuts);
    free(s->limit_names);
    free(s->limit_numbers);
    free(s->backend_ids);
    free(s->tenant_ids);
    record_signer_free(&s->signer);
    key_free(&s->attest_key);
    key_free(&s->advert_key);
    tls_unref(&s->public_tls);
    tls_unref(&s->mesh_tls);
    egress_free(&s->egress);
    identity_keys_free(&s->identity_keys);
    geo_db_unref(&s->geo);
    policy_free(&s->policy);
    charter_unref(&s->charter);
    config_free(&s->config);
    free(s);
}
