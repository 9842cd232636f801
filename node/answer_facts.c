#include "node/answer_facts.h"

#include "base/text.h"

/*   VALUE -> (STRING | NUMBER | SKIP) -> NEXT -> NAME -> COLON -> VALUE ...
 *   END: the outermost object is closed, or these are no bytes of an object.
 */
enum phase {
    PHASE_VALUE,
    PHASE_STRING,
    PHASE_NUMBER, /* and true, false, null */
    PHASE_SKIP,   /* inside a container of no interest */
    PHASE_SKIP_STRING,
    PHASE_NEXT, /* behind a member's value */
    PHASE_MEMBER,
    PHASE_NAME,
    PHASE_COLON,
    PHASE_END,
};

static const struct {
    uint32_t level;     /* of the counts: 1 is the answer's object */
    const char *object; /* that holds them on level 2 */
    const char *prompt;
    const char *completion;
    bool is_early; /* the wrapper comes with the first event: only its prompt is a count */
} usages[] = {
    [USAGE_NONE] = {0, "", "", "", false},
    [USAGE_OPENAI] = {2, "usage", "prompt_tokens", "completion_tokens", false},
    [USAGE_INPUT_OUTPUT] = {2, "usage", "input_tokens", "output_tokens", false},
    [USAGE_MESSAGES] = {2, "usage", "input_tokens", "output_tokens", true},
    [USAGE_OLLAMA] = {1, "", "prompt_eval_count", "eval_count", false},
};

_Static_assert(sizeof(usages) / sizeof(usages[0]) == USAGE_COUNT, "a row for each");

#define MARK_TYPES_MAX 3
static const struct {
    const char *word;                  /* member of the outermost object that is true */
    const char *types[MARK_TYPES_MAX]; /* what its "type" may be */
} marks[] = {
    [END_NONE] = {"", {NULL}},
    [END_DONE] = {"", {NULL}}, /* no JSON: sse.h tells it */
    [END_RESPONSES] = {"", {"response.completed", "response.failed", "response.incomplete"}},
    [END_MESSAGES] = {"", {"message_stop"}},
    [END_OLLAMA] = {"done", {NULL}},
};

_Static_assert(sizeof(marks) / sizeof(marks[0]) == END_COUNT, "a row for each");

#define WORD "true"
#define WORD_LEN 4

void
answer_facts_init(struct answer_facts *f, const struct endpoint *endpoint,
                  enum endpoint_stream format)
{
    *f = (struct answer_facts){
        .usage = endpoint->usage, .prompt_tokens = -1, .completion_tokens = -1};
    if (format == STREAM_NONE || format != endpoint->stream)
        return;
    f->end = endpoint->end;
    f->wrapper = endpoint->wrapper;
}

void
answer_facts_begin(struct answer_facts *f)
{
    f->phase = PHASE_VALUE;
    f->level = 0;
    f->deep = 0;
    f->in_wrapper = f->marked = f->ends = false;
    f->escaped = false;
    f->taken = NULL;
    f->is_type = false;
}

struct slice
answer_text_slice(const struct answer_text *t)
{
    struct slice s = slice_of(t->bytes, t->len);

    /* A longer one is cut, and checked, by the record. */
    if (!t->has || t->len == 0 || (t->len <= RECORD_FOREIGN_MAX && !text_is_utf8(s)))
        return SLICE_NONE;
    return s;
}

static bool
is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
named(const struct answer_facts *f, const char *name)
{
    return f->name_len < ANSWER_NAME_MAX && slice_is(slice_of(f->name, f->name_len), name);
}

/* The level of the object that is read as the answer's. */
static uint32_t
answer_level(const struct answer_facts *f)
{
    return f->in_wrapper ? 2 : 1;
}

static bool
is_usage_level(const struct answer_facts *f)
{
    return f->level == answer_level(f) + usages[f->usage].level - 1;
}

static void
begin_string(struct answer_facts *f)
{
    f->phase = PHASE_STRING;
    f->taken = NULL;
    f->taken_ok = true;
    if (f->level == 1 && marks[f->end].types[0] != NULL && named(f, "type")) {
        f->is_type = true;
        f->name_len = 0;
        return;
    }
    if (f->level != answer_level(f))
        return;
    if (named(f, "model"))
        f->taken = &f->model;
    else if (named(f, "id"))
        f->taken = &f->response_id;
    if (f->taken == NULL || f->taken->has) {
        f->taken = NULL;
        return;
    }
    f->taken->len = 0;
}

static void
begin_object(struct answer_facts *f)
{
    bool is_wrapper = f->level == 1 && f->wrapper != NULL && named(f, f->wrapper);
    bool is_usage = f->level > 0 && f->level == answer_level(f) && usages[f->usage].level == 2 &&
                    named(f, usages[f->usage].object);

    if (f->level == 0 || is_wrapper || is_usage) {
        f->in_wrapper = f->in_wrapper || is_wrapper;
        f->level++;
        f->new_prompt = f->new_completion = -1;
        f->phase = PHASE_MEMBER;
    } else {
        f->deep = 1;
        f->phase = PHASE_SKIP;
    }
}

static void
begin_value(struct answer_facts *f, uint8_t c)
{
    if (is_space(c))
        return;
    if (c == '{') {
        begin_object(f);
    } else if (f->level == 0) {
        f->phase = PHASE_END;
    } else if (c == '"') {
        begin_string(f);
    } else if (c == '[') {
        f->deep = 1;
        f->phase = PHASE_SKIP;
    } else if (c >= '0' && c <= '9') {
        f->number = c - '0';
        f->matched = WORD_LEN + 1;
        f->phase = PHASE_NUMBER;
    } else if (c == '-' || (c >= 'a' && c <= 'z')) {
        f->number = -1;
        f->matched = c == (uint8_t)WORD[0] ? 1 : WORD_LEN + 1;
        f->phase = PHASE_NUMBER;
    } else {
        f->phase = PHASE_END;
    }
}

static void
end_object(struct answer_facts *f)
{
    bool counts = is_usage_level(f);

    /* A later event may bring only one of them (Anthropic's message_delta). */
    if (counts && f->new_prompt >= 0)
        f->prompt_tokens = f->new_prompt;
    if (counts && f->new_completion >= 0 && !(f->in_wrapper && usages[f->usage].is_early))
        f->completion_tokens = f->new_completion;
    f->level--;
    f->in_wrapper = f->in_wrapper && f->level > 1;
    f->ends = f->level == 0 && f->marked;
    f->phase = f->level == 0 ? PHASE_END : PHASE_NEXT;
}

/* Behind a value, or before the first member of an object. */
static void
next_member(struct answer_facts *f, uint8_t c)
{
    if (is_space(c))
        return;
    if (c == '}') {
        end_object(f);
    } else if (f->phase == PHASE_NEXT && c == ',') {
        f->phase = PHASE_MEMBER;
    } else if (f->phase == PHASE_MEMBER && c == '"') {
        f->name_len = 0;
        f->phase = PHASE_NAME;
    } else {
        f->phase = PHASE_END;
    }
}

static void
end_number(struct answer_facts *f, uint8_t c)
{
    if (f->level == 1 && f->matched == WORD_LEN && named(f, marks[f->end].word))
        f->marked = true;
    if (is_usage_level(f) && f->number >= 0) {
        if (named(f, usages[f->usage].prompt))
            f->new_prompt = f->number;
        else if (named(f, usages[f->usage].completion))
            f->new_completion = f->number;
    }
    f->phase = PHASE_NEXT;
    next_member(f, c);
}

static void
add_digit(struct answer_facts *f, uint8_t c)
{
    if (c >= '0' && c <= '9' && f->number >= 0) {
        f->number = f->number * 10 + (c - '0');
        if (f->number > INT32_MAX)
            f->number = -1;
    } else if (is_space(c) || c == ',' || c == '}') {
        end_number(f, c);
    } else {
        f->number = -1; /* a fraction, an exponent, a word: no count of tokens */
        f->matched =
            f->matched < WORD_LEN && c == (uint8_t)WORD[f->matched] ? f->matched + 1 : WORD_LEN + 1;
    }
}

static void
take_run(struct answer_facts *f, struct slice run)
{
    size_t room = f->taken == NULL ? 0 : sizeof(f->taken->bytes) - f->taken->len;
    size_t n = run.len < room ? run.len : room;

    if (n == 0)
        return;
    memcpy(f->taken->bytes + f->taken->len, run.p, n);
    f->taken->len += n;
}

static void
take_type(struct answer_facts *f, struct slice run)
{
    size_t room = ANSWER_NAME_MAX - f->name_len;
    size_t n = run.len < room ? run.len : room;

    if (n > 0)
        memcpy(f->name + f->name_len, run.p, n);
    f->name_len += n;
}

static void
end_string(struct answer_facts *f)
{
    for (size_t i = 0; f->is_type && f->taken_ok && i < MARK_TYPES_MAX; i++)
        if (marks[f->end].types[i] != NULL && named(f, marks[f->end].types[i]))
            f->marked = true;
    if (f->taken != NULL)
        f->taken->has = f->taken_ok;
    f->taken = NULL;
    f->is_type = false;
}

/* Bytes of a string: of a value, or inside a container that is skipped. */
static size_t
add_string(struct answer_facts *f, struct slice s, size_t at)
{
    size_t end = f->escaped ? at : slice_find_either(s, at, '"', '\\');

    if (f->is_type)
        take_type(f, slice_sub(s, at, end - at));
    else
        take_run(f, slice_sub(s, at, end - at));
    if (end == s.len)
        return end;
    if (f->escaped) {
        f->escaped = false;
    } else if (s.p[end] == '\\') {
        f->escaped = true;
        f->taken_ok = false;
    } else {
        end_string(f);
        f->phase = f->phase == PHASE_STRING ? PHASE_NEXT : PHASE_SKIP;
    }
    return end + 1;
}

static size_t
add_skipped(struct answer_facts *f, struct slice s, size_t at)
{
    for (; at < s.len; at++) {
        uint8_t c = s.p[at];

        if (c == '"') {
            f->phase = PHASE_SKIP_STRING;
            return at + 1;
        }
        if (c == '{' || c == '[')
            f->deep++;
        else if (c == '}' || c == ']')
            f->deep--;
        if (f->deep == 0) {
            f->phase = PHASE_NEXT;
            return at + 1;
        }
    }
    return at;
}

static void
add_name(struct answer_facts *f, uint8_t c)
{
    if (c == '"' && !f->escaped) {
        f->phase = PHASE_COLON;
        return;
    }
    f->escaped = c == '\\' && !f->escaped;
    /* A backslash in it makes it none of ours. */
    if (f->name_len < ANSWER_NAME_MAX)
        f->name[f->name_len++] = (char)c;
}

void
answer_facts_add(struct answer_facts *f, struct slice s)
{
    size_t at = 0;

    while (at < s.len) {
        switch ((enum phase)f->phase) {
        case PHASE_VALUE:
            begin_value(f, s.p[at++]);
            break;
        case PHASE_STRING:
        case PHASE_SKIP_STRING:
            at = add_string(f, s, at);
            break;
        case PHASE_NUMBER:
            add_digit(f, s.p[at++]);
            break;
        case PHASE_SKIP:
            at = add_skipped(f, s, at);
            break;
        case PHASE_NEXT:
        case PHASE_MEMBER:
            next_member(f, s.p[at++]);
            break;
        case PHASE_NAME:
            add_name(f, s.p[at++]);
            break;
        case PHASE_COLON:
            if (!is_space(s.p[at]))
                f->phase = s.p[at] == ':' ? PHASE_VALUE : PHASE_END;
            at++;
            break;
        case PHASE_END:
            return;
        }
    }
}
