#ifndef TESTS_UNIT_NET_SCENE_H
#define TESTS_UNIT_NET_SCENE_H

#include "base/buf.h"
#include "base/check.h"
#include "base/text.h"
#include "net/address.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A loop on which a test plays: steps, each an act and a condition to wait for, and small
 * HTTP servers on loopback ports that the system chooses. Nothing sleeps: a condition is
 * looked at every few milliseconds, and a scene that takes too long fails. */

#define SCENE_LIMIT_MS 30000
#define SCENE_TICK_MS 2
#define SERVER_CONNS_MAX 64
#define SERVER_IN_MAX 16384
#define SERVER_OUT_MAX (4u << 20)

struct scene_step {
    const char *name;
    void (*act)(void *context);   /* NULL: nothing */
    bool (*until)(void *context); /* NULL: at once */
};

struct scene {
    struct loop *loop;
    struct buf_pool *pool;
    struct egress *guard;
    struct timer *tick;
    const struct scene_step *steps;
    size_t step_count;
    size_t step;
    struct mono began;
    void *context;
    bool late;
};

static inline void
scene_tick(void *context)
{
    struct scene *s = context;

    while (s->steps[s->step].until == NULL || s->steps[s->step].until(s->context)) {
        s->step++;
        if (s->step == s->step_count) {
            loop_stop(s->loop);
            return;
        }
        if (s->steps[s->step].act != NULL)
            s->steps[s->step].act(s->context);
    }
    s->late = mono_ms_since(loop_now(s->loop), s->began) > SCENE_LIMIT_MS;
    if (s->late)
        loop_stop(s->loop);
    else
        timer_set(s->tick, SCENE_TICK_MS);
}

static inline void
scene_open(struct scene *s)
{
    memset(s, 0, sizeof(*s));
    assert_int_equal(loop_new(&s->loop), ERR_OK);
    assert_int_equal(buf_pool_new(&s->pool, 1u << 20), ERR_OK);
    assert_int_equal(egress_new(&s->guard), ERR_OK);
    assert_int_equal(timer_new(s->loop, scene_tick, s, &s->tick), ERR_OK);
}

/* Once a scene: a loop that was stopped stays so. */
static inline void
scene_play(struct scene *s, const struct scene_step *steps, size_t count, void *context)
{
    s->steps = steps;
    s->step_count = count;
    s->context = context;
    s->began = clock_mono();
    if (steps[0].act != NULL)
        steps[0].act(context);
    timer_set(s->tick, 0);
    loop_run(s->loop);
    if (s->late)
        fail_msg("waited too long for step %zu: %s", s->step, s->steps[s->step].name);
}

/* After everything on the loop was freed. */
static inline void
scene_close(struct scene *s)
{
    timer_free(&s->tick);
    loop_free(&s->loop);
    buf_pool_free(&s->pool);
    egress_free(&s->guard);
}

struct server;
struct server_conn {
    struct server *server;
    struct conn *conn; /* NULL: free */
};

/* Called for each whole request head. */
typedef void (*server_fn)(void *context, struct server_conn *c, struct slice head);

struct server {
    struct scene *scene;
    struct listener *listener;
    int fd;
    struct address address;
    server_fn fn;
    void *context;
    struct tls *tls;
    struct server_conn conns[SERVER_CONNS_MAX];
    uint32_t accepted;
    uint32_t requests;
};

/* Ends the connection; the answer goes out first. */
static inline void
server_close(struct server_conn *c)
{
    if (c->conn != NULL)
        conn_close(c->conn, 1000);
    c->conn = NULL;
}

static inline void
server_raw(struct server_conn *c, const char *bytes)
{
    assert_int_equal(conn_write(c->conn, slice_str(bytes)), ERR_OK);
}

static inline void
server_answer(struct server_conn *c, int status, struct slice body)
{
    char head[128];

    assert_true(text_format(head, sizeof(head), "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n",
                            status, body.len));
    server_raw(c, head);
    assert_int_equal(conn_write(c->conn, body), ERR_OK);
}

static inline struct slice
server_path(struct slice head)
{
    struct slice rest = head;

    (void)slice_cut(&rest, ' ');
    return slice_cut(&rest, ' ');
}

static inline void
server_event(void *owner, struct conn *conn, unsigned events)
{
    struct server_conn *c = owner;

    while ((events & CONN_DATA) != 0 && c->conn != NULL) {
        struct slice in = buf_slice(conn_in(conn));
        const uint8_t *end = in.len == 0 ? NULL : memmem(in.p, in.len, "\r\n\r\n", 4);
        uint8_t head[SERVER_IN_MAX];
        size_t len;

        if (end == NULL)
            break;
        len = (size_t)(end - in.p) + 4;
        memcpy(head, in.p, len);
        conn_consume(conn, len);
        c->server->requests++;
        c->server->fn(c->server->context, c, slice_of(head, len));
    }
    if (c->conn != NULL && (events & (CONN_EOF | CONN_FAILED)) != 0) {
        conn_abort(conn);
        c->conn = NULL;
    }
}

static inline void
server_accept(void *context, int fd)
{
    struct server *s = context;
    struct conn_opts opts = {
        .loop = s->scene->loop,
        .pool = s->scene->pool,
        .tls = s->tls,
        .fn = server_event,
        .in_max = SERVER_IN_MAX,
        .out_max = SERVER_OUT_MAX,
    };

    s->accepted++;
    for (size_t i = 0; i < SERVER_CONNS_MAX; i++) {
        struct server_conn *c = &s->conns[i];

        if (c->conn != NULL)
            continue;
        c->server = s;
        opts.owner = c;
        assert_int_equal(conn_accepted(&opts, fd, &c->conn), ERR_OK);
        return;
    }
    fail_msg("more connections than the test server has room for");
}

/* Listens on the port that server->address names; 0: the system chooses. */
static inline void
server_listen(struct server *s)
{
    s->address.len = sizeof(s->address.storage);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&s->address.storage, &s->address.len),
                     0);
    assert_int_equal(egress_allow(s->scene->guard, &s->address), ERR_OK);
    assert_int_equal(listener_new(s->scene->loop, s->fd, server_accept, s, &s->listener), ERR_OK);
}

static inline void
server_open(struct server *s, struct scene *scene, server_fn fn, void *context)
{
    memset(s, 0, sizeof(*s));
    s->scene = scene;
    s->fn = fn;
    s->context = context;
    assert_int_equal(address_parse("127.0.0.1", 0, &s->address), ERR_OK);
    assert_int_equal(listener_open(&s->address, &s->fd), ERR_OK);
    server_listen(s);
}

static inline void
server_hang_up(struct server *s)
{
    for (size_t i = 0; i < SERVER_CONNS_MAX; i++) {
        if (s->conns[i].conn != NULL)
            conn_abort(s->conns[i].conn);
        s->conns[i].conn = NULL;
    }
}

/* Its port refuses connections from then on. */
static inline void
server_shut(struct server *s)
{
    server_hang_up(s);
    listener_free(&s->listener);
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}

/* Back on the same port. */
static inline void
server_reopen(struct server *s)
{
    assert_int_equal(listener_open(&s->address, &s->fd), ERR_OK);
    server_listen(s);
}

#endif
