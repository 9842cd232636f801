#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include "base/err.h"
#include "base/issue.h"
#include "base/slice.h"
#include "residency/charter.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The local file of one node: who it is, whom it trusts, where things lie. JSON with
 * comments; every scalar is a row of one table that drives parsing, `check` and the
 * reference page. Relative paths count from the file's own folder. */

#define CONFIG_FILE_MAX (1u << 20)
#define CONFIG_PATH_MAX 1024
#define CONFIG_NAMES_MAX 32
#define CONFIG_PAIRS_MAX 256
#define CONFIG_CANARIES_MAX 16
#define CONFIG_PROXIES_MAX 64
#define CONFIG_REDIS_MAX 8
#define CONFIG_MEMORY_MIB_MIN 64
#define CONFIG_ENDPOINTS_MAX 32 /* with deadlines of their own */
#define CONFIG_CERTS_MAX 31     /* beside the one of cert and key */

struct config_pair { /* name -> path */
    char name[256];
    char path[CONFIG_PATH_MAX];
};

struct config_pairs {
    struct config_pair *items;
    size_t count;
};

struct config_redis {
    char address[262];
    bool tls;
    char ca[CONFIG_PATH_MAX];
    char user[64];
    char password_file[CONFIG_PATH_MAX];
};

struct config_cert {
    char cert[CONFIG_PATH_MAX];
    char key[CONFIG_PATH_MAX];
    char (*names)[256]; /* none: all that the certificate names */
    size_t name_count;
};

/* How long a request may take, in milliseconds. */
struct config_deadlines {
    int64_t connect_ms;    /* one connection attempt, TLS included */
    int64_t first_byte_ms; /* until the answer begins */
    int64_t idle_ms;       /* between bytes of an answer */
    int64_t total_ms;      /* in all, from when the request was read */
};

struct config {
    char file[CONFIG_PATH_MAX];
    char dir[CONFIG_PATH_MAX];
    char mesh[CHARTER_NAME_MAX + 1];
    char node[CHARTER_NAME_MAX + 1];
    char charter[CONFIG_PATH_MAX];
    char state_dir[CONFIG_PATH_MAX];
    struct charter_trust trust;
    /* Public listener. */
    char public_address[262];
    char public_cert[CONFIG_PATH_MAX];
    char public_key[CONFIG_PATH_MAX];
    char public_client_ca[CONFIG_PATH_MAX];
    char public_client_crl[CONFIG_PATH_MAX];
    char public_client_auth[16];
    struct config_cert *certs; /* chosen by SNI */
    size_t cert_count;
    char names[CONFIG_NAMES_MAX][256]; /* Host values that are ours */
    size_t name_count;
    char proxies[CONFIG_PROXIES_MAX][64]; /* networks whose X-Forwarded-For counts */
    size_t proxy_count;
    /* Mesh listener. */
    char mesh_address[262];
    char mesh_cert[CONFIG_PATH_MAX];
    char mesh_key[CONFIG_PATH_MAX];
    char mesh_ca[CONFIG_PATH_MAX];
    char mesh_crl[CONFIG_PATH_MAX];
    char admin_address[262];
    char attest_key[CONFIG_PATH_MAX];
    char advert_key[CONFIG_PATH_MAX];
    char backend_cert[CONFIG_PATH_MAX];
    char backend_key[CONFIG_PATH_MAX];
    struct config_pairs cas;
    struct config_pairs credentials;
    struct config_pairs issuers;
    char api_keys[CONFIG_PATH_MAX];
    char geoip_path[CONFIG_PATH_MAX];
    int64_t geoip_max_age_days;
    struct {
        char ip[64];
        char country[3];
    } canaries[CONFIG_CANARIES_MAX];
    size_t canary_count;
    char ledger_dir[CONFIG_PATH_MAX];
    char ledger_durability[16];
    int64_t ledger_segment_mib;
    char subjects_dir[CONFIG_PATH_MAX];
    struct config_redis redis[CONFIG_REDIS_MAX];
    size_t redis_count; /* 0: memory store */
    int64_t workers;    /* 0: one per core */
    int64_t body_bytes_max;
    int64_t body_budget_mib;
    int64_t connections_max;
    int64_t connections_per_address;
    int64_t memory_mib;     /* never 0 once loaded */
    int64_t handshakes_max; /* under way, a listener */
    int64_t token_cache_count;
    int64_t head_timeout_ms;
    int64_t idle_timeout_ms;
    struct config_deadlines deadlines; /* of endpoints without their own */
    struct {
        char name[32];
        struct config_deadlines deadlines;
    } endpoints[CONFIG_ENDPOINTS_MAX];
    size_t endpoint_count;
    int64_t commit_timeout_ms;
    int64_t sse_keepalive_ms;
    int64_t stream_stall_ms;
    int64_t drain_wait_ms;
    int64_t drain_timeout_ms;
    int64_t probe_interval_ms;
    int64_t requests_per_connection;
};

/* Reads and checks the file; every fault goes into issues. Gives *out only without any. */
MUST_USE enum err config_load(const char *path, struct issues *issues, struct config **out);
void config_free(struct config **c);
/* Those of an endpoint, by its name. */
const struct config_deadlines *config_deadlines_of(const struct config *c, const char *endpoint);
/* A path of the config, from its folder. False when too long. */
bool config_path(const struct config *c, const char *name, char out[CONFIG_PATH_MAX]);
/* The reference page: one line a key. */
void config_print_reference(FILE *out);

#endif
