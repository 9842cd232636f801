#ifndef NODE_CONFIG_PRIV_H
#define NODE_CONFIG_PRIV_H

#include "base/json.h"
#include "node/config.h"

/* Between the files that read a config: config.c (the table of keys, the lists), config_certs.c
 * (the public listener's certificates), config_deadlines.c (those of single endpoints). */

/* After the scalars: cert and key, or the list `certs`, or both are there. */
void config_read_certs(struct config *c, const struct json_reader *root);
void config_free_certs(struct config *c);
/* After the scalars, which stand for what an endpoint does not say. */
void config_read_deadlines(struct config *c, const struct json_reader *root);

#endif
