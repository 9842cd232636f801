/* What a charter says that every reader takes, and that nobody should sign. */
#include "residency/charter_check.h"

#include "base/check.h"
#include "base/json.h"

/* Without one of these a node can't start (attest, advert). */
static void
check_uses(const struct charter_node *n, const struct json_reader *keys)
{
    static const enum charter_key_use needed[] = {KEY_USE_ATTEST, KEY_USE_ADVERT};

    for (size_t i = 0; i < ARRAY_COUNT(needed); i++) {
        size_t k = 0;

        while (k < n->key_count && n->keys[k].use != needed[i])
            k++;
        if (k == n->key_count)
            json_reader_fault(keys, "no key is for \"%s\": the node can't start without",
                              charter_key_use_name(needed[i]));
    }
}

static bool
has_key(const struct charter_node *n, const struct key *key)
{
    for (size_t i = 0; i < n->key_count; i++)
        if (strcmp(key_thumbprint(n->keys[i].key), key_thumbprint(key)) == 0)
            return true;
    return false;
}

/* Two nodes with one key can each sign what the other did. */
static void
check_shared(const struct charter *c, size_t at, const struct json_reader *keys)
{
    const struct charter_node *n = &c->nodes[at];
    const struct json *v = keys->v == NULL ? NULL : json_first(keys->v);

    for (size_t k = 0; k < n->key_count && v != NULL; k++, v = json_next(v)) {
        struct json_reader item = json_reader_item(keys, v, k);

        for (size_t i = 0; i < at; i++)
            if (has_key(&c->nodes[i], n->keys[k].key))
                json_reader_fault(&item, "this %s key is one of node \"%s\" too",
                                  charter_key_use_name(n->keys[k].use), c->nodes[i].name);
    }
}

static void
check_address(const struct charter *c, size_t at, const struct json_reader *address)
{
    const struct charter_node *n = &c->nodes[at];

    for (size_t i = 0; i < at; i++)
        if (c->nodes[i].port == n->port &&
            slice_eq_nocase(slice_str(c->nodes[i].host), slice_str(n->host)))
            json_reader_fault(address, "is that of node \"%s\" too", c->nodes[i].name);
}

void
charter_check(const struct charter *c, const char *file, struct issues *faults)
{
    struct json_reader root = json_reader_root(c->doc, file, faults);
    struct json_reader nodes = json_reader_get(&root, "nodes");

    for (size_t i = 0; i < c->node_count; i++) {
        struct json_reader node = json_reader_get(&nodes, c->nodes[i].name);
        struct json_reader keys = json_reader_get(&node, "keys");
        struct json_reader address = json_reader_get(&node, "address");

        check_uses(&c->nodes[i], &keys);
        check_shared(c, i, &keys);
        check_address(c, i, &address);
    }
}

void
charter_check_time(const struct charter *c, const char *file, int64_t now_ms,
                   struct issues *expired, struct issues *late)
{
    struct json_reader root = json_reader_root(c->doc, file, expired);
    struct json_reader valid = json_reader_get(&root, "valid_until");
    struct json_reader again = json_reader_root(c->doc, file, late);
    struct json_reader renew = json_reader_get(&again, "renew_by");

    if (c->valid_until_ms <= now_ms)
        json_reader_fault(&valid, "has passed: everything is refused");
    else if (c->renew_by_ms <= now_ms)
        json_reader_fault(&renew, "has passed: requests stay in the region of their node");
}
