#include "residency/geo/geo.h"

#include "base/check.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "residency/geo/mmdb_priv.h"

#include <maxminddb.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_BYTES (64u << 10)
#define SECONDS_A_DAY UINT64_C(86400)
#define PROC_FD_MAX 48

/* Newer than Debian 12's headers; hosts with vm.memfd_noexec=2 ask for it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

struct geo_db {
    atomic_uint refs;
    MMDB_s mmdb; /* maps the sealed copy; its filename is not used after opening */
    uint8_t digest[GEO_DIGEST_SIZE];
    char type[GEO_TYPE_MAX];
};

_Static_assert(GEO_DIGEST_SIZE == HASH_SIZE, "the digest is SHA-256");

static void
fault(const struct geo_opts *opts, struct issues *issues, const char *why)
{
    issues_add(issues, opts->path, 0, NULL, "%s", why);
}

static enum err
write_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && (errno == ENOSPC || errno == ENOMEM) ? ERR_NOMEM : ERR_IO;
        p += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

/* Copies to the end of from. The limit holds for what is read, whatever stat said. */
static enum err
copy_bytes(int from, int to, size_t *out_len)
{
    uint8_t chunk[COPY_BYTES];
    size_t len = 0;

    for (;;) {
        ssize_t n = read(from, chunk, sizeof(chunk));
        enum err e;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            break;
        if ((size_t)n > GEO_FILE_BYTES_MAX - len)
            return ERR_TOOBIG;
        e = write_all(to, chunk, (size_t)n);
        if (e != ERR_OK)
            return e;
        len += (size_t)n;
    }
    *out_len = len;
    return ERR_OK;
}

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int
memfd_open(void)
{
    int fd = memfd_create("geoip", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("geoip", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Fills and seals the memfd to. */
static enum err
copy_and_seal(int from, int to, size_t *out_len)
{
    struct stat before, after;
    enum err e;

    if (fstat(from, &before) != 0 || !S_ISREG(before.st_mode))
        return ERR_IO;
    if (before.st_size > (off_t)GEO_FILE_BYTES_MAX)
        return ERR_TOOBIG;
    e = copy_bytes(from, to, out_len);
    if (e != ERR_OK)
        return e;
    if (fstat(from, &after) != 0)
        return ERR_IO;
    if (!is_same_file(&before, &after) || (off_t)*out_len != after.st_size)
        return ERR_CONFLICT;
    if (fcntl(to, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        return ERR_IO;
    return ERR_OK;
}

/* Gives a sealed memfd with the file's bytes. */
static enum err
sealed_copy(const struct geo_opts *opts, struct issues *issues, int *out_fd, size_t *out_len)
{
    /* O_NONBLOCK: a named pipe in the file's place must not hang the reload. */
    int from = open(opts->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum err e = ERR_IO;
    int to;

    if (from < 0) {
        bool absent = errno == ENOENT || errno == ENOTDIR;

        fault(opts, issues, absent ? "no such file" : "can't be opened");
        return absent ? ERR_NOENT : ERR_IO;
    }
    to = memfd_open();
    if (to < 0)
        goto fail_from;
    e = copy_and_seal(from, to, out_len);
    if (e != ERR_OK)
        goto fail_to;
    (void)close(from);
    *out_fd = to;
    return ERR_OK;

fail_to:
    (void)close(to);
fail_from:
    (void)close(from);
    fault(opts, issues,
          e == ERR_TOOBIG     ? "larger than 512 MiB"
          : e == ERR_CONFLICT ? "changed while it was read"
          : e == ERR_NOMEM    ? "no memory for a copy of it"
                              : "can't be copied into sealed memory");
    return e;
}

/* Hashes the sealed bytes and looks at them before libmaxminddb does. */
static enum err
inspect(struct geo_db *db, int fd, size_t len, const char **why)
{
    struct slice file;
    enum err e;
    void *map;

    *why = "empty";
    if (len == 0)
        return ERR_BADMSG;
    map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    *why = "can't be mapped";
    if (map == MAP_FAILED)
        return ERR_NOMEM;
    file = slice_of(map, len);
    hash_sha256(file, db->digest);
    e = mmdb_check_file(file, why);
    (void)munmap(map, len);
    return e;
}

static enum err
open_sealed(struct geo_db *db, int fd, size_t len, const char **why)
{
    char path[PROC_FD_MAX];
    enum err e = inspect(db, fd, len, why);
    int status;

    if (e != ERR_OK)
        return e;
    if (!text_format(path, sizeof(path), "/proc/self/fd/%d", fd))
        return ERR_TOOBIG;
    status = MMDB_open(path, MMDB_MODE_MMAP, &db->mmdb);
    if (status != MMDB_SUCCESS) {
        *why = MMDB_strerror(status);
        return status == MMDB_OUT_OF_MEMORY_ERROR                          ? ERR_NOMEM
               : status == MMDB_IO_ERROR || status == MMDB_FILE_OPEN_ERROR ? ERR_IO
                                                                           : ERR_BADMSG;
    }
    return ERR_OK;
}

/* Whether it is a database of this kind: what it says about itself. */
static enum err
check_kind(const struct geo_opts *opts, struct geo_db *db, struct issues *issues)
{
    const MMDB_metadata_s *metadata = &db->mmdb.metadata;

    if (metadata->database_type == NULL ||
        !text_format(db->type, sizeof(db->type), "%s", metadata->database_type) ||
        (strstr(db->type, "Country") == NULL && strstr(db->type, "City") == NULL)) {
        fault(opts, issues, "its database_type names neither Country nor City");
        return ERR_BADMSG;
    }
    if (metadata->ip_version != 6 && !(metadata->ip_version == 4 && opts->allow_ipv4)) {
        fault(opts, issues, "it has no IPv6 addresses");
        return ERR_BADMSG;
    }
    return ERR_OK;
}

static enum err
check_age(const struct geo_opts *opts, const struct geo_db *db, struct issues *issues)
{
    unsigned days = opts->max_age_days == 0 ? GEO_AGE_DAYS_DEFAULT : opts->max_age_days;
    uint64_t built = db->mmdb.metadata.build_epoch;
    uint64_t now = opts->now_ms < 0 ? 0 : (uint64_t)opts->now_ms / 1000;

    if (built > now && built - now > SECONDS_A_DAY) {
        fault(opts, issues, "it was built in the future");
        return ERR_EXPIRED;
    }
    if (built < now && (now - built) / SECONDS_A_DAY > days) {
        issues_add(issues, opts->path, 0, NULL, "it was built %llu days ago, more than %u",
                   (unsigned long long)((now - built) / SECONDS_A_DAY), days);
        return ERR_EXPIRED;
    }
    return ERR_OK;
}

static enum err
check_canaries(const struct geo_opts *opts, const struct geo_db *db, struct issues *issues)
{
    enum err result = ERR_OK;

    for (size_t i = 0; i < opts->canary_count; i++) {
        const struct geo_canary *canary = &opts->canaries[i];
        struct geo_address address;
        struct geo_answer answer;
        uint16_t wanted;
        char found[3];

        if (geo_address_parse(slice_str(canary->address), &address) != ERR_OK ||
            country_parse(slice_str(canary->country), &wanted) != ERR_OK) {
            issues_add(issues, opts->path, 0, NULL, "canary %zu is no address and country", i);
            result = ERR_CONFLICT;
            continue;
        }
        geo_locate(db, &address, &answer);
        if (answer.country == wanted)
            continue;
        country_text(answer.country, found);
        issues_add(issues, opts->path, 0, NULL, "it places %s in %s (%s), not in %s",
                   canary->address, found, geo_quality_row(answer.quality)->name, canary->country);
        result = ERR_CONFLICT;
    }
    return result;
}

static enum err
check_opened(const struct geo_opts *opts, struct geo_db *db, struct issues *issues)
{
    const char *why = "";
    enum err e = check_kind(opts, db, issues);

    if (e != ERR_OK)
        return e;
    e = mmdb_check_tree(&db->mmdb, &why);
    if (e != ERR_OK) {
        fault(opts, issues, why);
        return e;
    }
    e = check_age(opts, db, issues);
    if (e != ERR_OK)
        return e;
    return check_canaries(opts, db, issues);
}

enum err
geo_db_load(const struct geo_opts *opts, struct issues *issues, struct geo_db **out)
{
    struct geo_db *db;
    const char *why = "";
    size_t len = 0;
    enum err e;
    int fd = -1;

    ASSERT(out != NULL && *out == NULL);
    db = calloc(1, sizeof(*db));
    if (db == NULL)
        return ERR_NOMEM;
    atomic_init(&db->refs, 1);
    e = sealed_copy(opts, issues, &fd, &len);
    if (e != ERR_OK)
        goto fail_db;
    e = open_sealed(db, fd, len, &why);
    /* The mapping keeps the sealed memory alive without the descriptor. */
    (void)close(fd);
    if (e != ERR_OK) {
        fault(opts, issues, why);
        goto fail_db;
    }
    e = check_opened(opts, db, issues);
    if (e != ERR_OK)
        goto fail_mmdb;
    *out = db;
    return ERR_OK;

fail_mmdb:
    MMDB_close(&db->mmdb);
fail_db:
    free(db);
    return e;
}

struct geo_db *
geo_db_ref(struct geo_db *db)
{
    unsigned before = atomic_fetch_add_explicit(&db->refs, 1, memory_order_relaxed);

    ASSERT(before > 0 && before < UINT32_MAX);
    return db;
}

void
geo_db_unref(struct geo_db **db)
{
    struct geo_db *last = *db;

    *db = NULL;
    if (last == NULL)
        return;
    /* acq_rel: what other threads did with it happens before it is unmapped. */
    if (atomic_fetch_sub_explicit(&last->refs, 1, memory_order_acq_rel) != 1)
        return;
    MMDB_close(&last->mmdb);
    free(last);
}

const uint8_t *
geo_db_digest(const struct geo_db *db)
{
    return db->digest;
}

uint64_t
geo_db_build_epoch(const struct geo_db *db)
{
    return db->mmdb.metadata.build_epoch;
}

const char *
geo_db_type(const struct geo_db *db)
{
    return db->type;
}

static MMDB_lookup_result_s
lookup(const struct geo_db *db, const struct geo_address *address, int *status)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (address->family == 4) {
        memcpy(&in.sin_addr, address->bytes, 4);
        return MMDB_lookup_sockaddr(&db->mmdb, (const struct sockaddr *)&in, status);
    }
    memcpy(&in6.sin6_addr, address->bytes, 16);
    return MMDB_lookup_sockaddr(&db->mmdb, (const struct sockaddr *)&in6, status);
}

void
geo_locate(const struct geo_db *db, const struct geo_address *address, struct geo_answer *out)
{
    MMDB_lookup_result_s result;
    int status = MMDB_SUCCESS;

    *out = (struct geo_answer){COUNTRY_NONE, COUNTRY_NONE, GEO_MISS};
    if (geo_address_special(address, &out->quality))
        return;
    if (address->family == 6 && db->mmdb.metadata.ip_version == 4)
        return;
    result = lookup(db, address, &status);
    if (status == MMDB_SUCCESS && !result.found_entry)
        return;
    if (status != MMDB_SUCCESS ||
        mmdb_entry_country(&db->mmdb, result.entry.offset, "country", &out->country) != ERR_OK ||
        mmdb_entry_country(&db->mmdb, result.entry.offset, "registered_country",
                           &out->registered) != ERR_OK) {
        /* Every entry was read at load time, so this is memory gone bad: not a miss,
         * for which a policy may assume a country. */
        *out = (struct geo_answer){COUNTRY_NONE, COUNTRY_NONE, GEO_UNREADABLE};
        return;
    }
    out->quality = out->country == COUNTRY_NONE ? GEO_MISS : GEO_FOUND;
}
