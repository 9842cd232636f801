#include "net/fetch.h"

#include "net/conn_priv.h"
#include "unit/net/scene.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct play {
    struct scene scene;
    struct server server;
    struct fetcher *fetcher;
    const char *reply; /* raw bytes of the server's answer */
    bool close_after;
    bool hang;
    bool close_idle_first; /* the second request meets a closed connection */
    uint64_t deadline_ms;
    const char *path;
    /* what came */
    enum err started;
    uint32_t calls;
    enum err e;
    int status;
    char body[256];
    size_t body_len;
    char head[1024];
    bool free_in_callback;
};

static void
serve(void *context, struct server_conn *c, struct slice head)
{
    struct play *p = context;

    (void)slice_copy_str(head, p->head, sizeof(p->head));
    if (p->close_idle_first && p->server.requests == 2) {
        conn_abort(c->conn);
        c->conn = NULL;
        return;
    }
    if (p->hang)
        return;
    server_raw(c, p->reply);
    if (p->close_after)
        server_close(c);
}

static void
got(void *context, enum err e, int status, struct slice body)
{
    struct play *p = context;

    p->calls++;
    p->e = e;
    p->status = status;
    p->body_len = body.len;
    (void)slice_copy_str(slice_sub(body, 0, sizeof(p->body) - 1), p->body, sizeof(p->body));
    if (p->free_in_callback)
        fetcher_free(&p->fetcher);
}

static void
play_open(struct play *p)
{
    struct fetcher_opts opts;

    memset(p, 0, sizeof(*p));
    p->deadline_ms = 5000;
    p->path = "/health";
    p->reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    scene_open(&p->scene);
    server_open(&p->server, &p->scene, serve, p);
    opts = (struct fetcher_opts){
        .loop = p->scene.loop,
        .pool = p->scene.pool,
        .address = p->server.address,
        .host = "model.internal",
        .authorization = "Bearer s3cret",
        .guard = p->scene.guard,
    };
    assert_int_equal(fetcher_new(&opts, &p->fetcher), ERR_OK);
}

static void
play_close(struct play *p)
{
    fetcher_free(&p->fetcher);
    server_shut(&p->server);
    scene_close(&p->scene);
}

static void
get(void *context)
{
    struct play *p = context;

    p->started = fetch_get(p->fetcher, p->path, p->deadline_ms, got, p);
}

static bool
called_once(void *context)
{
    return ((struct play *)context)->calls >= 1;
}

static bool
called_twice(void *context)
{
    return ((struct play *)context)->calls >= 2;
}

static const struct scene_step one_get[] = {{"answer", get, called_once}};
static const struct scene_step two_gets[] = {{"first answer", get, called_once},
                                             {"second answer", get, called_twice}};

static void
test_answers(void **state)
{
    static const struct {
        const char *reply;
        bool close_after;
        enum err e;
        int status;
        const char *body;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, ERR_OK, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
         false, ERR_OK, 200, "abc"},
        {"HTTP/1.1 200 OK\r\n\r\nto the end", true, ERR_OK, 200, "to the end"},
        {"HTTP/1.1 204 No Content\r\n\r\n", false, ERR_OK, 204, ""},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", false, ERR_OK, 503, ""},
        {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", false,
         ERR_OK, 200, "x"},
        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", false, ERR_BADMSG, 0, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", true, ERR_EOF, 0, ""},
        {"HTTP/1.1 200 OK\r\nContent-Le", true, ERR_EOF, 0, ""},
        {"", true, ERR_EOF, 0, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct play p;

        play_open(&p);
        p.reply = rows[i].reply;
        p.close_after = rows[i].close_after;
        scene_play(&p.scene, one_get, 1, &p);
        assert_int_equal(p.e, rows[i].e);
        assert_int_equal(p.status, rows[i].status);
        assert_string_equal(p.body, rows[i].body);
        assert_int_equal(p.calls, 1);
        play_close(&p);
    }
}

static bool
was_asked(void *context)
{
    return ((struct play *)context)->server.requests == 1;
}

/* By now the answer has left. */
static void
reset(void *context)
{
    struct play *p = context;
    struct conn *conn = p->server.conns[0].conn;
    struct linger hard = {.l_onoff = 1};

    assert_int_equal(setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    conn_abort(conn);
    p->server.conns[0].conn = NULL;
}

static void
test_a_reset_is_not_the_end_of_a_body(void **state)
{
    static const struct scene_step steps[] = {{"question", get, was_asked},
                                              {"reset", reset, called_once}};
    struct play p;

    (void)state;
    play_open(&p);
    p.reply = "HTTP/1.1 200 OK\r\n\r\nto the en";
    scene_play(&p.scene, steps, 2, &p);
    assert_int_equal(p.e, ERR_EOF);
    assert_string_equal(p.body, "");
    play_close(&p);
}

static void
test_what_is_asked(void **state)
{
    struct play p;

    (void)state;
    play_open(&p);
    scene_play(&p.scene, one_get, 1, &p);
    assert_string_equal(p.head, "GET /health HTTP/1.1\r\nHost: model.internal\r\nAccept: */*\r\n"
                                "User-Agent: portolan\r\nAuthorization: Bearer s3cret\r\n\r\n");
    play_close(&p);
}

static void
test_the_connection_is_kept(void **state)
{
    struct play p;

    (void)state;
    play_open(&p);
    scene_play(&p.scene, two_gets, 2, &p);
    assert_int_equal(p.e, ERR_OK);
    assert_int_equal(p.server.requests, 2);
    assert_int_equal(p.server.accepted, 1);
    play_close(&p);
}

static void
test_a_connection_that_must_not_be_kept(void **state)
{
    static const char *const replies[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(replies); i++) {
        struct play p;

        play_open(&p);
        p.reply = replies[i];
        scene_play(&p.scene, two_gets, 2, &p);
        assert_int_equal(p.e, ERR_OK);
        assert_string_equal(p.body, "ok");
        assert_int_equal(p.server.accepted, 2);
        play_close(&p);
    }
}

static void
test_a_kept_connection_that_was_closed_is_replaced(void **state)
{
    struct play p;

    (void)state;
    play_open(&p);
    p.close_idle_first = true;
    scene_play(&p.scene, two_gets, 2, &p);
    assert_int_equal(p.e, ERR_OK);
    assert_int_equal(p.server.requests, 3);
    assert_int_equal(p.server.accepted, 2);
    assert_int_equal(p.calls, 2);
    play_close(&p);
}

static void
test_the_deadline(void **state)
{
    struct play p;

    (void)state;
    play_open(&p);
    p.hang = true;
    p.deadline_ms = 30;
    scene_play(&p.scene, one_get, 1, &p);
    assert_int_equal(p.e, ERR_TIMEOUT);
    assert_int_equal(p.status, 0);
    play_close(&p);
}

static bool
refused_or_called(void *context)
{
    struct play *p = context;

    return p->started != ERR_OK || p->calls > 0;
}

static void
test_a_refused_connection(void **state)
{
    static const struct scene_step steps[] = {{"refusal", get, refused_or_called}};
    struct play p;

    (void)state;
    play_open(&p);
    server_shut(&p.server);
    scene_play(&p.scene, steps, 1, &p);
    assert_int_equal(p.started != ERR_OK ? p.started : p.e, ERR_IO);
    play_close(&p);
}

static void
test_the_guard_is_asked(void **state)
{
    struct play p;
    struct egress *none = NULL;
    struct fetcher *f = NULL;
    struct fetcher_opts opts;

    (void)state;
    play_open(&p);
    assert_int_equal(egress_new(&none), ERR_OK);
    opts = (struct fetcher_opts){.loop = p.scene.loop,
                                 .pool = p.scene.pool,
                                 .address = p.server.address,
                                 .host = "x",
                                 .guard = none};
    assert_int_equal(fetcher_new(&opts, &f), ERR_OK);
    assert_int_equal(fetch_get(f, "/", 1000, got, &p), ERR_FORBIDDEN);
    fetcher_free(&f);
    assert_int_equal(p.calls, 0);
    egress_free(&none);
    play_close(&p);
}

static void
test_one_at_a_time(void **state)
{
    struct play p;

    (void)state;
    play_open(&p);
    assert_int_equal(fetch_get(p.fetcher, "/a", 5000, got, &p), ERR_OK);
    assert_int_equal(fetch_get(p.fetcher, "/b", 5000, got, &p), ERR_AGAIN);
    scene_play(&p.scene, &(struct scene_step){"answer", NULL, called_once}, 1, &p);
    assert_int_equal(p.server.requests, 1);
    play_close(&p);
}

static void
test_paths_that_would_split_the_request(void **state)
{
    static const char *const paths[] = {"", "health", "/a b", "/a\r\nX: y"};
    struct play p;

    (void)state;
    play_open(&p);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        assert_int_equal(fetch_get(p.fetcher, paths[i], 100, got, &p), ERR_BADMSG);
    play_close(&p);
}

static void
serve_length(void *context, struct server_conn *c, struct slice head)
{
    struct play *p = context;
    size_t len = FETCH_BODY_MAX + (slice_is(server_path(head), "/more") ? 1 : 0);
    uint8_t *body = malloc(len);

    assert_non_null(body);
    memset(body, 'x', len);
    (void)p;
    server_answer(c, 200, slice_of(body, len));
    free(body);
}

static void
test_the_body_is_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct play p;

        play_open(&p);
        p.server.fn = serve_length;
        p.path = i == 0 ? "/max" : "/more";
        scene_play(&p.scene, one_get, 1, &p);
        assert_int_equal(p.e, i == 0 ? ERR_OK : ERR_TOOBIG);
        assert_int_equal(p.body_len, i == 0 ? FETCH_BODY_MAX : 0);
        play_close(&p);
    }
}

static void
test_freed_in_its_callback(void **state)
{
    struct play p;

    (void)state;
    play_open(&p);
    p.free_in_callback = true;
    scene_play(&p.scene, one_get, 1, &p);
    assert_int_equal(p.calls, 1);
    assert_null(p.fetcher);
    play_close(&p);
}

static bool
asked(void *context)
{
    return ((struct play *)context)->server.requests > 0;
}

static void
test_freed_under_way_is_silent(void **state)
{
    static const struct scene_step steps[] = {{"request", get, asked}};
    struct play p;

    (void)state;
    play_open(&p);
    p.hang = true;
    scene_play(&p.scene, steps, 1, &p);
    fetcher_free(&p.fetcher);
    play_close(&p);
    assert_int_equal(p.calls, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_a_reset_is_not_the_end_of_a_body),
        cmocka_unit_test(test_what_is_asked),
        cmocka_unit_test(test_the_connection_is_kept),
        cmocka_unit_test(test_a_connection_that_must_not_be_kept),
        cmocka_unit_test(test_a_kept_connection_that_was_closed_is_replaced),
        cmocka_unit_test(test_the_deadline),
        cmocka_unit_test(test_a_refused_connection),
        cmocka_unit_test(test_the_guard_is_asked),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_paths_that_would_split_the_request),
        cmocka_unit_test(test_the_body_is_bounded),
        cmocka_unit_test(test_freed_in_its_callback),
        cmocka_unit_test(test_freed_under_way_is_silent),
    };

    return cmocka_run_group_tests_name("net/fetch", tests, NULL, NULL);
}
