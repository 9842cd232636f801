#include "net/conn.h"

#include "crypto/hash.h"
#include "net/tls_priv.h"
#include "net/tls_reuse.h"
#include "unit/net/scene.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

/* Two ends on one loop, over a real socket on loopback: `a` connected, `b` was accepted. */

#define BIG (3u << 20)
#define IN_MAX 65536
#define MARK 200000

struct end {
    struct conn *conn;
    unsigned seen;
    size_t got;
    uint64_t sum; /* of what came, in order */
    bool keep;    /* leaves what comes in the buffer */
    enum err why;
};

struct play {
    struct scene scene;
    struct listener *listener;
    struct address address;
    int fd;
    bool tls;
    bool wrong_pin;
    struct tls *server_tls, *client_tls;
    struct tls_reuse *reuse;
    struct end a, b;
    size_t a_in_max;
    bool a_tell_left;
    uint32_t turns;
    size_t to_write;
    size_t written;
    uint64_t written_sum;
    struct mono mark;
};

static uint64_t
add_up(uint64_t sum, struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        sum = sum * 31 + s.p[i];
    return sum;
}

static void
on_event(void *owner, struct conn *conn, unsigned events)
{
    struct end *e = owner;

    e->seen |= events;
    if ((events & CONN_DATA) != 0 && !e->keep) {
        struct slice in = buf_slice(conn_in(conn));

        e->sum = add_up(e->sum, in);
        e->got += in.len;
        conn_consume(conn, in.len);
    }
    if ((events & CONN_FAILED) != 0) {
        e->why = conn_error(conn);
        conn_abort(conn);
        e->conn = NULL;
    }
}

static void
on_accept(void *context, int fd)
{
    struct play *p = context;
    struct conn_opts opts = {.loop = p->scene.loop,
                             .pool = p->scene.pool,
                             .tls = p->server_tls,
                             .fn = on_event,
                             .owner = &p->b,
                             .in_max = IN_MAX,
                             .out_max = BIG};

    assert_int_equal(conn_accepted(&opts, fd, &p->b.conn), ERR_OK);
    if (!p->tls)
        p->b.seen |= CONN_OPENED;
}

static struct slice
pem_of(BIO *bio, char *storage, size_t size)
{
    int n = BIO_read(bio, storage, (int)size);

    BIO_free(bio);
    assert_true(n > 0);
    return slice_of(storage, (size_t)n);
}

/* A fresh self-signed certificate, pinned by its public key. */
static void
make_tls(struct play *p)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    BIO *cert_bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new(BIO_s_mem());
    char cert_pem[4096];
    char key_pem[4096];
    unsigned char *der = NULL;
    uint8_t pin[HASH_SIZE];
    struct tls_server_opts server = {.client_auth = TLS_CLIENT_NONE};
    struct tls_client_opts client = {.spki_sha256 = pin, .host = "model.internal"};
    const char *why = "";
    int len;

    assert_non_null(key);
    assert_non_null(cert);
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 7), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), -60));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(cert_bio, cert), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL), 1);
    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    assert_true(len > 0);
    hash_sha256(slice_of(der, (size_t)len), pin);
    pin[0] ^= p->wrong_pin ? 1 : 0;
    OPENSSL_free(der);
    server.cert_pem = pem_of(cert_bio, cert_pem, sizeof(cert_pem));
    server.key_pem = pem_of(key_bio, key_pem, sizeof(key_pem));
    assert_int_equal(tls_server_new(&server, &p->server_tls, &why), ERR_OK);
    assert_int_equal(tls_client_new(&client, &p->client_tls, &why), ERR_OK);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void
play_open(struct play *p, bool tls, bool wrong_pin)
{
    memset(p, 0, sizeof(*p));
    p->tls = tls;
    p->wrong_pin = wrong_pin;
    p->a_in_max = IN_MAX;
    scene_open(&p->scene);
    if (tls)
        make_tls(p);
    assert_int_equal(address_parse("127.0.0.1", 0, &p->address), ERR_OK);
    assert_int_equal(listener_open(&p->address, &p->fd), ERR_OK);
    p->address.len = sizeof(p->address.storage);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)&p->address.storage, &p->address.len),
                     0);
    assert_int_equal(egress_allow(p->scene.guard, &p->address), ERR_OK);
    assert_int_equal(listener_new(p->scene.loop, p->fd, on_accept, p, &p->listener), ERR_OK);
}

static void
play_close(struct play *p)
{
    if (p->a.conn != NULL)
        conn_abort(p->a.conn);
    if (p->b.conn != NULL)
        conn_abort(p->b.conn);
    listener_free(&p->listener);
    (void)close(p->fd);
    scene_close(&p->scene);
    tls_unref(&p->server_tls);
    tls_unref(&p->client_tls);
}

static void
start(void *context)
{
    struct play *p = context;
    struct conn_opts opts = {.loop = p->scene.loop,
                             .pool = p->scene.pool,
                             .tls = p->client_tls,
                             .fn = on_event,
                             .owner = &p->a,
                             .in_max = p->a_in_max,
                             .out_max = BIG,
                             .reuse = p->reuse,
                             .guard = p->scene.guard,
                             .tell_left = p->a_tell_left};

    assert_int_equal(conn_connect(&opts, &p->address, &p->a.conn), ERR_OK);
}

static bool
both_open(void *context)
{
    struct play *p = context;

    return (p->a.seen & CONN_OPENED) != 0 && (p->b.seen & CONN_OPENED) != 0;
}

/* b writes to_write bytes that differ by place. */
static void
write_all(void *context)
{
    struct play *p = context;
    uint8_t piece[1000];

    while (p->written < p->to_write) {
        size_t n = p->to_write - p->written;

        n = n < sizeof(piece) ? n : sizeof(piece);
        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)((p->written + i) * 7 / 3);
        assert_int_equal(conn_write(p->b.conn, slice_of(piece, n)), ERR_OK);
        p->written_sum = add_up(p->written_sum, slice_of(piece, n));
        p->written += n;
    }
}

static bool
all_came(void *context)
{
    struct play *p = context;

    return p->a.got == p->to_write;
}

static void
for_both(void (*test)(bool tls))
{
    test(false);
    test(true);
}

static void
bytes_arrive(bool tls)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"bytes", write_all, all_came}};
    struct play p;

    play_open(&p, tls, false);
    p.to_write = BIG;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_true(p.a.sum == p.written_sum);
    assert_true((p.b.seen & CONN_DRAINED) != 0);
    assert_int_equal(conn_unsent(p.b.conn), 0);
    play_close(&p);
}

static void
test_bytes_arrive_in_order(void **state)
{
    (void)state;
    for_both(bytes_arrive);
}

static void
pause_a(void *context)
{
    struct play *p = context;

    conn_pause(p->a.conn);
    write_all(p);
}

static bool
b_is_stuck(void *context)
{
    struct play *p = context;

    /* Nothing may come, and what the kernel does not take stays with the writer. */
    assert_int_equal(p->a.got, 0);
    if (p->mark.ns == 0)
        p->mark = clock_mono();
    return mono_ms_since(clock_mono(), p->mark) >= 40;
}

static void
resume_a(void *context)
{
    struct play *p = context;

    conn_resume(p->a.conn);
}

static void
paused(bool tls)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"paused", pause_a, b_is_stuck},
                                              {"resumed", resume_a, all_came}};
    struct play p;

    play_open(&p, tls, false);
    p.to_write = BIG;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_true(p.a.sum == p.written_sum);
    play_close(&p);
}

static void
test_pause_holds_and_resume_brings_all(void **state)
{
    (void)state;
    for_both(paused);
}

static void
keep_and_write(void *context)
{
    struct play *p = context;

    p->a.keep = true;
    write_all(p);
}

static bool
a_is_full(void *context)
{
    struct play *p = context;

    return p->a.conn != NULL && buf_left(conn_in(p->a.conn)) == 0;
}

static void
take_on(void *context)
{
    struct play *p = context;

    p->a.keep = false;
    p->a.seen = 0;
    on_event(&p->a, p->a.conn, CONN_DATA);
}

/* A full buffer must not spin on the socket, and consuming must read on: also the bytes of a
 * TLS record that was taken off the socket in part. */
static void
full(bool tls)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"full", keep_and_write, a_is_full},
                                              {"rest", take_on, all_came}};
    struct play p;

    play_open(&p, tls, false);
    p.a_in_max = 5000;
    p.to_write = MARK;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_true(p.a.sum == p.written_sum);
    play_close(&p);
}

static void
test_full_buffer_reads_on_after_consume(void **state)
{
    (void)state;
    for_both(full);
}

static bool
a_saw_end(void *context)
{
    struct play *p = context;

    return (p->a.seen & CONN_EOF) != 0;
}

/* ---- leaving ------------------------------------------------------------------------- */

/* a's buffer is full, and what else b wrote waits in the kernel. */
static bool
a_is_stuffed(void *context)
{
    struct play *p = context;

    return a_is_full(p) && conn_unsent(p->b.conn) == 0;
}

/* Bytes that b never reads: its close will be a reset. */
static void
tease_b(void *context)
{
    struct play *p = context;

    conn_pause(p->b.conn);
    assert_int_equal(conn_write(p->a.conn, SLICE_LIT("unread")), ERR_OK);
}

static bool
b_was_teased(void *context)
{
    return conn_unsent(((struct play *)context)->a.conn) == 0;
}

static void
b_leaves(void *context)
{
    struct play *p = context;

    conn_abort(p->b.conn);
    p->b.conn = NULL;
}

static bool
a_heard(void *context)
{
    return (((struct play *)context)->a.seen & CONN_LEFT) != 0;
}

static void
count_turn(void *context)
{
    ((struct play *)context)->turns++;
}

static void
watch_turns(void *context)
{
    struct play *p = context;

    p->turns = 0;
    p->mark = clock_mono();
    loop_on_turn_end(p->scene.loop, count_turn, p);
}

static bool
a_while_passed(void *context)
{
    return mono_ms_since(clock_mono(), ((struct play *)context)->mark) >= 40;
}

/* It is heard once, with nothing read; the loop does not turn for it afterwards; and what had
 * come before it can still be read, up to the end. */
static void
left(bool tls, bool reset, bool pause)
{
    const struct scene_step steps[] = {
        {"open", start, both_open},
        {"stuffed", pause ? pause_a : keep_and_write, pause ? NULL : a_is_stuffed},
        {"teased", reset ? tease_b : NULL, reset ? b_was_teased : NULL},
        {"left", b_leaves, a_heard},
        {"quiet", watch_turns, a_while_passed},
        {"end", pause ? resume_a : take_on, a_saw_end}};
    struct play p;

    play_open(&p, tls, false);
    p.a_in_max = 5000;
    p.a_tell_left = true;
    p.to_write = pause ? 0 : 50000;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_true(p.turns < 200);
    if (!reset && !tls) {
        assert_int_equal(p.a.got, p.to_write);
        assert_true(p.a.sum == p.written_sum);
    }
    play_close(&p);
}

static void
test_leaving_is_heard_while_nothing_is_read(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        left((i & 1) != 0, (i & 2) != 0, (i & 4) != 0);
}

/* Who did not ask is not told: bytes of an answer must not be cut short by the end behind them. */
static void
test_leaving_is_told_to_those_who_ask(void **state)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"stuffed", keep_and_write, a_is_stuffed},
                                              {"left", b_leaves, NULL},
                                              {"quiet", watch_turns, a_while_passed},
                                              {"end", take_on, a_saw_end}};
    struct play p;

    (void)state;
    play_open(&p, false, false);
    p.a_in_max = 5000;
    p.to_write = 50000;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.a.got, p.to_write);
    assert_int_equal(p.a.seen & CONN_LEFT, 0);
    assert_true(p.turns < 200);
    play_close(&p);
}

/* Once it is read on, the end comes behind the bytes, and as an end. */
static void
test_reading_on_ends_the_watch(void **state)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"stuffed", keep_and_write, a_is_stuffed},
                                              {"rest", take_on, all_came},
                                              {"left", b_leaves, a_saw_end}};
    struct play p;

    (void)state;
    play_open(&p, false, false);
    p.a_in_max = 5000;
    p.a_tell_left = true;
    p.to_write = 50000;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.a.seen & CONN_LEFT, 0);
    play_close(&p);
}

static void
close_stuffed(void *context)
{
    struct play *p = context;

    conn_close(p->a.conn, 20000);
    p->a.conn = NULL;
    b_leaves(p);
}

/* One that is closed, or ends with its loop, while it is watched. */
static void
test_a_watched_connection_ends(void **state)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"stuffed", keep_and_write, a_is_stuffed},
                                              {"closed", close_stuffed, NULL},
                                              {"quiet", watch_turns, a_while_passed}};
    struct play p;

    (void)state;
    for (size_t count = 2; count <= ARRAY_COUNT(steps); count++) {
        play_open(&p, false, false);
        p.a_in_max = 5000;
        p.a_tell_left = true;
        p.to_write = 50000;
        scene_play(&p.scene, steps, count, &p);
        assert_int_equal(p.a.seen & CONN_LEFT, 0);
        play_close(&p);
    }
}

static void
write_and_close(void *context)
{
    struct play *p = context;

    write_all(p);
    conn_close(p->b.conn, 20000);
    p->b.conn = NULL;
}

static void
close_flushes(bool tls)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"end", write_and_close, a_saw_end}};
    struct play p;

    play_open(&p, tls, false);
    p.to_write = BIG;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.a.got, BIG);
    assert_true(p.a.sum == p.written_sum);
    assert_int_equal(conn_error(p.a.conn), ERR_OK);
    /* A pool must not take it for alive. */
    assert_false(conn_is_open(p.a.conn));
    play_close(&p);
}

static void
test_close_flushes_first(void **state)
{
    (void)state;
    for_both(close_flushes);
}

static void
close_unread(void *context)
{
    struct play *p = context;

    conn_pause(p->a.conn);
    write_and_close(p);
}

/* The loop ends while a closed connection still holds bytes for a reader that takes none: it
 * must go with the loop (else the pool's own check fails). */
static void
test_lingering_ends_with_the_loop(void **state)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"closed", close_unread, NULL}};
    struct play p;

    (void)state;
    play_open(&p, false, false);
    p.to_write = BIG;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    play_close(&p);
}

static void
set_deadline(void *context)
{
    struct play *p = context;

    conn_deadline(p->a.conn, 10);
}

static bool
a_timed_out(void *context)
{
    return (((struct play *)context)->a.seen & CONN_TIMED_OUT) != 0;
}

static void
test_deadline(void **state)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"deadline", set_deadline, a_timed_out}};
    struct play p;

    (void)state;
    play_open(&p, false, false);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    play_close(&p);
}

static bool
a_failed(void *context)
{
    return (((struct play *)context)->a.seen & CONN_FAILED) != 0;
}

static void
test_wrong_pin_never_opens(void **state)
{
    static const struct scene_step steps[] = {{"failed", start, a_failed}};
    struct play p;

    (void)state;
    play_open(&p, true, true);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.a.why, ERR_AUTH);
    assert_int_equal(p.a.seen & CONN_OPENED, 0);
    play_close(&p);
}

static void
test_guard_refuses(void **state)
{
    struct play p;
    struct address other;
    struct conn *c = NULL;
    struct conn_opts opts;

    (void)state;
    play_open(&p, false, false);
    opts = (struct conn_opts){.loop = p.scene.loop,
                              .pool = p.scene.pool,
                              .fn = on_event,
                              .owner = &p.a,
                              .in_max = IN_MAX,
                              .out_max = BIG,
                              .guard = p.scene.guard};
    /* Another port, another host, and no guard at all. */
    assert_int_equal(address_parse("127.0.0.1", (uint16_t)(address_port(&p.address) ^ 1), &other),
                     ERR_OK);
    assert_int_equal(conn_connect(&opts, &other, &c), ERR_FORBIDDEN);
    assert_int_equal(address_parse("127.0.0.2", address_port(&p.address), &other), ERR_OK);
    assert_int_equal(conn_connect(&opts, &other, &c), ERR_FORBIDDEN);
    opts.guard = NULL;
    assert_int_equal(conn_connect(&opts, &p.address, &c), ERR_FORBIDDEN);
    assert_null(c);
    play_close(&p);
}

static void
too_much(void *context)
{
    struct play *p = context;
    static const uint8_t block[65536];
    enum err e = ERR_OK;

    for (size_t i = 0; e == ERR_OK && i <= BIG / sizeof(block); i++)
        e = conn_write(p->b.conn, slice_of(block, sizeof(block)));
    assert_int_equal(e, ERR_TOOBIG);
    assert_true(conn_unsent(p->b.conn) <= BIG);
}

static void
test_out_buffer_is_bounded(void **state)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"too much", too_much, NULL}};
    struct play p;

    (void)state;
    play_open(&p, false, false);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    play_close(&p);
}

static void
cut_b(void *context)
{
    struct play *p = context;

    conn_abort(p->b.conn);
    p->b.conn = NULL;
}

/* TLS that ends without its close is no orderly end: an answer may be missing its rest. */
static void
test_tls_cut_is_an_error(void **state)
{
    static const struct scene_step steps[] = {{"open", start, both_open},
                                              {"cut", cut_b, a_saw_end}};
    struct play p;

    (void)state;
    play_open(&p, true, false);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(conn_error(p.a.conn), ERR_IO);
    play_close(&p);
}

/* Another connection in place of the one that is open. */
static void
start_again(void *context)
{
    struct play *p = context;

    conn_abort(p->a.conn);
    conn_abort(p->b.conn);
    p->a = p->b = (struct end){.conn = NULL};
    p->written = 0;
    start(p);
}

static void
forget_and_start_again(void *context)
{
    struct play *p = context;

    assert_true(conn_is_resumed(p->a.conn));
    assert_true(conn_is_resumed(p->b.conn));
    tls_reuse_clear(p->reuse);
    start_again(p);
}

/* Tickets come behind the handshake: a client has them once it has read something. */
static void
test_the_next_connection_goes_on_with_the_session(void **state)
{
    static const struct scene_step steps[] = {
        {"open", start, both_open},
        {"bytes", write_all, all_came},
        {"resumed", start_again, both_open},
        {"bytes again", write_all, all_came},
        {"forgotten", forget_and_start_again, both_open},
    };
    struct play p;

    (void)state;
    play_open(&p, true, false);
    assert_int_equal(tls_reuse_new(&p.reuse), ERR_OK);
    p.to_write = 100;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_false(conn_is_resumed(p.a.conn));
    assert_true(conn_peer_cert(p.a.conn).len > 0);
    tls_reuse_free(&p.reuse);
    play_close(&p);
}

static void
pin_another_and_start_again(void *context)
{
    struct play *p = context;

    p->client_tls->spki_sha256[0] ^= 1;
    start_again(p);
}

/* What is pinned is compared at each handshake, resumed or not. */
static void
test_a_resumed_session_must_have_the_pinned_key(void **state)
{
    static const struct scene_step steps[] = {
        {"open", start, both_open},
        {"bytes", write_all, all_came},
        {"another pin", pin_another_and_start_again, a_failed},
    };
    struct play p;

    (void)state;
    play_open(&p, true, false);
    assert_int_equal(tls_reuse_new(&p.reuse), ERR_OK);
    p.to_write = 100;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.a.why, ERR_AUTH);
    tls_reuse_free(&p.reuse);
    play_close(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_arrive_in_order),
        cmocka_unit_test(test_pause_holds_and_resume_brings_all),
        cmocka_unit_test(test_full_buffer_reads_on_after_consume),
        cmocka_unit_test(test_leaving_is_heard_while_nothing_is_read),
        cmocka_unit_test(test_leaving_is_told_to_those_who_ask),
        cmocka_unit_test(test_reading_on_ends_the_watch),
        cmocka_unit_test(test_a_watched_connection_ends),
        cmocka_unit_test(test_close_flushes_first),
        cmocka_unit_test(test_lingering_ends_with_the_loop),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_wrong_pin_never_opens),
        cmocka_unit_test(test_guard_refuses),
        cmocka_unit_test(test_out_buffer_is_bounded),
        cmocka_unit_test(test_tls_cut_is_an_error),
        cmocka_unit_test(test_the_next_connection_goes_on_with_the_session),
        cmocka_unit_test(test_a_resumed_session_must_have_the_pinned_key),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
