#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdbool.h>

/* ASSERT: a promise inside this program, provable by reading it; on in release.
 * NEVER: believed impossible, not proven; logs once per call, yields true, and
 * the caller handles it. Fatal when check_never_fatal() was called (tests). */

__attribute__((noreturn)) void check_assert_fail(const char *what, const char *file, int line);
bool check_never_report(const char *what, const char *file, int line);

/* Makes every NEVER that fires abort; called by test programs only. */
void check_never_fatal(void);

#define ASSERT(x) ((x) ? (void)0 : check_assert_fail(#x, __FILE__, __LINE__))
#define NEVER(x) ((x) ? check_never_report(#x, __FILE__, __LINE__) : false)

#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
