#include "command_scene.h"

#include "base/clock.h"
#include "base/json.h"
#include "node/charter_source.h"
#include "residency/evidence/record.h"

/* ---- check and explain ---------------------------------------------------------------- */

static void
test_check_takes_what_init_wrote(void **state)
{
    struct scene *s = *state;

    need_geo();
    assert_int_equal(run(s, "check", "--config", in_mesh(s, "nodes/eu-west-1/node.jsonc"), NULL),
                     EXIT_GOOD);
    assert_int_equal(run(s, "check", "--config", in_mesh(s, "nodes/eu-central-1/node.jsonc"), NULL),
                     EXIT_GOOD);
    assert_int_equal(unlink(in_mesh(s, "nodes/eu-west-1/attest.key")), 0);
    assert_int_equal(run(s, "check", "--config", in_mesh(s, "nodes/eu-west-1/node.jsonc"), NULL),
                     EXIT_NO);
    assert_int_equal(run(s, "check", "--reference", NULL), EXIT_GOOD);
    assert_non_null(strstr(s->text, "ledger.durability"));
}

static void
test_explain_says_yes_and_no(void **state)
{
    struct scene *s = *state;
    const char *config = in_mesh(s, "nodes/eu-central-1/node.jsonc");
    struct json_doc *doc = NULL;
    const char *why = "";

    need_geo();
    assert_int_equal(run(s, "explain", "--config", config, "--tenant", "acme/de", "--model",
                         "mistral", "--role", "user", "--country", "DE", NULL),
                     EXIT_GOOD);
    assert_non_null(strstr(s->text, "legal    3 of 4"));
    assert_non_null(strstr(s->text, "no  ie-us-1"));
    assert_non_null(strstr(s->text, "operators_from"));
    assert_int_equal(run(s, "explain", "--config", config, "--tenant", "clinic", "--model",
                         "mistral", "--class", "phi", "--ip", "127.0.0.1", "--json", NULL),
                     EXIT_GOOD);
    assert_int_equal(json_parse(slice_trim(slice_str(s->text)), &doc, &why), ERR_OK);
    json_free(&doc);
    assert_non_null(strstr(s->text,
                           "{\"backend\":\"de-clinic\",\"country\":\"DE\",\"legal\":true,\"model\":"
                           "\"mistral-7b@0.3\",\"operator\":\"DE\",\"region\":\"eu-central\","
                           "\"served\":\"mistral\"}"));
    assert_non_null(strstr(s->text, "\"legal\":{\"count\":1,\"digest\":\""));
    assert_non_null(
        strstr(s->text, "\"ingress\":{\"node\":\"eu-central-1\",\"region\":\"eu-central\"}"));
    assert_non_null(strstr(s->text, "\"origin\":{\"country\":\"DE\",\"quality\":"));
    assert_non_null(strstr(s->text, "\"operator\":\"US\",\"region\":\"eu-west\",\"why\":\""));
    assert_int_equal(run(s, "explain", "--config", config, "--tenant", "acme/de", "--model",
                         "mistral", "--country", "DE", NULL),
                     EXIT_NO); /* no role */
    assert_non_null(strstr(s->text, "model_forbidden"));
    assert_int_equal(run(s, "explain", "--config", config, "--tenant", "acme", "--model", "mistral",
                         "--country", "US", NULL),
                     EXIT_NO);
    assert_int_equal(run(s, "explain", "--config", config, "--tenant", "x", "--model", "mistral",
                         "--country", "DE", NULL),
                     EXIT_USAGE);
    assert_int_equal(run(s, "explain", "--config", config, "--tenant", "acme", "--model", "mistral",
                         "--ip", "1.2.3", NULL),
                     EXIT_USAGE);
}

/* ---- verify and report ------------------------------------------------------------------ */

struct hop {
    char jws[RECORD_A1_MAX + 1];
};

static void
make_hop(const struct scene *s, const char *node, uint32_t hop, const uint8_t *prev,
         const char *aud, struct hop *out)
{
    static const uint8_t digest[HASH_SIZE] = {1};
    struct record_signer *signer = NULL;
    struct key *key;
    char path[256];
    char issuer[128];
    struct text t;
    uint8_t hash[HASH_SIZE];
    struct record_a1 a1 = {.issuer = issuer,
                           .audience = aud,
                           .txn = "019aaaaa-0000-7000-8000-000000000001",
                           .node = node,
                           .iat_s = clock_wall_ms() / 1000 + 1,
                           .hop = hop,
                           .prev = prev,
                           .permit = true,
                           .reason = "permitted",
                           .tenant = "acme/de",
                           .sub = "AAAAAAAAAAAAAAAAAAAAAA",
                           .auth = "jwt",
                           .country = 82, /* DE */
                           .registered = COUNTRY_NONE,
                           .origin_source = "socket",
                           .origin_quality = "found",
                           .geo_db = "BBBBBBBBBBBBBBBBBBBBBA",
                           .ingress_region = "eu-west",
                           .ingress_node = "eu-west-1",
                           .charter_version = 2, /* not given: noted, not a fault */
                           .charter_digest = "CCCCCCCCCCCCCCCCCCCCCA",
                           .policy_digest = "DDDDDDDDDDDDDDDDDDDDDA",
                           .legal_count = 1,
                           .legal_digest = digest,
                           .target_backend = hop == 0 ? NULL : "de-1",
                           .target_node = hop == 0 ? "eu-central-1" : NULL,
                           .target_region = "eu-central",
                           .target_country = 82,
                           .target_operator = hop == 0 ? COUNTRY_NONE : 82,
                           .target_owner = hop == 0 ? COUNTRY_NONE : 82,
                           .target_assurance = hop == 0 ? NULL : "spki",
                           .model_requested = SLICE_LIT("mistral"),
                           .model_version = "mistral-7b@0.3",
                           .model_served = "mistral",
                           .model_evidence = "name",
                           .endpoint = "chat.completions",
                           .request_bytes = 1,
                           .request_commitment = digest,
                           .shard = "AAAAAAAAAAAAAAAAAAAAAA"};

    assert_true(text_format(issuer, sizeof(issuer), "spiffe://acme.example/node/%s", node));
    assert_true(text_format(path, sizeof(path), "%s/nodes/%s/attest.key", s->mesh, node));
    key = charter_source_key(path);
    assert_non_null(key);
    assert_int_equal(record_signer_new(key, &signer), ERR_OK);
    text_init(&t, out->jws, sizeof(out->jws) - 1);
    assert_int_equal(record_a1_write(signer, NULL, 0, &a1, &t, hash), ERR_OK);
    out->jws[t.used] = '\0';
    record_signer_free(&signer);
    key_free(&key);
}

static void
test_verify_follows_the_chain(void **state)
{
    struct scene *s = *state;
    struct hop first;
    struct hop second;
    struct hop unchained;
    uint8_t hash[HASH_SIZE];
    char header[2 * RECORD_A1_MAX + 64];

    make_hop(s, "eu-west-1", 0, NULL, "spiffe://acme.example/node/eu-central-1", &first);
    hash_sha256(slice_str(first.jws), hash);
    make_hop(s, "eu-central-1", 1, hash, "backend:de-1", &second);
    hash[0] ^= 1;
    make_hop(s, "eu-central-1", 1, hash, "backend:de-1", &unchained);
    assert_true(text_format(header, sizeof(header), "Residency-Attestation: %s;idx=4, %s;idx=9",
                            first.jws, second.jws));
    if (run(s, "verify", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s), header, NULL) !=
        EXIT_GOOD)
        fail_msg("%s", s->text);
    assert_non_null(strstr(s->text, "hop 0"));
    assert_null(strstr(s->text, "went on"));
    assert_non_null(strstr(s->text, "hop 1"));
    assert_int_equal(
        run(s, "verify", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s), first.jws, NULL),
        EXIT_GOOD);
    assert_non_null(strstr(s->text, "went on to node eu-central-1, whose own attestation is not"));
    assert_int_equal(run(s, "verify", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s),
                         first.jws, unchained.jws, NULL),
                     EXIT_NO);
    assert_non_null(strstr(s->text, "prev is not the hash"));
    first.jws[strlen(first.jws) - 5] ^= 1;
    assert_int_equal(
        run(s, "verify", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s), first.jws, NULL),
        EXIT_NO);
    assert_int_equal(
        run(s, "verify", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s), ", ,", NULL),
        EXIT_USAGE);
    assert_int_equal(run(s, "verify", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s),
                         in_mesh(s, "nodes/eu-west-1/ledgr"), NULL),
                     EXIT_USAGE);
}

static void
test_report_without_all_ledgers_says_so(void **state)
{
    struct scene *s = *state;

    assert_int_equal(run(s, "report", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s),
                         "--from", "2026-11-01", "--to", "2026-12-01", "--ledger",
                         in_mesh(s, "nodes/eu-west-1/ledger"), "--out", in_mesh(s, "out"), NULL),
                     EXIT_NO);
    assert_non_null(strstr(s->text, "2 nodes missing"));
    assert_int_equal(access(in_mesh(s, "out/report.json"), F_OK), 0);
    assert_int_equal(run(s, "report", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s),
                         "--from", "2026-12-01", "--to", "2026-12-01", "--ledger", "x", "--out",
                         in_mesh(s, "out"), NULL),
                     EXIT_USAGE);
    assert_int_equal(run(s, "report", "--charter", CHARTER_FILE(s), "--trust", TRUST_FILE(s),
                         "--from", "november", "--to", "2026-12-01", "--ledger", "x", "--out",
                         in_mesh(s, "out"), NULL),
                     EXIT_USAGE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        MESH(test_check_takes_what_init_wrote),
        MESH(test_explain_says_yes_and_no),
        MESH(test_verify_follows_the_chain),
        MESH(test_report_without_all_ledgers_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
