#ifndef NODE_CHARTER_LIST_H
#define NODE_CHARTER_LIST_H

#include "residency/charter.h"

#include <stdbool.h>
#include <stddef.h>

/* The charters that old records were made under, for who verifies them. */

#define CHARTER_LIST_MAX 4096

/* Of one mesh, each once, the newest first. */
struct charter_list {
    struct charter **charters; /* references */
    size_t count;
};
/* Opens files, and of a folder all that end in .dsse.json; faults are printed.
 * charter_list_free() undoes it, also a failed one. */
bool charter_list_open(const char *const *paths, size_t count, const struct charter_trust *trust,
                       struct charter_list *out);
/* Adds those that a node kept in a ledger's folder, if it has any. They are trusted no more than
 * others: each needs the signatures. */
bool charter_list_add_kept(struct charter_list *list, const char *ledger,
                           const struct charter_trust *trust);
void charter_list_free(struct charter_list *list);

#endif
