#ifndef BENCH_BARE_MESSAGE_H
#define BENCH_BARE_MESSAGE_H

#include "base/text.h"
#include "net/conn.h"
#include "net/h1.h"

#include <stdbool.h>

#define MESSAGE_HIGH_WATER 262144 /* unsent bytes of one side before the other is not read */

/* The fields that go end to end; Host and framing are the writer's own. */
void message_add_fields(const struct h1_head *head, struct text *out);
/* The framing field and the head's end. *rechunk: the body goes out in chunks. */
void message_add_framing(const struct h1_head *head, bool *rechunk, struct text *out);
bool message_write_text(struct conn *to, const struct text *t);

enum message_pump { PUMP_MORE, PUMP_DONE, PUMP_FAILED };
/* The body that arrived on one side, to the other; pauses above the high-water mark. */
enum message_pump message_pump(struct h1_body *body, struct conn *from, struct conn *to,
                               bool rechunk);

#endif
