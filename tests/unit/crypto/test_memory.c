#include "crypto/memory.h"

#include "base/check.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define RECORD 16704 /* of a read buffer, as OpenSSL asks for it */

static void
test_a_record_buffer_is_used_again(void **state)
{
    void *first = OPENSSL_malloc(RECORD);
    void *second;

    (void)state;
    assert_non_null(first);
    memset(first, 1, RECORD);
    OPENSSL_free(first);
    second = OPENSSL_malloc(RECORD - 200); /* a write buffer is a little smaller */
    assert_ptr_equal(first, second);
    OPENSSL_free(second);
}

static void
test_what_is_kept_is_bounded(void **state)
{
    void *all[100];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        all[i] = OPENSSL_malloc(RECORD);
        assert_non_null(all[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        OPENSSL_free(all[i]);
    /* A leak or a double free of what was beyond the bound is the sanitizer's to tell. */
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        all[i] = OPENSSL_malloc(RECORD);
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        OPENSSL_free(all[i]);
}

static void
test_a_record_buffer_keeps_what_it_holds_when_it_grows(void **state)
{
    uint8_t *p = OPENSSL_malloc(RECORD);

    (void)state;
    assert_non_null(p);
    memset(p, 3, RECORD);
    p = OPENSSL_realloc(p, RECORD + 200);
    assert_non_null(p);
    p = OPENSSL_realloc(p, 100000);
    assert_non_null(p);
    for (size_t i = 0; i < RECORD; i++)
        assert_int_equal(p[i], 3);
    OPENSSL_free(p);
}

/* More than there are places: the rest is the allocator's. */
static void
test_there_are_always_more(void **state)
{
    enum { MANY = 5000 };
    static void *all[MANY];

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        all[i] = OPENSSL_malloc(RECORD);
        assert_non_null(all[i]);
        memset(all[i], (int)(i & 0xff), 64);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(*(uint8_t *)all[i], i & 0xff);
        OPENSSL_free(all[i]);
    }
}

static void
test_other_sizes_are_the_allocators(void **state)
{
    char *p = OPENSSL_malloc(10);

    (void)state;
    assert_non_null(p);
    p = OPENSSL_realloc(p, 40000);
    assert_non_null(p);
    memset(p, 2, 40000);
    p = OPENSSL_realloc(p, RECORD);
    assert_non_null(p);
    OPENSSL_free(p);
    OPENSSL_free(NULL);
    assert_null(OPENSSL_malloc(0));
}

static void *
in_a_thread(void *context)
{
    void *p = OPENSSL_malloc(RECORD);

    (void)context;
    OPENSSL_free(p);
    return p;
}

/* What a thread kept goes with it: leaks are the sanitizer's to tell. */
static void
test_threads_keep_their_own(void **state)
{
    void *mine = OPENSSL_malloc(RECORD);
    pthread_t thread;
    void *other = NULL;

    (void)state;
    OPENSSL_free(mine);
    assert_int_equal(pthread_create(&thread, NULL, in_a_thread, NULL), 0);
    assert_int_equal(pthread_join(thread, &other), 0);
    assert_non_null(other);
    assert_ptr_not_equal(mine, other);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_buffer_is_used_again),
        cmocka_unit_test(test_what_is_kept_is_bounded),
        cmocka_unit_test(test_a_record_buffer_keeps_what_it_holds_when_it_grows),
        cmocka_unit_test(test_there_are_always_more),
        cmocka_unit_test(test_other_sizes_are_the_allocators),
        cmocka_unit_test(test_threads_keep_their_own),
    };

    if (crypto_memory_init() != ERR_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
