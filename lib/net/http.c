#include "net/http.h"

#include "base/check.h"

const char *
http_method_name(enum http_method method)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",       [HTTP_HEAD] = "HEAD",       [HTTP_POST] = "POST",
        [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
    };
    _Static_assert(ARRAY_COUNT(names) == HTTP_METHOD_COUNT, "a name for each");

    ASSERT((size_t)method < ARRAY_COUNT(names));
    return names[method];
}

const struct http_field *
http_field_find(const struct http_head *head, struct slice name)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (slice_eq_nocase(head->fields[i].name, name))
            return &head->fields[i];
    return NULL;
}

size_t
http_field_count(const struct http_head *head, struct slice name)
{
    size_t count = 0;

    for (size_t i = 0; i < head->field_count; i++)
        if (slice_eq_nocase(head->fields[i].name, name))
            count++;
    return count;
}

void
http_fields_init(struct http_fields *f, void *storage, size_t size)
{
    f->count = 0;
    f->composed = 0;
    f->overflowed = false;
    text_init(&f->text, storage, size); /* the list is written as far as it is counted */
}

bool
http_fields_ok(const struct http_fields *f)
{
    return !f->overflowed && text_ok(&f->text);
}

void
http_fields_add(struct http_fields *f, struct slice name, struct slice value)
{
    if (f->count == HTTP_FIELDS_OWN_MAX) {
        f->overflowed = true;
        return;
    }
    f->list[f->count++] = (struct http_field){name, value};
}

void
http_fields_add_text(struct http_fields *f, struct slice name)
{
    size_t from = f->composed;

    ASSERT(f->text.p != NULL);
    f->composed = f->text.used;
    http_fields_add(f, name, slice_of(f->text.p + from, f->text.used - from));
}

void
http_fields_add_u64(struct http_fields *f, struct slice name, uint64_t value)
{
    text_add_u64(&f->text, value);
    http_fields_add_text(f, name);
}
