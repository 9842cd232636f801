#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

/* The assertion hook: one of the two file statics that STYLE section 2 allows. */
static bool never_is_fatal;

void
check_assert_fail(const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "portolan: assertion failed: %s at %s:%d\n", what, file, line);
    abort();
}

bool
check_never_report(const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "portolan: believed impossible: %s at %s:%d\n", what, file, line);
    if (never_is_fatal)
        abort();
    return true;
}

void
check_never_fatal(void)
{
    never_is_fatal = true;
}
