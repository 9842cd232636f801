#include "net/multipart.h"

#include "base/check.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TYPE "multipart/form-data; boundary=XX"
#define PART(name) "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define FILE_PART(name)                                                         \
    "Content-Disposition: form-data; name=\"" name "\"; filename=\"a.wav\"\r\n" \
    "Content-Type: audio/wav\r\n\r\n"

/* What a form is read as: "<name>[content]", "<name>(content)" for a file, "." at the end, or
 * "!" and the fault; and the bytes as they are passed on. */
struct read {
    struct text facts;
    struct text again;
    enum err e;
    uint8_t facts_bytes[65536];
    uint8_t again_bytes[65536];
};

static void
note(struct read *r, const struct multipart *m, enum multipart_event event, struct slice content)
{
    struct multipart_part part = multipart_part(m);
    struct slice delimiter;
    struct slice head;

    switch (event) {
    case MULTIPART_PART:
        text_add(&r->facts, part.name);
        text_add_char(&r->facts, part.is_file ? '(' : '[');
        multipart_opening(m, &delimiter, &head);
        text_add(&r->again, delimiter);
        text_add_str(&r->again, "\r\n");
        text_add(&r->again, head);
        break;
    case MULTIPART_CONTENT:
        assert_true(content.len > 0);
        text_add(&r->facts, content);
        text_add(&r->again, content);
        break;
    case MULTIPART_PART_END:
        text_add_char(&r->facts, part.is_file ? ')' : ']');
        break;
    case MULTIPART_END:
        text_add_char(&r->facts, '.');
        text_add(&r->again, multipart_closing(m));
        text_add_str(&r->again, "--");
        break;
    }
}

static void
feed(struct read *r, struct multipart *m, struct slice data)
{
    while (r->e == ERR_OK && data.len > 0) {
        enum multipart_event event;
        struct slice content;
        size_t used = 0;

        r->e = multipart_read(m, data, &event, &content, &used);
        assert_true(used <= data.len);
        if (r->e == ERR_AGAIN)
            assert_int_equal(used, data.len);
        if (r->e == ERR_OK)
            note(r, m, event, content);
        data = slice_sub(data, used, data.len);
    }
    if (r->e == ERR_AGAIN)
        r->e = ERR_OK;
}

/* first bytes, then the rest in slices of cut. */
static void
read_form(struct read *r, struct slice form, size_t first, size_t cut)
{
    static struct multipart m;

    text_init(&r->facts, r->facts_bytes, sizeof(r->facts_bytes));
    text_init(&r->again, r->again_bytes, sizeof(r->again_bytes));
    r->e = multipart_init(&m, SLICE_LIT(TYPE));
    assert_int_equal(r->e, ERR_OK);
    feed(r, &m, slice_sub(form, 0, first));
    for (size_t at = first; at < form.len && r->e == ERR_OK; at += cut)
        feed(r, &m, slice_sub(form, at, cut));
    if (r->e == ERR_OK)
        r->e = multipart_finish(&m);
    if (r->e != ERR_OK) {
        text_add_char(&r->facts, '!');
        text_add_str(&r->facts, multipart_fault_text(m.fault));
    }
    assert_true(text_ok(&r->facts) && text_ok(&r->again));
}

/* The same facts in every way to cut the form in two, and in pieces of 1 to 7 bytes. */
static void
expect(const char *form, const char *facts)
{
    static struct read r;
    struct slice bytes = slice_str(form);
    size_t body = bytes.len;

    if (body >= 2 && memcmp(form + body - 2, "\r\n", 2) == 0)
        body -= 2; /* what may follow the end is the reader's own to add */
    for (size_t first = 0; first <= bytes.len; first++)
        for (size_t cut = 1; cut <= (first == 0 ? 7 : 1); cut++) {
            read_form(&r, bytes, first, first == 0 ? cut : bytes.len);
            if (!slice_is(text_slice(&r.facts), facts))
                fail_msg("%s: cut at %zu and %zu: %.*s", form, first, cut,
                         SLICE_ARG(text_slice(&r.facts)));
            if (r.e == ERR_OK)
                assert_true(slice_eq(text_slice(&r.again), slice_sub(bytes, 0, body)));
        }
}

static void
test_parts(void **state)
{
    (void)state;
    expect("--XX\r\n" PART("model") "small\r\n--XX--\r\n", "model[small].");
    expect("--XX\r\n" PART("model") "small\r\n--XX--", "model[small].");
    expect("--XX\r\n" PART("a") "\r\n--XX\r\n" FILE_PART("b") "\r\n--XX--\r\n", "a[]b().");
    expect("--XX\r\n" PART("a") "1\r\n--XX\r\n" PART("a") "2\r\n--XX--\r\n", "a[1]a[2].");
    /* What looks like a delimiter and is none. */
    expect("--XX\r\n" FILE_PART("f") "\r\r\n\r\n-\r\n--\r\n--X\r\nXX--XX\n--XX\r\r\n--XX--\r\n",
           "f(\r\r\n\r\n-\r\n--\r\n--X\r\nXX--XX\n--XX\r).");
    expect("--XX\r\ncontent-disposition:form-data;name=a;filename=\"\"\r\n\r\nx\r\n--XX--\r\n",
           "a(x).");
    expect("--XX\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\nContent-Length: "
           "1\r\n" PART("a") "x\r\n--XX--\r\n",
           "a[x].");
}

static void
test_refused(void **state)
{
    static const struct {
        const char *form;
        const char *facts;
    } rows[] = {
        {"", "!the form ends early"},
        {"--XX", "!the form ends early"},
        {"--XX\r\n" PART("a") "x", "a[x!the form ends early"},
        {"--XX\r\n" PART("a") "x\r\n--XX", "a[x]!the form ends early"},
        {"--XX\r\n" PART("a") "x\r\n--XX-", "a[x]!the form ends early"},
        {"--XX\r\n" PART("a") "x\r\n--XX--\r", "a[x].!the form ends early"},
        {"\r\n--XX\r\n" PART("a") "x\r\n--XX--", "!the form does not begin with its boundary"},
        {"hello\r\n--XX\r\n", "!the form does not begin with its boundary"},
        {"--XX--\r\n", "!malformed line behind a boundary"},
        {"--XX \r\n" PART("a") "x\r\n--XX--", "!malformed line behind a boundary"},
        {"--XX\n" PART("a") "x\r\n--XX--", "!malformed line behind a boundary"},
        {"--XX\r\n" PART("a") "x\r\n--XXX\r\n", "a[x]!malformed line behind a boundary"},
        {"--XX\r\n" PART("a") "x\r\n--XX--\r\nmore", "a[x].!bytes behind the form's end"},
        {"--XX\r\n" PART("a") "x\r\n--XX--more", "a[x].!bytes behind the form's end"},
        {"--XX\r\n\r\nx", "!a part has not exactly one form-data disposition"},
        {"--XX\r\nContent-Type: a/b\r\n\r\nx", "!a part has not exactly one form-data disposition"},
        {"--XX\r\n" PART("%6dodel"), "!a part's name is missing, malformed or too long"},
        {"--XX\r\n" PART(""), "!a part's name is missing, malformed or too long"},
        {"--XX\r\n" PART("model "), "!a part's name is missing, malformed or too long"},
        {"--XX\r\n" PART("m\xc3\xb6"), "!a part's name is missing, malformed or too long"},
        {"--XX\r\nContent-Disposition: form-data\r\n\r\n",
         "!a part's name is missing, malformed or too long"},
        {"--XX\r\n" PART("a\\\"b"), "!a part has not exactly one form-data disposition"},
        {"--XX\r\n" PART("a\"; name=\"b"), "!a part has not exactly one form-data disposition"},
        {"--XX\r\n" PART("a\"; name*=\"utf-8''b"),
         "!a part has not exactly one form-data disposition"},
        {"--XX\r\n" PART("a\"; filename=\"x\"; filename=\"y"),
         "!a part has not exactly one form-data disposition"},
        {"--XX\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\n",
         "!a part has not exactly one form-data disposition"},
        {"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n" PART("b"),
         "!a part has not exactly one form-data disposition"},
        {"--XX\r\nX-Model: a\r\n" PART("b"), "!a part has a header that a form does not take"},
        {"--XX\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n" PART("b"),
         "!a part has a header that a form does not take"},
        {"--XX\r\nContent-Transfer-Encoding: base64\r\n" PART("b"), "!a part has an encoding"},
        {"--XX\r\nContent-Type: multipart/mixed; boundary=Y\r\n" PART("b"),
         "!a part has an encoding"},
        {"--XX\r\nContent-Length: 2\r\n" PART("a") "x\r\n--XX--",
         "a[x!a part has another length than its header says"},
        {"--XX\r\nContent-Length: x\r\n" PART("a"),
         "!a part has another length than its header says"},
        {"--XX\r\nContent-Type: a\n/b\r\n" PART("a"), "!malformed header of a part"},
        {"--XX\r\nContent-Type: a\r/b\r\n" PART("a"), "!malformed header of a part"},
        {"--XX\r\nContent-Type: a/b;\r\n x=y\r\n" PART("a"), "!malformed header of a part"},
        {"--XX\r\nContent-Type : a/b\r\n" PART("a"), "!malformed header of a part"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        expect(rows[i].form, rows[i].facts);
}

static void
test_types(void **state)
{
    static const struct {
        const char *type;
        const char *boundary; /* NULL: refused */
    } rows[] = {
        {"multipart/form-data; boundary=a", "a"},
        {"Multipart/Form-Data;BOUNDARY=\"a b\"", "a b"},
        {"multipart/form-data; charset=utf-8; boundary=----WebKit1", "----WebKit1"},
        {"multipart/form-data; boundary=\"'()+_,-./:=?0\"", "'()+_,-./:=?0"},
        {"multipart/form-data", NULL},
        {"multipart/form-data; boundary=", NULL},
        {"multipart/form-data; boundary=\"\"", NULL},
        {"multipart/form-data; boundary=a; boundary=a", NULL},
        {"multipart/form-data; boundary=a; x=y", NULL},
        {"multipart/form-data; boundary=a;", NULL},
        {"multipart/form-data; boundary=\"a \"", NULL},
        {"multipart/form-data; boundary=\"a\\b\"", NULL},
        {"multipart/form-data; boundary=a*b", NULL},
        {"multipart/form-data; boundary=a b", NULL},
        {"multipart/mixed; boundary=a", NULL},
        {"application/json", NULL},
        {"", NULL},
    };
    static struct multipart m;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        enum err e = multipart_init(&m, slice_str(rows[i].type));

        if ((e == ERR_OK) != (rows[i].boundary != NULL))
            fail_msg("%s", rows[i].type);
        if (e == ERR_OK)
            assert_true(slice_is(multipart_boundary(&m), rows[i].boundary));
        else
            assert_int_equal(m.fault, MULTIPART_FAULT_TYPE);
    }
}

/* A text of n times the byte c behind a prefix. */
static enum multipart_fault
fault_with(const char *prefix, char c, size_t n, const char *rest)
{
    static char form[32768];
    static struct read r;
    static struct multipart m;
    size_t at = strlen(prefix);

    memcpy(form, prefix, at);
    memset(form + at, c, n);
    memcpy(form + at + n, rest, strlen(rest) + 1);
    text_init(&r.facts, r.facts_bytes, sizeof(r.facts_bytes));
    text_init(&r.again, r.again_bytes, sizeof(r.again_bytes));
    r.e = multipart_init(&m, SLICE_LIT(TYPE));
    feed(&r, &m, slice_str(form));
    return m.fault;
}

static void
test_maxima(void **state)
{
    static const char type[] = "--XX\r\nContent-Type: ";
    static const char rest[] = "\r\n" PART("a") "x\r\n--XX--\r\n";
    size_t head = strlen("Content-Type: ") + 2 + strlen(PART("a"));
    static char many[65 * 80];
    static struct multipart m;
    static struct read r;
    char boundary[128];
    struct text t;

    (void)state;
    assert_int_equal(fault_with(type, 'a', MULTIPART_HEAD_MAX - head, rest), MULTIPART_FAULT_NONE);
    assert_int_equal(fault_with(type, 'a', MULTIPART_HEAD_MAX - head + 1, rest),
                     MULTIPART_FAULT_HEAD_SIZE);
    assert_int_equal(fault_with("--XX\r\nContent-Disposition: form-data; name=\"", 'a',
                                MULTIPART_NAME_MAX, "\"\r\n\r\nx\r\n--XX--\r\n"),
                     MULTIPART_FAULT_NONE);
    assert_int_equal(fault_with("--XX\r\nContent-Disposition: form-data; name=\"", 'a',
                                MULTIPART_NAME_MAX + 1, "\"\r\n\r\nx\r\n--XX--\r\n"),
                     MULTIPART_FAULT_NAME);
    for (size_t extra = 0; extra < 2; extra++) {
        text_init(&t, many, sizeof(many));
        for (size_t i = 0; i < MULTIPART_PARTS_MAX + extra; i++)
            text_add_str(&t, i == 0 ? "--XX\r\n" PART("a") : "\r\n--XX\r\n" PART("a"));
        text_add_str(&t, "\r\n--XX--\r\n");
        assert_true(text_ok(&t));
        read_form(&r, text_slice(&t), 0, 100);
        assert_int_equal(r.e, extra == 0 ? ERR_OK : ERR_BADMSG);
        text_init(&t, boundary, sizeof(boundary));
        text_add_str(&t, "multipart/form-data; boundary=");
        for (size_t i = 0; i < MULTIPART_BOUNDARY_MAX + extra; i++)
            text_add_char(&t, 'b');
        assert_int_equal(multipart_init(&m, text_slice(&t)), extra == 0 ? ERR_OK : ERR_BADMSG);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_maxima),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
