#include "residency/evidence/subject.h"

#include "base/file.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "residency/evidence/subject_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The store: both files are read at the start, then rows are only appended. A lookup
 * touches memory alone; only the commit thread (subject_flush) and the loading of a charter
 * (subject_tenant_ensure) wait for the disk, outside of the mutex that lookups take.
 *
 * While the store is shared, a new key is read or written under the lock of subjects.rows,
 * which stands for both files and is only held for reads and writes of the page cache; the
 * sync is the flush's, before any record that uses the key, whoever made it. */

#define PENDING_MAX ((size_t)1 << 16) /* rows between two flushes */
#define LOCK_TRIES 500                /* milliseconds */

struct subject_store {
    pthread_mutex_t lock;   /* table, tenants, pending */
    pthread_mutex_t writer; /* one at a time extends a file; taken before lock */
    int tenants_fd;
    int rows_fd;
    struct subject_tenant *tenants; /* in the order of the file */
    size_t tenant_count;
    struct subject_table by_name; /* hash of the name (cut) -> index in key[0..7] */
    struct subject_table by_tag;  /* of the tenant, likewise */
    struct subject_table keys;
    uint8_t *pending;
    uint8_t *flushing; /* changes places with pending; the holder of writer's */
    size_t pending_count;
    size_t row_count;  /* in the file, erased ones counted, and pending */
    uint64_t rows_end; /* where the next flush writes */
    bool failed;       /* a write or sync failed: never tried again on the same pages */
    bool shared;       /* another process may append to both files */
    bool unsynced;     /* rows in the files that nobody here has synced */
};

static enum err
index_tenant(struct subject_store *s, size_t index)
{
    uint8_t value[32] = {0};

    enum err e;

    memcpy(value, &index, sizeof(index));
    e = subject_table_add(&s->by_name, s->tenants[index].name_hash, value);
    return e == ERR_OK ? subject_table_add(&s->by_tag, s->tenants[index].tag, value) : e;
}

static struct subject_tenant *
find_tenant(struct subject_store *s, struct slice name)
{
    uint8_t digest[HASH_SIZE];
    const uint8_t *value;
    size_t index;

    hash_sha256(name, digest);
    value = subject_table_find(&s->by_name, digest);
    if (value == NULL)
        return NULL;
    memcpy(&index, value, sizeof(index));
    return memcmp(s->tenants[index].name_hash, digest, HASH_SIZE) == 0 ? &s->tenants[index] : NULL;
}

static enum err
open_file(const char *dir, const char *name, int *fd, uint64_t *size)
{
    char path[4096];
    struct stat st;

    if (!file_join(path, sizeof(path), dir, name))
        return ERR_TOOBIG;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0 || fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode))
        return ERR_IO;
    *size = (uint64_t)st.st_size;
    return ERR_OK;
}

static enum err
read_at(int fd, uint8_t *out, size_t len, uint64_t at)
{
    while (len > 0) {
        ssize_t n = pread(fd, out, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        out += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

static enum err
load_tenants(struct subject_store *s, uint64_t size, const char **why)
{
    uint8_t row[SUBJECT_TENANT_ROW_SIZE];
    uint64_t count = size / sizeof(row);
    enum err e = ERR_OK;

    if (count > SUBJECT_TENANTS_MAX) {
        *why = "tenants.keys: more rows than there can be tenants";
        return ERR_TOOBIG;
    }
    for (uint64_t i = s->tenant_count; i < count && e == ERR_OK; i++) {
        struct subject_tenant *tenant = &s->tenants[s->tenant_count];

        e = read_at(s->tenants_fd, row, sizeof(row), i * sizeof(row));
        if (e != ERR_OK)
            break;
        if (!subject_tenant_read(row, tenant)) {
            *why = "tenants.keys: a damaged row";
            e = ERR_CONFLICT;
            break;
        }
        e = index_tenant(s, s->tenant_count++);
        if (e == ERR_EXIST)
            *why = "tenants.keys: two rows of one tenant";
    }
    hash_wipe(row, sizeof(row));
    return e;
}

static enum err
load_row(struct subject_store *s, const uint8_t row[SUBJECT_ROW_SIZE], const char **why)
{
    static const uint8_t erased[SUBJECT_ROW_SIZE];
    const uint8_t *value;
    uint8_t key[SUBJECT_KEY_SIZE];
    size_t index;
    enum err e;

    if (memcmp(row, erased, sizeof(erased)) == 0)
        return ERR_OK;
    *why = "subjects.rows: a damaged row";
    if (!subject_row_ok(row))
        return ERR_CONFLICT;
    *why = "subjects.rows: a row of a tenant that has no key here";
    value = subject_table_find(&s->by_tag, subject_row_tag(row));
    if (value == NULL)
        return ERR_CONFLICT;
    memcpy(&index, value, sizeof(index));
    *why = "subjects.rows: a row that the tenant's key does not open";
    e = subject_row_open(&s->tenants[index], row, key);
    if (e != ERR_OK)
        return e;
    *why = "subjects.rows: two rows with one id";
    e = subject_table_add(&s->keys, subject_row_key_id(row), key);
    hash_wipe(key, sizeof(key));
    if (e == ERR_OK)
        *why = NULL;
    return e;
}

static enum err
load_rows(struct subject_store *s, uint64_t size, const char **why)
{
    enum { CHUNK = 1024 };
    /* A piece of a row at the end was never synced, so no record uses it. */
    size_t count = (size_t)(size / SUBJECT_ROW_SIZE);
    size_t first = (size_t)(s->rows_end / SUBJECT_ROW_SIZE);
    size_t chunk = count - first < CHUNK ? count - first : CHUNK;
    uint8_t *rows = malloc((chunk + 1) * SUBJECT_ROW_SIZE);
    enum err e = rows == NULL ? ERR_NOMEM : ERR_OK;

    for (size_t i = first; i < count && e == ERR_OK; i += CHUNK) {
        size_t n = count - i < CHUNK ? count - i : CHUNK;

        e = read_at(s->rows_fd, rows, n * SUBJECT_ROW_SIZE, (uint64_t)i * SUBJECT_ROW_SIZE);
        for (size_t j = 0; j < n && e == ERR_OK; j++)
            e = load_row(s, rows + j * SUBJECT_ROW_SIZE, why);
    }
    free(rows);
    if (e == ERR_OK) {
        s->row_count += count - first;
        s->rows_end = (uint64_t)count * SUBJECT_ROW_SIZE;
    }
    return e;
}

/* ---- With another process -------------------------------------------------------------- */

static enum err
lock_files(struct subject_store *s)
{
    return file_lock(s->rows_fd, LOCK_TRIES);
}

static void
unlock_files(struct subject_store *s)
{
    (void)flock(s->rows_fd, LOCK_UN);
}

/* Under `lock` and the files' lock: what the other process has added. */
static enum err
catch_up(struct subject_store *s, const char **why)
{
    struct stat tenants, rows;
    uint64_t rows_end = s->rows_end;
    size_t tenant_count = s->tenant_count;
    enum err e;

    if (fstat(s->tenants_fd, &tenants) != 0 || fstat(s->rows_fd, &rows) != 0)
        return ERR_IO;
    if ((uint64_t)rows.st_size < s->rows_end)
        return ERR_CONFLICT;
    e = load_tenants(s, (uint64_t)tenants.st_size, why);
    if (e == ERR_OK)
        e = load_rows(s, (uint64_t)rows.st_size, why);
    if (s->rows_end != rows_end || s->tenant_count != tenant_count)
        s->unsynced = true;
    return e;
}

static enum err
load(struct subject_store *s, const char *dir, const char **why)
{
    uint64_t tenants_size = 0, rows_size = 0;
    enum err e = open_file(dir, "tenants.keys", &s->tenants_fd, &tenants_size);

    if (e == ERR_OK)
        e = open_file(dir, "subjects.rows", &s->rows_fd, &rows_size);
    if (e == ERR_OK)
        e = file_sync_dir(dir);
    if (e != ERR_OK) {
        *why = "the files of the keys folder can't be opened";
        return e;
    }
    /* Most of it without the lock, so that nobody waits for it: rows only come behind these. */
    e = load_tenants(s, tenants_size, why);
    if (e == ERR_OK)
        e = load_rows(s, rows_size, why);
    if (e == ERR_OK)
        e = lock_files(s);
    if (e == ERR_OK) {
        e = catch_up(s, why);
        unlock_files(s);
    }
    if (e != ERR_OK && *why == NULL)
        *why = "the files of the keys folder can't be read";
    return e;
}

enum err
subject_store_open(const char *dir, struct subject_store **out, const char **why)
{
    struct subject_store *s = calloc(1, sizeof(*s));
    enum err e;

    *why = NULL;
    if (s == NULL)
        return ERR_NOMEM;
    s->tenants_fd = s->rows_fd = -1;
    s->shared = s->unsynced = true; /* nobody here knows what was synced */
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_mutex_init(&s->writer, NULL);
    s->tenants = calloc(SUBJECT_TENANTS_MAX, sizeof(*s->tenants));
    s->pending = malloc(PENDING_MAX * SUBJECT_ROW_SIZE);
    s->flushing = malloc(PENDING_MAX * SUBJECT_ROW_SIZE);
    e = ERR_NOMEM;
    if (s->tenants != NULL && s->pending != NULL && s->flushing != NULL)
        e = load(s, dir, why);
    if (e != ERR_OK) {
        subject_store_close(&s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void
subject_store_close(struct subject_store **store)
{
    struct subject_store *s = *store;

    if (s == NULL)
        return;
    if (s->tenants_fd >= 0)
        (void)close(s->tenants_fd);
    if (s->rows_fd >= 0)
        (void)close(s->rows_fd);
    subject_table_fini(&s->by_name);
    subject_table_fini(&s->by_tag);
    subject_table_fini(&s->keys);
    if (s->tenants != NULL)
        hash_wipe(s->tenants, SUBJECT_TENANTS_MAX * sizeof(*s->tenants));
    free(s->tenants);
    free(s->pending);
    free(s->flushing);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->writer);
    free(s);
    *store = NULL;
}

static void
mark_failed(struct subject_store *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->failed = true;
    (void)pthread_mutex_unlock(&s->lock);
}

/* The sync is the caller's. */
static enum err
append_tenant(struct subject_store *s, struct slice name)
{
    struct subject_tenant *tenant = &s->tenants[s->tenant_count];
    uint8_t row[SUBJECT_TENANT_ROW_SIZE];
    enum err e;

    if (s->tenant_count == SUBJECT_TENANTS_MAX)
        return ERR_FULL;
    hash_sha256(name, tenant->name_hash);
    random_fill(tenant->key, sizeof(tenant->key));
    subject_tenant_row(tenant, row);
    e = subject_tenant_read(row, tenant) ? ERR_OK : ERR_CRYPTO; /* fills in the tag */
    if (e == ERR_OK)
        e = file_pwrite(s->tenants_fd, slice_of(row, sizeof(row)),
                        (off_t)(s->tenant_count * sizeof(row)));
    if (e == ERR_OK)
        e = index_tenant(s, s->tenant_count);
    if (e == ERR_OK)
        s->tenant_count++;
    else
        hash_wipe(tenant, sizeof(*tenant));
    hash_wipe(row, sizeof(row));
    return e;
}

/* Under `writer` and `lock`. */
static enum err
find_or_append(struct subject_store *s, struct slice tenant, bool *added)
{
    const char *why = NULL;
    enum err e;

    if (find_tenant(s, tenant) != NULL)
        return ERR_OK;
    if (s->failed)
        return ERR_IO;
    e = lock_files(s);
    if (e != ERR_OK)
        return e;
    e = catch_up(s, &why);
    if (e == ERR_OK && find_tenant(s, tenant) == NULL) {
        e = append_tenant(s, tenant);
        *added = e == ERR_OK;
    }
    unlock_files(s);
    return e;
}

enum err
subject_tenant_ensure(struct subject_store *s, struct slice tenant)
{
    bool added = false;
    enum err e;

    (void)pthread_mutex_lock(&s->writer);
    (void)pthread_mutex_lock(&s->lock);
    e = find_or_append(s, tenant, &added);
    (void)pthread_mutex_unlock(&s->lock);
    if (added && fdatasync(s->tenants_fd) != 0)
        e = ERR_IO;
    if (e == ERR_IO || e == ERR_CONFLICT)
        mark_failed(s);
    (void)pthread_mutex_unlock(&s->writer);
    return e;
}

static bool
quarter_of(int64_t wall_ms, uint32_t *out)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (wall_ms < 0 || gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 8099)
        return false;
    *out = (uint32_t)(tm.tm_year + 1900) * 4 + (uint32_t)tm.tm_mon / 3;
    return true;
}

/* Under the lock. */
static enum err
make_key(struct subject_store *s, const struct subject_tenant *tenant, uint32_t quarter,
         const uint8_t id[SUBJECT_ID_SIZE], uint8_t out[SUBJECT_KEY_SIZE])
{
    uint8_t key[SUBJECT_KEY_SIZE];
    enum err e;

    if (s->failed)
        return ERR_IO;
    if (s->row_count >= SUBJECT_ROWS_MAX || s->pending_count >= PENDING_MAX)
        return ERR_FULL;
    random_fill(key, sizeof(key));
    e = subject_row_seal(tenant, id, quarter, key,
                         s->pending + s->pending_count * SUBJECT_ROW_SIZE);
    if (e == ERR_OK)
        e = subject_table_add(&s->keys, id, key);
    if (e == ERR_OK) {
        s->pending_count++;
        s->row_count++;
        memcpy(out, key, SUBJECT_KEY_SIZE);
    }
    hash_wipe(key, sizeof(key));
    return e;
}

/* Under `lock`, and the files' lock or as the only process: rows that wait go to the file. */
static enum err
write_pending(struct subject_store *s)
{
    struct slice rows = slice_of(s->pending, s->pending_count * SUBJECT_ROW_SIZE);
    enum err e = rows.len == 0 ? ERR_OK : file_pwrite(s->rows_fd, rows, (off_t)s->rows_end);

    if (e != ERR_OK)
        return e;
    s->rows_end += rows.len;
    s->pending_count = 0;
    s->unsynced = true;
    return ERR_OK;
}

/* Under `lock`: the other process may have made it already. */
static enum err
share_key(struct subject_store *s, const struct subject_tenant *tenant, uint32_t quarter,
          const uint8_t id[SUBJECT_ID_SIZE], uint8_t out[SUBJECT_KEY_SIZE])
{
    const char *why = NULL;
    const uint8_t *key;
    enum err e;

    if (s->failed)
        return ERR_IO;
    e = lock_files(s);
    if (e != ERR_OK)
        return e;
    e = catch_up(s, &why);
    key = e == ERR_OK ? subject_table_find(&s->keys, id) : NULL;
    if (key != NULL)
        memcpy(out, key, SUBJECT_KEY_SIZE);
    else if (e == ERR_OK)
        e = make_key(s, tenant, quarter, id, out);
    if (e == ERR_OK)
        e = write_pending(s);
    unlock_files(s);
    if (e != ERR_OK && e != ERR_FULL && e != ERR_NOMEM)
        s->failed = true;
    return e;
}

enum err
subject_key(struct subject_store *s, struct slice tenant, struct slice subject, int64_t wall_ms,
            uint8_t out[SUBJECT_KEY_SIZE])
{
    const struct subject_tenant *found;
    uint8_t id[SUBJECT_ID_SIZE];
    const uint8_t *key;
    uint32_t quarter = 0;
    enum err e = ERR_OK;

    if (!quarter_of(wall_ms, &quarter))
        return ERR_BADMSG;
    (void)pthread_mutex_lock(&s->lock);
    found = find_tenant(s, tenant);
    if (found == NULL) {
        e = ERR_NOENT;
        goto out;
    }
    subject_row_id(found, quarter, subject, id);
    key = subject_table_find(&s->keys, id);
    if (key != NULL)
        memcpy(out, key, SUBJECT_KEY_SIZE);
    else
        e = s->shared ? share_key(s, found, quarter, id, out)
                      : make_key(s, found, quarter, id, out);
out:
    (void)pthread_mutex_unlock(&s->lock);
    return e;
}

/* unsynced: whether the files hold rows that have to be synced besides. */
static enum err
take_pending(struct subject_store *s, struct slice *rows, bool *unsynced)
{
    uint8_t *full;
    enum err e;

    (void)pthread_mutex_lock(&s->lock);
    full = s->pending;
    *rows = slice_of(full, s->pending_count * SUBJECT_ROW_SIZE);
    *unsynced = s->unsynced;
    e = s->failed ? ERR_IO : ERR_OK;
    s->pending = s->flushing;
    s->flushing = full;
    s->pending_count = 0;
    s->unsynced = false;
    (void)pthread_mutex_unlock(&s->lock);
    return e;
}

enum err
subject_flush(struct subject_store *s)
{
    struct slice rows;
    bool unsynced = false;
    enum err e;

    (void)pthread_mutex_lock(&s->writer);
    e = take_pending(s, &rows, &unsynced);
    if (e == ERR_OK && rows.len > 0) {
        e = file_pwrite(s->rows_fd, rows, (off_t)s->rows_end);
        if (e == ERR_OK)
            s->rows_end += rows.len;
    }
    if (e == ERR_OK && unsynced && fdatasync(s->tenants_fd) != 0)
        e = ERR_IO;
    if (e == ERR_OK && (unsynced || rows.len > 0) && fdatasync(s->rows_fd) != 0)
        e = ERR_IO;
    if (e != ERR_OK)
        mark_failed(s);
    (void)pthread_mutex_unlock(&s->writer);
    return e;
}

enum err
subject_store_share(struct subject_store *s, bool shared)
{
    const char *why = NULL;
    enum err e;

    (void)pthread_mutex_lock(&s->writer);
    (void)pthread_mutex_lock(&s->lock);
    e = s->failed ? ERR_IO : ERR_OK;
    if (e == ERR_OK && s->shared != shared) {
        e = lock_files(s);
        if (e == ERR_OK) {
            e = shared ? write_pending(s) : catch_up(s, &why);
            unlock_files(s);
        }
        if (e == ERR_OK)
            s->shared = shared;
        else if (e != ERR_TIMEOUT)
            s->failed = true;
    }
    (void)pthread_mutex_unlock(&s->lock);
    (void)pthread_mutex_unlock(&s->writer);
    return e;
}
