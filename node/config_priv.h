#ifndef NODE_CONFIG_PRIV_H
#define NODE_CONFIG_PRIV_H

#include "base/json.h"
#include "node/config.h"

/* Between the files that read a config: config.c (the table of keys, the lists), config_certs.c
 * (the public listener's certificates). */

/* After the scalars: cert and key, or the list `certs`, or both are there. */
void config_read_certs(struct config *c, const struct json_reader *root);
void config_free_certs(struct config *c);

#endif
