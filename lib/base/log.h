#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/slice.h"

#include <stdint.h>

/* The operator's log: one line of key=value an event on standard error. It is never
 * evidence (that is the ledger) and carries no address, prompt or subject.
 *
 *     log_event(LOG_INFO, "charter.loaded", "version=%" PRIu64, version);
 *
 * writes  time=2026-11-23T19:22:47.123Z level=info event=charter.loaded version=7
 *
 * Foreign text goes through log_quote() first. Thread-safe; a line is one write(). */

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level max);
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Foreign text for one log value: escaped and cut to 128 bytes. */
struct log_quoted {
    char text[560];
};
const char *log_quote(struct slice s, struct log_quoted *storage);
/* The same for words that stand between quotes, "%s": spaces stay, and more of it is kept. */
struct log_words {
    char text[1600];
};
const char *log_words(struct slice s, struct log_words *storage);

#endif
