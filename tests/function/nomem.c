/* Under LD_PRELOAD: while the file $NOMEM_FILE exists, malloc() of $NOMEM_SIZE bytes fails. */
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

void *__libc_malloc(size_t size);

void *
malloc(size_t size)
{
    static size_t wanted;
    static const char *file;

    if (wanted == 0) {
        const char *text = getenv("NOMEM_SIZE");

        wanted = text == NULL ? (size_t)-1 : (size_t)strtoul(text, NULL, 10);
        file = getenv("NOMEM_FILE");
    }
    if (size == wanted && file != NULL && access(file, F_OK) == 0)
        return NULL;
    return __libc_malloc(size);
}
