#include "geo_fixture.h"

/* What a database answers, and which databases are put into use. Damaged files have their
 * own program (test_geo_damage.c). */

static void
expect(const struct geo_db *db, const char *text, const char *country, const char *registered,
       enum geo_quality quality)
{
    struct geo_address address;
    struct geo_answer answer;
    char got[3], got_registered[3];

    assert_int_equal(ERR_OK, geo_address_parse(slice_str(text), &address));
    geo_locate(db, &address, &answer);
    country_text(answer.country, got);
    country_text(answer.registered, got_registered);
    if (strcmp(got, country) != 0 || strcmp(got_registered, registered) != 0 ||
        answer.quality != quality)
        fail_msg("%s: %s, registered %s, %s", text, got, got_registered,
                 geo_quality_row(answer.quality)->name);
}

static void
test_country_decides_and_registered_is_recorded(void **state)
{
    struct fixture *f = *state;

    make_init(&f->make, "GeoIP2-Country", 6, BUILT);
    make_network(&f->make, "8.8.0.0/16", make_entry(&f->make, "DE", "US"));
    make_network(&f->make, "8.9.0.0/16", make_entry(&f->make, NULL, "US"));
    make_network(&f->make, "2a00::/16", make_entry(&f->make, "FR", NULL));
    fixture_load(f);
    expect(f->db, "8.8.8.8", "DE", "US", GEO_FOUND);
    expect(f->db, "8.9.8.8", "??", "US", GEO_MISS);
    expect(f->db, "2a00:1::", "FR", "??", GEO_FOUND);
    expect(f->db, "::ffff:8.8.8.8", "DE", "US", GEO_FOUND);
    expect(f->db, "8.10.0.1", "??", "??", GEO_MISS);
    expect(f->db, "2a01::1", "??", "??", GEO_MISS);
}

static void
test_pseudo_codes_are_a_miss(void **state)
{
    static const char *const codes[] = {"EU", "AP", "XX", "??", "A1", "A2",
                                        "O1", "T1", "ZZ", "",   "de", "DEU"};
    struct fixture *f = *state;
    char network[32];

    make_init(&f->make, "GeoLite2-Country", 6, BUILT);
    make_network(&f->make, "9.9.9.0/24", make_entry(&f->make, "DE", NULL));
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        assert_true(text_format(network, sizeof(network), "8.8.%u.0/24", i));
        make_network(&f->make, network, make_entry(&f->make, codes[i], codes[i]));
    }
    fixture_load(f);
    for (unsigned i = 0; i < ARRAY_COUNT(codes); i++) {
        assert_true(text_format(network, sizeof(network), "8.8.%u.1", i));
        expect(f->db, network, "??", "??", GEO_MISS);
    }
}

static void
test_dbip_schema(void **state)
{
    struct fixture *f = *state;
    uint32_t entry;

    make_init(&f->make, "DBIP-Country-Lite", 6, BUILT);
    entry = (uint32_t)f->make.data.used;
    make_map(&f->make.data, 2);
    make_string(&f->make.data, "continent");
    make_map(&f->make.data, 2);
    make_string(&f->make.data, "code");
    make_string(&f->make.data, "EU");
    make_string(&f->make.data, "geoname_id");
    make_uint(&f->make.data, 6, 6255148, 3);
    make_string(&f->make.data, "country");
    make_map(&f->make.data, 2);
    make_string(&f->make.data, "is_in_european_union");
    text_add(&f->make.data, SLICE_LIT("\x01\x07")); /* true */
    make_string(&f->make.data, "iso_code");
    make_string(&f->make.data, "NL");
    make_network(&f->make, "5.0.0.0/8", entry);
    fixture_load(f);
    expect(f->db, "5.1.2.3", "NL", "??", GEO_FOUND);
    assert_string_equal("DBIP-Country-Lite", geo_db_type(f->db));
}

static void
test_special_addresses_are_not_looked_up(void **state)
{
    struct fixture *f = *state;
    uint32_t entry;

    make_init(&f->make, "GeoLite2-City", 6, BUILT);
    entry = make_entry(&f->make, "DE", NULL);
    make_network(&f->make, "::/1", entry);
    make_network(&f->make, "8000::/1", entry);
    fixture_load(f);
    expect(f->db, "8.8.8.8", "DE", "??", GEO_FOUND);
    expect(f->db, "10.1.1.1", "??", "??", GEO_PRIVATE);
    expect(f->db, "127.0.0.1", "??", "??", GEO_LOOPBACK);
    expect(f->db, "100.64.1.1", "??", "??", GEO_CGNAT);
    expect(f->db, "2002:808:808::1", "??", "??", GEO_TRANSITION);
    expect(f->db, "2001:0:1::1", "??", "??", GEO_TRANSITION);
    expect(f->db, "64:ff9b::808:808", "??", "??", GEO_TRANSITION);
    expect(f->db, "::8.8.8.8", "??", "??", GEO_RESERVED);
    expect(f->db, "fd00::1", "??", "??", GEO_PRIVATE);
    expect(f->db, "ff02::1", "??", "??", GEO_RESERVED);
}

static void
test_ipv4_only_needs_leave_and_misses_ipv6(void **state)
{
    struct fixture *f = *state;

    make_init(&f->make, "GeoLite2-Country", 4, BUILT);
    make_network(&f->make, "8.8.0.0/16", make_entry(&f->make, "DE", NULL));
    fixture_refused(f, ERR_BADMSG, "no IPv6");
    f->opts.allow_ipv4 = true;
    fixture_load(f);
    expect(f->db, "8.8.8.8", "DE", "??", GEO_FOUND);
    expect(f->db, "2a00::1", "??", "??", GEO_MISS);
}

static void
test_other_kinds_of_database_are_refused(void **state)
{
    static const char *const types[] = {"GeoIP2-Anonymous-IP", "GeoLite2-ASN", "", "country"};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(types); i++) {
        make_init(&f->make, types[i], 6, BUILT);
        make_network(&f->make, "8.8.0.0/16", make_entry(&f->make, "DE", NULL));
        fixture_refused(f, ERR_BADMSG, "database_type");
    }
}

static void
test_a_database_without_any_country_is_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t entry;

    make_init(&f->make, "Flat-Country", 6, BUILT);
    entry = (uint32_t)f->make.data.used;
    make_map(&f->make.data, 1);
    make_string(&f->make.data, "country"); /* not {iso_code: ...} */
    make_string(&f->make.data, "DE");
    make_network(&f->make, "8.8.0.0/16", entry);
    fixture_refused(f, ERR_BADMSG, "country.iso_code");
}

static void
test_age_at_the_limit_and_one_day_more(void **state)
{
    static const struct {
        int64_t days; /* from build to now */
        unsigned max_age_days;
        enum err want;
    } cases[] = {
        {0, 0, ERR_OK},        {1500, 0, ERR_OK}, {1501, 0, ERR_EXPIRED}, {30, 30, ERR_OK},
        {31, 30, ERR_EXPIRED}, {-1, 0, ERR_OK},   {-2, 0, ERR_EXPIRED},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        make_init(&f->make, "GeoLite2-Country", 6, BUILT);
        make_network(&f->make, "8.8.0.0/16", make_entry(&f->make, "DE", NULL));
        f->opts.now_ms = ((int64_t)BUILT + cases[i].days * 86400) * 1000;
        f->opts.max_age_days = cases[i].max_age_days;
        if (cases[i].want == ERR_OK)
            fixture_load(f);
        else
            fixture_refused(f, cases[i].want, "it was built");
    }
}

static void
test_canaries_decide(void **state)
{
    static const struct geo_canary good[] = {{"8.8.8.8", "DE"}, {"2a00::1", "FR"}};
    static const struct geo_canary wrong[] = {{"8.8.8.8", "DE"}, {"2a00::1", "DE"}};
    static const struct geo_canary missing[] = {{"9.9.9.9", "DE"}};
    static const struct geo_canary private[] = {{"10.0.0.1", "DE"}};
    static const struct geo_canary malformed[] = {{"8.8.8", "DE"}};
    static const struct geo_canary pseudo[] = {{"8.8.8.8", "EU"}};
    static const struct {
        const struct geo_canary *canaries;
        size_t count;
        const char *issue;
    } cases[] = {
        {wrong, 2, "places 2a00::1 in FR (found), not in DE"},
        {missing, 1, "places 9.9.9.9 in ?? (miss), not in DE"},
        {private, 1, "(private)"},
        {malformed, 1, "canary 0"},
        {pseudo, 1, "canary 0"},
    };
    struct fixture *f = *state;

    make_init(&f->make, "GeoLite2-Country", 6, BUILT);
    make_network(&f->make, "8.8.0.0/16", make_entry(&f->make, "DE", NULL));
    make_network(&f->make, "2a00::/16", make_entry(&f->make, "FR", NULL));
    f->opts.canaries = good;
    f->opts.canary_count = 2;
    fixture_load(f);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        f->opts.canaries = cases[i].canaries;
        f->opts.canary_count = cases[i].count;
        fixture_refused(f, ERR_CONFLICT, cases[i].issue);
    }
}

static void
test_file_truncated_or_overwritten_later_changes_nothing(void **state)
{
    struct fixture *f = *state;
    uint8_t want[HASH_SIZE];

    make_init(&f->make, "GeoLite2-Country", 6, BUILT);
    make_network(&f->make, "8.8.0.0/16", make_entry(&f->make, "DE", "US"));
    fixture_load(f);
    hash_sha256(text_slice(&f->file), want);
    assert_memory_equal(want, geo_db_digest(f->db), HASH_SIZE);
    assert_int_equal(BUILT, geo_db_build_epoch(f->db));
    memset(f->file_bytes, 0xff, f->file.used);
    fixture_write(f);
    expect(f->db, "8.8.8.8", "DE", "US", GEO_FOUND);
    assert_int_equal(0, truncate(f->path, 0));
    expect(f->db, "8.8.8.8", "DE", "US", GEO_FOUND);
    assert_int_equal(0, unlink(f->path));
    expect(f->db, "8.8.8.8", "DE", "US", GEO_FOUND);
}

static void
test_last_reference_frees(void **state)
{
    struct fixture *f = *state;
    struct geo_db *second;

    make_init(&f->make, "GeoLite2-Country", 6, BUILT);
    make_network(&f->make, "8.8.0.0/16", make_entry(&f->make, "DE", NULL));
    fixture_load(f);
    second = geo_db_ref(f->db);
    geo_db_unref(&f->db);
    assert_null(f->db);
    expect(second, "8.8.8.8", "DE", "??", GEO_FOUND); /* the sanitizer sees the rest */
    geo_db_unref(&second);
    assert_null(second);
    geo_db_unref(&second); /* nothing there: nothing happens */
}

static struct slice
json_slice(const struct json *v, const char *member, const char *field)
{
    struct slice s = SLICE_NONE;

    (void)json_string(json_get(json_get(v, member), field), &s);
    return s;
}

/* "::1.2.3.4/120" in the sources is the IPv4 network. */
static bool
vector_address(const char *network, struct geo_address *out)
{
    struct slice rest = slice_str(network);
    struct slice text = slice_cut(&rest, '/');
    enum geo_quality ignored;

    if (slice_starts(text, SLICE_LIT("::")) && slice_find(text, '.') < text.len)
        text = slice_sub(text, 2, text.len);
    assert_int_equal(ERR_OK, geo_address_parse(text, out));
    return !geo_address_special(out, &ignored);
}

static unsigned
check_vectors(const struct geo_db *db, const char *path)
{
    struct json_doc *doc = NULL;
    const char *why = "";
    unsigned checked = 0;
    char *text = NULL;
    size_t len = 0;

    assert_int_equal(ERR_OK, file_read(path, 1u << 20, &text, &len));
    assert_int_equal(ERR_OK, json_parse(slice_of(text, len), &doc, &why));
    for (const struct json *o = json_first(json_root(doc)); o != NULL; o = json_next(o)) {
        const struct json *v = json_first(o);
        struct slice want = json_slice(v, "country", "iso_code");
        struct slice registered = json_slice(v, "registered_country", "iso_code");
        struct geo_address address;
        struct geo_answer got;
        char letters[3];

        if (!vector_address(json_key(v), &address))
            continue;
        geo_locate(db, &address, &got);
        country_text(got.country, letters);
        if (!slice_is(want.len == 0 ? SLICE_LIT("??") : want, letters))
            fail_msg("%s is not in %s", json_key(v), letters);
        assert_int_equal(want.len == 0 ? GEO_MISS : GEO_FOUND, got.quality);
        country_text(got.registered, letters);
        assert_true(slice_is(registered.len == 0 ? SLICE_LIT("??") : registered, letters));
        checked++;
    }
    json_free(&doc);
    free(text);
    return checked;
}

static void
test_vectors_of_maxmind(void **state)
{
    static const struct {
        const char *database;
        const char *source;
        const char *type;
        unsigned at_least;
    } cases[] = {
        {"GeoIP2-Country-Test.mmdb", "GeoIP2-Country-Test.json", "GeoIP2-Country", 300},
        {"GeoIP2-City-Test.mmdb", "GeoIP2-City-Test.json", "GeoIP2-City", 200},
    };
    struct fixture *f = *state;
    char source[4096];

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        fixture_vector(f, cases[i].database);
        fixture_load_path(f);
        assert_string_equal(cases[i].type, geo_db_type(f->db));
        assert_true(
            text_format(source, sizeof(source), PORTOLAN_VECTORS "/geoip/%s", cases[i].source));
        assert_true(check_vectors(f->db, source) >= cases[i].at_least);
    }
}

static void
test_vectors_with_two_countries_and_with_none(void **state)
{
    struct fixture *f = *state;

    fixture_vector(f, "GeoIP2-Country-Test.mmdb");
    fixture_load_path(f);
    expect(f->db, "81.2.69.160", "GB", "US", GEO_FOUND);
    expect(f->db, "67.43.156.1", "BT", "RO", GEO_FOUND);
    expect(f->db, "202.196.224.1", "PH", "PH", GEO_FOUND); /* represented_country: US */
    expect(f->db, "2a02:d500::1", "??", "??", GEO_MISS);   /* continent only */
}

static void
test_vectors_of_other_kinds_are_refused(void **state)
{
    struct fixture *f = *state;

    fixture_vector(f, "GeoIP2-Anonymous-IP-Test.mmdb");
    fixture_refused_path(f, ERR_BADMSG, "database_type");
    fixture_vector(f, "MaxMind-DB-test-ipv4-24.mmdb");
    fixture_refused_path(f, ERR_BADMSG, "database_type");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_country_decides_and_registered_is_recorded),
        FIXTURE_TEST(test_pseudo_codes_are_a_miss),
        FIXTURE_TEST(test_dbip_schema),
        FIXTURE_TEST(test_special_addresses_are_not_looked_up),
        FIXTURE_TEST(test_ipv4_only_needs_leave_and_misses_ipv6),
        FIXTURE_TEST(test_other_kinds_of_database_are_refused),
        FIXTURE_TEST(test_a_database_without_any_country_is_refused),
        FIXTURE_TEST(test_age_at_the_limit_and_one_day_more),
        FIXTURE_TEST(test_canaries_decide),
        FIXTURE_TEST(test_file_truncated_or_overwritten_later_changes_nothing),
        FIXTURE_TEST(test_last_reference_frees),
        FIXTURE_TEST(test_vectors_of_maxmind),
        FIXTURE_TEST(test_vectors_with_two_countries_and_with_none),
        FIXTURE_TEST(test_vectors_of_other_kinds_are_refused),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
