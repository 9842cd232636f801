#include "base/spare.h"

#include <stdlib.h>

struct spare_block {
    struct spare_block *next;
};

void *
spare_take(struct spare *s)
{
    struct spare_block *b = s->first;

    if (b == NULL)
        return NULL;
    s->first = b->next;
    s->count--;
    if (s->count < s->least)
        s->least = s->count;
    return b;
}

void
spare_put(struct spare *s, void *block)
{
    struct spare_block *b = block;

    b->next = s->first;
    s->first = b;
    s->count++;
}

size_t
spare_trim(struct spare *s)
{
    size_t beyond = s->count > s->floor ? s->count - s->floor : 0;
    size_t gone = s->least < beyond ? s->least : beyond;

    for (size_t i = 0; i < gone; i++)
        free(spare_take(s));
    s->least = s->count;
    return gone;
}

void
spare_free(struct spare *s)
{
    while (s->first != NULL)
        free(spare_take(s));
    s->least = 0;
}
