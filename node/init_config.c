/* One node.jsonc a node: what differs from the defaults, and nothing else. */
#include "node/init.h"

#include <stdio.h>

#define CONFIG_SIZE 8192

static void
add_listeners(struct text *t, const struct init *in, const struct init_region *r)
{
    text_addf(t,
              "  \"listeners\": {\n"
              "    \"public\": {\n"
              "      \"address\": \"127.0.0.1:%u\",\n"
              "      \"cert\": \"public.pem\", \"key\": \"public.key\",\n"
              "      \"client_ca\": \"../../clients/ca.pem\", \"client_auth\": \"optional\",\n"
              "      \"names\": [\"localhost\", \"127.0.0.1\", \"%s\", \"%s.%s.example\"]\n"
              "    },\n",
              (unsigned)r->port, r->node, r->node, in->mesh);
    text_addf(t,
              "    \"mesh\": {\n"
              "      \"address\": \"127.0.0.1:%u\",\n"
              "      \"cert\": \"mesh.pem\", \"key\": \"mesh.key\", \"ca\": \"../../ca/ca.pem\"\n"
              "    },\n"
              "    \"admin\": {\"address\": \"127.0.0.1:%u\"}\n"
              "  },\n",
              r->port + 1u, r->port + 2u);
}

static bool
write_config(const struct init *in, const struct init_region *r)
{
    char content[CONFIG_SIZE];
    char name[INIT_PATH_MAX];
    struct text t;

    text_init(&t, content, sizeof(content));
    text_addf(&t,
              "// Node %s of a local mesh. `portolan check --reference` lists every key.\n"
              "{\n"
              "  \"mesh\": \"%s\",\n"
              "  \"node\": \"%s\",\n"
              "  \"charter\": \"../../charter/charter.dsse.json\",\n"
              "  \"trust\": {\"threshold\": 1, \"keys\": [%s]},\n",
              r->node, in->mesh, r->node, in->charter_jwk);
    add_listeners(&t, in, r);
    text_addf(&t,
              "  \"keys\": {\"attest\": \"attest.key\", \"advert\": \"advert.key\"},\n"
              "  \"issuers\": {\"https://idp.%s.example\": \"../../issuer/jwks.json\"},\n"
              "  \"api_keys\": \"../../api-keys.json\",\n"
              "  \"geoip\": {\"path\": ",
              in->mesh);
    text_add_json(&t, slice_str(in->geoip));
    text_add_str(&t, "},\n");
    if (in->redis == NULL) {
        text_add_str(&t, "  \"store\": {\"kind\": \"memory\"}\n}\n");
    } else {
        text_add_str(&t, "  \"store\": {\"kind\": \"redis\", \"servers\": [{\"address\": ");
        text_add_json(&t, slice_str(in->redis));
        text_add_str(&t, "}]}\n}\n");
    }
    if (!text_ok(&t) || !text_format(name, sizeof(name), "nodes/%s/node.jsonc", r->node)) {
        (void)fprintf(stderr, "%s: its config is too long\n", r->node);
        return false;
    }
    return init_write(in, name, text_slice(&t), 0644);
}

bool
init_configs_write(const struct init *in)
{
    for (size_t i = 0; i < in->region_count; i++)
        if (!write_config(in, &in->regions[i]))
            return false;
    return true;
}
