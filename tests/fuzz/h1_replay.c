#include "base/check.h"
#include "base/slice.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Runs a fuzz target of the HTTP/1 codec without libFuzzer: every seed, then mutations of
 * the seeds from a fixed generator, so that each `ctest` covers the properties and a
 * failure can be repeated. usage: h1_replay [rounds [seed]] */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUNDS 300000
#define MESSAGE_MAX 1024

static const char *const seeds[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "\r\nHEAD /a/../%2e?b=c HTTP/1.0\r\nHost: a:80\r\nConnection: keep-alive\r\n\r\n",
    "POST http://a/b?c HTTP/1.1\r\nHost: A\r\nContent-Length: 5\r\n\r\nhello",
    ("POST /v1/chat HTTP/1.1\r\nHost: [::1]:8\r\nTransfer-Encoding: chunked\r\n"
     "Connection: close, X-A\r\nX-A: \tb \r\n\r\n5;a=\"b c\"\r\nhello\r\n0\r\nT: u\r\n\r\n"),
    "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "OPTIONS / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nX-Empty:\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n00\r\n\r\n",
    "HTTP/1.0 200 \r\nServer: a\r\n\r\nto the end",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
};

static const char *const words[] = {
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ";",
    "=",
    "\"",
    "\\",
    ",",
    "0\r\n\r\n",
    "0x",
    "+5",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: a\r\n",
    "chunked",
    "Connection: close\r\n",
    "Connection: upgrade\r\n",
    "Connection: a, c\r\n",
    "Connection: x-portolan-class\r\n",
    "Keep-Alive: 5\r\n",
    "Upgrade: websocket\r\n",
    "HTTP/1.0",
    "HTTP/1.1",
    "Expect: 100-continue\r\n",
    "keep-alive",
    "a: b\r\n",
    "http://a/",
    "%2e",
    "/..",
    "Proxy-Connection: close\r\n",
    "Trailer: a\r\n",
    "ffffffffffffffff\r\n",
    "1;a=\"b\"\r\nx\r\n",
    "\xc3\xa9",
    "Transfer-Encoding: ",
    "Content-Length: ",
    "5\r\nhello\r\n",
    "0\r\nA: b\r\n\r\n",
};

static uint64_t
next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 11;
}

/* Replaces `gone` bytes at `at` by `with`, if the message stays within its room. */
static size_t
splice(uint8_t *message, size_t len, size_t at, size_t gone, struct slice with)
{
    if (gone > len - at)
        gone = len - at;
    if (len - gone + with.len > MESSAGE_MAX)
        return len;
    memmove(message + at + with.len, message + at + gone, len - at - gone);
    if (with.len > 0)
        memcpy(message + at, with.p, with.len);
    return len - gone + with.len;
}

static size_t
mutate(uint8_t *message, size_t len, uint64_t *state)
{
    size_t at = next(state) % (len + 1);
    uint8_t copy[16];
    size_t n;

    switch (next(state) % 5) {
    case 0: /* a word in */
        return splice(message, len, at, 0, slice_str(words[next(state) % ARRAY_COUNT(words)]));
    case 1: /* a word over */
        n = next(state) % 8;
        return splice(message, len, at, n, slice_str(words[next(state) % ARRAY_COUNT(words)]));
    case 2: /* a byte over */
        copy[0] = (uint8_t)next(state);
        return splice(message, len, at, 1, slice_of(copy, 1));
    case 3: /* some bytes out */
        return splice(message, len, at, next(state) % 8, SLICE_NONE);
    default: /* some bytes again, elsewhere */
        n = len - at < sizeof(copy) ? len - at : sizeof(copy);
        memcpy(copy, message + at, n);
        return splice(message, len, next(state) % (len + 1), 0, slice_of(copy, n));
    }
}

static void
run(uint8_t first, const uint8_t *message, size_t len)
{
    uint8_t *exact = malloc(len + 1); /* so that a byte read too far is seen */

    if (exact == NULL)
        abort();
    exact[0] = first;
    memcpy(exact + 1, message, len);
    (void)LLVMFuzzerTestOneInput(exact, len + 1);
    free(exact);
}

int
main(int argc, char **argv)
{
    uint64_t rounds = ROUNDS;
    uint64_t state = 0x9e3779b97f4a7c15;
    uint8_t message[MESSAGE_MAX];

    if (argc > 1 && !slice_u64(slice_str(argv[1]), &rounds))
        return 2;
    if (argc > 2 && (!slice_u64(slice_str(argv[2]), &state) || state == 0))
        return 2;
    printf("rounds=%" PRIu64 " seed=%" PRIu64 "\n", rounds, state);
    for (size_t i = 0; i < ARRAY_COUNT(seeds); i++)
        for (unsigned first = 0; first < 64; first++)
            run((uint8_t)first, (const uint8_t *)seeds[i], strlen(seeds[i]));
    for (uint64_t i = 0; i < rounds; i++) {
        struct slice seed = slice_str(seeds[next(&state) % ARRAY_COUNT(seeds)]);
        size_t len = splice(message, 0, 0, 0, seed);
        uint8_t first = (uint8_t)(next(&state) & 0x2f);

        if (seed.p[0] == 'H' && seed.p[1] == 'T')
            first |= 0x10;
        for (uint64_t n = next(&state) % 4; n > 0; n--)
            len = mutate(message, len, &state);
        run(first, message, len);
    }
    return 0;
}
