#include "health/store/store.h"

#include "unit/net/scene.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* A real redis-server of the test's own, in a folder of its own, and a false one for what a
 * real one never says. */

static const char *const names[] = {"c1", "w1", "w2"};
enum { NODES = 3, ARGS_MAX = 24 };

struct redis_server {
    pid_t pid; /* 0: not running */
    uint16_t port;
    char dir[64];
    const char *extra[8];
};

struct play {
    struct scene scene;
    struct redis_server server;
    struct address address;
    struct store *writer; /* node w1 */
    struct store *reader; /* node c1 */
    char got[NODES][64];
    uint32_t reads;
    uint64_t errors_before;
    const char *value;
};

static uint16_t
free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static void
exec_redis(const struct redis_server *s)
{
    char port[8];
    const char *argv[ARGS_MAX] = {"redis-server", "--port",      port,   "--bind",
                                  "127.0.0.1",    "--save",      "",     "--appendonly",
                                  "no",           "--dir",       s->dir, "--loglevel",
                                  "warning",      "--daemonize", "no",   NULL};
    char *words[ARGS_MAX];
    size_t n = 15;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves no server behind */
    if (!text_format(port, sizeof(port), "%u", s->port) ||
        freopen("/dev/null", "w", stdout) == NULL)
        _exit(126);
    for (size_t i = 0; i < 8 && s->extra[i] != NULL; i++)
        argv[n++] = s->extra[i];
    memcpy(words, argv, sizeof(words));
    (void)execvp("redis-server", words);
    _exit(127);
}

/* Blocks until it answers or ends; false when the port was taken meanwhile. */
static bool
redis_try(struct redis_server *s)
{
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        exec_redis(s);
    for (;;) {
        const struct timeval second = {.tv_sec = 1};
        redisContext *c = redisConnectWithTimeout("127.0.0.1", s->port, second);
        bool up = c != NULL && c->err == 0;
        int status;

        if (c != NULL)
            redisFree(c);
        if (up)
            return true;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
                skip(); /* no redis-server on this machine */
            return false;
        }
        (void)usleep(1000); /* between two looks at a condition */
    }
}

static void
redis_start(struct redis_server *s)
{
    for (int i = 0; i < 20; i++) {
        if (s->port == 0 || i > 0)
            s->port = free_port();
        if (redis_try(s))
            return;
    }
    fail_msg("redis-server does not start");
}

static void
redis_stop(struct redis_server *s)
{
    if (s->pid == 0)
        return;
    (void)kill(s->pid, SIGKILL);
    (void)waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

static void
on_read(void *context, uint32_t node, struct slice value)
{
    struct play *p = context;

    p->reads++;
    assert_true(node < NODES);
    assert_true(slice_copy_str(value, p->got[node], sizeof(p->got[node])));
}

static struct store *
store_for(struct play *p, uint32_t own, const char *user, const char *password)
{
    const struct store_redis_opts opts = {
        .common = {.loop = p->scene.loop,
                   .mesh = "sample",
                   .names = names,
                   .name_count = NODES,
                   .own = own,
                   .read = on_read,
                   .context = p},
        .address = p->address,
        .user = user,
        .password = password,
        .guard = p->scene.guard,
    };
    struct store *s = NULL;

    assert_int_equal(store_redis_new(&opts, &s), ERR_OK);
    return s;
}

static void
play_open(struct play *p, const char *extra0, const char *extra1)
{
    static char template[] = "/tmp/portolan-redis-XXXXXX";

    memset(p, 0, sizeof(*p));
    memcpy(p->server.dir, template, sizeof(template));
    assert_non_null(mkdtemp(p->server.dir));
    p->server.extra[0] = extra0;
    p->server.extra[1] = extra1;
    redis_start(&p->server);
    scene_open(&p->scene);
    assert_int_equal(address_parse("127.0.0.1", p->server.port, &p->address), ERR_OK);
    assert_int_equal(egress_allow(p->scene.guard, &p->address), ERR_OK);
}

static void
play_close(struct play *p)
{
    if (p->writer != NULL)
        p->writer->ops->free(p->writer);
    if (p->reader != NULL)
        p->reader->ops->free(p->reader);
    scene_close(&p->scene);
    redis_stop(&p->server);
    (void)rmdir(p->server.dir);
}

static bool
both_connected(void *context)
{
    struct play *p = context;

    return p->writer->ops->connected(p->writer) && p->reader->ops->connected(p->reader);
}

static void
write_value(void *context)
{
    struct play *p = context;

    p->writer->ops->write(p->writer, slice_str(p->value));
}

/* The reader asks until it has what the writer wrote. */
static bool
read_value(void *context)
{
    struct play *p = context;

    p->reader->ops->poll(p->reader);
    return strcmp(p->got[1], p->value) == 0;
}

static void
test_a_record_and_its_key(void **state)
{
    static const struct scene_step steps[] = {
        {"connected", NULL, both_connected},
        {"read", write_value, read_value},
    };
    struct play p;
    redisContext *c;
    redisReply *r;

    (void)state;
    play_open(&p, NULL, NULL);
    p.value = "first";
    p.writer = store_for(&p, 1, NULL, NULL);
    p.reader = store_for(&p, 0, NULL, NULL);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_string_equal(p.got[0], "");
    assert_string_equal(p.got[2], "");
    c = redisConnect("127.0.0.1", p.server.port);
    assert_true(c != NULL && c->err == 0);
    r = redisCommand(c, "TTL portolan:{sample}:node:w1");
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_INTEGER);
    assert_true(r->integer > 0);
    assert_true(r->integer <= 15);
    freeReplyObject(r);
    r = redisCommand(c, "DBSIZE");
    assert_non_null(r);
    assert_int_equal(r->integer, 1);
    freeReplyObject(r);
    redisFree(c);
    play_close(&p);
}

static void
write_second(void *context)
{
    struct play *p = context;

    p->value = "second";
    write_value(p);
}

static void
freeze(void *context)
{
    assert_int_equal(kill(((struct play *)context)->server.pid, SIGSTOP), 0);
    write_second(context);
}

/* The loop goes on ticking meanwhile: that is what calls this. */
static bool
both_lost(void *context)
{
    struct play *p = context;

    p->reader->ops->poll(p->reader);
    return !p->writer->ops->connected(p->writer) && !p->reader->ops->connected(p->reader);
}

static void
thaw(void *context)
{
    assert_int_equal(kill(((struct play *)context)->server.pid, SIGCONT), 0);
}

static void
test_a_frozen_server_costs_only_its_connection(void **state)
{
    static const struct scene_step steps[] = {
        {"connected", NULL, both_connected},  {"read", write_value, read_value},
        {"lost", freeze, both_lost},          {"back", thaw, both_connected},
        {"second", write_second, read_value},
    };
    struct play p;

    (void)state;
    play_open(&p, NULL, NULL);
    p.value = "first";
    p.writer = store_for(&p, 1, NULL, NULL);
    p.reader = store_for(&p, 0, NULL, NULL);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_true(p.writer->ops->errors(p.writer) > 0);
    play_close(&p);
}

static void
stop_server(void *context)
{
    redis_stop(&((struct play *)context)->server);
}

static void
restart_server(void *context)
{
    struct play *p = context;

    assert_true(redis_try(&p->server));
}

static void
test_a_restarted_server(void **state)
{
    static const struct scene_step steps[] = {
        {"connected", NULL, both_connected},  {"read", write_value, read_value},
        {"lost", stop_server, both_lost},     {"back", restart_server, both_connected},
        {"second", write_second, read_value},
    };
    struct play p;

    (void)state;
    play_open(&p, NULL, NULL);
    p.value = "first";
    p.writer = store_for(&p, 1, NULL, NULL);
    p.reader = store_for(&p, 0, NULL, NULL);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    play_close(&p);
}

static bool
reader_failed_thrice(void *context)
{
    struct play *p = context;

    assert_false(p->reader->ops->connected(p->reader));
    return p->reader->ops->errors(p->reader) >= 3;
}

static void
test_login(void **state)
{
    static const struct {
        const char *user, *password;
        bool connects;
    } rows[] = {
        {NULL, "s3cret", true},      {"default", "s3cret", true}, {NULL, "wrong", false},
        {"nobody", "s3cret", false}, {NULL, NULL, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        static const struct scene_step works[] = {{"connected", NULL, both_connected},
                                                  {"read", write_value, read_value}};
        static const struct scene_step fails[] = {{"failures", NULL, reader_failed_thrice}};
        struct play p;

        play_open(&p, "--requirepass", "s3cret");
        p.value = "first";
        p.writer = store_for(&p, 1, NULL, "s3cret");
        p.reader = store_for(&p, 0, rows[i].user, rows[i].password);
        scene_play(&p.scene, rows[i].connects ? works : fails, rows[i].connects ? 2 : 1, &p);
        play_close(&p);
    }
}

static void
test_a_replica_is_not_written_to(void **state)
{
    static const struct scene_step steps[] = {{"failures", NULL, reader_failed_thrice}};
    struct play p;

    (void)state;
    play_open(&p, "--replicaof", "127.0.0.1 1");
    p.reader = store_for(&p, 0, NULL, NULL);
    scene_play(&p.scene, steps, 1, &p);
    play_close(&p);
}

static bool
connected_by_name(void *context)
{
    struct play *p = context;

    return p->reader->ops->connected(p->reader);
}

static void
test_a_name_is_resolved_off_the_loop(void **state)
{
    static const struct scene_step steps[] = {{"connected", NULL, connected_by_name}};
    struct play p;
    struct store_redis_opts opts;
    struct address resolved;

    (void)state;
    play_open(&p, NULL, NULL);
    if (address_resolve("localhost", p.server.port, &resolved) != ERR_OK ||
        !address_equal(&resolved, &p.address)) {
        play_close(&p);
        skip(); /* localhost is ::1 here, where the test's server does not listen */
    }
    opts = (struct store_redis_opts){
        .common = {.loop = p.scene.loop, .mesh = "sample", .names = names, .name_count = NODES},
        .address = p.address,
        .host = "localhost",
        .guard = p.scene.guard};
    assert_int_equal(store_redis_new(&opts, &p.reader), ERR_OK);
    scene_play(&p.scene, steps, 1, &p);
    play_close(&p);
}

static void
test_plain_only_on_loopback(void **state)
{
    struct play p;
    struct store_redis_opts opts;
    struct store *s = NULL;

    (void)state;
    memset(&p, 0, sizeof(p));
    scene_open(&p.scene);
    opts = (struct store_redis_opts){
        .common = {.loop = p.scene.loop, .mesh = "sample", .names = names, .name_count = NODES},
        .guard = p.scene.guard};
    assert_int_equal(address_parse("192.0.2.1", 6379, &opts.address), ERR_OK);
    assert_int_equal(store_redis_new(&opts, &s), ERR_FORBIDDEN);
    assert_null(s);
    scene_close(&p.scene);
}

static void
test_a_fan_outlives_one_of_its_servers(void **state)
{
    static const struct scene_step steps[] = {
        {"connected", NULL, both_connected},
        {"read", write_value, read_value},
    };
    struct play p;
    struct store *parts[2] = {NULL, NULL};
    struct address dead = {.len = 0};

    (void)state;
    play_open(&p, NULL, NULL);
    p.value = "first";
    assert_int_equal(address_parse("127.0.0.1", free_port(), &dead), ERR_OK);
    assert_int_equal(egress_allow(p.scene.guard, &dead), ERR_OK);
    parts[0] = store_for(&p, 1, NULL, NULL);
    p.reader = store_for(&p, 0, NULL, NULL);
    p.address = dead;
    parts[1] = store_for(&p, 1, NULL, NULL);
    assert_int_equal(store_fan_new(parts, 2, &p.writer), ERR_OK);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_true(p.writer->ops->errors(p.writer) > 0);
    play_close(&p);
}

static void
test_memory_holds_nothing(void **state)
{
    const struct store_opts opts = {.mesh = "sample", .names = names, .name_count = NODES};
    struct store *s = NULL;

    (void)state;
    assert_int_equal(store_memory_new(&opts, &s), ERR_OK);
    s->ops->write(s, SLICE_LIT("x"));
    s->ops->poll(s);
    assert_true(s->ops->connected(s));
    assert_int_equal(s->ops->errors(s), 0);
    s->ops->free(s);
}

/* ---- A false server ---------------------------------------------------------------- */

#define ROLE_MASTER "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"

struct falsehood {
    struct scene scene;
    struct listener *listener;
    int fd;
    struct address address;
    struct conn *conn;
    struct store *store;
    const char *role;
    const char *rest; /* to everything else */
    size_t flood;     /* bytes of a bulk that never ends */
    uint32_t accepted;
    uint32_t asked;
};

static void
false_event(void *owner, struct conn *c, unsigned events)
{
    struct falsehood *f = owner;
    struct slice in = buf_slice(conn_in(c));

    if (c != f->conn)
        return;
    if ((events & (CONN_EOF | CONN_FAILED)) != 0) {
        conn_abort(c);
        f->conn = NULL;
        return;
    }
    if ((events & CONN_DATA) == 0 || in.len == 0)
        return;
    if (memmem(in.p, in.len, "ROLE", 4) != NULL) {
        assert_int_equal(conn_write(c, slice_str(f->role)), ERR_OK);
    } else {
        f->asked++;
        assert_int_equal(conn_write(c, slice_str(f->rest)), ERR_OK);
        for (size_t i = 0; i < f->flood; i += 4096) {
            static uint8_t zeros[4096];

            assert_int_equal(conn_write(c, slice_of(zeros, sizeof(zeros))), ERR_OK);
        }
    }
    conn_consume(c, in.len);
}

static void
false_accept(void *context, int fd)
{
    struct falsehood *f = context;
    const struct conn_opts opts = {.loop = f->scene.loop,
                                   .pool = f->scene.pool,
                                   .fn = false_event,
                                   .owner = f,
                                   .in_max = SERVER_IN_MAX,
                                   .out_max = SERVER_OUT_MAX};

    if (f->conn != NULL)
        conn_abort(f->conn);
    f->accepted++;
    assert_int_equal(conn_accepted(&opts, fd, &f->conn), ERR_OK);
}

static bool
false_asked(void *context)
{
    struct falsehood *f = context;

    f->store->ops->write(f->store, SLICE_LIT("x"));
    f->store->ops->poll(f->store);
    return f->asked >= 3 && f->store->ops->errors(f->store) >= 2;
}

static bool
false_role(void *context)
{
    struct falsehood *f = context;

    assert_false(f->store->ops->connected(f->store));
    return f->store->ops->errors(f->store) >= 2;
}

static void
test_what_a_real_server_would_not_say(void **state)
{
    static const struct {
        const char *role, *rest;
        size_t flood;
        bool keeps; /* the connection goes on */
    } rows[] = {
        {ROLE_MASTER, "-OOM command not allowed\r\n-OOM x\r\n-OOM x\r\n", 0, true},
        {ROLE_MASTER, "-READONLY You can't write\r\n", 0, false},
        {ROLE_MASTER, "-MASTERDOWN Link\r\n", 0, false},
        {ROLE_MASTER, "-NOAUTH Authentication required.\r\n", 0, false},
        {ROLE_MASTER, "HTTP/1.1 400 Bad Request\r\n\r\n", 0, false},
        {ROLE_MASTER, "*1000000\r\n", 0, false},
        {ROLE_MASTER, "$1000000000\r\n", 2u << 20, false},
        {ROLE_MASTER, "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 0, false},
        {"-LOADING Redis is loading\r\n", "", 0, false},
        {"*1\r\n$5\r\nslave\r\n", "", 0, false},
        {"$6\r\nmaster\r\n", "", 0, false},
        {"", "", 0, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct scene_step asked[] = {{"asked", NULL, false_asked}};
        const struct scene_step role[] = {{"role", NULL, false_role}};
        struct falsehood f;
        struct store_redis_opts opts;

        memset(&f, 0, sizeof(f));
        f.role = rows[i].role;
        f.rest = rows[i].rest;
        f.flood = rows[i].flood;
        scene_open(&f.scene);
        assert_int_equal(address_parse("127.0.0.1", 0, &f.address), ERR_OK);
        assert_int_equal(listener_open(&f.address, &f.fd), ERR_OK);
        f.address.len = sizeof(f.address.storage);
        assert_int_equal(getsockname(f.fd, (struct sockaddr *)&f.address.storage, &f.address.len),
                         0);
        assert_int_equal(egress_allow(f.scene.guard, &f.address), ERR_OK);
        assert_int_equal(listener_new(f.scene.loop, f.fd, false_accept, &f, &f.listener), ERR_OK);
        opts = (struct store_redis_opts){
            .common = {.loop = f.scene.loop, .mesh = "m", .names = names, .name_count = NODES},
            .address = f.address,
            .guard = f.scene.guard};
        assert_int_equal(store_redis_new(&opts, &f.store), ERR_OK);
        scene_play(&f.scene, strcmp(f.role, ROLE_MASTER) == 0 ? asked : role, 1, &f);
        assert_int_equal(f.accepted == 1, rows[i].keeps);
        f.store->ops->free(f.store);
        if (f.conn != NULL)
            conn_abort(f.conn);
        listener_free(&f.listener);
        (void)close(f.fd);
        scene_close(&f.scene);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_record_and_its_key),
        cmocka_unit_test(test_a_frozen_server_costs_only_its_connection),
        cmocka_unit_test(test_a_restarted_server),
        cmocka_unit_test(test_login),
        cmocka_unit_test(test_a_replica_is_not_written_to),
        cmocka_unit_test(test_a_name_is_resolved_off_the_loop),
        cmocka_unit_test(test_plain_only_on_loopback),
        cmocka_unit_test(test_a_fan_outlives_one_of_its_servers),
        cmocka_unit_test(test_memory_holds_nothing),
        cmocka_unit_test(test_what_a_real_server_would_not_say),
    };

    return cmocka_run_group_tests_name("health/store", tests, NULL, NULL);
}
