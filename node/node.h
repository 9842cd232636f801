#ifndef NODE_NODE_H
#define NODE_NODE_H

#define NODE_SOFTWARE "portolan/0.1.0" /* as records and --version name it */

#include "base/err.h"

#include <stdbool.h>

/* The daemon: loads a snapshot, opens ledger and listeners, starts the workers, and on the
 * main thread runs the mesh service, the admin listener, signals and reloads.
 *
 *   SIGTERM, SIGINT: drain, then stop (a second one: within 10 s)     SIGHUP: reload
 */

/* Runs until a signal stops it; the process's exit code. take_over: from the process that
 * serves now (takeover.h), which goes on where this one can't. */
int node_run(const char *config_path, bool take_over);

#endif
