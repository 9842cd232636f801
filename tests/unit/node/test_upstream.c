#include "node/upstream.h"

#include "node/worker.h"
#include "unit/net/scene.h"

/* Connections to backends: one request and its answer on each, what the pool keeps, and what
 * comes unasked. The backend is a server on loopback that answers with the bytes it is given. */

#define TENANT 7

struct play {
    struct scene scene;
    struct server server;
    struct shared shared;
    struct worker worker;
    struct config config;
    struct charter charter;
    struct charter_backend backends[2];
    struct mesh_target targets[2];
    uint32_t ids[2];
    struct snapshot snapshot;
    const char *reply;
    bool close_after; /* the server ends behind its reply */
    bool speaks_first;
    struct server_conn *last;
    char request[1024]; /* what the server got, all of it */
    /* what the connection's owner does and sees */
    uint32_t backend;
    uint32_t tenant;
    int64_t body_length;
    bool leave_open; /* the request is not completed */
    struct upstream *u;
    unsigned seen;
    enum upstream_read end;
    int status;
    char body[1024];
    bool over;
};

static void
serve(void *context, struct server_conn *c, struct slice head)
{
    struct play *p = context;
    size_t used = strlen(p->request);

    p->last = c;
    (void)slice_copy_str(head, p->request + used, sizeof(p->request) - used);
    if (!slice_starts(head, SLICE_LIT("POST")))
        return;
    server_raw(c, p->reply);
    if (p->close_after)
        server_close(c);
}

static void
read_answer(struct play *p)
{
    const struct http_head *head;
    struct slice piece;

    if (p->status == 0) {
        p->end = upstream_read_head(p->u, &head);
        if (p->end != UPSTREAM_READ_OK)
            return;
        p->status = head->status;
    }
    while ((p->end = upstream_read_body(p->u, &piece)) == UPSTREAM_READ_OK) {
        size_t used = strlen(p->body);

        assert_true(slice_copy_str(piece, p->body + used, sizeof(p->body) - used));
    }
}

static void
send_request(struct play *p)
{
    struct http_fields fields;
    struct upstream_request request = {.method = HTTP_POST,
                                       .path = SLICE_LIT("/v1/x"),
                                       .host = "model.internal",
                                       .port = 80,
                                       .fields = &fields,
                                       .body_length = p->body_length};

    http_fields_init(&fields, NULL, 0);
    http_fields_add(&fields, SLICE_LIT("X-A"), SLICE_LIT("b"));
    assert_int_equal(upstream_send_head(p->u, &request), ERR_OK);
    if (p->body_length != 0)
        assert_int_equal(upstream_send(p->u, SLICE_LIT("hello")), ERR_OK);
    if (!p->leave_open)
        assert_int_equal(upstream_send_end(p->u), ERR_OK);
}

static void
on_event(void *owner, struct upstream *u, unsigned events)
{
    struct play *p = owner;

    assert_ptr_equal(u, p->u);
    p->seen |= events;
    if ((events & UPSTREAM_OPENED) != 0 && !p->speaks_first)
        send_request(p);
    if (p->status >= 0 && (p->seen & UPSTREAM_OPENED) != 0 &&
        (events & (UPSTREAM_DATA | UPSTREAM_ENDED)) != 0 && !p->speaks_first)
        read_answer(p);
    if (p->end == UPSTREAM_READ_WAIT && (events & UPSTREAM_ENDED) == 0)
        return;
    if (p->end == UPSTREAM_READ_DONE)
        upstream_return(u);
    else
        upstream_abort(u);
    p->u = NULL;
    p->over = true;
}

static void
accept_and_speak(void *context, int fd)
{
    struct server *s = context;

    server_accept(s, fd);
    server_raw(&s->conns[0], "220 ready\r\n");
}

static void
play_open(struct play *p)
{
    memset(p, 0, sizeof(*p));
    scene_open(&p->scene);
    server_open(&p->server, &p->scene, serve, p);
    p->worker = (struct worker){.shared = &p->shared, .loop = p->scene.loop, .pool = p->scene.pool};
    p->charter.backends = p->backends;
    p->charter.backend_count = 2;
    p->charter.region_count = 1;
    p->ids[1] = 1;
    /* Two backends behind one address. */
    for (size_t i = 0; i < 2; i++)
        p->targets[i] = (struct mesh_target){
            .is_set = true, .address = p->server.address, .host = "model.internal"};
    p->snapshot = (struct snapshot){.config = &p->config,
                                    .charter = &p->charter,
                                    .egress = p->scene.guard,
                                    .backends = p->targets,
                                    .backend_ids = p->ids};
    p->tenant = TENANT;
    p->body_length = 5;
    p->reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_int_equal(upstream_pool_new(&p->worker, &p->worker.upstreams), ERR_OK);
}

static void
play_close(struct play *p)
{
    upstream_pool_free(&p->worker.upstreams);
    server_shut(&p->server);
    scene_close(&p->scene);
}

static void
ask(void *context)
{
    struct play *p = context;
    _Alignas(16) uint8_t storage[256];
    struct upstream_use use = {.fn = on_event,
                               .owner = p,
                               .top_tenant_id = p->tenant,
                               .request_bytes = 64,
                               .connect_ms = 5000};
    struct permit *permit = NULL;
    struct arena arena;

    arena_init(&arena, storage, sizeof(storage));
    assert_int_equal(permit_mint_probe(&arena, &p->charter, 0, false, p->backend, &permit), ERR_OK);
    p->seen = 0;
    p->status = 0;
    p->body[0] = '\0';
    p->over = false;
    p->end = UPSTREAM_READ_WAIT;
    assert_int_equal(upstream_checkout(p->worker.upstreams, &p->snapshot, permit, &use, &p->u),
                     ERR_OK);
    /* Spent. */
    assert_int_equal(upstream_checkout(p->worker.upstreams, &p->snapshot, permit, &use, &p->u),
                     ERR_FORBIDDEN);
    if (upstream_ready(p->u)) {
        assert_true(upstream_reused(p->u));
        p->seen = UPSTREAM_OPENED;
        send_request(p);
    }
}

static void
ask_other_backend(void *context)
{
    struct play *p = context;

    p->backend = 1;
    ask(p);
}

static void
ask_other_tenant(void *context)
{
    struct play *p = context;

    p->tenant = TENANT + 1;
    ask(p);
}

static bool
is_over(void *context)
{
    return ((struct play *)context)->over;
}

static uint64_t
desyncs(const struct play *p)
{
    return atomic_load(&p->shared.metrics.upstream_desync);
}

static bool
is_counted(void *context)
{
    return desyncs(context) == 1;
}

static const struct scene_step one[] = {{"answer", ask, is_over}};
static const struct scene_step two[] = {{"answer", ask, is_over}, {"second answer", ask, is_over}};

#define INTERIM "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
#define INTERIMS_8 INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM INTERIM
#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void
test_answers_are_read_as_messages(void **state)
{
    static const struct {
        const char *name;
        const char *reply;
        bool close_after;
        enum upstream_read end;
        int status;
        const char *body;
    } rows[] = {
        {"length", OK_2, false, UPSTREAM_READ_DONE, 200, "ok"},
        {"chunks",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n"
         "0\r\n\r\n",
         false, UPSTREAM_READ_DONE, 200, "abc"},
        {"no body", "HTTP/1.1 204 No Content\r\n\r\n", false, UPSTREAM_READ_DONE, 204, ""},
        {"to the end", "HTTP/1.1 200 OK\r\n\r\nto the end", true, UPSTREAM_READ_DONE, 200,
         "to the end"},
        {"eight interims", INTERIMS_8 OK_2, false, UPSTREAM_READ_DONE, 200, "ok"},
        {"nine interims", INTERIMS_8 INTERIM OK_2, false, UPSTREAM_READ_MALFORMED, 0, ""},
        {"101", "HTTP/1.1 101 Switching\r\n\r\n", false, UPSTREAM_READ_MALFORMED, 0, ""},
        {"no HTTP", "SSH-2.0-x\r\n\r\n", false, UPSTREAM_READ_MALFORMED, 0, ""},
        {"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabX", false,
         UPSTREAM_READ_MALFORMED, 200, "ab"},
        {"cut head", "HTTP/1.1 200 OK\r\nConte", true, UPSTREAM_READ_TRUNCATED, 0, ""},
        {"nothing", "", true, UPSTREAM_READ_TRUNCATED, 0, ""},
        {"cut length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", true,
         UPSTREAM_READ_TRUNCATED, 200, "ab"},
        {"cut chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", true,
         UPSTREAM_READ_TRUNCATED, 200, "ab"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct play p;

        play_open(&p);
        p.reply = rows[i].reply;
        p.close_after = rows[i].close_after;
        scene_play(&p.scene, one, 1, &p);
        if (p.end != rows[i].end || p.status != rows[i].status)
            fail_msg("%s: %d, status %d", rows[i].name, p.end, p.status);
        assert_string_equal(p.body, rows[i].body);
        assert_int_equal(desyncs(&p), 0);
        play_close(&p);
    }
}

static void
test_requests_are_framed_by_their_length(void **state)
{
    static const struct {
        int64_t length;
        const char *request;
    } rows[] = {
        {5, "Content-Length: 5\r\n\r\n"},
        {HTTP_LENGTH_UNKNOWN, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
        {0, "Content-Length: 0\r\n\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct play p;
        char want[256];

        play_open(&p);
        p.body_length = rows[i].length;
        scene_play(&p.scene, one, 1, &p);
        assert_true(text_format(want, sizeof(want),
                                "POST /v1/x HTTP/1.1\r\nHost: model.internal:80\r\nX-A: b\r\n%s",
                                rows[i].request));
        assert_string_equal(p.request, want);
        play_close(&p);
    }
}

static void
test_a_connection_is_kept_for_one_backend_and_customer(void **state)
{
    static const struct {
        void (*second)(void *context);
        uint32_t accepted;
    } rows[] = {{ask, 1}, {ask_other_backend, 2}, {ask_other_tenant, 2}};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct scene_step steps[] = {{"answer", ask, is_over},
                                     {"second answer", rows[i].second, is_over}};
        struct play p;

        play_open(&p);
        p.body_length = 0;
        scene_play(&p.scene, steps, 2, &p);
        assert_string_equal(p.body, "ok");
        assert_int_equal(p.server.accepted, rows[i].accepted);
        play_close(&p);
    }
}

static void
test_what_can_not_follow_is_closed(void **state)
{
    static const struct {
        const char *name;
        const char *reply;
        bool leave_open;
        uint64_t desyncs;
    } rows[] = {
        {"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false, 0},
        {"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 0},
        {"an answer before the request's end", OK_2, true, 0},
        {"bytes behind a length", OK_2 "x", false, 2},
        {"an answer behind an answer", OK_2 OK_2, false, 2},
        {"bytes behind the last chunk",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx", false, 2},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct play p;

        play_open(&p);
        p.reply = rows[i].reply;
        p.leave_open = rows[i].leave_open;
        scene_play(&p.scene, two, 2, &p);
        assert_int_equal(p.end, UPSTREAM_READ_DONE);
        assert_string_equal(p.body, "ok");
        if (p.server.accepted != 2 || desyncs(&p) != rows[i].desyncs)
            fail_msg("%s: %u connections, %llu counted", rows[i].name, p.server.accepted,
                     (unsigned long long)desyncs(&p));
        play_close(&p);
    }
}

static void
speak(void *context)
{
    struct play *p = context;

    server_raw(p->last, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
}

static void
hang_up(void *context)
{
    struct play *p = context;

    server_close(p->last);
}

static bool
server_is_left(void *context)
{
    return ((struct play *)context)->last->conn == NULL;
}

static void
test_bytes_on_an_idle_connection_close_it(void **state)
{
    static const struct scene_step steps[] = {{"answer", ask, is_over},
                                              {"the count", speak, is_counted},
                                              {"the close", NULL, server_is_left},
                                              {"second answer", ask, is_over}};
    struct play p;

    (void)state;
    play_open(&p);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.status, 200);
    assert_int_equal(p.server.accepted, 2);
    assert_int_equal(desyncs(&p), 1);
    play_close(&p);
}

static void
test_the_end_of_an_idle_connection_is_no_fault(void **state)
{
    static const struct scene_step steps[] = {
        {"answer", ask, is_over}, {"the end", hang_up, NULL}, {"second answer", ask, is_over}};
    struct play p;

    (void)state;
    play_open(&p);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(desyncs(&p), 0);
    play_close(&p);
}

static void
shed_two(void *context)
{
    struct play *p = context;

    assert_int_equal(upstream_pool_shed(p->worker.upstreams, 2), 1);
    assert_int_equal(upstream_pool_shed(p->worker.upstreams, 2), 0);
}

static void
test_a_node_that_runs_short_keeps_none(void **state)
{
    static const struct scene_step steps[] = {{"answer", ask, is_over},
                                              {"nothing kept", shed_two, server_is_left},
                                              {"second answer", ask, is_over}};
    struct play p;

    (void)state;
    play_open(&p);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.server.accepted, 2);
    play_close(&p);
}

static void
test_a_server_that_speaks_first_is_none(void **state)
{
    struct play p;

    (void)state;
    play_open(&p);
    listener_free(&p.server.listener);
    assert_int_equal(
        listener_new(p.scene.loop, p.server.fd, accept_and_speak, &p.server, &p.server.listener),
        ERR_OK);
    p.speaks_first = true;
    scene_play(&p.scene, one, 1, &p);
    assert_true((p.seen & UPSTREAM_ENDED) != 0);
    assert_int_equal(p.seen & UPSTREAM_DATA, 0);
    assert_int_equal(desyncs(&p), 1);
    play_close(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_read_as_messages),
        cmocka_unit_test(test_requests_are_framed_by_their_length),
        cmocka_unit_test(test_a_connection_is_kept_for_one_backend_and_customer),
        cmocka_unit_test(test_what_can_not_follow_is_closed),
        cmocka_unit_test(test_bytes_on_an_idle_connection_close_it),
        cmocka_unit_test(test_the_end_of_an_idle_connection_is_no_fault),
        cmocka_unit_test(test_a_node_that_runs_short_keeps_none),
        cmocka_unit_test(test_a_server_that_speaks_first_is_none),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
