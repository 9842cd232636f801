/* portolan verify: attestations as a client got them, or a ledger's folder. Offline; what is
 * trusted are the charter's keys, and the charter by its own. */
#include "node/command.h"

#include "base/check.h"
#include "base/file.h"
#include "base/text.h"
#include "node/args.h"
#include "node/charter_list.h"
#include "node/charter_source.h"
#include "residency/evidence/audit.h"
#include "residency/evidence/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define HOPS_MAX 16
#define TRUST_MAX 16
#define HEADER_FILE_MAX (64u << 10)
#define LINE_SIZE 2048

enum { CHARTER, TRUST, THRESHOLD, OPTION_COUNT };

struct verifying {
    const struct charter_trust *trust;
    struct charter_list list; /* any of them may have a node's key */
    struct record_a1_view views[HOPS_MAX];
    struct slice jws[HOPS_MAX];
    size_t hop_count;
    size_t faults;
};

static void
fault(struct verifying *v, const char *where, const char *what)
{
    v->faults++;
    (void)printf("FAULT %s: %s\n", where, what);
}

static void
check_charter(struct verifying *v, const struct charter *own, const struct record_a1_view *a1,
              const char *where)
{
    if (own == NULL) {
        (void)printf("note  %s: was decided under charter version %" PRIu64
                     ", which is not given here\n",
                     where, a1->charter_version);
        return;
    }
    if (!record_a1_is_under(a1, own))
        fault(v, where, "names another charter of the same version");
}

static void
print_a1(const struct record_a1_view *a1)
{
    char line[LINE_SIZE];
    char country[3];
    char place[3];
    struct text t;

    country_text(a1->country, country);
    country_text(a1->target_country, place);
    text_init(&t, line, sizeof(line));
    text_addf(&t, "good  hop %u  ", a1->hop);
    text_add_time_ms(&t, a1->iat_s * 1000);
    text_addf(&t, "  %s (%s)  tenant %s  origin %s  ingress %s", a1->permit ? "permit" : "deny",
              a1->reason, a1->tenant, country, a1->ingress_node);
    if (a1->has_target)
        text_addf(&t, "  to %s %s in %s (%s)", a1->target_backend[0] != '\0' ? "backend" : "node",
                  a1->target_backend[0] != '\0' ? a1->target_backend : a1->target_node,
                  a1->target_region, place);
    text_add_str(&t, "  model ");
    text_add_escaped(&t, slice_str(a1->model_requested), RECORD_FOREIGN_MAX);
    if (a1->model_version[0] != '\0')
        text_addf(&t, " = %s (%s)", a1->model_version, a1->model_evidence);
    text_addf(&t, "  txn %s", a1->txn);
    (void)printf("%.*s\n", SLICE_ARG(text_slice(&t)));
}

static void
verify_one(struct verifying *v, size_t i)
{
    struct record_a1_view *a1 = &v->views[i];
    const char *why = "";
    char where[32];
    const struct charter *own;

    (void)text_format(where, sizeof(where), "attestation %zu", i + 1);
    if (record_a1_parse(v->jws[i], a1, &why) != ERR_OK) {
        fault(v, where, why);
        return;
    }
    own = record_a1_charter(a1, (const struct charter *const *)v->list.charters, v->list.count);
    if (record_a1_verify(v->jws[i], own != NULL ? own : v->list.charters[0], a1, &why) != ERR_OK) {
        fault(v, where, why);
        return;
    }
    check_charter(v, own, a1, where);
    print_a1(a1);
}

/* What the peer says must continue what the ingress said (docs/formats.md section 8). */
static void
check_chain(struct verifying *v, size_t i)
{
    const struct record_a1_view *first = &v->views[i - 1];
    const struct record_a1_view *next = &v->views[i];
    uint8_t digest[HASH_SIZE];
    char hash[RECORD_HASH_SIZE];
    char where[32];
    struct text t;

    (void)text_format(where, sizeof(where), "attestation %zu", i + 1);
    hash_sha256(v->jws[i - 1], digest);
    text_init(&t, hash, sizeof(hash) - 1);
    text_add_b64url(&t, slice_of(digest, HASH_SIZE));
    hash[t.used] = '\0';
    if (next->hop != first->hop + 1)
        fault(v, where, "is not the hop after the one before");
    if (strcmp(next->prev, hash) != 0)
        fault(v, where, "prev is not the hash of the attestation before");
    if (strcmp(next->txn, first->txn) != 0 || strcmp(next->tenant, first->tenant) != 0 ||
        strcmp(next->sub, first->sub) != 0 || next->country != first->country ||
        strcmp(next->auth, first->auth) != 0 || strcmp(next->role, first->role) != 0 ||
        strcmp(next->class_name, first->class_name) != 0 ||
        strcmp(next->origin_source, first->origin_source) != 0 ||
        strcmp(next->origin_quality, first->origin_quality) != 0 ||
        strcmp(next->ingress_node, first->ingress_node) != 0 ||
        strcmp(next->ingress_region, first->ingress_region) != 0 ||
        strcmp(next->policy_digest, first->policy_digest) != 0 ||
        strcmp(next->endpoint, first->endpoint) != 0 ||
        next->request_bytes != first->request_bytes ||
        strcmp(next->request_commitment, first->request_commitment) != 0)
        fault(v, where, "speaks of another request");
    if (strcmp(first->aud, next->iss) != 0)
        fault(v, where, "was made by a node that the one before did not address");
}

/* "<jws>;idx=4, <jws>;idx=7", with or without the field's name. */
static bool
split_list(struct verifying *v, struct slice list)
{
    const struct slice name = SLICE_LIT("Residency-Attestation:");

    if (list.len > name.len && slice_eq_nocase(slice_sub(list, 0, name.len), name))
        list = slice_sub(list, name.len, list.len);
    while (list.len > 0) {
        struct slice item = slice_cut(&list, ',');

        item = slice_trim(slice_cut(&item, ';'));
        while (item.len > 0 && (item.p[item.len - 1] == '\n' || item.p[item.len - 1] == '\r'))
            item.len--;
        if (item.len == 0)
            continue;
        if (v->hop_count == HOPS_MAX) {
            (void)fprintf(stderr, "more than %d attestations\n", HOPS_MAX);
            return false;
        }
        v->jws[v->hop_count++] = item;
    }
    return true;
}

/* Neither a file nor anything that could be an attestation: most likely a wrong path. */
static bool
is_attestation(struct slice jws)
{
    size_t dots = 0;

    for (size_t i = 0; i < jws.len; i++) {
        dots += jws.p[i] == '.';
        if (jws.p[i] == '/')
            return false;
    }
    return dots == 2;
}

static int
verify_attestations(struct verifying *v, const struct args *a)
{
    char *texts[ARGS_VALUES_MAX] = {NULL};
    int code = EXIT_USAGE;

    for (size_t i = 0; i < a->operand_count; i++) {
        struct slice list = slice_str(a->operands[i]);
        size_t len = 0, before = v->hop_count;
        bool is_file = file_read(a->operands[i], HEADER_FILE_MAX, &texts[i], &len) == ERR_OK;

        if (!split_list(v, is_file ? slice_of(texts[i], len) : list))
            goto out;
        for (; !is_file && before < v->hop_count; before++) {
            if (is_attestation(v->jws[before]))
                continue;
            (void)fprintf(stderr, "%s: neither a file or folder nor an attestation\n",
                          a->operands[i]);
            goto out;
        }
    }
    if (v->hop_count == 0) {
        (void)fprintf(stderr, "there is no attestation\n");
        goto out;
    }
    for (size_t i = 0; i < v->hop_count; i++)
        verify_one(v, i);
    /* Each hop 0 starts a chain of its own; what could not be read is no link of any. */
    for (size_t i = 0; v->faults == 0 && i < v->hop_count; i++) {
        if (v->views[i].hop != 0 && i == 0)
            (void)printf("note  attestation 1: the hop before it is not given here\n");
        else if (v->views[i].hop != 0)
            check_chain(v, i);
        if (v->views[i].target_node[0] != '\0' &&
            (i + 1 == v->hop_count || v->views[i + 1].hop == 0))
            (void)printf("note  attestation %zu: went on to node %s, whose own attestation is not "
                         "given here\n",
                         i + 1, v->views[i].target_node);
    }
    code = v->faults == 0 ? EXIT_GOOD : EXIT_NO;
out:
    for (size_t i = 0; i < a->operand_count; i++)
        free(texts[i]);
    return code;
}

static void
ledger_fault(void *context, const char *where, const char *what)
{
    fault(context, where, what);
}

static void
ledger_gap(void *context, const char *where, const char *what)
{
    (void)context;
    (void)printf("GAP   %s: %s\n", where, what);
}

static int
verify_ledger(struct verifying *v, const char *dir)
{
    const char *verdict;
    struct audit_result r;
    struct audit_opts opts = {.dir = dir,
                              .charters = (const struct charter *const *)v->list.charters,
                              .charter_count = v->list.count,
                              .verify_signatures = true,
                              .fault = ledger_fault,
                              .gap = ledger_gap,
                              .context = v};
    enum err e = audit_ledger(&opts, &r);

    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: can't be read: %s\n", dir, err_text(e));
        return EXIT_USAGE;
    }
    verdict = r.faults > 0 ? "BAD " : r.unchecked > 0 ? "INCOMPLETE" : "good";
    (void)printf("%s  %s: %" PRIu64 " runs, %" PRIu64 " frames, %" PRIu64 " shards; %" PRIu64
                 " permits, %" PRIu64 " denials, %" PRIu64 " completions, %" PRIu64
                 " lost, %" PRIu64 " open%s; %" PRIu64 " faults, %" PRIu64
                 " under a charter that is not given\n",
                 verdict, dir, r.runs, r.frames, r.shards, r.permits, r.denies, r.a2, r.lost,
                 r.open, r.live_run ? " (a run goes on)" : "", r.faults, r.unchecked);
    return r.faults == 0 && r.unchecked == 0 ? EXIT_GOOD : EXIT_NO;
}

static int
verify(struct verifying *v, const struct args *a)
{
    int worst = EXIT_GOOD;
    struct stat st;

    if (stat(a->operands[0], &st) != 0 || !S_ISDIR(st.st_mode))
        return verify_attestations(v, a);
    for (size_t i = 0; i < a->operand_count; i++) {
        int code = EXIT_NO;

        if (charter_list_add_kept(&v->list, a->operands[i], v->trust))
            code = verify_ledger(v, a->operands[i]);

        worst = code > worst ? code : worst;
    }
    return worst;
}

int
command_verify(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [CHARTER] = {.name = "--charter", .is_required = true, .max = ARGS_VALUES_MAX},
        [TRUST] = {.name = "--trust", .is_required = true, .max = TRUST_MAX},
        [THRESHOLD] = {.name = "--threshold"},
    };
    struct args a = {.usage =
                         "portolan verify --charter ENVELOPE-OR-DIR [--charter older ...] --trust "
                         "JWK.json [--threshold N]\n         HEADER-OR-JWS-OR-FILE ... | "
                         "LEDGER_DIR ...",
                     .options = options,
                     .option_count = OPTION_COUNT,
                     .operands_min = 1,
                     .operands_max = ARGS_VALUES_MAX};
    struct charter_trust trust;
    struct verifying *v;
    int64_t threshold;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    if (!args_number(&options[THRESHOLD], 1, TRUST_MAX, 1, &threshold) ||
        !charter_source_trust(options[TRUST].values, options[TRUST].count, (size_t)threshold,
                              &trust))
        return EXIT_USAGE;
    code = EXIT_USAGE;
    v = calloc(1, sizeof(*v));
    if (v != NULL)
        v->trust = &trust;
    if (v != NULL &&
        charter_list_open(options[CHARTER].values, options[CHARTER].count, &trust, &v->list))
        code = verify(v, &a);
    if (v != NULL)
        charter_list_free(&v->list);
    free(v);
    charter_source_trust_free(&trust);
    return code;
}
