#include "health/metrics.h"

#define DIGITS_MAX 18

/* Behind the labels, if there are any; false when they do not end. Label values are quoted
 * and may hold braces. */
static bool
skip_labels(struct slice *line)
{
    bool quoted = false;

    if (line->len == 0 || line->p[0] != '{')
        return true;
    for (size_t i = 1; i < line->len; i++) {
        uint8_t c = line->p[i];

        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == '}' && !quoted) {
            *line = slice_sub(*line, i + 1, line->len);
            return true;
        }
    }
    return false;
}

static bool
is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static uint64_t
scaled(uint64_t digits, int64_t exponent)
{
    for (; exponent > 0 && digits < METRICS_MAX && digits != 0; exponent--)
        digits *= 10;
    for (; exponent < 0 && digits != 0; exponent++)
        digits /= 10;
    return digits < METRICS_MAX ? digits : METRICS_MAX;
}

/* A decimal number with optional fraction and exponent, in thousandths. */
static bool
read_milli(struct slice s, uint64_t *out)
{
    uint64_t digits = 0;
    uint64_t exponent = 0;
    int64_t scale = 3;
    size_t count = 0;
    size_t i = 0;
    bool fraction = false;

    for (; i < s.len && (is_digit(s.p[i]) || (s.p[i] == '.' && !fraction)); i++) {
        if (s.p[i] == '.') {
            fraction = true;
        } else if (count < DIGITS_MAX) {
            digits = digits * 10 + (uint64_t)(s.p[i] - '0');
            count += digits == 0 ? 0 : 1;
            scale -= fraction ? 1 : 0;
        } else {
            scale += fraction ? 0 : 1;
        }
    }
    if (i == 0 || (i == 1 && fraction))
        return false;
    if (i < s.len) {
        bool minus;

        if (s.p[i] != 'e' && s.p[i] != 'E')
            return false;
        i++;
        minus = i < s.len && s.p[i] == '-';
        if (i < s.len && (s.p[i] == '-' || s.p[i] == '+'))
            i++;
        if (!slice_u64(slice_sub(s, i, s.len), &exponent) || exponent > 400)
            return false;
        scale += minus ? -(int64_t)exponent : (int64_t)exponent;
    }
    *out = scaled(digits, scale);
    return true;
}

static bool
read_value(struct slice line, uint64_t *out)
{
    struct slice rest = slice_trim(line);
    struct slice value = slice_cut(&rest, ' '); /* a time stamp may follow */

    *out = 0;
    if (slice_is(value, "NaN") || slice_is(value, "-Inf") || (value.len > 1 && value.p[0] == '-'))
        return true;
    if (slice_is(value, "+Inf")) {
        *out = METRICS_MAX;
        return true;
    }
    return read_milli(value, out);
}

bool
metrics_find(struct slice page, struct slice name, struct metrics_gauge *out)
{
    struct metrics_gauge found = {0, 0};
    bool any = false;

    while (page.len > 0) {
        struct slice line = slice_cut(&page, '\n');
        uint64_t value;

        if (line.len > 0 && line.p[line.len - 1] == '\r')
            line.len--;
        if (!slice_starts(line, name))
            continue;
        line = slice_sub(line, name.len, line.len);
        if (line.len == 0 || (line.p[0] != '{' && line.p[0] != ' ' && line.p[0] != '\t'))
            continue; /* a longer name */
        if (!skip_labels(&line) || !read_value(line, &value))
            continue;
        any = true;
        found.sum_milli += value;
        if (found.sum_milli > METRICS_MAX)
            found.sum_milli = METRICS_MAX;
        if (value > found.max_milli)
            found.max_milli = value;
    }
    if (any)
        *out = found;
    return any;
}
