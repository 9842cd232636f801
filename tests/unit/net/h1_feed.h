#ifndef TESTS_UNIT_NET_H1_FEED_H
#define TESTS_UNIT_NET_H1_FEED_H

#include "net/h1.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Feeds one message to the codec whole and in slices, and insists on one result. */

#define FEED_CUT_MAX 16
#define FEED_EXACT_MAX 2048 /* longer messages grow in place: moving them would be quadratic */

struct feed {
    enum err e;
    enum h1_fault fault;
    size_t head_len;
    size_t fed; /* bytes handed in when the verdict came */
    struct h1_head head;
    uint8_t *block; /* what the head's slices point into; free it */
};

static inline uint8_t *
feed_block(struct slice data)
{
    uint8_t *block = malloc(data.len + 1);

    assert_non_null(block);
    if (data.len > 0)
        memcpy(block, data.p, data.len);
    return block;
}

/* cut 0: all at once. Small messages move to a block of exactly their size before each
 * call, so that an offset kept as a pointer, or a byte read too far, is seen. */
static inline void
feed_head(struct h1_parser init, struct slice data, size_t cut, struct feed *out)
{
    struct h1_parser p = init;
    bool moves = data.len <= FEED_EXACT_MAX;
    size_t n = 0;

    out->block = moves ? NULL : feed_block(data);
    do {
        n = cut == 0 || data.len - n < cut ? data.len : n + cut;
        if (moves) {
            free(out->block);
            out->block = realloc(feed_block(slice_sub(data, 0, n)), n == 0 ? 1 : n);
            assert_non_null(out->block);
        }
        out->e = h1_parse_head(&p, slice_of(out->block, n), &out->head, &out->head_len);
    } while (out->e == ERR_AGAIN && n < data.len);
    out->fed = n;
    out->fault = p.fault;
    if (out->e == ERR_BADMSG) /* a refusal stays one */
        assert_int_equal(ERR_BADMSG,
                         h1_parse_head(&p, slice_of(out->block, n), &out->head, &out->head_len));
}

static inline void
feed_same_slice(struct slice a, const uint8_t *base_a, struct slice b, const uint8_t *base_b)
{
    assert_int_equal(a.len, b.len);
    if (a.len > 0)
        assert_int_equal(a.p - base_a, b.p - base_b);
    assert_int_equal(a.p == NULL, b.p == NULL);
}

static inline void
feed_same_head(const struct feed *a, const struct feed *b)
{
    assert_int_equal(a->head_len, b->head_len);
    assert_int_equal(a->head.http.method, b->head.http.method);
    assert_int_equal(a->head.http.status, b->head.http.status);
    assert_int_equal(a->head.is_1_0, b->head.is_1_0);
    assert_int_equal(a->head.keep_alive, b->head.keep_alive);
    assert_int_equal(a->head.http.has_body, b->head.http.has_body);
    assert_int_equal(a->head.http.body_length, b->head.http.body_length);
    assert_int_equal(a->head.http.expect_continue, b->head.http.expect_continue);
    assert_int_equal(a->head.framing, b->head.framing);
    assert_int_equal(a->head.content_length, b->head.content_length);
    feed_same_slice(a->head.target, a->block, b->head.target, b->block);
    feed_same_slice(a->head.http.path, a->block, b->head.http.path, b->block);
    feed_same_slice(a->head.http.query, a->block, b->head.http.query, b->block);
    feed_same_slice(a->head.http.authority, a->block, b->head.http.authority, b->block);
    assert_int_equal(a->head.http.field_count, b->head.http.field_count);
    for (size_t i = 0; i < a->head.http.field_count; i++) {
        feed_same_slice(a->head.http.fields[i].name, a->block, b->head.http.fields[i].name,
                        b->block);
        feed_same_slice(a->head.http.fields[i].value, a->block, b->head.http.fields[i].value,
                        b->block);
    }
}

/* One result for every slicing; *out is that of the whole, to be freed by the caller. */
static inline void
feed_all(struct h1_parser init, struct slice data, struct feed *out)
{
    feed_head(init, data, 0, out);
    for (size_t cut = 1; cut <= FEED_CUT_MAX; cut++) {
        struct feed sliced = {0};

        feed_head(init, data, cut, &sliced);
        assert_int_equal(out->e, sliced.e);
        assert_int_equal(out->fault, sliced.fault);
        if (out->e == ERR_OK)
            feed_same_head(out, &sliced);
        free(sliced.block);
    }
}

struct feed_case {
    const char *name;
    const char *text;
    size_t len;
    enum h1_fault fault; /* H1_FAULT_NONE: must be accepted */
};
#define FEED(name, text, fault)             \
    {                                       \
        name, text, sizeof(text) - 1, fault \
    }

static inline void
feed_cases(struct h1_parser init, const struct feed_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct feed out = {0};
        enum err want = cases[i].fault == H1_FAULT_NONE ? ERR_OK : ERR_BADMSG;

        feed_all(init, slice_of(cases[i].text, cases[i].len), &out);
        if (out.e != want || out.fault != cases[i].fault)
            fail_msg("%s: %s, %s", cases[i].name, err_text(out.e), h1_fault_text(out.fault));
        free(out.block);
    }
}

/* The fields that are left must have these names, in this order; NULL ends them. */
static inline void
feed_names(const struct http_head *head, const char *const *names)
{
    size_t count = 0;

    for (; names[count] != NULL; count++) {
        if (count >= head->field_count || !slice_is(head->fields[count].name, names[count]))
            fail_msg("field %zu is not %s", count, names[count]);
    }
    assert_int_equal(count, head->field_count);
}

/* What Connection must not take off a message: all that the program reads (law 5). */
static const char *const feed_reserved[] = {
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Authorization",
    "Expect",
    "X-Api-Key",
    "X-Portolan-Class",
    "X-Forwarded-For",
    "Forwarded",
    "Content-Type",
    "Content-Encoding",
    "Anthropic-Version",
    "Retry-After",
    "Residency-Attestation",
    "Residency-Commitment-Key",
    "residency-",
};

static inline struct h1_parser
feed_role(enum h1_role role)
{
    struct h1_parser p;

    h1_parser_init(&p, role);
    return p;
}

/* Growing text for messages at a limit; gives, with room for size bytes. */
static inline struct text
feed_text(size_t size)
{
    struct text t;
    void *storage = malloc(size);

    assert_non_null(storage);
    text_init(&t, storage, size);
    return t;
}

static inline void
feed_fill(struct text *t, char c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        text_add_char(t, c);
}

/* The fault of t for every slicing; frees t. */
static inline enum h1_fault
feed_fault_of(enum h1_role role, struct text *t)
{
    struct feed out = {0};
    enum h1_fault fault;

    assert_true(text_ok(t));
    feed_all(feed_role(role), text_slice(t), &out);
    assert_int_not_equal(ERR_AGAIN, out.e);
    fault = out.fault;
    free(out.block);
    free(t->p);
    return fault;
}

/* Each reserved name, nominated alone and behind another option, in two spellings. */
static inline void
feed_nominations(enum h1_role role, const char *start)
{
    for (size_t i = 0; i < ARRAY_COUNT(feed_reserved); i++)
        for (int way = 0; way < 3; way++) {
            struct text t = feed_text(512);
            size_t at;

            text_add_str(&t, start);
            text_add_str(&t, way == 1 ? "Connection: close, " : "Connection: ");
            at = t.used;
            text_add_str(&t, feed_reserved[i]);
            for (; way == 2 && at < t.used; at++)
                if (t.p[at] >= 'a' && t.p[at] <= 'z')
                    t.p[at] = (uint8_t)(t.p[at] - 'a' + 'A');
            text_add_str(&t, "\r\n\r\n");
            if (feed_fault_of(role, &t) != H1_FAULT_CONNECTION)
                fail_msg("%s may be nominated", feed_reserved[i]);
        }
}

#endif
