#include "geo_fixture.h"

#include <dirent.h>

/* No file, however damaged, crashes the loader or the look-ups behind it, and what is
 * structurally broken is refused. Run it with sanitizers. */

static void
compose_small(struct fixture *f)
{
    make_init(&f->make, "GeoLite2-Country", 6, BUILT);
    make_network(&f->make, "8.0.0.0/6", make_entry(&f->make, "DE", "US"));
    make_network(&f->make, "2a00::/12", make_entry(&f->make, "FR", NULL));
    fixture_compose(f);
}

/* Loads what is in the file; if that is admitted, asks it. */
static bool
load_and_ask(struct fixture *f)
{
    static const char *const texts[] = {"8.8.8.8", "9.255.255.255", "1.1.1.1",      "223.1.2.3",
                                        "2a00::1", "2a0f:ffff::1",  "2001:4860::1", "3ffe::1"};
    bool loaded;

    geo_db_unref(&f->db);
    f->issues->count = 0;
    loaded = geo_db_load(&f->opts, f->issues, &f->db) == ERR_OK;
    assert_int_equal(loaded, f->issues->count == 0); /* a refusal always says why */
    for (size_t i = 0; loaded && i < ARRAY_COUNT(texts); i++) {
        struct geo_address address;
        struct geo_answer answer;

        assert_int_equal(ERR_OK, geo_address_parse(slice_str(texts[i]), &address));
        geo_locate(f->db, &address, &answer);
        assert_true(answer.quality == GEO_FOUND || answer.quality == GEO_MISS);
        assert_int_equal(answer.quality == GEO_FOUND, country_valid(answer.country));
    }
    return loaded;
}

static void
test_truncated_at_every_length_is_refused(void **state)
{
    struct fixture *f = *state;
    size_t whole;

    compose_small(f);
    whole = f->file.used;
    assert_true(load_and_ask(f));
    for (size_t len = 0; len < whole; len++) {
        f->file.used = len;
        fixture_write(f);
        if (load_and_ask(f))
            fail_msg("admitted with %zu of %zu bytes", len, whole);
    }
}

static void
test_front_cut_off_is_refused(void **state)
{
    struct fixture *f = *state;
    size_t whole;

    compose_small(f);
    whole = f->file.used;
    for (size_t cut = 1; cut < whole; cut++) {
        f->file = (struct text){f->file_bytes + cut, whole - cut, whole - cut, false};
        fixture_write(f);
        if (load_and_ask(f))
            fail_msg("admitted without the first %zu bytes", cut);
    }
}

static void
test_every_bit_flipped_never_crashes(void **state)
{
    struct fixture *f = *state;
    unsigned refused = 0;

    compose_small(f);
    for (size_t bit = 0; bit < f->file.used * 8; bit++) {
        f->file_bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        fixture_write(f);
        refused += load_and_ask(f) ? 0 : 1;
        f->file_bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_true(refused > 0);
}

static void
test_random_bytes_in_a_real_database_never_crash(void **state)
{
    struct fixture *f = *state;
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15); /* a fixed seed: a failure repeats */
    char *bytes = NULL;
    size_t len = 0;

    fixture_vector(f, "GeoIP2-Country-Test.mmdb");
    assert_int_equal(ERR_OK, file_read(f->path, sizeof(f->file_bytes), &bytes, &len));
    assert_true(file_join(f->path, sizeof(f->path), f->folder, "geo.mmdb"));
    for (unsigned round = 0; round < 2000; round++) {
        memcpy(f->file_bytes, bytes, len);
        f->file = (struct text){f->file_bytes, len, len, false};
        for (unsigned i = 0; i <= round % 8; i++) {
            size_t at;

            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            at = (size_t)(random >> 33) % len;
            /* Half of the rounds in the metadata, where the library believes most. */
            if (round % 2 == 0)
                at = len - 1 - at % 512;
            f->file_bytes[at] = (uint8_t)(random >> 24);
        }
        fixture_write(f);
        (void)load_and_ask(f);
    }
    free(bytes);
}

static void
test_real_database_truncated_is_refused(void **state)
{
    struct fixture *f = *state;
    char *bytes = NULL;
    size_t len = 0;

    fixture_vector(f, "GeoIP2-City-Test.mmdb");
    assert_int_equal(ERR_OK, file_read(f->path, sizeof(f->file_bytes), &bytes, &len));
    memcpy(f->file_bytes, bytes, len);
    free(bytes);
    assert_true(file_join(f->path, sizeof(f->path), f->folder, "geo.mmdb"));
    for (size_t cut = 0; cut < len; cut += cut < len - 300 ? 101 : 1) {
        f->file = (struct text){f->file_bytes, cut, cut, false};
        fixture_write(f);
        if (load_and_ask(f))
            fail_msg("admitted with %zu of %zu bytes", cut, len);
    }
}

/* 0x40000001 nodes of 8 bytes are 8 bytes in 32-bit arithmetic. */
static void
test_node_count_that_wraps_is_refused(void **state)
{
    static const uint32_t counts[] = {0x20000001, 0x40000001, 0x80000000, UINT32_MAX, 60000};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        make_init(&f->make, "GeoLite2-Country", 6, BUILT);
        make_network(&f->make, "8.0.0.0/6", make_entry(&f->make, "DE", NULL));
        f->make.claimed_node_count = counts[i];
        fixture_refused(f, ERR_BADMSG, "cut off");
    }
}

/* Offsets before the data section wrap to 4 GiB inside libmaxminddb 1.7. */
static void
test_records_outside_the_data_section_are_refused(void **state)
{
    struct fixture *f = *state;
    static const int64_t offsets[] = {-15, -1, 1000, 1 << 20, INT32_C(0x70000000)};

    for (size_t i = 0; i < ARRAY_COUNT(offsets); i++) {
        make_init(&f->make, "GeoLite2-Country", 6, BUILT);
        make_network(&f->make, "8.0.0.0/6", make_entry(&f->make, "DE", NULL));
        make_network(&f->make, "2a00::/12", (uint32_t)(offsets[i] & 0x7fffffff));
        fixture_compose(f);
        /* The builder masks; the true value goes in by hand, at the root's right side. */
        f->make.nodes[0][1] = (uint32_t)((int64_t)f->make.node_count + 16 + offsets[i]);
        for (unsigned b = 0; b < 4; b++)
            f->file_bytes[4 + b] = (uint8_t)(f->make.nodes[0][1] >> (24 - 8 * b));
        fixture_write(f);
        fixture_refused_path(f, ERR_BADMSG, "search tree");
    }
}

static void
test_entries_that_lie_are_refused(void **state)
{
    static const struct {
        const char *name;
        const char *bytes;
        size_t len;
    } cases[] = {
        {"a pointer to itself", "\x20\x00", 2},
        {"a pointer out of the section", "\x38\xff\xff\xff\xff", 5},
        {"a map larger than the file", "\xff\xff\xff\xff", 4},
        {"a string larger than the file",
         "\xe1\x47"
         "country\xe1\x48iso_code\x5f\xff\xff\xff",
         22},
        {"a code that is a number",
         "\xe1\x47"
         "country\xe1\x48iso_code\xa1\x07",
         20},
        {"a map whose key is a number",
         "\xe1\xa1\x07\x42"
         "DE",
         6},
        {"an unknown type", "\x00\xff", 2},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        make_init(&f->make, "GeoLite2-Country", 6, BUILT);
        text_add(&f->make.data, slice_of(cases[i].bytes, cases[i].len));
        make_network(&f->make, "9.0.0.0/8", 0);
        make_network(&f->make, "8.0.0.0/8", make_entry(&f->make, "DE", NULL));
        print_message("%s\n", cases[i].name);
        fixture_refused(f, ERR_BADMSG, "damaged");
    }
}

static void
test_deep_entries_do_not_exhaust_the_stack(void **state)
{
    struct fixture *f = *state;

    make_init(&f->make, "GeoLite2-Country", 6, BUILT);
    for (unsigned i = 0; i < 1000; i++) {
        make_map(&f->make.data, 1);
        make_string(&f->make.data, "a");
    }
    make_string(&f->make.data, "end");
    make_network(&f->make, "9.0.0.0/8", 0);
    make_network(&f->make, "8.0.0.0/8", make_entry(&f->make, "DE", NULL));
    fixture_refused(f, ERR_BADMSG, "damaged");
}

static void
test_what_is_no_database_file_is_refused(void **state)
{
    struct fixture *f = *state;

    fixture_refused_path(f, ERR_NOENT, "no such file");
    text_init(&f->file, f->file_bytes, sizeof(f->file_bytes));
    fixture_write(f);
    fixture_refused_path(f, ERR_BADMSG, "empty");
    text_add_str(&f->file, "<html>404 Not Found</html>");
    fixture_write(f);
    fixture_refused_path(f, ERR_BADMSG, "no MaxMind DB metadata");
    assert_int_equal(0, unlink(f->path));
    assert_int_equal(0, mkfifo(f->path, 0600));
    fixture_refused_path(f, ERR_IO, "can't be copied");
    assert_int_equal(0, unlink(f->path));
    assert_int_equal(0, mkdir(f->path, 0700));
    fixture_refused_path(f, ERR_IO, "can't be copied");
    assert_int_equal(0, rmdir(f->path));
}

static void
test_a_file_above_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;

    text_init(&f->file, f->file_bytes, sizeof(f->file_bytes));
    fixture_write(f);
    assert_int_equal(0, truncate(f->path, (off_t)GEO_FILE_BYTES_MAX + 1)); /* sparse */
    fixture_refused_path(f, ERR_TOOBIG, "512 MiB");
}

static unsigned
open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    assert_int_equal(0, closedir(folder));
    return count;
}

static void
test_no_descriptor_is_left_open(void **state)
{
    struct fixture *f = *state;
    unsigned before = open_descriptors();

    compose_small(f);
    assert_true(load_and_ask(f));
    f->file.used -= 10;
    fixture_write(f);
    assert_false(load_and_ask(f));
    assert_int_equal(before, open_descriptors());
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_truncated_at_every_length_is_refused),
        FIXTURE_TEST(test_front_cut_off_is_refused),
        FIXTURE_TEST(test_every_bit_flipped_never_crashes),
        FIXTURE_TEST(test_random_bytes_in_a_real_database_never_crash),
        FIXTURE_TEST(test_real_database_truncated_is_refused),
        FIXTURE_TEST(test_node_count_that_wraps_is_refused),
        FIXTURE_TEST(test_records_outside_the_data_section_are_refused),
        FIXTURE_TEST(test_entries_that_lie_are_refused),
        FIXTURE_TEST(test_deep_entries_do_not_exhaust_the_stack),
        FIXTURE_TEST(test_what_is_no_database_file_is_refused),
        FIXTURE_TEST(test_a_file_above_the_limit_is_refused),
        FIXTURE_TEST(test_no_descriptor_is_left_open),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
