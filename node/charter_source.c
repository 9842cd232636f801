#include "node/charter_source.h"

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "crypto/dsse.h"
#include "crypto/key.h"
#include "residency/charter_check.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_FILE_MAX (64u << 10)

/* The end of a string whose quote stands at `at`. */
static size_t
string_end(struct slice s, size_t at)
{
    for (at++; at < s.len && s.p[at] != '"'; at++)
        if (s.p[at] == '\\')
            at++;
    return at < s.len ? at + 1 : s.len;
}

/* The end of a comment that starts at `at`, or `at` when none does. */
static size_t
comment_end(struct slice s, size_t at)
{
    if (at + 1 >= s.len || s.p[at] != '/')
        return at;
    if (s.p[at + 1] == '/') {
        while (at < s.len && s.p[at] != '\n')
            at++;
    } else if (s.p[at + 1] == '*') {
        for (at += 2; at + 1 < s.len && (s.p[at] != '*' || s.p[at + 1] != '/'); at++)
            continue;
        at = at + 2 <= s.len ? at + 2 : s.len;
    }
    return at;
}

enum err
charter_source_strip(struct slice source, char **out, size_t *out_len)
{
    char *to = malloc(source.len + 1);
    struct text t;
    size_t at = 0;

    if (to == NULL)
        return ERR_NOMEM;
    text_init(&t, to, source.len);
    while (at < source.len) {
        uint8_t c = source.p[at];
        size_t end = c == '"' ? string_end(source, at) : comment_end(source, at);

        if (c == '"') {
            text_add(&t, slice_sub(source, at, end - at));
        } else if (end == at) {
            end = at + 1;
            if ((c == '}' || c == ']') && t.used > 0 && t.p[t.used - 1] == ',')
                t.used--; /* a trailing comma */
            if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
                text_add_char(&t, (char)c);
        }
        at = end;
    }
    ASSERT(text_ok(&t));
    to[t.used] = '\0';
    *out = to;
    *out_len = t.used;
    return ERR_OK;
}

static enum err
envelope(struct slice payload, const struct key *const *keys, size_t key_count, char **out,
         size_t *out_len)
{
    size_t size = payload.len / 3 * 4 + key_count * 512 + 1024;
    char *to = malloc(size);
    struct text t;
    enum err e;

    if (to == NULL)
        return ERR_NOMEM;
    text_init(&t, to, size);
    e = dsse_sign(slice_str(CHARTER_PAYLOAD_TYPE), payload, keys, key_count, &t);
    if (e != ERR_OK) {
        free(to);
        return e;
    }
    *out = to;
    *out_len = t.used;
    return ERR_OK;
}

enum err
charter_source_sign(struct slice source, const char *file, const struct key *const *keys,
                    size_t key_count, struct issues *issues, char **out, size_t *out_len)
{
    struct charter *charter = NULL;
    char *strict = NULL;
    size_t strict_len = 0;
    enum err e = charter_load(source, file, true, issues, &charter);

    if (e != ERR_OK)
        return e;
    charter_check(charter, file, issues);
    charter_unref(&charter);
    if (issues_any(issues))
        return ERR_BADMSG;
    e = charter_source_strip(source, &strict, &strict_len);
    if (e != ERR_OK)
        return e;
    /* What is signed is what was checked. */
    e = charter_load(slice_of(strict, strict_len), file, false, issues, &charter);
    if (e == ERR_OK)
        e = envelope(slice_of(strict, strict_len), keys, key_count, out, out_len);
    charter_unref(&charter);
    free(strict);
    return e;
}

static struct key *
read_jwk(const char *file)
{
    struct json_doc *doc = NULL;
    struct key *key = NULL;
    const char *why = "";
    char *text = NULL;
    size_t len = 0;
    enum err e = file_read(file, KEY_FILE_MAX, &text, &len);

    if (e != ERR_OK)
        (void)fprintf(stderr, "%s: can't be read: %s\n", file, err_text(e));
    else if (json_parse(slice_of(text, len), &doc, &why) != ERR_OK)
        (void)fprintf(stderr, "%s: is no JWK: %s\n", file, why);
    else if (key_from_jwk(json_root(doc), &key) != ERR_OK)
        (void)fprintf(stderr, "%s: is no public JWK that we verify with\n", file);
    json_free(&doc);
    free(text);
    return key;
}

bool
charter_source_trust(const char *const *files, size_t count, size_t threshold,
                     struct charter_trust *out)
{
    *out = (struct charter_trust){.threshold = threshold};
    if (count > ARRAY_COUNT(out->keys) || threshold == 0 || threshold > count) {
        (void)fprintf(stderr, "the threshold must be 1 to the number of trusted keys (%zu)\n",
                      count);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        out->keys[i] = read_jwk(files[i]);
        if (out->keys[i] == NULL) {
            charter_source_trust_free(out);
            return false;
        }
        out->key_count = i + 1;
    }
    return true;
}

void
charter_source_trust_free(struct charter_trust *trust)
{
    for (size_t i = 0; i < ARRAY_COUNT(trust->keys); i++)
        key_free(&trust->keys[i]);
}

struct charter *
charter_source_open(const char *file, const struct charter_trust *trust)
{
    struct issues *issues = issues_new();
    struct charter *c = NULL;
    char *text = NULL;
    size_t len = 0;
    enum err e = issues == NULL ? ERR_NOMEM : file_read(file, CHARTER_ENVELOPE_MAX, &text, &len);

    if (e == ERR_OK)
        e = charter_open(slice_of(text, len), file, trust, issues, &c);
    if (issues != NULL && issues_any(issues))
        issues_print(issues, stderr);
    else if (e != ERR_OK)
        (void)fprintf(stderr, "%s: %s\n", file, err_text(e));
    free(text);
    issues_free(&issues);
    return c;
}

struct key *
charter_source_key(const char *file)
{
    struct key *key = NULL;
    char *text = NULL;
    size_t len = 0;
    enum err e = file_read(file, KEY_FILE_MAX, &text, &len);

    if (e == ERR_OK) {
        e = key_from_private_pem(slice_of(text, len), &key);
        hash_wipe(text, len);
    }
    if (e != ERR_OK)
        (void)fprintf(stderr, "%s: no private key on P-256 or Ed25519: %s\n", file, err_text(e));
    free(text);
    return key;
}
