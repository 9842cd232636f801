#ifndef NODE_INIT_H
#define NODE_INIT_H

#include "base/slice.h"
#include "base/text.h"
#include "crypto/cert.h"
#include "crypto/key.h"
#include "residency/charter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What `portolan init` writes: a complete local mesh with keys, certificates, a signed
 * charter and one config a node. Each step prints its own fault and returns false. */

#define INIT_REGIONS_MAX 16
#define INIT_BACKENDS_MAX 64
#define INIT_MODELS_MAX 8
#define INIT_JWK_MAX 512
#define INIT_PEM_MAX 4096
#define INIT_PATH_MAX 1024

struct init_model {
    char version[CHARTER_MODEL_MAX + 1];
    char served[CHARTER_MODEL_MAX + 1];
    char digest[2 * HASH_SIZE + 1]; /* hex, or "" */
};

struct init_backend {
    char name[CHARTER_NAME_MAX + 1];
    char region[CHARTER_NAME_MAX + 1];
    char kind[16];
    char url[256];
    char country[3];
    char operator_country[3];
    char owner_country[3];
    char access[64]; /* countries joined by '+' */
    char transfer[CHARTER_MODEL_MAX + 1];
    uint32_t slots;
    struct init_model models[INIT_MODELS_MAX];
    size_t model_count;
    char spki[2 * HASH_SIZE + 1]; /* hex of its certificate's key; "" with plain HTTP */
};

struct init_region {
    char name[CHARTER_NAME_MAX - 1]; /* room for "-1" in the node's name */
    char country[3];
    char node[CHARTER_NAME_MAX + 1];
    char attest_jwk[INIT_JWK_MAX];
    char advert_jwk[INIT_JWK_MAX];
    uint16_t port; /* public; mesh is the next, admin the one after that */
};

struct init {
    char dir[INIT_PATH_MAX];
    char mesh[CHARTER_NAME_MAX + 1];
    char geoip[INIT_PATH_MAX];
    const char *redis; /* address, or NULL */
    int64_t now_ms;
    int64_t until_ms;
    uint16_t base_port;
    struct init_region regions[INIT_REGIONS_MAX];
    size_t region_count;
    struct init_backend backends[INIT_BACKENDS_MAX];
    size_t backend_count;
    char client_ca_sha256[2 * HASH_SIZE + 1];
    char charter_jwk[INIT_JWK_MAX];
    char api_key[160]; /* printed once */
};

#define INIT_API_KEY_ID "docsfr"
#define INIT_API_KEY_TENANT "acme/fr"

/* init_spec.c: "eu-west=IE,eu-central=DE" and "name=de-1,region=...". */
bool init_name_ok(struct slice name, size_t max);
bool init_regions_parse(struct init *in, struct slice text);
bool init_backend_parse(struct init *in, struct slice spec);
/* Backends for a mesh that was given none. */
bool init_backends_example(struct init *in);

/* init_files.c: keys and certificates. */
bool init_write(const struct init *in, const char *name, struct slice content, mode_t mode);
bool init_folder(const struct init *in, const char *name);
bool init_files_write(struct init *in);

/* init_charter.c: the source, its signature, the trust root. */
bool init_charter_write(struct init *in);

/* init_config.c: one node.jsonc a node. */
bool init_configs_write(const struct init *in);

#endif
