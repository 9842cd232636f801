#include "node/form.h"

#include "base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define TYPE SLICE_LIT("multipart/form-data; boundary=XX")
#define PART "--XX\r\nContent-Disposition: form-data; name="
#define FIELD(name, value) PART "\"" name "\"\r\n\r\n" value "\r\n"
#define FILE(name, value) PART "\"" name "\"; filename=\"a\"\r\n\r\n" value "\r\n"
#define END "--XX--\r\n"

static const char *hosts[] = {"files.acme.example"};
static const struct charter_tenant tenant = {.remote_hosts = hosts, .remote_host_count = 1};

static enum err
scan(const char *body, struct body_facts *f)
{
    static struct form form;

    return form_scan(&form, slice_str(body), TYPE, &tenant, f);
}

static void
test_facts(void **state)
{
    static const char body[] = FIELD("model", "small");
    static const char form[] =
        FILE("file", "sound") FIELD("model", "small") FIELD("stream", "True") END;
    struct body_facts f;

    (void)state;
    assert_int_equal(scan(form, &f), ERR_OK);
    assert_true(slice_is(f.model, "small"));
    assert_true(f.stream);
    assert_false(f.points_outside);
    assert_true(slice_is(slice_sub(slice_str(form), f.model_at, f.model_len), "small"));
    assert_true(f.model.p == (const uint8_t *)form + f.model_at);
    assert_int_equal(scan(body, &f), ERR_BADMSG);
    assert_string_equal(f.why, "the form ends early");
}

static void
test_refused(void **state)
{
    static const struct {
        const char *form;
        const char *param;
    } rows[] = {
        {FILE("file", "x") END, "model"},
        {FIELD("model", "") END, "model"},
        {FIELD("model", "a b") END, "model"},
        {FIELD("model", "a\r\n") END, "model"},
        {FILE("model", "small") END, "model"},
        {FIELD("Model", "small") END, "model"},
        {FIELD("model[]", "small") END, "model"},
        {FIELD("a[model]", "small") END, "model"},
        {FIELD("model", "a") FIELD("model", "a") END, "model"},
        {FIELD("model", "a") FIELD("MODEL", "b") END, "model"},
        {FIELD("model", "a") FIELD("stream", "1") END, "stream"},
        {FIELD("model", "a") FIELD("stream", "true") FIELD("stream", "false") END, "stream"},
        {FIELD("model", "a") FIELD("file_id", "f") END, "file_id"},
        {FIELD("model", "a") "x", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct body_facts f;

        if (scan(rows[i].form, &f) != ERR_BADMSG)
            fail_msg("row %zu is taken", i);
        assert_non_null(f.why);
        assert_int_equal(f.param == NULL, rows[i].param == NULL);
        if (f.param != NULL)
            assert_string_equal(f.param, rows[i].param);
    }
}

static void
test_references(void **state)
{
    static const struct {
        const char *part;
        bool outside;
        const char *host;
        bool streams; /* its name alone is none that may point elsewhere */
    } rows[] = {
        {FIELD("prompt", "see https://evil.example/"), false, "", true},
        {FIELD("image_url", "https://evil.example/a"), true, "evil.example", false},
        {FIELD("image_url", "https://files.acme.example/a"), false, "", false},
        {FIELD("image_url", "data:image/png;base64,AA=="), false, "", false},
        {FIELD("urls[]", "https://evil.example/a"), true, "evil.example", false},
        {FIELD("a[file_url]", "https://evil.example/a"), true, "evil.example", false},
        {FIELD("image[]", "https://evil.example/a"), true, "evil.example", false},
        {FIELD("image", "AAAA"), false, "", false},
        {FIELD("file", "file:///etc/passwd"), true, "", false},
        {FILE("file", "https://evil.example/"), false, "", true},
        {FILE("image[]", "https://evil.example/"), false, "", true},
        {FIELD("known_speaker_references[]", "https://evil.example/"), true, "evil.example", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        static struct form form;
        struct body_facts f;
        char body[1024];
        size_t used = 0;
        struct slice content;
        enum multipart_event event;

        assert_true(
            text_format(body, sizeof(body), "%s%s%s", rows[i].part, FIELD("model", "small"), END));
        if (scan(body, &f) != ERR_OK || f.points_outside != rows[i].outside)
            fail_msg("row %zu: %s", i, rows[i].part);
        assert_true(slice_is(f.remote_host, rows[i].host));
        form_init(&form, true, &tenant, &f);
        assert_int_equal(form_type(&form, TYPE), ERR_OK);
        assert_int_equal(multipart_read(&form.parser, slice_str(body), &event, &content, &used),
                         ERR_OK);
        assert_int_equal(event, MULTIPART_PART);
        if ((form_judge(&form, event, content) == FORM_OK) != rows[i].streams)
            fail_msg("row %zu, streaming: %s", i, rows[i].part);
    }
}

/* A value longer than what is kept names no host that could be told. */
static void
test_long_values(void **state)
{
    static char body[4096];
    char pad[FORM_VALUE_MAX + 1];
    struct body_facts f;

    (void)state;
    memset(pad, 'a', sizeof(pad));
    pad[FORM_VALUE_MAX] = '\0';
    assert_true(text_format(body, sizeof(body), "%shttps://files.acme.example/%s\r\n%s%s",
                            PART "\"url\"\r\n\r\n", pad, FIELD("model", "small"), END));
    assert_int_equal(scan(body, &f), ERR_OK);
    assert_true(f.points_outside);
    assert_true(text_format(body, sizeof(body), "%sdata:image/png;base64,%s\r\n%s%s",
                            PART "\"url\"\r\n\r\n", pad, FIELD("model", "small"), END));
    assert_int_equal(scan(body, &f), ERR_OK);
    assert_false(f.points_outside);
    for (int over = 0; over < 2; over++) {
        pad[CHARTER_MODEL_MAX + over] = '\0';
        assert_true(
            text_format(body, sizeof(body), "%s%s\r\n%s", PART "\"model\"\r\n\r\n", pad, END));
        assert_int_equal(scan(body, &f), over == 0 ? ERR_OK : ERR_BADMSG);
        pad[CHARTER_MODEL_MAX + over] = 'a';
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_long_values),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
