#ifndef BASE_ERR_H
#define BASE_ERR_H

/* What can go wrong inside the program. An error is not a verdict: what was
 * denied, unhealthy or limited has its own row table where it is decided. */

#define ERR_LIST(X)                                      \
    X(ERR_OK, "ok")                                      \
    X(ERR_NOMEM, "memory budget used up")                \
    X(ERR_BADMSG, "malformed input")                     \
    X(ERR_TOOBIG, "larger than its limit")               \
    X(ERR_EMPTY, "nothing to choose from")               \
    X(ERR_AGAIN, "not ready yet")                        \
    X(ERR_EOF, "ended early")                            \
    X(ERR_IO, "input or output failed")                  \
    X(ERR_NOENT, "does not exist")                       \
    X(ERR_EXIST, "exists already")                       \
    X(ERR_FULL, "no room left")                          \
    X(ERR_TIMEOUT, "took too long")                      \
    X(ERR_AUTH, "signature or identity does not verify") \
    X(ERR_EXPIRED, "outside its time of validity")       \
    X(ERR_FORBIDDEN, "not allowed")                      \
    X(ERR_UNSUPPORTED, "not supported")                  \
    X(ERR_CONFLICT, "contradicts what is on record")     \
    X(ERR_CRYPTO, "cryptographic operation failed")      \
    X(ERR_CLOSED, "closed")

#define ERR_ENUM_ROW(name, text) name,
enum err { ERR_LIST(ERR_ENUM_ROW) ERR_COUNT };
#undef ERR_ENUM_ROW

#define MUST_USE __attribute__((warn_unused_result))

/* The words of an error, for logs and config edges; never NULL. */
const char *err_text(enum err e);

#endif
