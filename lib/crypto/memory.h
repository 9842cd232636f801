#ifndef CRYPTO_MEMORY_H
#define CRYPTO_MEMORY_H

#include "base/err.h"

/* Where OpenSSL's memory comes from. Its record buffers (17 KB each way) come and go with
 * every record of a connection that gives them back, which is what keeps an open stream
 * small; a few of them are kept by each thread, so that the next record of whichever
 * connection finds one that is warm. Everything else is the allocator's. */

/* Once, before anything else of OpenSSL is used. ERR_CONFLICT: it was used already. */
MUST_USE enum err crypto_memory_init(void);

#endif
