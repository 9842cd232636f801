#ifndef NODE_SNAPSHOT_JUDGE_PRIV_H
#define NODE_SNAPSHOT_JUDGE_PRIV_H

#include "base/json.h"
#include "node/snapshot_judge.h"

/* Between snapshot_judge.c (listeners, folders, files) and snapshot_judge_names.c (what config
 * and charter call each other by). */

struct judge {
    const struct snapshot *s;
    const struct config *config;
    const struct json_doc *doc; /* the config once more: for the lines */
    struct issues *faults;
    struct issues *warnings;
};

/* Something about a key of the config, "a.b.c", or about a member of what stands there. */
void judge_say(const struct judge *j, struct issues *into, const char *path, const char *member,
               const char *format, ...) __attribute__((format(printf, 5, 6)));

void judge_names(const struct judge *j);

#endif
