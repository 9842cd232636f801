#include "node/machine.h"

#include "base/check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void
test_memory_max(void **state)
{
    (void)state;
    assert_int_equal(machine_memory_max(SLICE_LIT("536870912\n")), 536870912);
    assert_int_equal(machine_memory_max(SLICE_LIT("0\n")), 0);
    assert_true(machine_memory_max(SLICE_LIT("max\n")) == UINT64_MAX);
    assert_true(machine_memory_max(SLICE_NONE) == UINT64_MAX);
    assert_true(machine_memory_max(SLICE_LIT("-1\n")) == UINT64_MAX);
    assert_true(machine_memory_max(SLICE_LIT("99999999999999999999999\n")) == UINT64_MAX);
}

static void
test_this_machine_has_some(void **state)
{
    (void)state;
    assert_true(machine_memory_bytes() > (64u << 20));
    assert_true(machine_descriptors_max() > 16);
}

static void
test_descriptors_are_counted(void **state)
{
    uint64_t before = machine_descriptors_open();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_true(before > 0 && fd >= 0);
    assert_int_equal(machine_descriptors_open(), before + 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(machine_descriptors_open(), before);
}

static uint64_t
value_of(struct slice text, const char *name)
{
    uint64_t value = 0;

    while (text.len > 0) {
        struct slice line = slice_cut(&text, '\n');

        if (slice_eq(slice_cut(&line, ' '), slice_str(name))) {
            assert_true(slice_u64(line, &value));
            return value;
        }
    }
    fail_msg("no metric %s", name);
    return 0;
}

static void
test_metrics_follow_what_is_held(void **state)
{
    static uint8_t storage[4096];
    struct text out;
    uint64_t heap, resident;
    uint8_t *held;

    (void)state;
    text_init(&out, storage, sizeof(storage));
    machine_metrics(&out);
    assert_true(text_ok(&out));
    heap = value_of(text_slice(&out), "portolan_heap_bytes");
    resident = value_of(text_slice(&out), "process_resident_memory_bytes");
    held = malloc(8u << 20);
    assert_non_null(held);
    memset(held, 1, 8u << 20);
    text_init(&out, storage, sizeof(storage));
    machine_metrics(&out);
    assert_true(value_of(text_slice(&out), "process_open_fds") > 0);
    assert_true(value_of(text_slice(&out), "process_resident_memory_bytes") > resident);
    /* A sanitizer's allocator tells nothing of itself. */
    if (heap > 0)
        assert_true(value_of(text_slice(&out), "portolan_heap_bytes") >= heap + (8u << 20));
    free(held);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_max),
        cmocka_unit_test(test_this_machine_has_some),
        cmocka_unit_test(test_descriptors_are_counted),
        cmocka_unit_test(test_metrics_follow_what_is_held),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
