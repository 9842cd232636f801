/* portolan init: a complete local mesh in one folder. */
#include "node/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/hash.h"
#include "net/address.h"
#include "node/args.h"
#include "node/init.h"

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define VALID_MS (INT64_C(365) * 86400000)

enum { REGIONS, MESH, GEOIP, BASE_PORT, REDIS, BACKEND, OPTION_COUNT };

/* Absolute, since the nodes' configs stand two folders deeper. */
static bool
resolve(const char *name, char out[INIT_PATH_MAX])
{
    char *real = realpath(name, NULL);
    bool ok = real != NULL && text_format(out, INIT_PATH_MAX, "%s", real);

    free(real);
    if (!ok)
        (void)fprintf(stderr, "%s: no such file or folder, or its path is too long\n", name);
    return ok;
}

/* What stands in the folder afterwards. */
static const char *const parts[] = {"api-keys.json", "backends", "ca",   "charter",
                                    "clients",       "issuer",   "nodes"};

/* Nothing that is there is ever written over: keys can't be made again. */
static bool
open_folder(struct init *in, const char *dir)
{
    char path[INIT_PATH_MAX];
    struct stat st;
    enum err e = file_mkdirs(dir, 0700);

    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: can't be made: %s\n", dir, err_text(e));
        return false;
    }
    if (!resolve(dir, in->dir))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        if (!file_join(path, sizeof(path), in->dir, parts[i]))
            return false;
        if (lstat(path, &st) == 0) {
            (void)fprintf(stderr, "%s: there is a mesh here already, or part of one: %s\n", dir,
                          parts[i]);
            return false;
        }
    }
    return true;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

/* Half a mesh would be in the way of the next try. */
static void
undo(const struct init *in)
{
    char path[INIT_PATH_MAX];

    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        if (file_join(path, sizeof(path), in->dir, parts[i]))
            (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static bool
fill(struct init *in, const struct args_option *o)
{
    char host[254];
    uint16_t redis_port;
    int64_t port;

    in->now_ms = clock_wall_ms() / 1000 * 1000;
    in->until_ms = in->now_ms + VALID_MS;
    in->redis = args_text(&o[REDIS], NULL);
    if (in->redis != NULL && address_split(slice_str(in->redis), host, &redis_port) != ERR_OK) {
        (void)fprintf(stderr, "--redis: \"%s\" is no ADDRESS:PORT\n", in->redis);
        return false;
    }
    if (!slice_copy_str(slice_str(args_text(&o[MESH], "acme")), in->mesh, sizeof(in->mesh)) ||
        !init_name_ok(slice_str(in->mesh), CHARTER_NAME_MAX)) {
        (void)fprintf(stderr, "--mesh: a name is at most %d of a-z, 0-9 and -\n", CHARTER_NAME_MAX);
        return false;
    }
    /* Ports of examples stand up to 1,100 above. */
    if (!args_number(&o[BASE_PORT], 1024, 64000, 8440, &port))
        return false;
    in->base_port = (uint16_t)port;
    if (!init_regions_parse(in, slice_str(args_text(&o[REGIONS], "eu-west=IE,eu-central=DE"))))
        return false;
    for (size_t i = 0; i < o[BACKEND].count; i++)
        if (!init_backend_parse(in, slice_str(o[BACKEND].values[i])))
            return false;
    return o[BACKEND].count > 0 || init_backends_example(in);
}

static void
print_summary(const struct init *in, bool has_geoip)
{
    for (size_t i = 0; i < in->region_count; i++)
        (void)printf("node %-24s https://127.0.0.1:%u  admin http://127.0.0.1:%u\n",
                     in->regions[i].node, (unsigned)in->regions[i].port, in->regions[i].port + 2u);
    for (size_t i = 0; i < in->backend_count; i++)
        (void)printf("backend %-21s %s  (%s, operator %s)\n", in->backends[i].name,
                     in->backends[i].url, in->backends[i].country,
                     in->backends[i].operator_country);
    (void)printf("API key of %s, shown only here: %s\n", INIT_API_KEY_TENANT, in->api_key);
    (void)printf("country database%s: %s\n", has_geoip ? "" : " (to be put there)", in->geoip);
    if (in->redis == NULL && in->region_count > 1)
        (void)printf("without --redis each node knows only what it sees itself\n");
    (void)printf("start: portolan node --config %s/nodes/%s/node.jsonc\n", in->dir,
                 in->regions[0].node);
}

static bool
write_all(struct init *in, const struct args_option *o, const char *dir)
{
    if (!open_folder(in, dir))
        return false;
    if ((o[GEOIP].count > 0 ? resolve(o[GEOIP].values[0], in->geoip)
                            : file_join(in->geoip, sizeof(in->geoip), in->dir, "geoip.mmdb")) &&
        init_files_write(in) && init_charter_write(in) && init_configs_write(in))
        return true;
    undo(in);
    return false;
}

int
command_init(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [REGIONS] = {.name = "--regions"},
        [MESH] = {.name = "--mesh"},
        [GEOIP] = {.name = "--geoip"},
        [BASE_PORT] = {.name = "--base-port"},
        [REDIS] = {.name = "--redis"},
        [BACKEND] = {.name = "--backend", .max = INIT_BACKENDS_MAX},
    };
    struct args a = {.usage =
                         "portolan init DIR [--regions eu-west=IE,eu-central=DE] [--mesh acme]\n"
                         "         [--geoip FILE.mmdb] [--base-port N] [--redis ADDRESS:PORT]\n"
                         "         [--backend name=de-1,region=eu-central,kind=vllm,"
                         "url=https://127.0.0.1:9001,operator=DE,\n"
                         "                    owner=DE,country=DE,access=DE+IE,slots=4,"
                         "model=mistral-7b@0.3:mistral[:digest] ...]",
                     .options = options,
                     .option_count = OPTION_COUNT,
                     .operands_min = 1,
                     .operands_max = 1};
    struct init *in;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    in = calloc(1, sizeof(*in));
    if (in == NULL)
        return EXIT_USAGE;
    code = EXIT_USAGE;
    if (fill(in, options) && write_all(in, options, a.operands[0])) {
        print_summary(in, options[GEOIP].count > 0);
        code = EXIT_GOOD;
    }
    hash_wipe(in->api_key, sizeof(in->api_key));
    free(in);
    return code;
}
