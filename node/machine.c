#include "node/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define GROUP_FILE "/proc/self/cgroup"
#define GROUP_ROOT "/sys/fs/cgroup"
#define GROUP_PATH_MAX 1024

/* Files of the kernel say nothing of their size: one read, as much as fits. */
static struct slice
read_some(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return SLICE_NONE;
    n = read(fd, buffer, size);
    (void)close(fd);
    return n <= 0 ? SLICE_NONE : slice_of(buffer, (size_t)n);
}

uint64_t
machine_memory_max(struct slice text)
{
    uint64_t bytes = 0;

    text = slice_sub(text, 0, slice_find(text, '\n'));
    return slice_u64(text, &bytes) ? bytes : UINT64_MAX;
}

/* A group's limit holds for those inside it: the least on the way up to the root counts. */
static uint64_t
group_limit(void)
{
    char groups[GROUP_PATH_MAX];
    char file[GROUP_PATH_MAX + 64];
    char value[64];
    struct slice rest = read_some(GROUP_FILE, groups, sizeof(groups));
    struct slice path = SLICE_NONE;
    uint64_t least = UINT64_MAX;

    while (rest.len > 0 && path.len == 0) {
        struct slice line = slice_cut(&rest, '\n');

        if (line.len > 3 && memcmp(line.p, "0::", 3) == 0)
            path = slice_sub(line, 3, line.len - 3);
    }
    /* Each round takes a component away: bounded by the path's length. */
    while (path.len > 0) {
        uint64_t limit;

        if (!text_format(file, sizeof(file), GROUP_ROOT "%.*s/memory.max", (int)path.len,
                         (const char *)path.p))
            return least;
        limit = machine_memory_max(read_some(file, value, sizeof(value)));
        least = limit < least ? limit : least;
        while (path.len > 0 && path.p[path.len - 1] != '/')
            path.len--;
        if (path.len > 0)
            path.len--;
    }
    return least;
}

uint64_t
machine_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    uint64_t group = group_limit();

    if (group != UINT64_MAX && (machine == 0 || group < machine))
        return group;
    return machine;
}

uint64_t
machine_descriptors_open(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", ".." and the folder itself */
}

uint64_t
machine_descriptors_max(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return 0;
    return files.rlim_cur == RLIM_INFINITY ? UINT64_MAX : files.rlim_cur;
}

/* The second number of statm: pages in memory (proc(5)). */
static bool
resident_bytes(uint64_t *out)
{
    char line[128];
    struct slice rest = read_some("/proc/self/statm", line, sizeof(line));
    long page = sysconf(_SC_PAGESIZE);
    uint64_t pages = 0;

    (void)slice_cut(&rest, ' ');
    if (page <= 0 || !slice_u64(slice_cut(&rest, ' '), &pages))
        return false;
    *out = pages * (uint64_t)page;
    return true;
}

static void
write_gauge(struct text *out, const char *name, const char *help, uint64_t value)
{
    text_addf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %" PRIu64 "\n", name, help, name, name,
              value);
}

void
machine_metrics(struct text *out)
{
    struct mallinfo2 heap = mallinfo2();
    uint64_t descriptors = machine_descriptors_open();
    uint64_t resident = 0;
    struct rusage used;

    if (getrusage(RUSAGE_SELF, &used) == 0)
        text_addf(out,
                  "# HELP process_cpu_seconds_total User and system CPU time of all threads.\n"
                  "# TYPE process_cpu_seconds_total counter\n"
                  "process_cpu_seconds_total %lld.%06ld\n",
                  (long long)(used.ru_utime.tv_sec + used.ru_stime.tv_sec +
                              (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000000),
                  (used.ru_utime.tv_usec + used.ru_stime.tv_usec) % 1000000);
    if (resident_bytes(&resident))
        write_gauge(out, "process_resident_memory_bytes", "Memory that is resident.", resident);
    if (descriptors > 0)
        write_gauge(out, "process_open_fds", "Open descriptors.", descriptors);
    write_gauge(out, "process_max_fds", "The soft limit of descriptors.",
                machine_descriptors_max());
    write_gauge(out, "portolan_heap_bytes", "Allocated and not freed, of the process's heap.",
                heap.uordblks + heap.hblkhd);
}

void
machine_give_back(void)
{
    (void)malloc_trim(0);
}
