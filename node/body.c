#include "node/body.h"

#include "base/check.h"

/* The outermost member that the scan is in. */
enum section { SECTION_OTHER, SECTION_TOOLS, SECTION_MESSAGES, SECTION_OPTIONS };

/* What is known of stream_options. */
enum options {
    OPTIONS_ABSENT,
    OPTIONS_EMPTY,  /* inside its object: no member yet */
    OPTIONS_OTHERS, /* ... members, but not include_usage */
    OPTIONS_KNOWN,
};

struct scan {
    struct jscan s;
    enum section section;
    enum options options;
    const struct charter_tenant *tenant;
    struct body_facts *out;
    struct slice key;     /* of the value that comes next, at any depth; raw */
    uint32_t quiet_depth; /* > 0: inside an object of the caller's own, which nobody fetches */
    uint32_t url_depth;   /* > 0: inside an array at a url member */
    uint32_t media_depth; /* > 0: inside an array at an image or audio member */
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
    static const char *const names[] = {
        "model",    "stream",    "store",       "previous_response_id", "metadata",
        "messages", "tools",     "background",  "web_search_options",   "mcp_servers",
        "prompt",   "container", "conversation"};

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

/* Members that hold an image or a sound in base64; some servers take an address there too. */
static bool
is_media_key(struct slice key)
{
    return slice_is(key, "image") || slice_is(key, "images") || slice_is(key, "mask") ||
           slice_is(key, "audio") || slice_is(key, "video") || slice_is(key, "videos") ||
           slice_is(key, "known_speaker_references");
}

/* Members that name what a server holds: where that lies nobody can tell (law 3). */
static bool
is_stored_key(struct slice key)
{
    return slice_is(key, "file_id") || slice_is(key, "file_ids") ||
           slice_is(key, "input_file_id") || slice_is(key, "container_id") ||
           slice_is(key, "vector_store_id") || slice_is(key, "vector_store_ids");
}

/* Types of content and tools that make a model server fetch from elsewhere, wherever they
 * stand. */
static bool
is_fetching_type(struct slice type)
{
    return slice_is(type, "mcp") || slice_starts(type, SLICE_LIT("web_search")) ||
           slice_starts(type, SLICE_LIT("web_fetch")) || slice_is(type, "file_search") ||
           slice_is(type, "computer_use_preview") || slice_is(type, "browser_search") ||
           slice_is(type, "item_reference");
}

/* Tools that the caller runs itself; all others run at the server, who knows where (law 3). */
static bool
is_callers_tool(struct slice type)
{
    return slice_is(type, "function") || slice_is(type, "custom") ||
           slice_is(type, "local_shell") || slice_is(type, "apply_patch") ||
           slice_starts(type, SLICE_LIT("bash_")) || slice_starts(type, SLICE_LIT("memory_")) ||
           slice_starts(type, SLICE_LIT("text_editor_")) ||
           slice_starts(type, SLICE_LIT("computer_20"));
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

enum body_member
body_member(struct slice name)
{
    return is_url_key(name)      ? BODY_MEMBER_URL
           : is_media_key(name)  ? BODY_MEMBER_MEDIA
           : is_stored_key(name) ? BODY_MEMBER_STORED
                                 : BODY_MEMBER_OTHER;
}

void
body_reference(struct slice value, bool unclear, const struct charter_tenant *tenant,
               struct body_facts *out)
{
    struct slice host;

    /* An empty value points nowhere; data: carries its content. */
    if (value.len == 0 ||
        (value.len >= 5 && slice_eq_nocase(slice_sub(value, 0, 5), SLICE_LIT("data:"))))
        return;
    host = unclear ? SLICE_LIT("") : host_of(value);
    if (tenant != NULL && host.len > 0 && decide_remote_host_ok(tenant, host))
        return;
    if (!out->points_outside) {
        out->points_outside = true;
        out->remote_host = host;
    }
}

static void
reference(struct scan *c, const struct jscan_token *t)
{
    body_reference(t->raw, t->escaped, c->tenant, c->out);
}

static enum err
refuse(struct scan *c, const char *param, const char *why)
{
    c->out->param = param;
    c->out->why = why;
    return ERR_BADMSG;
}

/* Members of the outermost object that name what a server keeps. */
static enum err
state_member(struct scan *c, const struct jscan_token *t)
{
    struct slice key = c->key;

    if (t->type == JSCAN_NULL)
        return ERR_OK;
    if (slice_is(key, "store") && t->type == JSCAN_TRUE)
        return refuse(c, "store", "answers are not stored here: store must be false");
    if (slice_is(key, "background") && t->type == JSCAN_TRUE)
        return refuse(c, "background", "answers are not stored here: background must be false");
    if (slice_is(key, "previous_response_id"))
        return refuse(c, "previous_response_id", "earlier answers are not stored here");
    if (slice_is(key, "conversation"))
        return refuse(c, "conversation", "conversations are not stored here");
    if (slice_is(key, "container"))
        return refuse(c, "container", "containers are not kept here");
    if (slice_is(key, "prompt") && t->type == JSCAN_OBJECT)
        return refuse(c, "prompt", "prompts are not stored here: prompt must be the text");
    return ERR_OK;
}

static void
ask(struct scan *c, size_t at, size_t len, const char *text)
{
    c->out->ask = (struct body_edit){.at = at, .len = len, .text = text};
    c->options = OPTIONS_KNOWN;
}

/* The value of stream_options. What is neither an object nor null is the server's matter. */
static void
begin_options(struct scan *c, const struct jscan_token *t)
{
    c->options = t->type == JSCAN_OBJECT ? OPTIONS_EMPTY : OPTIONS_KNOWN;
    if (t->type == JSCAN_NULL)
        ask(c, t->at, strlen("null"), "{\"include_usage\":true}");
}

/* The value of a member of stream_options. */
static void
option_member(struct scan *c, const struct jscan_token *t)
{
    if (c->options == OPTIONS_KNOWN)
        return;
    c->options = OPTIONS_OTHERS;
    if (!slice_is(c->key, "include_usage"))
        return;
    c->options = OPTIONS_KNOWN;
    if (t->type == JSCAN_FALSE)
        ask(c, t->at, strlen("false"), "true");
    else if (t->type == JSCAN_NULL)
        ask(c, t->at, strlen("null"), "true");
}

/* The end of stream_options or of the body. The member goes last: readers in Go, for whom
 * another spelling is the same member, take the last one. */
static void
end_options(struct scan *c, const struct jscan_token *t)
{
    if (t->depth == 1 && c->section == SECTION_OPTIONS && c->options == OPTIONS_EMPTY)
        ask(c, t->at, 0, "\"include_usage\":true");
    else if (t->depth == 1 && c->section == SECTION_OPTIONS && c->options == OPTIONS_OTHERS)
        ask(c, t->at, 0, ",\"include_usage\":true");
    else if (t->depth == 0 && c->options == OPTIONS_ABSENT)
        ask(c, t->at, 0, ",\"stream_options\":{\"include_usage\":true}");
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
        if (t->type != JSCAN_NULL)
            c->out->stream = t->type == JSCAN_TRUE;
    } else if (c->section == SECTION_OPTIONS) {
        begin_options(c, t);
    } else if ((slice_is(key, "web_search_options") || slice_is(key, "mcp_servers")) &&
               t->type != JSCAN_NULL) {
        c->out->points_outside = true;
    }
    return state_member(c, t);
}

/* What the caller keeps for itself, or what it told a tool of its own. */
static bool
is_quiet(const struct scan *c, const struct jscan_token *t)
{
    if (t->type != JSCAN_OBJECT)
        return false;
    if (t->depth == 1)
        return slice_is(c->key, "metadata");
    return c->section == SECTION_MESSAGES && t->depth >= 5 &&
           (slice_is(c->key, "input") || slice_is(c->key, "arguments"));
}

static enum err
on_key(struct scan *c, const struct jscan_token *t)
{
    c->key = t->raw;
    if (t->depth == 1)
        c->section = slice_is(t->raw, "tools")            ? SECTION_TOOLS
                     : slice_is(t->raw, "messages")       ? SECTION_MESSAGES
                     : slice_is(t->raw, "stream_options") ? SECTION_OPTIONS
                                                          : SECTION_OTHER;
    /* A name in escapes could be read as "model" or "url" by the server. */
    return t->escaped ? refuse(c, NULL, "member names must be written without escapes") : ERR_OK;
}

static void
on_end(struct scan *c, const struct jscan_token *t)
{
    if (c->quiet_depth > t->depth)
        c->quiet_depth = 0;
    if (c->url_depth > t->depth)
        c->url_depth = 0;
    if (c->media_depth > t->depth)
        c->media_depth = 0;
    if (t->depth <= 1)
        end_options(c, t);
    c->key = SLICE_NONE;
}

static void
on_string(struct scan *c, const struct jscan_token *t)
{
    bool is_media = c->media_depth > 0 || is_media_key(c->key);

    if (c->url_depth > 0 || is_url_key(c->key)) {
        reference(c, t);
    } else if (is_media && (t->escaped || slice_find(t->raw, ':') != t->raw.len)) {
        reference(c, t); /* base64 knows no colon */
    } else if (slice_is(c->key, "type") && t->depth >= 3) {
        bool is_tool = c->section == SECTION_TOOLS && t->depth == 3;

        if (t->escaped || is_fetching_type(t->raw) || (is_tool && !is_callers_tool(t->raw)))
            c->out->points_outside = true;
    }
}

static enum err
on_value(struct scan *c, const struct jscan_token *t)
{
    if (t->depth == 1 && c->key.p != NULL) {
        enum err e = top_member(c, t);

        if (e != ERR_OK)
            return e;
    } else if (t->depth == 2 && c->section == SECTION_OPTIONS) {
        option_member(c, t);
    }
    if (c->quiet_depth == 0 && is_quiet(c, t))
        c->quiet_depth = t->depth + 1;
    if (c->quiet_depth == 0 && (t->type == JSCAN_STRING || t->type == JSCAN_ARRAY) &&
        is_stored_key(c->key))
        return refuse(c, "file_id", "files are not stored here: send the content");
    if (c->quiet_depth == 0 && t->type == JSCAN_STRING)
        on_string(c, t);
    if (t->type == JSCAN_ARRAY && c->url_depth == 0 && is_url_key(c->key))
        c->url_depth = t->depth + 1;
    if (t->type == JSCAN_ARRAY && c->media_depth == 0 && is_media_key(c->key))
        c->media_depth = t->depth + 1;
    if (c->url_depth == 0)
        c->key = SLICE_NONE;
    return ERR_OK;
}

static enum err
on_token(struct scan *c, const struct jscan_token *t)
{
    if (t->type == JSCAN_OBJECT_END || t->type == JSCAN_ARRAY_END) {
        on_end(c, t);
        return ERR_OK;
    }
    return t->type == JSCAN_KEY ? on_key(c, t) : on_value(c, t);
}

/* The key at a fault, when it is a plain name: what comes from a body goes into an answer. */
static const char *
doubled_key(struct slice body, const struct jscan *s, struct body_facts *out)
{
    struct slice key = slice_sub(body, s->at + 1, body.len);

    if (strcmp(s->why, JSCAN_DUPLICATE) != 0)
        return NULL;
    key = slice_sub(key, 0, slice_find(key, '"'));
    for (size_t i = 0; i < key.len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.", key.p[i]) ==
            NULL)
            return NULL;
    return slice_copy_str(key, out->doubled, sizeof(out->doubled)) ? out->doubled : NULL;
}

enum err
body_scan(struct slice body, struct jscan_keys *keys, const struct endpoint *endpoint,
          const struct charter_tenant *tenant, struct body_facts *out)
{
    struct scan c = {.tenant = tenant, .out = out};
    struct jscan_token t;
    bool first = true;
    enum err e;

    *out = (struct body_facts){.remote_host = SLICE_LIT(""), .stream = endpoint->stream_default};
    jscan_init(&c.s, body, keys);
    for (;;) {
        e = jscan_next(&c.s, &t);
        if (e != ERR_OK) {
            out->why = c.s.why;
            out->param = doubled_key(body, &c.s, out);
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
