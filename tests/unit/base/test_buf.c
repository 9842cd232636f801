#include "base/buf.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

struct fixture {
    struct buf_pool *pool;
    struct buf buf;
};

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(buf_pool_new(&f->pool, 1 << 20), ERR_OK);
    buf_init(&f->buf, f->pool, 100000);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    buf_release(&f->buf);
    assert_int_equal(buf_pool_held(f->pool), 0);
    buf_pool_free(&f->pool);
    assert_null(f->pool);
    free(f);
    return 0;
}

static void
test_first_in_first_out(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(buf_add(&f->buf, SLICE_LIT("hello ")), ERR_OK);
    assert_int_equal(buf_add(&f->buf, SLICE_LIT("world")), ERR_OK);
    assert_true(slice_is(buf_slice(&f->buf), "hello world"));
    buf_consume(&f->buf, 6);
    assert_true(slice_is(buf_slice(&f->buf), "world"));
    assert_int_equal(buf_used(&f->buf), 5);
    assert_int_equal(buf_left(&f->buf), 100000 - 5);
}

static void
test_empty_buffer_holds_no_block(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(buf_pool_held(f->pool), 0);
    assert_int_equal(buf_add(&f->buf, SLICE_NONE), ERR_OK);
    assert_int_equal(buf_pool_held(f->pool), 0);
    assert_int_equal(buf_add(&f->buf, SLICE_LIT("x")), ERR_OK);
    assert_true(buf_pool_held(f->pool) > 0);
    buf_consume(&f->buf, 1);
    assert_int_equal(buf_pool_held(f->pool), 0);
    assert_null(buf_slice(&f->buf).p);
}

static void
test_limit_is_exact(void **state)
{
    struct fixture *f = *state;
    struct buf small;

    buf_init(&small, f->pool, 5);
    assert_int_equal(buf_add(&small, SLICE_LIT("123456")), ERR_TOOBIG);
    assert_int_equal(buf_add(&small, SLICE_LIT("12345")), ERR_OK);
    assert_int_equal(buf_add(&small, SLICE_LIT("6")), ERR_TOOBIG);
    assert_true(slice_is(buf_slice(&small), "12345"));
    buf_consume(&small, 2);
    assert_int_equal(buf_add(&small, SLICE_LIT("67")), ERR_OK);
    assert_true(slice_is(buf_slice(&small), "34567"));
    buf_release(&small);
}

static void
test_room_never_exceeds_the_limit(void **state)
{
    struct fixture *f = *state;
    struct buf small;
    size_t room = 0;
    uint8_t *at;

    buf_init(&small, f->pool, 10);
    assert_null(buf_room(&small, 11, &room));
    at = buf_room(&small, 1, &room);
    assert_non_null(at);
    assert_int_equal(room, 10);
    memcpy(at, "abc", 3);
    buf_commit(&small, 3);
    assert_non_null(buf_room(&small, 1, &room));
    assert_int_equal(room, 7);
    buf_release(&small);
}

static void
test_commit_of_nothing_gives_the_block_back(void **state)
{
    struct fixture *f = *state;
    size_t room;

    assert_non_null(buf_room(&f->buf, 100, &room));
    assert_true(buf_pool_held(f->pool) > 0);
    buf_commit(&f->buf, 0);
    assert_int_equal(buf_pool_held(f->pool), 0);
}

/* A reference model beside it: sizes that make it move and grow. */
static void
test_content_survives_moves_and_growth(void **state)
{
    struct fixture *f = *state;
    uint32_t random = 12345;
    uint8_t in = 0;
    uint8_t out = 0;
    size_t used = 0;

    for (int round = 0; round < 2000; round++) {
        size_t n;
        uint8_t *at;
        size_t room;

        random = random * 1664525 + 1013904223;
        n = 1 + (random >> 8) % 9000;
        if (n > buf_left(&f->buf))
            n = buf_left(&f->buf);
        at = n == 0 ? NULL : buf_room(&f->buf, n, &room);
        if (at != NULL) {
            for (size_t i = 0; i < n; i++)
                at[i] = in++;
            buf_commit(&f->buf, n);
            used += n;
        }
        assert_int_equal(buf_used(&f->buf), used);
        random = random * 1664525 + 1013904223;
        n = (random >> 8) % (used + 1);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(buf_slice(&f->buf).p[i], out++);
        buf_consume(&f->buf, n);
        used -= n;
    }
}

static void
test_blocks_are_kept_up_to_the_limit(void **state)
{
    struct buf_pool *pool = NULL;
    struct buf a;
    const uint8_t *block;

    (void)state;
    assert_int_equal(buf_pool_new(&pool, 4096), ERR_OK);
    buf_init(&a, pool, 1 << 16);
    assert_int_equal(buf_add(&a, SLICE_LIT("x")), ERR_OK);
    block = a.p;
    buf_release(&a);
    assert_int_equal(buf_add(&a, SLICE_LIT("y")), ERR_OK);
    assert_ptr_equal(a.p, block);
    buf_release(&a);
    buf_pool_free(&pool);
    buf_pool_free(&pool); /* pointer to NULL is fine */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_in_first_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_empty_buffer_holds_no_block, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limit_is_exact, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room_never_exceeds_the_limit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_commit_of_nothing_gives_the_block_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_content_survives_moves_and_growth, set_up, tear_down),
        cmocka_unit_test(test_blocks_are_kept_up_to_the_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
