/* portolan token: a token of a local mesh's issuer, for trying things out. */
#include "node/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/cert.h"
#include "crypto/jws.h"
#include "node/args.h"
#include "node/charter_source.h"

#include <stdio.h>
#include <stdlib.h>

#define PEM_SIZE_MAX (64u << 10)
#define PATH_SIZE 1024

enum { DIR, TENANT, SUBJECT, ROLES, MINUTES, BIND, OPTION_COUNT };

/* The source, not the envelope: whoever holds the folder holds every key of it. */
static struct charter *
load_charter(const char *dir)
{
    struct issues *issues = issues_new();
    struct charter *c = NULL;
    char path[PATH_SIZE];
    char *text = NULL;
    size_t len = 0;
    enum err e = ERR_TOOBIG;

    if (issues != NULL && file_join(path, sizeof(path), dir, "charter/charter.jsonc"))
        e = file_read(path, CHARTER_SOURCE_MAX, &text, &len);
    if (e == ERR_OK)
        e = charter_load(slice_of(text, len), path, true, issues, &c);
    if (issues != NULL && issues_any(issues))
        issues_print(issues, stderr);
    else if (e != ERR_OK)
        (void)fprintf(stderr, "%s/charter/charter.jsonc: %s\n", dir, err_text(e));
    free(text);
    issues_free(&issues);
    return c;
}

static const struct charter_issuer *
find_issuer(const struct charter *c, const char *tenant)
{
    uint32_t t = charter_find_tenant(c, slice_str(tenant));

    for (size_t i = 0; t != CHARTER_NONE && i < c->issuer_count; i++)
        if (charter_issuer_speaks_for(&c->issuers[i], t))
            return &c->issuers[i];
    (void)fprintf(stderr, "%s: %s\n", tenant,
                  t == CHARTER_NONE ? "no tenant of this charter" : "no issuer speaks for it");
    return NULL;
}

static void
add_member(struct text *t, const char *name, const char *value)
{
    text_add_char(t, ',');
    text_add_json(t, slice_str(name));
    text_add_char(t, ':');
    text_add_json(t, slice_str(value));
}

static bool
add_binding(struct text *t, const char *file)
{
    struct cert_facts facts;
    char *pem = NULL;
    size_t len = 0;
    enum err e = file_read(file, PEM_SIZE_MAX, &pem, &len);

    if (e == ERR_OK)
        e = cert_read_pem(slice_of(pem, len), &facts);
    free(pem);
    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: no certificate: %s\n", file, err_text(e));
        return false;
    }
    text_add_str(t, ",\"cnf\":{\"x5t#S256\":\"");
    text_add_b64url(t, slice_of(facts.sha256, HASH_SIZE));
    text_add_str(t, "\"}");
    return true;
}

static bool
compose(const struct args_option *o, const struct charter_issuer *issuer, struct text *t)
{
    struct slice roles = slice_str(args_text(&o[ROLES], ""));
    int64_t now_s = clock_wall_ms() / 1000;
    int64_t minutes;

    if (o[SUBJECT].count > 0 && o[SUBJECT].values[0][0] == '\0') {
        (void)fprintf(stderr, "--subject: is empty: a node refuses a token without a subject\n");
        return false;
    }
    if (!args_number(&o[MINUTES], 1, issuer->max_lifetime_s / 60,
                     issuer->max_lifetime_s < 3600 ? issuer->max_lifetime_s / 60 : 60, &minutes))
        return false;
    text_addf(t, "{\"iat\":%lld,\"exp\":%lld", (long long)now_s, (long long)(now_s + minutes * 60));
    add_member(t, "iss", issuer->id);
    add_member(t, "aud", issuer->audience);
    add_member(t, "sub", args_text(&o[SUBJECT], "alice"));
    add_member(t, issuer->tenant_claim, o[TENANT].values[0]);
    if (roles.len > 0) {
        const char *gap = ":[";

        text_add_char(t, ',');
        text_add_json(t, slice_str(issuer->roles_claim));
        for (; roles.len > 0; gap = ",") {
            text_add_str(t, gap);
            text_add_json(t, slice_cut(&roles, ','));
        }
        text_add_char(t, ']');
    }
    if (o[BIND].count > 0 && !add_binding(t, o[BIND].values[0]))
        return false;
    text_add_char(t, '}');
    return text_ok(t);
}

static bool
print_token(const char *dir, struct slice claims)
{
    char path[PATH_SIZE];
    char header[512];
    char token[JWS_SIZE_MAX];
    struct key *key;
    struct text h;
    struct text t;
    enum err e;

    if (!file_join(path, sizeof(path), dir, "issuer/issuer.key"))
        return false;
    key = charter_source_key(path);
    if (key == NULL)
        return false;
    text_init(&h, header, sizeof(header));
    text_init(&t, token, sizeof(token));
    e = jws_header(key, "JWT", &h);
    if (e == ERR_OK)
        e = jws_sign(key, text_slice(&h), claims, &t);
    key_free(&key);
    if (e == ERR_OK)
        (void)printf("%.*s\n", SLICE_ARG(text_slice(&t)));
    else
        (void)fprintf(stderr, "the token can't be made: %s\n", err_text(e));
    return e == ERR_OK;
}

int
command_token(int argc, char **argv)
{
    struct args_option options[OPTION_COUNT] = {
        [DIR] = {.name = "--dir", .is_required = true},
        [TENANT] = {.name = "--tenant", .is_required = true},
        [SUBJECT] = {.name = "--subject"},
        [ROLES] = {.name = "--roles"},
        [MINUTES] = {.name = "--minutes"},
        [BIND] = {.name = "--bind"},
    };
    struct args a = {.usage = "portolan token --dir DIR --tenant acme/de [--subject alice] "
                              "[--roles a,b]\n         [--minutes 60] [--bind CERT.pem]",
                     .options = options,
                     .option_count = OPTION_COUNT};
    const struct charter_issuer *issuer;
    struct charter *c;
    char claims[4096];
    struct text t;
    int code;

    if (!args_parse(&a, argc, argv, &code))
        return code;
    c = load_charter(options[DIR].values[0]);
    if (c == NULL)
        return EXIT_USAGE;
    text_init(&t, claims, sizeof(claims));
    issuer = find_issuer(c, options[TENANT].values[0]);
    code = EXIT_USAGE;
    if (issuer != NULL && compose(options, issuer, &t) &&
        print_token(options[DIR].values[0], text_slice(&t)))
        code = EXIT_GOOD;
    charter_unref(&c);
    return code;
}
