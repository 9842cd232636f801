#include "base/log.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048
#define LOG_QUOTED_MAX 128
#define LOG_WORDS_MAX 384

/* The log sink: one of the two file statics that STYLE section 2 allows. */
static atomic_int level_max = LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void
log_set_level(enum log_level max)
{
    atomic_store(&level_max, (int)max);
}

void
log_event(enum log_level level, const char *event, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    struct text t;
    va_list ap;
    int n;

    if ((int)level > atomic_load_explicit(&level_max, memory_order_relaxed))
        return;
    text_init(&t, line, sizeof(line) - 1);
    text_add_str(&t, "time=");
    text_add_time_ms(&t, clock_wall_ms());
    text_addf(&t, " level=%s event=%s ", level_names[level], event);
    va_start(ap, format);
    n = vsnprintf(line + t.used, sizeof(line) - 1 - t.used, format, ap);
    va_end(ap);
    if (n > 0)
        t.used += (size_t)n < sizeof(line) - 1 - t.used ? (size_t)n : sizeof(line) - 2 - t.used;
    line[t.used] = '\n';
    /* A log that can't be written must not stop the node: the ledger is the evidence. */
    if (write(STDERR_FILENO, line, t.used + 1) < 0)
        return;
}

const char *
log_quote(struct slice s, struct log_quoted *storage)
{
    struct text t;

    text_init(&t, storage->text, sizeof(storage->text) - 1);
    text_add_escaped(&t, s, LOG_QUOTED_MAX);
    storage->text[t.used] = '\0';
    return storage->text;
}

const char *
log_words(struct slice s, struct log_words *storage)
{
    struct slice rest = slice_sub(s, 0, LOG_WORDS_MAX);
    bool more = rest.len < s.len;
    struct text t;

    text_init(&t, storage->text, sizeof(storage->text) - 1);
    while (rest.len > 0) {
        size_t space = slice_find(rest, ' ');

        text_add_escaped(&t, slice_sub(rest, 0, space), LOG_WORDS_MAX);
        if (space < rest.len)
            text_add_char(&t, ' ');
        rest = slice_sub(rest, space + 1, rest.len);
    }
    if (more)
        text_add_str(&t, "...");
    storage->text[t.used] = '\0';
    return storage->text;
}
