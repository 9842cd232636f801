#include "node/machine.h"

#include "base/check.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_max),
        cmocka_unit_test(test_this_machine_has_some),
        cmocka_unit_test(test_descriptors_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
