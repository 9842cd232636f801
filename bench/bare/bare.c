/* bench_bare: the bare relay as a process.
 *
 *     bench_bare LISTEN-PORT BACKEND-PORT CERT KEY CLIENT-CERT CLIENT-KEY CA
 *
 * Both ports on 127.0.0.1. Ends on SIGTERM. */
#include "bare/relay.h"
#include "base/file.h"
#include "base/text.h"
#include "crypto/memory.h"
#include "net/listener.h"
#include "net/tls_reuse.h"

#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define PEM_MAX (1u << 20)
#define POOL_BYTES (16u << 20)
#define LOCALHOST "127.0.0.1"

static uint16_t
port_of(const char *text)
{
    uint64_t port = 0;

    if (!slice_u64(slice_str(text), &port) || port == 0 || port > UINT16_MAX)
        errx(2, "%s: no port", text);
    return (uint16_t)port;
}

static struct slice
pem_of(const char *path)
{
    char *content = NULL;
    size_t len = 0;
    enum err e = file_read(path, PEM_MAX, &content, &len);

    if (e != ERR_OK)
        errx(2, "%s: %s", path, err_text(e));
    return slice_of(content, len);
}

static void
must(enum err e, const char *what)
{
    if (e != ERR_OK)
        errx(1, "%s: %s", what, err_text(e));
}

static void
make_tls(struct relay *r, char **files)
{
    struct slice cert = pem_of(files[0]);
    struct slice key = pem_of(files[1]);
    struct slice own_cert = pem_of(files[2]);
    struct slice own_key = pem_of(files[3]);
    struct slice ca = pem_of(files[4]);
    struct tls_server_opts server = {.cert_pem = cert, .key_pem = key};
    struct tls_client_opts client = {.cert_pem = own_cert,
                                     .key_pem = own_key,
                                     .ca_pem = ca,
                                     .host = LOCALHOST,
                                     .check_host = true};
    const char *why = "TLS";

    must(tls_server_new(&server, &r->server_tls, &why), why);
    must(tls_client_new(&client, &r->client_tls, &why), why);
    must(tls_reuse_new(&r->reuse), "memory");
    free((void *)(uintptr_t)cert.p);
    free((void *)(uintptr_t)key.p);
    free((void *)(uintptr_t)own_cert.p);
    free((void *)(uintptr_t)own_key.p);
    free((void *)(uintptr_t)ca.p);
}

static void
stop(void *context)
{
    loop_stop(context);
}

int
main(int argc, char **argv)
{
    struct relay r = {0};
    struct listener *listener = NULL;
    struct address at;
    int fd = -1;

    if (argc != 8)
        errx(2, "usage: bench_bare LISTEN-PORT BACKEND-PORT CERT KEY CLIENT-CERT CLIENT-KEY CA");
    must(crypto_memory_init(), "memory");
    must(address_parse(LOCALHOST, port_of(argv[1]), &at), "address");
    must(address_parse(LOCALHOST, port_of(argv[2]), &r.backend), "address");
    if (!text_format(r.host, sizeof(r.host), "%s:%u", LOCALHOST, port_of(argv[2])))
        errx(1, "host");
    make_tls(&r, argv + 3);
    must(egress_new(&r.guard), "memory");
    must(egress_allow(r.guard, &r.backend), "memory");
    must(loop_new(&r.loop), "loop");
    must(buf_pool_new(&r.pool, POOL_BYTES), "memory");
    must(loop_on_signal(r.loop, SIGTERM, stop, r.loop), "signal");
    must(listener_open(&at, &fd), "listen");
    must(listener_new(r.loop, fd, relay_accept, &r, &listener), "listen");
    loop_run(r.loop);
    listener_free(&listener);
    (void)close(fd);
    relay_end(&r);
    loop_free(&r.loop);
    buf_pool_free(&r.pool);
    tls_reuse_free(&r.reuse);
    tls_unref(&r.server_tls);
    tls_unref(&r.client_tls);
    egress_free(&r.guard);
    return 0;
}
