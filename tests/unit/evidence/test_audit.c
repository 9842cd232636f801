#include "fixture.h"

#include <fcntl.h>

#include "base/check.h"
#include "crypto/hash.h"
#include "residency/evidence/control_priv.h"
#include "residency/evidence/wal_priv.h"

/* Runs written by hand, right and wrong: what the audit says of them. */

#define RUN_HEX "000102030405060708090a0b0c0d0e0f"
#define TXN "01931b2e-7a3c-7def-8a12-0123456789ab"
#define OTHER "01931b2e-7a3c-7def-8a12-0123456789ac"
#define SHARD "EEEEEEEEEEEEEEEEEEEEEA"
#define OTHER_SHARD "FFFFFFFFFFFFFFFFFFFFFA"
#define DIGEST "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

enum step { /* one frame each */
            END,
            RUN_START,
            RUN_START_NODE, /* names another node */
            RUN_START_MESH, /* names another mesh */
            RUN_START_BARE, /* without the charter behind it */
            CHARTER,        /* that the records name */
            CHARTER_NEXT,   /* the version after it */
            CHARTER_OTHER,  /* the same version with another digest */
            SHARD_OPEN,
            PERMIT,       /* of TXN, right */
            PERMIT_OTHER, /* of another request */
            PERMIT_FORGED,
            PERMIT_SHARD,  /* claims another shard */
            PERMIT_TENANT, /* names another tenant */
            PERMIT_NODE,   /* on to a peer */
            DENY,
            CLOSE,           /* the A2 of TXN's last permit */
            CLOSE_HASH,      /* with another hash */
            CLOSE_INDEX,     /* with another index */
            CLOSE_FIRST,     /* the A2 of TXN's first permit */
            CLOSE_NONE,      /* without attempts */
            CLOSE_MORE,      /* with an attempt that has no A1 */
            CLOSE_TWICE,     /* with the last attempt in the place of the first */
            CLOSE_LEAF,      /* with an attempt that names another leaf */
            CLOSE_ELSEWHERE, /* with an attempt that went to another backend */
            CLOSE_NODE,      /* of a forwarded one, with the peer's word */
            CLOSE_NO_PEER,   /* without it */
            CLOSE_NO_ANSWER, /* without it, and without an answer */
            CLOSE_PEER,      /* with a peer's word where none was asked */
            SKIP,            /* the next leaf index is left out */
            RUN_END,
            RUN_END_COUNT,
};

struct book {
    struct fixture *f;
    char dir[200];
    struct wal_writer w;
    uint64_t leaf;
    size_t permits; /* and their leaves and hashes */
    uint64_t a1_leaf[8];
    uint8_t a1_hash[8][32];
};

static enum err
next_segment(void *context, uint32_t number, int *fd, uint64_t *size)
{
    const struct book *b = context;
    char path[256];

    assert_true(text_format(path, sizeof(path), "%s/%08u.wal", b->dir, number));
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    *size = 1 << 16;
    return *fd >= 0 ? ERR_OK : ERR_IO;
}

static void
book_open(struct book *b)
{
    size_t size = WAL_RUN_ID_SIZE;

    memset(b, 0, sizeof(*b));
    b->f = fixture_new();
    assert_true(text_format(b->dir, sizeof(b->dir), "%s/runs/0000000000001-" RUN_HEX, b->f->dir));
    assert_int_equal(file_mkdirs(b->dir, 0700), ERR_OK);
    assert_int_equal(wal_writer_init(&b->w, 1 << 16), ERR_OK);
    assert_true(text_unhex(SLICE_LIT(RUN_HEX), b->w.run, &size));
    b->w.fd = -1;
    b->w.next = next_segment;
    b->w.context = b;
}

static void
add_control(struct book *b, const char *json)
{
    assert_int_equal(wal_writer_add(&b->w, WAL_CONTROL, WAL_SLOT_NONE, 0, slice_str(json)), ERR_OK);
}

static void
add_a1(struct book *b, enum step step)
{
    struct record_a1 a1 =
        fixture_a1(step == PERMIT_OTHER ? OTHER : TXN, step == PERMIT_SHARD ? OTHER_SHARD : SHARD);
    uint8_t storage[RECORD_A1_MAX];
    struct text text;
    uint8_t hash[HASH_SIZE];

    if (step == PERMIT_TENANT)
        a1.tenant = "beta";
    if (step == PERMIT_NODE) {
        a1.audience = "spiffe://mesh/eu-west-2";
        a1.target_backend = NULL;
        a1.target_node = "eu-west-2";
        a1.target_operator = a1.target_owner = COUNTRY_NONE;
    }
    if (step == DENY) {
        a1.permit = false;
        a1.audience = a1.target_backend = NULL;
    }
    text_init(&text, storage, sizeof(storage));
    assert_int_equal(record_a1_write(b->f->signer, NULL, 0, &a1, &text, hash), ERR_OK);
    if (step == PERMIT_FORGED)
        storage[text.used - 10] = storage[text.used - 10] == 'A' ? 'B' : 'A';
    if (step != DENY) {
        hash_sha256(text_slice(&text), b->a1_hash[b->permits]);
        b->a1_leaf[b->permits++] = b->leaf;
    }
    assert_int_equal(wal_writer_add(&b->w, WAL_A1, 0, b->leaf++, text_slice(&text)), ERR_OK);
}

static void
add_a2(struct book *b, enum step step)
{
    struct record_attempt attempts[9];
    size_t count = step == CLOSE_FIRST ? 1 : b->permits;
    size_t last = count == 0 ? 0 : count - 1;
    uint8_t hash[32], storage[RECORD_A2_MAX];
    struct record_a2 a2;
    struct text text;

    for (size_t i = 0; i < 9; i++)
        attempts[i] = (struct record_attempt){.index = i < count ? b->a1_leaf[i] : 99,
                                              .outcome = "ok",
                                              .status = 200,
                                              .target = "de-1"};
    memcpy(hash, b->a1_hash[last], sizeof(hash));
    hash[0] ^= step == CLOSE_HASH;
    a2 = fixture_a2(TXN, SHARD, hash, b->a1_leaf[last] + (step == CLOSE_INDEX), attempts);
    a2.attempt_count = step == CLOSE_NONE ? 0 : count + (step == CLOSE_MORE);
    if (step == CLOSE_TWICE)
        attempts[0] = attempts[last];
    if (step >= CLOSE_NODE && step <= CLOSE_NO_ANSWER)
        memcpy(attempts[0].target, "eu-west-2", 10);
    if (step == CLOSE_NO_ANSWER)
        attempts[0].outcome = "eof";
    attempts[0].has_peer = step == CLOSE_NODE || step == CLOSE_PEER;
    if (step == CLOSE_LEAF)
        attempts[0].index++;
    if (step == CLOSE_ELSEWHERE)
        memcpy(attempts[0].target, "de-2", 5);
    text_init(&text, storage, sizeof(storage));
    assert_int_equal(record_a2_write(&a2, &text), ERR_OK);
    assert_int_equal(wal_writer_add(&b->w, WAL_A2, 0, b->leaf++, text_slice(&text)), ERR_OK);
}

static void
add_step(struct book *b, enum step step)
{
    char json[256];

    if (step >= RUN_START && step <= RUN_START_BARE) {
        assert_true(text_format(json, sizeof(json),
                                "{\"durability\":\"disk\",\"kind\":\"run_start\",\"mesh\":\"%s\","
                                "\"node\":\"%s\",\"region\":\"r\",\"run\":\"" RUN_HEX
                                "\",\"software\":\"s\",\"t\":1,\"v\":1}",
                                step == RUN_START_MESH ? "other" : "mesh",
                                step == RUN_START_NODE ? "eu-west-2" : "eu-west-1"));
        add_control(b, json);
        if (step != RUN_START_BARE)
            add_control(b, FIXTURE_CHARTER);
    } else if (step == CHARTER_NEXT || step == CHARTER_OTHER) {
        assert_true(text_format(json, sizeof(json),
                                "{\"digest\":\"" DIGEST
                                "\",\"kind\":\"charter\",\"t\":1,\"v\":1,\"version\":%d}",
                                step == CHARTER_NEXT ? 8 : 7));
        add_control(b, json);
    } else if (step == CHARTER) {
        add_control(b, FIXTURE_CHARTER);
    } else if (step == SHARD_OPEN) {
        add_control(b, "{\"kind\":\"shard_open\",\"month\":\"2026-11\",\"shard\":\"" SHARD
                       "\",\"slot\":0,\"t\":1,\"tenant\":\"acme/de\",\"v\":1}");
    } else if (step == RUN_END || step == RUN_END_COUNT) {
        assert_true(text_format(json, sizeof(json),
                                "{\"frames\":%d,\"kind\":\"run_end\",\"reason\":\"stop\",\"t\":1,"
                                "\"v\":1}",
                                (int)b->w.seq + (step == RUN_END)));
        add_control(b, json);
    } else if (step == SKIP) {
        b->leaf++;
    } else if (step >= CLOSE && step <= CLOSE_PEER) {
        add_a2(b, step);
    } else {
        add_a1(b, step);
    }
}

struct told {
    unsigned count;
    const char *wanted;
    bool seen;
};

static void
note_fault(void *context, const char *where, const char *what)
{
    struct told *told = context;

    assert_non_null(strstr(where, "run " RUN_HEX " frame "));
    told->count++;
    told->seen = told->seen || (told->wanted != NULL && strstr(what, told->wanted) != NULL);
}

struct audit_case {
    enum step steps[10]; /* each RUN_START has its charter */
    unsigned faults;
    const char *wanted; /* in one of the faults */
    uint64_t open;
    bool live;
};

static void
check_case(const struct audit_case *c)
{
    struct book b;
    struct told told = {.wanted = c->wanted};
    struct audit_result r;

    book_open(&b);
    {
        const struct charter *charters[] = {&b.f->charter};
        struct audit_opts opts = {.dir = b.f->dir,
                                  .charters = charters,
                                  .charter_count = 1,
                                  .verify_signatures = true,
                                  .fault = note_fault,
                                  .context = &told};

        wal_writer_begin(&b.w);
        for (size_t i = 0; c->steps[i] != END; i++)
            add_step(&b, c->steps[i]);
        assert_int_equal(wal_writer_commit(&b.w), ERR_OK);
        assert_int_equal(audit_ledger(&opts, &r), ERR_OK);
    }
    assert_int_equal(r.faults, c->faults);
    assert_int_equal(told.count, c->faults);
    assert_true(c->wanted == NULL || told.seen);
    assert_int_equal(r.open, c->open);
    assert_int_equal(r.live_run, c->live);
    wal_writer_fini(&b.w);
    fixture_free(b.f);
}

static void
verdicts(void **state)
{
    static const struct audit_case cases[] = {
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE, RUN_END}, 0, NULL, 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, PERMIT, CLOSE, RUN_END}, 0, NULL, 0, false},
        {{RUN_START, SHARD_OPEN, DENY, RUN_END}, 0, NULL, 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, DENY, CLOSE, RUN_END}, 0, NULL, 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT}, 0, NULL, 1, true},
        {{RUN_START, SHARD_OPEN, PERMIT, RUN_END}, 1, "has no A2", 1, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE, CLOSE, RUN_END}, 1, "second A2", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE, PERMIT, RUN_END}, 1, "behind the A2", 0, false},
        {{RUN_START, SHARD_OPEN, CLOSE, RUN_END}, 1, "without a permit", 0, false},
        {{RUN_START, SHARD_OPEN, DENY, CLOSE, RUN_END}, 1, "without a permit", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE_HASH, RUN_END}, 1, "last attempt's", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE_INDEX, RUN_END}, 1, "last attempt's", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, PERMIT_OTHER, CLOSE, RUN_END}, 3, "last att", 1, false},
        {{RUN_START, SHARD_OPEN, PERMIT, PERMIT, CLOSE_FIRST, RUN_END}, 2, "in their", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE_NONE, RUN_END}, 1, "not the permits", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE_MORE, RUN_END}, 1, "not the permits", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, PERMIT, CLOSE_TWICE, RUN_END}, 1, "permits", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE_LEAF, RUN_END}, 1, "not the permits", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE_ELSEWHERE, RUN_END}, 1, "permits", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT_NODE, CLOSE_NODE, RUN_END}, 0, NULL, 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT_NODE, CLOSE_NO_ANSWER, RUN_END}, 0, NULL, 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT_NODE, CLOSE_NO_PEER, RUN_END}, 1, "a peer", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, CLOSE_PEER, RUN_END}, 1, "a peer", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT_FORGED, CLOSE, RUN_END}, 1, "does not verify", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT_SHARD, CLOSE, RUN_END}, 1, "another shard", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT_TENANT, CLOSE, RUN_END}, 1, "another tenant", 0, false},
        {{RUN_START, SHARD_OPEN, PERMIT, SKIP, CLOSE, RUN_END}, 1, "leaf indices", 0, false},
        {{RUN_START, PERMIT, CLOSE, RUN_END}, 2, "before its shard_open", 0, false},
        {{RUN_START, SHARD_OPEN, SHARD_OPEN, RUN_END}, 1, "out of its order", 0, false},
        {{SHARD_OPEN, RUN_START, RUN_END}, 3, "does not begin", 0, false},
        {{RUN_START, RUN_START, RUN_END}, 1, "second run_start", 0, false},
        {{RUN_START_BARE, SHARD_OPEN, PERMIT, CLOSE, RUN_END}, 1, "names a charter", 0, false},
        {{RUN_START_BARE, SHARD_OPEN, PERMIT, CHARTER, CLOSE, RUN_END}, 1, "charter", 0, false},
        {{RUN_START_BARE, CHARTER_OTHER, SHARD_OPEN, DENY, RUN_END}, 1, "charter", 0, false},
        {{RUN_START_BARE, CHARTER_NEXT, SHARD_OPEN, DENY, RUN_END}, 1, "charter", 0, false},
        {{RUN_START, CHARTER_NEXT, SHARD_OPEN, PERMIT, CLOSE, RUN_END}, 0, NULL, 0, false},
        {{RUN_START_NODE, SHARD_OPEN, PERMIT, CLOSE, RUN_END}, 1, "another node", 0, false},
        {{RUN_START_NODE, SHARD_OPEN, DENY, RUN_END}, 1, "another node", 0, false},
        {{RUN_START_MESH, SHARD_OPEN, PERMIT, CLOSE, RUN_END}, 1, "another mesh", 0, false},
        {{RUN_START, RUN_END_COUNT}, 1, "counts other frames", 0, false},
        {{RUN_START, RUN_END, SHARD_OPEN}, 1, "behind the end", 0, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        check_case(&cases[i]);
}

/* One control record within a run that is right. */
static void
check_control(const char *json, unsigned faults)
{
    struct book b;
    struct told told = {.wanted = NULL};
    struct audit_result r;

    book_open(&b);
    {
        const struct charter *charters[] = {&b.f->charter};
        struct audit_opts opts = {.dir = b.f->dir,
                                  .charters = charters,
                                  .charter_count = 1,
                                  .fault = note_fault,
                                  .context = &told};

        wal_writer_begin(&b.w);
        add_step(&b, RUN_START);
        add_control(&b, json);
        add_step(&b, RUN_END);
        assert_int_equal(wal_writer_commit(&b.w), ERR_OK);
        assert_int_equal(audit_ledger(&opts, &r), ERR_OK);
    }
    if (r.faults != faults)
        fail_msg("%u faults, not %u: %s", (unsigned)r.faults, faults, json);
    wal_writer_fini(&b.w);
    fixture_free(b.f);
}

/* What a later version will say of the run before is read by this one. */
static void
run_start_may_name_a_checkpoint(void **state)
{
    static const char form[] =
        "{\"durability\":\"disk\",\"kind\":\"run_start\",\"mesh\":\"m\",\"node\":\"n\","
        "\"previous\":{%s"
        "\"frames\":7,\"run\":\"" RUN_HEX "\"},\"region\":\"r\",\"run\":\"" RUN_HEX
        "\",\"software\":\"s\",\"t\":1,\"v\":1}";
    struct control_run run;
    char json[512];

    (void)state;
    assert_true(text_format(json, sizeof(json), form,
                            "\"checkpoint\":{\"root\":\"" DIGEST "\",\"size\":70000},"));
    assert_true(control_read_run_start(slice_str(json), &run));
    assert_int_equal(run.previous_frames, 7);
    assert_true(text_format(json, sizeof(json), form, "\"checkpoint\":{\"root\":\"" DIGEST "\"},"));
    assert_false(control_read_run_start(slice_str(json), &run));
}

static void
control_records_have_one_form(void **state)
{
    static const char *const good[] = {
        "{\"digest\":\"" DIGEST "\",\"kind\":\"charter\",\"t\":1,\"v\":1,\"version\":3}",
        "{\"advert\":\"" DIGEST "\",\"attest\":\"" DIGEST "\",\"jwks\":\"" DIGEST
        "\",\"kind\":\"keys\",\"t\":1,\"v\":1}",
        "{\"advert\":\"" DIGEST "\",\"api_keys\":\"" DIGEST "\",\"attest\":\"" DIGEST
        "\",\"jwks\":\"" DIGEST "\",\"kind\":\"keys\",\"t\":1,\"v\":1}",
        "{\"built\":7,\"digest\":\"" DIGEST
        "\",\"kind\":\"geoip\",\"t\":1,\"type\":\"City\",\"v\":1}",
        "{\"counts\":{\"not_found\":2,\"overloaded\":1},\"from\":1,\"kind\":\"refusals\","
        "\"t\":2,\"to\":2,\"v\":1}",
        "{\"cut_bytes\":9,\"kind\":\"recovery\",\"lost\":1,\"run\":\"" RUN_HEX
        "\",\"t\":1,\"v\":1}",
    };
    static const char *const bad[] = {
        "",
        "{}",
        "geoip",
        "{\"kind\":\"charter\",\"v\":1}",
        "{\"kind\":\"of another version\",\"t\":1,\"v\":1}",
        "{\"digest\":\"AAAA\",\"kind\":\"charter\",\"t\":1,\"v\":1,\"version\":3}",
        "{\"digest\":\"" DIGEST "\",\"kind\":\"charter\",\"t\":1,\"v\":1,\"version\":-3}",
        "{\"digest\":\"" DIGEST "\",\"kind\":\"charter\",\"t\":1,\"v\":1,\"version\":3} ",
        "{\"digest\":\"" DIGEST "\",\"kind\":\"keys\",\"t\":1,\"v\":1}",
        "{\"attest\":\"" DIGEST "\",\"kind\":\"keys\",\"t\":1,\"v\":1}",
        "{\"advert\":\"" DIGEST "\",\"attest\":\"" DIGEST
        "\",\"jwks\":{},\"kind\":\"keys\",\"t\":1,\"v\":1}",
        "{\"built\":7,\"digest\":\"" DIGEST "\",\"kind\":\"geoip\",\"t\":1,\"v\":1}",
        "{\"built\":7,\"digest\":\"" DIGEST
        "\",\"kind\":\"geoip\",\"t\":1,\"type\":\"City\",\"v\":2}",
        "{\"counts\":{\"not_found\":2 },\"from\":1,\"kind\":\"refusals\",\"t\":2,\"to\":2,"
        "\"v\":1}",
        "{\"counts\":{\"not_found\":2},\"kind\":\"refusals\",\"t\":2,\"v\":1}",
        "{\"cut_bytes\":9,\"kind\":\"recovery\",\"lost\":1,\"run\":\"of another\",\"t\":1,"
        "\"v\":1}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(good); i++)
        check_control(good[i], 0);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        check_control(bad[i], 1);
}

static void
folder_without_runs(void **state)
{
    struct fixture *f = fixture_new();
    struct audit_opts opts = {.dir = f->dir};
    struct audit_result r;

    (void)state;
    assert_int_equal(audit_ledger(&opts, &r), ERR_NOENT);
    fixture_free(f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(run_start_may_name_a_checkpoint),
        cmocka_unit_test(control_records_have_one_form),
        cmocka_unit_test(folder_without_runs),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
