#include "geo_fixture.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

/* The world database that scripts/geoip-build makes from Debian's tor-geoipdb. */

#define SOURCE "/usr/share/tor/geoip"
#define FAR_FUTURE_MS INT64_C(4102444800000)

static const struct geo_canary well_known[] = {
    {"193.99.144.80", "DE"},        /* heise.de */
    {"2a02:2e0:3fe:1001::1", "DE"}, /* heise.de */
    {"193.0.6.139", "NL"},          /* ripe.net */
    {"2001:67c:2e8::1", "NL"},      /* ripe.net */
    {"202.12.29.1", "AU"},          /* apnic.net */
    {"133.11.0.1", "JP"},           /* the University of Tokyo */
};

/* Runs the script; false when what it needs is not installed. */
static bool
build(const char *out)
{
    char script[] = PORTOLAN_SOURCE "/scripts/geoip-build";
    char perl[] = "perl";
    char module[] = "-MMaxMind::DB::Writer::Tree";
    char nothing[] = "-e1";
    char path[PATH_MAX];
    char *probe[] = {perl, module, nothing, NULL};
    char *command[] = {perl, script, path, NULL};
    posix_spawn_file_actions_t quiet;
    pid_t pid;
    int status;

    if (access(SOURCE, R_OK) != 0)
        return false;
    assert_true(text_format(path, sizeof(path), "%s", out));
    assert_int_equal(0, posix_spawn_file_actions_init(&quiet));
    assert_int_equal(
        0, posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0));
    status = posix_spawnp(&pid, perl, &quiet, NULL, probe, environ);
    assert_int_equal(0, posix_spawn_file_actions_destroy(&quiet));
    if (status != 0)
        return false;
    assert_int_equal(pid, waitpid(pid, &status, 0));
    if (status != 0)
        return false;
    assert_int_equal(0, posix_spawnp(&pid, perl, NULL, NULL, command, environ));
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_int_equal(0, status);
    return true;
}

/* Once for all tests: the script takes seconds. */
static int
world_setup(void **state)
{
    const struct fixture *f;

    (void)fixture_setup(state);
    f = *state;
    (void)build(f->path);
    return 0;
}

static void
test_world_database_is_admitted_with_canaries(void **state)
{
    struct fixture *f = *state;
    struct geo_address address;
    struct geo_answer answer;

    if (access(f->path, R_OK) != 0) {
        print_message("skipped: tor-geoipdb or libmaxmind-db-writer-perl is not installed\n");
        skip();
    }
    /* The clock of the test is the build's: what is tested is the file, not the day. */
    f->opts.now_ms = FAR_FUTURE_MS;
    f->opts.max_age_days = UINT32_MAX;
    fixture_load_path(f);
    f->opts.now_ms = (int64_t)geo_db_build_epoch(f->db) * 1000;
    f->opts.max_age_days = 0;
    f->opts.canaries = well_known;
    f->opts.canary_count = ARRAY_COUNT(well_known);
    fixture_load_path(f);
    assert_string_equal("Portolan-Country", geo_db_type(f->db));
    /* The IPv4 tree is not aliased into the transition blocks, which are not asked anyway. */
    assert_int_equal(ERR_OK, geo_address_parse(SLICE_LIT("2002:c163:9050::1"), &address));
    geo_locate(f->db, &address, &answer);
    assert_int_equal(GEO_TRANSITION, answer.quality);
    assert_int_equal(COUNTRY_NONE, answer.country);
}

static void
fill(struct geo_address *a, uint64_t random, unsigned i)
{
    *a = (struct geo_address){.family = i % 2 == 0 ? 4 : 6};
    for (unsigned b = 0; b < (a->family == 4 ? 4 : 8); b++)
        a->bytes[b] = (uint8_t)(random >> (8 * b));
    if (a->family == 6)
        a->bytes[0] = 0x2a;
}

/* Every answer is a place or a stated miss, wherever one asks. */
static void
test_world_database_answers_everywhere(void **state)
{
    struct fixture *f = *state;
    uint64_t random = 1;
    unsigned found = 0;

    if (access(f->path, R_OK) != 0) {
        print_message("skipped: tor-geoipdb or libmaxmind-db-writer-perl is not installed\n");
        skip();
    }
    f->opts.now_ms = FAR_FUTURE_MS;
    f->opts.max_age_days = UINT32_MAX;
    f->opts.canary_count = 0;
    fixture_load_path(f);
    for (unsigned i = 0; i < 200000; i++) {
        struct geo_address address;
        struct geo_answer answer;

        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        fill(&address, random, i);
        geo_locate(f->db, &address, &answer);
        assert_int_equal(answer.quality == GEO_FOUND, country_valid(answer.country));
        assert_int_not_equal(GEO_UNREADABLE, answer.quality);
        assert_int_equal(COUNTRY_NONE, answer.registered);
        found += answer.quality == GEO_FOUND;
    }
    assert_true(found > 60000); /* most of IPv4 is assigned */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world_database_is_admitted_with_canaries),
        cmocka_unit_test(test_world_database_answers_everywhere),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, world_setup, fixture_teardown);
}
