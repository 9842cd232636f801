#include "unit/evidence/fixture.h"

#include "base/check.h"
#include "base/json.h"
#include "residency/report/report.h"

#define DE (('D' - 'A') * 26 + ('E' - 'A'))
#define IE (('I' - 'A') * 26 + ('E' - 'A'))
#define US (('U' - 'A') * 26 + ('S' - 'A'))
#define PEER_ISSUER "spiffe://mesh.example/node/eu-central-1"

/* Two nodes with a ledger each, and a folder for reports. */
struct scene {
    char dir[64];
    char ledger_dirs[2][96];
    char out[96];
    struct key *keys[2];
    struct record_signer *signers[2];
    struct charter *charter;
    struct waiter waiter;
    struct ledger *ledger;
    struct ledger_shard shard;
    struct report_opts opts;
    const char *ledgers[4];
    char cut[RECORD_ID_SIZE]; /* of the charter's digest */
    const struct charter *charters[1];
};

static const char *const node_names[2] = {"eu-west-1", "eu-central-1"};

static void
load_charter(struct scene *s)
{
    struct issues *issues = issues_new();
    char jwks[2][512];
    char *text = malloc(16384);
    struct text t;

    assert_non_null(text);
    for (size_t i = 0; i < 2; i++) {
        text_init(&t, jwks[i], sizeof(jwks[i]) - 1);
        assert_int_equal(key_to_jwk(s->keys[i], &t), ERR_OK);
        jwks[i][t.used] = '\0';
    }
#define NODE_KEYS                                                                          \
    "\"keys\":[{\"use\":\"attest\",\"not_before\":\"2026-01-01T00:00:00Z\",\"not_after\":" \
    "\"2027-12-01T00:00:00Z\",\"jwk\":%s}]}"
    assert_true(text_format(
        text, 16384,
        "{\"v\":1,\"mesh\":\"mesh\",\"version\":7,\"issued\":\"2026-01-01T00:00:00Z\","
        "\"renew_by\":\"2027-01-11T00:00:00Z\",\"valid_until\":\"2027-12-01T00:00:00Z\","
        "\"seed\":\"3ubheWvWf_2rl4nJxzUqmkV3X1GHdUPZZz20fq4c3sY\",\"groups\":{\"@EEA\":{"
        "\"countries\":[\"DE\",\"IE\",\"FR\"],\"as_of\":\"x\",\"source\":\"x\"}},"
        "\"regions\":{\"eu-west\":{\"country\":\"IE\"},\"eu-central\":{\"country\":\"DE\"}},"
        "\"nodes\":{\"eu-west-1\":{\"region\":\"eu-west\",\"spiffe\":\"" FIXTURE_ISSUER
        "\",\"address\":\"127.0.0.1:1\"," NODE_KEYS
        ",\"eu-central-1\":{\"region\":\"eu-central\",\"spiffe\":\"" PEER_ISSUER
        "\",\"address\":\"127.0.0.1:2\"," NODE_KEYS "},"
        "\"models\":{\"mistral-7b@0.3\":{}},\"backends\":{\"de-1\":{\"region\":\"eu-central\","
        "\"country\":\"DE\",\"assurance\":\"network\",\"kind\":\"openai\",\"url\":\"http://h\","
        "\"slots\":1,\"models\":{\"mistral-7b@0.3\":\"m\"}}},"
        "\"tenants\":{\"acme\":{\"process_in\":[\"@EEA\"],\"operators_from\":[\"@EEA\"],"
        "\"origins\":[\"@EEA\"],\"home_country\":\"DE\",\"models\":{\"mistral\":"
        "[\"mistral-7b@0.3\"]},\"auth\":[\"jwt\"]},\"acme/de\":{},\"acme-two\":{\"process_in\":"
        "[\"DE\"],\"operators_from\":[\"DE\"],\"origins\":[\"DE\"],\"models\":{},\"auth\":"
        "[\"jwt\"]}}}",
        jwks[0], jwks[1]));
    if (charter_load(slice_str(text), "charter", false, issues, &s->charter) != ERR_OK)
        issues_print(issues, stderr);
    assert_non_null(s->charter);
    issues_free(&issues);
    free(text);
}

static int
setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct text t;

    assert_non_null(s);
    memcpy(s->dir, "/tmp/portolan-report-XXXXXX", 28);
    assert_non_null(mkdtemp(s->dir));
    for (size_t i = 0; i < 2; i++) {
        assert_true(text_format(s->ledger_dirs[i], sizeof(s->ledger_dirs[i]), "%s/%s", s->dir,
                                node_names[i]));
        assert_int_equal(key_generate(KEY_ES256, &s->keys[i]), ERR_OK);
        assert_int_equal(record_signer_new(s->keys[i], &s->signers[i]), ERR_OK);
        s->ledgers[i] = s->ledger_dirs[i];
    }
    assert_true(text_format(s->out, sizeof(s->out), "%s/out", s->dir));
    assert_int_equal(file_mkdir(s->out, 0700), ERR_OK);
    load_charter(s);
    s->charters[0] = s->charter;
    text_init(&t, s->cut, sizeof(s->cut) - 1);
    text_add_b64url(&t, slice_of(s->charter->digest, 16));
    s->opts = (struct report_opts){.charters = s->charters,
                                   .charter_count = 1,
                                   .ledgers = s->ledgers,
                                   .ledger_count = 2,
                                   .from_ms = FIXTURE_NOW_MS - 1000,
                                   .to_ms = FIXTURE_NOW_MS + 1000,
                                   .out_dir = s->out};
    *state = s;
    return 0;
}

static int
teardown(void **state)
{
    struct scene *s = *state;

    ledger_close(&s->ledger);
    for (size_t i = 0; i < 2; i++) {
        record_signer_free(&s->signers[i]);
        key_free(&s->keys[i]);
    }
    charter_unref(&s->charter);
    (void)nftw(s->dir, fixture_remove, 8, FTW_DEPTH | FTW_PHYS);
    free(s);
    return 0;
}

static void
write_charter(struct scene *s, uint64_t version)
{
    char json[256];
    struct text t;

    text_init(&t, json, sizeof(json));
    text_add_str(&t, "{\"digest\":\"");
    text_add_b64url(&t, slice_of(s->charter->digest, HASH_SIZE));
    text_addf(&t, "\",\"kind\":\"charter\",\"t\":1,\"v\":1,\"version\":%d}", (int)version);
    assert_int_equal(ledger_control(s->ledger, text_slice(&t), true), ERR_OK);
}

static void
open_ledger(struct scene *s, size_t node, const char *tenant)
{
    struct ledger_opts opts = {.dir = s->ledger_dirs[node],
                               .mesh = "mesh",
                               .node = node_names[node],
                               .region = node == 0 ? "eu-west" : "eu-central",
                               .software = "portolan",
                               .durability = LEDGER_DISK,
                               .segment_bytes = 1 << 20,
                               .worker_count = 1,
                               .charter = s->charter,
                               .now_ms = FIXTURE_NOW_MS,
                               .wake = waiter_wake,
                               .wake_context = &s->waiter};
    char why[256];

    waiter_init(&s->waiter);
    if (ledger_open(&opts, &s->ledger, why, sizeof(why)) != ERR_OK)
        fail_msg("%s", why);
    write_charter(s, s->charter->version);
    assert_int_equal(ledger_shard(s->ledger, slice_str(tenant), FIXTURE_NOW_MS, &s->shard), ERR_OK);
}

static struct record_a1
make_a1(const struct scene *s, const char *txn)
{
    struct record_a1 a1 = fixture_a1(txn, s->shard.id);

    a1.charter_digest = s->cut;
    return a1;
}

static void
submit(struct scene *s, struct ledger_entry *entry, enum wal_type type, size_t len)
{
    entry->type = type;
    entry->slot = s->shard.slot;
    entry->len = len;
    if (type == WAL_A1)
        assert_int_equal(ledger_reserve_entry(s->ledger, entry), ERR_OK);
    assert_int_equal(submit_wait(s->ledger, &s->waiter, entry), ERR_OK);
}

/* One request in the open ledger; gives the hash of its A1 and, with end_it, an A2. */
static void
request(struct scene *s, size_t node, const struct record_a1 *a1, const uint8_t *peer_hash,
        bool end_it, uint8_t hash[HASH_SIZE])
{
    struct ledger_entry *entry = calloc(1, sizeof(*entry));
    struct record_attempt attempt = {.outcome = "ok", .status = 200};
    struct record_a2 a2;
    struct text t;

    assert_non_null(entry);
    if (a1->permit)
        assert_int_equal(ledger_reserve(s->ledger), ERR_OK);
    text_init(&t, entry->bytes, RECORD_A1_MAX);
    assert_int_equal(record_a1_write(s->signers[node], NULL, 0, a1, &t, hash), ERR_OK);
    submit(s, entry, WAL_A1, t.used);
    if (a1->permit && end_it) {
        const char *target = a1->target_node != NULL ? a1->target_node : a1->target_backend;

        attempt.index = entry->index;
        assert_true(slice_copy_str(slice_str(target), attempt.target, sizeof(attempt.target)));
        attempt.has_peer = peer_hash != NULL;
        if (peer_hash != NULL)
            memcpy(attempt.peer_hash, peer_hash, HASH_SIZE);
        a2 = fixture_a2(a1->txn, s->shard.id, hash, entry->index, &attempt);
        a2.prompt_tokens = 11;
        a2.completion_tokens = 7;
        text_init(&t, entry->bytes, RECORD_A2_MAX);
        assert_int_equal(record_a2_write(&a2, &t), ERR_OK);
        submit(s, entry, WAL_A2, t.used);
    }
    free(entry);
}

static char first_txn[] = "019aaaaa-0000-7000-8000-000000000001";
static char second_txn[] = "019aaaaa-0000-7000-8000-000000000002";
static char third_txn[] = "019aaaaa-0000-7000-8000-000000000003";

/* The peer serves second_txn; the ingress has it, a local one and a denial. */
static void
fill_both(struct scene *s, bool end_it)
{
    uint8_t hop0[HASH_SIZE];
    uint8_t hop1[HASH_SIZE];
    uint8_t ignored[HASH_SIZE];
    struct record_a1 a1;

    open_ledger(s, 1, "acme/de");
    a1 = make_a1(s, second_txn);
    memset(hop0, 5, sizeof(hop0));
    a1.issuer = PEER_ISSUER;
    a1.node = "eu-central-1";
    a1.hop = 1;
    a1.prev = hop0;
    a1.target_region = "eu-central";
    request(s, 1, &a1, NULL, true, hop1);
    ledger_close(&s->ledger);

    open_ledger(s, 0, "acme/de");
    a1 = make_a1(s, first_txn);
    a1.model_requested = SLICE_LIT("=mistral,\"x\"");
    a1.target_country = IE;
    request(s, 0, &a1, NULL, true, ignored);
    a1 = make_a1(s, second_txn);
    a1.audience = PEER_ISSUER;
    a1.target_backend = NULL;
    a1.target_assurance = NULL;
    a1.target_operator = COUNTRY_NONE;
    a1.target_owner = COUNTRY_NONE;
    a1.target_key = NULL;
    a1.target_node = "eu-central-1";
    a1.target_region = "eu-central";
    request(s, 0, &a1, hop1, end_it, ignored);
    a1 = make_a1(s, third_txn);
    a1.permit = false;
    a1.audience = NULL;
    a1.reason = "origin_forbidden";
    a1.country = US;
    a1.target_backend = a1.target_region = a1.target_assurance = NULL;
    a1.target_key = NULL;
    a1.target_country = a1.target_operator = a1.target_owner = COUNTRY_NONE;
    a1.model_served = a1.model_version = a1.model_evidence = NULL;
    request(s, 0, &a1, NULL, false, ignored);
}

static char *
read_out(const struct scene *s, const char *name, size_t *len)
{
    char path[160];
    char *text = NULL;

    assert_true(text_format(path, sizeof(path), "%s/%s", s->out, name));
    assert_int_equal(file_read(path, 1u << 20, &text, len), ERR_OK);
    return text;
}

static void
assert_holds(const struct scene *s, const char *name, const char *part)
{
    size_t len = 0;
    char *text = read_out(s, name, &len);

    if (strstr(text, part) == NULL)
        fail_msg("%s does not hold %s:\n%s", name, part, text);
    free(text);
}

static void
test_totals_come_from_the_ingress_alone(void **state)
{
    struct scene *s = *state;
    struct report_result r;
    struct json_doc *doc = NULL;
    size_t len = 0;
    char *text;

    fill_both(s, true);
    ledger_close(&s->ledger);
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.rows, 3);
    assert_int_equal(r.requests, 3);
    assert_int_equal(r.faults, 0);
    assert_int_equal(r.missing, 0);
    assert_int_equal(r.exceptions, 0);
    assert_false(r.live_run);
    text = read_out(s, "report.json", &len);
    assert_int_equal(json_parse(slice_of(text, len - 1), &doc, NULL), ERR_OK);
    json_free(&doc);
    free(text);
    assert_holds(s, "report.json", "\"attempts\":{\"denied\":1,\"permitted\":2}");
    assert_holds(s, "report.json", "\"by_end\":{\"complete\":2}");
    assert_holds(s, "report.json", "{\"attempts\":1,\"origin\":\"DE\",\"place\":\"IE\"}");
    assert_holds(s, "report.json", "{\"attempts\":1,\"origin\":\"DE\",\"place\":\"DE\"}");
    assert_holds(s, "report.json", "\"by_reason\":{\"origin_forbidden\":1,\"permitted\":2}");
    assert_holds(s, "report.json", "\"tokens\":{\"completion\":14,\"prompt\":22}");
    assert_holds(s, "report.json", "\"complete\":true");
    /* home is DE, so that IE is a transfer, if one inside the EEA */
    assert_holds(s, "report.json",
                 "\"transfers\":[{\"attempts\":1,\"home\":\"DE\",\"operator\":\"DE\","
                 "\"outside_eea\":false,\"place\":\"IE\",\"tenant\":\"acme/de\"}]");
}

static void
test_records_name_the_peers_backend_and_disarm_formulas(void **state)
{
    struct scene *s = *state;
    struct report_result r;

    fill_both(s, true);
    ledger_close(&s->ledger);
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_holds(s, "records.csv", ",permit,permitted,DE,eu-central,eu-central-1,de-1,DE,FR,");
    assert_holds(s, "records.csv", ",\"'=mistral,\"\"x\"\"\",");
    assert_holds(s, "records.csv", ",deny,origin_forbidden,,,,,,,");
    assert_holds(s, "exceptions.csv", "kind,where,what\r\n");
}

static void
test_the_order_of_ledgers_does_not_show(void **state)
{
    static const char *const names[] = {"report.json", "records.csv", "exceptions.csv"};
    struct scene *s = *state;
    struct report_result r;
    char *first[3];
    size_t first_len[3];

    fill_both(s, false);
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    for (size_t i = 0; i < 3; i++)
        first[i] = read_out(s, names[i], &first_len[i]);
    s->ledgers[0] = s->ledger_dirs[1];
    s->ledgers[1] = s->ledger_dirs[0];
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    for (size_t i = 0; i < 3; i++) {
        size_t len = 0;
        char *again = read_out(s, names[i], &len);

        assert_int_equal(len, first_len[i]);
        assert_memory_equal(again, first[i], len);
        free(again);
        free(first[i]);
    }
}

static void
test_a_missing_node_is_an_exception(void **state)
{
    struct scene *s = *state;
    struct report_result r;

    fill_both(s, true);
    ledger_close(&s->ledger);
    s->opts.ledger_count = 1;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.missing, 1);
    assert_holds(s, "exceptions.csv", "missing_node,eu-central-1,");
    /* and so is the record that only its ledger has */
    assert_int_equal(r.faults, 1);
    assert_holds(s, "exceptions.csv", "peer_record_missing,");
    assert_holds(s, "report.json", "\"complete\":false");
}

/* A node that a later charter has no more served in the period all the same. */
static void
test_a_node_that_is_gone_since_is_missed_too(void **state)
{
    struct scene *s = *state;
    struct charter newer = *s->charter;
    const struct charter *charters[] = {&newer, s->charter};
    struct report_result r;

    newer.version++;
    newer.nodes = &s->charter->nodes[1];
    newer.node_count = 1;
    assert_string_equal(newer.nodes[0].name, node_names[0]);
    fill_both(s, true);
    ledger_close(&s->ledger);
    s->opts.charters = charters;
    s->opts.charter_count = 2;
    s->opts.ledger_count = 1;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.missing, 1);
    assert_holds(s, "exceptions.csv", "missing_node,eu-central-1,");
    /* In a period without a record under the older one nobody needs it. */
    s->opts.from_ms = 1000;
    s->opts.to_ms = 2000;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.missing, 0);
}

static void
test_a_live_run_is_noted_and_its_open_request_named(void **state)
{
    struct scene *s = *state;
    struct report_result r;

    fill_both(s, false);
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_true(r.live_run);
    assert_int_equal(r.faults, 0);
    assert_holds(s, "exceptions.csv", "live_run,");
    assert_holds(s, "exceptions.csv", second_txn);
    /* A period that its records have passed gets no more of them. */
    s->opts.from_ms = 1000;
    s->opts.to_ms = 2000;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_false(r.live_run);
    assert_holds(s, "report.json", "\"complete\":true");
}

static void
test_a_ledger_given_twice_counts_once(void **state)
{
    struct scene *s = *state;
    struct report_result r;

    fill_both(s, true);
    ledger_close(&s->ledger);
    s->ledgers[2] = s->ledger_dirs[0];
    s->opts.ledger_count = 3;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.rows, 3);
    assert_int_equal(r.faults, 1);
    assert_holds(s, "exceptions.csv", "duplicate_run,");
}

static void
test_a_folder_without_a_ledger_is_a_fault(void **state)
{
    struct scene *s = *state;
    struct report_result r;

    s->ledgers[0] = "/nonexistent";
    s->opts.ledger_count = 1;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.faults + r.missing, 3);
    assert_holds(s, "report.json", "\"complete\":false");
}

static void
test_period_and_tenant_bound_the_rows(void **state)
{
    struct scene *s = *state;
    struct report_result r;

    fill_both(s, true);
    ledger_close(&s->ledger);
    s->opts.tenant = "acme";
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.rows, 3);
    assert_holds(s, "report.json", "\"tenant\":\"acme\"");
    s->opts.tenant = "acme-two"; /* no child of acme, and acme/de is none of it */
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.rows, 0);
    s->opts.tenant = NULL;
    s->opts.from_ms = FIXTURE_NOW_MS;
    s->opts.to_ms = FIXTURE_NOW_MS + 1;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.rows, 3);
    s->opts.to_ms = FIXTURE_NOW_MS;
    s->opts.from_ms = FIXTURE_NOW_MS - 1;
    assert_int_equal(report_write(&s->opts, &r), ERR_OK);
    assert_int_equal(r.rows, 0);
}

int
main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(test_totals_come_from_the_ingress_alone),
        ROW(test_records_name_the_peers_backend_and_disarm_formulas),
        ROW(test_the_order_of_ledgers_does_not_show),
        ROW(test_a_missing_node_is_an_exception),
        ROW(test_a_node_that_is_gone_since_is_missed_too),
        ROW(test_a_live_run_is_noted_and_its_open_request_named),
        ROW(test_a_ledger_given_twice_counts_once),
        ROW(test_a_folder_without_a_ledger_is_a_fault),
        ROW(test_period_and_tenant_bound_the_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
