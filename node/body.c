#include "node/body.h"

#include "base/check.h"

struct scan {
    struct jscan s;
    const struct charter_tenant *tenant;
    struct body_facts *out;
    struct slice key;        /* of the value that comes next, at any depth; raw */
    uint32_t metadata_depth; /* > 0: inside the caller's own metadata, which nobody fetches */
    uint32_t url_depth;      /* > 0: inside an array at a url member */
    bool seen_model;
};

static bool
ends_nocase(struct slice s, const char *suffix)
{
    size_t n = strlen(suffix);

    return s.len >= n && slice_eq_nocase(slice_sub(s, s.len - n, n), slice_str(suffix));
}

static bool
is_url_key(struct slice key)
{
    return ends_nocase(key, "url") || ends_nocase(key, "uri") || ends_nocase(key, "urls");
}

/* Members of ours in another spelling: readers in Go take them for the same, and the last
 * of two counts there. */
static const char *
other_case_of(struct slice key)
{
    static const char *const names[] = {"model",    "stream",   "store", "previous_response_id",
                                        "metadata", "messages", "tools", "web_search_options"};

    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slice_eq_nocase(key, slice_str(names[i])) && !slice_is(key, names[i]))
            return names[i];
    return NULL;
}

/* Members by which model servers are told of another server: vLLM's and SGLang's transfer
 * of caches, LiteLLM's backend. */
static bool
is_server_key(struct slice key)
{
    return slice_is(key, "kv_transfer_params") || slice_is(key, "ec_transfer_params") ||
           slice_is(key, "bootstrap_host") || slice_is(key, "api_base");
}

/* Members that some servers take content or its place in. */
static bool
is_media_key(struct slice key)
{
    return slice_is(key, "image") || slice_is(key, "images") || slice_is(key, "video") ||
           slice_is(key, "audio");
}

static bool
has_scheme(struct slice s)
{
    return s.len > 0 && memmem(s.p, s.len, "://", 3) != NULL;
}

/* Tool types that make a model server fetch from elsewhere. */
static bool
is_fetching_tool(struct slice type)
{
    return slice_is(type, "mcp") || slice_starts(type, SLICE_LIT("web_search")) ||
           slice_is(type, "file_search") || slice_is(type, "computer_use_preview") ||
           slice_is(type, "browser_search");
}

/* The host of http(s)://host[:port]/..., or empty when there is none, another scheme, or user
 * info that could make two readers see two hosts. */
static struct slice
host_of(struct slice url)
{
    size_t colon = slice_find(url, ':');
    struct slice rest = slice_sub(url, colon, url.len);
    size_t end = 3;

    if (!slice_starts(rest, SLICE_LIT("://")) ||
        (!slice_eq_nocase(slice_sub(url, 0, colon), SLICE_LIT("http")) &&
         !slice_eq_nocase(slice_sub(url, 0, colon), SLICE_LIT("https"))))
        return SLICE_LIT("");
    while (end < rest.len && strchr("/?#\\", rest.p[end]) == NULL)
        end++;
    rest = slice_sub(rest, 3, end - 3);
    if (slice_find(rest, '@') != rest.len)
        return SLICE_LIT("");
    end = slice_find(rest, ':');
    return slice_sub(rest, 0, end);
}

static void
reference(struct scan *c, const struct jscan_token *t)
{
    struct slice host;

    /* An empty value points nowhere; data: carries its content. */
    if (t->raw.len == 0 ||
        (t->raw.len >= 5 && slice_eq_nocase(slice_sub(t->raw, 0, 5), SLICE_LIT("data:"))))
        return;
    host = t->escaped ? SLICE_LIT("") : host_of(t->raw);
    if (c->tenant != NULL && host.len > 0 && decide_remote_host_ok(c->tenant, host))
        return;
    if (!c->out->points_outside) {
        c->out->points_outside = true;
        c->out->remote_host = host;
    }
}

static enum err
refuse(struct scan *c, const char *param, const char *why)
{
    c->out->param = param;
    c->out->why = why;
    return ERR_BADMSG;
}

static enum err
top_member(struct scan *c, const struct jscan_token *t)
{
    struct slice key = c->key;
    const char *ours = other_case_of(key);

    if (ours != NULL)
        return refuse(c, ours, "a member's name differs from ours by the case of letters alone");
    if (is_server_key(key) && t->type != JSCAN_NULL)
        c->out->points_outside = true;
    if (slice_is(key, "model")) {
        if (t->type != JSCAN_STRING || t->raw.len == 0)
            return refuse(c, "model", "model must be a string");
        /* An alias with escapes matches none: the names of a charter are plain. */
        c->out->model = t->raw;
        c->out->model_at = t->at;
        c->out->model_len = t->raw.len + 2;
        c->seen_model = true;
    } else if (slice_is(key, "stream")) {
        if (t->type != JSCAN_TRUE && t->type != JSCAN_FALSE && t->type != JSCAN_NULL)
            return refuse(c, "stream", "stream must be a boolean");
        c->out->stream = t->type == JSCAN_TRUE;
    } else if (slice_is(key, "store")) {
        if (t->type == JSCAN_TRUE)
            return refuse(c, "store", "answers are not stored here: store must be false");
    } else if (slice_is(key, "previous_response_id")) {
        if (t->type != JSCAN_NULL)
            return refuse(c, "previous_response_id", "earlier answers are not stored here");
    } else if (slice_is(key, "web_search_options")) {
        c->out->points_outside = true;
    } else if (slice_is(key, "metadata") && t->type == JSCAN_OBJECT) {
        c->metadata_depth = t->depth + 1;
    }
    return ERR_OK;
}

static enum err
on_token(struct scan *c, const struct jscan_token *t)
{
    bool is_end = t->type == JSCAN_OBJECT_END || t->type == JSCAN_ARRAY_END;

    if (is_end) {
        if (c->metadata_depth > t->depth)
            c->metadata_depth = 0;
        if (c->url_depth > t->depth)
            c->url_depth = 0;
        c->key = SLICE_NONE;
        return ERR_OK;
    }
    if (t->type == JSCAN_KEY) {
        c->key = t->raw;
        /* A name in escapes could be read as "model" or "url" by the server. */
        return t->escaped ? refuse(c, NULL, "member names must be written without escapes")
                          : ERR_OK;
    }
    if (t->depth == 1 && c->key.p != NULL) {
        enum err e = top_member(c, t);

        if (e != ERR_OK)
            return e;
    }
    if (c->metadata_depth == 0 && t->type == JSCAN_STRING) {
        if (c->url_depth > 0 || is_url_key(c->key) ||
            (is_media_key(c->key) && (t->escaped || has_scheme(t->raw))))
            reference(c, t);
        else if (slice_is(c->key, "type") && t->depth >= 3 &&
                 (t->escaped || is_fetching_tool(t->raw)))
            c->out->points_outside = true;
    }
    if (t->type == JSCAN_ARRAY && c->url_depth == 0 && is_url_key(c->key))
        c->url_depth = t->depth + 1;
    if (c->url_depth == 0)
        c->key = SLICE_NONE;
    return ERR_OK;
}

enum err
body_scan(struct slice body, struct jscan_keys *keys, const struct charter_tenant *tenant,
          struct body_facts *out)
{
    struct scan c = {.tenant = tenant, .out = out};
    struct jscan_token t;
    bool first = true;
    enum err e;

    *out = (struct body_facts){.remote_host = SLICE_LIT("")};
    jscan_init(&c.s, body, keys);
    for (;;) {
        e = jscan_next(&c.s, &t);
        if (e != ERR_OK) {
            out->why = c.s.why;
            return ERR_BADMSG;
        }
        if (t.type == JSCAN_END)
            break;
        if (first && t.type != JSCAN_OBJECT)
            return refuse(&c, NULL, "the body must be a JSON object");
        first = false;
        e = on_token(&c, &t);
        if (e != ERR_OK)
            return e;
    }
    return c.seen_model ? ERR_OK : refuse(&c, "model", "model is missing");
}
