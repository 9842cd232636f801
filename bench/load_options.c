/* What the load generator is told on its command line, and the files that it names. */
#include "load.h"

#include "base/file.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: bench_load --port N --body FILE [--path PATH] [--connections N] [--rate N]\n"
    "                  [--seconds S | --requests N] [--tokens FILE] [--zipf S]\n"
    "                  [--addresses FILE] [--cert PEM]";

static double
number(const char *name, const char *text, double min, double max)
{
    char *end = NULL;
    double v;

    errno = 0;
    v = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(v >= min && v <= max))
        errx(2, "--%s must be a number from %.0f to %.0f", name, min, max);
    return v;
}

static char *
whole(const char *path, size_t *len)
{
    char *content = NULL;
    enum err e = file_read(path, LOAD_FILE_MAX, &content, len);

    if (e != ERR_OK)
        errx(2, "%s: %s", path, err_text(e));
    return content;
}

static void
read_lines(const char *path, struct load_lines *out)
{
    size_t len = 0;
    size_t count = 0;
    struct slice rest;

    out->storage = whole(path, &len);
    for (size_t i = 0; i < len; i++)
        count += out->storage[i] == '\n';
    out->items = calloc(count + 1, sizeof(*out->items));
    if (out->items == NULL)
        errx(1, "no memory");
    rest = slice_of(out->storage, len);
    while (rest.len > 0) {
        struct slice line = slice_cut(&rest, '\n');

        if (line.len > 0)
            out->items[out->count++] = line;
    }
    if (out->count == 0)
        errx(2, "%s: no line in it", path);
}

enum option_row {
    OPTION_PORT = 1,
    OPTION_BODY,
    OPTION_PATH,
    OPTION_CONNECTIONS,
    OPTION_RATE,
    OPTION_SECONDS,
    OPTION_REQUESTS,
    OPTION_TOKENS,
    OPTION_ZIPF,
    OPTION_ADDRESSES,
    OPTION_CERT,
};

static const struct option rows[] = {
    {"port", required_argument, NULL, OPTION_PORT},
    {"body", required_argument, NULL, OPTION_BODY},
    {"path", required_argument, NULL, OPTION_PATH},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"requests", required_argument, NULL, OPTION_REQUESTS},
    {"tokens", required_argument, NULL, OPTION_TOKENS},
    {"zipf", required_argument, NULL, OPTION_ZIPF},
    {"addresses", required_argument, NULL, OPTION_ADDRESSES},
    {"cert", required_argument, NULL, OPTION_CERT},
    {NULL, 0, NULL, 0},
};

static void
take_option(int which, const char *value, struct load_options *o)
{
    switch (which) {
    case OPTION_PORT:
        o->port = (uint16_t)number("port", value, 1, UINT16_MAX);
        break;
    case OPTION_BODY:
        o->body = whole(value, &o->body_len);
        break;
    case OPTION_PATH:
        o->path = value;
        break;
    case OPTION_CONNECTIONS:
        o->connections = (uint32_t)number("connections", value, 1, LOAD_CONNECTIONS_MAX);
        break;
    case OPTION_RATE:
        o->rate = (uint32_t)number("rate", value, 1, LOAD_RATE_MAX);
        break;
    case OPTION_SECONDS:
        o->seconds = number("seconds", value, 0, LOAD_SECONDS_MAX);
        break;
    case OPTION_REQUESTS:
        o->requests = (uint64_t)number("requests", value, 1, 1e9);
        break;
    case OPTION_TOKENS:
        read_lines(value, &o->tokens);
        break;
    case OPTION_ZIPF:
        o->zipf = number("zipf", value, 0, 10);
        break;
    case OPTION_ADDRESSES:
        read_lines(value, &o->addresses);
        break;
    case OPTION_CERT:
        o->cert = value;
        break;
    default:
        errx(2, "%s", usage);
    }
}

void
load_options_read(int argc, char **argv, struct load_options *out)
{
    struct load_options o = {.path = "/v1/chat/completions", .connections = 64};
    int which;

    while ((which = getopt_long(argc, argv, "", rows, NULL)) != -1)
        take_option(which, optarg, &o);
    if (optind != argc || o.port == 0 || o.body == NULL)
        errx(2, "%s", usage);
    if ((o.seconds > 0) == (o.requests > 0))
        errx(2, "either --seconds or --requests");
    if (o.rate > 0 && o.seconds <= 0)
        errx(2, "--rate needs --seconds");
    *out = o;
}

static void
lines_free(struct load_lines *l)
{
    free(l->items);
    free(l->storage);
}

void
load_options_free(struct load_options *o)
{
    lines_free(&o->tokens);
    lines_free(&o->addresses);
    free(o->body);
}
